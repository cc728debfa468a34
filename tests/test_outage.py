"""A storage may go away for a while, before a write or after it: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from test_study import SPACE, opened, raw

from lca_sweep.config import Config, KnobError, Search, Sweep
from lca_sweep.search import outage
from lca_sweep.search.outage import Patience, StudyLost, is_outage
from lca_sweep.search.storage import JOURNAL, database, journal, shown
from lca_sweep.search.study import Study

# --- how long one waits --------------------------------------------------------------------------------------------


class Time:
    """Passes only while one sleeps."""

    def __init__(self) -> None:
        self.now, self.pauses, self.said = 0.0, list[float](), list[str]()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    def patience(self, seconds: float) -> Patience:
        return Patience("the disk", seconds, self.said.append, self.sleep, lambda: self.now)


def failing(times: float, error: Exception | None = None) -> Callable[[], str]:
    """An act that fails so often."""
    calls = iter(range(10**6))

    def act() -> str:
        if next(calls) < times:
            raise error or OSError(28, "No space left on device")
        return "done"

    return act


def test_pauses_double_and_the_user_is_told_once() -> None:
    time = Time()
    assert time.patience(60)(failing(8)) == "done"
    assert time.pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert time.said == ["waiting for the disk: [Errno 28] No space left on device"]


def test_a_short_outage_is_not_worth_a_word() -> None:
    time = Time()
    assert time.patience(60)(failing(3)) == "done"
    assert time.said == []


@pytest.mark.parametrize("seconds", [0, 1, 60])
def test_in_the_end_one_line(seconds: float) -> None:
    time = Time()
    with pytest.raises(StudyLost) as caught:
        time.patience(seconds)(failing(10**6))
    assert str(caught.value) == (
        f"the disk: no answer for {seconds} s: [Errno 28] No space left on device; the same command again goes on"
    )
    assert time.now == pytest.approx(seconds)


def test_what_no_waiting_helps_is_raised_at_once() -> None:
    time = Time()
    with pytest.raises(TypeError):
        time.patience(60)(failing(1, TypeError("ours")))
    with pytest.raises(KeyError):
        time.patience(60)(failing(1, KeyError("no such knob exists")))
    gone = replace(time.patience(60), exists=lambda: False)
    with pytest.raises(StudyLost, match=r"^the disk: somebody has deleted the study$"):
        gone(failing(1, KeyError("Record does not exist.")))
    assert time.pauses == []


# --- no write is lost, and none is done twice ----------------------------------------------------------------------


class Flaky(InMemoryStorage):
    """Fails as planned, call by call: `b`efore it is done, `a`fter it was done, or not; a write or a read."""

    plan = ""

    def _call(self, act: Callable[[], Any]) -> Any:
        when, self.plan = self.plan[:1], self.plan[1:]
        if when == "b":
            raise StorageInternalError("gone")
        result = act()
        if when == "a":
            raise OSError("gone")
        return result

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        id: int = self._call(partial(super().create_new_trial, study_id, template_trial))
        return id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._call(partial(super().set_trial_param, trial_id, param_name, param_value_internal, distribution))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done: bool = self._call(partial(super().set_trial_state_values, trial_id, state, values))
        return done

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._call(partial(super().set_trial_intermediate_value, trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._call(partial(super().set_trial_user_attr, trial_id, key, value))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        id: int = self._call(partial(super().get_trial_id_from_study_id_trial_number, study_id, trial_number))
        return id


def live(study: Study, others: BaseStorage) -> Study:
    """A bit of everything that a study is asked to do, and that others do in its storage."""
    study.ask([0, 0, 1])
    raw(others).enqueue_trial({"trainer.lr": 0.1})
    raw(others).ask()
    study.report(0, 1, 0.5)
    study.report(1, 1, 0.25)
    study.finish(0, "complete", 0.5)
    study.move([1], 2, 0)
    study.ask([3, 3, 3])
    study.report(1, 2, 0.75)
    study.finish(1, "pruned", 0.0)
    study.finish(2, "failed", 0.0, "loss is nan")
    return study


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_is_the_same_in_every_storage(tmp_path: Path, sampler: str) -> None:
    memory = InMemoryStorage()
    rows = live(opened(memory, sampler), memory).rows()
    for open in (partial(journal, tmp_path), partial(database, f"sqlite:///{tmp_path / 'study.db'}")):
        assert live(opened(open(), sampler), open()).rows() == opened(open()).rows() == rows


@given(st.text("ab...", max_size=60))
def test_a_storage_that_fails_before_or_after_it_has_written(plan: str) -> None:
    expected, storage = InMemoryStorage(), Flaky()
    live(opened(expected, "tpe"), expected)
    study = opened(storage, "tpe")
    others = InMemoryStorage()
    others.__dict__ = storage.__dict__  # the same trials, without failures
    storage.plan = plan
    with patch.object(outage, "FIRST_PAUSE", 0):
        live(study, others)
    storage.plan = ""
    assert study.rows() == opened(storage).rows() == opened(expected).rows()


@given(st.text("a.", min_size=1, max_size=8))
def test_a_write_that_fails_for_good_leaves_no_trial_in_memory(plan: str) -> None:
    storage = Flaky()
    config = Config(search=Search(patience=0), sweep=Sweep(name="s"))
    study = Study.open(config, "s", SPACE, storage)
    storage.plan = f".b{plan}"  # the look for new rows goes well
    with pytest.raises(StudyLost):
        study.ask([0])
    assert study.rows() == [] and study.training() == 0


# --- others write too ----------------------------------------------------------------------------------------------


def test_what_others_add_keeps_its_number() -> None:
    """Also in the moment between a proposal and its writing."""
    storage = InMemoryStorage()
    study = opened(storage)
    study.ask([0])

    def meanwhile(study_id: int, template_trial: FrozenTrial | None = None) -> int:
        del storage.create_new_trial  # type: ignore[method-assign]  # the class's own again
        raw(storage).enqueue_trial({"model.depth": 3})
        raw(storage).add_trial(optuna.trial.create_trial(value=0.5))
        return storage.create_new_trial(study_id, template_trial)

    storage.create_new_trial = meanwhile  # type: ignore[method-assign]
    (ours,) = study.ask([1])
    assert ours.number == 3 and [row.state for row in study.rows()] == ["running", "waiting", "complete", "running"]
    (theirs, after) = study.ask([2, 2])
    assert (theirs.number, theirs.params["model.depth"], after.number) == (1, 3, 4)
    assert opened(storage).rows() == study.rows()


def test_an_end_that_others_wrote_stays() -> None:
    storage = InMemoryStorage()
    study = opened(storage)
    study.ask([0, 0, 0])
    for number in range(3):
        raw(storage).tell(number, state=TrialState.FAIL)
    study.report(0, 1, 0.5)
    study.finish(1, "complete", 0.5)
    study.move([2], 1, 0)
    assert [row.state for row in study.rows()] == ["failed"] * 3 and study.best() == []
    assert study.training() == 0
    assert opened(storage).rows() == study.rows()


def test_a_trial_that_others_took_or_ended_while_it_waited() -> None:
    storage = InMemoryStorage()
    study = opened(storage)
    for _ in range(2):
        raw(storage).enqueue_trial({"model.depth": 3})
    storage.get_trial_id_from_study_id_trial_number(0, 0)
    study._table.look_for_new()
    storage.set_trial_state_values(0, TrialState.FAIL)
    storage.set_trial_state_values(1, TrialState.RUNNING)
    rows = study.ask([0, 0])
    assert [(row.number, row.pack) for row in rows] == [(1, 0), (2, 0)]
    assert opened(storage).rows() == study.rows()


def test_a_study_that_somebody_deletes(tmp_path: Path) -> None:
    storage = database(f"sqlite:///{tmp_path / 'study.db'}")
    study = opened(storage)
    optuna.delete_study(study_name="s", storage=storage)
    with pytest.raises(StudyLost, match=r"^search.storage=sqlite:////.*study.db: somebody has deleted the study$"):
        study.ask([0])


# --- SQLite --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked_until(file: Path, over: threading.Event, patience: float = 120) -> Iterator[None]:
    """Another thread keeps everybody out of a database until then."""
    taken = threading.Event()

    def hold() -> None:
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("BEGIN EXCLUSIVE")
            taken.set()
            over.wait(patience)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.search.outage.SILENCE", 0.3)
    said, file = list[str](), tmp_path / "study.db"
    storage = database(f"sqlite:///{file}?timeout=0.1")
    over = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        over.set()

    study = Study.open(Config(search=Search(sampler="random")), "s", SPACE, storage, say)
    study.ask([0])
    with locked_until(file, over):
        study.report(0, 1, 0.5)
    assert said == [f"waiting for {shown(storage)}: database is locked"]
    for act in (lambda: study.ask([1]), lambda: study.finish(0, "complete", 0.5)):
        over = threading.Event()
        with locked_until(file, over):
            act()
    assert len(said) == 3 and opened(storage).rows() == study.rows()
    assert [row.state for row in study.rows()] == ["complete", "running"]


def test_a_database_that_stays_locked_is_told_in_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}?timeout=0.1"
    study = Study.open(Config(search=Search(patience=0)), "s", SPACE, database(url))
    study.ask([0])
    with locked_until(tmp_path / "study.db", threading.Event()), pytest.raises(StudyLost) as caught:
        study.report(0, 1, 0.5)
    assert str(caught.value) == (
        f"search.storage={url}: no answer for 0 s: database is locked; the same command again goes on"
    )
    study.report(0, 1, 0.5)
    assert study.rows()[0].values == {1: 0.5}


def test_an_interrupt_ends_the_waiting(tmp_path: Path) -> None:
    """Ctrl-C twice, while a storage is away, as a signal's handler raises it."""
    url = f"sqlite:///{tmp_path / 'study.db'}?timeout=0.1"
    study = Study.open(Config(search=Search(patience=600)), "s", SPACE, database(url))
    study.ask([0])
    timer = threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    began = time.monotonic()
    with locked_until(tmp_path / "study.db", threading.Event()), pytest.raises(KeyboardInterrupt):
        study.report(0, 1, 0.5)
    assert time.monotonic() - began < 60


