"""What a search is for: metrics that are maximised or minimised, and bounds that others must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lca_sweep.core.knobs import KnobError

Point = tuple[float, ...]

_OBJECTIVE = re.compile(r"(maximize|minimize) +(\S+)")
_CONSTRAINT = re.compile(r"(\S+) *(>=|<=) *(\S+)")


@dataclass(frozen=True)
class Objective:
    """A metric, and whether it is maximised."""

    metric: str
    maximize: bool = True

    @classmethod
    def parse(cls, text: str, knob: str) -> Objective:
        """From `maximize val/accuracy`; KnobError, naming the knob, for any other words."""
        found = _OBJECTIVE.fullmatch(text.strip())
        if not found:
            raise KnobError(f"{knob}={text}: must be maximize METRIC or minimize METRIC, e.g. maximize val/accuracy")
        return cls(found[2], found[1] == "maximize")

    def __str__(self) -> str:
        return f"{'maximize' if self.maximize else 'minimize'} {self.metric}"

    @property
    def sign(self) -> int:
        """By which a value is multiplied so that larger is better."""
        return 1 if self.maximize else -1


@dataclass(frozen=True)
class Constraint:
    """A metric that must be at least, or at most, some value."""

    metric: str
    at_least: bool
    bound: float

    @classmethod
    def parse(cls, text: str, knob: str) -> Constraint:
        """From `val/accuracy >= 0.93`; KnobError, naming the knob, for any other words."""
        found = _CONSTRAINT.fullmatch(text.strip())
        try:
            bound = float(found[3]) if found else math.nan
        except ValueError:
            bound = math.nan
        if not found or not math.isfinite(bound):
            raise KnobError(f"{knob}={text}: must be METRIC >= NUMBER or METRIC <= NUMBER, e.g. val/accuracy >= 0.93")
        return cls(found[1], found[2] == ">=", bound)

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.bound:g}"

    def violation(self, value: float) -> float:
        """By how much a value breaks it; <= 0 where it is kept, and for nan infinity."""
        if math.isnan(value):
            return math.inf
        return self.bound - value if self.at_least else value - self.bound


@dataclass(frozen=True)
class Goal:
    """One objective or several, the first of which is the one that a single number is told of, and constraints."""

    objectives: tuple[Objective, ...] = (Objective("val/accuracy"),)
    constraints: tuple[Constraint, ...] = ()

    @property
    def first(self) -> Objective:
        """The objective by which trials of one front are told apart."""
        return self.objectives[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that matter, each once."""
        names = [objective.metric for objective in self.objectives] + [bound.metric for bound in self.constraints]
        return tuple(dict.fromkeys(names))

    def scores(self, metrics: Mapping[str, float]) -> Point:
        """The objectives' values as they are; nan where a metric is missing."""
        return tuple(float(metrics.get(objective.metric, math.nan)) for objective in self.objectives)

    def violations(self, metrics: Mapping[str, float]) -> Point:
        """By how much each constraint is broken; <= 0 where it is kept."""
        return tuple(part.violation(float(metrics.get(part.metric, math.nan))) for part in self.constraints)

    def gains(self, scores: Point) -> Point:
        """Scores with their signs turned so that larger is better; what is no number is the worst."""
        signed = (part.sign * score for part, score in zip(self.objectives, scores, strict=True))
        return tuple(-math.inf if math.isnan(gain) else gain for gain in signed)

    def scored(self, metrics: Mapping[str, float]) -> Scored:
        """What is compared of a trial with these metrics."""
        return Scored(self.scores(metrics), self.violations(metrics))

    def reached(self, target: float, scored: Scored) -> bool:
        """Whether a trial keeps all constraints and its first objective is at least as good as `target`."""
        return scored.excess == 0 and self.first.sign * scored.scores[0] >= self.first.sign * target


@dataclass(frozen=True)
class Scored:
    """What is compared of a trial: its objectives' values, and by how much it breaks each constraint."""

    scores: Point
    violations: Point = ()

    @property
    def excess(self) -> float:
        """By how much all broken constraints are broken; 0 where all are kept."""
        return sum(max(0.0, violation) for violation in self.violations)


def fronts(goal: Goal, trials: Mapping[int, Scored]) -> list[list[int]]:
    """The trials in fronts, the best first: those that no other one dominates, those that only these dominate, ...

    A trial dominates another if it breaks the constraints by less, or, where both keep them, if it is at least as good
    by every objective and better by one (Deb et al. 2002, constrained domination). In each front by number.
    """
    import numpy as np  # only where trials are compared: the knobs do not wait for it

    from lca_sweep.core.domination import front_numbers, grouped

    numbers = sorted(trials)
    gains = np.array([goal.gains(trials[one].scores) for one in numbers], dtype=np.float64)
    excess = np.array([trials[one].excess for one in numbers], dtype=np.float64)
    return [[numbers[place] for place in front] for front in grouped(front_numbers(gains, excess))]


def best_first(goal: Goal, trials: Mapping[int, Scored]) -> list[int]:
    """The trials by front; in each by the first objective (ties: the lower number)."""
    order = [sorted(front, key=lambda one: (-goal.gains(trials[one].scores)[0], one)) for front in fronts(goal, trials)]
    return [one for front in order for one in front]


def pareto(goal: Goal, trials: Mapping[int, Scored]) -> list[int]:
    """The trials of the first front that keep all constraints, by number."""
    kept = {number: scored for number, scored in trials.items() if scored.excess == 0}
    return fronts(goal, kept)[0] if kept else []


def ranked(goal: Goal, trials: Mapping[int, Scored]) -> list[int]:
    """The trials as a rung of early stopping ranks them, best first: by front, in each the least crowded first.

    Deb et al. 2002, crowded comparison; ties: the lower number. With one objective: by its value.
    """
    import numpy as np

    from lca_sweep.core.domination import crowding

    order: list[int] = []
    for front in fronts(goal, trials):
        distances = crowding(np.array([goal.gains(trials[one].scores) for one in front], dtype=np.float64))
        order += [front[place] for place in np.argsort(-distances, kind="stable")]
    return order


def figure(value: float) -> str:
    """A metric's value to four places that tell: `0.9312`, `1.200e-05`."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
