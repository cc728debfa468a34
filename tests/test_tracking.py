"""MLflow gets each thing once, in order, however often it is told and whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lca_sweep.config import without_password
from lca_sweep.core.errors import UserError
from lca_sweep.tracking import (
    BestTrial,
    NullTracker,
    SweepEnd,
    SweepRecord,
    Tracker,
    TrackingError,
    TrialRecord,
    open_tracker,
    ui_command,
)
from lca_sweep.tracking.database import prepare
from lca_sweep.tracking.quiet import behave
from lca_sweep.tracking.uri import kind, page
from lca_sweep.tracking.writer import Change, Epoch, Refused, Writer, batch_of, patiently

# MLflow 3.17 says it to SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ROOT = Path(__file__).parents[1]
UID = "0123456789abcdef0123456789abcdef"
CONFIG = {"trainer": {"lr": 0.1, "epochs": 3}, "model": {"widths": None}}
SPACE = {"trainer": {"lr": {"low": 0.001, "high": 1.0, "log": True}}}
KNOBS = {"trainer.lr": 0.05, "trainer.epochs": 3, "model.widths": None, "search.sampler": "tpe"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database; making one takes a second."""
    behave()
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare(path)
    return path


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    """URI of a store of the test's own."""
    shutil.copy(template, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def sweep(folder: Path, uid: str = UID) -> SweepRecord:
    return SweepRecord("study", uid, CONFIG, SPACE, {"git.commit": "abc"}, folder)


def trial(number: int, pack: int = 0, **knobs: Any) -> TrialRecord:
    values = KNOBS | {name.replace("__", "."): value for name, value in knobs.items()}
    return TrialRecord(number, pack, values, frozenset({"trainer.lr"}), {"device": "cpu"})


def metrics(epoch: int) -> dict[str, float]:
    return {"train/loss": 1 / epoch, "val/accuracy": 1 - 1 / epoch, "layer1/vip_fraction": 0.25}


def counts(**states: int) -> dict[str, int]:
    return {"complete": 0, "pruned": 0, "failed": 0, "running": 0} | states


FINISHED = SweepEnd("finished", counts(complete=1), None)


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def children(uri: str) -> dict[int, Any]:
    """The runs of trials, by number."""
    experiments = [e.experiment_id for e in client(uri).search_experiments()]
    runs = client(uri).search_runs(experiments, "tags.`lca.kind` = 'trial'")
    assert len({run.data.tags["lca.trial"] for run in runs}) == len(runs)
    return {int(run.data.tags["lca.trial"]): run for run in runs}


def history(uri: str, run: str) -> dict[str, list[tuple[int, float]]]:
    """Each metric's steps and values as they are in the table of all points."""
    found = defaultdict(list)
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step"
        for key, step, value in connection.execute(query, (run,)):
            found[key].append((step, value))
    return dict(found)


def expected(epochs: Sequence[int]) -> dict[str, list[tuple[int, float]]]:
    return {key: [(epoch, metrics(epoch)[key]) for epoch in epochs] for key in sorted(metrics(1))}


def drive(uri: str, folder: Path, epochs: Sequence[int], end: str = "") -> str:
    """One life of a driver with one trial; its run id."""
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(folder))
    (run,) = tracker.start_trials([trial(0)])
    for epoch in epochs:
        tracker.log(0, epoch, metrics(epoch))
    if end:
        tracker.end_trial(0, end)
    tracker.close()
    return run


# --- every tracker -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["null", "sqlite"])
def test_contract(which: str, uri: str, tmp_path: Path) -> None:
    tracker: Tracker = NullTracker() if which == "null" else open_tracker(uri, "lca")
    assert isinstance(tracker.start_sweep(sweep(tmp_path)), str)
    runs = tracker.start_trials([trial(0), trial(1)])
    assert [type(run) for run in runs] == [str, str]
    assert tracker.start_trials([]) == []
    assert tracker.start_trials([trial(1)]) == runs[1:]
    tracker.log(0, 1, metrics(1))
    tracker.end_trial(0, "complete")
    tracker.end_trial(0, "complete")
    tracker.end_trial(7, "interrupted")  # never started
    assert tracker.flush() is True
    with pytest.raises(ValueError, match="'done': must be one of complete, pruned, interrupted, failed"):
        tracker.end_trial(1, "done")
    with pytest.raises(ValueError, match="'complete': must be one of finished"):
        tracker.end_sweep(SweepEnd("complete", counts(), None))
    assert bool(tracker.page) == bool(runs[0])
    tracker.end_sweep(FINISHED)
    tracker.close()
    tracker.close()