class Late(InMemoryStorage):
    """The first new row gets no answer, and is not there, until somebody else's is."""

    late: FrozenTrial | None = None
    armed = False

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if self.armed:
            self.armed, self.late = False, template_trial
            raise OSError("no answer")
        made = super().create_new_trial(study_id, template_trial)
        if self.late:
            super().create_new_trial(study_id, self.late)
            self.late = None
        return made


@pytest.mark.parametrize("reopened", [False, True])
def test_a_row_whose_first_write_comes_late_is_not_trained_twice(reopened: bool) -> None:
    storage = Late()
    study = opened(storage)
    storage.armed = True
    (row,) = study.ask([0])
    if reopened:
        study = opened(storage)
    else:
        study.ask([1])
    rows = study.rows()
    assert rows[0] == row and rows[0].state == "running"
    assert (rows[1].state, rows[1].reason) == ("failed", "written twice by a storage that had not answered")
    assert study.training() == (1 if reopened else 2)
    assert study.pack(0) == [row] and opened(storage).rows() == study.rows()
    assert [trial.state.name for trial in raw(storage).get_trials()][:2] == ["RUNNING", "FAIL"]


def test_a_row_that_a_dead_driver_wrote_comes_late() -> None:
    storage = InMemoryStorage()
    study = opened(storage)
    (ours,) = study.ask([0])
    late = raw(storage).get_trials()[0]
    late.user_attrs["row"] = "of another process"
    raw(storage).add_trial(late)
    study.ask([1])
    assert study.pack(0) == [ours] and study.training() == 2
    assert [row.state for row in study.rows()] == ["running", "failed", "running"]
    assert opened(storage).rows() == study.rows()


