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


def pack_cost(size: int, pruner: Pruner, epochs: int, upto: int | None = None, pack: int | None = None) -> float:
    """Trial-epochs of a pack of `size` with so many `epochs`, up to the epoch `upto`, if no trial fails.

    With hyperband `pack` tells the bracket; without one, the mean of all brackets. What median and percentile will save
    cannot be known.
    """
    rule, last = make_pruner(pruner), epochs if upto is None else upto
    brackets = rule.brackets(epochs) if isinstance(rule, Hyperband) else 1
    packs = range(brackets) if pack is None else (pack,)
    return sum(_cost(size, rule.within(one, epochs, {}), last) for one in packs) / len(packs)


def _cost(size: int, rule: halving.Pruner, upto: int) -> int:
    live, cost = size, 0
    for epoch in range(1, upto + 1):
        cost += live
        live = rule.stay(epoch, live)
    return cost
