"""Writes knobs.md, the reference of all knobs, from their declarations: `python docs/knobs.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lca_sweep.config import Config
from lca_sweep.core.knobs import Range, written

PAGE = Path(__file__).with_name("knobs.md")
HEAD = """\
# Knobs

All of them, as they are declared in `lca_sweep/core/knobs.py` (a trial's) and `lca_sweep/config.py`; written by
`python docs/knobs.py`. A dotted name is the same on the command line, in a search space, in Optuna and in MLflow.
S: can be searched (`sweep.space`). P: trials of one pack share it, so that a search over it parts the packs.
"""
SECTIONS = ("model", "init", "trainer", "prior")  # a trial's


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for section in dataclasses.fields(Config) for line in _section(section.name))])


def _section(name: str) -> Iterator[str]:
    of = getattr(Config(), name)
    yield f"## {name}\n\n{of.__doc__}\n"
    yield "| knob | default | allowed | | what |\n|---|---|---|---|---|"
    for knob, default, hint, limits in _knobs(name, of):
        marks = "".join(("S" * (name in SECTIONS and limits.searchable), "P" * limits.shared))
        cells = (
            f"`{knob}`",
            f"{default:.3g}" if isinstance(default, float) else written(default),
            _allowed(limits, hint),
            marks,
            limits.help,
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _knobs(prefix: str, section: Any) -> Iterator[tuple[str, Any, Any, Range]]:
    """Dotted name, default, type and range of each, nested ones after the others' place."""
    hints = get_type_hints(type(section))
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from _knobs(f"{prefix}.{item.name}", value)
        else:
            yield f"{prefix}.{item.name}", value, hints[item.name], item.metadata["range"]


def _allowed(limits: Range, hint: Any) -> str:
    """The range in words, and whether the knob may be null."""
    kinds = {
        "int": "whole number",
        "float": "number",
        "str": "text",
        "bool": "true, false",
        "list": "list",
        "dict": "tree",
    }
    names = [getattr(kind, "__name__", str(kind)).partition("[")[0] for kind in get_args(hint) or (hint,)]
    if getattr(hint, "__origin__", None) in (list, dict):
        names = [hint.__origin__.__name__]
    told = limits.allowed().removeprefix("must be ") or " or ".join(kinds[n] for n in names if n in kinds)
    return f"{told}; null" if "NoneType" in names else told


if __name__ == "__main__":
    PAGE.write_text(page())