def test_a_bug_is_no_outage() -> None:
    from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError

    gone = DBAPIError("select", {}, ValueError("gone"), connection_invalidated=True)
    assert is_outage(OperationalError("select", {}, ValueError("locked"))) and is_outage(gone) and is_outage(OSError())
    assert not is_outage(IntegrityError("insert", {}, ValueError("twice"))) and not is_outage(ArgumentError("no url"))
    for cause, away in [(DataError("insert", {}, ValueError("too long")), False), (gone, True)]:
        wrapped = StorageInternalError("by Optuna")
        wrapped.__cause__ = cause
        assert is_outage(wrapped) == away
    assert not is_outage(DBAPIError("select", {}, ValueError("odd"))) and not is_outage(ValueError())


def test_passwords_are_not_told() -> None:
    with patch("optuna.storages.RDBStorage.__init__", lambda self, url, **_: setattr(self, "url", url)):
        assert shown(database("postgresql://me:secret@host/db")) == "search.storage=postgresql://me:***@host/db"


# --- the journal ---------------------------------------------------------------------------------------------------

FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from test_study import opened
from lca_sweep.search.storage import JOURNAL, journal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write above the limit fails as on a full disk
folder, room = Path(sys.argv[1]), int(sys.argv[2])
study = opened(journal(folder))
study.ask([0])
sizes = []

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def space_again(seconds):
    sizes.append((folder / JOURNAL).stat().st_size)
    limit(resource.RLIM_INFINITY)

