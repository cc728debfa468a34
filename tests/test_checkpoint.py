"""A pack's checkpoint is whole or absent, and comes back as it was."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lca_sweep.sweep import checkpoint
from lca_sweep.sweep.checkpoint import Checkpoint
from lca_sweep.sweep.errors import SweepError

ROOT = Path(__file__).parents[1]
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
numbers = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=5))
reports = st.lists(st.dictionaries(names, numbers, max_size=3), max_size=3)
shapes = st.lists(st.integers(0, 3), max_size=3)


def example(value: float) -> Checkpoint:
    return Checkpoint("me", {"w": torch.full((2, 3), value)}, {"epoch": 1}, [{"epoch": 1, "trials": []}])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes, about=st.dictionaries(names, numbers, max_size=3), history=reports, seed=st.integers(0, 99))
def test_it_comes_back(
    tmp_path: Path, shape: list[int], about: dict[str, Any], history: list[dict[str, Any]], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    tensors = {"a.b": torch.randn(shape, generator=rng), "steps": torch.tensor(seed)}
    checkpoint.save(tmp_path / "deep" / "c", Checkpoint("me", tensors, about, history))
    back = checkpoint.load(tmp_path / "deep" / "c")
    assert back is not None and (back.about, back.history) == (about, history)
    assert back.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back.tensors[name].dtype == tensor.dtype and torch.equal(back.tensors[name], tensor)


def test_a_loss_that_is_no_number_comes_back(tmp_path: Path) -> None:
    """Reports of failed trials are part of the history."""
    checkpoint.save(tmp_path / "c", Checkpoint("me", {}, {}, [{"loss": math.nan, "other": math.inf}]))
    back = checkpoint.load(tmp_path / "c")
    assert back is not None and back.tensors == {}
    assert math.isnan(back.history[0]["loss"]) and back.history[0]["other"] == math.inf


def test_where_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "c") is None


def test_the_newer_replaces_the_older(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        checkpoint.save(tmp_path / "c", example(value))
    back = checkpoint.load(tmp_path / "c")
    assert back is not None and back.tensors["w"].unique().tolist() == [2.0]
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_a_kill_before_the_rename_leaves_the_old_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", example(1.0))
    before = (tmp_path / "c").read_bytes()
    code = (
        "import os, signal, sys, torch\nfrom pathlib import Path\nfrom lca_sweep.sweep import checkpoint\n"
        "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.save(Path(sys.argv[1]), checkpoint.Checkpoint('me', {'w': torch.zeros(9)}, {}, []))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")], cwd=ROOT, timeout=240)
    assert done.returncode == -9
    assert (tmp_path / "c").read_bytes() == before
    back = checkpoint.load(tmp_path / "c")
    assert back is not None and back.tensors["w"].unique().tolist() == [1.0]


def test_a_write_that_fails_leaves_the_old_one_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path / "c", example(1.0))

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr("lca_sweep.core.files.os.fsync", full)
        checkpoint.save(tmp_path / "c", example(2.0))
    back = checkpoint.load(tmp_path / "c")
    assert back is not None and back.tensors["w"].unique().tolist() == [1.0]
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    header = {"format": "99", "about": "{}", "history": "[]"}
    save_file({"w": torch.zeros(1)}, tmp_path / "c", metadata=header)
    with pytest.raises(ValueError, match=r"c: a checkpoint of format 99; this version reads 1$"):
        checkpoint.load(tmp_path / "c")
    with pytest.raises(SweepError, match="format 99"):
        checkpoint.check(tmp_path / "c")


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", example(1.0))
    checkpoint.check(tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-3])
    with pytest.raises(SweepError, match=r"c: damaged .*; delete it to train its pack anew$"):
        checkpoint.check(tmp_path / "c")


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    checkpoint.check(tmp_path / "c")
    assert checkpoint.load(tmp_path / "c") is None
