"""What the tests of the sweep share: a sweep as a process of its own, and the books that it leaves."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from lca_sweep.core.data import Splits
from lca_sweep.core.halving import Pruner
from lca_sweep.core.knobs import TrialKnobs, replace
from lca_sweep.core.pack import Pack, Trial
from lca_sweep.core.train import EpochReport, fit
from lca_sweep.sweep.usage import PREFIX

ROOT = Path(__file__).parents[1]
PATIENCE = 240.0  # seconds for what takes ten on a machine that nobody shares
WORKER = re.compile(r"ray::\w*Trainable\b")  # as Ray titles a process that holds one

Metrics = dict[str, list[tuple[int, float]]]


def poll(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first value of `condition` that is true."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {patience:.0f} s"
        time.sleep(0.01)
    return value


def free_port() -> int:
    """A port that nobody listens at, below those that the system gives to whoever asks for any."""
    for port in random.sample(range(21000, 31000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port between 21000 and 31000")


# --- processes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process, known also by when it began, so that no other one with its number is taken for it."""

    pid: int
    began: str
    command: str = field(compare=False)

    def kill(self) -> None:
        """SIGKILL, if it still is the one."""
        if process(self.pid) == self:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name: state, parent, ...; none for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def process(pid: int) -> Process | None:
    """The process of this number, unless it is gone or only waits to be buried."""
    fields = _stat(pid)
    if not fields or fields[0] in "ZX":
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, fields[19], command)


def descendants(pid: int) -> list[Process]:
    """All processes below this one."""
    parents = {int(entry): _stat(int(entry))[1:2] for entry in os.listdir("/proc") if entry.isdigit()}
    found, front = [], [pid]
    while front:
        front = [child for child, parent in parents.items() if parent and int(parent[0]) in front]
        found += front
    return [alive for child in found if (alive := process(child))]


# --- a sweep -------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One start of a sweep."""

    popen: subprocess.Popen[str]
    ray: Path  # Ray's own folder
    seen: set[Process] = field(default_factory=set)

    def over(self) -> bool:
        """Whether the driver has ended by itself."""
        return self.popen.poll() is not None

    def workers(self) -> list[Process]:
        """Living processes that train packs."""
        below = descendants(self.popen.pid)
        self.seen |= set(below)
        return [one for one in below if WORKER.match(one.command)]

    def end(self, patience: float = PATIENCE) -> Ended:
        """Wait until it is over."""
        try:
            out, err = self.popen.communicate(timeout=patience)
        finally:
            self.clear()
        return Ended(self.popen.returncode, out, err)

    def kill(self) -> None:
        """SIGKILL the driver, and then whatever it leaves."""
        self.seen |= set(descendants(self.popen.pid))
        self.popen.kill()
        self.popen.communicate()
        self.clear()

    def clear(self) -> None:
        """Nothing stays behind."""
        if self.popen.poll() is None:
            self.seen |= set(descendants(self.popen.pid))
            self.popen.kill()
            self.popen.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe:
                pipe.close()
        for one in self.seen:
            one.kill()
        shutil.rmtree(self.ray, ignore_errors=True)


@dataclass(frozen=True)
class Ended:
    """How a start of a sweep ended."""

    code: int
    out: str
    err: str


def start(
    folder: Path,
    *words: str,
    env: Mapping[str, str] | None = None,
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.PIPE,
) -> Run:
    """`python -m lca_sweep WORDS` in `folder`, as the leader of a process group, as a shell would start it.

    Without a report, unless the words have something to say of it.
    """
    if not any(word.startswith("analysis") for word in words):
        words = (*words, "analysis=none")
    ray = Path(tempfile.mkdtemp(prefix="lca-", dir="/tmp"))  # short: names of sockets may have 107 characters
    env = os.environ | (env or {})
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    env |= {"PYTHONPATH": os.pathsep.join(paths), "RAY_TMPDIR": str(ray)}
    popen = subprocess.Popen(
        [sys.executable, "-m", "lca_sweep", *words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        process_group=0,
    )
    return Run(popen, ray)


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator[Run]:
    """A started sweep that is over, with all its processes, at the end."""
    run = start(folder, *words)
    try:
        yield run
    finally:
        run.clear()


def sweep(folder: Path, *words: str) -> Ended:
    """Start a sweep and wait for its end."""
    with running(folder, *words) as run:
        return run.end()


# --- the books -----------------------------------------------------------------------------------------------------


def study(folder: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    """The trials as Optuna itself reads them."""
    file = folder / "sweeps" / name / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(file)))
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def states(folder: Path, name: str) -> list[str]:
    """State of each trial in the study."""
    return [trial.state.name for trial in study(folder, name)]


