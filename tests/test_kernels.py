"""Triton's kernels against the plain functions: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from core_strategies import close, random_slab, seeds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_philox import ANSWERS, signed
from torch import Tensor

from lca_sweep.core import philox, prior, spikeslab
from lca_sweep.core.adam import AdamLayer, BatchedAdam, rises
from lca_sweep.core.knobs import Trainer
from lca_sweep.core.prior import SlabPrior, kl_gradient
from lca_sweep.core.rng import Purpose
from lca_sweep.core.spikeslab import SpikeSlab

triton = pytest.importorskip("triton", reason="Triton is not installed")
import triton.language as tl  # noqa: E402

from lca_sweep.core import fused, kernels  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
few = settings(max_examples=8)  # the interpreter takes its time
shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 12))
LARGE = (2, 5, 700)  # several programs along every axis
ROUNDING = 2e-6


@triton.jit
def words(out, counter, key):
    """The four words of one counter."""
    w0, w1, w2, w3 = tl.philox(
        tl.load(key), tl.load(counter), tl.load(counter + 1), tl.load(counter + 2), tl.load(counter + 3)
    )
    tl.store(out, w0.to(tl.int64))
    tl.store(out + 1, w1.to(tl.int64))
    tl.store(out + 2, w2.to(tl.int64))
    tl.store(out + 3, w3.to(tl.int64))


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_published_answers(answer: str) -> None:
    """Bit by bit: Triton's Philox is the one that we mean."""
    numbers = [int(word, 16) for word in answer.split()]
    out, counter = torch.zeros(4, dtype=torch.int64, device=DEVICE), torch.tensor(numbers[:4])
    words[(1,)](out, counter.to(torch.int32).to(DEVICE), signed(*numbers[4:6]).to(DEVICE))
    assert out.tolist() == numbers[6:]


class Place:
    """Where the noise of some trials is."""

    def __init__(self, trials: int, seed: int, first: int = 0) -> None:
        self.keys = philox.keys(range(seed, seed + trials), Purpose.TRAIN, 2).to(DEVICE)
        self.clock = torch.tensor(seed % 1000, device=DEVICE)
        self.first = first

    @property
    def counter(self) -> Any:
        return fused.Counter(self.keys, self.clock, self.first)

    def noise(self, layer: int, units: int, batch: int) -> Tensor:
        images = torch.arange(self.first, self.first + batch, device=DEVICE)
        return philox.noise(self.keys, self.clock, layer, units, images)


def random(shape: Sequence[int], seed: int) -> Tensor:
    """Normal numbers, a fifth of them exactly 0."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(*shape, generator=rng)
    return torch.where(torch.rand(*shape, generator=rng) < 0.2, 0.0, z).to(DEVICE)


def slab(shape: Sequence[int], seed: int) -> SpikeSlab:
    """Any valid weights in float32."""
    found = random_slab(shape, torch.Generator().manual_seed(seed))
    return SpikeSlab(*(p.float().to(DEVICE) for p in found))


@few
@given(shapes, seeds, st.integers(0, 3), st.integers(0, 10**6))
@example(LARGE, 0, 1, 3)
def test_noise(shape: tuple[int, int, int], seed: int, layer: int, first: int) -> None:
    """The same numbers, to the rounding of a logarithm and a square root; nothing is left unwritten."""
    place = Place(shape[0], seed, first)
    found = fused.noise(torch.empty(shape, device=DEVICE), place.counter, layer)
    torch.testing.assert_close(found, place.noise(layer, *shape[1:]), rtol=ROUNDING, atol=ROUNDING)


@few
@given(shapes, seeds)
@example(LARGE, 0)
def test_moments(shape: tuple[int, int, int], seed: int) -> None:
    w = slab(shape, seed)
    mean, variance = (torch.full(shape, torch.nan, device=DEVICE) for _ in range(2))
    fused.moments(w, mean, variance)
    expected = spikeslab.moments(w)
    torch.testing.assert_close(mean, expected.mean)
    torch.testing.assert_close(variance, expected.variance)


@few
@given(shapes, seeds, st.booleans(), st.integers(0, 2000))
@example(LARGE, 0, True, 3)
def test_activate(shape: tuple[int, int, int], seed: int, hidden: bool, first: int) -> None:
    """z = (G + eps D) scale, in a hidden layer its ReLU, and that squared."""
    place, scale = Place(shape[0], seed, first), random((shape[0], 1, 1), seed + 1).abs()
    g, d2 = random(shape, seed + 2), random(shape, seed + 3).square()
    z, d = g.clone(), d2.clone()
    a2 = fused.activate(z, d, scale, place.counter, 1, hidden)
    expected = (g + place.noise(1, *shape[1:]) * d2.sqrt()) * scale
    expected = expected.clamp_min(0) if hidden else expected
    torch.testing.assert_close(d, d2.sqrt())
    close(z, expected, ROUNDING)
    if hidden:
        close(a2, expected.square(), 2 * ROUNDING)


@few
@given(shapes, seeds, st.booleans())
@example(LARGE, 0, True)
def test_slopes(shape: tuple[int, int, int], seed: int, hidden: bool) -> None:
    """g = dC/dz scale and h = g eps / (2 D), which is 0 where D is; as gbp's backward pass has them."""
    place, scale = Place(shape[0], seed), random((shape[0], 1, 1), seed + 1).abs()
    g, h, a, d = (random(shape, seed + n) for n in range(2, 6))
    a, d = a.clamp_min(0), d.abs()
    dz = spikeslab.gate(g + 2 * a * h, a) if hidden else g
    expected_g = dz * scale
    expected_h = torch.where(d > 0, expected_g * place.noise(2, *shape[1:]) / (2 * d), 0.0)
    fused.slopes(g, h, a, d, scale, place.counter, 2, hidden)
    close(g, expected_g, ROUNDING)
    close(h, expected_h, 2 * ROUNDING)


