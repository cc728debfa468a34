"""A space, and which of its knobs a trial has: some exist only where others have certain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Allowed:
    """Some values of a knob: those that are listed, or else all from `low` to `high`, both included."""

    values: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def holds(self, value: Any) -> bool:
        """Whether a value is among them."""
        if self.values:
            return value in self.values
        return isinstance(value, (int, float)) and self.low <= value <= self.high


When = Mapping[str, Allowed]  # all of these knobs must have such a value


def holds(when: When, params: Mapping[str, Any]) -> bool:
    """Whether a trial with these parameters, all of which exist, meets a condition."""
    return all(name in params and allowed.holds(params[name]) for name, allowed in when.items())


@dataclass(frozen=True)
class Constant:
    """A value that a knob has in all trials, or in those that meet the condition."""

    value: Any
    when: When = field(default_factory=dict)


class Space(dict[str, BaseDistribution]):
    """The distribution of each searched knob by its dotted name, in the order in which the space was written.

    `when` has the conditions of the knobs that not every trial has, `constants` the values of knobs that are set.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution] | None = None,
        when: Mapping[str, When] | None = None,
        constants: Mapping[str, Constant] | None = None,
    ) -> None:
        super().__init__(distributions or {})
        self.when, self.constants = dict(when or {}), dict(constants or {})
        self.order = list(dict.fromkeys(above for name in self for above in (*self.above(name), name)))

    @classmethod
    def of(cls, distributions: Mapping[str, BaseDistribution]) -> Space:
        """The same, where it is a space already; else one whose knobs every trial has."""
        return distributions if isinstance(distributions, Space) else cls(distributions)

    def above(self, name: str) -> Iterator[str]:
        """The knobs on which it depends whether this one exists, those above them first."""
        for other in self.when.get(name, {}):
            yield from self.above(other)
            yield other

    def active(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The knobs that exist, as far as these values decide it: all that a trial has once none of them is missing."""
        if not self.when:
            return self
        found: dict[str, Any] = {}
        for name in self.order:
            if holds(self.when.get(name, {}), found):
                found[name] = params.get(name, math.nan)  # what has no value yet lies in no range
        return {name: self[name] for name in self if name in found}

    def next(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The knobs that exist and have no value yet, by name: they are proposed together."""
        return {name: self[name] for name in sorted(self.active(params)) if name not in params}

    def whole(self, params: Mapping[str, Any]) -> bool:
        """Whether no knob is missing."""
        return self.active(params).keys() <= params.keys()

    def exact(self, params: Mapping[str, Any]) -> bool:
        """Whether these are the knobs of a trial, none missing and none too many."""
        return self.active(params).keys() == params.keys()
