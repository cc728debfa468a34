"""MLflow goes away and comes back: nobody waits for it, and it misses nothing. With real servers and databases."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tracking_helpers import (
    FINISHED,
    ROOT,
    UID,
    Server,
    children,
    expected,
    history,
    metrics,
    new_store,
    parent_statuses,
    points,
    run_of,
    server,
    sweep,
    trial,
    wait_for,
)

from lca_sweep.tracking import Tracker, TrackingError, open_tracker
from lca_sweep.tracking.entries import Epoch, line_of
from lca_sweep.tracking.outbox import Outbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

AT_ONCE = 10.0  # seconds for hundreds of calls that do not wait; one request would take 30 s to be given up


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    """A server on a database of its own."""
    new_store(tmp_path)
    with server(tmp_path) as started:
        yield started


def begun(uri: str, folder: Path) -> Tracker:
    tracker = open_tracker(uri, "lca", folder / "outbox")
    tracker.start_sweep(sweep(folder))
    return tracker


def tell(tracker: Tracker, numbers: Sequence[int], epochs: Sequence[int]) -> None:
    """Epochs of some trials, each at once."""
    began = time.monotonic()
    for epoch in epochs:
        for number in numbers:
            tracker.log(number, epoch, metrics(epoch))
    tracker.settle()
    assert time.monotonic() - began < AT_ONCE


def in_database(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def test_a_server_is_killed_and_comes_back(running: Server, tmp_path: Path) -> None:
    """Also while a trial starts, and others end."""
    tracker = begun(running.url, tmp_path)
    tracker.start_trials([trial(0), trial(1)])
    tell(tracker, [0, 1], range(1, 11))
    wait_for(lambda: points(in_database(tmp_path)) > 10)
    running.kill()
    tell(tracker, [0, 1], range(11, 111))
    began = time.monotonic()
    tracker.end_trial(0, "complete")
    tracker.start_trials([trial(2)])
    tell(tracker, [2], range(1, 6))
    tracker.end_trial(2, "failed", "loss is NaN")
    tracker.settle()
    assert time.monotonic() - began < AT_ONCE
    assert not tracker.flush(0.5)
    wait_for(lambda: tracker.trouble)
    assert tracker.trouble.startswith("MLflow has not answered for 0:")
    assert tracker.trouble.endswith(" epochs kept in the outbox")
    running.start()
    assert tracker.flush(20) and tracker.trouble == ""
    tell(tracker, [1], range(111, 121))
    tracker.end_sweep(FINISHED)
    tracker.close()
    check(tmp_path, {0: (110, "FINISHED"), 1: (120, "KILLED"), 2: (5, "FAILED")})


def check(folder: Path, trials: dict[int, tuple[int, str]]) -> None:
    """The database has these trials, with so many epochs and this status, no point twice, and nothing is left."""
    uri = in_database(folder)
    runs = children(uri)
    assert {number: run.info.status for number, run in runs.items()} == {n: status for n, (_, status) in trials.items()}
    for number, (epochs, _) in trials.items():
        assert history(uri, runs[number].info.run_id) == (expected(range(1, epochs + 1)) if epochs else {})
        assert runs[number].data.params["trainer.lr"] == "0.05"
    assert parent_statuses(uri) == ["FINISHED"] and not (folder / "outbox").exists()


@pytest.mark.parametrize("answered", [True, False])
def test_a_server_hangs(answered: bool, running: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP: it takes requests, and works on them when it goes on, though whoever asked has asked again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    tracker = begun(running.url, tmp_path)
    tracker.start_trials([trial(0)])
    if answered:
        assert tracker.flush(20)
    running.signal(signal.SIGSTOP)
    tracker.start_trials([trial(1)])
    tell(tracker, [0, 1], range(1, 101))
    tracker.end_trial(0, "pruned")
    wait_for(lambda: tracker.trouble)
    tell(tracker, [1], range(101, 111))
    assert not tracker.flush(0.2)
    running.signal(signal.SIGCONT)
    assert tracker.flush(30)
    tracker.end_sweep(FINISHED)
    tracker.close()
    check(tmp_path, {0: (100, "KILLED"), 1: (110, "KILLED")})


def test_a_sweep_ends_while_its_server_hangs(running: Server, tmp_path: Path) -> None:
    """With the usual timeout of 30 s, which nobody waits for; the next start has no more to train."""
    says: list[str] = []
    tracker = begun(running.url, tmp_path)
    tracker.start_trials([trial(0)])
    assert tracker.flush(20)
    running.signal(signal.SIGSTOP)
    tell(tracker, [0], range(1, 11))
    tracker.end_trial(0, "complete")
    tracker.settle()
    began = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        tracker.end_sweep(FINISHED, patience=4.0, say=says.append)
    assert time.monotonic() - began < 20
    (said,) = says
    assert said.startswith(f"waiting for MLflow at {running.url}: no answer for ")
    assert "10 epochs and 1 change of state of trials are not recorded yet and kept in " in str(caught.value)
    assert str(caught.value).endswith(f"{tmp_path}/outbox: the same command again records them")
    began = time.monotonic()
    tracker.close()
    assert time.monotonic() - began < 20
    running.signal(signal.SIGCONT)
    again = begun(running.url, tmp_path)
    again.end_sweep(FINISHED)
    again.close()
    check(tmp_path, {0: (10, "FINISHED")})


TELLER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tracking_helpers import *
from lca_sweep.tracking import open_tracker
tracker = open_tracker({uri!r}, "lca", Path({folder!r}) / "outbox")
tracker.start_sweep(sweep(Path({folder!r})))
print("begun", flush=True)
sys.stdin.readline()
tracker.start_trials([trial(0), trial(1)])
for epoch in range(1, 101):
    tracker.log(0, epoch, metrics(epoch))
    tracker.log(1, epoch, metrics(epoch))
tracker.end_trial(0, "complete")
tracker.settle()
print("told", flush=True)
time.sleep(600)
"""


