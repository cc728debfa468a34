"""What a frame is drawn on: so many columns and lines, and an encoding that may know no bars."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

GAP = "  "  # between columns
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's categories of characters that are no text


@dataclass(frozen=True)
class Sheet:
    """`width` in cells, of which some characters take two or none; `height` in lines."""

    width: int
    height: int
    encoding: str = "utf-8"

    @property
    def fancy(self) -> bool:
        """Whether there are characters beyond ASCII."""
        return self.encoding.lower().startswith("utf")

    def fit(self, line: str, style: str = "") -> Text:
        """A line that fits; where its end was cut off, one sees that."""
        return Text(self.cut(line, self.width), style)

    def cut(self, line: str, width: int) -> str:
        """As much of the line as `width` cells hold."""
        if cell_len(line) <= width:
            return line
        mark = "…" if self.fancy else "..."
        short = Text(line)
        short.truncate(max(0, width - len(mark)), overflow="crop")
        return (short.plain.rstrip() + mark)[: max(0, width)]

    def join(self, parts: Sequence[str]) -> str:
        """As many of the parts as fit into a line, the first one in any case."""
        line = parts[0]
        for part in parts[1:]:
            if part and cell_len(line + GAP + part) <= self.width:
                line += GAP + part
        return line

    def clean(self, text: str) -> str:
        """One line without what a terminal would obey (line breaks, tabs, escape sequences) or cannot show."""
        plain = "".join(" " if unicodedata.category(one) in OBEYED else one for one in ESCAPE.sub("", text))
        return " ".join(plain.split()).encode(self.encoding, "replace").decode(self.encoding)