# --- what is recorded ----------------------------------------------------------------------------------------------


def test_trials(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca")
    parent = tracker.start_sweep(sweep(tmp_path))
    ends = ["complete", "pruned", "failed", "interrupted", "complete"]
    tracker.start_trials([trial(number, pack=3) for number in range(len(ends))])
    for number, state in enumerate(ends[:-1]):
        tracker.log(number, 1, metrics(1))
        tracker.log(number, 2, metrics(2))
        tracker.end_trial(number, state, "loss is NaN" if state == "failed" else "")
    tracker.flush()
    runs = children(uri)
    assert [runs[n].info.status for n in range(5)] == ["FINISHED", "KILLED", "FAILED", "KILLED", "RUNNING"]
    tags = [runs[n].data.tags for n in range(5)]
    assert [tag["lca.state"] for tag in tags] == [*ends[:-1], "running"]
    assert [tag.get("lca.reason") for tag in tags] == [None, None, "loss is NaN", None, None]
    assert (
        tags[1].items()
        >= {
            "mlflow.parentRunId": parent,
            "mlflow.runName": "0001",
            "mlflow.source.name": "lca_sweep",
            "lca.sweep": "study",
            "lca.sweep_id": UID,
            "lca.pack": "3",
            "lca.searched": "trainer.lr",
            "device": "cpu",
        }.items()
    )
    # as one would type it on the command line
    assert runs[0].data.params == {
        "trainer.lr": "0.05",
        "trainer.epochs": "3",
        "model.widths": "null",
        "search.sampler": "tpe",
    }
    assert history(uri, runs[0].info.run_id) == expected([1, 2])
    tracker.end_sweep(FINISHED)
    tracker.close()
    assert children(uri)[4].info.status == "KILLED"  # nothing RUNNING under a sweep that ended
    assert children(uri)[4].data.tags["lca.state"] == "interrupted"


def best_trial(tmp_path: Path, number: int, value: float) -> BestTrial:
    folder = tmp_path / f"best-{number}"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes([number]))
    return BestTrial(number, value, {"val/accuracy": value, "layer1/entropy": 0.5}, {"trainer.lr": 0.05}, folder)


def test_parent_and_its_extension(uri: str, tmp_path: Path) -> None:
    """An extended sweep keeps its run, with the counts of both ends and the newest best."""
    for number, status in ((0, "interrupted"), (1, "finished"), (1, "finished")):
        tracker = open_tracker(uri, "lca")
        parent = tracker.start_sweep(sweep(tmp_path))
        assert client(uri).get_run(parent).info.status == "RUNNING"
        runs = tracker.start_trials([trial(number)])
        best = best_trial(tmp_path / str(time.time_ns()), number, 0.5 + number / 4)
        tracker.end_sweep(
            SweepEnd(status, counts(complete=number + 1), best, "stopped | by hand" if not number else "")
        )
        tracker.close()
    run = client(uri).get_run(parent)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "study")
    assert (
        run.data.tags.items()
        >= {
            "lca.kind": "sweep",
            "lca.state": "finished",
            "lca.sweep": "study",
            "lca.sweep_id": UID,
            "git.commit": "abc",
            "best.trial": "1",
            "best.run_id": runs[0],
            "best.trainer.lr": "0.05",
        }.items()
    )
    assert "lca.message" not in run.data.tags
    assert "| trainer.lr | 0.05 |" in run.data.tags["mlflow.note.content"]
    points = history(uri, parent)
    assert points["trials/complete"] == [(1, 1.0), (2, 2.0)]
    assert points["best/value"] == points["best/val/accuracy"] == [(1, 0.5), (2, 0.75)]
    artifacts = tmp_path / "mlruns" / "lca" / parent / "artifacts"
    assert yaml.safe_load((artifacts / "config.yaml").read_text()) == CONFIG
    assert yaml.safe_load((artifacts / "space.yaml").read_text()) == SPACE
    assert (artifacts / "best" / "weights.safetensors").read_bytes() == b"\x01"


