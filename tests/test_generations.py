"""Deterministic search: what a sweep finds does not depend on how many packs run at once, nor on who dies when."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from test_ledger import Died, Life, NoView

from lca_sweep.config import Config, Pack, Search, Sweep
from lca_sweep.core.knobs import Trainer
from lca_sweep.search.generations import Ask, generation, rest
from lca_sweep.search.rows import Row
from lca_sweep.search.space import Space
from lca_sweep.search.study import Study
from lca_sweep.sweep.ledger import WAIT, Issue, Ledger
from lca_sweep.tracking import NullTracker

OBJECTIVE = "val/accuracy"
EPOCHS, SIZE, PACKS, TRIALS = 2, 2, 2, 11
SPACE: Space = {
    "trainer.lr": FloatDistribution(0.01, 0.3, log=True),
    "model.width": IntDistribution(8, 32, step=4),
    "model.depth": CategoricalDistribution([1, 2, 3]),
}
SHARED: Space = SPACE | {"trainer.batch_size": CategoricalDistribution([10, 20])}


class MortalStorage(InMemoryStorage):
    """Its writer may die before and after each write."""

    life = Life()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self.life.tick()
        id = super().create_new_trial(study_id, template_trial)
        self.life.tick()
        return id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.life.tick()
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self.life.tick()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self.life.tick()
        done = super().set_trial_state_values(trial_id, state, values)
        self.life.tick()
        return done

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self.life.tick()
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self.life.tick()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.life.tick()
        super().set_trial_user_attr(trial_id, key, value)
        self.life.tick()


def config(sampler: str = "tpe", trials: int = TRIALS) -> Config:
    search = Search(sampler=sampler, startup_trials=1, deterministic=True, generation=PACKS)
    return Config(
        pack=Pack(size=SIZE), trainer=Trainer(epochs=EPOCHS), search=search, sweep=Sweep(name="s", trials=trials)
    )


def ledger_of(storage: InMemoryStorage, wanted: Config, space: Space = SPACE) -> Ledger:
    study = Study.open(wanted, "s", space, storage)
    return Ledger(wanted, study, NullTracker(), NoView(), {})  # type: ignore[arg-type]


def objective(params: Mapping[str, Any], epoch: int) -> float:
    return math.sin(100 * params["trainer.lr"]) + params["model.depth"] / params["model.width"] + epoch / 10


def entry(number: int, params: Mapping[str, Any], epoch: int) -> dict[str, Any]:
    """What a worker says of a trial: it follows from the trial's knobs."""
    value = objective(params, epoch)
    state = "running" if epoch < EPOCHS else "complete"
    state = "pruned" if params["model.depth"] == 2 else "failed" if params["model.width"] == 8 else state
    return {"trial": number, "state": state, "metrics": {OBJECTIVE: value}, "reason": "x" * (state == "failed")}


@dataclass
class Worker:
    """A pack in training."""

    pack: int
    trials: Mapping[int, Mapping[str, Any]]
    epoch: int = 0

    def step(self, ledger: Ledger) -> bool:
        """One more epoch, and all reports so far as after a restart; whether the pack is through."""
        self.epoch += 1
        reports, live = [], dict(self.trials)
        for epoch in range(1, self.epoch + 1):
            trials = [entry(number, params, epoch) for number, params in live.items()]
            reports.append({"epoch": epoch, "trials": trials})
            live = {trial["trial"]: live[trial["trial"]] for trial in trials if trial["state"] == "running"}
        ledger.book(self.pack, [report for report in reports if report["trials"]])
        return not live


def sweep(
    storage: InMemoryStorage, wanted: Config, places: int, choose: st.DataObject | None, space: Space = SPACE
) -> None:
    """A driver with so many places for packs, in which any pack may be the next to report."""
    ledger, workers = ledger_of(storage, wanted, space), list[Worker]()
    alike = [name for name in SHARED if name not in SPACE]
    while True:
        issue = None
        if len(workers) < places:
            issue = ledger.issue()
            if isinstance(issue, Issue):
                assert len({tuple(knobs[name] for name in alike) for knobs in issue.trials.values()}) == 1
                workers.append(Worker(issue.pack, dict(issue.trials)))
                continue
            assert issue is None or workers, "waits for nobody"
        if not workers:
            return
        which = choose.draw(st.integers(0, len(workers) - 1)) if choose else 0
        if workers[which].step(ledger):
            del workers[which]


def found(storage: InMemoryStorage, wanted: Config, space: Space = SPACE) -> list[Row]:
    return Study.open(wanted, "s", space, storage).rows()


@cache
def reference(sampler: str, *trials: int, shared: bool = False) -> list[Row]:
    """One pack at a time, and nobody dies; the sweep is extended from one number of trials to the next."""
    storage, space = InMemoryStorage(), SHARED if shared else SPACE
    for total in trials:
        sweep(storage, config(sampler, total), 1, None, space)
    return found(storage, config(sampler, trials[-1]), space)


