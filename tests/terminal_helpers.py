"""A terminal as far as the view needs one: it folds, scrolls, obeys a few sequences, and bears another width."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rich.cells import cell_len

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


@dataclass
class Line:
    """One row: a character in each cell ("" is the second half of a wide one), and whether the next row goes on."""

    cells: list[str] = field(default_factory=list)
    goes_on: bool = False

    @property
    def text(self) -> str:
        return "".join(self.cells).rstrip()


class Screen:
    """Rows from the first one ever written on; the last `lines` from `top` on are in sight."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.rows, self.top = [Line()], 0
        self.row = self.column = 0
        self.sequences: set[str] = set()
        self._rest = ""

    @property
    def text(self) -> list[str]:
        """All rows down to the cursor's, with what was folded put together."""
        whole, goes_on = list[str](), False
        for line in self.rows:
            if goes_on:
                whole[-1] += "".join(line.cells)
            else:
                whole.append("".join(line.cells))
            goes_on = line.goes_on
        return [line.rstrip() for line in whole]

    @property
    def sight(self) -> list[str]:
        """The rows that one sees."""
        return [line.text for line in self.rows[self.top : self.top + self.lines]]

    def feed(self, text: str) -> None:
        """Take what a program writes."""
        text, self._rest = self._rest + text, ""
        place = 0
        while place < len(text):
            if text[place] != "\x1b":
                self._take(text[place])
                place += 1
                continue
            found = SEQUENCE.match(text, place)
            if not found:
                self._rest = text[place:]
                assert len(self._rest) < 16, f"no terminal knows {self._rest!r}"
                return
            self._obey(found[1], found[2])
            place = found.end()

    def resize(self, columns: int, lines: int) -> None:
        """As tmux and most others do: lines that were folded are folded anew, and the cursor stays in its line."""
        old, at = self.rows, self.row
        self.rows, self.columns, self.lines = [], columns, lines
        whole, goes_on, mine = list[list[str]](), False, 0
        for number, line in enumerate(old):
            if goes_on:
                whole[-1] += line.cells
            else:
                whole.append(list(line.cells))
            goes_on = line.goes_on
            if number == at:
                mine = len(whole) - 1
        for number, cells in enumerate(whole):
            if number == mine:
                self.row = len(self.rows)
            self.rows += self._folded(cells)
        self.top = max(0, self.row + 1 - lines)

    def _folded(self, cells: list[str]) -> list[Line]:
        rows, row = [], list[str]()
        for place, cell in enumerate(cells):
            wide = cells[place + 1 : place + 2] == [""]
            if len(row) + 1 + wide > self.columns and cell:
                rows.append(Line(row, goes_on=True))
                row = []
            row.append(cell)
        return [*rows, Line(row)]

    def _take(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
            self.column = 0
        else:
            assert char >= " " and char != "\x7f", f"no text: {char!r}"
            self._put(char, cell_len(char))

    def _put(self, char: str, width: int) -> None:
        if not width:
            return
        if self.column + width > self.columns:
            self.rows[self.row].goes_on = True
            self._down()
            self.column = 0
        line = self.rows[self.row]
        line.cells += [" "] * (self.column - len(line.cells))
        line.cells[self.column : self.column + width] = [char, ""][:width]
        self.column += width

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append(Line())
        self.top = max(self.top, self.row + 1 - self.lines)

    def _obey(self, numbers: str, letter: str) -> None:
        self.sequences.add(numbers.lstrip("0123456789;") + letter)
        if letter == "A":
            self.row = max(self.top, self.row - int(numbers or 1))
            self.column = min(self.column, self.columns - 1)
        elif letter in "JK" and numbers in ("", "0", "2"):
            line = self.rows[self.row]
            place = 0 if numbers == "2" else min(self.column, self.columns - 1)  # in the last column, its cell as well
            line.cells, line.goes_on = line.cells[:place], False
            if letter == "J":
                self.rows[self.row + 1 :] = [Line() for _ in self.rows[self.row + 1 :]]
        else:
            assert letter in "mhl", f"unknown: {numbers}{letter}"
