"""A leaf's `when`: a tree like the knobs' that says for which values of other searched knobs this one exists.

{"trainer": {"algorithm": "gbp"}}, {"model": {"depth": [2, 3]}}, {"model": {"depth": {"low": 2}}}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.core.knobs import KnobError, written
from lca_sweep.search.conditional import Allowed, When
from lca_sweep.search.leaf import leaves

ENDS = ("low", "high")


def plain(tree: Mapping[str, Any], names: list[str]) -> When:
    """The condition that a tree says, unchecked."""
    return {other: _allowed(spec) for other, spec in leaves(tree, names, "when")}


def condition(knob: str, tree: Any, names: list[str], others: Mapping[str, BaseDistribution]) -> When:
    """The condition of a leaf where `others` are the searched knobs; KnobError if it makes no sense."""
    place = f"sweep.space.{knob}.when"
    if not isinstance(tree, Mapping) or not tree:
        raise KnobError(f"{place}={written(tree)}: must be a tree of other knobs with their values")
    found = {}
    for other, spec in leaves(tree, names, place):
        if other not in others:
            raise KnobError(f"{place}.{other}: {other} is not searched; must be a knob of sweep.space with a range")
        for value in _never(spec, others[other], f"{place}.{other}"):
            raise KnobError(f"{place}.{other}={written(value)}: {other} never has that value in sweep.space")
        found[other] = _allowed(spec)
    return found


def refuse_cycles(conditions: Mapping[str, When]) -> None:
    """Raise KnobError if it depends on a knob's own value whether it exists."""
    try:
        TopologicalSorter(conditions).prepare()
    except CycleError as error:
        first, *others = sorted(set(error.args[1]))
        through = f" through {' and '.join(others)}" if others else ""
        raise KnobError(f"sweep.space.{first}.when: {first} depends on itself{through}") from error


def _allowed(spec: Any) -> Allowed:
    if isinstance(spec, Mapping):
        return Allowed(low=spec.get("low", -math.inf), high=spec.get("high", math.inf))
    return Allowed(tuple(spec)) if isinstance(spec, (list, tuple)) else Allowed((spec,))


def _never(spec: Any, other: BaseDistribution, place: str) -> Iterator[Any]:
    """What is asked for of another knob that it never has."""
    if isinstance(spec, Mapping):
        _check_ends(spec, other, place)
        if not _meets(_allowed(spec), other):
            yield dict(spec)
        return
    if isinstance(other, FloatDistribution) and not other.step:
        raise KnobError(f"{place}={written(spec)}: single values are never drawn; say {{low: ...}} or {{high: ...}}")
    values: Sequence[Any] = spec if isinstance(spec, (list, tuple)) else [spec]
    yield from (value for value in values if not _drawn(value, other))
    if not values:
        yield spec


def _check_ends(spec: Mapping[str, Any], other: BaseDistribution, place: str) -> None:
    numbers = not isinstance(other, CategoricalDistribution) or not any(isinstance(c, str) for c in other.choices)
    fits = all(key in ENDS and isinstance(end, (int, float)) for key, end in spec.items())
    if not spec or not fits or not numbers:
        ends = ", or {low: ...} and {high: ...}" if numbers else ""
        raise KnobError(f"{place}={written(dict(spec))}: must be a value, or a list of values{ends}")


def _meets(allowed: Allowed, other: BaseDistribution) -> bool:
    """Whether another knob has a value in an interval."""
    if isinstance(other, CategoricalDistribution):
        return any(allowed.holds(choice) for choice in other.choices)
    assert isinstance(other, (IntDistribution, FloatDistribution))
    low, step = max(allowed.low, other.low), other.step or 0
    if step and other.low < low:
        low = other.low + math.ceil((low - other.low) / step - 1e-9) * step
    return low <= min(allowed.high, other.high)


def _drawn(value: Any, other: BaseDistribution) -> bool:
    """Whether another knob can have this value."""
    if isinstance(other, CategoricalDistribution):
        return value in other.choices
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and (isinstance(value, int) or isinstance(other, FloatDistribution)) and other._contains(float(value))
