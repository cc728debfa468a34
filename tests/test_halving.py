"""Successive halving: who leaves, and when."""

from __future__ import annotations

import math

from core_strategies import CLASSES, INPUTS, made_up, trials
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core import Halving, Pack, fit
from lca_sweep.core.halving import KeepAll

halvings = st.builds(Halving, st.integers(2, 5), st.integers(1, 7))
scores = st.dictionaries(st.integers(0, 99), st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0, 1), max_size=20)


@given(halvings)
def test_rungs_are_min_epochs_times_powers_of_eta(halving: Halving) -> None:
    rungs = [epoch for epoch in range(1, 300) if halving.is_rung(epoch)]
    expected = [halving.min_epochs * halving.eta**k for k in range(10)]
    assert rungs == [epoch for epoch in expected if epoch < 300]


@given(halvings, scores)
def test_the_best_share_stays_at_a_rung(halving: Halving, scores: dict[int, float]) -> None:
    """One in eta, rounded up, so that a pack never dies of halving; none that stays is worse than one that leaves."""
    leavers = halving.leavers(halving.min_epochs, scores)
    stay = set(scores) - set(leavers)
    assert set(leavers) <= set(scores) and len(set(leavers)) == len(leavers)
    assert len(stay) == math.ceil(len(scores) / halving.eta)
    for kept in stay:
        for left in leavers:
            assert (scores[kept], -kept) > (scores[left], -left)  # of equal ones the lower number stays


@given(halvings, scores, st.integers(1, 100))
def test_nobody_leaves_between_rungs(halving: Halving, scores: dict[int, float], epoch: int) -> None:
    assert halving.is_rung(epoch) or halving.leavers(epoch, scores) == []
    assert KeepAll().leavers(epoch, scores) == []


@given(halvings, scores)
def test_who_leaves_does_not_hang_on_the_order_of_the_scores(halving: Halving, scores: dict[int, float]) -> None:
    other = dict(reversed(scores.items()))
    assert halving.leavers(halving.min_epochs, scores) == halving.leavers(halving.min_epochs, other)


@given(halvings, scores.filter(bool))
def test_rungs_are_nested_and_the_best_survives_them_all(halving: Halving, scores: dict[int, float]) -> None:
    best = min(scores, key=lambda trial: (-scores[trial], trial))
    live = scores
    for epoch in range(1, halving.min_epochs * halving.eta**6):
        live = {trial: live[trial] for trial in live if trial not in halving.leavers(epoch, live)}
    assert set(live) == {best}


def test_a_pack_that_is_halved_while_it_trains() -> None:
    """7 trials, rungs at 1, 2 and 4: 4, 2 and 1 stay; who leaves is told as pruned, once, and is not heard of again."""
    members = trials(*({"trainer.lr": 0.1 / 2**k, "init.seed": k} for k in range(7)), epochs=5)
    data, halving = made_up(), Halving(2, 1)
    pack = Pack.start(members, INPUTS, data.classes)
    live = {trial.number for trial in members}
    reports = list(fit(pack, data, halving))
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5]
    assert [len(report.trials) for report in reports] == [7, 4, 2, 2, 1]
    for report in reports:
        assert {trial.trial for trial in report.trials} == live
        scores = {trial.trial: trial.metrics["val/accuracy"] for trial in report.trials}
        pruned = {trial.trial for trial in report.trials if trial.state == "pruned"}
        assert pruned == set(halving.leavers(report.epoch, scores))
        live -= pruned
        rest = {trial.state for trial in report.trials if trial.trial in live}
        assert rest == {"complete" if report.epoch == 5 else "running"}
    assert [trial.network is not None for trial in reports[-1].trials] == [True]
    assert not pack.trials


def test_the_last_epoch_completes_rather_than_prunes() -> None:
    """Where a rung falls on the last epoch, nothing is saved by leaving."""
    pack = Pack.start(trials({}, {"init.seed": 1}, epochs=2), INPUTS, CLASSES)
    *_, last = fit(pack, made_up(), Halving(2, 2))
    assert [trial.state for trial in last.trials] == ["complete", "complete"]


def test_broken_trials_take_no_place_from_sound_ones() -> None:
    """Of 3 sound trials and 2 that break before the first rung, 2 go on."""
    broken = {"trainer.lr": 1e30}
    pack = Pack.start(trials({}, broken, {"init.seed": 1}, broken, {"init.seed": 2}, epochs=2), INPUTS, CLASSES)
    first, last = fit(pack, made_up(), Halving(2, 1))
    assert sorted(trial.state for trial in first.trials) == ["failed", "failed", "pruned", "running", "running"]
    assert [trial.state for trial in last.trials] == ["complete", "complete"]