def test_non_finite_metrics_are_recorded(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    (run,) = tracker.start_trials([trial(0)])
    tracker.log(0, 1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0})
    tracker.end_sweep(SweepEnd("finished", counts(complete=1), BestTrial(0, math.nan, {}, {}, None)))
    tracker.close()
    found = client(uri).get_run(run).data.metrics
    assert math.isnan(found["a"]) and found["b"] > 1e300 and found["c"] < -1e300 and found["d"] == 1.0


# --- once, whatever happens ----------------------------------------------------------------------------------------


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8)), min_size=1, max_size=4))
def test_each_epoch_once_over_restarts(template: Path, tmp_path: Path, lives: list[tuple[int, int]]) -> None:
    """Each driver goes on from some checkpoint (from epoch 1 at the most far-off) and logs some epochs."""
    folder = tmp_path / str(time.time_ns())
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    uri, seen, runs = f"sqlite:///{folder / 'mlflow.db'}", 0, set()
    for back, forward in lives:
        first = max(1, seen + 1 - back)
        runs.add(drive(uri, folder, range(first, first + forward)))
        seen = max(seen, first + forward - 1)
    (run,) = runs
    assert history(uri, run) == expected(range(1, seen + 1))


def test_half_an_epoch_is_completed(uri: str, tmp_path: Path) -> None:
    """A store without transactions may hold some metrics of an epoch."""
    from mlflow.entities import Metric

    run = drive(uri, tmp_path, [1])
    client(uri).log_batch(run, metrics=[Metric("train/loss", metrics(2)["train/loss"], 0, 2)])
    drive(uri, tmp_path, [1, 2, 3])
    assert history(uri, run) == expected([1, 2, 3])


def test_a_trial_that_ended_runs_again(uri: str, tmp_path: Path) -> None:
    run = drive(uri, tmp_path, [1], "interrupted")
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0, pack=9)])
    tracker.flush()
    found = children(uri)[0]
    assert (found.info.run_id, found.info.status) == (run, "RUNNING")
    assert (found.data.tags["lca.state"], found.data.tags["lca.pack"]) == ("running", "9")
    tracker.end_trial(0, "failed", "no memory")
    tracker.start_trials([trial(0)])  # and once more, while its end is in the queue
    tracker.end_trial(0, "complete")
    tracker.close()
    assert children(uri)[0].info.status == "FINISHED"
    assert "lca.reason" not in children(uri)[0].data.tags


def test_an_end_that_was_lost_can_be_told_after_a_restart(uri: str, tmp_path: Path) -> None:
    drive(uri, tmp_path, [1])
    assert children(uri)[0].info.status == "RUNNING"
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    tracker.log(0, 2, metrics(2))
    tracker.end_trial(0, "pruned")
    tracker.close()
    ended = children(uri)[0]
    assert (ended.info.status, ended.data.tags["lca.state"]) == ("KILLED", "pruned")
    assert history(uri, ended.info.run_id) == expected([1, 2])
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    tracker.end_trial(0, "pruned")  # known already: not written
    tracker.close()
    assert children(uri)[0].info.end_time == ended.info.end_time


def test_a_run_without_params_gets_them(uri: str, tmp_path: Path) -> None:
    """The driver died between creating the run and recording its knobs."""
    tracker = open_tracker(uri, "lca")
    parent = tracker.start_sweep(sweep(tmp_path))
    tracker.close()
    experiment = client(uri).get_experiment_by_name("lca").experiment_id
    tags = {"mlflow.parentRunId": parent, "lca.kind": "trial", "lca.trial": "0"}
    half = client(uri).create_run(experiment, tags=tags).info.run_id
    assert drive(uri, tmp_path, [1]) == half
    assert children(uri)[0].data.params["trainer.lr"] == "0.05"


