"""The search space: a tree that mirrors the knobs, checked leaf by leaf and turned into Optuna's distributions.

    {"trainer": {"lr": {"low": 0.003, "high": 0.3, "log": True}}, "model": {"depth": {"choices": [1, 2]}}}

A leaf's dotted path (`trainer.lr`) is the knob's name and the Optuna parameter's. Every error is one line for the user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import UnionType
from typing import Any, get_args, get_type_hints

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.config import Config
from lca_sweep.core.knobs import (
    PLAIN,
    SPIKE_AND_SLAB_ONLY,
    KnobError,
    Range,
    TrialKnobs,
    check_trial,
    flat,
    nearest,
    replace,
    walk,
    written,
)
from lca_sweep.search.grid import count, size

Space = dict[str, BaseDistribution]

LEAF = ("low", "high", "log", "step", "choices")


@dataclasses.dataclass(frozen=True)
class Searched:
    """A knob to be searched: its name, the type of its value, and its range."""

    name: str
    kind: type
    range: Range

    def error(self, text: str) -> KnobError:
        """The error in the user's terms: the leaf's place as one writes it on the command line, then `text`."""
        return KnobError(f"sweep.space.{self.name}{text}")


def parse(tree: Mapping[str, Any], config: Config) -> Space:
    """The distribution of each searched knob, in the tree's order; KnobError at the first leaf that makes no sense."""
    space = {}
    for path, leaf in _leaves(tree, list(flat(config))):
        space[path] = _distribution(leaf, _searched(path, config))
    _refuse_idle(space, config)
    _refuse_clash(space, config)
    if not space and (config.sweep.trials or 1) > 1:
        raise KnobError(
            f"sweep.trials={config.sweep.trials}: nothing is searched (sweep.space is empty), so all trials would be "
            "the same; choose a sweep, e.g. +sweep=mnist, or add a range, e.g. "
            "sweep.space.trainer.lr='{low: 0.01, high: 0.3}'"
        )
    if config.search.sampler == "grid":
        _refuse_no_grid(space, config)
    return space


def resolved(config: Config, space: Space) -> Config:
    """The config with a number of trials where that was null: all points of the grid."""
    return replace(config, {"sweep.trials": size(space)}) if config.sweep.trials is None else config


def knobs(config: Config, params: Mapping[str, Any]) -> TrialKnobs:
    """The knobs of the trial with these parameters (by dotted name); KnobError where one is unknown or out of range."""
    trial: TrialKnobs = replace(config.trial(), params)
    check_trial(trial)
    return trial


def bounds(name: str, space: Space, config: Config) -> tuple[Any, Any]:
    """The lowest and the highest value of a trial's knob in this sweep; None, None where it is null."""
    searched = space.get(name)
    if isinstance(searched, CategoricalDistribution):
        choices: Sequence[Any] = searched.choices
        return min(choices), max(choices)
    if isinstance(searched, (IntDistribution, FloatDistribution)):
        return searched.low, searched.high
    value = flat(config.trial())[name]
    return value, value


def _leaves(tree: Mapping[str, Any], names: list[str], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted path, leaf) of each knob in the tree; a path that leads to no knob is an error."""
    for key, node in tree.items():
        path = f"{prefix}{key}"
        if not isinstance(key, str) or "." in key:
            raise KnobError(
                f"sweep.space: {key!r} cannot be a key; nest the parts of a name, e.g. trainer: {{lr: ...}}"
            )
        section = any(name.startswith(f"{path}.") for name in names)
        if path not in names and not section:
            raise KnobError(f"sweep.space.{path}: no such knob{nearest(path, names)}")
        if not isinstance(node, Mapping):
            expected = "a tree of knobs" if section else "{low: ..., high: ...} or {choices: [...]}"
            raise KnobError(f"sweep.space.{path}={written(node)}: must be {expected}")
        if section:
            yield from _leaves(node, names, f"{path}.")
        else:
            yield path, node


def _searched(path: str, config: Config) -> Searched:
    """The knob at the path; KnobError if it is not a trial's, or has no single value."""
    ranges = {name: range for name, _, range in walk(config.trial())}
    kind = dict(_kinds(config)).get(path)
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