study._table._patience.sleep = space_again
before = (folder / JOURNAL).stat().st_size
limit(before + room)
study.report(0, 1, 0.5)
limit((folder / JOURNAL).stat().st_size + room)
study.ask([1])
study.finish(0, "complete", 0.5)
rows, again = study.rows(), opened(journal(folder)).rows()
print(json.dumps([before, sizes, [[row.state, row.pack] for row in rows], rows == again]))
"""


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_leaves_no_half_line(tmp_path: Path, room: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(room)],
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, sizes, rows, same = json.loads(done.stdout)
    assert sizes[0] == before and len(sizes) == 2  # what was written of the line is taken back
    assert (rows, same) == ([["complete", 0], ["running", 1]], True)


def test_a_power_cut_takes_only_what_packs_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []  # what is on the disk, after each write that has waited for it
    monkeypatch.setattr("os.fsync", lambda file: kept.append((tmp_path / JOURNAL).read_bytes()))
    study = opened(journal(tmp_path))
    study.ask([0, 0])
    asked = len(kept)
    for epoch in (1, 2):
        for number in (0, 1):
            study.report(number, epoch, epoch / 4)
        assert len(kept) == asked + epoch - 1  # a value waits for nothing,
        study.settle()
        study.settle()
        assert len(kept) == asked + epoch  # a pack's epoch once,
        assert kept[-1] == (tmp_path / JOURNAL).read_bytes()
    study.report(1, 3, 0.75)
    study.finish(0, "complete", 0.5)
    assert kept[-1] == (tmp_path / JOURNAL).read_bytes()  # and an end for all before it
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / JOURNAL).write_bytes(kept[asked - 1])
    after = opened(journal(tmp_path / "cut"))
    assert [(row.state, row.pack, row.values) for row in after.rows()] == [("running", 0, {})] * 2
    for epoch in (1, 2):
        for number in (0, 1):
            after.report(number, epoch, epoch / 4)
    after.report(1, 3, 0.75)
    after.finish(0, "complete", 0.5)
    assert after.rows() == study.rows()


def test_half_a_line_of_another_writer_is_taken_away(tmp_path: Path) -> None:
    study = opened(journal(tmp_path))
    study.ask([0])
    with open(tmp_path / JOURNAL, "a") as file:
        file.write('{"op_code":')
    study.report(0, 1, 0.5)
    assert opened(journal(tmp_path)).rows() == study.rows()
    assert study.rows()[0].values == {1: 0.5}


def test_a_journal_that_was_taken_away_is_not_begun_anew(tmp_path: Path) -> None:
    study = Study.open(Config(search=Search(patience=0)), "s", SPACE, journal(tmp_path))
    study.ask([0])
    (tmp_path / JOURNAL).rename(tmp_path / "elsewhere")
    with pytest.raises(StudyLost, match=rf"^{re.escape(str(tmp_path / JOURNAL))}: no answer for 0 s: "):
        study.report(0, 1, 0.5)
    (tmp_path / "elsewhere").rename(tmp_path / JOURNAL)
    study.report(0, 1, 0.5)
    assert opened(journal(tmp_path)).rows()[0].values == {1: 0.5}


def test_a_journal_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("not json\n{}\n")
    with pytest.raises(KnobError, match=rf"^{re.escape(str(tmp_path / JOURNAL))}, line 1: is damaged; "):
        journal(tmp_path)
