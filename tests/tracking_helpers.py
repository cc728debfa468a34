"""What the tests of tracking share: records to tell, stores to tell them to, and what these hold afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sweep_helpers import free_port

from lca_sweep.tracking import BestTrial, SweepEnd, SweepRecord, TrialRecord
from lca_sweep.tracking.database import prepare
from lca_sweep.tracking.entries import Epoch
from lca_sweep.tracking.mlflow_tracker import MlflowTracker
from lca_sweep.tracking.quiet import behave
from lca_sweep.tracking.store import Change, Found
from lca_sweep.tracking.writer import Refused

ROOT = Path(__file__).parents[1]
UID = "0123456789abcdef0123456789abcdef"
CONFIG = {"trainer": {"lr": 0.1, "epochs": 3}, "model": {"widths": None}}
SPACE = {"trainer": {"lr": {"low": 0.001, "high": 1.0, "log": True}}}
KNOBS = {"trainer.lr": 0.05, "trainer.epochs": 3, "model.widths": None, "search.sampler": "tpe"}
PARAMS = {"trainer.lr": "0.05", "trainer.epochs": "3", "model.widths": "null", "search.sampler": "tpe"}

Points = dict[str, list[tuple[int, float]]]  # a run's metrics: steps and values


def sweep(folder: Path, uid: str = UID) -> SweepRecord:
    return SweepRecord("study", uid, CONFIG, SPACE, {"git.commit": "abc"}, folder)


def trial(number: int, pack: int = 0, **knobs: Any) -> TrialRecord:
    values = KNOBS | {name.replace("__", "."): value for name, value in knobs.items()}
    return TrialRecord(number, pack, values, frozenset({"trainer.lr"}), {"device": "cpu"})


def metrics(epoch: int) -> dict[str, float]:
    return {"train/loss": 1 / epoch, "val/accuracy": 1 - 1 / epoch, "layer1/vip_fraction": 0.25}


def expected(epochs: Sequence[int]) -> Points:
    return {key: [(epoch, metrics(epoch)[key]) for epoch in epochs] for key in sorted(metrics(1))}


def counts(**states: int) -> dict[str, int]:
    return {"complete": 0, "pruned": 0, "failed": 0, "running": 0} | states


def trained(folder: Path, number: int, value: float = 0.5, seed: int = 0) -> BestTrial:
    """A best trial, with a network of 6 inputs and 3 classes in a folder."""
    import torch

    from lca_sweep.core import Network, SpikeSlab

    about = {"trial": number, "data": {"name": "digits", "scale": 16.0}, "knobs": {"init.seed": seed}}
    rng = torch.Generator().manual_seed(number)
    layers = (SpikeSlab(*(torch.rand(shape, generator=rng) for _ in range(3))) for shape in ((5, 6), (3, 5)))
    Network(tuple(layers)).save(folder, about)
    return BestTrial(number, value, {"val/accuracy": value, "layer1/entropy": 0.5}, {"trainer.lr": 0.05}, folder)


FINISHED = SweepEnd("finished", counts(complete=1), None)


# --- a store of MLflow's -------------------------------------------------------------------------------------------


@cache
def _empty() -> bytes:
    """A new database; making one takes a second."""
    behave()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "mlflow.db")
        return (Path(folder) / "mlflow.db").read_bytes()


def new_store(folder: Path) -> str:
    """URI of a new database in a folder."""
    (folder / "mlflow.db").write_bytes(_empty())
    return f"sqlite:///{folder / 'mlflow.db'}"


def run_of(uri: str, number: int = 0) -> str:
    """Id of a trial's run."""
    return str(children(uri)[number].info.run_id)


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def children(uri: str) -> dict[int, Any]:
    """The runs of trials, by number."""
    experiments = [e.experiment_id for e in client(uri).search_experiments()]
    runs = client(uri).search_runs(experiments, "tags.`lca.kind` = 'trial'")
    assert len({run.data.tags["lca.trial"] for run in runs}) == len(runs)
    return {int(run.data.tags["lca.trial"]): run for run in runs}


