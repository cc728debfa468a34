"""The frame in a terminal: nothing flickers, what was said stays, and another size makes no rubbish."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from terminal_helpers import Screen

from lca_sweep.sweep.console import can_redraw
from lca_sweep.sweep.live import Live, Painter, Row
from lca_sweep.sweep.sheet import Sheet

WORDS = st.text(st.sampled_from("ab wäüx漢字"), max_size=70).map(str.strip)
FRAMES = st.lists(WORDS, max_size=6)


def rows(lines: list[str]) -> list[Row]:
    return [(line, cell_len(line)) for line in lines]


def fitted(lines: list[str], width: int) -> list[str]:
    return [Sheet(width, 1).cut(line, width) for line in lines]


@given(st.integers(20, 60), st.lists(st.tuples(FRAMES, st.lists(WORDS, max_size=2)), min_size=1, max_size=8))
def test_what_is_said_stays_and_the_frame_is_written_over(
    columns: int, steps: list[tuple[list[str], list[str]]]
) -> None:
    screen, painter, said = Screen(columns, 12), Painter(), list[str]()
    for frame, above in steps:
        frame = fitted(frame, columns)
        said += above
        screen.feed(painter.paint(rows(frame), columns, rows(above)))
        assert screen.text[: len(said) + len(frame)] == [*said, *frame]
        assert not any(screen.text[len(said) + len(frame) :])
        assert screen.column == 0 and screen.rows[screen.row].text == ""


@given(st.lists(st.tuples(st.integers(20, 80), FRAMES, st.lists(WORDS, max_size=1)), min_size=2, max_size=6))
def test_another_width_leaves_no_rubbish(steps: list[tuple[int, list[str], list[str]]]) -> None:
    """The terminal folds what it shows before anything is drawn again."""
    screen, painter, said = Screen(80, 100), Painter(), list[str]()
    for columns, frame, above in steps:
        frame, above = fitted(frame, columns - 1), fitted(above, 20)
        screen.resize(columns, 100)
        said += above
        screen.feed(painter.paint(rows(frame), columns, rows(above)))
        assert screen.text[: len(said) + len(frame)] == [*said, *frame]
        assert not any(screen.text[len(said) + len(frame) :])


@given(st.integers(20, 60), st.lists(WORDS.filter(bool), min_size=1, max_size=5), st.data())
def test_no_line_is_ever_seen_empty(columns: int, old: list[str], data: st.DataObject) -> None:
    new = data.draw(st.lists(WORDS.filter(bool), min_size=len(old), max_size=len(old)))
    screen, painter = Screen(columns, 12), Painter()
    screen.feed(painter.paint(rows(fitted(old, columns)), columns))
    for char in painter.paint(rows(fitted(new, columns)), columns):
        screen.feed(char)
        assert all(screen.sight[: len(old)])


def test_the_cursor_is_never_hidden() -> None:
    """Whoever is killed cannot show it again."""
    assert "\x1b[?25l" not in Painter().paint(rows(["one", "two"]), 80, rows(["said"]))


# --- a real terminal -----------------------------------------------------------------------------------------------


class Pty:
    """A pseudo-terminal, and a screen that shows what is written to it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.master, slave = pty.openpty()
        self.file = os.fdopen(slave, "w", encoding="utf-8")
        self.screen = Screen(columns, lines)
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(columns, lines)

    def read(self) -> None:
        while select.select([self.master], [], [], 0.02)[0]:
            self.screen.feed(os.read(self.master, 65536).decode())

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "\n".join(self.screen.text)
            self.read()

    def close(self) -> None:
        self.file.close()
        os.close(self.master)


def console(one: Pty) -> Console:
    return Console(file=one.file, highlight=False, legacy_windows=False)


def ruler(sheet: Sheet) -> list[Text]:
    """As wide as may be, with its size."""
    return [Text("#" * sheet.width), Text(f"{sheet.width} {sheet.height}", "bold"), *[Text("x")] * 3]


def test_a_terminal_that_changes_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    with closing(Pty(80, 24)) as one:
        with Live(console(one), ruler) as live:
            for columns, lines in ((80, 24), (40, 24), (100, 30), (25, 30), (80, 24)):
                one.resize(columns, lines)
                one.until(lambda: f"{columns - 1} {lines - 1}" in one.screen.sight)  # noqa: B023
                assert one.screen.sight[0] == "#" * (columns - 1) and len(one.screen.sight) <= lines
            live.say(Text("said [bold]" + "long " * 30))
            one.until(lambda: any("said" in line for line in one.screen.text))
        one.read()
        assert [line for line in one.screen.text if line and line != "x"] == [
            "said [bold]" + ("long " * 30).rstrip(),
            "#" * 79,
            "79 23",
        ]


def test_a_terminal_without_a_size_is_taken_for_an_ordinary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's may be."""
    monkeypatch.setenv("TERM", "xterm")
    with closing(Pty(80, 24)) as one:
        fcntl.ioctl(one.master, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        with Live(console(one), ruler):
            one.until(lambda: "79 23" in one.screen.sight)


@pytest.mark.parametrize(("variable", "value", "colours"), [("NO_COLOR", "1", False), ("TERM", "xterm-256color", True)])
def test_colours_are_not_forced_upon_anybody(
    variable: str, value: str, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    with closing(Pty(80, 24)) as one:
        with Live(console(one), lambda sheet: [Text("green", "green")]):
            pass
        written = ""
        while select.select([one.master], [], [], 0.1)[0]:
            written += os.read(one.master, 65536).decode()
    assert "green" in written and ("\x1b[32m" in written) is colours


def test_which_terminals_can_be_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Pty(80, 24)) as one:
        for term, can in (("xterm", True), ("dumb", False), ("unknown", False)):
            monkeypatch.setenv("TERM", term)
            assert can_redraw(console(one)) is can
    assert not can_redraw(console(one))  # closed


def test_forced_colours_make_no_terminal_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with open(os.path.join(tmp_path, "log"), "w", encoding="utf-8") as file:
        assert Console(file=file).is_terminal and not can_redraw(Console(file=file))


def test_a_terminal_that_is_closed_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with closing(Pty(80, 24)) as one:
        os.dup2(os.open(os.devnull, os.O_RDONLY), one.master)  # as if its window was closed
        with Live(console(one), ruler) as live:
            live.say(Text("into the void"))
