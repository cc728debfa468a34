"""Knobs by their short names, where there is no room for the dotted ones: the same in every figure, table and name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lca_sweep.core.knobs import TrialKnobs, flat

LAST = re.compile(r"[^.]*(\.\d+)?$")
VAGUE = ("kind", "seed")  # of what?


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Knobs without their section where no other knob ends alike: `lr`, but `prior.spike`, for there is `init.spike`.

    It does not matter which of a trial's knobs are searched. Of a layer's knob the section is what is before its name
    and number: `widths.0`. What says too little alone keeps its section: `prior.kind`.
    """
    ends = {name: _end(name) for name in {*flat(TrialKnobs()), *names}}
    count = list(ends.values())
    return {name: name if ends[name] in VAGUE or count.count(ends[name]) > 1 else ends[name] for name in names}


def _end(name: str) -> str:
    found = LAST.search(name)
    assert found  # also nothing is an end
    return found[0]
