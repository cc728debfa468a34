"""One leaf of the search space: what is written there is checked and becomes a distribution, or a constant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import UnionType
from typing import Any, get_args, get_type_hints

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.config import Config
from lca_sweep.core.knobs import KnobError, Range, nearest, walk, written

WIDTHS = "model.widths"  # the only knob that is searched item by item
LEAF = ("low", "high", "log", "step", "choices", "value", "when")


@dataclasses.dataclass(frozen=True)
class Searched:
    """A knob to be searched: its name, the type of its value, and its range."""

    name: str
    kind: type
    range: Range

    def error(self, text: str) -> KnobError:
        """The error in the user's terms: the leaf's place as one writes it on the command line, then `text`."""
        return KnobError(f"sweep.space.{self.name}{text}")


def leaves(tree: Mapping[str, Any], names: list[str], place: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, what is written there) of each knob in a tree; a path that leads to no knob is an error."""
    for key, node in tree.items():
        path = f"{prefix}{key}"
        if not isinstance(key, str) or "." in key:
            raise KnobError(f"{place}: {key!r} cannot be a key; nest the parts of a name, e.g. trainer: {{lr: ...}}")
        section = any(name.startswith(f"{path}.") for name in names)
        if path not in names and not section:
            raise KnobError(f"{place}.{path}: no such knob{nearest(path, names)}")
        if section and not isinstance(node, Mapping):
            raise KnobError(f"{place}.{path}={written(node)}: must be a tree of knobs")
        if section:
            yield from leaves(node, names, place, f"{path}.")
        else:
            yield path, node


def searched(path: str, config: Config) -> Searched:
    """The knob at the path; KnobError if it is not a trial's, or has no single value."""
    ranges = {name: range for name, _, range in walk(config.trial())}
    kind = int if path == WIDTHS else dict(_kinds(config)).get(path)
    if path not in ranges:
        reason = "belongs to the sweep, not to a trial"
    elif not ranges[path].searchable:
        reason = "changes what is recorded, not how a trial is trained"
    elif kind not in (int, float, str, bool):
        reason = "is not a single value"
    else:
        return Searched(path, kind, ranges[path])
    raise KnobError(f"sweep.space.{path}: {path} {reason}, so it cannot be searched; set {path} itself")


def _kinds(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, type) of every knob below a dataclass instance; of one that may be null, the type it has else."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _kinds(value, f"{prefix}{name}.")
        else:
            kinds = [kind for kind in get_args(hint) if kind is not type(None)]
            yield f"{prefix}{name}", kinds[0] if isinstance(hint, UnionType) and len(kinds) == 1 else hint


def check_keys(leaf: Any, knob: Searched) -> None:
    """Raise KnobError unless these keys can stand together in a leaf."""
    if not isinstance(leaf, Mapping):
        expected = "{low: ..., high: ...}, {choices: [...]} or {value: ...}"
        raise KnobError(f"sweep.space.{knob.name}={written(leaf)}: must be {expected}")
    for key in leaf:
        if key not in LEAF:
            raise knob.error(f".{key}: there is no {key!r} in a range{nearest(str(key), LEAF)} ({', '.join(LEAF)})")
    for alone in ("value", "choices"):
        others = ", ".join(key for key in leaf if key not in (alone, "when"))
        if alone in leaf and others:
            raise knob.error(f": {alone} cannot go with {others}; on the command line, remove them with ~ first")


def constant(leaf: Mapping[str, Any], knob: Searched) -> Any:
    """The value of a leaf that has one."""
    if knob.name == WIDTHS:
        raise knob.error(f".value: set {WIDTHS} itself, e.g. {WIDTHS}=[100,50]; or for equal layers model.width")
    return value_of(leaf["value"], knob, ".value")


def distribution(leaf: Mapping[str, Any], knob: Searched) -> BaseDistribution:
    """What a leaf with choices, or with low and high, is drawn from."""
    if "choices" in leaf:
        return _categorical(leaf["choices"], knob)
    if "low" not in leaf or "high" not in leaf:
        raise knob.error(f": must have low and high, or choices; has {', '.join(leaf) or 'nothing'}")
    return _interval(leaf, knob)


def _interval(leaf: Mapping[str, Any], knob: Searched) -> BaseDistribution:
    """Low to high, both included, on a linear, logarithmic or stepped scale."""
    if knob.kind not in (int, float) or knob.range.choices:
        raise knob.error(f": {knob.name} is not a free number, so it has no low and high; give choices")
    low, high = value_of(leaf["low"], knob, ".low"), value_of(leaf["high"], knob, ".high")
    if low > high:
        raise knob.error(f": low={low} is above high={high}")
    if low == high:
        raise _one_value(low, knob)
    log, step = _log(leaf, low, knob), _step(leaf, low, high, knob)
    if knob.kind is int:
        return IntDistribution(low, high, log=log, step=1 if step is None else step)
    return FloatDistribution(low, high, log=log, step=step)


def _log(leaf: Mapping[str, Any], low: float, knob: Searched) -> bool:
    log = leaf.get("log", False)
    if not isinstance(log, bool):
        raise knob.error(f".log={written(log)}: must be true or false")
    if log and low <= 0:
        raise knob.error(f".low={low}: must be > 0 on a logarithmic scale (log=true)")
    if log and "step" in leaf:
        raise knob.error(f".step={written(leaf['step'])}: cannot go with log=true; keep one")
    return log


def _step(leaf: Mapping[str, Any], low: float, high: float, knob: Searched) -> Any:
    """The distance of neighbouring values, or None; it must lead from low to high exactly."""
    if "step" not in leaf:
        return None
    step = _number(leaf["step"], knob, ".step")
    if not 0 < step < float("inf"):
        raise knob.error(f".step={step}: must be > 0 and finite")
    if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) != 0:  # in decimals, as Optuna counts
        raise knob.error(f".step={step}: must lead from low={low} to high={high} in whole steps")
    return step


def _categorical(choices: Any, knob: Searched) -> BaseDistribution:
    if not isinstance(choices, (list, tuple)) or not choices:
        raise knob.error(f".choices={written(choices)}: must be a list of at least two values")
    values = [value_of(choice, knob, f".choices[{place}]") for place, choice in enumerate(choices)]
    for place, value in enumerate(values):
        if value in values[:place]:
            raise knob.error(f".choices={choices}: has {value} twice")
    if len(values) == 1:
        raise _one_value(values[0], knob)
    return CategoricalDistribution(values)


def value_of(value: Any, knob: Searched, place: str) -> Any:
    """A value that the knob can take, of the knob's own type; KnobError naming its place if it cannot."""
    if knob.kind in (int, float):
        value = _number(value, knob, place)
    elif not isinstance(value, knob.kind):
        raise knob.error(f"{place}={written(value)}: must be {'text' if knob.kind is str else 'true or false'}")
    if not knob.range.holds(value):
        raise knob.error(f"{place}={value}: {knob.range.allowed() or 'must be a finite number'}, as {knob.name}")
    return value


def _number(value: Any, knob: Searched, place: str) -> Any:
    """An int for a knob of whole numbers, a float for any other; True and "3" are no numbers."""
    whole = knob.kind is int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise knob.error(f"{place}={written(value)}: must be a {'whole ' if whole else ''}number, as {knob.name}")
    return value if whole else float(value)


def _one_value(value: Any, knob: Searched) -> KnobError:
    remedy = f"write {{value: {value}}}, or take it out ('~sweep.space.{knob.name}') and set {knob.name}={value}"
    return knob.error(f": has only the value {value}, so there is nothing to search; {remedy}")
