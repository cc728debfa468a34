"""What commands print: tables that fit a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lca_sweep.core.knobs import written
from lca_sweep.sweep.words import number

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"


def print_json(console: Console, content: Any) -> None:
    """JSON that any program reads: what is no number is null."""
    console.print(json.dumps(plain(content), indent=2), soft_wrap=True, markup=False)


def print_line(console: Console, line: str) -> None:
    """One line, folded by the terminal alone."""
    console.print(Text(line), soft_wrap=True)


def print_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in a terminal; elsewhere a line for each row, however long, cells parted by at least two spaces."""
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            console.print(Text(line.rstrip()), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def value_text(value: Any) -> str:
    """A knob's value as one writes it, numbers to three digits."""
    return number(value) if isinstance(value, float) else written(value)


def plain(value: Any) -> Any:
    """The same with null in the place of nan and infinity, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def spark(values: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """Values as a line of bars from the lowest to the highest; of more than `width` some are left out, not the last.

    What is no number is a gap.
    """
    step = max(1, math.ceil(len(values) / width))
    shown = list(reversed(values[::-1][::step]))
    bars = BARS if encoding.lower().startswith("utf") else ASCII_BARS
    there = [value for value in shown if math.isfinite(value)]
    if not there:
        return " " * len(shown)
    low, span = min(there), (max(there) - min(there)) or 1.0
    return "".join(
        bars[int((value - low) / span * (len(bars) - 1))] if math.isfinite(value) else " " for value in shown
    )