def test_other_sweeps_are_other_runs(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca")
    ids = []
    for uid in (UID, UID[::-1]):
        ids.append(tracker.start_sweep(sweep(tmp_path, uid)))
        ids += tracker.start_trials([trial(0)])
    tracker.close()
    assert len(set(ids)) == 4


def test_knobs_of_a_trial_cannot_change(uri: str, tmp_path: Path) -> None:
    drive(uri, tmp_path, [1])
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    with pytest.raises(
        TrackingError, match=r"trial 0: trainer.lr=0.5: its run was started with 0.05; must be the same"
    ):
        tracker.start_trials([trial(0, trainer__lr=0.5)])
    tracker.close()


VICTIM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_tracking import *
open_tracker({uri!r}, "lca").close()
from lca_sweep.tracking.connect import connect
from lca_sweep.tracking.mlflow_tracker import MlflowTracker
store = connect({uri!r}, "lca")
tracker = MlflowTracker(store, {uri!r})
tracker.start_sweep(sweep(Path({folder!r})))
tracker.start_trials([trial(0), trial(1)])
tracker._writer = Writer(store, rest=(0.0, 0.0))  # writes without a pause
epoch = 0
while True:
    epoch += 1
    tracker.log(0, epoch, metrics(epoch))
    tracker.log(1, epoch, metrics(epoch))
    time.sleep(0.0005)
"""


def test_killed_in_the_middle(uri: str, tmp_path: Path) -> None:
    """SIGKILL while it writes; the next driver tells all from the start: nothing is missing, nothing is there twice."""
    code = VICTIM.format(tests=str(ROOT / "tests"), uri=uri, folder=str(tmp_path))
    victim = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_for(lambda: points(uri) > 2000, victim)
    finally:
        victim.kill()
        victim.wait()
    found = [history(uri, run.info.run_id) for run in children(uri).values()]
    newest = max(len(one["train/loss"]) for one in found if one)
    for one in found:  # what is there is whole, and a beginning
        assert not one or one == expected(range(1, len(one["train/loss"]) + 1))
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    runs = tracker.start_trials([trial(0), trial(1)])
    for epoch in range(1, newest + 5):
        tracker.log(0, epoch, metrics(epoch))
        tracker.log(1, epoch, metrics(epoch))
    tracker.end_trial(0, "complete")
    tracker.close()
    assert sorted(runs) == sorted(run.info.run_id for run in children(uri).values())
    for run in runs:
        assert history(uri, run) == expected(range(1, newest + 5))


def points(uri: str) -> int:
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


def wait_for(condition: Any, process: subprocess.Popen[Any], seconds: float = 60) -> None:
    """Poll until it holds; an error if the process ends before."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)


# --- the writing thread --------------------------------------------------------------------------------------------


class Sink:
    """Keeps what is written; `moods` are the answers to the next calls: True writes, False fails."""

    def __init__(self, moods: Sequence[bool] = (), refuse: str = "") -> None:
        self.moods, self.refuse = list(moods), refuse
        self.written: dict[str, list[Epoch | Change]] = defaultdict(list)
        self.calls: list[list[Epoch]] = []

    def answer(self, run: str) -> None:
        if run == self.refuse:
            raise Refused(f"{run} is deleted\nand more")
        if self.moods and not self.moods.pop(0):
            raise ConnectionError("gone")

    def log(self, run: str, epochs: Sequence[Epoch]) -> None:
        self.answer(run)
        self.calls.append(list(epochs))
        self.written[run] += epochs

    def change(self, change: Change) -> None:
        self.answer(change.run)
        self.written[change.run].append(change)


def entries_of(runs: Sequence[str]) -> list[Epoch | Change]:
    """An entry for each run named; every fourth a change."""
    return [
        Change(run, "RUNNING", {"n": str(i)}) if i % 4 == 3 else Epoch(run, i, 0, {"a": 0.0, "b": 1.0})
        for i, run in enumerate(runs)
    ]


def by_run(entries: Sequence[Epoch | Change]) -> dict[str, list[Epoch | Change]]:
    found = defaultdict(list)
    for entry in entries:
        found[entry.run].append(entry)
    return found


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.booleans(), max_size=12))
def test_in_order_and_once_over_failures(runs: list[str], moods: list[bool]) -> None:
    sink, entries = Sink(moods), entries_of(runs)
    writer = Writer(sink, delays=(0.0,) * (len(moods) + 1), rest=(0.0, 0.0))
    for entry in entries:
        writer.put(entry)
    assert writer.close() is None
    assert sink.written == by_run(entries)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), min_size=1, max_size=12), st.integers(1, 1000))
