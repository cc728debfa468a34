"""The best settings are trained again with new seeds, each once, whoever dies when; and the best mean of these wins."""

from __future__ import annotations

import dataclasses
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from rich.console import Console

from lca_sweep.config import Config, KnobError, Pack, Pruner, Search, Sweep
from lca_sweep.core.data import load
from lca_sweep.core.knobs import Init, Trainer
from lca_sweep.core.objective import Constraint, Goal, Objective
from lca_sweep.report import tables
from lca_sweep.report.results import Series
from lca_sweep.search.rows import Row, best_first
from lca_sweep.search.space import Space
from lca_sweep.search.study import Study
from lca_sweep.sweep import gather
from lca_sweep.sweep.finals import Standing, check_finals, finalists, lines, missing, standings, winner
from lca_sweep.sweep.gather import finals
from lca_sweep.sweep.ledger import WAIT, Issue, Ledger
from lca_sweep.sweep.reporting import _chosen
from lca_sweep.sweep.view import View
from lca_sweep.tracking import NullTracker, TrialRecord

SPACE: Space = {"trainer.lr": FloatDistribution(0.01, 0.3, log=True)}
TRIALS, SIZE, SEED = 5, 2, 7
OBJECTIVE, TEST = "val/accuracy", "test/accuracy"


class Died(Exception):
    """The driver is gone."""


class MortalStorage(InMemoryStorage):
    """Whoever writes after so many writes is killed, before or after it is done."""

    left, after = 10**6, False

    def _mortal(self, write: Any, *args: Any) -> Any:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Died
        result = write(*args)
        if self.left < 0:
            raise Died
        return result

    def create_new_trial(self, study_id: int, template_trial: Any = None) -> int:
        return int(self._mortal(super().create_new_trial, study_id, template_trial))

    def set_trial_state_values(self, trial_id: int, state: Any, values: Any = None) -> bool:
        return bool(self._mortal(super().set_trial_state_values, trial_id, state, values))


class Runs(NullTracker):
    """Which trials MLflow has heard of, and with what."""

    def __init__(self) -> None:
        self.records: dict[int, TrialRecord] = {}

    def start_trials(self, trials: Sequence[TrialRecord]) -> None:
        self.records |= {trial.number: trial for trial in trials}


def config(replicates: int = 3, best: int = 2, trials: int = TRIALS, **search: Any) -> Config:
    return Config(
        pack=Pack(size=SIZE),
        init=Init(seed=SEED),
        trainer=Trainer(epochs=1),
        pruner=Pruner(name="halving"),
        search=Search(sampler="random", **search),
        sweep=Sweep(name="s", trials=trials, replicates=replicates, finalists=best),
    )


def ledger(storage: BaseStorage, wanted: Config, runs: Runs | None = None) -> Ledger:
    study = Study.open(wanted, "s", SPACE, storage)
    view = View("s", wanted, Console(file=io.StringIO()))
    view.begin(study.rows())
    return Ledger(wanted, study, runs or Runs(), view, {"device": "cpu"})


def value(number: int, seed: int) -> float:
    """In the search the last trials do well; with other seeds they do worse than those before them."""
    return number / 10 if seed == SEED else 0.5 - number / 100 + (seed - SEED) / 1000


def train(books: Ledger, fail: Sequence[tuple[int, int]] = ()) -> list[Issue]:
    """Train all that is issued, two packs at a time; (trial, seed) in `fail` fail."""
    packs: list[Issue] = []
    while True:
        there = [issue for issue in (books.issue(), books.issue()) if isinstance(issue, Issue)]
        if not there:
            return packs
        for issue in there:
            packs.append(issue)
            books.book(issue.pack, [{"epoch": 1, "trials": [_end(books, n, k, fail) for n, k in issue.trials.items()]}])


def _end(books: Ledger, number: int, knobs: Mapping[str, Any], fail: Sequence[tuple[int, int]]) -> dict[str, Any]:
    row = next(row for row in books.study.rows() if row.number == number)
    whom, seed = row.replicate or (number, knobs["init.seed"])
    state = "failed" if (whom, seed) in fail else "complete"
    return {"trial": number, "state": state, "metrics": {OBJECTIVE: value(whom, seed)}, "reason": "bad luck"}


def pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    return [row.replicate for row in rows if row.replicate]


def test_the_best_are_trained_again_and_the_best_mean_wins() -> None:
    storage, runs = InMemoryStorage(), Runs()
    books = ledger(storage, config(), runs)
    packs = train(books)
    rows = books.study.rows()
    assert pairs(rows) == [(4, 8), (4, 9), (4, 10), (3, 8), (3, 9), (3, 10)]
    assert [row.params for row in rows[5:]] == [rows[4].params] * 3 + [rows[3].params] * 3
    search, last = packs[:3], packs[3:]
    assert [issue.prune for issue in search] == [True] * 3 and [issue.prune for issue in last] == [False] * 3
    assert [[knobs["init.seed"] for knobs in issue.trials.values()] for issue in last] == [[8, 9], [10, 8], [9, 10]]
    assert [row.number for row in books.study.best(9)] == [4, 3, 2, 1, 0]  # the search's
    assert books.study.counts()["complete"] == TRIALS and not books.work_left() and books.issue() is None
    held = standings(rows, Goal())
    assert [one.row.number for one in held] == [3, 4]
    assert winner(rows, Goal()) == rows[3]
    for one, final in zip(held, finals(rows, Goal()), strict=True):
        values = [value(one.row.number, seed) for seed in (8, 9, 10)]
        assert final.values == tuple(values) and final.mean == pytest.approx(statistics.fmean(values))
        assert final.half == pytest.approx(4.302653 * statistics.stdev(values) / math.sqrt(3))  # Student's t, 2 degrees
    tags = {number: record.tags for number, record in runs.records.items()}
    assert tags[5] == {"device": "cpu", "replicate.of": "4", "replicate.seed": "8"} and tags[4] == {"device": "cpu"}
    assert [runs.records[number].knobs["init.seed"] for number in (4, 5, 10)] == [7, 8, 10]


@given(st.integers(0, 30), st.booleans(), st.booleans())
def test_the_driver_may_die_at_any_write(dies: int, after: bool, deterministic: bool) -> None:
    storage, wanted = MortalStorage(), config(deterministic=deterministic)
    storage.left, storage.after = dies + 1, after
    for _ in range(3):
        with suppress(Died):
            train(ledger(storage, wanted))
        storage.left = 10**6
    rows = Study.open(wanted, "s", SPACE, storage).rows()
    assert [row.state for row in rows] == ["complete"] * 11
    assert sorted(pairs(rows)) == [(number, seed) for number in (3, 4) for seed in (8, 9, 10)]
    packs = {row.pack for row in rows if row.replicate} & {row.pack for row in rows if not row.replicate}
    assert packs == set()
    assert winner(rows, Goal()) == rows[3]


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_extension_holds_what_is_missing(deterministic: bool) -> None:
    storage = InMemoryStorage()
    train(ledger(storage, config(deterministic=deterministic)))
    more = train(ledger(storage, config(trials=7, replicates=4, deterministic=deterministic)))
    rows = Study.open(config(), "s", SPACE, storage).rows()
    assert sum(row.replicate is None for row in rows) == 7
    new = [row.number for row in rows[11:] if not row.replicate]
    assert pairs(rows)[6:] == [(number, seed) for number in new[::-1] for seed in (8, 9, 10, 11)]
    assert len({issue.pack for issue in more}) == len(more) and min(issue.pack for issue in more) == 6
    assert train(ledger(storage, config(trials=7, replicates=4))) == []


def test_more_seeds_are_added_to_those_that_are_there() -> None:
    storage = InMemoryStorage()
    train(ledger(storage, config(replicates=2, best=1)))
    train(ledger(storage, config(replicates=3, best=2)))
    assert pairs(Study.open(config(), "s", SPACE, storage).rows()) == [(4, 8), (4, 9), (4, 10), (3, 8), (3, 9), (3, 10)]


def test_a_better_trial_since_makes_them_void() -> None:
    """Finals that do not know the best trial say nothing of it."""
    storage = InMemoryStorage()
    train(ledger(storage, config()))
    train(ledger(storage, config(trials=6, replicates=0)))
    rows = Study.open(config(), "s", SPACE, storage).rows()
    assert standings(rows, Goal()) == [] and winner(rows, Goal()) == best_first(rows, Goal())[0]


