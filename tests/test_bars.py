"""What trials have to come up to: a percentile of what those of earlier packs had at the same epoch."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.config import Config, KnobError, Pruner, validate
from lca_sweep.core.objective import Objective
from lca_sweep.search.bars import bars
from lca_sweep.search.rows import Row

UP, DOWN = Objective("val/accuracy"), Objective("val/loss", maximize=False)
MEDIAN = Pruner("median", min_epochs=2, startup_trials=3)
numbers = st.floats(0, 1) | st.sampled_from([0.5, float("nan")])


def row(number: int, pack: int | None, values: dict[int, float], state: str = "complete", **more: Any) -> Row:
    return Row(number, state, {}, values, None, pack, "", **more)


@st.composite
def studies(draw: st.DrawFn) -> list[Row]:
    """Packs of 2 in generations of 2 packs; all but the last generation have ended."""
    curves = draw(st.lists(st.lists(numbers, max_size=6), max_size=14))
    return [
        row(n, n // 2, dict(enumerate(curve, 1)), "running", until=min((n // 4 + 1) * 4, len(curves)))
        for n, curve in enumerate(curves)
    ]


def told(rows: list[Row], epoch: int) -> list[float]:
    return [one.values[epoch] for one in rows if epoch in one.values and one.values[epoch] == one.values[epoch]]


@given(studies(), st.sampled_from([UP, DOWN]))
def test_the_median_of_all_other_packs_where_there_are_enough(rows: list[Row], objective: Objective) -> None:
    new = len(rows)
    found = bars([*rows, row(new, new, {}, "running")], new, objective, MEDIAN, by_generation=False)
    expected = {
        epoch: pytest.approx(statistics.median(told(rows, epoch)))
        for epoch in range(MEDIAN.min_epochs, 7)
        if len(told(rows, epoch)) >= MEDIAN.startup_trials
    }
    assert found == expected


@given(studies(), st.sampled_from([UP, DOWN]), st.floats(1, 99))
def test_that_share_is_better_than_the_bar(rows: list[Row], objective: Objective, percentile: float) -> None:
    pruner = Pruner("percentile", min_epochs=1, percentile=percentile, startup_trials=1)
    for epoch, bar in bars([*rows, row(99, 99, {}, "running")], 99, objective, pruner, False).items():
        gains = [objective.sign * (value - bar) for value in told(rows, epoch)]
        between, share = len(gains) - 1, percentile / 100  # the bar may lie between two of them
        assert sum(gain > 1e-12 for gain in gains) < share * between + 1 + 1e-9
        assert sum(gain < -1e-12 for gain in gains) < (1 - share) * between + 1 + 1e-9


@given(studies(), st.data())
def test_by_generation_what_runs_beside_a_pack_changes_nothing(rows: list[Row], data: st.DataObject) -> None:
    """Whatever the trials of its own generation have had so far, and those of its own."""
    pack = data.draw(st.integers(0, max(0, (len(rows) - 1) // 2)))
    start = pack // 2 * 4
    other = [
        row(n, one.pack, data.draw(st.dictionaries(st.integers(1, 6), numbers)), "running", until=one.until)
        if n >= start
        else one
        for n, one in enumerate(rows)
    ]
    if rows:
        pruner = Pruner("median", min_epochs=1, startup_trials=1)
        assert bars(rows, pack, UP, pruner, True) == bars(other, pack, UP, pruner, True)
        assert bars(rows, pack, UP, pruner, True).keys() == {n for n in range(1, 7) if told(rows[:start], n)}


def test_by_generation_finals_before_an_extension_do_not_count() -> None:
    """Else they would make the pack's own generation, which is still in training, an earlier one."""
    search = [row(n, n // 2, {2: n / 10}, until=4) for n in range(4)]
    finals = [row(n, 2, {2: 0.9}, replicate=(3, n)) for n in (4, 5)]
    new = [row(n, n // 2, {2: 0.8}, "running", until=8) for n in range(6, 10)]
    pruner = Pruner("median", min_epochs=1, startup_trials=1)
    for pack in (3, 4):
        assert bars([*search, *finals, *new], pack, UP, pruner, True) == {2: pytest.approx(0.15)}


def test_nobody_leaves_in_hindsight() -> None:
    """A pack that is issued again gets bars for what is before it, as things stand now."""
    rows = [row(n, 0, dict.fromkeys(range(1, 9), n / 10)) for n in range(5)]
    mine = row(5, 1, {1: 0.1, 2: 0.1, 3: 0.1}, "running")
    ended = row(6, 1, dict.fromkeys(range(1, 6), 0.0), "pruned")
    assert bars([*rows, mine, ended], 1, UP, MEDIAN, False) == dict.fromkeys(range(4, 9), 0.2)


def test_by_generation_the_finals_before_an_extension_are_no_earlier_trials() -> None:
    """Nor do they make a pack of this generation, which may have come further, look like one of an earlier."""
    first = [row(n, n // 2, {2: 0.1}, until=4) for n in range(4)]
    finals = [row(n, 2, {2: 0.9}, replicate=(0, n)) for n in range(4, 8)]
    second = [row(n, 3 + (n - 8) // 2, {2: 0.9}, "running", until=8) for n in range(8, 12)]
    for pack in (3, 4):
        assert bars([*first, *finals, *second], pack, UP, MEDIAN, True) == {2: pytest.approx(0.1)}


def test_what_was_trained_elsewhere_or_again_is_no_bar() -> None:
    rows = [row(n, 0, {2: 0.1}) for n in range(3)]
    strangers = [row(3, None, {2: 0.9}, source="old/1"), row(4, 1, {2: 0.9}, replicate=(0, 7))]
    new = row(5, 2, {}, "running")
    assert bars([*rows, *strangers, new], 2, UP, MEDIAN, False) == {2: pytest.approx(0.1)}


@pytest.mark.parametrize(
    ("pruner", "line"),
    [
        (Pruner("median", eta=3), "pruner.eta=3: has no effect with pruner=median, only with halving, hyperband"),
        (
            Pruner("median", percentile=10.0),
            "pruner.percentile=10.0: has no effect with pruner=median, only with percentile",
        ),
        (
            Pruner("halving", startup_trials=1),
            "pruner.startup_trials=1: has no effect with pruner=halving, only with median, percentile",
        ),
        (
            Pruner("none", min_epochs=2),
            "pruner.min_epochs=2: has no effect with pruner=none, only with halving, hyperband, median, percentile",
        ),
        (
            Pruner("hyperband", eta=9),
            "pack.size=8: pruner=hyperband compares the trials of a pack; must be >= pruner.eta=9 (or pruner=none)",
        ),
    ],
)
def test_a_knob_that_does_nothing_is_refused(pruner: Pruner, line: str) -> None:
    with pytest.raises(KnobError) as caught:
        validate(Config(pruner=pruner))
    assert str(caught.value) == line
