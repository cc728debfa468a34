"""Real sweeps to which something happens that is nobody's fault: disks, databases, servers, memory."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from sweep_helpers import children, parent, poll, reported, retrained, running, states, study, sweep

from lca_sweep.core.data import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EPOCHS = 12
WORDS = (
    "data=digits",
    "trainer.batch_size=100",
    "model.width=12",
    "sweep.name=mishap",
    "sweep.trials=4",
    "pack.size=4",
    f"trainer.epochs={EPOCHS}",
    "search.sampler=random",
    "cluster.packs=1",
    "sweep.space.trainer.lr={low: 0.005, high: 0.05, log: true}",
)


def check_finished(folder: Path, trials: list[optuna.trial.FrozenTrial], exact: bool = True) -> None:
    """Every trial once, with the numbers that the core gives."""
    runs = children(folder)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * len(trials) and set(runs) == set(range(len(trials)))
    assert parent(folder).status == "FINISHED" and {run.status for run in runs.values()} == {"FINISHED"}
    shared = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "model.width": 12}
    for number, (metrics, _) in retrained(trials, load("digits"), shared).items():
        assert [step for step, _ in runs[number].metrics["val/loss"]] == list(range(1, EPOCHS + 1))
        if exact:
            assert runs[number].metrics == metrics


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    """The trials are not told complete, nor failed; once there is room, the same command completes them."""
    in_the_way = tmp_path / "sweeps" / "mishap" / "trials"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("")
    ended = sweep(tmp_path, *WORDS, "cluster.max_failures=0")
    (line,) = ended.err.splitlines()
    assert (ended.code, line) == (3, f"lca_sweep: {in_the_way / '0000' / 'weights.safetensors'}: File exists")
    assert ended.out.splitlines()[-1].startswith("stopped; the same command again goes on from here; or: ")
    assert states(tmp_path, "mishap") == ["RUNNING"] * 4
    assert {run.status for run in children(tmp_path).values()} == {"KILLED"} and parent(tmp_path).status == "FAILED"
    in_the_way.unlink()
    ended = sweep(tmp_path, *WORDS, "cluster.max_failures=0")
    assert (ended.code, ended.err) == (0, "")
    check_finished(tmp_path, study(tmp_path, "mishap"))


INJECTED = """
import sys
from importlib.machinery import PathFinder

class Injector(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        if name == "lca_sweep.core.train" and spec is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), limit(module))[0]
        return spec

def limit(module):
    train_epoch = module.train_epoch
    def small_only(pack, train):
        if len(pack.trials) > 1 and pack.epoch == 7:
            raise MemoryError("injected: no room for so many")
        return train_epoch(pack, train)
    module.train_epoch = small_only

sys.meta_path.insert(0, Injector)
"""


def test_a_pack_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four trials that do not fit together go on as two and two, and these one by one, from the last checkpoint."""
    inject = tmp_path / "inject"
    inject.mkdir()
    (inject / "sitecustomize.py").write_text(INJECTED)
    monkeypatch.setenv("PYTHONPATH", str(inject))
    ended = sweep(tmp_path, *WORDS)
    assert (ended.code, ended.err) == (0, "")
    assert "pack 0 is out of memory, goes on as packs 1 and 2: injected: no room for so many" in ended.out
    trials = study(tmp_path, "mishap")
    assert [(trial.user_attrs["pack"], trial.user_attrs["origins"]) for trial in trials] == [
        (3, [1, 0]),
        (4, [1, 0]),
        (5, [2, 0]),
        (6, [2, 0]),
    ] or sorted(trial.user_attrs["pack"] for trial in trials) == [3, 4, 5, 6]
    check_finished(tmp_path, trials, exact=False)  # alone the same to rounding only
    checkpoints = {file.parent.name: file.stem for file in (tmp_path / "sweeps/mishap/checkpoints").glob("*/*")}
    assert set(checkpoints) == {"pack-0000", "pack-0003", "pack-0004", "pack-0005", "pack-0006"}


@contextlib.contextmanager
def exclusively(file: Path) -> Iterator[None]:
    """Nobody else can read or write this SQLite database."""
    with contextlib.closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def in_sqlite(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    try:
        return optuna.load_study(study_name="mishap", storage=storage).get_trials()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_a_study_that_is_away_for_too_long(tmp_path: Path) -> None:
    """The sweep stops in order, and goes on when its storage is there again."""
    words = (*WORDS, "trainer.epochs=200", f"search.storage=sqlite:///{tmp_path / 'study.db'}")
    with running(tmp_path, *words, "search.patience=3") as run:
        poll(lambda: (tmp_path / "sweeps/mishap/checkpoints").exists(), "checkpoint")
        with exclusively(tmp_path / "study.db"):
            ended = run.end()
    (line,) = ended.err.splitlines()
    assert ended.code == 3 and line.startswith("lca_sweep: search.storage=sqlite:///") and "no answer for 3 s" in line
    assert "waiting for search.storage" in ended.out
    assert {trial.state.name for trial in in_sqlite(tmp_path)} == {"RUNNING"}
    with running(tmp_path, *words, "search.patience=60") as run:
        poll(lambda: any(run.workers()), "worker")
        time.sleep(5)
        with exclusively(tmp_path / "study.db"):
            time.sleep(6)
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert [trial.state.name for trial in in_sqlite(tmp_path)] == ["COMPLETE"] * 4
    assert {len(run.metrics["val/loss"]) for run in children(tmp_path).values()} == {200}


def test_mlflow_locked_for_a_while(tmp_path: Path) -> None:
    """Training goes on meanwhile, and MLflow misses nothing."""
    words = (*WORDS, "trainer.epochs=300", "pack.size=2")
    with running(tmp_path, *words) as run:
        poll(lambda: reported(tmp_path, "mishap") > 20, "report")
        with exclusively(tmp_path / "mlflow.db"):
            before = reported(tmp_path, "mishap")
            time.sleep(12)
            assert reported(tmp_path, "mishap") > before + 100, "the sweep does not wait"
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    trials = study(tmp_path, "mishap")
    runs = children(tmp_path)
    for trial in trials:
        assert runs[trial.number].metrics["val/accuracy"] == sorted(trial.intermediate_values.items())
    assert parent(tmp_path).status == "FINISHED" and not (tmp_path / "sweeps/mishap/outbox").exists()