@settings(max_examples=60)
@given(
    st.sampled_from(["tpe", "random"]),
    st.sampled_from([(TRIALS,), (5, TRIALS)]),
    st.sampled_from([1, 2, 4]),
    st.lists(st.integers(0, 90), max_size=4),
    st.booleans(),
    st.data(),
)
def test_a_sweep_is_the_same_whoever_is_faster_and_whoever_dies(
    sampler: str, trials: tuple[int, ...], places: int, deaths: list[int], shared: bool, data: st.DataObject
) -> None:
    """Also where packs are parted because their trials differ in knobs that a pack shares."""
    storage, space = MortalStorage(), SHARED if shared else SPACE
    for total in trials:
        for death in [*deaths, None]:
            storage.life = Life(death)
            try:
                sweep(storage, config(sampler, total), places, data, space)
            except Died:
                continue
    storage.life = Life()
    assert found(storage, config(sampler, trials[-1]), space) == reference(sampler, *trials, shared=shared)


def test_some_packs_are_parted_and_some_are_not() -> None:
    """Else the law above would be an easy one."""
    for sampler in ("tpe", "random"):
        rows = reference(sampler, TRIALS, shared=True)
        assert {bool(row.origins) for row in rows} == {True, False}
        assert 2 in Counter(row.pack for row in rows).values()


@settings(max_examples=20)
@given(st.integers(5, TRIALS - 1), st.lists(st.integers(0, 90), max_size=2), st.booleans(), st.data())
def test_a_sweep_that_is_extended(first: int, deaths: list[int], ended: bool, data: st.DataObject) -> None:
    """After its end there is one way for it to go on. Before, it also matters whether its last generation, cut short
    by the end, had been asked for: if not, the sweep goes on as if it had been as long from the beginning.
    """
    storage = MortalStorage()
    starts = [(first, death) for death in deaths] + [(first, None)] * ended + [(TRIALS, None)]
    for total, death in starts:
        storage.life = Life(death)
        try:
            sweep(storage, config("tpe", total), 2, data)
        except Died:
            continue
    after, longer = reference("tpe", first, TRIALS), reference("tpe", TRIALS)
    assert found(storage, config()) in ([after] if ended else [after, longer])


def test_tpe_decides_and_sees_what_came_before() -> None:
    """Else the law above would be an easy one."""
    tpe, random = reference("tpe", TRIALS), reference("random", TRIALS)
    assert [row.params for row in tpe[:4]] == [row.params for row in random[:4]]  # the first generation
    assert all(one.params != other.params for one, other in zip(tpe[4:], random[4:], strict=True))
    assert {row.state for row in tpe} == {"complete", "pruned", "failed"}


@pytest.mark.parametrize("kept", range(4))
def test_a_driver_that_dies_while_it_asks(kept: int) -> None:
    """The next one asks for exactly the rest, before it issues anything."""
    whole = InMemoryStorage()
    sweep(whole, config(trials=4), 1, None)
    expected = ledger_of(whole, config())
    expected.issue()
    storage = MortalStorage()
    sweep(storage, config(trials=4), 1, None)
    storage.life = Life(2 * kept)
    with pytest.raises(Died):
        ledger_of(storage, config()).issue()
    storage.life = Life()
    assert len(found(storage, config())) == 4 + kept
    issue = ledger_of(storage, config()).issue()
    assert isinstance(issue, Issue) and (issue.pack, list(issue.trials)) == (2, [4, 5])
    assert found(storage, config()) == found(whole, config())


def test_a_generation_waits_for_the_one_before() -> None:
    storage = InMemoryStorage()
    ledger = ledger_of(storage, config())
    workers = [
        Worker(issue.pack, dict(issue.trials)) for issue in (ledger.issue(), ledger.issue()) if issue is not WAIT
    ]
    assert [list(worker.trials) for worker in workers] == [[0, 1], [2, 3]]
    assert ledger.issue() is WAIT and ledger.work_left()
    for worker in workers:
        assert ledger.issue() is WAIT
        while not worker.step(ledger):
            pass
    issue = ledger.issue()
    assert isinstance(issue, Issue) and list(issue.trials) == [4, 5]


def row(number: int, pack: int | None, until: int | None = None, state: str = "complete") -> Row:
    return Row(number, state, {}, {}, None, pack, "", until=until)


