"""Where a person reads: standard output, be it a terminal, a file or a pipe."""

from __future__ import annotations

import os
import sys

from rich.console import Console


class PatientConsole(Console):
    """A console whose reader may go away (`| head`): then it falls silent, and the work goes on."""

    def on_broken_pipe(self) -> None:
        """Instead of ending the process."""
        fall_silent(self)


def wide_console() -> Console:
    """Standard output as it is now; lines that go to a file or a pipe are not folded."""
    console = PatientConsole(file=sys.stdout, highlight=False)
    return console if console.is_terminal else PatientConsole(file=sys.stdout, highlight=False, width=1000)


def fall_silent(console: Console) -> None:
    """Nobody reads any more; without this, Python would complain once more at its exit."""
    console.quiet = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, console.file.fileno())
    os.close(nowhere)


def can_redraw(console: Console) -> bool:
    """Whether lines that were written can be written over: FORCE_COLOR makes no terminal, and TERM=dumb is none."""
    try:
        return console.file.isatty() and not console.is_dumb_terminal
    except ValueError:  # it is closed
        return False
