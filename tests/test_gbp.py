"""Generalised back-propagation: against autograd, against the golden case, and at the limits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from core_strategies import close, leaves, own, packs, plain_forward, random_slab, randomise, seeds, unlike_trials
from hypothesis import given
from torch import Tensor

from lca_sweep.core import Pack, SpikeSlab
from lca_sweep.core.gbp import backward, cross_entropy, forward, prepare
from lca_sweep.core.network import outputs
from lca_sweep.core.pack import Bucket

BATCH = 5
GOLDEN = Path(__file__).parent / "data" / "gbp_golden_small.npz"


def batch(pack: Pack, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (inputs, BATCH), a third of the pixels 0, so that some D are 0; labels (BATCH)."""
    x = torch.rand(pack.inputs, BATCH, dtype=torch.float64, generator=rng)
    return torch.where(x < 1 / 3, 0.0, x), torch.randint(pack.classes, (BATCH,), generator=rng)


def noise_for(bucket: Bucket, rng: torch.Generator) -> list[Tensor]:
    """For the padding too: nothing may follow from it."""
    return [torch.randn(*units.shape, BATCH, dtype=torch.float64, generator=rng) for units in bucket.units[1:]]


def padded(part: Tensor, like: Tensor) -> Tensor:
    """`part` (out, in) in the corner of zeros shaped `like`."""
    box = torch.zeros_like(like)
    box[: part.shape[0], : part.shape[1]] = part
    return box


@given(packs(), seeds)
def test_gradients_equal_autograd(pack: Pack, seed: int) -> None:
    """For each trial of each bucket, at exact 0 and 1 in pi, exact 0 in xi, with dead inputs; 0 for padding."""
    rng = torch.Generator().manual_seed(seed)
    x, y = batch(pack, rng)
    for bucket in pack.buckets:
        layers, noise = [layer.w for layer in bucket.layers], noise_for(bucket, rng)
        trace = forward(prepare(layers), bucket.fan_in, x, noise)
        loss, dz = cross_entropy(trace[-1].z, y)
        gradients = backward(layers, trace, dz)
        for t in range(len(bucket.trials)):
            mine = leaves(own(bucket, t))
            zs = plain_forward(mine, x, [eps[t, : w.m.shape[0]] for eps, w in zip(noise, mine, strict=True)])
            expected = torch.nn.functional.cross_entropy(zs[-1].t(), y)
            expected.backward()
            close(loss[t], expected.detach(), 1e-10)
            for z, layer in zip(zs, trace, strict=True):
                close(layer.z[t], padded(z.detach(), layer.z[t]), 1e-10)
            for w, gradient in zip(mine, gradients, strict=True):
                for p, g in zip(w, gradient, strict=True):
                    assert p.grad is not None
                    close(g[t], padded(p.grad, g[t]), 1e-10)
                    assert (g[t, p.shape[0] :] == 0).all() and (g[t, :, p.shape[1] :] == 0).all()


def test_the_golden_case() -> None:
    """One exact case of other origin: pre-activations, D, probabilities and all gradients, 1e-10 relative."""
    with np.load(GOLDEN) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    layers = [SpikeSlab(*(golden[f"{name}{d}"].unsqueeze(0) for name in SpikeSlab._fields)) for d in range(3)]
    assert any((w.pi == 0).any() and (w.pi == 1).any() and (w.xi == 0).any() for w in layers)  # what it is there for
    fan_in = [torch.full((1, 1, 1), w.m.shape[2], dtype=torch.float64) for w in layers]
    noise = [golden[f"eps{d}"].unsqueeze(0) for d in range(3)]
    trace = forward(prepare(layers), fan_in, golden["x"], noise)
    for d, layer in enumerate(trace):
        torch.testing.assert_close(layer.z[0], golden[f"z{d}"], rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(layer.d[0], golden[f"delta{d}"], rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(trace[-1].z[0].softmax(0), golden["prob"], rtol=1e-10, atol=0)
    gradients = backward(layers, trace, cross_entropy(trace[-1].z, golden["y"].argmax(0))[1])
    for d, gradient in enumerate(gradients):
        for name, g in gradient._asdict().items():
            torch.testing.assert_close(g[0], golden[f"grad_{name}{d}"], rtol=1e-10, atol=1e-16)


def one_bucket(seed: int) -> tuple[Bucket, Tensor, Tensor, list[Tensor]]:
    pack = Pack.start(unlike_trials()[:2], 6, 4, padding=math.inf, dtype=torch.float64)
    randomise(pack, seed)
    rng = torch.Generator().manual_seed(seed)
    return pack.buckets[0], *batch(pack, rng), noise_for(pack.buckets[0], rng)


@given(seeds)
def test_a_network_of_absent_weights_knows_nothing(seed: int) -> None:
    """pi = 1: z = 0, the loss of a guess, and no gradient but that of pi."""
    bucket, x, y, noise = one_bucket(seed)
    layers = [layer.w._replace(pi=torch.ones_like(layer.w.pi)) for layer in bucket.layers]
    trace = forward(prepare(layers), bucket.fan_in, x, noise)
    loss, dz = cross_entropy(trace[-1].z, y)
    assert all((layer.z == 0).all() for layer in trace)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(4)))
    for gradient in backward(layers, trace, dz):
        assert (gradient.m == 0).all() and (gradient.xi == 0).all() and gradient.pi.isfinite().all()


