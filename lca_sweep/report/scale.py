"""How the values of an objective are shown: shares of 1 in percent, all else as it is; which side is the better one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lca_sweep.core.objective import Goal, Objective
from lca_sweep.report.seeds import floor_of
from lca_sweep.report.style import plain

FRACTIONS = {f"weights/{name}_fraction": f"{name.upper()} fraction" for name in ("vip", "uip", "var")}
SHARES = ("accuracy", "fraction")  # how the names of metrics end that are shares of 1


@dataclass(frozen=True)
class Scale:
    """Of one metric, that is maximised or minimised."""

    metric: str
    maximize: bool = True

    @classmethod
    def of(cls, objective: Objective) -> Scale:
        """That of an objective."""
        return cls(objective.metric, objective.maximize)

    @property
    def factor(self) -> float:
        """By which values are multiplied to be shown."""
        return 100.0 if self.metric.endswith(SHARES) else 1.0

    @property
    def name(self) -> str:
        """The metric for people."""
        return FRACTIONS.get(self.metric, plain(self.metric))

    @property
    def label(self) -> str:
        """An axis' name, with its unit."""
        return self.name + (" (%)" if self.factor == 100 else "")

    @property
    def sign(self) -> int:
        """By which a value is multiplied so that larger is better."""
        return 1 if self.maximize else -1

    def shown(self, values: Iterable[float]) -> list[float]:
        """Values as they are drawn."""
        return [self.factor * value for value in values]

    def frame(self, values: Iterable[float], margin: float = 0.08) -> tuple[float, float]:
        """Limits of an axis on which these values are drawn, but for a few that are far worse than the others."""
        worst, best = self.window(values)
        return limits((self.factor * worst, self.factor * best), margin)

    def running_best(self, values: Sequence[float]) -> list[float]:
        """The best value until each one."""
        return list(accumulate(values, max if self.maximize else min))

    def window(self, values: Iterable[float]) -> tuple[float, float]:
        """The worst and the best that an axis need show so that a few bad values do not squeeze the others."""
        gains = [self.sign * value for value in values if math.isfinite(value)]
        return self.sign * floor_of(gains), self.sign * max(gains)

    def upper(self, values: Iterable[float]) -> tuple[float, float]:
        """The same where many left early: the median lies in the better sixth, unless the worst is nearer."""
        gains = sorted(self.sign * value for value in values if math.isfinite(value))
        middle, best = gains[len(gains) // 2], gains[-1]
        worst = max(gains[0], best - 6 * (best - middle)) if best > middle else floor_of(gains)
        return self.sign * worst, self.sign * best


def scales(goal: Goal) -> list[Scale]:
    """Of all objectives."""
    return [Scale.of(objective) for objective in goal.objectives]


def limits(ends: tuple[float, float], margin: float = 0.08) -> tuple[float, float]:
    """Of an axis, low first, with a margin beyond two values, either of which may be the larger one."""
    low, high = min(ends), max(ends)
    room = margin * ((high - low) or abs(high) or 1.0)
    return low - room, high + room