def reported(folder: Path, name: str) -> int:
    """Epochs of trials that the study has been told so far, also while a driver writes it."""
    file = folder / "sweeps" / name / "study.journal"
    return file.read_bytes().count(b'"intermediate_value"') if file.exists() else 0


@dataclass(frozen=True)
class Record:
    """An MLflow run, read from the database."""

    id: str
    name: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Metrics
    usage: Metrics = field(default_factory=dict)  # what it took of the machine, another each time


def records(folder: Path) -> list[Record]:
    """All MLflow runs, the oldest first."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:

        def rows(query: str, *values: str) -> list[Any]:
            return connection.execute(query, values).fetchall()

        runs = rows(
            "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time, rowid"
        )
        return [
            Record(
                str(run[0]),
                str(run[1]),
                str(run[2]),
                dict(rows("SELECT key, value FROM tags WHERE run_uuid = ?", run[0])),
                dict(rows("SELECT key, value FROM params WHERE run_uuid = ?", run[0])),
                *points(rows("SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY step", run[0])),
            )
            for run in runs
        ]


def points(rows: Sequence[tuple[str, int, float, int]]) -> tuple[Metrics, Metrics]:
    """What was recorded of the trial, and of the machine."""
    found: tuple[Metrics, Metrics] = ({}, {})
    for key, step, value, is_nan in rows:
        found[key.startswith(PREFIX)].setdefault(key, []).append((step, float("nan") if is_nan else value))
    return found


def parent(folder: Path) -> Record:
    """The only run of a sweep."""
    (found,) = [run for run in records(folder) if run.tags["lca.kind"] == "sweep"]
    return found


def children(folder: Path) -> dict[int, Record]:
    """The runs of trials by number: one for each, all nested in the one parent."""
    above = parent(folder)
    runs = [run for run in records(folder) if run.tags["lca.kind"] == "trial"]
    assert all(run.tags["mlflow.parentRunId"] == above.id for run in runs)
    numbers = [int(run.tags["lca.trial"]) for run in runs]
    assert len(set(numbers)) == len(numbers), "one run for each trial"
    return dict(zip(numbers, runs, strict=True))


def retrained(
    trials: Sequence[optuna.trial.FrozenTrial], data: Splits, shared: Mapping[str, Any], pruner: Pruner | None = None
) -> dict[int, tuple[Metrics, str]]:
    """Each trial's metrics and last state if its pack is trained in this process, without disturbance or a sweep."""
    packs: dict[int, list[optuna.trial.FrozenTrial]] = {}
    for trial in trials:
        packs.setdefault(trial.user_attrs["pack"], []).append(trial)
    found: dict[int, tuple[Metrics, str]] = {}
    for members in packs.values():
        knobs = [Trial(trial.number, replace(TrialKnobs(), {**shared, **trial.params})) for trial in members]
        for report in fit(Pack.start(knobs, data.inputs, data.classes), data, pruner):
            _add(found, report)
    return found


def _add(found: dict[int, tuple[Metrics, str]], report: EpochReport) -> None:
    for trial in report.trials:
        points, _ = found.get(trial.trial, ({}, ""))
        for key, value in trial.metrics.items():
            points.setdefault(key, []).append((report.epoch, value))
        found[trial.trial] = (points, trial.state)


@contextlib.contextmanager
def aid(code: str, *words: str, env: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process, and the line that it says once it is ready; it ends with its stdin, and all it started too."""
    popen = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=os.environ | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    below: list[Process] = []
    try:
        assert popen.stdin and popen.stdout
        line = popen.stdout.readline()
        below = descendants(popen.pid)
        yield popen, line
        below += descendants(popen.pid)
        popen.communicate("", timeout=PATIENCE)
    finally:
        popen.kill()
        popen.communicate()
        for one in below:
            one.kill()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
