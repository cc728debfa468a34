"""How much training a pack is, for the time that is left."""

from __future__ import annotations

from lca_sweep.config import Pruner
from lca_sweep.core.halving import Halving, KeepAll


def make_pruner(pruner: Pruner) -> Halving | KeepAll:
    """The core's pruner for these knobs."""
    return Halving(pruner.eta, pruner.min_epochs) if pruner.name == "halving" else KeepAll()


def pack_cost(size: int, pruner: Pruner, epochs: int) -> float:
    """Trial-epochs of a pack of `size` up to `epochs`, if no trial fails."""
    rule, live, cost = make_pruner(pruner), size, 0
    for epoch in range(1, epochs + 1):
        cost += live
        live -= len(rule.leavers(epoch, dict.fromkeys(range(live), 0.0)))
    return cost
