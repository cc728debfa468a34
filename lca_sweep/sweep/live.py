"""A few lines at the bottom of a terminal that are written over as things change; what is said goes above them."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.text import Text

from lca_sweep.sweep.console import fall_silent
from lca_sweep.sweep.sheet import Sheet

EVERY, LOOK = 0.5, 0.1  # seconds between two frames, and between two looks whether the terminal has another size
SMALLEST = (20, 5)  # below that a frame may be cut off by the terminal
UNKNOWN = (80, 24)  # where a terminal does not tell its size

Row = tuple[str, int]  # a line with its escape sequences, and how many cells it takes


@dataclass
class Painter:
    """What to write so that new lines take the place of the old ones.

    No line is erased before it is written over, so that none is ever seen empty. The cursor is never hidden, and rests
    on an empty line below: whenever the process is killed, the terminal is as it should be.
    """

    shown: list[int] = field(default_factory=list)  # cells of each line on the screen

    def paint(self, rows: Sequence[Row], columns: int, above: Sequence[Row] = ()) -> str:
        """Bring the cursor to the first of the old lines, write those that stay, and the new ones.

        A terminal that has become narrower has folded the old lines.
        """
        up = sum(max(1, -(-cells // columns)) for cells in self.shown)
        self.shown = [cells for _, cells in rows]
        return "\r" + (f"\x1b[{up}A" if up else "") + "".join(_line(row, columns) for row in [*above, *rows]) + "\x1b[J"


def _line(row: Row, columns: int) -> str:
    """A line, and nothing behind it; where it ends with the terminal's last column, that would erase its last cell."""
    text, cells = row
    return text + ("\x1b[K" if cells % columns or not cells else "") + "\n"


class Live:
    """Draws a frame twice a second, in a thread of its own, from entering to leaving it."""

    def __init__(self, console: Console, draw: Callable[[Sheet], Sequence[Text]]) -> None:
        self.console, self.draw, self.painter = console, draw, Painter()
        # puts in the escape sequences; the terminal itself gets each frame in one piece
        self._styles = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system=console.color_system,  # type: ignore[arg-type]  # one of the names that it takes
            no_color=console.no_color,
            highlight=False,
        )
        self._over, self._lock = threading.Event(), threading.RLock()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.paint()  # the last frame stays

    def say(self, line: Text) -> None:
        """One line that stays, above the frame; the terminal folds it where it is too long."""
        self.paint([line])

    def paint(self, above: Sequence[Text] = ()) -> None:
        """Draw a frame now."""
        with self._lock:
            columns, lines = size(self.console)
            least_columns, least_lines = SMALLEST
            sheet = Sheet(max(columns - 1, least_columns), max(lines - 1, least_lines), self.console.encoding)
            rows, said = map(self._row, self.draw(sheet)), map(self._row, above)
            self._write(self.painter.paint(list(rows), columns, list(said)))

    def _row(self, line: Text) -> Row:
        with self._styles.capture() as captured:
            self._styles.print(line, end="", soft_wrap=True)
        return captured.get(), line.cell_len

    def _write(self, text: str) -> None:
        """In one piece. A terminal that was closed is not missed."""
        encoding = self.console.encoding
        if self.console.quiet:
            return
        try:
            self.console.file.write(text.encode(encoding, "replace").decode(encoding))
            self.console.file.flush()
        except OSError:
            fall_silent(self.console)

    def _run(self) -> None:
        drawn, last = 0.0, (0, 0)
        while not self._over.is_set():
            now, present = time.monotonic(), size(self.console)
            if present != last or now - drawn >= EVERY:
                self.paint()
                drawn, last = now, present
            self._over.wait(LOOK)


def size(console: Console) -> tuple[int, int]:
    """Columns and lines of the terminal as it is now."""
    try:
        columns, lines = os.get_terminal_size(console.file.fileno())
    except (OSError, ValueError):
        columns, lines = console.size
    return (columns, lines) if columns and lines else UNKNOWN