def test_batches_are_whole_epochs_under_the_limit(sizes: list[tuple[bool, int]], limit: int) -> None:
    entries = [
        Change("a", "RUNNING", {}) if change else Epoch("a", i, 0, dict.fromkeys(map(str, range(size)), 0.0))
        for i, (change, size) in enumerate(sizes)
    ]
    batch = batch_of(entries, limit)
    assert batch == entries[: len(batch)]
    assert len(batch) <= 1 or sum(len(epoch.metrics) for epoch in batch) <= limit
    following = entries[len(batch)] if len(batch) < len(entries) else None
    if isinstance(following, Epoch) and batch:  # no room for one more
        assert sum(len(epoch.metrics) for epoch in batch) + len(following.metrics) > limit
    assert bool(batch) == isinstance(entries[0], Epoch)


def test_several_epochs_in_a_call() -> None:
    sink = Sink()
    writer = Writer(sink, rest=(30.0, 30.0))  # does not begin before it is told to
    for step in range(20):
        writer.put(Epoch("a", step, 0, {"a": 0.0}))
    assert writer.close() is None
    assert [len(call) for call in sink.calls] == [20]


def test_nobody_waits_for_a_store_that_hangs() -> None:
    release = threading.Event()

    class Hanging(Sink):
        def log(self, run: str, epochs: Sequence[Epoch]) -> None:
            assert release.wait(60)
            super().log(run, epochs)

    sink = Hanging()
    writer = Writer(sink, rest=(0.0, 0.0))
    for step in range(1000):  # would never end if it waited
        writer.put(Epoch("a", step, 0, {"a": 0.0}))
    release.set()
    assert writer.close() is None
    assert [epoch.step for epoch in sink.written["a"] if isinstance(epoch, Epoch)] == list(range(1000))


def test_what_is_not_written_is_told_and_tried_again() -> None:
    sink = Sink([False] * 3)
    writer = Writer(sink, delays=(0.0,), rest=(0.0, 0.0))
    for entry in (Epoch("a", 1, 0, {"a": 0.0}), Epoch("a", 2, 0, {"a": 0.0}), Change("a", "FINISHED", {})):
        writer.put(entry)
    left = writer.flush() or writer.flush()  # the thread may have made the first attempts before
    if left is not None:
        assert (left.epochs, left.changes) == (2, 1)
        assert str(left).endswith("were not recorded: gone")
    assert writer.close() is None
    assert len(sink.written["a"]) == 3


def test_a_dead_store_is_told_with_the_count() -> None:
    sink = Sink([False] * 1000)
    writer = Writer(sink, delays=(0.0, 0.0), rest=(30.0, 30.0))
    writer.put(Epoch("a", 1, 0, {"a": 0.0}))
    writer.put(Change("b", "FINISHED", {}))
    left = writer.flush()
    assert left is not None
    assert str(left) == "1 epochs and 1 changes of state of trials were not recorded: gone"
    assert len(sink.moods) == 1000 - 3  # an attempt, and one for each delay
    assert str(writer.close()) == str(left) == str(writer.close())
    with pytest.raises(RuntimeError, match="closed"):
        writer.put(Change("b", "FINISHED", {}))


def test_a_refused_run_harms_no_other() -> None:
    sink = Sink(refuse="bad")
    writer = Writer(sink, delays=(30.0,), rest=(0.0, 0.0))  # a refusal is not worth a delay
    for step in range(3):
        for run in ("bad", "good"):
            writer.put(Epoch(run, step, 0, {"a": 0.0}))
        writer.flush()
    left = writer.close()
    assert left is not None and (left.epochs, left.changes, len(sink.written["good"])) == (3, 0, 3)
    assert str(left).endswith("bad is deleted")


