"""The unit interval and a knob's values: equal lengths are equally likely values, on the knob's own scale."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from lca_sweep.search import grid


def value(distribution: BaseDistribution, place: float) -> Any:
    """The knob's value at a place in [0, 1]; where its values can be counted, each has its own stretch."""
    if stretches := grid.count(distribution):
        return grid.value(distribution, min(int(place * stretches), stretches - 1))
    low, high, number = _ends(distribution)
    found = low + place * (high - low)
    found = math.exp(found) if number.log else found
    if isinstance(number, IntDistribution):
        return min(max(round(found), number.low), number.high)
    return min(max(found, number.low), number.high)  # for exp(log(x)) is not always x


def place(distribution: BaseDistribution, value: Any) -> float:
    """Where a number lies in [0, 1]; in the middle of its stretch, where it has one."""
    low, high, number = _ends(distribution)
    if stretches := grid.count(distribution):
        return float((round((value - number.low) / (number.step or 1)) + 0.5) / stretches)
    return ((math.log(value) if number.log else float(value)) - low) / (high - low)


def _ends(distribution: BaseDistribution) -> tuple[float, float, IntDistribution | FloatDistribution]:
    """Of the scale on which numbers are drawn evenly; whole ones reach half a step further."""
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if not distribution.log:
        return float(distribution.low), float(distribution.high), distribution
    half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    return math.log(distribution.low - half), math.log(distribution.high + half), distribution
