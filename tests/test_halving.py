"""Early stopping inside a pack: who leaves, when, and what is said of it."""

from __future__ import annotations

import math
from itertools import islice

import pytest
from core_strategies import CLASSES, INPUTS, made_up, trials
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core import Constraint, Goal, Halving, Hyperband, Objective, Pack, fit
from lca_sweep.core.bar import Bar
from lca_sweep.core.halving import KeepAll
from lca_sweep.core.objective import Scored, ranked

halvings = st.builds(Halving, st.integers(2, 5), st.integers(1, 7))
values = st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0, 1)
scores = st.dictionaries(st.integers(0, 99), st.tuples(values).map(Scored), max_size=20)
goals = st.booleans().map(lambda maximize: Goal((Objective("val/accuracy", maximize),)))
LOSS = Goal((Objective("val/loss", maximize=False), Objective("weights/vip_fraction")))


@given(halvings)
def test_rungs_are_min_epochs_times_powers_of_eta(halving: Halving) -> None:
    rungs = [epoch for epoch in range(1, 300) if halving.is_rung(epoch)]
    expected = [halving.min_epochs * halving.eta**k for k in range(10)]
    assert rungs == [epoch for epoch in expected if epoch < 300]


@given(halvings, goals, scores)
def test_the_best_share_stays_at_a_rung(halving: Halving, goal: Goal, scores: dict[int, Scored]) -> None:
    """One in eta, rounded up, so that a pack never dies of halving; none that stays is worse than one that leaves."""
    leavers = halving.leavers(halving.min_epochs, goal, scores)
    stay = scores.keys() - leavers.keys()
    assert leavers.keys() <= scores.keys()
    assert len(stay) == math.ceil(len(scores) / halving.eta) == halving.stay(halving.min_epochs, len(scores))
    for kept in stay:
        for left in leavers:  # of equal ones the lower number stays
            assert (goal.gains(scores[kept].scores), -kept) > (goal.gains(scores[left].scores), -left)


@given(halvings, st.dictionaries(st.integers(0, 99), st.tuples(values, values).map(Scored), max_size=20))
def test_of_several_objectives_the_front_and_then_the_crowd_decides(
    halving: Halving, scores: dict[int, Scored]
) -> None:
    leavers = halving.leavers(halving.min_epochs, LOSS, scores)
    ranks = ranked(LOSS, scores)
    assert sorted(leavers) == sorted(ranks[math.ceil(len(ranks) / halving.eta) :])
    for trial, leave in leavers.items():
        rank = ranks.index(trial) + 1
        assert leave.reason == f"rank {rank} of {len(ranks)} at epoch {halving.min_epochs}"
        assert leave.numbers == {"epoch": halving.min_epochs, "rank": rank, "of": len(ranks)}


@given(halvings, st.lists(st.booleans(), min_size=2, max_size=9))
def test_who_breaks_a_constraint_leaves_first(halving: Halving, kept: list[bool]) -> None:
    goal = Goal(constraints=(Constraint("val/loss", False, 1.0),))
    scores = {n: goal.scored({"val/accuracy": n, "val/loss": 0.5 if keeps else 1.5}) for n, keeps in enumerate(kept)}
    left = halving.leavers(halving.min_epochs, goal, scores).keys()
    assert all(not kept[n] for n in left) or all(kept[n] for n in scores.keys() - left)


@given(halvings, scores, st.integers(1, 100))
def test_nobody_leaves_between_rungs(halving: Halving, scores: dict[int, Scored], epoch: int) -> None:
    assert halving.is_rung(epoch) or halving.leavers(epoch, Goal(), scores) == {}
    assert halving.is_rung(epoch) or halving.stay(epoch, 5) == 5
    assert KeepAll().leavers(epoch, Goal(), scores) == {}


@given(halvings, scores)
def test_who_leaves_does_not_hang_on_the_order_of_the_scores(halving: Halving, scores: dict[int, Scored]) -> None:
    other = dict(reversed(scores.items()))
    assert halving.leavers(halving.min_epochs, Goal(), scores) == halving.leavers(halving.min_epochs, Goal(), other)


@given(halvings, goals, scores.filter(bool))
def test_rungs_are_nested_and_the_best_survives_them_all(
    halving: Halving, goal: Goal, scores: dict[int, Scored]
) -> None:
    best = min(scores, key=lambda trial: (-goal.gains(scores[trial].scores)[0], trial))
    live = scores
    for epoch in range(1, halving.min_epochs * halving.eta**6):
        left = halving.leavers(epoch, goal, live)
        live = {trial: live[trial] for trial in live if trial not in left}
    assert set(live) == {best}


@given(halvings, scores.filter(bool), st.integers(1, 300))
def test_a_lone_trial_never_leaves(halving: Halving, scores: dict[int, Scored], epoch: int) -> None:
    number, score = next(iter(scores.items()))
    assert halving.leavers(epoch, Goal(), {number: score}) == {}


# --- hyperband -----------------------------------------------------------------------------------------------------

bands = st.builds(Hyperband, st.integers(2, 5), st.integers(1, 7))


@given(bands, st.integers(1, 200))
def test_brackets_differ_in_their_first_rung_and_come_in_turn(band: Hyperband, epochs: int) -> None:
    """As many as there are rungs before the last epoch, but at least one."""
    brackets = band.brackets(epochs)
    found = [band.within(pack, epochs, {}) for pack in range(3 * brackets)]
    assert found[:brackets] * 3 == found
    firsts = [one.min_epochs for one in found[:brackets]]
    rungs = [epoch for epoch in range(1, epochs) if Halving(band.eta, band.min_epochs).is_rung(epoch)]
    assert firsts == (rungs or [band.min_epochs])
    assert {one.eta for one in found} == {band.eta}


