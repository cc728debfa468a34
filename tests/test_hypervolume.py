"""The hypervolume of a front: against inclusion and exclusion, by its laws, and as it grows trial by trial."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core.objective import Goal, Objective, Point
from lca_sweep.report.hypervolume import corner, exclusive, growth, hypervolume, maximal, normalised

unit = st.integers(0, 8).map(lambda eighths: eighths / 8)  # so that ties and borders are frequent


@st.composite
def sets(draw: st.DrawFn, most: int = 6) -> list[Point]:
    """Points of 1 to 4 dimensions, each coordinate from 0 to 1."""
    size = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[unit] * size), min_size=1, max_size=most))


def by_inclusion_and_exclusion(points: Sequence[Point]) -> float:
    """Volume of a union of boxes at the origin: what two of them share is the box to their smaller coordinates."""
    total = 0.0
    for count in range(1, len(points) + 1):
        for some in itertools.combinations(points, count):
            total -= (-1) ** count * math.prod(map(min, zip(*some, strict=True)))
    return total


@given(sets())
def test_is_the_volume_of_the_union(points: list[Point]) -> None:
    assert hypervolume(points) == pytest.approx(by_inclusion_and_exclusion(points))


@given(sets(12))
def test_neither_order_nor_covered_points_matter(points: list[Point]) -> None:
    below = [tuple(x / 2 for x in point) for point in points]
    mixed = [*reversed(points), *below, *points[:1]]
    assert hypervolume(mixed) == pytest.approx(hypervolume(points))
    assert hypervolume(maximal(points)) == pytest.approx(hypervolume(points))


@given(sets(12))
def test_maximal_points_cover_all_and_none_another(points: list[Point]) -> None:
    front = maximal(points)
    assert all(any(all(a >= b for a, b in zip(one, point, strict=True)) for one in front) for point in points)
    for one, other in itertools.permutations(front, 2):
        assert any(a > b for a, b in zip(one, other, strict=True))


@given(sets(10))
def test_growth_is_the_volume_of_all_so_far(points: list[Point]) -> None:
    volumes = growth(points)
    assert volumes == pytest.approx([hypervolume(points[: count + 1]) for count in range(len(points))])
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(volumes))


@given(sets(8))
def test_what_a_point_adds(points: list[Point]) -> None:
    first, rest = points[0], points[1:]
    assert exclusive(first, rest) == pytest.approx(hypervolume(points) - hypervolume(rest))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_known_volumes(size: int) -> None:
    assert hypervolume([]) == 0
    assert hypervolume([(1.0,) * size]) == 1
    assert hypervolume([(0.5,) * size, (-1.0,) * size]) == pytest.approx(0.5**size)
    assert hypervolume([(-1.0,) * size]) == 0
    corners = [tuple(1.0 if place == axis else 0.5 for place in range(size)) for axis in range(size)]
    assert hypervolume(corners) == pytest.approx(1.0 if size == 1 else (size + 1) * 0.5**size)


@given(sets(), st.floats(0.1, 10), st.floats(-5, 5))
def test_normalised_does_not_feel_units(points: list[Point], scale: float, shift: float) -> None:
    scaled = [tuple(scale * x + shift for x in point) for point in points]
    for a, b in zip(normalised(points), normalised(scaled), strict=True):
        assert a == pytest.approx(b, abs=1e-6) and all(-1e-9 <= x <= 1 + 1e-9 for x in a)


def test_the_reference_point_is_the_worst_by_each_objective() -> None:
    goal = Goal((Objective("val/accuracy"), Objective("val/loss", maximize=False)))
    assert corner([(0.9, 0.3), (0.8, 0.5), (0.95, 0.4)], goal) == (0.8, 0.5)
