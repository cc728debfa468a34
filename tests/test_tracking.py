"""MLflow gets each thing once, in order, however often it is told and whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_helpers import free_port
from tracking_helpers import (
    CONFIG,
    FINISHED,
    ROOT,
    SPACE,
    UID,
    MemoryStore,
    children,
    client,
    counts,
    expected,
    fetch,
    history,
    metrics,
    new_store,
    on,
    parent_statuses,
    points,
    run_of,
    server,
    sweep,
    trained,
    trial,
    wait_for,
)

from lca_sweep.config import without_password
from lca_sweep.core.errors import UserError
from lca_sweep.tracking import (
    BestTrial,
    NullTracker,
    SweepEnd,
    Tracker,
    TrackingError,
    open_tracker,
    ui_command,
)
from lca_sweep.tracking.uri import kind, page

# MLflow 3.17 says it to SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """URI of a store of the test's own."""
    return new_store(tmp_path)


def drive(uri: str, folder: Path, epochs: Sequence[int], end: str = "") -> str:
    """One life of a driver with one trial; its run id."""
    tracker = open_tracker(uri, "lca", folder / "outbox")
    tracker.start_sweep(sweep(folder))
    tracker.start_trials([trial(0)])
    for epoch in epochs:
        tracker.log(0, epoch, metrics(epoch))
    if end:
        tracker.end_trial(0, end)
    tracker.close()
    return run_of(uri)


# --- every tracker -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(which: str, folder: Path) -> Iterator[Tracker]:
    if which == "server":
        new_store(folder)
        with server(folder) as running:
            yield open_tracker(running.url, "lca", folder / "outbox")
    elif which == "sqlite":
        yield open_tracker(new_store(folder), "lca", folder / "outbox")
    else:
        yield NullTracker() if which == "null" else on(MemoryStore(), folder / "outbox")


@pytest.mark.parametrize("which", ["null", "memory", "sqlite", pytest.param("server", marks=pytest.mark.slow)])
def test_contract(which: str, tmp_path: Path) -> None:
    says: list[str] = []
    with opened(which, tmp_path) as tracker:
        assert tracker.trouble == ""
        parent = tracker.start_sweep(sweep(tmp_path))
        assert isinstance(parent, str) and tracker.start_sweep(sweep(tmp_path)) == parent
        assert bool(tracker.page) == bool(parent)
        for trials in ([trial(0), trial(1)], [], [trial(1)]):
            tracker.start_trials(trials)
        tracker.log(0, 1, metrics(1))
        tracker.settle()
        tracker.end_trial(0, "complete")
        tracker.end_trial(0, "complete")
        tracker.end_trial(7, "interrupted")  # never started
        tracker.settle()
        assert tracker.flush(20) is True and tracker.trouble == ""
        with pytest.raises(ValueError, match="'done': must be one of complete, pruned, interrupted, failed"):
            tracker.end_trial(1, "done")
        with pytest.raises(ValueError, match="'complete': must be one of finished"):
            tracker.end_sweep(SweepEnd("complete", counts(), None))
        full = replace(
            FINISHED,
            best=trained(tmp_path / "best", 0),
            report=tmp_path / "best",
            trial_files={0: tmp_path / "best", 1: tmp_path / "best"},
            question="Why?",
        )
        for end in (FINISHED, full, full):
            tracker.end_sweep(end, patience=20, say=says.append)
        tracker.close()
        tracker.close(patience=1)
        assert all(line.startswith("waiting for MLflow at ") for line in says)
        assert not (tmp_path / "outbox").exists()


# --- what is recorded ----------------------------------------------------------------------------------------------


def test_trials(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
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
            "mlflow.runName": "0001 lr=0.05",
            "mlflow.note.content": "Trial 1 of sweep study, in pack 3, with `lr=0.05`: "
            "pruned after 2 epochs: val/accuracy 0.5",
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
        tracker = open_tracker(uri, "lca", tmp_path / "outbox")
        parent = tracker.start_sweep(sweep(tmp_path))
        assert client(uri).get_run(parent).info.status == "RUNNING"
        tracker.start_trials([trial(number)])
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
            "best.run_id": run_of(uri, 1),
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
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    tracker.log(0, 1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0})
    tracker.end_sweep(SweepEnd("finished", counts(complete=1), BestTrial(0, math.nan, {}, {}, None)))
    tracker.close()
    found = children(uri)[0].data.metrics
    assert math.isnan(found["a"]) and found["b"] > 1e300 and found["c"] < -1e300 and found["d"] == 1.0


