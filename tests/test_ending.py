"""Real sweeps that end before all their trials have: on request, by a signal, by a budget, at their goal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sweep_helpers import ROOT, Ended, Run, children, parent, poll, reported, retrained, running, states, study, sweep

from lca_sweep.core.data import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EPOCHS, EVERY = 60, 25
LONG = (
    "data=digits",
    "trainer.batch_size=100",
    "model.width=12",
    "sweep.name=long",
    "sweep.trials=4",
    "pack.size=2",
    f"pack.checkpoint_every={EVERY}",
    f"trainer.epochs={EPOCHS}",
    "search.sampler=random",
    "cluster.packs=1",
    "sweep.space.trainer.lr={low: 0.005, high: 0.05, log: true}",
)
GOES_ON = "the same command again goes on from here"


def disturbed(folder: Path, disturb: Callable[[Run], object], *words: str) -> Ended:
    """The sweep, disturbed once it has reported a few epochs."""
    before = reported(folder, "long")
    with running(folder, *LONG, *words) as run:
        poll(lambda: run.over() or reported(folder, "long") >= before + 10, "report")
        disturb(run)
        return run.end()


def saved_epochs(folder: Path) -> list[int]:
    """Epochs of the newest checkpoint of each pack."""
    found: dict[str, int] = {}
    for file in (folder / "sweeps/long/checkpoints").glob("*/*.safetensors"):
        found[file.parent.name] = max(found.get(file.parent.name, 0), int(file.stem))
    return list(found.values())


def told_by_another_shell(folder: Path) -> Callable[[Run], object]:
    """`stop NAME`, which waits for the end."""

    def disturb(run: Run) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "lca_sweep", "stop", "long", f"sweep.dir={folder / 'sweeps'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        first, last = done.stdout.splitlines()
        assert f"process {run.popen.pid} " in first and last.startswith("long is stopped")
        assert states(folder, "long").count("RUNNING") == 2, "it is over when `stop` is"

    return disturb


def ended_in_order(folder: Path, ended: Ended, code: int, headline: str) -> None:
    """Nothing is left RUNNING in MLflow, and the epochs of the last moment are in a checkpoint."""
    assert (ended.code, ended.err) == (code, ""), ended.err
    lines = ended.out.splitlines()
    assert lines[-1].startswith(GOES_ON) and any(line.startswith(f"{headline} after ") for line in lines)
    top = parent(folder)
    assert (top.status, top.tags["lca.state"], top.tags["lca.message"]) == ("KILLED", "interrupted", headline)
    assert {run.status for run in children(folder).values()} <= {"KILLED", "FINISHED"}
    open_trials = [trial for trial in study(folder, "long") if trial.state.name == "RUNNING"]
    newest = max(max(trial.intermediate_values, default=0) for trial in open_trials)
    assert max(saved_epochs(folder)) >= newest, "the epoch that was being trained is saved"
    assert max(saved_epochs(folder)) % EVERY != 0 or newest % EVERY == 0


def finished(folder: Path, epochs: int = EPOCHS) -> None:
    """To the bit what the core gives without disturbance."""
    ended = sweep(folder, *LONG, f"trainer.epochs={epochs}")
    assert (ended.code, ended.err) == (0, ""), ended.err
    trials, runs = study(folder, "long"), children(folder)
    shared = {"trainer.epochs": epochs, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(trials, load("digits"), shared)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert {n: run.metrics for n, run in runs.items()} == {n: metrics for n, (metrics, _) in expected.items()}
    assert parent(folder).status == "FINISHED" and "lca.message" not in parent(folder).tags


def test_asked_then_terminated_then_finished(tmp_path: Path) -> None:
    epochs = 300  # training takes several times as long as `stop` needs to ask
    ended = disturbed(tmp_path, told_by_another_shell(tmp_path), f"trainer.epochs={epochs}")
    ended_in_order(tmp_path, ended, 130, "asked to stop")
    ended = disturbed(tmp_path, lambda run: run.popen.send_signal(signal.SIGTERM), f"trainer.epochs={epochs}")
    ended_in_order(tmp_path, ended, 143, "terminated")
    finished(tmp_path, epochs)


def test_budget_then_goal_then_a_higher_one(tmp_path: Path) -> None:
    """A budget leaves the rest for another time; at the goal nothing is left to do, until it is raised."""
    words = ("trainer.epochs=4000", "pack.size=1")  # too long for any budget
    ended = sweep(tmp_path, *LONG, *words, "sweep.time_budget=8")
    ended_in_order(tmp_path, ended, 0, "sweep.time_budget=8 s is used up")

    other = tmp_path / "goal"
    other.mkdir()
    ended = sweep(other, *LONG, "sweep.target=0.2")
    assert (ended.code, ended.err) == (0, "")
    best = max(trial.value for trial in study(other, "long") if trial.state.name == "COMPLETE")
    assert best >= 0.2 and states(other, "long")[:2] == ["COMPLETE"] * 2 and len(states(other, "long")) < 4
    assert GOES_ON not in ended.out and "sweep.target=0.2 reached by trial" in ended.out
    top = parent(other)
    assert top.status == "FINISHED" and top.tags["lca.message"].startswith("sweep.target=0.2 reached")
    again = sweep(other, *LONG, "sweep.target=0.2")
    assert again.code == 0 and "starting Ray" not in again.out and "sweep.target=0.2 reached" in again.out
    finished(other)


def test_at_once(tmp_path: Path) -> None:
    """Ctrl-C twice, as in a terminal, does not wait for an epoch that takes minutes; nothing is lost by it."""
    endless = ("trainer.batch_size=1", "model.width=1500", "model.depth=3")
    with running(tmp_path, *LONG, *endless) as run:
        poll(run.workers, "worker")
        poll(lambda: len(states(tmp_path, "long")) == 2, "pack")
        time.sleep(8)  # it trains
        os.killpg(run.popen.pid, signal.SIGINT)
        time.sleep(1)
        assert run.popen.poll() is None, "the first one waits for the epoch"
        began = time.monotonic()
        os.killpg(run.popen.pid, signal.SIGINT)
        ended = run.end(60)
    assert ended.code == 130 and ended.err == "" and ended.out.splitlines()[-1].startswith(GOES_ON)
    assert time.monotonic() - began < 30
    assert {run.status for run in children(tmp_path).values()} == {"KILLED"} == {parent(tmp_path).status}


def test_two_at_a_time(tmp_path: Path) -> None:
    """Of two drivers that start at the same moment one runs the sweep, and the other is refused."""
    words = (*LONG, "trainer.epochs=3")
    with ThreadPoolExecutor(2) as pool:
        ended = sorted(pool.map(lambda _: sweep(tmp_path, *words), range(2)), key=lambda one: one.code)
    assert [one.code for one in ended] == [0, 2], [one.err for one in ended]
    assert "this sweep is being run by process" in ended[1].err
    assert states(tmp_path, "long") == ["COMPLETE"] * 4 and len(children(tmp_path)) == 4