def test_generations_lie_at_multiples() -> None:
    assert generation([], 3, 2, 100) == Ask([0, 0, 0, 1, 1, 1], 6)
    assert generation([], 3, 2, 5) == Ask([0, 0, 0, 1, 1], 5)
    cut = [row(n, n // 3, 5) for n in range(5)]
    assert generation(cut, 3, 2, 5) is None
    assert generation(cut, 3, 2, 100) == Ask([2], 6)
    assert generation([*cut, row(5, 2, 6)], 3, 2, 100) == Ask([3, 3, 3, 4, 4, 4], 12)
    assert generation([*cut[:4], row(4, None, state="running")], 3, 2, 5) == Ask([2], 5)  # one waits for a pack


@pytest.mark.parametrize("state", ["running", "failed"])
def test_the_rest_of_a_generation_is_asked_for_unless_it_has_been_issued(state: str) -> None:
    begun = [*(row(n, n // 3, 6) for n in range(6)), *(row(n, 2 + (n - 6) // 3, 12, "running") for n in range(6, 10))]
    assert rest(begun[:6], 3, 100) is None
    assert rest(begun[:7], 3, 100) == Ask([2, 2, 3, 3, 3], 12)
    assert rest(begun, 3, 100) == Ask([3, 3], 12)
    assert rest(begun, 3, 11) == Ask([3], 11)
    assert rest(begun, 3, 10) is None
    begun[7] = row(7, 2, 12, state)
    assert (rest(begun, 3, 100) is None) == (state == "failed")


def test_an_ask_in_a_sweep_that_was_made_smaller_meanwhile() -> None:
    """Its rows then differ in `until`, and its packs are full where they would have been."""
    before = [row(n, n // 3, 6) for n in range(6)]
    cut = [row(6, 2, 12, "running"), row(7, 2, 12, "running"), row(8, 2, 10, "running"), row(9, 3, 10, "running")]
    assert rest([*before, *cut[:3]], 3, 100) == Ask([3, 3, 3], 12)
    assert rest([*before, *cut], 3, 100) == Ask([3, 3], 12)
    assert rest([*before, *cut], 3, 11) == Ask([3], 11)
    ended = [row(one.number, one.pack, one.until) for one in cut]
    assert rest([*before, *ended], 3, 100) is None
    assert rest([*before, *ended, row(10, 4, 12, "running")], 3, 100) == Ask([4], 12)
    grown = [row(n, n // 2, 8, "running") for n in range(5)]
    assert rest(grown, 4, 100) == Ask([2, 2, 2], 8)  # pack.size was 2
    by_hand = [row(0, 2, 7, "running"), *(row(n, (n - 1) // 3, 4) for n in range(1, 5))]
    assert rest(by_hand, 3, 100) == Ask([2, 2], 7)  # it waited longer than others


@given(st.lists(st.tuples(st.integers(1, 14), st.integers(0, 40)), max_size=4), st.integers(1, 4), st.data())
def test_no_pack_is_ever_too_large(starts: list[tuple[int, int]], size: int, data: st.DataObject) -> None:
    """However `sweep.trials` and `pack.size` change, and wherever drivers die as they ask."""
    storage, largest = MortalStorage(), size
    for trials, death in starts:
        wanted = config("random", trials)
        wanted.pack.size = data.draw(st.integers(1, 4))
        largest = max(largest, wanted.pack.size)
        storage.life = Life()
        ledger = ledger_of(storage, wanted)
        storage.life = Life(death)
        with suppress(Died):
            ledger.issue()
        storage.life = Life()
        sizes = Counter(row.pack for row in found(storage, wanted) if row.pack is not None)
        assert max(sizes.values(), default=0) <= largest


@given(st.integers(1, 7), st.integers(0, 20))
def test_packs_become_whole_without_generations_too(size: int, death: int) -> None:
    """A driver dies while it asks for a pack; the next one asks for the rest of it."""
    wanted = config()
    wanted.search.deterministic, wanted.pack.size = False, size
    storage = MortalStorage()
    with suppress(Died):
        ledger = ledger_of(storage, wanted)
        storage.life = Life(death)
        while isinstance(ledger.issue(), Issue):
            pass
    storage.life = Life()
    ledger, packs = ledger_of(storage, wanted), list[int]()
    while isinstance(issue := ledger.issue(), Issue):
        packs.append(len(issue.trials))
    assert packs == [min(size, TRIALS - begin) for begin in range(0, TRIALS, size)]


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.tuples(st.integers(1, 24), st.integers(0, 5)), max_size=4))
def test_no_pack_is_larger_than_asked_for(size: int, packs: int, starts: list[tuple[int, int]]) -> None:
    """Drivers that die while they ask, between changes of sweep.trials."""
    rows: list[Row] = []
    for total, written in [*starts, (24, 99)]:
        ask = rest(rows, size, total) or generation(rows, size, packs, total)
        for pack in ask.packs[:written] if ask else []:
            rows.append(Row(len(rows), "running", {}, {}, None, pack, "", (), ask.until if ask else None))
    assert max(Counter(row.pack for row in rows).values(), default=0) <= size
