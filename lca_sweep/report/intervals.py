"""Means with 95 % intervals of Student's t: what few seeds allow to say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # of the normal distribution, two-sided 95 %
FEW = (12.706205, 4.302653, 3.182446, 2.776445)  # Student's t for 1 to 4 degrees of freedom


def t95(freedom: float) -> float:
    """Two-sided 95 % quantile of Student's t; degrees of freedom >= 1, those below 5 rounded down.

    From 5 up Abramowitz & Stegun 26.7.5, right to 0.001.
    """
    if freedom < 5:
        return FEW[int(freedom) - 1]
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


@dataclass(frozen=True)
class Sample:
    """One number of each of some seeds: mean, standard deviation (nan if it is not known) and count."""

    mean: float
    sd: float
    count: int
    borrowed: int = 0  # degrees of freedom of a standard deviation that comes from elsewhere

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the standard deviation; 0 where none is known."""
        return self.borrowed or self.count - 1

    @property
    def half(self) -> float:
        """Half the 95 % interval of the mean; nan for a single value."""
        return t95(self.count - 1) * self.sd / math.sqrt(self.count) if self.count > 1 else math.nan


def sample(values: Sequence[float]) -> Sample:
    """Of at least one value."""
    return Sample(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan, len(values))


def difference(a: Sample, b: Sample) -> tuple[float, float]:
    """a's mean less b's, and half its 95 % interval (Welch 1947), nan for a single value or where neither spreads."""
    parts = [(s.sd**2 / s.count, s.count - 1) for s in (a, b)]
    variance = sum(part for part, _ in parts)
    if min(a.count, b.count) < 2 or variance == 0:
        return a.mean - b.mean, math.nan
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    return a.mean - b.mean, t95(max(1.0, freedom)) * math.sqrt(variance)


def pooled_error(a: Sample, b: Sample) -> float:
    """Standard error of the difference of two means of one spread, pooled over both; nan where none is known."""
    freedom = a.freedom + b.freedom
    if not freedom:
        return math.nan
    variance = sum(s.sd**2 * s.freedom for s in (a, b) if s.freedom) / freedom
    return math.sqrt(variance * (1 / a.count + 1 / b.count))
