"""What a pack's trials have to come up to, epoch by epoch: a percentile of what earlier packs' trials had there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lca_sweep.config import Pruner
from lca_sweep.core.objective import Objective
from lca_sweep.search.rows import Row


def bars(rows: Sequence[Row], pack: int, objective: Objective, pruner: Pruner, by_generation: bool) -> dict[int, float]:
    """The bar of each epoch at which enough others have a value (pruner: median or percentile).

    Others are the trials of all other packs, as far as they have come; by generation those of earlier ones, which have
    ended, so that the bars do not depend on what runs beside what. Where they do depend, an epoch that the pack's
    trials have been through before has none: nobody leaves there in hindsight.
    """
    best = 50.0 if pruner.name == "median" else pruner.percentile
    share = 100 - best if objective.maximize else best
    mine = [row for row in rows if row.pack == pack]
    first = pruner.min_epochs
    if not by_generation:
        been = (epoch for row in mine if row.state == "running" for epoch in row.values)
        first = max(first, 1 + max(been, default=0))
    found: dict[int, list[float]] = {}
    for row in _earlier(rows, mine) if by_generation else _others(rows, pack):
        for epoch, value in row.values.items():
            if epoch >= first and math.isfinite(value):
                found.setdefault(epoch, []).append(value)
    enough = {epoch: values for epoch, values in sorted(found.items()) if len(values) >= pruner.startup_trials}
    return {epoch: float(np.percentile(values, share)) for epoch, values in enough.items()}


def _others(rows: Sequence[Row], pack: int) -> list[Row]:
    return [row for row in rows if row.begun and row.pack != pack]


def _earlier(rows: Sequence[Row], mine: Sequence[Row]) -> list[Row]:
    """Trials that were asked for, and had ended, before these were: `until` says how many there were then."""
    taken = [row for row in rows if row.begun]  # as `until` counts them
    before = sum(row.number < min(one.number for one in mine) for row in taken)
    return [row for row in taken if row.until is not None and row.until <= before]
