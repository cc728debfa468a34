"""Every event reaches the books once, however often it is delivered and whenever the driver dies."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from rich.console import Console

from lca_sweep.config import Config, KnobError, Pack, Pruner, Search, Sweep
from lca_sweep.core.knobs import Trainer, flat
from lca_sweep.core.objective import Scored
from lca_sweep.search.rows import Row
from lca_sweep.search.space import Space, knobs
from lca_sweep.search.study import Study
from lca_sweep.sweep.ledger import WAIT, Issue, Ledger
from lca_sweep.sweep.stopping import INTERRUPT
from lca_sweep.sweep.tuning import repeated
from lca_sweep.sweep.view import View
from lca_sweep.tracking import NullTracker, TrialRecord
from lca_sweep.tracking.tracker import NO_TAGS

OBJECTIVE = "val/accuracy"
EPOCHS, TRIALS, SIZE = 3, 5, 2
SPACE: Space = {"trainer.lr": FloatDistribution(0.01, 0.3, log=True)}
ENDS = [(EPOCHS, "complete"), (1, "pruned"), (2, "pruned"), (1, "failed"), (3, "failed")]


class Died(Exception):
    """The driver is gone."""


@dataclass
class Life:
    """Calls until the driver dies; None: it lives."""

    left: int | None = None

    def tick(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Died


@dataclass
class Written:
    """What has reached MLflow, and survives."""

    metrics: dict[int, list[tuple[int, Mapping[str, float]]]] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    knobs: dict[int, Mapping[str, Any]] = field(default_factory=dict)


class QueueTracker(NullTracker):
    """Tracker's contract, at its worst: what is told waits in memory, and dies with the driver, until it is settled."""

    def __init__(self, written: Written, life: Life) -> None:
        self.written, self.life = written, life
        self.queue: list[tuple[int, str, tuple[int, Mapping[str, float]] | None]] = []
        self.steps = {number: points[-1][0] for number, points in written.metrics.items()}
        self.started = set(written.knobs)

    def start_trials(self, trials: Sequence[TrialRecord]) -> None:
        for trial in trials:
            self.life.tick()
            assert self.written.knobs.setdefault(trial.number, trial.knobs) == trial.knobs, "knobs never change"
            self.queue.append((trial.number, "running", None))
            self.started.add(trial.number)

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        self.life.tick()
        assert number in self.started
        if epoch > self.steps.get(number, 0):
            self.steps[number] = epoch
            self.queue.append((number, "", (epoch, metrics)))

    def end_trial(self, number: int, state: str, reason: str = "", tags: Mapping[str, str] = NO_TAGS) -> None:
        self.life.tick()
        self.queue.append((number, state, None))

    def settle(self) -> None:
        while self.queue:
            self.life.tick()  # some of it may be written
            number, state, point = self.queue.pop(0)
            if point:
                self.written.metrics.setdefault(number, []).append(point)
            else:
                self.written.states[number] = state


class MortalStudy(Study):
    """Its driver may die before and after each write."""

    life = Life()

    def ask(self, packs: Sequence[int], until: int | None = None) -> list[Row]:
        self.life.tick()
        rows = super().ask(packs, until)
        self.life.tick()
        return rows

    def report(self, number: int, epoch: int, value: float) -> bool:
        self.life.tick()
        news = super().report(number, epoch, value)
        self.life.tick()
        return news

    def finish(self, number: int, state: str, value: float | Scored, reason: str = "") -> None:
        self.life.tick()
        super().finish(number, state, value, reason)
        self.life.tick()

    def move(self, numbers: Sequence[int], pack: int, origin: int) -> None:
        for number in numbers:
            self.life.tick()
            super().move([number], pack, origin)
            self.life.tick()


class NoView:
    """Looks away."""

    def pack_started(self, pack: int, rows: Sequence[Row]) -> None: ...

    def pack_restored(self, pack: int, epoch: int) -> None: ...

    def pack_reported(self, pack: int, report: Mapping[str, Any]) -> None: ...

    def pack_failed(self, pack: int, numbers: Sequence[int], reason: str) -> None: ...

    def pack_broke(self, pack: int, reason: str) -> None: ...

    def pack_split(self, pack: int, halves: Sequence[int], reason: str) -> None: ...


