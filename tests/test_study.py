"""The study tells the truth about every trial, and survives those who write it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage

from lca_sweep.config import Config, KnobError, Search, Sweep
from lca_sweep.search.rows import Row, group_by_pack
from lca_sweep.search.space import Space
from lca_sweep.search.storage import JOURNAL, database, journal
from lca_sweep.search.study import Study

SPACE: Space = {
    "trainer.lr": FloatDistribution(0.01, 0.3, log=True),
    "model.width": IntDistribution(8, 32, step=4),
    "model.depth": CategoricalDistribution([1, 2, 3]),
}

LOWEST = {"trainer.lr": 0.01, "model.width": 8, "model.depth": 1}


def opened(storage: BaseStorage, sampler: str = "random", seed: int = 0) -> Study:
    return Study.open(Config(search=Search(sampler=sampler, seed=seed), sweep=Sweep(name="s")), "s", SPACE, storage)


def raw(storage: BaseStorage) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=storage)


def test_asked_rows_are_in_the_space_and_in_their_pack() -> None:
    storage = InMemoryStorage()
    study = opened(storage)
    rows = [*study.ask([0] * 3), *study.ask([1] * 2)]
    assert [(row.number, row.pack, row.state) for row in rows] == [(n, n // 3, "running") for n in range(5)]
    for row in rows:
        assert list(row.params) == list(SPACE)
        for name, distribution in SPACE.items():
            assert distribution._contains(distribution.to_internal_repr(row.params[name]))
        assert study.is_open(row.number)
    assert study.rows() == rows
    assert group_by_pack(rows) == {0: rows[:3], 1: rows[3:]}
    assert study.counts() == {"complete": 0, "pruned": 0, "failed": 0, "running": 5}


@given(
    st.sampled_from([("complete", 0.75), ("pruned", None), ("failed", None)]),
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_second_write_changes_nothing(end: tuple[str, float | None], epochs: list[int], reopen: bool) -> None:
    """Also of another value, and also by the next driver."""
    storage, (state, value) = InMemoryStorage(), end
    study = opened(storage)
    study.ask([0])
    for epoch in epochs:
        study.report(0, epoch, epoch / 10)
    if reopen:
        study = opened(storage)
    for epoch in epochs:
        study.report(0, epoch, 0.9)
    study.finish(0, state, 0.75, "why" if state == "failed" else "")
    ended = opened(storage) if reopen else study
    for word in ("complete", "pruned", "failed"):
        ended.finish(0, word, 0.1, "other")
    ended.report(0, 9, 0.9)
    assert not ended.is_open(0)
    (row,) = ended.rows()
    assert (row.state, row.value, row.reason) == (state, value, "why" if state == "failed" else "")
    assert dict(row.values) == {epoch: epoch / 10 for epoch in epochs}


def test_a_trial_that_is_not_a_number() -> None:
    study = opened(InMemoryStorage())
    study.ask([0])
    study.report(0, 1, math.nan)
    study.finish(0, "failed", math.nan, "val/loss is nan")
    (row,) = study.rows()
    assert (row.state, row.value, row.reason) == ("failed", None, "val/loss is nan") and math.isnan(row.values[1])


def test_a_pruned_trial_keeps_its_values_and_is_never_best() -> None:
    study = opened(InMemoryStorage())
    study.ask([0] * 2)
    study.report(0, 1, 0.9)
    study.finish(0, "pruned", 0.9)
    study.finish(1, "complete", 0.1)
    assert study.rows()[0].values == {1: 0.9}
    assert [row.number for row in study.best(5)] == [1]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.integers(1, 10))
def test_best_first_and_of_equals_the_earlier(values: list[int], k: int) -> None:
    study = opened(InMemoryStorage())
    study.ask([0] * (len(values) + 1))  # the last one goes on
    for number, value in enumerate(values):
        study.finish(number, "complete", float(value))
    best = [(row.value, row.number) for row in study.best(k)]
    assert best == sorted(((float(v), n) for n, v in enumerate(values)), key=lambda pair: (-pair[0], pair[1]))[:k]


@pytest.mark.parametrize("suggested", [0, 1, 3])
def test_rows_that_no_pack_took_are_taken(suggested: int) -> None:
    """Their driver died after so many suggestions; what was suggested stays."""
    storage = InMemoryStorage()
    opened(storage)
    trial = raw(storage).ask()
    for name, distribution in list(SPACE.items())[:suggested]:
        storage.set_trial_param(trial._trial_id, name, distribution.to_internal_repr(LOWEST[name]), distribution)
    rows = opened(storage).ask([7] * 2)
    assert [(row.number, row.pack) for row in rows] == [(0, 7), (1, 7)]
    assert set(rows[0].params) == set(SPACE)
    for name in list(SPACE)[:suggested]:
        assert rows[0].params[name] == LOWEST[name]


def test_trials_put_in_by_hand_are_taken_with_their_knobs() -> None:
    storage = InMemoryStorage()
    study = opened(storage)
    raw(storage).enqueue_trial({"trainer.lr": 0.123, "model.width": 16})
    assert [row.state for row in opened(storage).rows()] == ["waiting"]
    (row,) = study.ask([0])
    assert (row.number, row.params["trainer.lr"], row.params["model.width"]) == (0, 0.123, 16)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_sampler_opened_again_proposes_new_points(sampler: str) -> None:
    storage = InMemoryStorage()
    points = []
    for pack in range(4):
        rows = opened(storage, sampler).ask([pack] * 3)
        points += [row.params["trainer.lr"] for row in rows]
    assert len(set(points)) == len(points)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides(sampler: str) -> None:
    first, same, other = (
        [row.params for row in opened(InMemoryStorage(), sampler, seed).ask([0] * 3)] for seed in (5, 5, 6)
    )
    assert first == same != other


def test_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    opened(database(url)).ask([0])
    assert [row.state for row in opened(database(url)).rows()] == ["running"]


@pytest.mark.parametrize("url", ["nonsense", "nonsense://x", "sqlite:////no/such/folder/study.db"])
def test_a_database_that_cannot_be_opened_is_told_in_one_line(url: str) -> None:
    with pytest.raises(KnobError) as caught:
        database(url)
    assert str(caught.value).startswith(f"search.storage={url}: cannot be opened: ")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) > len(url) + 37


def test_a_study_belongs_to_one_sweep() -> None:
    """A database may hold many studies: two folders must not run one together."""
    storage = InMemoryStorage()
    opened(storage).claim("mine")
    opened(storage).claim("mine")
    with pytest.raises(KnobError, match=r"^sweep.name=s: search.storage holds a study of that name"):
        opened(storage).claim("theirs")


# --- the journal ---------------------------------------------------------------------------------------------------


def written(folder: Path) -> list[Row]:
    study = opened(journal(folder))
    study.ask([0] * 2)
    study.report(0, 1, 0.5)
    study.finish(0, "complete", 0.5)
    return study.rows()


def test_the_journal_is_read_again(tmp_path: Path) -> None:
    rows = written(tmp_path)
    assert opened(journal(tmp_path)).rows() == rows
    assert [row.state for row in rows] == ["complete", "running"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_journal_cut_anywhere_goes_on(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A full disk, or a kill in the middle of a write: what was whole stays, and one can write and read again."""
    folder = tmp_path_factory.mktemp("cut")
    rows = written(folder)
    content = (folder / JOURNAL).read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    (folder / JOURNAL).write_bytes(content[:cut])
    study = opened(journal(folder))
    kept = len(study.rows())
    assert kept <= len(rows)
    (fresh,) = study.ask([9])[-1:]
    study.finish(fresh.number, "complete", 1.0)
    assert (folder / JOURNAL).read_bytes().startswith(content[: content[:cut].rfind(b"\n") + 1])
    again = opened(journal(folder))
    assert again.rows() == study.rows() and again.best()[0].number == fresh.number