def _distribution(leaf: Mapping[str, Any], knob: Searched) -> BaseDistribution:
    for key in leaf:
        if key not in LEAF:
            raise knob.error(f".{key}: there is no {key!r} in a range{nearest(str(key), LEAF)} ({', '.join(LEAF)})")
    if "choices" in leaf and len(leaf) > 1:
        others = ", ".join(key for key in leaf if key != "choices")
        raise knob.error(f": choices cannot go with {others}; on the command line, remove them with ~ first")
    if "choices" in leaf:
        return _categorical(leaf["choices"], knob)
    if "low" not in leaf or "high" not in leaf:
        raise knob.error(f": must have low and high, or choices; has {', '.join(leaf) or 'nothing'}")
    return _interval(leaf, knob)


def _interval(leaf: Mapping[str, Any], knob: Searched) -> BaseDistribution:
    """Low to high, both included, on a linear, logarithmic or stepped scale."""
    if knob.kind not in (int, float) or knob.range.choices:
        raise knob.error(f": {knob.name} is not a free number, so it has no low and high; give choices")
    low, high = _value(leaf["low"], knob, ".low"), _value(leaf["high"], knob, ".high")
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
    values = [_value(choice, knob, f".choices[{place}]") for place, choice in enumerate(choices)]
    for place, value in enumerate(values):
        if value in values[:place]:
            raise knob.error(f".choices={choices}: has {value} twice")
    if len(values) == 1:
        raise _one_value(values[0], knob)
    return CategoricalDistribution(values)


def _value(value: Any, knob: Searched, place: str) -> Any:
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
    remedy = f"take it out ('~sweep.space.{knob.name}') and set {knob.name}={value}"
    return knob.error(f": has only the value {value}, so there is nothing to search; {remedy}")


def _refuse_idle(space: Space, config: Config) -> None:
    """A search of knobs that change nothing wastes trials and misleads whoever reads its result."""
    idle: dict[str, str] = {}
    if config.model.widths is not None:
        reason = f"model.widths={config.model.widths} is set (set it to null)"
        idle |= {"model.width": reason, "model.depth": reason}
    if config.prior.weight == 0 and "prior.weight" not in space:
        reason = "prior.weight=0 (set it, or search it too)"
        idle |= {"prior.kind": reason, "prior.spike": reason, "prior.slab_variance": reason}
    if config.prior.kind == "none" and "prior.kind" not in space:
        reason = "prior.kind=none (set it to kl, or search it too)"
        idle |= dict.fromkeys(("prior.weight", "prior.spike", "prior.slab_variance"), reason)
    if config.trainer.algorithm == "bp" and "trainer.algorithm" not in space:
        names = ("init.spike", "init.slab_variance", "prior.weight", "prior.spike", "prior.slab_variance")
        idle |= dict.fromkeys(names, f"{PLAIN} is set (set it to gbp)")
    for name in space:
        if name in idle:
            raise KnobError(f"sweep.space.{name}: {name} has no effect while {idle[name]}")


def _refuse_clash(space: Space, config: Config) -> None:
    """Where only some of the trials are trained by bp, none may have what those cannot have."""
    for name in SPIKE_AND_SLAB_ONLY if "trainer.algorithm" in space else ():
        highest = bounds(name, space, config)[1]
        if highest > 0:
            place = f"sweep.space.{name}" if name in space else f"{name}={highest}"
            raise KnobError(f"{place}: weights have no distribution with {PLAIN}, which is searched too; must be 0")


def _refuse_no_grid(space: Space, config: Config) -> None:
    """Every knob has a list of values, and there are as many points as trials."""
    for name, distribution in space.items():
        if not count(distribution):
            raise KnobError(f"sweep.space.{name}: needs choices or step for search=grid")
    trials, points = config.sweep.trials, size(space)
    if trials is not None and trials > points:
        raise KnobError(
            f"sweep.trials={trials}: the grid has {points} points; must be <= {points} (or null: all of them)"
        )