def config(trials: int = TRIALS, size: int = SIZE) -> Config:
    return Config(
        pack=Pack(size=size),
        trainer=Trainer(epochs=EPOCHS),
        search=Search(sampler="random"),
        sweep=Sweep(name="s", trials=trials),
    )


def new_ledger(
    storage: BaseStorage,
    written: Written,
    life: Life | None = None,
    wanted: Config | None = None,
    space: Space = SPACE,
) -> Ledger:
    wanted = wanted or config()
    study = MortalStudy.open(wanted, "s", space, storage)
    assert isinstance(study, MortalStudy)
    study.life = life or Life()
    return Ledger(wanted, study, QueueTracker(written, study.life), NoView(), {"device": "cpu"})  # type: ignore[arg-type]


def metrics(number: int, epoch: int) -> dict[str, float]:
    return {OBJECTIVE: number / 10 + epoch / 100, "train/loss": 1 / epoch}


def history(trials: Sequence[int], ends: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """The reports of a pack, the same whenever it is trained."""
    reports = []
    for epoch in range(1, EPOCHS + 1):
        live = [number for number in trials if ends[number][0] >= epoch]
        states = {number: ends[number][1] if ends[number][0] == epoch else "running" for number in live}
        entries = [
            {
                "trial": number,
                "state": states[number],
                "metrics": metrics(number, epoch),
                "reason": "loss is nan" if states[number] == "failed" else "",
            }
            for number in live
        ]
        if entries:
            reports.append({"epoch": epoch, "trials": entries})
    return reports


def issued(ledger: Ledger) -> list[Issue]:
    packs = []
    while isinstance(issue := ledger.issue(), Issue):
        packs.append(issue)
    return packs


def drive(ledger: Ledger, ends: Sequence[tuple[int, str]], order: Sequence[tuple[int, int]]) -> None:
    """Deliver the reports of all packs: `order` has (which pack, how much of it from the beginning); then all of it."""
    packs = issued(ledger)
    for which, upto in [*order, *((n, EPOCHS) for n in range(len(packs)))] if packs else []:
        issue = packs[which % len(packs)]
        ledger.book(issue.pack, history(list(issue.trials), ends)[:upto])


def check_books(storage: BaseStorage, written: Written, ends: Sequence[tuple[int, str]]) -> None:
    rows = Study.open(config(), "s", SPACE, storage).rows()
    assert [row.state for row in rows] == [state for _, state in ends]
    assert written.states == {number: state for number, (_, state) in enumerate(ends)}
    for row, (last, state) in zip(rows, ends, strict=True):
        assert dict(row.values) == {epoch: metrics(row.number, epoch)[OBJECTIVE] for epoch in range(1, last + 1)}
        assert row.value == (row.values[last] if state == "complete" else None)
        assert row.reason == ("loss is nan" if state == "failed" else "")
        assert written.metrics[row.number] == [(epoch, metrics(row.number, epoch)) for epoch in range(1, last + 1)]
        assert written.knobs[row.number]["trainer.lr"] == row.params["trainer.lr"]


all_ends = st.lists(st.sampled_from(ENDS), min_size=TRIALS, max_size=TRIALS)
orders = st.lists(st.tuples(st.integers(0, 2), st.integers(0, EPOCHS)), max_size=8)


@given(all_ends, orders)
def test_deliveries_may_be_repeated_and_interleaved(ends: list[tuple[int, str]], order: list[tuple[int, int]]) -> None:
    storage, written = InMemoryStorage(), Written()
    ledger = new_ledger(storage, written)
    drive(ledger, ends, order)
    ledger.tracker.settle()
    check_books(storage, written, ends)
    assert not ledger.work_left()


@given(all_ends, orders, st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_the_driver_may_die_at_any_call(
    ends: list[tuple[int, str]], order: list[tuple[int, int]], deaths: list[int]
) -> None:
    """The next one has what the study and MLflow keep, and the reports that workers keep with their checkpoints."""
    storage, written = InMemoryStorage(), Written()
    for death in [*deaths, None]:
        try:
            ledger = new_ledger(storage, written, Life(death))
            drive(ledger, ends, order)
            ledger.tracker.settle()
        except Died:
            continue
    check_books(storage, written, ends)


@given(all_ends)
def test_mlflow_has_all_of_a_trial_that_the_study_has_closed(ends: list[tuple[int, str]]) -> None:
    """Nobody repeats a closed trial's reports, so they must be on disk before."""
    storage, written = InMemoryStorage(), Written()
    drive(new_ledger(storage, written), ends, [])  # and nothing settled at the end
    check_books(storage, written, ends)


@given(all_ends, orders)
def test_the_view_bears_repetition_too(ends: list[tuple[int, str]], order: list[tuple[int, int]]) -> None:
    """An exception in it would end the whole sweep."""
    view = View("s", config(), Console(file=io.StringIO()))
    ledger = new_ledger(InMemoryStorage(), Written())
    ledger.view = view
    with view:
        drive(ledger, ends, [*order, (0, EPOCHS), (1, EPOCHS), (2, EPOCHS), *order])
        ledger.pack_failed(0, "its process died after its last report")
    assert view.counts == Counter(state for _, state in ends)
    assert not view.packs


def test_packs_are_as_large_as_asked_for() -> None:
    packs = issued(new_ledger(InMemoryStorage(), Written()))
    assert [(issue.pack, list(issue.trials)) for issue in packs] == [(0, [0, 1]), (1, [2, 3]), (2, [4])]
    assert {knobs["trainer.epochs"] for issue in packs for knobs in issue.trials.values()} == {EPOCHS}


def test_unfinished_packs_come_first_and_whole() -> None:
    storage, written = InMemoryStorage(), Written()
    first = new_ledger(storage, written)
    assert first.issue() and first.issue()
    ends = [(1, "pruned"), (EPOCHS, "complete"), *[(EPOCHS, "complete")] * 3]
    first.book(0, history([0, 1], ends)[:1])  # trial 0 is over, trial 1 is not
    second = new_ledger(storage, written)
    assert second.work_left()
    assert [(issue.pack, list(issue.trials)) for issue in issued(second)] == [(0, [0, 1]), (1, [2, 3]), (2, [4])]
    assert "running" not in {state for number, state in written.states.items() if number == 0}


def test_an_extension_issues_only_new_trials() -> None:
    storage, written = InMemoryStorage(), Written()
    ends = [(EPOCHS, "complete")] * 9
    drive(new_ledger(storage, written), ends, [])
    ledger = new_ledger(storage, written, wanted=config(trials=TRIALS + 3))
    assert [(issue.pack, list(issue.trials)) for issue in issued(ledger)] == [(3, [5, 6]), (4, [7])]


def test_a_finished_sweep_has_no_work_left() -> None:
    storage, written = InMemoryStorage(), Written()
    drive(new_ledger(storage, written), [(EPOCHS, "complete")] * TRIALS, [])
    for trials in (1, TRIALS):
        ledger = new_ledger(storage, written, wanted=config(trials=trials))
        assert not ledger.work_left() and ledger.issue() is None


@pytest.mark.parametrize("trials", [1, TRIALS])
def test_trials_that_no_pack_took_are_trained(trials: int) -> None:
    """Their driver died between two writes; they are trained also where fewer trials are asked for now."""
    storage, written = InMemoryStorage(), Written()
    Study.open(config(), "s", SPACE, storage)
    raw = optuna.load_study(study_name="s", storage=storage)
    raw.ask()
    raw.ask()
    ledger = new_ledger(storage, written, wanted=config(trials=trials))
    assert ledger.work_left()
    numbers = [number for issue in issued(ledger) for number in issue.trials]
    assert numbers == list(range(max(2, trials)))
    assert not ledger.work_left()


def test_a_pack_that_fails_takes_only_its_live_trials() -> None:
    storage, written = InMemoryStorage(), Written()
    ledger = new_ledger(storage, written)
    packs = issued(ledger)
    ends = [(1, "pruned"), (EPOCHS, "complete"), *[(EPOCHS, "complete")] * 3]
    ledger.book(0, history([0, 1], ends)[:1])
    for _ in range(2):
        ledger.pack_failed(0, "out of memory")
    for issue in packs[1:]:
        ledger.book(issue.pack, history(list(issue.trials), ends))
    rows = ledger.study.rows()
    assert [row.state for row in rows] == ["pruned", "failed", "complete", "complete", "complete"]
    assert [row.reason for row in rows[:2]] == ["", "out of memory"]
    assert written.states == {0: "pruned", 1: "failed", 2: "complete", 3: "complete", 4: "complete"}
    assert not new_ledger(storage, written).work_left()


def test_a_pack_whose_process_dies_goes_on_until_it_brings_no_news() -> None:
    storage, written = InMemoryStorage(), Written()
    ledger, ends = new_ledger(storage, written, wanted=config(trials=2)), [(EPOCHS, "complete")] * 2
    limit = ledger.config.cluster.max_failures
    (pack,) = issued(ledger)
    for epoch in range(1, EPOCHS):  # as often as there is news
        for _ in range(limit):
            ledger.pack_broke(0, "its process died")
            assert issued(ledger) == [pack]
            ledger.book(0, history([0, 1], ends)[: epoch - 1])  # old news
        ledger.book(0, history([0, 1], ends)[:epoch])
    for _ in range(limit):
        ledger.pack_broke(0, "its process died")
        assert issued(ledger) == [pack]
    ledger.pack_broke(0, "its process died")
    assert ledger.issue() is None
    assert [(row.state, row.reason) for row in ledger.study.rows()] == [("failed", "its process died")] * 2
    assert written.states == {0: "failed", 1: "failed"}


def test_a_pack_whose_process_dies_after_its_last_report_is_through() -> None:
    storage, written = InMemoryStorage(), Written()
    ledger = new_ledger(storage, written, wanted=config(trials=2))
    issued(ledger)
    ledger.book(0, history([0, 1], [(EPOCHS, "complete")] * 2))
    ledger.pack_broke(0, "its process died")
    assert ledger.issue() is None and [row.state for row in ledger.study.rows()] == ["complete"] * 2


def test_a_pack_that_ends_before_its_trials_do_is_issued_again() -> None:
    ledger, ends = new_ledger(InMemoryStorage(), Written(), wanted=config(trials=2)), [(EPOCHS, "complete")] * 2
    (pack,) = issued(ledger)
    ledger.book(0, history([0, 1], ends)[:1])
    ledger.pack_over(0)
    assert issued(ledger) == [pack]
    ledger.book(0, history([0, 1], ends))
    ledger.pack_over(0)
    assert ledger.issue() is None
    ledger = new_ledger(InMemoryStorage(), Written(), wanted=config(trials=2))
    issued(ledger)
    ledger.stopping.ask(INTERRUPT)
    ledger.pack_over(0)
    assert not ledger.ready, "it stopped because it was to"


# --- packs that do not fit into memory -----------------------------------------------------------------------------


def test_a_pack_out_of_memory_goes_on_as_two() -> None:
    """From its checkpoints, before all others, with its live trials only."""
    storage, written = InMemoryStorage(), Written()
    ledger = new_ledger(storage, written, wanted=config(trials=10, size=5))
    first, second = issued(ledger)
    ends = [(1, "pruned"), *[(EPOCHS, "complete")] * 9]
    ledger.book(first.pack, history(list(first.trials), ends)[:1])
    assert ledger.issue() is WAIT, "a running pack may come back in parts"
    ledger.out_of_memory(first.pack, "no room")
    halves = issued(ledger)
    assert [(issue.pack, list(issue.trials), issue.origins) for issue in halves] == [
        (2, [1, 2], (0,)),
        (3, [3, 4], (0,)),
    ]
    ledger.out_of_memory(3, "no room")
    quarters = issued(ledger)
    assert [(issue.pack, list(issue.trials), issue.origins) for issue in quarters] == [
        (4, [3], (3, 0)),
        (5, [4], (3, 0)),
    ]
    for issue in (second, halves[0], *quarters):
        ledger.book(issue.pack, history(list(issue.trials), ends))
    assert ledger.issue() is None
    assert [row.state for row in ledger.study.rows()] == ["pruned", *["complete"] * 9]
    assert written.metrics[4] == [(epoch, metrics(4, epoch)) for epoch in range(1, EPOCHS + 1)]


def test_a_trial_that_does_not_fit_alone_has_failed() -> None:
    storage, written = InMemoryStorage(), Written()
    ledger = new_ledger(storage, written, wanted=config(trials=2, size=1))
    issued(ledger)
    ledger.out_of_memory(0, "no room")
    (row, other) = ledger.study.rows()
    assert (row.state, row.reason) == ("failed", "out of memory, with one trial in its pack: no room")
    assert other.state == "running" and written.states == {0: "failed", 1: "running"}
    assert ledger.issue() is WAIT


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.sampled_from([4, 5, 8]))
def test_the_driver_may_die_while_it_splits(deaths: list[int], size: int) -> None:
    """Every trial is in one pack, and is trained to its end."""
    storage, written, ends = InMemoryStorage(), Written(), [(EPOCHS, "complete")] * 8
    wanted = config(trials=8, size=size)
    for death in [*deaths, None]:
        try:
            ledger = new_ledger(storage, written, Life(death), wanted)
            while packs := issued(ledger):
                numbers = [number for issue in packs for number in issue.trials]
                assert len(set(numbers)) == len(numbers)
                for issue in packs:
                    if len(issue.trials) > 2:
                        ledger.out_of_memory(issue.pack, "no room")
                    else:
                        ledger.book(issue.pack, history(list(issue.trials), ends))
        except Died:
            continue
    assert ledger.issue() is None and not ledger.work_left()
    assert written.states == dict.fromkeys(range(8), "complete")
    assert all(len(points) == EPOCHS for points in written.metrics.values())


# --- knobs that a pack shares --------------------------------------------------------------------------------------

SHARED: Space = SPACE | {
    "trainer.batch_size": CategoricalDistribution([10, 20]),
    "trainer.train_size": IntDistribution(50, 60, step=10),
}


def kind(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values[name] for name in SHARED if name not in SPACE)


def parted(storage: BaseStorage, wanted: Config, deaths: Sequence[int] = ()) -> list[Issue]:
    """All packs, once drivers that die have begun to issue them."""
    written = Written()
    for death in deaths:
        with suppress(Died):
            issued(new_ledger(storage, written, Life(death), wanted, SHARED))
    return issued(new_ledger(storage, written, None, wanted, SHARED))


@given(st.lists(st.integers(0, 30), max_size=4), st.integers(1, 8), st.integers(0, 9))
def test_a_pack_holds_trials_of_one_kind_wherever_drivers_die(deaths: list[int], size: int, seed: int) -> None:
    """They are those that the pack would have had with another kind beside them, and the packs are the same ones."""
    wanted = config(trials=12, size=size)
    wanted.search.seed = seed
    undisturbed, storage = parted(InMemoryStorage(), wanted), InMemoryStorage()
    packs = parted(storage, wanted, deaths)
    assert sorted(number for issue in packs for number in issue.trials) == list(range(12))
    for issue in packs:
        assert len({kind(values) for values in issue.trials.values()}) == 1
    asked = [range(begin, min(begin + size, 12)) for begin in range(0, 12, size)]
    kinds = {n: kind(values) for issue in packs for n, values in issue.trials.items()}
    together = {tuple(n for n in numbers if kinds[n] == one) for numbers in asked for one in kinds.values()} - {()}
    assert {tuple(issue.trials) for issue in packs} == together
    assert {issue.pack: issue.trials for issue in packs} == {issue.pack: issue.trials for issue in undisturbed}


def test_a_pack_that_was_trained_is_issued_again_as_it_was() -> None:
    storage, wanted = InMemoryStorage(), config(trials=8, size=8)
    packs = parted(storage, wanted)
    assert len(packs) > 1
    assert parted(storage, wanted) == packs and parted(storage, wanted, [9]) == packs


def test_a_trial_that_somebody_has_ended_does_not_join_those_of_another_kind() -> None:
    """It cannot leave any more, and the pack could not be trained with it."""
    storage, wanted = InMemoryStorage(), config(trials=8, size=8)
    ledger = new_ledger(storage, Written(), None, wanted, SHARED)
    rows = ledger.study.ask([0] * 8)
    kinds = [kind(flat(knobs(wanted, row.params))) for row in rows]
    other = next(number for number, one in enumerate(kinds) if one != kinds[0])
    ledger.study.finish(other, "failed", 0.0, "by hand")
    packs = issued(new_ledger(storage, Written(), None, wanted, SHARED))
    assert sorted(number for issue in packs for number in issue.trials) == [n for n in range(8) if n != other]


# --- ends before the end -------------------------------------------------------------------------------------------


def test_nothing_is_issued_once_it_is_to_stop() -> None:
    ledger = new_ledger(InMemoryStorage(), Written())
    assert isinstance(ledger.issue(), Issue)
    ledger.stopping.ask(INTERRUPT)
    assert ledger.issue() is None and ledger.work_left()


def test_the_goal_is_reached_by_a_complete_trial_only_and_stays_reached() -> None:
    storage, written = InMemoryStorage(), Written()
    goal = config()
    goal.sweep.target = 0.1 + EPOCHS / 100  # trial 1 at its end
    ledger = new_ledger(storage, written, wanted=goal)
    ends = [(EPOCHS, "complete"), (EPOCHS, "complete"), (EPOCHS, "pruned"), (EPOCHS, "complete"), (EPOCHS, "complete")]
    assert isinstance(ledger.issue(), Issue) and isinstance(ledger.issue(), Issue)
    ledger.book(1, history([2, 3], ends)[: EPOCHS - 1])  # on its way trial 3 has more
    assert ledger.stopping.reason is None
    ledger.book(0, history([0, 1], ends))
    assert ledger.stopping.reason is not None and ledger.stopping.reason.text.endswith("reached by trial 1")
    assert ledger.issue() is None
    again = new_ledger(storage, written, wanted=goal)
    assert again.stopping.reason == ledger.stopping.reason and again.issue() is None
    goal.sweep.target = 5.0
    assert isinstance(new_ledger(storage, written, wanted=goal).issue(), Issue)


# --- several objectives, and bars ------------------------------------------------------------------------------------


def two_aims() -> Config:
    """Accuracy up, training loss down; and the loss is to be below 0.4, which it is from epoch 3 on (see `metrics`)."""
    wanted = config()
    wanted.search.objectives = ["maximize val/accuracy", "minimize train/loss"]
    wanted.search.constraints = ["train/loss <= 0.4"]
    return wanted


def test_the_study_has_all_objectives_and_violations_of_what_has_ended() -> None:
    storage, written = InMemoryStorage(), Written()
    ends = [(EPOCHS, "complete"), (1, "pruned"), (2, "pruned"), (1, "failed"), (EPOCHS, "complete")]
    ledger = new_ledger(storage, written, wanted=two_aims())
    drive(ledger, ends, [])
    study = optuna.load_study(study_name="s", storage=storage)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for number, (trial, (last, state)) in enumerate(zip(study.get_trials(), ends, strict=True)):
        told = metrics(number, last)
        assert trial.values == ([told[OBJECTIVE], told["train/loss"]] if state == "complete" else None)
        assert trial.intermediate_values == {n: metrics(number, n)[OBJECTIVE] for n in range(1, last + 1)}
        broken = [] if state == "failed" else [pytest.approx(told["train/loss"] - 0.4)]
        assert list(trial.constraints.values()) == broken
    assert [trial.number for trial in study.best_trials] == [4]
    assert [row.number for row in ledger.study.pareto()] == [4]  # the other one has the same loss
    assert [row.number for row in ledger.study.best(5)] == [4, 0]


def test_a_study_of_other_directions_is_refused_in_one_line() -> None:
    storage = InMemoryStorage()
    new_ledger(storage, Written())
    with pytest.raises(KnobError) as caught:
        new_ledger(storage, Written(), wanted=two_aims())
    assert str(caught.value) == (
        "search.objectives: the study s in search.storage was made to maximize, not to maximize, minimize; "
        "must be the same (or give another sweep.name)"
    )


def barred(deterministic: bool = False) -> Config:
    wanted = config(trials=8)
    wanted.search.deterministic, wanted.search.generation = deterministic, 2
    wanted.pruner = Pruner("median", min_epochs=1, startup_trials=2)
    return wanted


ALL = [(EPOCHS, "complete")] * 8


def test_a_pack_gets_the_median_of_the_others_as_they_are_when_it_is_issued() -> None:
    ledger = new_ledger(InMemoryStorage(), Written(), wanted=barred())
    first, second = ledger.issue(), ledger.issue()
    assert isinstance(first, Issue) and isinstance(second, Issue)
    assert first.bars == second.bars == {}, "nobody has come so far"
    ledger.book(0, history([0, 1], ALL)[:2])
    third = ledger.issue()
    assert isinstance(third, Issue)
    middle = {n: (metrics(0, n)[OBJECTIVE] + metrics(1, n)[OBJECTIVE]) / 2 for n in (1, 2)}
    assert third.bars == pytest.approx(middle)
    ledger.book(1, history([2, 3], ALL)[:1])
    ledger.pack_broke(1, "its process died")
    again = ledger.issue()
    assert isinstance(again, Issue) and again.pack == 1
    assert again.bars == pytest.approx({2: middle[2]}), "epoch 1 it has been through"


@given(st.permutations([0, 1]), st.permutations([2, 3]), st.integers(0, EPOCHS))
def test_deterministic_bars_hang_on_earlier_generations_only(first: list[int], then: list[int], some: int) -> None:
    """In whatever order the packs of a generation report, and whenever the driver dies."""
    storage, found = InMemoryStorage(), dict[int, Mapping[int, float]]()
    ledger = new_ledger(storage, Written(), wanted=barred(deterministic=True))
    for order in (first, then):
        issue = ledger.issue()
        assert isinstance(issue, Issue)
        found[issue.pack] = issue.bars
        ledger.book(issue.pack, history(list(issue.trials), ALL)[:some])
        ledger = new_ledger(storage, Written({}, {}, {}), wanted=barred(deterministic=True))
        for again in issued(ledger):
            assert found.setdefault(again.pack, again.bars) == again.bars
        for pack in order:
            ledger.book(pack, history([2 * pack, 2 * pack + 1], ALL))
    middle = {n: sum(metrics(number, n)[OBJECTIVE] for number in range(4)) / 4 for n in range(1, EPOCHS + 1)}
    assert found == {0: {}, 1: {}, 2: pytest.approx(middle), 3: pytest.approx(middle)}
    assert not ledger.work_left()


def test_fewer_trials_may_be_wanted_while_more_are_asked_for() -> None:
    """From another thread, in the middle of a proposal: what was asked for is finished, and no more."""
    ledger = new_ledger(InMemoryStorage(), Written())
    ledger.view = SimpleNamespace(config=ledger.config, pack_started=lambda *_: None)  # type: ignore[assignment]
    ask = ledger.study.ask

    def slowly(packs: Sequence[int], until: int | None = None) -> list[Row]:
        ledger.aim(1)
        return ask(packs, until)

    ledger.study.ask = slowly  # type: ignore[method-assign]
    assert isinstance(ledger.issue(), Issue)
    assert ledger.total == ledger.asked == SIZE
    assert ledger.issue() is WAIT


@pytest.mark.parametrize("more", [0, 1, 2])
def test_tune_runs_again_where_more_is_asked_for_as_it_ends(more: int) -> None:
    ledger = new_ledger(InMemoryStorage(), Written(), wanted=config(trials=2, size=2))
    ledger.view = SimpleNamespace(config=ledger.config, pack_started=lambda *_: None)  # type: ignore[assignment]
    names = []

    def fit(name: str) -> bool:
        names.append(name)
        ledger.pack_failed(issued(ledger)[0].pack, "")
        if len(names) <= more:
            ledger.aim(2 + 2 * len(names))
        return True

    ledger.view.pack_failed = lambda *_: None  # type: ignore[method-assign]
    repeated(fit, ledger)
    assert len(set(names)) == 1 + more and not ledger.work_left()
