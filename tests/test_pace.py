"""The time that is left: exact where it can be known, never negative, and nothing at the end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lca_sweep.config import Config, Pack, Pruner, Sweep
from lca_sweep.core.knobs import Trainer
from lca_sweep.sweep.pace import REPORTS, WINDOW, Pace
from lca_sweep.sweep.plan import PackLine, Plan

SECONDS = st.floats(0.01, 1000)


@given(SECONDS, st.floats(0, 100), st.lists(st.integers(1, 8), min_size=1, max_size=12), st.integers(2, 30))
def test_it_is_exact_where_all_epochs_are_alike(
    second: float, starting: float, sizes: Sequence[int], epochs: int
) -> None:
    """Packs of whatever sizes, one after the other; each trial-epoch takes as long, and the process has to start."""
    now, done, whole = 100.0, 0.0, float(sum(sizes) * epochs)
    pace = Pace(now)
    now += starting
    for pack, size in enumerate(sizes):
        for _ in range(epochs):
            now, done = now + size * second, done + size
            pace.tell(now, pack, done, done)
            left = pace.left(now, whole - done)
            if pace.marks[-1].reports > 1:
                assert left == pytest.approx((whole - done) * second, rel=1e-6, abs=1e-6)
                assert pace.rate(now) == pytest.approx(1 / second, rel=1e-6)
    assert left == 0


@given(
    st.lists(
        st.tuples(st.floats(0, 1e4), st.integers(0, 3), st.just(0.0) | st.floats(1, 100)), min_size=1, max_size=60
    ),
    st.floats(0, 1e6),
    st.floats(0, 1e4),
)
def test_it_is_never_negative_and_nothing_where_nothing_is_to_do(
    reports: Sequence[tuple[float, int, float]], to_do: float, later: float
) -> None:
    pace, now, done = Pace(0.0), 0.0, 0.0
    assert pace.left(0.0, to_do) is None and pace.rate(0.0) is None
    for pause, pack, work in reports:
        now, done = now + pause, done + work
        pace.tell(now, pack, done, done)
        left, none, rate = pace.left(now + later, to_do), pace.left(now + later, 0.0), pace.rate(now + later)
        assert (left is None) == (none is None)
        assert left is None or left >= 0
        assert none in (None, 0)
        assert rate is None or rate > 0


@given(SECONDS, st.integers(3, 40), st.floats(0, 1))
def test_it_counts_down_between_reports(second: float, reports: int, part: float) -> None:
    pace = Pace(0.0)
    for number in range(1, reports + 1):
        pace.tell(number * second, 0, number, number)
    now = reports * second
    assert pace.left(now + part * second, 10.0) == pytest.approx((10 - part) * second)


def test_a_report_that_does_not_come_makes_it_longer_and_the_sweep_slower() -> None:
    pace = Pace(0.0)
    for number in range(1, 11):
        pace.tell(number, 0, number, 8 * number)
    rates, lefts = zip(*((pace.rate(now), pace.left(now, 50.0)) for now in (10, 20, 100, 1000)), strict=True)
    assert list(rates) == sorted(rates, reverse=True) and rates[0] == 8 and rates[-1] < 0.1
    assert list(lefts) == sorted(lefts) and lefts[-1] > 1000


def test_it_follows_machines_that_leave() -> None:
    """Ten times as slow since an hour."""
    pace = Pace(0.0)
    for done, now in enumerate([*range(1, 3600), *range(3600, 7200, 10)], 1):
        pace.tell(float(now), 0, done, done)
    left = pace.left(7190.0, 60.0)
    assert left == pytest.approx(600, rel=0.05)
    assert len(pace.marks) <= max(REPORTS + 2, WINDOW * 2 + 2)


def test_memory_is_bounded() -> None:
    pace = Pace(0.0)
    for number in range(20000):
        pace.tell(number / 100, 0, number, number)
    assert len(pace.marks) < 1000
    assert pace.rate(200.0) == pytest.approx(100, rel=0.01)


# --- the plan ---


def config(size: int, trials: int, epochs: int, pruner: str = "none", replicates: int = 0) -> Config:
    return Config(
        sweep=Sweep(trials=trials, replicates=replicates),
        pack=Pack(size=size),
        trainer=Trainer(epochs=epochs),
        pruner=Pruner(pruner, 2, 1),
    )


@given(st.integers(1, 9), st.integers(0, 60), st.integers(1, 40))
def test_without_early_stopping_a_trial_is_its_epochs(size: int, trials: int, epochs: int) -> None:
    assert Plan(config(size, trials, epochs)).search(trials) == trials * epochs


@given(st.integers(2, 9), st.integers(1, 60), st.integers(2, 40))
def test_early_stopping_makes_it_less_and_the_rungs_say_by_how_much(size: int, trials: int, epochs: int) -> None:
    plan = Plan(config(size, trials, epochs, "halving"))
    packs = [size] * (trials // size) + ([trials % size] if trials % size else [])
    costs = [plan.pack(one, epochs, number, searches=True) for number, one in enumerate(packs)]
    assert plan.search(trials) == sum(cost[-1] for cost in costs)
    assert plan.search(trials) < trials * epochs or set(packs) <= {1} or epochs < 2 or trials == 1


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_packs_work_is_what_was_done_here_and_what_is_to_do(size: int, epochs: int, restored: int, more: int) -> None:
    assume(restored <= epochs)
    line = PackLine(size, Plan(config(size, size, epochs)).pack(size, epochs, 0, True), restored=restored)
    assert (line.done, line.to_do) == (0, size * (epochs - restored))
    line.epoch = min(restored + more, epochs)
    assert line.done == size * (line.epoch - restored) and line.done + line.to_do == size * (epochs - restored)


def test_finals_are_work_too() -> None:
    plan = Plan(config(4, 32, 10, "halving", replicates=5))
    assert plan.finals(candidates=32, begun=0) == 3 * 5 * 10
    assert plan.finals(candidates=2, begun=4) == (2 * 5 - 4) * 10
    assert plan.finals(candidates=0, begun=0) == 0
    assert plan.pack(4, 10, 0, searches=False)[-1] == 40 > plan.pack(4, 10, 0, searches=True)[-1]
