"""What plots of a search show: a sweep's own trials, as studies of Optuna's in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from lca_sweep.core.objective import Goal, Objective, Scored, best_first
from lca_sweep.search.space import Space
from lca_sweep.search.study import Row, misfit

KNOBS = 12  # that are drawn
SOME, EPOCHS = 200, 50  # trials, and epochs of each, that are drawn where not all can be
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


@dataclass(frozen=True)
class Shown:
    """The trials that belong to a sweep, the complete ones best first, and what they were for."""

    rows: Sequence[Row]
    done: Sequence[Row]
    space: Space
    goal: Goal

    @classmethod
    def of(cls, rows: Sequence[Row], space: Space, goal: Goal) -> Shown:
        """Without what others have put into the study, and without the finals."""
        ours = [row for row in rows if row.pack is not None and row.replicate is None and row.state in STATES]
        ours = [row for row in ours if not misfit(row.params, space)]
        done = {row.number: row for row in ours if row.value is not None and all(map(math.isfinite, scores(row)))}
        order = best_first(goal, {number: Scored(scores(row), row.violations) for number, row in done.items()})
        return cls(ours, [done[number] for number in order], space, goal)

    @cached_property
    def knobs(self) -> list[str]:
        """Those that differ between complete trials, seeds aside."""
        names = [name for name in self.space if not name.endswith("seed")]
        return [name for name in names if len({str(row.params.get(name)) for row in self.done}) > 1][:KNOBS]

    @cached_property
    def shared(self) -> list[str]:
        """Those of them that every complete trial has."""
        return [name for name in self.knobs if all(name in row.params for row in self.done)]


@dataclass(frozen=True)
class OneObjective:
    """The complete trials by one objective alone."""

    shown: Shown
    place: int  # of the objective

    @property
    def objective(self) -> Objective:
        """Which one."""
        return self.shown.goal.objectives[self.place]

    @property
    def metric(self) -> str:
        """Its name."""
        return self.objective.metric

    @cached_property
    def some(self) -> list[Row]:
        """All complete trials, or so many that a figure can hold."""
        sign = self.objective.sign
        order = sorted(self.shown.done, key=lambda row: (-sign * scores(row)[self.place], row.number))
        return evenly(order, SOME)

    @cached_property
    def flat(self) -> bool:
        """Whether all trials do equally well."""
        return len({scores(row)[self.place] for row in self.shown.done}) < 2

    @cached_property
    def whole_study(self) -> optuna.Study:
        """Of all of them."""
        return self.study(self.shown.done)

    @cached_property
    def small_study(self) -> optuna.Study:
        """Of some of them."""
        return self.whole_study if len(self.some) == len(self.shown.done) else self.study(self.some)

    def study(self, rows: Sequence[Row]) -> optuna.Study:
        """Of these trials."""
        return study_of(rows, self.shown.space, [self.objective.maximize], lambda row: [scores(row)[self.place]])


def scores(row: Row) -> tuple[float, ...]:
    """All objectives of a complete trial."""
    return row.scores or (math.nan if row.value is None else row.value,)


def keeps(row: Row) -> bool:
    """Whether a complete trial keeps all constraints."""
    return max(row.violations, default=0.0) <= 0


def study_of(
    rows: Sequence[Row],
    space: Space,
    maximize: Sequence[bool],
    values: Callable[[Row], Sequence[float]],
    curves: bool = False,
) -> optuna.Study:
    """A study in which each trial has its number; the numbers between are failed trials without anything.

    `values`: of a complete trial, one for each direction; `curves`: with the objective by epoch.
    """
    study = optuna.create_study(directions=["maximize" if up else "minimize" for up in maximize])
    known = {row.number: row for row in rows}
    for number in range(max(known, default=-1) + 1):
        row = known.get(number)
        study.add_trial(_trial(row, space, values, curves) if row else create_trial(state=TrialState.FAIL))
    return study


def _trial(row: Row, space: Space, values: Callable[[Row], Sequence[float]], curves: bool) -> FrozenTrial:
    done = row.value is not None
    names = [name for name in space if name in row.params]
    return create_trial(
        state=STATES[row.state],
        params={name: row.params[name] for name in names},
        distributions={name: space[name] for name in names},
        values=list(values(row)) if done else None,
        constraints={str(place): x for place, x in enumerate(row.violations)} if done and row.violations else None,
        intermediate_values=_thin(row.values) if curves else None,
    )


def evenly(rows: Sequence[Row], most: int) -> list[Row]:
    """So many of the rows, evenly from the first to the last, which are among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


def _thin(values: Mapping[int, float]) -> dict[int, float]:
    epochs = sorted(values)
    if len(epochs) > EPOCHS:
        epochs = [epochs[round(place * (len(epochs) - 1) / (EPOCHS - 1))] for place in range(EPOCHS)]
    return {epoch: values[epoch] for epoch in epochs}
