"""Points that are given are trained first, and what an earlier sweep found is known; each once, whoever dies when."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage

from lca_sweep.config import Config, KnobError, Pack, Search, Sweep
from lca_sweep.core.knobs import replace
from lca_sweep.search.generations import generation
from lca_sweep.search.given import put_in
from lca_sweep.search.rows import Row
from lca_sweep.search.space import Space, parse
from lca_sweep.search.storage import JOURNAL, journal, shared_journal
from lca_sweep.search.study import Study
from lca_sweep.sweep.folder import opened
from lca_sweep.sweep.warm import WarmStart, warm_start

SPACE: Space = {"trainer.lr": FloatDistribution(0.01, 0.3, log=True), "model.width": IntDistribution(8, 32)}
TREE = {
    "trainer": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
    "model": {"width": {"low": 8, "high": 32}},
}


class Died(Exception):
    """The driver is gone."""


class MortalStorage(InMemoryStorage):
    """Whoever adds the row after so many is killed, before or after it is written."""

    left, after = 10**6, False

    def create_new_trial(self, study_id: int, template_trial: Any = None) -> int:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Died
        id = super().create_new_trial(study_id, template_trial)
        if self.left < 0:
            raise Died
        return id


def config(folder: Path, name: str = "s", **search: Any) -> Config:
    return Config(
        pack=Pack(size=2),
        search=Search(sampler="tpe", **search),
        sweep=Sweep(name=name, trials=4, dir=str(folder), space=TREE),
    )


def study(storage: BaseStorage) -> Study:
    return Study.open(config(Path("x")), "s", SPACE, storage)


def earlier(*ends: tuple[str, float]) -> list[Row]:
    return [
        Row(
            number,
            state,
            {"trainer.lr": 0.02 + number / 100, "model.width": 8 + number},
            {1: value / 2, 2: value},
            value if state == "complete" else None,
            0,
            "",
            scores=(value,) if state == "complete" else (),
        )
        for number, (state, value) in enumerate(ends)
    ]


def done(folder: Path, name: str = "old", **search: Any) -> list[Row]:
    """A sweep that is over: two complete trials, one pruned, one failed."""
    wanted = config(folder, name, **search)
    with opened(wanted, folder / name, print) as made:
        books = Study.open(wanted, name, SPACE, journal(made.path))
        rows = books.ask([0, 0, 1, 1])
        ends = [("complete", 0.5), ("pruned", 0.0), ("complete", 0.75), ("failed", 0.0)]
        for row, (state, value) in zip(rows, ends, strict=True):
            books.report(row.number, 1, 0.1 + value)
            books.finish(row.number, state, value)
        return books.rows()


points = st.lists(st.integers(8, 32), unique=True, min_size=1, max_size=5)


@given(points, points, st.integers(0, 6), st.booleans())
def test_each_point_waits_once_in_order_wherever_the_driver_dies(
    first: list[int], later: list[int], dies: int, after: bool
) -> None:
    storage = MortalStorage()
    study(storage)
    storage.left, storage.after = dies, after
    with suppress(Died):
        study(storage).enqueue([{"model.width": width} for width in first], ["enqueue"] * len(first))
    storage.left = 10**6
    for widths in (first, first, later):  # the next start, one more, and one that has others
        study(storage).enqueue([{"model.width": width} for width in widths], ["enqueue"] * len(widths))
    wanted = list(dict.fromkeys([*first, *later]))
    books = study(storage)
    assert [(row.state, row.source) for row in books.rows()] == [("waiting", "enqueue")] * len(wanted)
    rows = books.ask(range(len(wanted) + 1))
    assert [row.params["model.width"] for row in rows[:-1]] == wanted
    assert all(0.01 <= row.params["trainer.lr"] <= 0.3 for row in rows)
    assert [row.source for row in rows] == ["enqueue"] * len(wanted) + [""]
    books.enqueue([{"model.width": width} for width in wanted], ["csv"] * len(wanted))  # also once it is trained
    assert len(books.rows()) == len(wanted) + 1


def test_another_process_puts_a_point_in_while_the_driver_asks(tmp_path: Path) -> None:
    """Rows that the driver adds meanwhile stay its own."""
    books = study(journal(tmp_path))
    (before,) = books.ask([0])
    assert put_in(shared_journal(tmp_path), "s", [({"model.width": 9}, "enqueue")]) == [1]
    assert put_in(shared_journal(tmp_path), "s", [({"model.width": 9}, "csv"), ({"model.width": 10}, "csv")]) == [
        None,
        2,
    ]
    asked = books.ask([1, 1, 1])
    assert [(row.number, row.params["model.width"]) for row in asked[:2]] == [(1, 9), (2, 10)]
    assert asked[2].number == 3 and books.is_open(before.number)
    again = study(journal(tmp_path))
    assert [row.state for row in again.rows()] == ["running"] * 4


def test_half_a_line_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    study(journal(tmp_path)).ask([0])
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"op_code"')
    shared_journal(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == whole + b'{"op_code"'
    put_in(shared_journal(tmp_path), "s", [({"model.width": 9}, "enqueue")])  # under the journal's own lock: it is dead
    assert [row.state for row in study(journal(tmp_path)).rows()] == ["running", "waiting"]


@given(
    st.lists(st.tuples(st.sampled_from(["complete", "pruned"]), st.floats(0, 1)), min_size=1, max_size=5),
    st.integers(0, 5),
    st.booleans(),
)
def test_what_an_earlier_sweep_found_is_known_once_and_no_trial_of_this_one(
    ends: list[tuple[str, float]], dies: int, after: bool
) -> None:
    storage, known = MortalStorage(), WarmStart((), earlier(*ends), "old")
    study(storage)
    storage.left, storage.after = dies, after
    with suppress(Died):
        known.write(study(storage))
    storage.left = 10**6
    known.write(study(storage))
    known.write(study(storage))
    books = study(storage)
    trials = optuna.load_study(study_name="s", storage=storage).get_trials()
    assert [trial.user_attrs["source"] for trial in trials] == [f"old/{number}" for number in range(len(ends))]
    assert [(trial.state.name.lower(), trial.intermediate_values[2]) for trial in trials] == ends
    assert all(trial.value == value for trial, (state, value) in zip(trials, ends, strict=True) if state == "complete")
    assert (books.rows(), books.best(), books.training(), sum(books.counts().values())) == ([], [], 0, 0)
    rows = books.ask([0, 0])
    assert [row.number for row in rows] == [len(ends), len(ends) + 1] and books.counts()["running"] == 2
    assert generation(study(storage).rows(), 2, 1, 8).until == 4  # type: ignore[union-attr]


def test_the_sampler_learns_from_it() -> None:
    """Of two halves of a line the better one is drawn from."""
    one: Space = {"trainer.lr": FloatDistribution(0.0, 1.0)}
    rows = [
        Row(n, "complete", {"trainer.lr": n / 40}, {1: 0.0}, 0.0, 0, "", scores=(float(n > 30),)) for n in range(40)
    ]
    books = Study.open(config(Path("x")), "s", one, InMemoryStorage())
    books.learn(rows, "old")
    drawn = [row.params["trainer.lr"] for row in books.ask([0] * 20)]
    assert sum(lr > 0.7 for lr in drawn) > 14


def test_all_of_an_earlier_sweep_and_its_best(tmp_path: Path) -> None:
    rows = done(tmp_path)
    warm = warm_start(config(tmp_path, warm_start="old"), SPACE, "s")
    assert [row.number for row in warm.rows] == [0, 1, 2] and not warm.points
    chosen = warm_start(config(tmp_path, warm_start="old", warm_start_best=1), SPACE, "s")
    assert [(point.params, point.source) for point in chosen.points] == [(rows[2].params, "old/2")]
    books = study(InMemoryStorage())
    assert chosen.write(books) == [0] and chosen.write(books) == []
    (row,) = books.ask([0])
    assert (row.params, row.source) == (rows[2].params, "old/2")


def test_a_chain_of_sweeps_is_known_link_by_link(tmp_path: Path) -> None:
    """What a sweep only knows from another is not told on as its own."""
    done(tmp_path)
    wanted = config(tmp_path, "middle", warm_start="old")
    with opened(wanted, tmp_path / "middle", print) as made:
        books = Study.open(wanted, "middle", SPACE, journal(made.path))
        warm_start(wanted, SPACE, "middle").write(books)
        (row,) = books.ask([0])
        books.finish(row.number, "complete", 0.9)
    assert [row.number for row in warm_start(config(tmp_path, warm_start="middle"), SPACE, "s").rows] == [row.number]


NARROW = {"trainer": {"lr": {"low": 0.01, "high": 0.011}}, "model": {"width": {"low": 8, "high": 32}}}
OTHER = {"trainer": {"lr": {"low": 0.01, "high": 0.3}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search.warm_start": "odl"}, r"search.warm_start=odl: no sweep of that name in .*; did you mean 'old'\?"),
        ({"search.warm_start": "s"}, r"search.warm_start=s: is this sweep itself; must be an earlier one"),
        (
            {"search.sampler": "random"},
            r"search.warm_start=old: search.sampler=random learns nothing from other trials;",
        ),
        ({"sweep.space": OTHER}, r"search.warm_start=old: model.width is searched in that sweep only; both must have"),
        (
            {"sweep.space": NARROW},
            r"search.warm_start=old: trial \d: trainer.lr=0.*: must be a number from 0.01 to 0.011",
        ),
        (
            {"search.objectives": ["minimize val/loss"]},
            r"search.warm_start=old: has search.objectives=\['maximize val/accuracy'\]; must be \['minimize",
        ),
        (
            {"search.warm_start": None, "search.warm_start_best": 2},
            r"search.warm_start_best=2: of which sweep\? set search.warm_start",
        ),
        (
            {"search.enqueue": [{"model": {"width": 9}}, {"model": {"width": 7}}]},
            r"search.enqueue\[1\].model.width=7: must",
        ),
        ({"search.enqueue_csv": "nowhere.csv"}, r"search.enqueue_csv=nowhere.csv: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_a_warm_start(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    done(tmp_path)
    wanted = replace(config(tmp_path, warm_start="old"), changes)
    with pytest.raises(KnobError, match=f"^{message}"):
        warm_start(wanted, parse(wanted.sweep.space, wanted), "s")


def test_a_study_with_a_password_is_read_with_that_of_this_sweep(tmp_path: Path) -> None:
    done(tmp_path, storage="postgresql://me:secret@nowhere/db")
    with pytest.raises(KnobError, match=r"in a database with a password; search.storage must be the same, .*:\*\*\*@"):
        warm_start(config(tmp_path, warm_start="old"), SPACE, "s")


def test_a_row_of_ones_own_that_ended_without_a_pack_counts() -> None:
    row = Row(0, "failed", {}, {}, None, None, "put in by hand", source="csv")
    assert not row.foreign and dataclasses.replace(row, state="complete").foreign