def test_server_and_sweep_are_killed(running: Server, tmp_path: Path) -> None:
    """The next start records what the first one told, though it has nothing to tell itself."""
    code = TELLER.format(tests=str(ROOT / "tests"), uri=running.url, folder=str(tmp_path))
    teller = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert teller.stdin and teller.stdout
    with teller:
        assert teller.stdout.readline() == "begun\n"
        running.kill()
        teller.stdin.write("\n")
        teller.stdin.flush()
        assert teller.stdout.readline() == "told\n"
        teller.kill()
    assert points(in_database(tmp_path)) == 0
    with pytest.raises(TrackingError, match="no answer"):
        begun(running.url, tmp_path)
    running.start()
    tracker = begun(running.url, tmp_path)
    tracker.end_trial(1, "interrupted")
    tracker.end_sweep(FINISHED)
    tracker.close()
    check(tmp_path, {0: (100, "FINISHED"), 1: (100, "KILLED")})


def test_a_database_is_locked(tmp_path: Path) -> None:
    """Longer than SQLite itself waits for."""
    tracker = begun(new_store(tmp_path), tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        tracker.start_trials([trial(0)])
        tell(tracker, [0], range(1, 101))
        assert not tracker.flush(0.2)
        wait_for(lambda: tracker.trouble)
        time.sleep(20)
        tell(tracker, [0], range(101, 201))
        tracker.end_trial(0, "complete")
        other.rollback()
    tracker.end_sweep(FINISHED)
    tracker.close()
    check(tmp_path, {0: (200, "FINISHED")})


def test_a_torn_line_and_a_damaged_one(tmp_path: Path) -> None:
    """As a machine that lost its power may leave them."""
    says: list[str] = []
    tracker = begun(new_store(tmp_path), tmp_path)
    tracker.start_trials([trial(0)])
    tracker.close()
    outbox = Outbox(tmp_path / "outbox", UID)
    for epoch in (1, 2, 3):
        outbox.append(line_of(Epoch(0, 1000 + epoch, epoch, metrics(epoch))))
    outbox.close()
    (segment,) = (tmp_path / "outbox").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"metrics", b"mxtrics")
    segment.write_bytes(b"".join(lines) + b'{"epoch": {"num')
    tracker = begun(in_database(tmp_path), tmp_path)
    tracker.end_trial(0, "complete")
    tracker.end_sweep(FINISHED, say=says.append)
    tracker.close()
    assert says == [f"{segment}: line 3 is damaged and was left out"]
    assert history(in_database(tmp_path), run_of(in_database(tmp_path))) == expected([1, 3])
    assert children(in_database(tmp_path))[0].info.status == "FINISHED"