@given(seeds)
def test_a_deterministic_network_is_an_ordinary_one(seed: int) -> None:
    """pi = 0 and xi = 0: no noise in z, which is that of the slab means; m's gradient is back-propagation's."""
    rng = torch.Generator().manual_seed(seed)
    layers = [random_slab(shape, rng) for shape in ((5, 6), (3, 5))]
    layers = [SpikeSlab(torch.zeros_like(w.pi), w.m, torch.zeros_like(w.xi)) for w in layers]
    x, y = torch.rand(6, BATCH, dtype=torch.float64, generator=rng), torch.randint(3, (BATCH,), generator=rng)
    stacked = [SpikeSlab(*(p.unsqueeze(0) for p in w)) for w in layers]
    fan_in = [torch.full((1, 1, 1), n, dtype=torch.float64) for n in (6, 5)]
    noise = [torch.randn(1, n, BATCH, dtype=torch.float64, generator=rng) for n in (5, 3)]
    trace = forward(prepare(stacked), fan_in, x, noise)
    weights = [w.m.clone().requires_grad_() for w in layers]
    z = outputs(weights, x)
    close(trace[-1].z[0], z.detach(), 1e-12)
    torch.nn.functional.cross_entropy(z.t(), y).backward()
    for gradient, w in zip(backward(stacked, trace, cross_entropy(trace[-1].z, y)[1]), weights, strict=True):
        assert w.grad is not None
        close(gradient.m[0], w.grad, 1e-10)
        assert (gradient.xi == 0).all()


@given(seeds)
def test_z_has_the_moments_of_sampled_networks(seed: int) -> None:
    """One layer: mean and variance of z over the noise are those over sub-networks, as mean field assumes."""
    rng = torch.Generator().manual_seed(seed)
    w = random_slab((3, 6), rng)
    x = torch.rand(6, 1, dtype=torch.float64, generator=rng)
    draws = 20_000
    z = forward(
        prepare([SpikeSlab(*(p.unsqueeze(0) for p in w))]),
        [torch.full((1, 1, 1), 6.0, dtype=torch.float64)],
        x.expand(6, draws),
        [torch.randn(1, 3, draws, dtype=torch.float64, generator=rng)],
    )[0].z[0]
    slab = torch.randn(draws, 3, 6, dtype=torch.float64, generator=rng) * w.xi.sqrt() + w.m
    concrete = slab * (torch.rand(draws, 3, 6, dtype=torch.float64, generator=rng) >= w.pi)
    sampled = (concrete @ x).squeeze(2).t() / math.sqrt(6)
    for power in (1, 2):
        left, right = z**power, sampled**power
        error = ((left.var(1) + right.var(1)) / draws).sqrt()
        assert ((left.mean(1) - right.mean(1)).abs() <= 6 * error + 1e-10).all()


def on(device: str) -> list[Tensor]:
    """Loss and gradients there of one given case with given noise."""
    bucket, x, y, noise = one_bucket(0)
    layers = [SpikeSlab(*(p.to(device) for p in layer.w)) for layer in bucket.layers]
    fan_in, eps = [n.to(device) for n in bucket.fan_in], [e.to(device) for e in noise]
    trace = forward(prepare(layers), fan_in, x.to(device), eps)
    loss, dz = cross_entropy(trace[-1].z, y.to(device))
    return [loss.cpu(), *(p.cpu() for gradient in backward(layers, trace, dz) for p in gradient)]


@pytest.mark.gpu
def test_gradients_on_a_gpu_are_those_on_a_cpu() -> None:
    """All that differs is the order of sums."""
    for one, other in zip(on("cuda"), on("cpu"), strict=True):
        close(one, other, 1e-10)
