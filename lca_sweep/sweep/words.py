"""How numbers, knobs and commands are written for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lca_sweep.config import Config, Sweep

STATES = ("complete", "pruned", "failed", "running", "waiting")  # of a trial; waiting: put in by hand, not begun


def command(word: str, folder: Path) -> str:
    """How to give this command to the sweep in `folder`, from the present working folder."""
    place = "" if folder.parent == Path(Sweep().dir).absolute() else f" sweep.dir={shlex.quote(str(folder.parent))}"
    return f"python -m lca_sweep {word} {folder.name}{place}"


def clock(seconds: float) -> str:
    """Elapsed time as `  0:05` or `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:3d}:{second:02d}"


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def in_words(counts: Mapping[str, int], runs: bool = True) -> str:
    """How trials stand, by state: `1 complete, 7 pruned`; where nobody `runs` the sweep, none is running."""
    states = dict(zip(STATES, STATES, strict=True)) | ({} if runs else {"running": "unfinished"})
    return ", ".join(f"{counts[state]} {told}" for state, told in states.items() if counts.get(state))


def number(value: Any) -> str:
    """A knob's value as a person would write it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def params_line(params: Mapping[str, Any]) -> str:
    """Searched knobs on one line, numbers to three digits."""
    return " ".join(f"{name}={number(value)}" for name, value in params.items())


def plural(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def trials(numbers: Sequence[int]) -> str:
    """`trial 3` or `trials 0 to 7`."""
    return f"{'trial' if len(numbers) == 1 else 'trials'} {spans(numbers)}"


def extended(config: Config, asked: int) -> str:
    """How a sweep that is done would go on; empty where it cannot: a grid is through, all others would be the same."""
    if not config.sweep.space or config.search.sampler == "grid":
        return ""
    return f"; sweep.trials={2 * asked} would extend it"


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers, `0 to 7` or `0, 3 to 5, 9`."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
