"""The search space: a tree that mirrors the knobs, checked leaf by leaf and turned into Optuna's distributions.

    {"trainer": {"lr": {"low": 0.003, "high": 0.3, "log": True}}, "model": {"depth": {"choices": [1, 2]}}}

A leaf's dotted path (`trainer.lr`) is the knob's name and the Optuna parameter's. A leaf with `when` is a knob that
only some trials have, one with `value` a knob that is set. `model.widths` becomes a parameter for each layer,
`model.widths.0` and so on. Every error is one line for the user, which begins with its place in the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.config import Config
from lca_sweep.core.knobs import PLAIN, SPIKE_AND_SLAB_ONLY, KnobError, TrialKnobs, check_trial, flat, replace
from lca_sweep.search.conditional import Allowed, Constant, Space, When, holds
from lca_sweep.search.grid import count, deciding, size
from lca_sweep.search.leaf import WIDTHS, check_keys, constant, distribution, leaves, searched
from lca_sweep.search.when import condition, plain, refuse_cycles

__all__ = ["Space", "bounds", "knobs", "parse", "resolved"]

DEPTH, ALGORITHM = "model.depth", "trainer.algorithm"
MOST_DECIDING = 10_000  # values of a grid's knob on which others depend: they are gone through one by one


def parse(tree: Mapping[str, Any], config: Config) -> Space:
    """The distribution of each searched knob, in the tree's order; KnobError at the first leaf that makes no sense."""
    space = _space(tree, config)
    always = {name: constant.value for name, constant in space.constants.items() if not constant.when}
    base = replace(config, always)
    _refuse_idle(space, base)
    _refuse_clash(space, base)
    if always:
        check_trial(base.trial())
    if not space and (config.sweep.trials or 1) > 1:
        raise KnobError(
            f"sweep.trials={config.sweep.trials}: nothing is searched (sweep.space is empty), so all trials would be "
            "the same; choose a sweep, e.g. +sweep=mnist, or add a range, e.g. "
            "sweep.space.trainer.lr='{low: 0.01, high: 0.3}'"
        )
    if config.search.sampler == "grid":
        _refuse_no_grid(space, config)
    if config.search.sampler == "cmaes" and space:
        _refuse_no_numbers(space)
    return space


def resolved(config: Config, space: Space) -> Config:
    """The config with a number of trials where that was null: all points of the grid."""
    return replace(config, {"sweep.trials": size(space)}) if config.sweep.trials is None else config


def knobs(config: Config, params: Mapping[str, Any]) -> TrialKnobs:
    """The knobs of the trial with these parameters (by dotted name); KnobError where one is unknown or out of range.

    What the space sets is set, and a knob that this trial does not search has the config's value.
    """
    trial: TrialKnobs = replace(config.trial(), {**_together(params), **_constants(config, params)})
    check_trial(trial)
    return trial


def bounds(name: str, space: Space, config: Config) -> tuple[Any, Any]:
    """The lowest and the highest value of a trial's knob in this sweep; None, None where it is null in all trials."""
    ends = list(_ends(space[name])) if name in space else []
    ends += [space.constants[name].value] if name in space.constants else []
    if not ends or name in space.when or (name in space.constants and space.constants[name].when):
        ends.append(flat(config.trial()).get(name))  # of trials that do not have it; a layer has nothing else
    there = [end for end in ends if end is not None]
    return (min(there), max(there)) if there else (None, None)


# --- a trial's parameters as knobs -----------------------------------------------------------------------------------


def _together(params: Mapping[str, Any]) -> dict[str, Any]:
    """The widths of single layers as one knob, with the depth that they make."""
    layers = sorted(int(name[len(WIDTHS) + 1 :]) for name in params if _is_layer(name))
    found = {name: value for name, value in params.items() if not _is_layer(name)}
    widths = [params[_layer(place)] for place in layers]
    return {**found, WIDTHS: widths, DEPTH: len(widths)} if widths else found


def _layer(place: int) -> str:
    return f"{WIDTHS}.{place}"


def _is_layer(name: str) -> bool:
    return name.startswith(f"{WIDTHS}.") and name[len(WIDTHS) + 1 :].isdecimal()


