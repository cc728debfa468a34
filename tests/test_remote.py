"""A sweep whose checkpoints and weights lie in S3, and one that is told to stop: real processes, real Ray."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_helpers import BUCKET, s3_server
from sweep_helpers import children, parent, poll, reported, retrained, running, states, study, sweep

from lca_sweep.cli import main
from lca_sweep.core.data import load
from lca_sweep.core.network import ABOUT, WEIGHTS, Network
from lca_sweep.sweep import layout
from lca_sweep.sweep.checkpoint import from_bytes
from lca_sweep.sweep.storage import Storage, storage_at

pytestmark = pytest.mark.timeout(900)

EPOCHS = 40
WORDS = (
    "+sweep=smoke",
    f"trainer.epochs={EPOCHS}",
    "pack.checkpoint_every=3",
    "cluster.packs=1",
    f"sweep.storage=s3://{BUCKET}/here",
)


@pytest.fixture(scope="module")
def s3() -> Iterator[Storage]:
    with s3_server():
        yield storage_at(f"s3://{BUCKET}/here")


def of_sweep(s3: Storage, name: str) -> Storage:
    """The storage of the only sweep of this name: its folder is called by its uid, too."""
    folders = {stored.partition("/")[0] for stored in s3.names(f"{name}-")}
    assert len(folders) <= 1
    return storage_at(f"s3://{BUCKET}/here", "".join(folders) or "none-yet")


def epochs(s3: Storage, name: str) -> list[int]:
    """The epochs of the checkpoints that it has."""
    return [layout.epoch_of(stored) for stored in of_sweep(s3, name).names("checkpoints/")]


@pytest.mark.slow
def test_killed_and_resumed_from_s3(s3: Storage, tmp_path: Path) -> None:
    """Every trial, every epoch, once; checkpoints and weights in the bucket, and nowhere else."""
    with running(tmp_path, *WORDS) as run:
        poll(lambda: max(epochs(s3, "smoke"), default=0) >= 9, "checkpoint")
        run.workers()[0].kill()
        poll(lambda: max(epochs(s3, "smoke"), default=0) >= 21, "checkpoint")
        run.kill()
    assert "COMPLETE" not in states(tmp_path, "smoke")
    ended = sweep(tmp_path, *WORDS)
    assert (ended.code, ended.err) == (0, "")
    trials, runs = study(tmp_path, "smoke"), children(tmp_path)
    expected = retrained(trials, load("digits"), {"trainer.epochs": EPOCHS, "trainer.batch_size": 100})
    assert states(tmp_path, "smoke") == ["COMPLETE"] * 4
    assert {number: (run.metrics, run.tags["lca.state"]) for number, run in runs.items()} == expected
    in_bucket = [f"{layout.trial(n)}/{file}" for n in range(4) for file in (ABOUT, WEIGHTS)]
    last = [layout.checkpoint(pack, epoch) for pack in (0, 1) for epoch in (39, 40)]
    assert of_sweep(s3, "smoke").names("") == sorted([*in_bucket, *last])
    assert not list((tmp_path / "sweeps").rglob("*.safetensors")) and not list((tmp_path / "sweeps").rglob(ABOUT))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_the_best_trial_comes_back_from_mlflow(s3: Storage, tmp_path: Path) -> None:
    from lca_sweep.tracking.quiet import behave

    ended = sweep(tmp_path, *WORDS, "sweep.name=best", "trainer.epochs=2", "sweep.trials=2")
    assert (ended.code, ended.err) == (0, "")
    behave()
    from mlflow.tracking import MlflowClient

    run = parent(tmp_path)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    network, about = Network.load(Path(client.download_artifacts(run.id, "best", str(tmp_path))))
    assert str(about["trial"]) == run.tags["best.trial"]
    folder, best = layout.trial(about["trial"]), of_sweep(s3, "best")
    files = {name: best.read(f"{folder}/{name}") or b"" for name in (WEIGHTS, ABOUT)}
    assert network.to_files(about) == files and json.loads(files[ABOUT]) == about


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://nowhere/x", "sweep.storage=s3://nowhere/x: no such bucket"),
        (f"s3://key:hush@{BUCKET}/x", "sweep.storage: no keys in the URL; "),
        ("gs://x/y", "sweep.storage=gs://x/y: must be a folder or s3://bucket/path"),
        ("/dev/null/x", "sweep.storage=/dev/null/x: /dev/null must be a folder that one can write to"),
    ],
)
def test_refused_before_anything_is_written(
    s3: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lca_sweep.sweep.driver.connected", lambda cluster, meanwhile: contextlib.nullcontext(None))
    assert main(["+sweep=smoke", f"sweep.storage={place}"]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"lca_sweep: {message}") and "hush" not in line and said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_sweep_keeps_the_epochs_since_the_last_checkpoint(tmp_path: Path) -> None:
    """Two packs at a time, far from their next checkpoints: Tune calls `cleanup` of both."""

    def packs() -> set[int]:
        return {trial.user_attrs["pack"] for trial in study(tmp_path, "smoke") if trial.intermediate_values}

    words = ("+sweep=smoke", "trainer.epochs=100000", "pack.checkpoint_every=100000", "cluster.packs=2")
    with running(tmp_path, *words) as run:
        poll(lambda: reported(tmp_path, "smoke") >= 20 and packs() == {0, 1}, "reports of both packs")
        os.killpg(run.popen.pid, signal.SIGINT)
        ended = run.end()
    assert (ended.code, ended.err) == (130, "")
    storage = storage_at(str(tmp_path / "sweeps" / "smoke"))
    kept = [from_bytes(storage.read(name) or b"") for name in storage.names("checkpoints/")]
    assert len(kept) == 2 and len({tuple(one.owner.trials) for one in kept}) == 2
    booked = {trial.number: len(trial.intermediate_values) for trial in study(tmp_path, "smoke")}
    for one in kept:
        for number in one.owner.trials:
            assert one.about["epoch"] >= booked[int(number)]
