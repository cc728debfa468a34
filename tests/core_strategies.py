"""What the tests of the core share: hypothesis strategies, small made-up data, and the model as plain formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import Images, Network, Pack, SpikeSlab, Splits, Trial, TrialKnobs, fit, load
from lca_sweep.core.knobs import replace
from lca_sweep.core.pack import Bucket

SMALL = {"model.width": 7, "model.depth": 2, "trainer.batch_size": 20, "trainer.epochs": 3, "trainer.lr": 0.03}
INPUTS, CLASSES = 12, 3

seeds = st.integers(0, 2**32 - 1)


def knobs(values: Mapping[str, Any] | None = None) -> TrialKnobs:
    """The knobs of a small trial, some of them changed by dotted name."""
    changed: TrialKnobs = replace(TrialKnobs(), SMALL | dict(values or {}))
    return changed


def trials(*each: Mapping[str, Any], **shared: Any) -> list[Trial]:
    """Small trials numbered from 0; of `shared`, `epochs=5` stands for trainer.epochs."""
    common = {f"trainer.{name}": value for name, value in shared.items()}
    return [Trial(number, knobs(common | dict(values))) for number, values in enumerate(each)]


def unlike_trials(**shared: Any) -> list[Trial]:
    """Trials that differ in all that trials of a pack may differ in; 0 and 4 are of one shape, and so are 1 and 5."""
    return trials(
        {"init.seed": 1, "init.spike": 0.2},
        {"model.widths": [8, 7], "trainer.lr": 0.01, "init.seed": 2, "prior.weight": 0.3, "prior.spike": 0.7},
        {"model.widths": [5, 3], "trainer.weight_decay": 0.1, "init.seed": 3, "init.slab_variance": 0.1},
        {"model.widths": [8, 7, 4], "trainer.lr": 0.02, "init.seed": 4, "prior.weight": 1, "prior.slab_variance": 0.2},
        {"trainer.lr": 0.003, "init.seed": 5, "init.mean_variance": 0.1},
        {"model.widths": [8, 7], "trainer.lr": 0.05, "init.seed": 1},
        {"model.widths": [4], "init.seed": 6},
        **shared,
    )


def made_up(train: int = 100, seed: int = 0, dead: Sequence[int] = (), held_out: int = 50) -> Splits:
    """Noisy images of CLASSES patterns, INPUTS pixels each; `dead` pixels are 0 in training images, and only there."""
    rng = np.random.default_rng(seed)
    patterns = rng.uniform(0, 255, (CLASSES, INPUTS))

    def images(size: int) -> Images:
        y = rng.integers(0, CLASSES, size)
        x = np.clip(patterns[y] + rng.normal(0, 60, (size, INPUTS)), 1, 255)
        return Images(x.astype(np.uint8), y.astype(np.int64))

    training, validation, test = (images(size) for size in (train, held_out, held_out))
    training.x[:, list(dead)] = 0
    return Splits("made up", CLASSES, 255.0, training, validation, test, digest="")


def random_slab(shape: Sequence[int], rng: torch.Generator) -> SpikeSlab:
    """Any valid weights (float64): about a third of pi exactly 0 or 1, a third of xi exactly 0."""
    pi, kind, xi, narrow = (torch.rand(*shape, dtype=torch.float64, generator=rng) for _ in range(4))
    m = torch.randn(*shape, dtype=torch.float64, generator=rng)
    pi = torch.where(kind < 1 / 6, 0.0, torch.where(kind > 5 / 6, 1.0, pi))
    return SpikeSlab(pi, m, torch.where(narrow < 1 / 3, 0.0, xi))


@st.composite
def slabs(draw: st.DrawFn, interior: bool = False) -> SpikeSlab:
    """Weights (out, in) in float64 with exact 0 and 1 in pi and exact 0 in xi, or none of these if `interior`."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    w = random_slab(shape, torch.Generator().manual_seed(draw(seeds)))
    return SpikeSlab(w.pi.clamp(0.01, 0.99), w.m, w.xi.clamp_min(0.01)) if interior else w


@st.composite
def packs(draw: st.DrawFn) -> Pack:
    """A float64 pack of several trials of any widths and depths, with any padding, in the middle of their training."""
    shapes = draw(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=5))
    members = trials(*({"model.widths": widths} for widths in shapes))
    padding = draw(st.sampled_from([1.0, 1.5, math.inf]))
    pack = Pack.start(members, draw(st.integers(1, 8)), draw(st.integers(2, 5)), padding=padding, dtype=torch.float64)
    randomise(pack, draw(seeds))
    return pack


