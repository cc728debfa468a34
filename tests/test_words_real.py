"""Commands with real sweeps and a real MLflow behind them: `resume` to the end, `show` of a trial, `ui` and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from sweep_helpers import (
    ROOT,
    Process,
    children,
    contents,
    descendants,
    parent,
    poll,
    process,
    reported,
    running,
    states,
    sweep,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = ("+sweep=smoke", "sweep.name=mine", "trainer.epochs=60", "analysis=none")


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "lca_sweep", *words]
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=240)


def test_an_interrupted_sweep_goes_on_by_its_name(tmp_path: Path) -> None:
    """Into the same trials and runs as the same command would, with nothing said again; then one of them is shown."""
    with running(tmp_path, *WORDS) as run:
        poll(lambda: reported(tmp_path, "mine") >= 8 or run.over(), "reports")
        run.popen.send_signal(signal.SIGINT)
        assert run.end().code == 130
    begun = parent(tmp_path).id
    assert "RUNNING" in states(tmp_path, "mine")
    with running(tmp_path, "resume", "sweep.trials=5") as run:
        ended = run.end()
    assert ended.code == 0, ended.err
    assert states(tmp_path, "mine") == ["COMPLETE"] * 5
    assert parent(tmp_path).id == begun and len(children(tmp_path)) == 5
    again = sweep(tmp_path, *WORDS, "sweep.trials=5")  # the command itself finds nothing to do
    assert again.code == 0 and "done after" in again.out
    before = contents(tmp_path)
    told = json.loads(command(tmp_path, "show", "mine", "4", "--json").stdout)
    assert told["page"].partition("?")[0].endswith(f"/runs/{children(tmp_path)[4].id}") and told["trouble"] == []
    assert Path(told["weights"]).is_file() and told["metrics"]["val/accuracy"] == told["value"]
    assert list(map(int, told["values"])) == list(range(1, 61))
    assert contents(tmp_path) == before


def served(folder: Path, *words: str) -> tuple[subprocess.Popen[str], str, list[Process]]:
    """The UI of this folder, its address, and the processes that it is."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "lca_sweep", "ui", *words]
    ui = subprocess.Popen(line, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert ui.stdout and ui.stdout.readline() == "starting the MLflow UI\n"
    page = ui.stdout.readline().strip()
    assert ui.stdout.readline().endswith("; Ctrl-C ends it\n")
    return ui, page, descendants(ui.pid)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_ui_ends_with_all_its_processes(tmp_path: Path, number: int, status: int) -> None:
    assert sweep(tmp_path, "+sweep=smoke", "trainer.epochs=1").code == 0
    folders = {str(path) for path in tmp_path.rglob("*")}
    ui, page, processes = served(tmp_path, "smoke")
    try:
        assert "/#/experiments/1/runs?workflowType=machine_learning&searchFilter=tags.lca.sweep_id" in page
        assert parent(tmp_path).tags["lca.sweep_id"] in page  # this sweep's runs
        with urllib.request.urlopen(page.partition("/#")[0]) as answer:
            assert b"<html" in answer.read()
        host, port = page.removeprefix("http://").partition("/")[0].split(":")
        assert host == "127.0.0.1"
        ui.send_signal(number)
        assert (*ui.communicate(timeout=60), ui.returncode) == ("", "", status)
        assert len(processes) >= 2
        assert [one for one in processes if process(one.pid) == one] == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)
    finally:
        ui.kill()
        for one in processes:
            one.kill()
    assert {str(path) for path in tmp_path.rglob("*")} - folders <= {
        str(tmp_path / name) for name in ("mlflow.db-wal", "mlflow.db-shm")
    }


def test_doctor_ends_though_nobody_answers(tmp_path: Path) -> None:
    """Servers that take the connection and say nothing: MLflow, a database, S3; and doctor ends by itself."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as deaf:
        port = deaf.getsockname()[1]
        words = (
            f"tracking.uri=http://127.0.0.1:{port}",
            f"search.storage='postgresql+psycopg://me:secret@127.0.0.1:{port}/x'",
            f"sweep.storage='s3://bucket/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=x'",
        )
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        began = time.monotonic()
        done = command(tmp_path, "doctor", *words, "--json")
        took = time.monotonic() - began
    assert (done.returncode, done.stderr) == (1, "")
    found = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert [name for name, one in found.items() if not one["ok"]] == ["MLflow", "study", "storage"]
    assert took < 40  # 15 on a machine that nobody shares
    assert "secret" not in done.stdout and list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    assert sweep(tmp_path, "+sweep=smoke", "sweep.name=a", "trainer.epochs=1").code == 0
    for words in (("doctor",), ("compare", "a", "a"), ("show", "a", "0")):
        reading, writing = os.pipe()
        os.close(reading)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-m", "lca_sweep", *words]
        done = subprocess.run(line, cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, ""), words
