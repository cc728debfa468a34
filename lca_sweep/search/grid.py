"""The points of a grid: all combinations of the values that the searched knobs can have, each once.

A space is a grid if each of its knobs has choices, steps, or whole numbers between two ends. Its points are numbered in
row-major order of the space as it was written, with knobs on which others depend before these: the last knob changes
first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.search.conditional import Space, holds

Params = dict[str, Any]


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
    return Grid(space).size


def point(space: Mapping[str, BaseDistribution], index: int) -> Params:
    """The point of this number, from 0."""
    return Grid(space).point(index)


def deciding(space: Space) -> set[str]:
    """The knobs on which it depends whether others exist."""
    return {other for when in space.when.values() for other in when}


class Grid:
    """All points of a space by number, in which a knob that does not exist has no value."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = Space.of(space)
        above = deciding(self.space)
        self._deciding = [name for name in self.space.order if name in above]
        self._sizes: dict[tuple[Any, ...], int] = {}
        self.size = self._following(0, {})

    def point(self, index: int) -> Params:
        """The point of this number, from 0."""
        params: Params = {}
        for place, name in enumerate(self.space.order):
            if self._exists(name, params):
                params[name], index = self._value(place, params, index)
        return {name: params[name] for name in self.space if name in params}

    def fitting(self, given: Mapping[str, Any]) -> Iterator[Params]:
        """The points that have these values, in order."""
        return (found for found in map(self.point, range(self.size)) if given.items() <= found.items())

    def _value(self, place: int, params: Params, index: int) -> tuple[Any, int]:
        """The value of the knob at `place` in the point that is the `index`-th of those with `params`, and the rest."""
        name = self.space.order[place]
        if name not in self._deciding:
            at, index = divmod(index, self._following(place + 1, params))
            return value(self.space[name], at), index
        for at in range(count(self.space[name])):
            found = value(self.space[name], at)
            following = self._following(place + 1, {**params, name: found})
            if index < following:
                return found, index
            index -= following
        raise IndexError(f"the grid has {self.size} points")

    def _following(self, place: int, params: Params) -> int:
        """How many points have these values of the knobs before `place`; which others exist they decide alone."""
        key = (place, *(params.get(name) for name in self._deciding))
        if key not in self._sizes:
            self._sizes[key] = self._count(place, params)
        return self._sizes[key]

    def _count(self, place: int, params: Params) -> int:
        if not self._deciding:
            return math.prod(count(self.space[name]) for name in self.space.order[place:])
        if place == len(self.space.order):
            return 1
        name = self.space.order[place]
        if not self._exists(name, params):
            return self._following(place + 1, params)
        values = range(count(self.space[name]))
        if name not in self._deciding:
            return len(values) * self._following(place + 1, params)
        return sum(self._following(place + 1, {**params, name: value(self.space[name], at)}) for at in values)

    def _exists(self, name: str, params: Params) -> bool:
        return holds(self.space.when.get(name, {}), params)


def _decimals(distribution: Any) -> tuple[Decimal, Decimal, Decimal]:
    """Low, high and step as they were written, so that 0.1 and two steps of 0.1 are 0.3."""
    return Decimal(str(distribution.low)), Decimal(str(distribution.high)), Decimal(str(distribution.step))