def test_they_are_not_over_before_the_last_has_ended() -> None:
    storage = InMemoryStorage()
    train(ledger(storage, config()))
    rows = Study.open(config(), "s", SPACE, storage).rows()
    open_ = [*rows[:-1], dataclasses.replace(rows[-1], state="running", value=None)]
    assert standings(open_, Goal()) == [] and winner(open_, Goal()) == rows[4]


def test_a_finalist_that_breaks_a_constraint_does_not_win() -> None:
    """By the mean of its new seeds, whatever it does by the objective: as in the search."""
    goal = Goal((Objective("val/loss", maximize=False),), (Constraint("val/accuracy", True, 0.9),))

    def row(number: int, loss: float, violation: float, replicate: tuple[int, int] | None = None) -> Row:
        told: dict[str, Any] = {"scores": (loss,), "violations": (violation,), "replicate": replicate}
        return Row(number, "complete", {"trainer.lr": 0.1}, {1: loss}, loss, number, "", **told)

    search = [row(0, 0.3, -0.01), row(1, 0.1, 0.02), row(2, 0.2, -0.01)]
    again = [row(3, 0.3, -0.05, (0, 1)), row(4, 0.3, 0.01, (0, 2))]  # one of them breaks it, both on the mean do not
    again += [row(5, 0.1, 0.02, (1, 1)), row(6, 0.1, 0.02, (1, 2))]
    again += [row(7, 0.2, 0.03, (2, 1)), row(8, 0.2, -0.01, (2, 2))]
    held = standings([*search, *again], goal)
    assert [one.row.number for one in held] == [0, 2, 1]
    assert [one.excess for one in held] == [0.0, pytest.approx(0.01), pytest.approx(0.02)]
    assert winner([*search, *again], goal) == search[0]
    assert ["constraints broken" in line for line in lines(held, "val/loss")[2:5]] == [False, True, True]
    assert [final.excess > 0 for final in finals([*search, *again], goal)] == [False, True, True]


def test_small_numbers_are_told_as_what_they_are() -> None:
    row = Row(0, "complete", {}, {}, 2e-5, 0, "")
    held = [Standing(row, (dataclasses.replace(row, value=1e-5), dataclasses.replace(row, value=3e-5)), 0)]
    assert lines(held, "train/prior")[2] == "    0      2.000e-05  2.000e-05 ± 1.271e-04 (2)"


def test_test_images_are_looked_at_for_the_winners_new_seeds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the finals are over; before, for nobody's."""
    books = ledger(InMemoryStorage(), config())
    train(books)
    one = Series(np.array([1]), np.array([0.5]))
    monkeypatch.setattr(
        gather, "histories", lambda _, rows, __: {row.number: {OBJECTIVE: one, TEST: one} for row in rows}
    )
    rows, known = books.study.rows(), config()
    for there, winners, replicates in ((rows, [3], [8, 9, 10]), (rows[:-1], [], []), (rows[:5], [], [])):
        if there is not rows:
            there = [*there[:-1], dataclasses.replace(there[-1], state="running", value=None)]
        source = gather.Source("s", "", Path(), known, SPACE, there, cast(Any, None), load("digits"), {})
        found = gather.gather(source, {})
        assert [trial.number for trial in found.trials if TEST in trial.history] == replicates
        assert all(OBJECTIVE in trial.history for trial in found.trials)
        assert _chosen(source) == winners and [final.number for final in found.finals[:1]] == winners
        assert bool(tables.test_line(found)) == bool(winners)
    alone = gather.Source("s", "", Path(), config(replicates=0), SPACE, rows[:5], cast(Any, None), load("digits"), {})
    assert all(TEST in trial.history for trial in gather.gather(alone, {}).trials) and _chosen(alone) == [4]


def test_a_finalist_of_which_a_seed_fails_comes_last() -> None:
    books = ledger(InMemoryStorage(), config())
    train(books, fail=[(3, 9)])
    held = standings(books.study.rows(), Goal())
    assert [(one.row.number, one.failed, len(one.values)) for one in held] == [(4, 0, 3), (3, 1, 2)]
    assert train(books) == []  # nor is it tried again


