"""The benchmark of a GPU runs where there is none, and its bound counts what it says."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from gpu import flops, moved

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
widths = st.lists(st.integers(1, 300), min_size=2, max_size=5)


@given(widths, st.integers(1, 500))
def test_flops_are_those_of_the_products(sizes: list[int], batch: int) -> None:
    """One product after another: mean and variance forward, A and B, and for later layers those of the inputs."""
    total = 0
    for depth, (ins, out) in enumerate(pairwise(sizes)):
        products = [(out, ins, batch)] * 2 + [(out, batch, ins)] * 2 + [(ins, out, batch)] * (2 if depth else 0)
        total += sum(2 * rows * inner * columns for rows, inner, columns in products)
    assert flops(sizes, batch) == total


@given(widths, st.integers(1, 500), st.data())
def test_bytes_grow_with_all_that_is_moved(sizes: list[int], batch: int, data: st.DataObject) -> None:
    silent = data.draw(st.integers(0, sizes[0] - 1))
    least = moved(sizes, silent, batch)
    assert moved(sizes, silent, batch + 1) > least
    assert moved([sizes[0] + 1, *sizes[1:]], silent, batch) > least
    assert moved(sizes, silent + 1, batch) < least, "what is silent is not multiplied"
    # no fewer than reading and writing the nine numbers of each weight
    assert least >= 4 * 18 * sum(ins * out for ins, out in pairwise(sizes))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", SCRIPT, *words], capture_output=True, text=True)


@pytest.mark.slow
def test_it_runs_on_a_cpu() -> None:
    """All its checks hold there too, and there is a line in its tables for each pack."""
    done = run("--device", "cpu", "--small", "--rounds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout and done.stdout.count("\nok ") == 5
    for size in (1, 2, 4):
        assert f"| pack of {size}, training |" in done.stdout and f"\n| {size} |" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so() -> None:
    done = run()
    assert done.returncode == 2 and "no CUDA device: --device cpu --small" in done.stderr
