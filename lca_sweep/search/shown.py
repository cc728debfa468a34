"""What plots of a search show: a sweep's own trials, as studies of Optuna's in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from lca_sweep.core.objective import Goal, Objective, Scored, best_first
from lca_sweep.core.short import short_names
from lca_sweep.search.reading import half_reach
from lca_sweep.search.rows import Row, misfit
from lca_sweep.search.space import Space

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
        """Without what others have put into the study, and without the finals; knobs by their short names."""
        ours = [row for row in rows if row.begun and row.state in STATES]
        ours = [row for row in ours if not misfit(row.params, space)]
        names = short_names(space)
        ours = [replace(row, params={names[name]: value for name, value in row.params.items()}) for row in ours]
        space = Space({names[name]: distribution for name, distribution in space.items()})
        done = {row.number: row for row in ours if row.value is not None and all(map(math.isfinite, scores(row)))}
        order = best_first(goal, {number: Scored(scores(row), row.violations) for number, row in done.items()})
        return cls(ours, [done[number] for number in order], space, goal)

    @cached_property
    def ended(self) -> list[Row]:
        """Those that are complete or were pruned, by number."""
        return [row for row in self.rows if row.values and row.state in ("complete", "pruned")]


@dataclass(frozen=True)
class OneObjective:
    """Trials compared by one objective alone.

    By the first one they are compared as importances are: at the last epoch that at least half of them have reached, so
    that those that left early count too. The others are known of complete trials only, at their end.
    """

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
    def epoch(self) -> int:
        """At which trials are compared; 0: at their end."""
        return half_reach(self.shown.ended) if self.place == 0 and self.shown.ended else 0

    @cached_property
    def values(self) -> dict[int, float]:
        """Of the trials that are compared, by number."""
        if self.epoch:
            found = {row.number: row.values.get(self.epoch, math.nan) for row in self.shown.ended}
        else:
            found = {row.number: scores(row)[self.place] for row in self.shown.done}
        return {number: value for number, value in found.items() if math.isfinite(value)}

    @cached_property
    def compared(self) -> list[Row]:
        """Trials that are compared, best first."""
        known = [row for row in self.shown.rows if row.number in self.values]
        return sorted(known, key=lambda row: (-self.objective.sign * self.values[row.number], row.number))

    @cached_property
    def some(self) -> list[Row]:
        """All of them, or so many that a figure can hold."""
        return evenly(self.compared, SOME)

    @cached_property
    def flat(self) -> bool:
        """Whether all trials do equally well."""
        return len(set(self.values.values())) < 2

    @cached_property
    def knobs(self) -> list[str]:
        """Those that differ between the trials, seeds aside."""
        names = [name for name in self.shown.space if not name.endswith("seed")]
        return [name for name in names if len({str(row.params.get(name)) for row in self.compared}) > 1][:KNOBS]

    @cached_property
    def shared(self) -> list[str]:
        """Those of them that every trial has."""
        return [name for name in self.knobs if all(name in row.params for row in self.compared)]

    @cached_property
    def whole_study(self) -> optuna.Study:
        """Of all of them."""
        return self.study(self.compared)

    @cached_property
    def small_study(self) -> optuna.Study:
        """Of some of them."""
        return self.whole_study if len(self.some) == len(self.compared) else self.study(self.some)

    def study(self, rows: Sequence[Row]) -> optuna.Study:
        """Of these trials."""
        return study_of(rows, self.shown.space, [self.objective.maximize], lambda row: [self.values[row.number]])


def scores(row: Row) -> tuple[float, ...]:
    """All objectives of a complete trial; of others none."""
    return () if row.value is None else row.scores or (row.value,)


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

    `values`: one for each direction, which make a trial a complete one, or nothing; `curves`: the objective by epoch.
    """
    study = optuna.create_study(directions=["maximize" if up else "minimize" for up in maximize])
    known = {row.number: row for row in rows}
    for number in range(max(known, default=-1) + 1):
        row = known.get(number)
        study.add_trial(_trial(row, space, values, curves) if row else create_trial(state=TrialState.FAIL))
    return study


def _trial(row: Row, space: Space, values: Callable[[Row], Sequence[float]], curves: bool) -> FrozenTrial:
    found = list(values(row))
    names = [name for name in space if name in row.params]
    return create_trial(
        state=TrialState.COMPLETE if found else STATES[row.state],
        params={name: row.params[name] for name in names},
        distributions={name: space[name] for name in names},
        values=found or None,
        constraints={str(place): x for place, x in enumerate(row.violations)} if found and row.violations else None,
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
