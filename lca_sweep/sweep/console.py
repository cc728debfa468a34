"""Where a person reads: standard output, be it a terminal, a file or a pipe."""

from __future__ import annotations

import os
import sys

from rich.console import Console


class PatientConsole(Console):
    """A console whose reader may go away (`| head`): then it falls silent, and the work goes on."""

    def on_broken_pipe(self) -> None:
        """Instead of ending the process."""
        self.quiet = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (else Python complains once more at its exit)


def wide_console() -> Console:
    """Standard output; lines that go to a file or a pipe are not folded."""
    console = PatientConsole(highlight=False)
    return console if console.is_terminal else PatientConsole(highlight=False, width=1000)