def test_patiently_returns_the_first_success() -> None:
    answers: Iterator[int] = iter([1, 2])
    assert patiently(lambda: 1 // (next(answers) - 1), delays=(0.0,)) == 1
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, delays=(0.0,))


def test_losses_reach_the_user_once(uri: str, tmp_path: Path) -> None:
    """Somebody deletes a run in the UI while it trains."""
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    gone, kept = tracker.start_trials([trial(0), trial(1)])
    client(uri).delete_run(gone)
    for number in (0, 1):
        tracker.log(number, 1, metrics(1))
        tracker.end_trial(number, "complete")
    assert tracker.flush() is False
    with pytest.raises(TrackingError, match=r"^tracking.uri=sqlite.*: 1 epochs and 1 changes of state .*active.*$"):
        tracker.end_sweep(FINISHED)
    tracker.close()  # told already
    assert history(uri, kept) == expected([1])
    parents = client(uri).search_runs([children(uri)[1].info.experiment_id], "tags.`lca.kind` = 'sweep'")
    assert [parent.info.status for parent in parents] == ["FINISHED"]


def test_close_tells_what_was_lost(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca")
    tracker.start_sweep(sweep(tmp_path))
    client(uri).delete_run(*tracker.start_trials([trial(0)]))
    tracker.log(0, 1, metrics(1))
    with pytest.raises(TrackingError, match="1 epochs and 0 changes"):
        tracker.close()
    tracker.close()


# --- the way in ----------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("./mlruns", "MLflow keeps runs in plain folders no more"),
        ("", "MLflow keeps runs in plain folders no more"),
        ("file:///tmp/mlruns", "MLflow keeps runs in plain folders no more"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:mlflow.db", "names no file"),
        ("sqlite:///afile/mlflow.db", "afile"),
        ("sqlite:///afile", "not a database"),
        ("sqlite:///adir", "unable to open"),
        ("http://127.0.0.1:{port}", "no answer"),
        ("http://", "no host"),
        ("postgresql+nodriver://user:secret@127.0.0.1:{port}/x", "nodriver"),
        ("nosuch://somewhere", "nosuch"),
    ],
)
def test_refusals_are_one_line(uri: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("some words that are no database, and enough of them to be sure of it " * 20)
    (tmp_path / "adir").mkdir()
    before = sorted(tmp_path.rglob("*"))
    uri = uri.format(port=closed_port())
    with pytest.raises(TrackingError, match=says) as caught:
        open_tracker(uri, "lca")
    line = str(caught.value)
    assert line.startswith(f"tracking.uri={without_password(uri)}: ") and "\n" not in line and "secret" not in line
    assert isinstance(caught.value, UserError)
    assert sorted(tmp_path.rglob("*")) == before


def test_experiments(uri: str) -> None:
    open_tracker(uri, "lca").close()
    experiment = client(uri).get_experiment_by_name("lca")
    client(uri).delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match=r"^tracking.experiment=lca: was deleted; .*--experiment-id \d+`$"):
        open_tracker(uri, "lca")
    with pytest.raises(TrackingError, match=r"^tracking.uri=sqlite.*experiment name"):
        open_tracker(uri, "")
    open_tracker(uri, "a/b c").close()
    assert client(uri).get_experiment_by_name("a/b c").artifact_location.endswith("/mlruns/a_b_c")


