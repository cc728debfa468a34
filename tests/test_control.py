"""A sweep that runs is given a point, more trials and fewer packs by other processes; and its finals end it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import children, free_port, parent, poll, reported, running, study, sweep

from lca_sweep import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BASE = ("+sweep=smoke", "sweep.name=s", "cluster.packs=2")
SHORT = (*BASE, "trainer.epochs=3", "search=random")


def said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    capfd.readouterr()
    assert cli.main(words) == 0
    return capfd.readouterr().out


def test_a_running_sweep_hears_other_shells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (*BASE, "trainer.epochs=40", "sweep.trials=4", "search.enqueue=[{trainer: {lr: 0.011}}]")
    with running(tmp_path, *words) as run:
        poll(lambda: reported(tmp_path, "s") or run.over(), "epoch")
        (status,) = json.loads(said(capfd, "status", "--json"))
        assert status["state"] == "running" and status["owner"]["pid"] == run.popen.pid
        assert [pack["trials"] for pack in status["packs"]] == [[0, 1], [2, 3]]
        began = time.monotonic()
        assert "from now on 8 trials in all" in said(capfd, "set", "s", "trials=8", "concurrency=1")
        assert time.monotonic() - began < 10  # 0.5 s on a quiet machine
        assert "put in, to be trained next" in said(capfd, "enqueue", "s", "trainer.lr=0.222", "model.width=9")
        done = run.end()
    assert done.code == 0, done.err
    trials = study(tmp_path, "s")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8
    assert trials[0].params["trainer.lr"] == 0.011 and trials[4].params == {"trainer.lr": 0.222, "model.width": 9}
    assert {trial.user_attrs["pack"] for trial in trials} == {0, 1, 2, 3}
    third = done.out.index("pack 3 starts")
    assert all(done.out.index(f"trial {number} complete") < third for number in (0, 1, 2, 3))  # one at a time by then
    runs = children(tmp_path)
    assert {number: run.tags.get("source") for number, run in runs.items() if run.tags.get("source")} == {
        0: "enqueue",
        4: "enqueue",
    }
    assert "done" in said(capfd, "list") and "s: done" in said(capfd, "status")
    said(capfd, "enqueue", "s", "trainer.lr=0.123")
    again = sweep(tmp_path, *words[:-2], "sweep.trials=8", words[-1])
    assert (again.code, again.err) == (0, "") and "starts" not in again.out
    assert "sweep s: nothing is left to do; sweep.trials=16 would extend it\n" in again.out
    assert "trial 8, put in by hand, waits: the same command with sweep.trials=9 trains it\n" in again.out


def test_finals_end_a_sweep_and_go_on_after_a_kill(tmp_path: Path) -> None:
    words = (*SHORT, "sweep.trials=4", "sweep.replicates=3", "sweep.finalists=2")
    with running(tmp_path, *words, "trainer.epochs=30") as run:
        poll(lambda: len(study(tmp_path, "s")) > 6 if reported(tmp_path, "s") > 100 else run.over(), "finals")
        run.kill()
    done = sweep(tmp_path, *words, "trainer.epochs=30")
    assert done.code == 0, done.err
    trials = study(tmp_path, "s")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 10
    again = [tuple(trial.user_attrs["replicate"]) for trial in trials[4:]]
    best = sorted(trials[:4], key=lambda trial: -(trial.value or 0))[:2]
    assert sorted(again) == sorted((trial.number, seed) for trial in best for seed in (1, 2, 3))
    means = {trial.number: 0.0 for trial in best}
    for trial, (whom, _) in zip(trials[4:], again, strict=True):
        means[whom] += (trial.value or 0.0) / 3
    winner = max(means, key=means.__getitem__)
    runs, top = children(tmp_path), parent(tmp_path)
    for number, (whom, seed) in enumerate(again, 4):
        tags, params = runs[number].tags, runs[number].params
        assert (tags["replicate.of"], tags["replicate.seed"]) == (str(whom), str(seed))
        assert params["init.seed"] == str(seed) and params["trainer.lr"] == runs[whom].params["trainer.lr"]
    assert top.tags["best.trial"] == str(winner)
    assert top.metrics["finals/mean"][-1][1] == pytest.approx(means[winner])
    assert top.metrics["trials/complete"][-1][1] == 4
    tests = [runs[n].metrics["test/accuracy"][-1][1] for n, (whom, _) in enumerate(again, 4) if whom == winner]
    told = f"test accuracy of the winner, not used for any choice: {sum(tests) / 3:.4f} ± "
    assert done.out.count("test accuracy") == 1 and told in done.out and f"winner: trial {winner}\n" in done.out
    assert sweep(tmp_path, *words, "trainer.epochs=30").out.count(told) == 1  # there is nothing left to train


def test_a_sweep_learns_from_an_earlier_one(tmp_path: Path) -> None:
    first = sweep(tmp_path, *SHORT, "sweep.name=old", "sweep.trials=4")
    assert first.code == 0, first.err
    words = (*SHORT, "search=tpe", "sweep.trials=2", "search.warm_start=old")
    for _ in range(2):
        done = sweep(tmp_path, *words)
        assert (done.code, done.err) == (0, "") and ": 2 complete" in done.out
    trials = study(tmp_path, "s")
    assert [trial.user_attrs.get("source") for trial in trials] == ["old/0", "old/1", "old/2", "old/3", None, None]
    assert [trial.value for trial in trials[:4]] == [trial.value for trial in study(tmp_path, "old")]
    (top,) = [run for run in _sweeps(tmp_path) if run.name == "s"]
    assert top.metrics["trials/complete"][-1][1] == 2


def _sweeps(folder: Path) -> list[Any]:
    from sweep_helpers import records

    return [run for run in records(folder) if run.tags["lca.kind"] == "sweep"]


@contextmanager
def dashboard(folder: Path, journal: Path) -> Iterator[str]:
    """optuna-dashboard on this journal, on loopback; its address."""
    port = free_port()
    code = "from optuna_dashboard._cli import main; main()"
    words = [str(journal), "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "dashboard.log"
    with open(log, "w") as out:
        process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=folder, stdout=out, stderr=out)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def fetched(address: str) -> Any:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


@pytest.mark.skipif(importlib.util.find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed")
def test_optuna_dashboard_shows_the_study(tmp_path: Path) -> None:
    done = sweep(tmp_path, *SHORT, "sweep.trials=2", "sweep.replicates=2", "sweep.finalists=1")
    assert done.code == 0, done.err
    journal = tmp_path / "sweeps" / "s" / "study.journal"
    before = journal.read_bytes()
    with dashboard(tmp_path, journal) as address:
        studies = poll(lambda: fetched(f"{address}/api/studies"), "answer of the dashboard")["study_summaries"]
        assert [one["study_name"] for one in studies] == ["s"]
        shown = fetched(f"{address}/api/studies/{studies[0]['study_id']}?after=0")["trials"]
    ours = study(tmp_path, "s")
    assert [(one["number"], one["state"], one["values"]) for one in shown] == [
        (trial.number, "Complete", trial.values) for trial in ours
    ]
    assert [len(one["intermediate_values"]) for one in shown] == [3] * 4
    assert journal.read_bytes() == before