def test_times_are_those_of_the_telling(uri: str, tmp_path: Path) -> None:
    """However late it is written."""
    before = int(time.time() * 1000)
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    tracker.log(0, 1, metrics(1))
    tracker.end_trial(0, "complete")
    told = int(time.time() * 1000)
    time.sleep(0.05)
    tracker.close()
    run = children(uri)[0]
    (point,) = client(uri).get_metric_history(run.info.run_id, "train/loss")
    assert before <= run.info.start_time <= point.timestamp <= run.info.end_time <= told


# --- once, whatever happens ----------------------------------------------------------------------------------------


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8)), min_size=1, max_size=4))
def test_each_epoch_once_over_restarts(tmp_path: Path, lives: list[tuple[int, int]]) -> None:
    """Each driver goes on from some checkpoint (from epoch 1 at the most far-off) and logs some epochs."""
    folder = tmp_path / str(time.time_ns())
    folder.mkdir()
    uri, seen, runs = new_store(folder), 0, set()
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
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
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
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.log(0, 2, metrics(2))
    tracker.end_trial(0, "pruned")
    tracker.close()
    ended = children(uri)[0]
    assert (ended.info.status, ended.data.tags["lca.state"]) == ("KILLED", "pruned")
    assert history(uri, ended.info.run_id) == expected([1, 2])
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.end_trial(0, "pruned")  # known already: not written
    tracker.close()
    assert children(uri)[0].info.end_time == ended.info.end_time


def test_a_run_without_params_gets_them(uri: str, tmp_path: Path) -> None:
    """The driver died between creating the run and recording its knobs."""
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    parent = tracker.start_sweep(sweep(tmp_path))
    tracker.close()
    experiment = client(uri).get_experiment_by_name("lca").experiment_id
    tags = {"mlflow.parentRunId": parent, "lca.kind": "trial", "lca.trial": "0"}
    half = client(uri).create_run(experiment, tags=tags).info.run_id
    assert drive(uri, tmp_path, [1]) == half
    assert children(uri)[0].data.params["trainer.lr"] == "0.05"


def test_other_sweeps_are_other_runs(uri: str, tmp_path: Path) -> None:
    for uid in (UID, UID[::-1]):
        tracker = open_tracker(uri, "lca", tmp_path / uid / "outbox")
        tracker.start_sweep(sweep(tmp_path, uid))
        tracker.start_trials([trial(0)])
        tracker.close()
    runs = client(uri).search_runs([client(uri).get_experiment_by_name("lca").experiment_id])
    assert len(runs) == len({(run.data.tags["lca.sweep_id"], run.data.tags["lca.kind"]) for run in runs}) == 4


def test_knobs_of_a_trial_cannot_change(uri: str, tmp_path: Path) -> None:
    drive(uri, tmp_path, [1])
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0, trainer__lr=0.5), trial(1)])
    says = r"trial 0: trainer.lr=0.5: its run was started with 0.05; must be the same"
    with pytest.raises(TrackingError, match=rf"0 epochs and 2 changes of state .* {says}$"):
        tracker.end_sweep(FINISHED)
    tracker.close()
    assert children(uri)[1].info.status == "KILLED"


def test_losses_reach_the_user_once(uri: str, tmp_path: Path) -> None:
    """Somebody deletes a run in the UI while it trains."""
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0), trial(1)])
    assert tracker.flush(20)
    client(uri).delete_run(run_of(uri, 0))
    for number in (0, 1):
        tracker.log(number, 1, metrics(1))
        tracker.end_trial(number, "complete")
    assert tracker.flush(20) is False
    with pytest.raises(TrackingError, match=r"^tracking.uri=sqlite.*: 1 epoch and 1 change of state .*active.*$"):
        tracker.end_sweep(FINISHED)
    tracker.close()  # told already
    assert history(uri, run_of(uri, 1)) == expected([1])
    assert parent_statuses(uri) == ["FINISHED"] and not (tmp_path / "outbox").exists()