def test_a_relative_uri_follows_the_working_folder(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would go on with the first folder's database."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(template, tmp_path / name / "mlflow.db")
        monkeypatch.chdir(tmp_path / name)
        open_tracker("sqlite:///mlflow.db", name).close()
    assert client(f"sqlite:///{tmp_path}/two/mlflow.db").get_experiment_by_name("two") is not None
    assert client(f"sqlite:///{tmp_path}/two/mlflow.db").get_experiment_by_name("one") is None


FIRST_CONTACT = """
import sys
from lca_sweep.tracking import *
assert "mlflow" not in sys.modules
tracker = open_tracker("sqlite:///new/mlflow.db", "lca")
from pathlib import Path
sweep = SweepRecord("s", sys.argv[1] * 32, {}, {}, {}, Path())
tracker.start_sweep(sweep)
tracker.start_trials([TrialRecord(0, 0, {"a": 1}, frozenset(), {})])
tracker.log(0, 1, {"m": 1.0})
tracker.end_trial(0, "complete")
tracker.end_sweep(SweepEnd("finished", {"complete": 1}, None))
tracker.close()
"""


def test_processes_that_meet_at_a_new_database(tmp_path: Path) -> None:
    """All of them work, none prints anything, and nothing lies about afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_CONTACT, str(number)],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    assert [process.communicate(timeout=120)[0] for process in started] == ["", ""]
    assert [process.returncode for process in started] == [0, 0]
    with contextlib.closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM experiments WHERE name = 'lca'").fetchone() == (1,)
        assert connection.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall() == [("FINISHED", 4)]
    left = {path.name for path in (tmp_path / "new").iterdir()} - {"mlflow.db-wal", "mlflow.db-shm"}
    assert left == {"mlflow.db", "mlruns"} and [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("uri", "sort", "command"),
    [
        ("sqlite:///mlflow.db", "sqlite", "mlflow ui"),
        ("sqlite:////data/my runs.db", "sqlite", "mlflow ui --backend-store-uri 'sqlite:////data/my runs.db'"),
        ("postgresql://me:secret@db/x", "other", "mlflow ui --backend-store-uri 'postgresql://me:***@db/x'"),
        ("http://host:5000/", "http", "http://host:5000"),
        ("https://me:secret@host", "http", "https://me:***@host"),
        ("runs", "files", "mlflow ui --backend-store-uri runs"),
    ],
)
def test_ui_command(uri: str, sort: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (kind(uri), ui_command(uri)) == (sort, command)
    base = command if sort == "http" else "http://127.0.0.1:5000"
    assert page(uri, "3") == f"{base}/#/experiments/3/runs?workflowType=machine_learning"


def test_ui_command_beside_old_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a plain `mlflow ui` would show the old ones."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    assert ui_command("sqlite:///mlflow.db") == "mlflow ui --backend-store-uri sqlite:///mlflow.db"


# --- a server ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A plain `mlflow server`, which is what `mlflow ui` starts, in a folder; its URL."""
    port = closed_port()
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=os.environ | light,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(lambda: fetch(f"http://127.0.0.1:{port}/health") == b"OK", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fetch(url: str) -> bytes:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())
    return b""


def test_server(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Runs reach a server; and a server started in the working folder shows what was written there without it."""
    shutil.copy(template, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    tracker = open_tracker("sqlite:///mlflow.db", "lca")
    parent = tracker.start_sweep(sweep(tmp_path))
    tracker.end_sweep(FINISHED)
    tracker.close()
    with server(tmp_path) as url:
        artifact = fetch(f"{url}/get-artifact?run_uuid={parent}&path=config.yaml")
        assert yaml.safe_load(artifact) == CONFIG
        for epochs in ([1, 2], [1, 2, 3]):
            tracker = open_tracker(url, "remote")
            remote = tracker.start_sweep(sweep(tmp_path))
            (run,) = tracker.start_trials([trial(0)])
            for epoch in epochs:
                tracker.log(0, epoch, metrics(epoch))
            tracker.end_trial(0, "pruned")
            best = best_trial(tmp_path / str(len(epochs)), 0, 0.5)
            tracker.end_sweep(SweepEnd("finished", counts(pruned=1), best))
            tracker.close()
        assert fetch(f"{url}/get-artifact?run_uuid={remote}&path=best/weights.safetensors") == b"\0"
        assert yaml.safe_load(fetch(f"{url}/get-artifact?run_uuid={remote}&path=space.yaml")) == SPACE
        assert tracker.page.startswith(f"{url}/#/experiments/")
    path = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert history(path, run) == expected([1, 2, 3])
    assert {key: value for key, value in statuses(path).items() if key in (remote, run)} == {
        remote: "FINISHED",
        run: "KILLED",
    }
    with pytest.raises(TrackingError, match="no answer"):
        open_tracker(url, "remote")
    assert "".join(capfd.readouterr()) == ""


def statuses(uri: str) -> Mapping[str, str]:
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return dict(connection.execute("SELECT run_uuid, status FROM runs").fetchall())