@few
@given(seeds, st.floats(1e-4, 1 - 1e-4), st.floats(1e-3, 10))
def test_the_prior(seed: int, spike: float, slab_variance: float) -> None:
    """Its gradient, also past the floors: without betas it is what Adam's first mean becomes."""
    w, slabs = slab((1, 4, 8), seed), SlabPrior(*map(torch.tensor, (spike, slab_variance)))
    layer = AdamLayer(*(SpikeSlab(*(p.clone() for p in part)) for part in (w, *2 * (zeros_like(w),))))
    rates = torch.tensor([[0.1, 1.0, 1.0, spike, slab_variance]])
    launch(layer, None, rates, Trainer(beta1=0.0, beta2=0.0), [[4, 8]], prior=True)
    for found, expected in zip(layer.first, kl_gradient(w, slabs), strict=True):
        close(found, expected, 1e-5)


def zeros_like(w: SpikeSlab) -> SpikeSlab:
    return SpikeSlab(*map(torch.zeros_like, w))


def launch(
    layer: AdamLayer,
    products: Sequence[Tensor] | None,
    rates: Tensor,
    trainer: Trainer,
    sizes: Sequence[Sequence[int]],
    prior: bool,
) -> tuple[Tensor, Tensor]:
    """One update in place at the second of three steps; new mean and variance."""
    trials, out, inputs = layer.w.m.shape
    mean, variance = torch.full_like(layer.w.m, torch.nan), torch.full_like(layer.w.m, torch.nan)
    kernels.update[(-(-out * inputs // 16), trials)](
        *(tensor for part in layer for tensor in part),
        *(products or (mean, variance)),
        mean,
        variance,
        rates.float().to(DEVICE),
        torch.tensor(sizes, dtype=torch.int32, device=DEVICE),
        steps_of(trainer).float().to(DEVICE),
        torch.tensor(1, device=DEVICE),
        1 - trainer.beta1,
        1 - trainer.beta2,
        trainer.eps,
        out * inputs,
        inputs,
        DATA=products is not None,
        PRIOR=prior,
        BLOCK=16,
    )
    return mean, variance


def steps_of(trainer: Trainer) -> Tensor:
    """Of the fifth to the seventh step."""
    return rises(trainer, 4, 3)


@few
@given(shapes, seeds, st.booleans(), st.booleans())
def test_update(shape: tuple[int, int, int], seed: int, data: bool, has_prior: bool) -> None:
    """Gradient, prior without padding, Adam and clipping of unlike trials: as the plain functions one after another."""
    trials, out, inputs = shape
    trainers = [Trainer(lr=0.02 * (t + 1), weight_decay=0.1 * t) for t in range(trials)]
    layer = AdamLayer(slab(shape, seed), *(SpikeSlab(*(random(shape, seed + n + m) for m in range(3))) for n in (1, 4)))
    # not near 0, where Adam divides two small numbers, so that rounding would show
    layer = layer._replace(second=SpikeSlab(*(p.abs() + 0.1 for p in layer.second)))
    big_a, big_b = random(shape, seed + 8), random(shape, seed + 9)
    sizes = [[max(out - t, 1), max(inputs - t, 1)] for t in range(trials)]
    share = torch.tensor([0.3 * t for t in range(trials)], device=DEVICE).view(-1, 1, 1)
    real = torch.zeros(shape, device=DEVICE)
    for t, (rows, columns) in enumerate(sizes):
        real[t, :rows, :columns] = 1
    rates = [[t.lr, 1 - t.lr * t.weight_decay, 0.3 * n, 0.3, 0.7] for n, t in enumerate(trainers)]
    plain = AdamLayer(*(SpikeSlab(*(p.double() for p in part)) for part in layer))
    gradient = SpikeSlab(*map(torch.zeros_like, plain.w))
    if data:
        pi, m, xi = plain.w
        a, b = big_a.double(), big_b.double()
        gradient = SpikeSlab(
            -m * a + ((1 - 2 * pi) * m.square() - xi) * b, (1 - pi) * (a + 2 * pi * m * b), (1 - pi) * b
        )
    if has_prior:
        slopes = kl_gradient(plain.w, SlabPrior(torch.tensor(0.3), torch.tensor(0.7)))
        gradient = SpikeSlab(*(g + share * real * k for g, k in zip(gradient, slopes, strict=True)))
    BatchedAdam([plain], trainers, SpikeSlab._fields).update([gradient], steps_of(trainers[0])[1].to(DEVICE))
    mean, variance = launch(
        layer, (big_a, big_b) if data else None, torch.tensor(rates), trainers[0], sizes, prior=has_prior
    )
    for found, expected in zip(layer, plain, strict=True):
        for p, q in zip(found, expected, strict=True):
            close(p.double(), q, 1e-5)
    if data:
        expected_moments = spikeslab.moments(layer.w)
        torch.testing.assert_close(mean, expected_moments.mean)
        torch.testing.assert_close(variance, expected_moments.variance)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy, in the interpreter
def test_what_is_not_a_number_stays_so() -> None:
    """A trial that breaks must be seen: no comparison turns it into 0, nor does it reach a mate."""
    shape, bad = (2, 3, 4), torch.nan
    place, ones = Place(2, 0), torch.ones(2, 1, 1, device=DEVICE)
    z, d = random(shape, 1), torch.ones(shape, device=DEVICE)
    z[0] = bad
    a2 = fused.activate(z, d, ones, place.counter, 0, True)
    assert z[0].isnan().all() and a2[0].isnan().all() and z[1].isfinite().all() and a2[1].isfinite().all()
    g, h = random(shape, 2), random(shape, 3)
    g[0] = bad
    fused.slopes(g, h, torch.ones(shape, device=DEVICE), d, ones, place.counter, 0, True)
    assert g[0].isnan().all() and h[0].isnan().all() and g[1].isfinite().all() and h[1].isfinite().all()
    layer = AdamLayer(slab(shape, 4), *2 * (zeros_like(slab(shape, 4)),))
    layer = AdamLayer(*(SpikeSlab(*(p.clone() for p in part)) for part in layer))
    rates = torch.tensor([[0.1, 1.0, 0.0, 0.5, 1.0]] * 2)
    launch(layer, (g, h), rates, Trainer(), [[3, 4]] * 2, prior=False)
    for p in layer.w:
        assert p[1].isfinite().all()
    assert layer.w.m[0].isnan().any() and layer.w.pi[0].isnan().any()


def test_the_constants_are_those_of_the_plain_functions() -> None:
    assert kernels.LANES.value == philox.LANES
    assert (kernels.PI_FLOOR.value, kernels.XI_FLOOR.value) == (prior.PI_FLOOR, prior.XI_FLOOR)


COMPILE = Path(__file__).parent / "compile_kernels.py"


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_every_kernel_compiles(capability: int, tmp_path: Path) -> None:
    """To machine code of a GPU's generation, by Triton's own assembler: no GPU is needed for that."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, COMPILE, str(capability)],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, *_ in lines} == {"noise", "activate", "slopes", "moments", "update"}
    assert all(int(code) > 0 and int(spilled) == 0 for _, code, spilled in lines), done.stdout