@st.composite
def networks(draw: st.DrawFn, most: int = 1) -> list[Network]:
    """At least one network of made-up images, float64 with any valid weights; all of the same widths."""
    widths = (INPUTS, *draw(st.lists(st.integers(1, 6), max_size=3)), CLASSES)
    number, rng = draw(st.integers(1, most)), torch.Generator().manual_seed(draw(seeds))
    return [random_network(widths, rng) for _ in range(number)]


def random_network(widths: Sequence[int], rng: torch.Generator) -> Network:
    """Any valid weights, float64."""
    return Network(tuple(random_slab((out, ins), rng) for ins, out in pairwise(widths)))


def certain(network: Network) -> Network:
    """The same without chance: of each pi the nearer of 0 and 1, no slab has a width."""
    return Network(tuple(SpikeSlab(w.pi.round(), w.m, torch.zeros_like(w.xi)) for w in network.layers))


def digits_networks(*seeds: int) -> list[Network]:
    """Networks that have learned the digits, 64-60-40-10, to some 94 %; about a tenth of each layer is UIP."""
    data = load("digits")
    each = [{"model.widths": [60, 40], "init.seed": seed} for seed in seeds]
    *_, last = fit(Pack.start(trials(*each, epochs=40, batch_size=50, lr=0.1), data.inputs, data.classes), data)
    networks = [trial.network for trial in last.trials if trial.network is not None]
    assert len(networks) == len(seeds)
    return networks


@cache
def trained_digits() -> Network:
    """One of these."""
    return digits_networks(0)[0]


def randomise(pack: Pack, seed: int) -> None:
    """Give every trial of a pack any valid weights."""
    rng = torch.Generator().manual_seed(seed)
    tensors, about = pack.state()
    for prefix in sorted({name.rpartition(".")[0] for name in tensors if ".w." in name}):
        w = random_slab(tensors[f"{prefix}.m"].shape, rng)
        tensors |= {f"{prefix}.{name}": value.to(pack.like) for name, value in w._asdict().items()}
    pack.restore(tensors, about)


def own(bucket: Bucket, t: int) -> list[SpikeSlab]:
    """The weights of one trial of a bucket, without padding."""
    widths = [int(units[t].sum()) for units in bucket.units]
    return [
        SpikeSlab(*(p[t, :out, :ins] for p in layer.w))
        for layer, ins, out in zip(bucket.layers, widths[:-1], widths[1:], strict=True)
    ]


def plain_forward(layers: Sequence[SpikeSlab], x: Tensor, noise: Sequence[Tensor]) -> list[Tensor]:
    """Pre-activations (out, batch) of one trial, by Li & Huang's formulas and nothing else; autograd can follow it."""
    zs: list[Tensor] = []
    for w, eps in zip(layers, noise, strict=True):
        a = zs[-1].relu() if zs else x
        mean, variance = (1 - w.pi) * w.m, (1 - w.pi) * (w.xi + w.pi * w.m**2)
        d2 = variance @ a**2
        d = torch.where(d2 > 0, torch.where(d2 > 0, d2, 1.0).sqrt(), 0.0)  # autograd of sqrt(0) would be infinite
        zs.append((mean @ a + eps * d) / math.sqrt(w.m.shape[1]))
    return zs


def votes(weights: Sequence[Tensor], images: Images, scale: float) -> np.ndarray:
    """Class probabilities (images, classes) of one network of concrete weights, in numpy, one formula a line."""
    a = images.x / scale
    for depth, w in enumerate(weights):
        a = np.maximum(a, 0) if depth else a
        a = a @ w.double().numpy().T / math.sqrt(w.shape[1])
    e = np.exp(a - a.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def plain_accuracy(weights: Sequence[Tensor], images: Images, scale: float) -> float:
    """Share of the images that one network of concrete weights gets right."""
    return float((votes(weights, images, scale).argmax(1) == images.y).mean())


def leaves(layers: Sequence[SpikeSlab]) -> list[SpikeSlab]:
    """Copies that autograd differentiates by."""
    return [SpikeSlab(*(p.detach().clone().requires_grad_() for p in w)) for w in layers]


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Assert equality up to `tolerance` relative to the largest of the expected numbers."""
    largest = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * largest)
