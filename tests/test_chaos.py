"""A sweep whose processes are killed ends as an undisturbed one; and the comparison would see if it did not."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from sweep_helpers import ROOT, Record

sys.path.append(str(ROOT / "benchmarks"))
from chaos import EVERY, Round, Size, is_clean, play, report
from chaos_books import Books, Trained, compare, lawless, repeats
from chaos_plan import KINDS, Moment, plan

pytestmark = pytest.mark.timeout(900)  # as the other sweeps

NAN = float("nan")

# --- the comparison ------------------------------------------------------------------------------------------------


def trial(number: int, values: dict[int, float], state: str = "COMPLETE") -> optuna.trial.FrozenTrial:
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=values[max(values)] if state == "COMPLETE" else None,
        params={"trainer.lr": 0.1},
        distributions={"trainer.lr": optuna.distributions.FloatDistribution(0.01, 1)},
        user_attrs={"pack": number // 2},
        intermediate_values=values,
    )
    made.number = number
    return made


def run(number: int, metrics: dict[str, list[tuple[int, float]]], status: str = "FINISHED") -> Record:
    tags = {"lca.kind": "trial", "lca.trial": str(number), "lca.pack": str(number // 2), "lca.state": "complete"}
    return Record(f"id{number}", f"{number:04d}", status, tags, {"trainer.lr": "0.1"}, metrics)


def books() -> Books:
    """Two packs: the first was taken up again by another process after epoch 2, from the checkpoint of epoch 1."""
    accuracy = {1: 0.25, 2: 0.5, 3: 0.75}
    metrics = {"val/accuracy": list(accuracy.items()), "train/loss": [(1, 1.0), (2, NAN), (3, math.inf)]}
    tags = {"lca.kind": "sweep", "lca.state": "finished", "best.trial": "0", "best.run_id": "id0"}
    top = Record("top", "chaos", "FINISHED", tags, {}, {"trials/complete": [(2, 2.0), (4, 4.0)]})
    trained = [Trained(7, 1, (0, 1)), Trained(7, 2, (0, 1)), Trained(8, 1, (2, 3)), Trained(8, 2, (2, 3))]
    trained += [Trained(9, 2, (0, 1)), Trained(9, 3, (0, 1)), Trained(8, 3, (2, 3))]
    return Books(
        [trial(number, accuracy) for number in range(4)],
        [top, *(run(number, metrics) for number in range(4))],
        {number: {"layer1.m": f"(3, 4) {number}"} for number in range(4)},
        trained,
    )


def changed(number: int, **changes: Any) -> Callable[[Books], Books]:
    """Another run 1, 2, ... (0: the sweep's)."""

    def spoil(books: Books) -> Books:
        runs = list(books.runs)
        runs[number] = dataclasses.replace(runs[number], **changes)
        return dataclasses.replace(books, runs=runs)

    return spoil


def metric(key: str, points: list[tuple[int, float]]) -> Callable[[Books], Books]:
    """Other points of trial 0's metric."""
    return lambda books: changed(1, metrics={**books.runs[1].metrics, key: points})(books)


def another(number: int, **changes: Any) -> Callable[[Books], Books]:
    """Another trial in the study."""

    def spoil(books: Books) -> Books:
        for name, value in changes.items():
            setattr(books.trials[number], name, value)
        return books

    return spoil


def with_run(books: Books) -> Books:
    return dataclasses.replace(books, runs=[*books.runs, books.runs[2]])


def with_training(*more: Trained) -> Callable[[Books], Books]:
    return lambda books: dataclasses.replace(books, trained=[*books.trained, *more])


def without_trial(books: Books) -> Books:
    return Books(books.trials[:3], books.runs[:4], {n: books.weights[n] for n in range(3)}, books.trained)


SPOILT = {
    "a trial is lost": (without_trial, {"trials and their states", "MLflow runs and their states", "weights"}),
    "another state": (another(0, state=optuna.trial.TrialState.PRUNED), {"trials and their states"}),
    "a trial left running": (another(0, state=optuna.trial.TrialState.RUNNING), {"nothing is left running"}),
    "another parameter": (another(0, params={"trainer.lr": math.nextafter(0.1, 1)}), {"parameters"}),
    "another pack": (another(0, user_attrs={"pack": 1}), {"packs"}),
    "another objective": (
        another(0, intermediate_values={1: 0.25, 2: 0.5000000001, 3: 0.75}),
        {"objective by epoch", "the study and MLflow agree"},
    ),
    "an epoch lost in the study": (
        another(0, intermediate_values={1: 0.25, 3: 0.75}),
        {"objective by epoch", "no epoch is left out", "the study and MLflow agree"},
    ),
    "an epoch lost in MLflow": (
        metric("train/loss", [(1, 1.0), (3, math.inf)]),
        {"MLflow metrics by epoch", "no epoch is left out"},
    ),
    "a last epoch lost in MLflow": (metric("train/loss", [(1, 1.0), (2, NAN)]), {"MLflow metrics by epoch"}),
    "a metric twice": (
        metric("train/loss", [(1, 1.0), (2, NAN), (2, NAN), (3, math.inf)]),
        {"MLflow metrics by epoch", "one value a metric and epoch"},
    ),
    "another value": (
        metric("train/loss", [(1, math.nextafter(1, 2)), (2, NAN), (3, math.inf)]),
        {"MLflow metrics by epoch"},
    ),
    "no longer NaN": (metric("train/loss", [(1, 1.0), (2, 0.0), (3, math.inf)]), {"MLflow metrics by epoch"}),
    "a run left running": (changed(2, status="RUNNING"), {"nothing is left running", "MLflow runs and their states"}),
    "the sweep left running": (
        changed(0, status="RUNNING"),
        {"nothing is left running", "best trial, and the sweep's own run"},
    ),
    "another MLflow parameter": (changed(1, params={"trainer.lr": "0.2"}), {"MLflow parameters"}),
    "a run twice": (with_run, {"one run a trial", "MLflow metrics by epoch", "MLflow runs and their states"}),
    "the sweep's own metric twice": (
        changed(0, metrics={"trials/complete": [(2, 2.0), (4, 3.0), (4, 4.0)]}),
        {"one value a metric and epoch"},
    ),
    "other weights": (
        lambda books: dataclasses.replace(books, weights={**books.weights, 1: {"layer1.m": "other"}}),
        {"weights"},
    ),
    "too much trained again": (
        with_training(*(Trained(10, epoch, (2, 3)) for epoch in (1, 2, 3))),
        {f"at most {2} epochs of a pack trained again"},
    ),
    "two processes at one pack": (
        with_training(Trained(7, 3, (0, 1))),
        {"one process a pack at a time"},
    ),
}


def found(spoilt: Books) -> set[str]:
    """Subjects that differ."""
    subjects = {**compare(books(), spoilt), **lawless(spoilt, 2)}
    return {subject for subject, lines in subjects.items() if lines}


def test_equal_books_are_equal() -> None:
    assert found(books()) == set()
    assert [(pack, n) for pack, n in repeats(books()) if n] == [(0, 1)]


@pytest.mark.parametrize("what", SPOILT)
def test_what_differs_is_found(what: str) -> None:
    spoil, subjects = SPOILT[what]
    assert subjects <= found(spoil(books()))


def test_only_what_differs_is_found() -> None:
    """Subjects are told apart, so that the table says where to look."""
    assert found(SPOILT["another value"][0](books())) == {"MLflow metrics by epoch"}
    assert found(SPOILT["the sweep's own metric twice"][0](books())) == {"one value a metric and epoch"}


# --- the plan ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_each_kind_and_follows_from_its_seed(seed: int) -> None:
    moments = plan(str(seed), 13)
    assert len(moments) == 13 and {moment.kind for moment in moments} == set(KINDS)
    assert moments == plan(str(seed), 13) != plan(str(seed + 1), 13)
    assert {moment.after for moment in moments[-3:]} <= {"last", "done"}


def test_plans_of_many_rounds_are_of_all_kinds_after_all_events() -> None:
    pairs = Counter((moment.kind, moment.after) for seed in range(200) for moment in plan(str(seed), 13))
    after = {"start", "ray", "tune", "pack", "epochs", "trial", "kill", "last", "done"}
    for kind in ("driver", "server", "raylet"):
        assert {event for one, event in pairs if one == kind} == after


# --- a real sweep --------------------------------------------------------------------------------------------------

SMALL = Size(trials=16, epochs=24)
MOMENTS = (  # one of each kind that is not like another, all of them while there is work left
    Moment("driver", "tune", 1, 0.5),
    Moment("worker", "epochs", 10, 0.1),
    Moment("server", "trial", 1, 0.1),
    Moment("raylet", "epochs", 10, 0.1),
    Moment("interrupt", "last", 3, 0.05),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Round, Round]]:
    """One undisturbed and one disturbed sweep, at the same time."""
    folder = tmp_path_factory.mktemp("chaos")
    with ThreadPoolExecutor(2) as pool:
        undisturbed = pool.submit(play, folder / "undisturbed", SMALL)
        disturbed = pool.submit(play, folder / "disturbed", SMALL, MOMENTS, "test")
        yield undisturbed.result(), disturbed.result()


@pytest.mark.slow
def test_a_sweep_whose_processes_are_killed_is_equal(played: tuple[Round, Round]) -> None:
    undisturbed, disturbed = played
    assert undisturbed.books is not None, undisturbed.scene.findings
    assert not lawless_of(undisturbed), "not even undisturbed"
    assert is_clean(undisturbed, [disturbed]), report(undisturbed, [disturbed])
    states = Counter(trial.state.name for trial in undisturbed.books.trials)
    assert set(states) == {"COMPLETE", "PRUNED", "FAIL"}, "trials of all ends"
    kills = [kill.moment for kill in disturbed.scene.kills]
    assert kills == list(MOMENTS)[: len(kills)] and len(kills) >= 4, "the last one may come after the sweep's end"


def lawless_of(one: Round) -> dict[str, list[str]]:
    assert one.books is not None
    return {subject: lines for subject, lines in lawless(one.books, EVERY).items() if lines}


@pytest.mark.slow
def test_nobody_stays(played: tuple[Round, Round]) -> None:
    for one in played:
        for life in one.scene.lives:
            assert not life.remains() and not Path(life.run.ray).exists()
