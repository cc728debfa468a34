"""Ending a running sweep from another shell, or from another machine that shares its folder."""

from __future__ import annotations

import time
from pathlib import Path

from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.known import path_of
from lca_sweep.sweep.lock import LOOK, STOP, runner


def stop(place: Path, name: str) -> int:
    """Ask the sweep to end in order, and wait until it has; exit status 0. SweepError if nobody runs it."""
    folder = path_of(place, name, "stop")
    try:
        owner = runner(folder)
        if owner is None:
            raise SweepError(f"stop {name}: nobody runs it")
        (folder / STOP).touch()
    except OSError as error:
        raise SweepError(f"stop {name}: {error.filename or folder}: {error.strerror}") from error
    console = wide_console()
    console.print(f"asked {owner} to stop {name}; it finishes its epoch first", soft_wrap=True)
    while (now := runner(folder)) is not None and now.id == owner.id:
        time.sleep(LOOK)
    console.print(f"{name} is stopped; the command that began it goes on from there", soft_wrap=True)
    return 0
