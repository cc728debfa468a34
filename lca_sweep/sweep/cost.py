"""The pruner that a sweep's knobs ask for, and how much training a pack is with it, for the time that is left."""

from __future__ import annotations

from lca_sweep.config import Pruner
from lca_sweep.core import halving
from lca_sweep.core.bar import Bar
from lca_sweep.core.halving import Halving, Hyperband, KeepAll


def make_pruner(pruner: Pruner) -> halving.Pruner:
    """The core's pruner for these knobs."""
    rules: dict[str, halving.Pruner] = {
        "none": KeepAll(),
        "halving": Halving(pruner.eta, pruner.min_epochs),
        "hyperband": Hyperband(pruner.eta, pruner.min_epochs),
        "median": Bar("median"),
        "percentile": Bar(f"best {pruner.percentile:g} %"),
    }
    return rules[pruner.name]


def pack_costs(size: int, pruner: Pruner, epochs: int, pack: int | None = None) -> list[float]:
    """Trial-epochs of a pack of `size` up to each epoch, from 0 to its last one, `epochs`, if no trial fails.

    With hyperband `pack` tells the bracket; without one, the mean of all brackets. What median and percentile will save
    cannot be known.
    """
    rule = make_pruner(pruner)
    brackets = rule.brackets(epochs) if isinstance(rule, Hyperband) else 1
    packs = range(brackets) if pack is None else (pack,)
    curves = [_costs(size, rule.within(one, epochs, {}), epochs) for one in packs]
    return [sum(column) / len(curves) for column in zip(*curves, strict=True)]


def _costs(size: int, rule: halving.Pruner, epochs: int) -> list[int]:
    live, costs = size, [0]
    for epoch in range(1, epochs + 1):
        costs.append(costs[-1] + live)
        live = rule.stay(epoch, live)
    return costs
