"""The rows of a study as everybody else sees them: plain records, the best of them, and what fits a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from lca_sweep.core.objective import Goal, Scored
from lca_sweep.core.objective import best_first as by_goal
from lca_sweep.core.objective import pareto as front
from lca_sweep.search.conditional import Space

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
FIXED = "fixed_params"  # Optuna's name for the knobs of a row that waits
_NAMES = {state: name for name, state in STATES.items()}
_NAMES |= {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}


@dataclass(frozen=True)
class Row:
    """One trial as the study knows it; `values` has the (first) objective by epoch."""

    number: int
    state: str  # waiting (put in by hand), running, complete, pruned or failed
    params: Mapping[str, Any]
    values: Mapping[int, float]
    value: float | None  # the (first) objective at the end, where the trial is complete
    pack: int | None
    reason: str
    origins: tuple[int, ...] = ()  # packs that it was in before, the last one first
    until: int | None = None  # how many trials packs have once those that were asked for together are there
    scores: tuple[float, ...] = ()  # all objectives at the end, where the trial is complete; `value` is the first one
    violations: tuple[float, ...] = ()  # by how much it breaks each constraint, where it is complete; <= 0: not at all
    source: str = ""  # where the point comes from, if not from the sampler: "enqueue", "csv", "NAME/12"
    replicate: tuple[int, int] | None = None  # in the finals: the trial that is repeated, and its new seed
    given: Mapping[str, Any] = field(default_factory=dict)  # of one that waits: the knobs that it was put in with

    @property
    def begun(self) -> bool:
        """Whether it is a trial of the search that was begun: in a pack, and not there to repeat another."""
        return self.pack is not None and self.replicate is None

    @property
    def foreign(self) -> bool:
        """Whether it is what an earlier sweep has found: samplers learn from it, and it is no trial of this sweep."""
        return bool(self.source) and self.pack is None and self.state in ("complete", "pruned")


def contenders(rows: Sequence[Row]) -> dict[int, Scored]:
    """The complete trials that may be the best, by number: trained in this sweep, and not to repeat another."""
    return {
        row.number: Scored(row.scores or (row.value,), row.violations)
        for row in rows
        if row.value is not None and row.begun
    }


def best_first(rows: Sequence[Row], goal: Goal) -> list[Row]:
    """The complete trials, best first: by front, in each by the first objective (ties: the earlier one)."""
    found = {row.number: row for row in rows}
    return [found[number] for number in by_goal(goal, contenders(rows))]


def pareto(rows: Sequence[Row], goal: Goal) -> list[Row]:
    """The complete trials that keep all constraints and that no other such one dominates, by first objective."""
    best = set(front(goal, contenders(rows)))
    return [row for row in best_first(rows, goal) if row.number in best]


def row_of(trial: FrozenTrial, space: Space) -> Row:
    """A trial of Optuna's in a study of this space."""
    attrs, done = trial.user_attrs, trial.state == TrialState.COMPLETE
    # what an older version left half-written belongs to no pack yet
    half = not trial.state.is_finished() and not Space.of(space).whole(trial.params)
    return Row(
        number=trial.number,
        state=_NAMES[trial.state],
        params=trial.params,
        values=trial.intermediate_values,
        value=trial.values[0] if done else None,
        pack=None if half else attrs.get("pack"),
        reason="" if done else attrs.get("reason", ""),
        origins=tuple(attrs.get("origins", ())),
        until=attrs.get("until"),
        scores=tuple(trial.values) if done else (),
        violations=tuple(trial.system_attrs.get("constraints", ())) if done else (),
        source=attrs.get("source", ""),
        replicate=tuple(attrs["replicate"]) if attrs.get("replicate") else None,
        given=trial.system_attrs.get(FIXED, {}) if trial.state == TrialState.WAITING else {},
    )


def misfit(params: Mapping[str, Any], space: Space) -> str:
    """A parameter of a row that others put in which a sweep of this space cannot have; empty if there is none.

    A knob that not every trial has must come with those on which that depends.
    """
    active = Space.of(space).active(params)
    for name, value in params.items():
        if name not in active or not _holds(space[name], value):
            return f"{name}={' '.join(str(value).split())[:80]}"
    return ""


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is of the right type and in the range: Optuna takes True for 1, and "0.1" for 0.1."""
    if isinstance(distribution, CategoricalDistribution):
        fits = any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in distribution.choices
        )
    else:
        fits = isinstance(value, Integral if isinstance(distribution, IntDistribution) else Real) and not isinstance(
            value, bool
        )
    if not fits:
        return False
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError, OverflowError):
        return False


def group_by_pack(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows of each pack, packs in order."""
    packs: dict[int, list[Row]] = {}
    for row in rows:
        if row.pack is not None:
            packs.setdefault(row.pack, []).append(row)
    return dict(sorted(packs.items()))