def test_close_tells_what_was_lost(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    assert tracker.flush(20)
    client(uri).delete_run(run_of(uri))
    tracker.log(0, 1, metrics(1))
    with pytest.raises(TrackingError, match="1 epoch and 0 changes"):
        tracker.close()
    tracker.close()


def test_all_of_a_sweep_is_deleted(uri: str, tmp_path: Path) -> None:
    """The next start begins it anew, with what it is told from then on."""
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    parent = tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    assert tracker.flush(20)
    client(uri).delete_run(parent)
    client(uri).delete_run(run_of(uri))
    tracker.log(0, 1, metrics(1))
    with pytest.raises(TrackingError, match=r"^tracking.uri=sqlite.*: the end of the sweep: .*active.*$"):
        tracker.end_sweep(FINISHED)
    with pytest.raises(TrackingError, match="1 epoch and"):
        tracker.close()
    drive(uri, tmp_path, [1, 2], "complete")
    assert history(uri, run_of(uri)) == expected([1, 2])


VICTIM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tracking_helpers import *
from lca_sweep.tracking.connect import connect
tracker = on(connect({uri!r}, "lca"), Path({folder!r}) / "outbox", {uri!r})  # writes without a pause
tracker.start_sweep(sweep(Path({folder!r})))
tracker.start_trials([trial(0), trial(1)])
epoch = 0
while True:
    epoch += 1
    tracker.log(0, epoch, metrics(epoch))
    tracker.log(1, epoch, metrics(epoch))
    print(epoch, flush=True)
    time.sleep(0.0005)
"""


def test_killed_in_the_middle(uri: str, tmp_path: Path) -> None:
    """SIGKILL while it writes: the next driver has all that was told, and may tell it again."""
    code = VICTIM.format(tests=str(ROOT / "tests"), uri=uri, folder=str(tmp_path))
    with (tmp_path / "told").open("w") as out:
        victim = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=out)
    try:
        wait_for(lambda: points(uri) > 2000, victim)
    finally:
        victim.kill()
        victim.wait()
    told = int((tmp_path / "told").read_text().split()[-1])
    for run in children(uri).values():  # what is there is whole, and a beginning
        found = history(uri, run.info.run_id)
        assert not found or found == expected(range(1, len(found["train/loss"]) + 1))
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    assert tracker.flush(20)
    newest = [len(history(uri, run_of(uri, number))["train/loss"]) for number in (0, 1)]
    assert told <= newest[0] <= told + 1 and newest[0] - newest[1] in (0, 1)  # the last one may not be printed
    for epoch in range(told - 10, told + 6):
        for number in (0, 1):
            tracker.log(number, epoch, metrics(epoch))
    tracker.end_trial(0, "complete")
    tracker.close()
    for number in (0, 1):
        assert history(uri, run_of(uri, number)) == expected(range(1, told + 6))


# --- the way in ----------------------------------------------------------------------------------------------------


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
    uri = uri.format(port=free_port())
    with pytest.raises(TrackingError, match=says) as caught:
        open_tracker(uri, "lca", tmp_path / "outbox")
    line = str(caught.value)
    assert line.startswith(f"tracking.uri={without_password(uri)}: ") and "\n" not in line and "secret" not in line
    assert isinstance(caught.value, UserError)
    assert sorted(tmp_path.rglob("*")) == before


def test_experiments(uri: str, tmp_path: Path) -> None:
    open_tracker(uri, "lca", tmp_path / "outbox").close()
    experiment = client(uri).get_experiment_by_name("lca")
    client(uri).delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match=r"^tracking.experiment=lca: was deleted; .*--experiment-id \d+`$"):
        open_tracker(uri, "lca", tmp_path / "outbox")
    with pytest.raises(TrackingError, match=r"^tracking.uri=sqlite.*experiment name"):
        open_tracker(uri, "", tmp_path / "outbox")
    open_tracker(uri, "a/b c", tmp_path / "outbox").close()
    assert client(uri).get_experiment_by_name("a/b c").artifact_location.endswith("/mlruns/a_b_c")


def test_a_relative_uri_follows_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow itself would go on with the first folder's database."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        new_store(tmp_path / name)
        monkeypatch.chdir(tmp_path / name)
        open_tracker("sqlite:///mlflow.db", name, tmp_path / "outbox").close()
    assert client(f"sqlite:///{tmp_path}/two/mlflow.db").get_experiment_by_name("two") is not None
    assert client(f"sqlite:///{tmp_path}/two/mlflow.db").get_experiment_by_name("one") is None


FIRST_CONTACT = """
import sys
from lca_sweep.tracking import *
assert "mlflow" not in sys.modules
from pathlib import Path
tracker = open_tracker("sqlite:///new/mlflow.db", "lca", Path("outbox" + sys.argv[1]))
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


@pytest.mark.slow
def test_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Runs reach a server; and a server started in the working folder shows what was written there without it."""
    path = new_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    tracker = open_tracker("sqlite:///mlflow.db", "lca", tmp_path / "outbox")
    parent = tracker.start_sweep(sweep(tmp_path))
    tracker.end_sweep(FINISHED)
    tracker.close()
    with server(tmp_path) as running:
        url = running.url
        artifact = fetch(f"{url}/get-artifact?run_uuid={parent}&path=config.yaml")
        assert yaml.safe_load(artifact) == CONFIG
        for epochs in ([1, 2], [1, 2, 3]):
            tracker = open_tracker(url, "remote", tmp_path / "outbox")
            remote = tracker.start_sweep(sweep(tmp_path))
            tracker.start_trials([trial(0)])
            for epoch in epochs:
                tracker.log(0, epoch, metrics(epoch))
            tracker.end_trial(0, "pruned")
            best = best_trial(tmp_path / str(len(epochs)), 0, 0.5)
            tracker.end_sweep(SweepEnd("finished", counts(pruned=1), best))
            tracker.close()
        assert fetch(f"{url}/get-artifact?run_uuid={remote}&path=best/weights.safetensors") == b"\0"
        assert yaml.safe_load(fetch(f"{url}/get-artifact?run_uuid={remote}&path=space.yaml")) == SPACE
        assert tracker.page.startswith(f"{url}/#/experiments/")
    run = run_of(path)
    assert history(path, run) == expected([1, 2, 3])
    assert {key: value for key, value in statuses(path).items() if key in (remote, run)} == {
        remote: "FINISHED",
        run: "KILLED",
    }
    with pytest.raises(TrackingError, match="no answer"):
        open_tracker(url, "remote", tmp_path / "outbox")
    assert "".join(capfd.readouterr()) == ""


def statuses(uri: str) -> Mapping[str, str]:
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return dict(connection.execute("SELECT run_uuid, status FROM runs").fetchall())


@pytest.mark.parametrize(
    "uri", ["http://me:secret@[::1]:1", "http://secret@host", "https://me:secret@host/ml", "http://me:se/cret@host"]
)
def test_no_password_in_a_servers_address(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        open_tracker(uri, "lca_sweep", tmp_path)
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value) and "cret" not in str(caught.value)


# --- several objectives, and those that leave early ------------------------------------------------------------------


def test_why_a_trial_left_is_in_its_tags_until_it_starts_again(uri: str, tmp_path: Path) -> None:
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    tracker.end_trial(0, "pruned", "rank 6 of 8 at epoch 5", {"left.epoch": "5", "left.rank": "6", "left.of": "8"})
    tracker.flush()
    tags = children(uri)[0].data.tags
    assert tags.items() >= {"left.epoch": "5", "left.rank": "6", "left.of": "8"}.items()
    assert (tags["lca.state"], tags["lca.reason"]) == ("pruned", "rank 6 of 8 at epoch 5")
    tracker.start_trials([trial(0)])
    tracker.flush()
    assert not [key for key in children(uri)[0].data.tags if key.startswith("left.") or key == "lca.reason"]
    tracker.close()


def test_the_pareto_set_is_marked_as_it_is_at_the_last_end(uri: str, tmp_path: Path) -> None:
    """An extended sweep may come to another one; told twice is told once. Nothing else of the runs changes."""
    ends = None
    for pareto in ([2, 0], [2, 0], [1, 2]):
        tracker = open_tracker(uri, "lca", tmp_path / "outbox")
        tracker.start_sweep(sweep(tmp_path))
        if ends is None:
            tracker.start_trials([trial(number) for number in range(3)])
            for number in range(3):
                tracker.end_trial(number, "complete")
        best = BestTrial(pareto[0], 0.5, {}, {}, None)
        tracker.end_sweep(SweepEnd("finished", counts(complete=3), best, pareto=pareto))
        tracker.close()
        runs = children(uri)
        assert {n for n, run in runs.items() if run.data.tags.get("pareto") == "true"} == set(pareto)
        now = {n: (run.info.status, run.info.end_time) for n, run in runs.items()}
        assert ends in (None, now)
        ends = now
