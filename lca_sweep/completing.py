"""What the shell is told of commands and of sweeps; knobs are up to Hydra."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lca_sweep.commands import COMMANDS, NAMED
from lca_sweep.config import Sweep

KNOBS = ("resume", "doctor", "submit", "enqueue")  # commands behind which knobs are written
OPTIONS = {
    "list": ("--json",),
    "status": ("--json",),
    "show": ("--json",),
    "compare": ("--json",),
    "doctor": ("--json", "--config-dir"),
    "enqueue": ("--csv",),
    "ui": ("--port",),
}


def completed(line: str, knobs: Callable[[str], str]) -> str:
    """Completions of the last word of a line, parted by spaces; `knobs` are those for a line without a command."""
    program, *words = f"{line} ".split(" ")[:-1]
    if len(words) < 2:
        start = words[0] if words else ""
        return " ".join(filter(None, (*(word for word in COMMANDS if word.startswith(start)), knobs(line).strip())))
    command, *_, start = words
    if command not in COMMANDS:
        return knobs(line)
    place = next((word.partition("=")[2] for word in words if word.startswith("sweep.dir=")), Sweep().dir)
    names = sorted(file.parent.name for file in Path(place).glob("*/sweep.json")) if command in NAMED else []
    names += ["best"] if command == "show" else []
    own = [word for word in (*names, *OPTIONS.get(command, ())) if word.startswith(start)]
    if command in KNOBS:
        own.append(knobs(" ".join((program, *(word for word in words[1:-1] if "=" in word), start))).strip())
    elif "sweep.dir=".startswith(start) and command != "doctor":
        own.append("sweep.dir=")
    return " ".join(filter(None, own))


def typed() -> str:
    """The line up to the cursor, as the shell tells it."""
    return os.environ.get("COMP_LINE", "")