def history(uri: str, run: str) -> Points:
    """Each metric's steps and values as they are in the table of all points."""
    found = defaultdict(list)
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step"
        for key, step, value in connection.execute(query, (run,)):
            found[key].append((step, value))
    return dict(found)


def points(uri: str) -> int:
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


def parent_statuses(uri: str) -> list[str]:
    experiments = [e.experiment_id for e in client(uri).search_experiments()]
    return [run.info.status for run in client(uri).search_runs(experiments, "tags.`lca.kind` = 'sweep'")]


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen[Any] | None = None, seconds: float = 60
) -> None:
    """Poll until it holds; an error if the process ends before."""
    until = time.monotonic() + seconds
    while not condition():
        assert (process is None or process.poll() is None) and time.monotonic() < until
        time.sleep(0.05)


def fetch(url: str) -> bytes:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())
    return b""


@dataclass
class Server:
    """A plain `mlflow server`, which is what `mlflow ui` starts, in a folder; it can go away and come back."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"],
                cwd=self.folder,
                env=os.environ | light,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: fetch(f"{self.url}/health") == b"OK", self.process)

    def signal(self, number: signal.Signals) -> None:
        """To the server and all that it started."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A server that is gone afterwards."""
    made = Server(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()


# --- a store in memory ---------------------------------------------------------------------------------------------


@dataclass
class Kept:
    """A run in memory; as in MLflow, a point is the same only if its time is."""

    name: str
    tags: dict[str, str]
    start: int
    status: str = "RUNNING"
    end: int | None = None
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)  # names of data sets
    points: set[tuple[str, int, int, str]] = field(default_factory=set)  # key, step, time, value as text
    order: list[str] = field(default_factory=list)  # what was written, in words

    def history(self) -> Points:
        found = defaultdict(list)
        for key, step, _, value in sorted(self.points):
            found[key].append((step, float(value)))
        return dict(sorted(found.items()))


MOODS = ("well", "away", "lost", "dies", "dies later")


class MemoryStore:
    """Store's calls, on dictionaries. `moods` are those of the next calls, after which all is well.

    away: an error, and nothing done; lost: done, but an error; dies: the calling thread ends there, before or after.
    """

    experiment_id = "0"

    def __init__(self, runs: dict[str, Kept] | None = None) -> None:
        self.runs = {} if runs is None else runs
        self.files: dict[tuple[str, str], bytes] = {}  # by run and path
        self.registry = MemoryRegistry(self)
        self.moods: list[str] = []
        self.away = False
        self.lock = threading.RLock()

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        with self.lock:
            mood = "away" if self.away else self.moods.pop(0) if self.moods else "well"
            if mood == "dies":
                raise SystemExit  # which threads do not tell of
            if mood == "away":
                raise ConnectionError("gone")
            yield
            if mood == "dies later":
                raise SystemExit
            if mood == "lost":
                raise ConnectionError("lost")

    def run(self, run: str) -> Kept:
        if run not in self.runs or self.runs[run].deleted:
            raise Refused(f"{run} is deleted\nand more")
        return self.runs[run]

    def find(self, tags: Mapping[str, str]) -> list[Found]:
        with self.call():
            there = [id for id, run in self.runs.items() if tags.items() <= run.tags.items() and not run.deleted]
            return [self.found(run) for run in there]

    def get(self, run: str) -> Found:
        with self.call():
            if run not in self.runs:
                raise Refused(f"{run} is not there")
            return self.found(run)

    def found(self, id: str) -> Found:
        run, latest = self.runs[id], {}
        for key, step, _, value in sorted(run.points, key=lambda point: point[1]):
            latest[key] = (step, float(value))
        values, steps = ({key: pair[i] for key, pair in latest.items()} for i in (1, 0))
        return Found(id, run.status, dict(run.tags), dict(run.params), values, steps, bool(run.inputs))

    def create(self, name: str, tags: Mapping[str, str], time: int) -> str:
        with self.call():
            id = f"run{len(self.runs)}"
            self.runs[id] = Kept(name, dict(tags), time)
            return id

    def delete(self, run: str) -> None:
        with self.call():
            self.run(run).deleted = True

    def params(self, run: str, params: Mapping[str, str]) -> None:
        with self.call():
            kept = self.run(run).params
            assert all(kept.get(key, value) == value for key, value in params.items())
            kept |= params

    def inputs(self, run: str, inputs: Sequence[Any]) -> None:
        with self.call():
            self.run(run).inputs = [one.dataset.name for one in inputs]

    def log(self, run: str, epochs: Sequence[Epoch]) -> None:
        with self.call():
            kept = self.run(run)
            for epoch in epochs:
                kept.order.append(f"epoch {epoch.step}")
                kept.points |= {(key, epoch.step, epoch.time, repr(value)) for key, value in epoch.metrics.items()}

    def tag(self, run: str, tags: Mapping[str, str | None]) -> None:
        with self.call():
            self._tag(run, tags)

    def _tag(self, run: str, tags: Mapping[str, str | None]) -> None:
        for key, value in tags.items():
            if value is None:
                self.run(run).tags.pop(key, None)
            else:
                self.run(run).tags[key] = value

    def change(self, change: Change) -> None:
        with self.call():
            run = self.run(change.run)
            self._tag(change.run, change.tags)
            run.status = change.status
            run.end = run.end if change.status == "RUNNING" else change.time
            run.order.append(change.tags["lca.state"] or "")

    def text(self, run: str, text: str, path: str) -> None:
        with self.call():
            self.run(run)

    def folder(self, run: str, folder: Path, path: str) -> None:
        with self.call():
            self.run(run)
            for file in [file for file in folder.rglob("*") if file.is_file()]:
                self.files[run, f"{path}/{file.relative_to(folder)}"] = file.read_bytes()

    def trials(self) -> dict[int, Kept]:
        """The runs of trials by number, of which there is one each."""
        runs = [run for run in self.runs.values() if run.tags["lca.kind"] == "trial" and not run.deleted]
        found = {int(run.tags["lca.trial"]): run for run in runs}
        assert len(found) == len(runs)
        return found

    def parents(self) -> list[Kept]:
        return [run for run in self.runs.values() if run.tags["lca.kind"] == "sweep" and not run.deleted]