def test_a_target_is_the_searchs() -> None:
    books = ledger(InMemoryStorage(), config())
    books.stopping.sweep.target = 0.45  # only with new seeds
    train(books)
    assert books.stopping.reason is None


def test_trials_of_one_setting_are_one_finalist() -> None:
    rows = [Row(n, "complete", {"a": n // 2}, {}, float(n), 0, "", scores=(float(n),)) for n in range(6)]
    assert [row.number for row in finalists(config(best=2), rows)] == [5, 3]


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_seeds_are_new_and_follow_from_the_old(seed: int, replicates: int) -> None:
    wanted = dataclasses.replace(config(replicates), init=Init(seed=seed))
    rows = [Row(0, "complete", {"trainer.lr": 0.1}, {}, 0.5, 0, "", scores=(0.5,))]
    seeds = [new for _, new in missing(wanted, rows)]
    assert len({*seeds, seed}) == replicates + 1 and all(0 <= new < 2**32 for new in seeds)
    assert seeds == [new for _, new in missing(wanted, rows)]


def test_without_a_complete_trial_there_are_none() -> None:
    rows = [Row(0, "failed", {"trainer.lr": 0.1}, {}, None, 0, "")]
    assert missing(config(), rows) == [] and winner(rows, Goal()) is None


@pytest.mark.parametrize(
    ("replicates", "space", "message"),
    [
        (1, SPACE, "sweep.replicates=1: one seed gives no interval; must be 0 (no finals) or >= 2"),
        (
            3,
            {"init.seed": CategoricalDistribution([0, 1])},
            "sweep.replicates=3: the finals have new seeds, but init.seed is searched; take it out "
            "('~sweep.space.init.seed'), or set sweep.replicates=0",
        ),
    ],
)
def test_finals_that_would_say_nothing(replicates: int, space: Space, message: str) -> None:
    with pytest.raises(KnobError) as caught:
        check_finals(config(replicates), space)
    assert str(caught.value) == message
    check_finals(Config(), space)


def test_finalists_of_no_finals() -> None:
    with pytest.raises(KnobError, match=r"^sweep.finalists=5: has no effect with sweep.replicates=0"):
        check_finals(config(0, best=5), SPACE)


# -- other numbers while it runs ------------------------------------------------------------------------------------


def test_no_more_packs_at_a_time_than_asked_for() -> None:
    books = ledger(InMemoryStorage(), config(replicates=0, trials=12))
    books.most = 2
    first, second = books.issue(), books.issue()
    assert isinstance(first, Issue) and isinstance(second, Issue)
    assert books.issue() is WAIT
    books.most = 3
    assert isinstance(books.issue(), Issue) and books.issue() is WAIT
    books.most = 1
    books.pack_broke(first.pack, "its process died")  # it is to begin again, when there is room
    assert books.issue() is WAIT
    for pack in (1, 2):
        numbers = [row.number for row in books.study.pack(pack)]
        ends = [{"trial": n, "state": "complete", "metrics": {OBJECTIVE: 0.1}, "reason": ""} for n in numbers]
        books.book(pack, [{"epoch": 1, "trials": ends}])
    again = books.issue()
    assert isinstance(again, Issue) and again.pack == first.pack and books.issue() is WAIT


def test_another_total_while_it_runs() -> None:
    books = ledger(InMemoryStorage(), config(replicates=2, best=1, trials=4))
    assert isinstance(books.issue(), Issue)
    assert books.aim(6) == 6
    assert "of 6 trials" in books.view.headline()
    assert books.aim(1) == 2  # these were begun
    assert books.aim(6) == 6
    numbers = [row.number for row in books.study.rows()]
    ends = [{"trial": n, "state": "complete", "metrics": {OBJECTIVE: 0.1}, "reason": ""} for n in numbers]
    books.book(0, [{"epoch": 1, "trials": ends}])
    train(books)
    rows = books.study.rows()
    assert (sum(row.replicate is None for row in rows), len(pairs(rows))) == (6, 2)
