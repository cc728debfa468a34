"""`submit`: what is refused before anything is sent, what is sent, and real jobs of a real Ray cluster."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sweep_helpers import ROOT, Ended, contents, descendants, free_port, poll, process

from lca_sweep.cli import main
from lca_sweep.compose import config_dir
from lca_sweep.sweep.parcel import Parcel

LASTING = ("sweep.dir=/sweeps", "tracking.uri=http://mlflow:5000")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+sweep=mnits"], "+sweep=mnits: no such sweep; did you mean 'mnist'?"),
        (["trainer.lr=-1"], "trainer.lr=-1.0: must be > 0"),
        (
            ["+sweep=smoke", "tracking.uri=http://mlflow:5000"],
            "sweep.dir=sweeps: the cluster has no such folder to keep",
        ),
        (["sweep.dir=/sweeps"], "tracking.uri=sqlite:///mlflow.db: would go with the job; must be a server's, or "),
        (
            [*LASTING, "sweep.storage=blobs"],
            "sweep.storage=blobs: the cluster has no such folder to keep; must be s3://",
        ),
        ([*LASTING, "search.storage=sqlite:///x.db"], "search.storage=sqlite:///x.db: would go with the job"),
        ([*LASTING, "cluster.address=head:6379"], "cluster.address=head:6379: a sweep that is submitted runs on the "),
        ([*LASTING, "search.enqueue_csv=none.csv"], "search.enqueue_csv=none.csv: no such file here; it goes along"),
        (
            ["search.storage=postgresql://me:hush@db/x"],
            "search.storage=postgresql://me:***@db/x: no password may be in",
        ),
        (
            ["tracking.uri=https://me:hush@mlflow"],
            "tracking.uri=https://***@mlflow: no password may be in what is sent",
        ),
        (["--attach", "x", "+sweep=smoke"], "submit: write submit WORDS [--address http://HOST:8265]"),
        (["+sweep=smoke", "--gpu"], "unrecognized arguments: --gpu"),
        (["--stop", "x", "--address", "host:8265"], "submit: --address host:8265: must be like http://HOST:8265"),
        (["--stop", "x"], "submit: RAY_API_SERVER_ADDRESS=: must be like http://HOST:8265"),
        (
            ["--stop", "x", "--address", "http://127.0.0.1:1"],
            "submit: http://127.0.0.1:1: no Ray cluster answers there",
        ),
    ],
)
def test_refused_in_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    assert main(["submit", *words]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"lca_sweep: {message}") and "hush" not in line and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_what_the_environment_holds_here_does_not_matter_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With cluster=kubernetes the words are complete; only the address is missing."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setenv("LCA_SWEEP_TRACKING", "http://me:hush@here")
    monkeypatch.delenv("LCA_SWEEP_DIR", raising=False)
    assert main(["submit", "+sweep=mnist", "cluster=kubernetes"]) == 2
    assert capsys.readouterr().err.startswith("lca_sweep: submit: RAY_API_SERVER_ADDRESS=: must be like")
    assert os.environ["LCA_SWEEP_TRACKING"] == "http://me:hush@here" and "LCA_SWEEP_DIR" not in os.environ


def test_what_is_sent_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    """The package in the folder runs by itself, with the user's own sweep and table of points."""
    own, points = tmp_path / "mine", tmp_path / "some points.csv"
    (own / "sweep").mkdir(parents=True)
    (own / "sweep" / "other.yaml").write_text("# @package _global_\nsweep: {name: other}\n")
    (own / "sweep" / "notes.txt").write_text("not sent")
    points.write_text("trainer.lr\n0.1\n")
    parcel = Parcel("other", ("+sweep=other", "sweep.question=what for?"), config_dir(), own, points)
    first, second = tmp_path / "first", tmp_path / "second"
    parcel.fill(first)
    parcel.fill(second)
    assert contents(first) == contents(second)
    assert not [file for file in contents(first) if "__pycache__" in file or file.endswith(".txt")]
    assert sum(len(content) for content in contents(first).values()) < 8e6
    python, *words = parcel.command()
    assert python == "python"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *words, "--cfg", "job"], cwd=first, env=env, capture_output=True, text=True, check=True
    )
    assert "name: other" in done.stdout and "enqueue_csv: points.csv" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import lca_sweep; print(lca_sweep.__file__)"], cwd=first, env=env, capture_output=True
    )
    assert Path(where.stdout.decode().strip()).is_relative_to(first)