class MemoryRegistry:
    """Registry's calls, on lists; in its store's moods."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.versions: dict[str, list[tuple[str, str, dict[str, str]]]] = {}  # by model: run, path, tags
        self.aliases: dict[tuple[str, str], str] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def model(self, name: str, description: str) -> None:
        with self.store.call():
            self.versions.setdefault(name, [])

    def version(self, name: str, tags: Mapping[str, str]) -> str:
        with self.store.call():
            same = [n for n, (_, _, kept) in enumerate(self.versions[name], 1) if tags.items() <= kept.items()]
            return str(same[-1]) if same else ""

    def add(self, name: str, run: str, path: str, tags: Mapping[str, str], description: str) -> str:
        with self.store.call():
            self.versions[name].append((run, path, dict(tags)))
            return str(len(self.versions[name]))

    def alias(self, name: str, alias: str, version: str) -> None:
        with self.store.call():
            self.aliases[name, alias] = version

    def describe(self, name: str, description: str, instead_of: Collection[str]) -> None:
        with self.store.call():
            assert description in instead_of

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        with self.store.call():
            self.tags[name] = dict(tags)


def on(store: Any, outbox: Path, uri: str = "memory") -> MlflowTracker:
    """A tracker that does not rest."""
    return MlflowTracker(store, uri, outbox, delays=(0.0, 0.001), rest=(0.0, 0.0))


def die(tracker: MlflowTracker) -> None:
    """As if its process were killed between two calls."""
    tracker._writer.stop()
    tracker._writer._thread.join()
    tracker._outbox.close()


@contextlib.contextmanager
def untold_deaths() -> Iterator[None]:
    """A thread that ends by SystemExit is no news to Python, and so none to pytest; whatever else ends one is."""
    told = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            told(args)

    with patch.object(threading, "excepthook", hook):
        yield


def same(one: Points, other: Points) -> bool:
    """Equal, NaN to NaN."""
    return repr(sorted(one.items())) == repr(sorted(other.items()))
