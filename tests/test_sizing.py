"""How many trials make a pack: what is said, what a sweep was begun with, or what a GPU holds."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from core_strategies import made_up

from lca_sweep.config import USUAL_SIZE, Config
from lca_sweep.core import memory
from lca_sweep.core.knobs import replace
from lca_sweep.search.space import Space, parse
from lca_sweep.sweep import machine, sizing
from lca_sweep.sweep.folder import begun_size, folder_path, opened
from lca_sweep.sweep.sizing import pack_size

GIB = 2**30
TREE = {"trainer": {"lr": {"low": 0.01, "high": 0.3}}}


def size(monkeypatch: pytest.MonkeyPatch, free: Sequence[int], tree: Any = TREE, **knobs: Any) -> int:
    """With so much free memory on each GPU."""
    monkeypatch.setattr(sizing, "free_gpu_memory", lambda: list(free))
    values = {"sweep.trials": 100_000, **{name.replace("__", "."): value for name, value in knobs.items()}}
    config: Config = replace(Config(), values)
    space: Space = parse(tree, config)
    return pack_size(config, space, made_up())


def test_what_is_said_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size(monkeypatch, [80 * GIB], pack__size=3) == 3
    assert size(monkeypatch, [], pack__size=3) == 3


@pytest.mark.parametrize(
    ("free", "knobs"),
    [
        ([], {}),
        ([80 * GIB], {"cluster__gpus_per_pack": 0}),
        ([80 * GIB], {"cluster__address": "host:6379"}),
        ([80 * GIB], {"search__deterministic": True}),
        ([80 * GIB], {"sweep__trials": 35}),
        ([GIB // 2], {}),
    ],
    ids=["no GPU", "none wanted", "another's", "deterministic", "few trials", "a full one"],
)
def test_the_usual_size(monkeypatch: pytest.MonkeyPatch, free: Sequence[int], knobs: dict[str, Any]) -> None:
    assert size(monkeypatch, free, **knobs) == USUAL_SIZE == 8


def test_a_gpu_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to where it is busy, and never more than a quarter of the trials."""
    assert size(monkeypatch, [80 * GIB]) == sizing.MOST == 256
    assert size(monkeypatch, [80 * GIB], sweep__trials=400) == 100


def test_the_smallest_gpu_counts_and_who_shares_it_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    data, knobs = made_up(), {"model__width": 1000}
    widths, images = [data.inputs, 1000, 1000, data.classes], 200
    assert size(monkeypatch, [80 * GIB, 16 * GIB], **knobs) == memory.room(16 * GIB, widths, 500, images, kernels=False)
    half = size(monkeypatch, [32 * GIB], cluster__gpus_per_pack=0.5, **knobs)
    assert (
        half
        == size(monkeypatch, [16 * GIB], **knobs)
        == size(monkeypatch, [16 * GIB], cluster__gpus_per_pack=2, **knobs)
    )


@pytest.mark.parametrize(
    "tree",
    [
        {"model": {"width": {"low": 10, "high": 900}, "depth": {"choices": [1, 3]}}},
        {"model": {"width": {"choices": [900, 10]}, "depth": {"value": 3}}},
        {"model": {"widths": {"low": 10, "high": 900}, "depth": {"choices": [1, 3]}}},
    ],
)
def test_the_largest_trial_of_the_space_must_fit(monkeypatch: pytest.MonkeyPatch, tree: Any) -> None:
    data = made_up()
    expected = memory.room(12 * GIB, [data.inputs, 900, 900, 900, data.classes], 500, 200, kernels=False)
    assert USUAL_SIZE < size(monkeypatch, [12 * GIB], tree) == expected < sizing.MOST


def test_a_sweep_keeps_the_size_that_it_was_begun_with(tmp_path: Path) -> None:
    """Wherever it goes on; another one that is said is refused, and told beside what null had come to."""
    asked: Config = replace(Config(), {"sweep.dir": str(tmp_path), "sweep.trials": 4})
    path = folder_path(asked, "s")
    assert begun_size(asked, path) is None
    with opened(asked, path, print, 64):
        pass
    assert begun_size(asked, path) == 64
    with opened(asked, path, print, 64):  # the same words again
        pass
    folder_path(replace(asked, {"pack.size": 64}), "s")
    with pytest.raises(ValueError, match=r"begun with another pack\.size: 64 -> 2"):
        folder_path(replace(asked, {"pack.size": 2}), "s")
    anew: Config = replace(asked, {"sweep.resume": "never"})
    assert begun_size(anew, path) is None


def test_free_memory_is_the_drivers_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of each GPU; where there is no such program, or torch can use no GPU, there is none."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\ntest \"$1\" = --query-gpu=memory.free && printf '80000\\n512\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.free_gpu_memory() == [80_000 * 2**20, 512 * 2**20]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.free_gpu_memory() == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine.free_gpu_memory() == []
    assert subprocess.run([program]).returncode == 9
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert machine.free_gpu_memory() == []
