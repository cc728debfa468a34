"""The points of a grid: all combinations of the values that the searched knobs can have.

A space is a grid if each of its knobs has choices, steps, or whole numbers between two ends. Its points are numbered in
row-major order of the space as it was written: the last knob changes first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def count(distribution: BaseDistribution) -> int:
    """How many values a searched knob has; 0 where they are no grid."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if not isinstance(distribution, (IntDistribution, FloatDistribution)) or distribution.log or not distribution.step:
        return 0
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    low, high, step = _decimals(distribution)
    return int((high - low) / step) + 1


def value(distribution: BaseDistribution, place: int) -> Any:
    """One of a knob's values, from 0: in the order of its choices, or from the lowest."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[place]
    if isinstance(distribution, IntDistribution):
        return distribution.low + place * distribution.step
    low, _, step = _decimals(distribution)
    return float(low + place * step)


def size(space: Mapping[str, BaseDistribution]) -> int:
    """How many points there are; 1 where nothing is searched."""
    return math.prod(map(count, space.values()))


def point(space: Mapping[str, BaseDistribution], index: int) -> dict[str, Any]:
    """The point of this number, from 0."""
    found = {}
    for name in reversed(list(space)):
        index, place = divmod(index, count(space[name]))
        found[name] = value(space[name], place)
    return found


def _decimals(distribution: Any) -> tuple[Decimal, Decimal, Decimal]:
    """Low, high and step as they were written, so that 0.1 and two steps of 0.1 are 0.3."""
    return Decimal(str(distribution.low)), Decimal(str(distribution.high)), Decimal(str(distribution.step))
