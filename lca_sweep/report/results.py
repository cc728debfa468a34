"""What a report is made of: a sweep and its trials as plain records, with no store behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core.ensemble import EnsembleScore
from lca_sweep.core.objective import Goal, Scored, best_first, pareto
from lca_sweep.core.perturbation import Perturbation
from lca_sweep.core.portrait import Histogram
from lca_sweep.core.sparsification import KeptCurve


@dataclass(frozen=True)
class Series:
    """One metric of one trial by epoch."""

    epochs: NDArray[np.int64]  # ascending, from 1
    values: NDArray[np.float64]  # of the same length


@dataclass(frozen=True)
class Analysis:
    """What is found out about one trained network, on the test images."""

    ensemble: EnsembleScore
    histograms: tuple[Mapping[str, Histogram], ...]  # a layer each: of `pi`, `m` and `xi`
    fields: Mapping[str, NDArray[np.float64]]  # by category, (inputs): share of an input's first-layer weights
    kept: KeptCurve
    perturbation: Perturbation | None  # where it was asked for


@dataclass(frozen=True)
class TrialResult:
    """One trial; `state` is running, complete, pruned or failed."""

    number: int
    state: str
    value: float | None  # the objective, where it is complete
    reason: str  # why it failed, or left early
    params: Mapping[str, Any]  # the searched knobs, by dotted name
    knobs: Mapping[str, Any]  # all of a trial's knobs, by dotted name
    history: Mapping[str, Series] = field(default_factory=dict)  # by metric; empty where nothing could be read
    analysis: Analysis | None = None
    scores: tuple[float, ...] = ()  # all objectives, where it is complete; `value` is the first one
    violations: tuple[float, ...] = ()  # by how much it breaks each constraint; <= 0: not at all
    source: str = ""  # where its point comes from, if not from the sampler
    replicate: tuple[int, int] | None = None  # in the finals: the trial that is repeated, and its new seed

    @property
    def scored(self) -> Scored:
        """A complete trial as it is compared with others."""
        return Scored(self.scores or (float("nan") if self.value is None else self.value,), self.violations)

    @property
    def feasible(self) -> bool:
        """Whether it keeps all constraints, as far as is known."""
        return self.scored.excess == 0

    def last(self, metric: str) -> float | None:
        """A metric after the last epoch, if it was recorded."""
        series = self.history.get(metric)
        return None if series is None else float(series.values[-1])


@dataclass(frozen=True)
class Final:
    """A setting that was trained again with new seeds: its trial in the search, and what the new ones have come to."""

    number: int  # of its trial in the search
    replicates: tuple[int, ...]  # of the complete ones with new seeds
    values: tuple[float, ...]  # their first objective
    mean: float
    half: float  # half the 95 % interval of the mean (Student's t); nan for a single one
    excess: float = 0.0  # by how much the new seeds, on the mean, break the constraints


@dataclass(frozen=True)
class DataInfo:
    """The images that were trained on and tested on."""

    name: str
    digest: str  # SHA-256, hex
    inputs: int
    classes: int
    shape: tuple[int, ...] | None  # of an image, e.g. (28, 28), or (3, 32, 32); None if it has none
    images: tuple[int, int, int]  # how many to train, to validate, to test


@dataclass(frozen=True)
class SweepResult:
    """A sweep as it stands."""

    name: str
    uid: str
    question: str  # what it was made to find out, in a sentence or two; may be empty
    objective: str  # the metric that is maximised, or minimised (see `goal`); of several the first
    folder: str
    data: DataInfo
    trials: tuple[TrialResult, ...]  # by number
    importances: Mapping[str, float]  # of the searched knobs, sum 1; empty where they cannot be told
    config: Mapping[str, Any]  # nested
    provenance: Mapping[str, str]  # of what made the report: versions, commit, host
    page: str = ""  # address of its runs in the MLflow UI
    importances_at: int = 0  # the epoch by whose objective they are told
    goal: Goal = field(default_factory=Goal)  # what the search was for; `objective` is the first metric of it
    finals: tuple[Final, ...] = ()  # best mean first: the first one has won; empty where there were none

    @cached_property
    def searched(self) -> tuple[TrialResult, ...]:
        """The search's own trials: those of the finals, which repeat some of them, are left out."""
        return tuple(trial for trial in self.trials if trial.replicate is None)

    @cached_property
    def complete(self) -> tuple[TrialResult, ...]:
        """Complete trials of the search, best first (see core.objective.best_first)."""
        done = {trial.number: trial for trial in self.searched if trial.value is not None}
        order = best_first(self.goal, {number: trial.scored for number, trial in done.items()})
        return tuple(done[number] for number in order)

    @cached_property
    def front(self) -> tuple[TrialResult, ...]:
        """Complete trials of the search that keep all constraints and that none of these dominates, by number."""
        done = {trial.number: trial for trial in self.complete}
        return tuple(done[number] for number in pareto(self.goal, {n: trial.scored for n, trial in done.items()}))

    @cached_property
    def by_number(self) -> Mapping[int, TrialResult]:
        """All trials."""
        return {trial.number: trial for trial in self.trials}

    @cached_property
    def groups(self) -> Mapping[tuple[tuple[str, Any], ...], tuple[TrialResult, ...]]:
        """The search's trials that differ in their seed alone, by their other searched knobs, in the space's order.

        A knob that a trial does not have is not in its key.
        """
        names = dict.fromkeys(name for trial in self.searched for name in trial.params if not name.endswith("seed"))
        found: dict[tuple[tuple[str, Any], ...], list[TrialResult]] = {}
        for trial in self.searched:
            key = tuple((name, trial.params[name]) for name in names if name in trial.params)
            found.setdefault(key, []).append(trial)
        return {key: tuple(trials) for key, trials in found.items()}