# -- a real cluster -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """A Ray head that asks for a token, and the folder with all that it writes."""

    address: str
    token: str
    folder: Path

    def submit(self, *words: str, token: str | None = None, timeout: float = 400) -> Ended:
        """`python -m lca_sweep submit WORDS`, from a machine with nothing but an address and a token."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        env |= {"RAY_API_SERVER_ADDRESS": self.address, "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        if token := self.token if token is None else token:
            env["RAY_AUTH_TOKEN"] = token
        done = subprocess.run(
            [sys.executable, "-m", "lca_sweep", "submit", *words],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    for _ in range(5):  # Ray gives its processes 30 s to start, which a machine that is shared may need longer for
        folder = Path(tempfile.mkdtemp(prefix="lca-", dir="/tmp"))
        token, port = secrets.token_hex(20), free_port()
        popen = start_head(folder, token, port)
        try:
            poll(lambda: popen.poll() is not None or "runtime started" in (folder / "head.log").read_text(), "Ray head")  # noqa: B023
            if popen.poll() is None:
                yield Head(f"http://127.0.0.1:{port}", token, folder)
                return
        finally:
            end_head(popen, folder)
    pytest.fail("no Ray head comes up here")


def start_head(folder: Path, token: str, port: int) -> subprocess.Popen[bytes]:
    """`ray start --head` with the token, its Jobs API at a port of this machine alone."""
    names = ("port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "ray-client-server-port")
    words = [f"--{name}={free_port()}" for name in names]
    words += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") and name != "PYTHONPATH"}
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{env['PATH']}",
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with (folder / "head.log").open("w") as log:
        return subprocess.Popen(
            ["ray", "start", "--head", "--block", "--num-cpus", "2", "--temp-dir", str(folder / "ray"), *words],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def end_head(popen: subprocess.Popen[bytes], folder: Path) -> None:
    """Nothing stays behind: what Ray started dies with it, or is killed; also what it has left to init."""
    below = descendants(popen.pid)
    popen.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(20)
    popen.kill()
    popen.wait()
    left = [one for entry in os.listdir("/proc") if entry.isdigit() and (one := process(int(entry)))]
    for one in [*below, *(one for one in left if str(folder) in one.command)]:
        one.kill()
    shutil.rmtree(folder, ignore_errors=True)


def words_for(head: Head, *words: str) -> list[str]:
    """A sweep whose books lie in the head's folder."""
    places = [f"sweep.dir={head.folder / 'sweeps'}", f"tracking.uri=sqlite:///{head.folder / 'mlflow.db'}"]
    return ["+sweep=smoke", "analysis=none", *places, *words]


def status(head: Head, name: str) -> dict[str, object]:
    """What `status NAME` knows."""
    done = subprocess.run(
        [sys.executable, "-m", "lca_sweep", "status", name, "--json", f"sweep.dir={head.folder / 'sweeps'}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_to_its_end_with_the_code_from_here(head: Head) -> None:
    ended = head.submit(*words_for(head, "sweep.name=whole"))
    assert (ended.code, ended.err) == (0, ""), ended.err
    first, *_ = ended.out.splitlines()
    assert first.startswith("submitted as whole-")
    assert "trial 3 complete at epoch 10" in ended.out and "4 complete" in ended.out
    again = head.submit("--attach", first.removeprefix("submitted as "))
    assert again.code == 0 and again.out in ended.out and "4 complete" in again.out
    assert list((head.folder / "ray").rglob("_ray_pkg_*/lca_sweep/sweep/parcel.py")), "the package was sent"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stopped_in_order_and_gone_on_with(head: Head) -> None:
    words = words_for(head, "sweep.name=halted", "pack.checkpoint_every=100000")
    long = [*words, "trainer.epochs=2000"]
    sent = head.submit(*long, "--no-wait")
    assert sent.code == 0
    job = sent.out.splitlines()[0].removeprefix("submitted as ")
    journal = head.folder / "sweeps" / "halted" / "study.journal"
    poll(lambda: journal.exists() and journal.read_bytes().count(b'"intermediate_value"') > 20, "reports")
    second = head.submit(*long)
    assert second.code == 2 and "this sweep is being run by process" in second.out
    stopped = head.submit("--stop", job)
    assert (stopped.code, stopped.err) == (0, "") and "is stopped" in stopped.out
    told = head.submit("--attach", job)
    assert told.code == 143 and "terminated: finishing the epoch" in told.out and "goes on from here" in told.out
    assert list(journal.parent.glob("checkpoints/pack-*/*.safetensors")), "kept, although far from the next checkpoint"
    gone = head.submit("--stop", job)
    assert (gone.code, gone.err) == (2, f"lca_sweep: submit: --stop {job}: has ended already\n")
    ended = head.submit(*long, "sweep.target=0.0001")
    assert ended.code == 0, ended.out


@pytest.mark.slow
@pytest.mark.parametrize(("token", "words"), [("", "asks for a token"), ("0" * 40, "refuses this token")])
def test_without_its_token_nobody_gets_in(head: Head, token: str, words: str) -> None:
    ended = head.submit(*words_for(head), token=token)
    (line,) = ended.err.splitlines()
    assert ended.code == 2 and line.startswith(f"lca_sweep: submit: {head.address}: {words}") and ended.out == ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_token_is_in_no_file(head: Head) -> None:
    """Neither among what Ray writes of its session and jobs nor in the sweeps' own books."""
    ended = head.submit(*words_for(head, "sweep.name=quiet", "trainer.epochs=1", "sweep.trials=1"))
    assert ended.code == 0
    files = [file for file in head.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.name.startswith("job-driver-quiet-") for file in files)
    assert [file for file in files if head.token.encode() in file.read_bytes()] == []
