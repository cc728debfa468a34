"""Non-dominated sorting and crowding distances of many points at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def front_numbers(gains: NDArray[np.float64], excess: NDArray[np.float64]) -> NDArray[np.int64]:
    """The front of each point, from 0: constrained domination (Deb et al. 2002), `gains` (points, objectives).

    First come the points without `excess` (points), in fronts of which none dominates another of its own and each is
    dominated by one of the front before; then the others, those of the same excess together, the smallest first.
    """
    fronts = np.zeros(len(gains), dtype=np.int64)
    kept = excess <= 0
    fronts[kept] = _sorted_fronts(gains[kept])
    first = 1 + fronts[kept].max() if kept.any() else 0
    fronts[~kept] = first + np.unique(excess[~kept], return_inverse=True)[1]
    return fronts


def crowding(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """The crowding distance of each point of one front, `gains` (points, objectives); infinite at the ends.

    Deb et al. 2002, Sec. III-B. An objective by which all are equal adds nothing; of points that are equal by one, the
    earlier counts as the lesser.
    """
    distances = np.zeros(len(gains))
    for column in gains.T:
        order = np.argsort(column, kind="stable")
        values = column[order]
        span = values[-1] - values[0]
        if not 0 < span < np.inf:
            continue
        distances[order[1:-1]] += (values[2:] - values[:-2]) / span
        distances[(column == values[0]) | (column == values[-1])] = np.inf
    return distances


def _sorted_fronts(gains: NDArray[np.float64]) -> NDArray[np.int64]:
    """Efficient non-dominated sort (Zhang et al. 2015): each point, best first, looks for its front by bisection."""
    if not len(gains):
        return np.zeros(0, dtype=np.int64)
    # in lexicographic order, where nobody is dominated by a later one
    points, place = np.unique(0.0 - gains, axis=0, return_inverse=True)
    if points.shape[1] == 1:
        return place.reshape(-1)
    fronts: list[_Front] = []
    found = np.zeros(len(points), dtype=np.int64)
    for one, losses in enumerate(points[:, 1:]):
        low, high = 0, len(fronts)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if fronts[middle].dominates(losses) else (low, middle)
        found[one] = low
        if low == len(fronts):
            fronts.append(_Front(len(losses)))
        fronts[low].add(losses)
    return found[place.reshape(-1)]


class _Front:
    """The losses of a front's points but for the first objective, by which they come in order."""

    def __init__(self, objectives: int) -> None:
        self.losses, self.size = np.empty((4, objectives)), 0

    def add(self, losses: NDArray[np.float64]) -> None:
        """The next point."""
        if self.size == len(self.losses):
            self.losses = np.concatenate([self.losses, np.empty_like(self.losses)])
        self.losses[self.size] = losses
        self.size += 1

    def dominates(self, losses: NDArray[np.float64]) -> bool:
        """Whether one of the points is at least as good by all objectives; equal points are not asked for."""
        if len(losses) == 1:  # then the last of them is the best one by what is left
            return bool(self.losses[self.size - 1, 0] <= losses[0])
        return bool((self.losses[: self.size] <= losses).all(1).any())


def grouped(fronts: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    """The indices of each front's points, ascending."""
    order = np.argsort(fronts, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(fronts[order])) + 1) if len(fronts) else []