def _constants(config: Config, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the space sets in the trial with these parameters."""
    base = flat(config)
    names, found = list(base), {}
    for name, leaf in leaves(config.sweep.space, names, "sweep.space"):
        if "value" in leaf and holds(plain(leaf.get("when", {}), names), params):
            found[name] = float(leaf["value"]) if isinstance(base[name], float) else leaf["value"]
    return found


# --- the tree --------------------------------------------------------------------------------------------------------


def _space(tree: Mapping[str, Any], config: Config) -> Space:
    names = list(flat(config))
    written = dict(leaves(tree, names, "sweep.space"))
    given = {name: searched(name, config) for name in written}
    for name, leaf in written.items():
        check_keys(leaf, given[name])
    values = {name: constant(leaf, given[name]) for name, leaf in written.items() if "value" in leaf}
    drawn = {name: distribution(leaf, given[name]) for name, leaf in written.items() if name not in values}
    others = {name: found for name, found in drawn.items() if name != WIDTHS}
    when = {name: condition(name, leaf["when"], names, others) for name, leaf in written.items() if "when" in leaf}
    refuse_cycles(when)
    constants = {name: Constant(value, when.pop(name, {})) for name, value in values.items()}
    if WIDTHS in drawn:
        drawn, when = _layers(Space(drawn, when, constants), config)
    return Space(drawn, when, constants)


def _layers(space: Space, config: Config) -> tuple[dict[str, BaseDistribution], dict[str, When]]:
    """A knob for each layer in the place of the one for all, which exists where the network is as deep."""
    if "model.width" in space or "model.width" in space.constants:
        raise KnobError(f"sweep.space.{WIDTHS}: cannot go with sweep.space.model.width; keep one")
    if config.model.widths is not None:
        raise KnobError(f"sweep.space.{WIDTHS}: {WIDTHS}={config.model.widths} is set (set it to null)")
    if DEPTH in space.when or (DEPTH in space.constants and space.constants[DEPTH].when):
        raise KnobError(f"sweep.space.{WIDTHS}: every trial must have a {DEPTH}; sweep.space.{DEPTH} has when")
    least, most = bounds(DEPTH, space, config)
    own = space.when.get(WIDTHS, {})
    when = {name: found for name, found in space.when.items() if name != WIDTHS}
    for place in range(most):
        deep = {DEPTH: _both(own.get(DEPTH), place + 1)} if place >= least else {}
        if found := {**own, **deep}:
            when[_layer(place)] = found
    drawn: dict[str, BaseDistribution] = {}
    for name, leaf in space.items():
        drawn |= dict.fromkeys(map(_layer, range(most)), leaf) if name == WIDTHS else {name: leaf}
    return drawn, when


def _both(own: Allowed | None, least: int) -> Allowed:
    """Depths that a leaf allows itself, and that are at least so large."""
    if own is None:
        return Allowed(low=least)
    if own.values:
        return Allowed(tuple(value for value in own.values if value >= least) or (0,))  # 0: never
    return Allowed(low=max(own.low, least), high=own.high)


def _ends(distribution: BaseDistribution) -> tuple[Any, Any]:
    if isinstance(distribution, CategoricalDistribution):
        choices: Sequence[Any] = distribution.choices
        return min(choices), max(choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return distribution.low, distribution.high


# --- what contradicts itself -----------------------------------------------------------------------------------------


def _refuse_idle(space: Space, config: Config) -> None:
    """A search of knobs that change nothing wastes trials and misleads whoever reads its result."""
    varying = [*space, *(name for name, constant in space.constants.items() if constant.when)]
    idle: dict[str, str] = {}
    if config.model.widths is not None:
        reason = f"{WIDTHS}={config.model.widths} is set (set it to null)"
        idle |= {"model.width": reason, DEPTH: reason}
    if config.prior.weight == 0 and "prior.weight" not in varying:
        reason = "prior.weight=0 (set it, or search it too)"
        idle |= {"prior.kind": reason, "prior.spike": reason, "prior.slab_variance": reason}
    if config.prior.kind == "none" and "prior.kind" not in varying:
        reason = "prior.kind=none (set it to kl, or search it too)"
        idle |= dict.fromkeys(("prior.weight", "prior.spike", "prior.slab_variance"), reason)
    if config.trainer.algorithm == "bp" and ALGORITHM not in space:
        names = ("init.spike", "init.slab_variance", "prior.weight", "prior.spike", "prior.slab_variance")
        idle |= dict.fromkeys(names, f"{PLAIN} is set (set it to gbp)")
    for name in [*space, *space.constants]:
        if name in idle:
            raise KnobError(f"sweep.space.{name}: {name} has no effect while {idle[name]}")


def _refuse_clash(space: Space, config: Config) -> None:
    """Where only some of the trials are trained by bp, none of these may have what those cannot have."""
    for name in SPIKE_AND_SLAB_ONLY if ALGORITHM in space else ():
        never = _never_with_bp(name, space)
        highest = flat(config.trial())[name] if never else bounds(name, space, config)[1]
        if highest > 0:
            said = not never and (name in space or name in space.constants)
            place = f"sweep.space.{name}" if said else f"{name}={highest}"
            raise KnobError(f"{place}: weights have no distribution with {PLAIN}, which is searched too; must be 0")


def _never_with_bp(name: str, space: Space) -> bool:
    """Whether no trial trained by bp has this knob."""
    when = space.constants[name].when if name in space.constants else space.when.get(name, {})
    direct = ALGORITHM in when and not when[ALGORITHM].holds("bp")
    return direct or any(_never_with_bp(other, space) for other in when)


def _refuse_no_grid(space: Space, config: Config) -> None:
    """Every knob has a list of values, and there are as many points as trials."""
    for name, found in space.items():
        if not count(found):
            raise KnobError(f"sweep.space.{name}: needs choices or step for search=grid")
        if name in deciding(space) and count(found) > MOST_DECIDING:
            raise KnobError(f"sweep.space.{name}: too many values for search=grid, as other knobs depend on them")
    trials, points = config.sweep.trials, size(space)
    if trials is not None and trials > points:
        raise KnobError(
            f"sweep.trials={trials}: the grid has {points} points; must be <= {points} (or null: all of them)"
        )


def _refuse_no_numbers(space: Space) -> None:
    if not any(name not in space.when and not isinstance(space[name], CategoricalDistribution) for name in space):
        raise KnobError(
            "search.sampler=cmaes: must have a knob with low and high, without when, to search; sweep.space has none"
        )