# --- bars ----------------------------------------------------------------------------------------------------------


@given(goals, scores, st.dictionaries(st.integers(1, 5), values), st.integers(1, 6))
def test_exactly_those_below_the_bar_leave(
    goal: Goal, scores: dict[int, Scored], bars: dict[int, float], epoch: int
) -> None:
    """Nobody at it or above; nobody where there is none."""
    left = Bar("median").within(0, 9, bars).leavers(epoch, goal, scores)
    side = {
        n
        for n, one in scores.items()
        if epoch in bars and (one.scores[0] < bars[epoch] if goal.first.maximize else one.scores[0] > bars[epoch])
    }
    assert left.keys() == side
    for n, leave in left.items():
        assert leave.numbers == {"epoch": epoch, "value": scores[n].scores[0], "bar": bars[epoch]}


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (Goal(), "0.9312 below the median 0.9400 at epoch 7"),
        (Goal((Objective("val/loss", False),)), "0.9488 above the median 0.9400 at epoch 7"),
    ],
)
def test_why_in_words(goal: Goal, words: str) -> None:
    scores = {3: Scored((0.94 - 0.0088 * goal.first.sign,))}
    assert Bar("median", {7: 0.94}).leavers(7, goal, scores)[3].reason == words


# --- in a pack that trains -----------------------------------------------------------------------------------------


def pack_of(count: int, epochs: int) -> Pack:
    members = trials(*({"trainer.lr": 0.1 / 2**k, "init.seed": k} for k in range(count)), epochs=epochs)
    return Pack.start(members, INPUTS, CLASSES)


@pytest.mark.parametrize("goal", [Goal(), LOSS])
def test_a_pack_that_is_halved_while_it_trains(goal: Goal) -> None:
    """7 trials, rungs at 1, 2 and 4: 4, 2 and 1 stay; who leaves is told as pruned, once, and is not heard of again."""
    pack, data, halving = pack_of(7, 5), made_up(), Halving(2, 1)
    live = {trial.number for trial in pack.trials}
    reports = list(fit(pack, data, halving, goal))
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5]
    assert [len(report.trials) for report in reports] == [7, 4, 2, 2, 1]
    for report in reports:
        assert {trial.trial for trial in report.trials} == live
        leavers = halving.leavers(
            report.epoch, goal, {trial.trial: goal.scored(trial.metrics) for trial in report.trials}
        )
        told = {trial.trial: (trial.reason, trial.left) for trial in report.trials if trial.state == "pruned"}
        assert told == {number: (leave.reason, leave.numbers) for number, leave in leavers.items()}
        live -= told.keys()
        rest = {(trial.state, trial.reason) for trial in report.trials if trial.trial in live}
        assert rest == {("complete" if report.epoch == 5 else "running", "")}
    assert [trial.network is not None for trial in reports[-1].trials] == [True]
    assert not pack.trials


@pytest.mark.parametrize("name", ["halving", "hyperband", "median"])
@pytest.mark.parametrize("stop", [1, 2, 4])
def test_the_same_leave_after_a_restart(name: str, stop: int) -> None:
    data, goal = made_up(), LOSS
    plain = list(fit(pack_of(5, 6), data, None, goal))
    bars = {n: sorted(trial.metrics["val/loss"] for trial in plain[n - 1].trials)[2] for n in (2, 4)}
    pruners = {"halving": Halving(2, 1), "hyperband": Hyperband(2, 1).within(1, 6, {}), "median": Bar("median", bars)}
    pruner = pruners[name]
    whole = list(fit(pack_of(5, 6), data, pruner, goal))
    first, again = pack_of(5, 6), pack_of(5, 6)
    before = list(islice(fit(first, data, pruner, goal), stop))
    again.restore(*first.state())
    rest = list(fit(again, data, pruner, goal))

    def ends(reports: list) -> list:  # type: ignore[type-arg]
        return [(r.epoch, t.trial, t.state, t.reason) for r in reports for t in r.trials]

    assert ends(before + rest) == ends(whole)
    assert any(state == "pruned" for _, _, state, _ in ends(whole))


def test_the_last_epoch_completes_rather_than_prunes() -> None:
    """Where a rung falls on the last epoch, nothing is saved by leaving."""
    for pruner in (Halving(2, 2), Bar("median", {2: 2.0})):
        pack = Pack.start(trials({}, {"init.seed": 1}, epochs=2), INPUTS, CLASSES)
        *_, last = fit(pack, made_up(), pruner)
        assert [trial.state for trial in last.trials] == ["complete", "complete"]


def test_broken_trials_take_no_place_from_sound_ones() -> None:
    """Of 3 sound trials and 2 that break before the first rung, 2 go on."""
    broken = {"trainer.lr": 1e30}
    pack = Pack.start(trials({}, broken, {"init.seed": 1}, broken, {"init.seed": 2}, epochs=2), INPUTS, CLASSES)
    first, last = fit(pack, made_up(), Halving(2, 1))
    assert sorted(trial.state for trial in first.trials) == ["failed", "failed", "pruned", "running", "running"]
    assert [trial.state for trial in last.trials] == ["complete", "complete"]


def test_a_trial_without_what_is_aimed_for_has_failed() -> None:
    pack = Pack.start(trials({}, epochs=2), INPUTS, CLASSES)
    (report,) = fit(pack, made_up(), goal=Goal((Objective("val/f1"),)))
    assert [(trial.state, trial.reason) for trial in report.trials] == [("failed", "val/f1 is nan at epoch 1")]