def test_a_lock_that_was_left_does_not_stop_the_next(tmp_path: Path) -> None:
    """Optuna would wait for half a minute, and warn."""
    written(tmp_path)
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    opened(journal(tmp_path)).finish(1, "failed", 0.0, "x")
    assert not (tmp_path / f"{JOURNAL}.lock").is_symlink()


@pytest.mark.parametrize(
    "params",
    [
        {"model.depth": 99},
        {"model.depth": True},
        {"model.width": 10**400},
        {"trainer.lr": "x"},
        {"trainer.lr": "0.1"},
        {"trainer.lr": "two\nlines"},
        {"trainer.lr": 1e9},
        {"prior.weight": 0.1},
    ],
)
def test_a_row_put_in_by_hand_that_does_not_fit(params: dict[str, Any]) -> None:
    """It has failed, and the next one is taken."""
    storage = InMemoryStorage()
    study = opened(storage)
    raw(storage).enqueue_trial(params)
    raw(storage).enqueue_trial({"trainer.lr": 0.123})
    (row,) = study.ask([0])
    assert (row.number, row.params["trainer.lr"]) == (1, 0.123)
    (name, value) = next(iter(params.items()))
    assert study.rows()[0].state == "failed"
    shown = str(value).replace("\n", " ")[:80]
    assert study.rows()[0].reason == f"put in by hand with {name}={shown}, which is not in sweep.space"
    assert opened(storage).rows() == study.rows()


def test_a_row_that_others_asked_for_in_another_space() -> None:
    storage = InMemoryStorage()
    study = opened(storage)
    raw(storage).ask({"model.depth": CategoricalDistribution([7, 9])})
    (row,) = study.ask([0])
    assert (row.number, study.rows()[0].state) == (1, "failed")
