"""How much of the space of objectives a set of points dominates: exactly, by the exclusive share of each point.

Points are gains: larger is better in each coordinate, and the reference point is the origin. The volume of a set is the
sum over its points of what each one dominates and those after it do not; the latter is the volume of a smaller set
(While, Bradstreet & Barone 2012, the WFG algorithm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lca_sweep.core.objective import Goal, Point


def hypervolume(points: Sequence[Point]) -> float:
    """Volume of the union of the boxes from the origin to each point; those with a coordinate <= 0 have none."""
    front = maximal([point for point in points if min(point) > 0])
    if front and len(front[0]) == 2:
        return _area(front)
    return sum(exclusive(point, front[place + 1 :]) for place, point in enumerate(front))


def exclusive(point: Point, others: Sequence[Point]) -> float:
    """What a point dominates and others do not."""
    own = math.prod(max(0.0, x) for x in point)
    return own - hypervolume([tuple(map(min, point, other)) for other in others]) if own else 0.0


def growth(points: Sequence[Point]) -> list[float]:
    """The volume of the first point, of the first two, ..."""
    total, front, found = 0.0, list[Point](), list[float]()
    for point in points:
        if not any(_covers(other, point) for other in front):
            total += exclusive(point, front)
            front = [other for other in front if not _covers(point, other)] + [point]
        found.append(total)
    return found


def maximal(points: Sequence[Point]) -> list[Point]:
    """Those that no other one covers, each once; the largest first coordinate first."""
    found: list[Point] = []
    for point in sorted(set(points), reverse=True):  # whoever covers a point comes before it
        if not any(_covers(other, point) for other in found):
            found.append(point)
    return found


def normalised(gains: Sequence[Point]) -> list[Point]:
    """Each coordinate from 0 (the smallest) to 1 (the largest); 1 where all are the same."""
    low, high = (tuple(map(end, zip(*gains, strict=True))) for end in (min, max))
    widths = [(a, b - a) for a, b in zip(low, high, strict=True)]
    return [tuple((x - a) / w if w > 0 else 1.0 for x, (a, w) in zip(p, widths, strict=True)) for p in gains]


def corner(scores: Sequence[Point], goal: Goal) -> Point:
    """The worst score by each objective."""
    columns = zip(goal.objectives, zip(*scores, strict=True), strict=True)
    return tuple(min(column) if objective.maximize else max(column) for objective, column in columns)


def _area(front: Sequence[Point]) -> float:
    """Of the union in two dimensions; the first coordinate falls, the second rises."""
    steps = zip(front, [0.0, *(y for _, y in front)], strict=False)
    return sum(x * (y - before) for (x, y), before in steps)


def _covers(one: Point, other: Point) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))
