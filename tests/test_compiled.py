"""The compiled passes against plain torch and autograd, and training by them against training without."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from core_strategies import CLASSES, INPUTS, close, made_up, random_slab, seeds, trials, unlike_trials
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import EpochReport, Pack, Trial, epoch, fit
from lca_sweep.core.adam import AdamLayer, ProjectedAdam
from lca_sweep.core.images import Batch
from lca_sweep.core.prior import SlabPrior, kl
from lca_sweep.core.spikeslab import SpikeSlab, moments

numba = pytest.importorskip("numba")
compiled = importlib.import_module("lca_sweep.core.compiled")
passes = importlib.import_module("lca_sweep.core.passes")

STEP = 3  # taken before, so that Adam's corrections matter
PRIORS = ({}, {"prior.weight": 0.3, "prior.spike": 0.7}, {"prior.weight": 2.0, "prior.slab_variance": 0.2})


def members(number: int, with_prior: bool) -> list[Trial]:
    """Trials that differ in rate, decay and prior."""
    each = [{"trainer.lr": 0.01 * (t + 1), "trainer.weight_decay": 0.1 * t, **PRIORS[t % 3]} for t in range(number)]
    return trials(*each if with_prior else [{k: v for k, v in own.items() if "prior" not in k} for own in each])


def layer_of(shape: Sequence[int], rng: torch.Generator) -> AdamLayer:
    """Any valid weights and running means, such as float32 can hold."""
    w = SpikeSlab(*(p.float() for p in random_slab(shape, rng)))
    first = SpikeSlab(*(torch.randn(*shape, generator=rng) for _ in range(3)))
    second = SpikeSlab(*(torch.rand(*shape, generator=rng) for _ in range(3)))
    return AdamLayer(w, first, second)


def double(layer: AdamLayer) -> AdamLayer:
    """A copy in float64."""
    return AdamLayer(*(SpikeSlab(*(p.double().clone() for p in part)) for part in layer))


def network(widths: Sequence[int], number: int, rng: torch.Generator) -> list[AdamLayer]:
    """Its layers, and one without inputs that are heard."""
    return [layer_of((number, out, ins), rng) for ins, out in pairwise(widths)] + [
        layer_of((number, widths[1], 2), rng)
    ]


def shares_of(layers: Sequence[AdamLayer], members: Sequence[Trial], images: int) -> list[Tensor]:
    """Of each trial its prior's weight / images; none in a layer's first place, as in padding."""
    weight = torch.tensor([trial.knobs.prior.strength / images for trial in members]).view(-1, 1, 1)
    shares = [weight.expand_as(layer.w.m).clone() for layer in layers]
    for share in shares:
        share[:, 0, 0] = 0
    return shares


@given(st.lists(st.integers(1, 20), min_size=2, max_size=4), st.integers(1, 4), st.booleans(), seeds)
def test_a_step_is_that_of_autograd_and_adam(widths: list[int], number: int, with_prior: bool, seed: int) -> None:
    """From loss to weights: gradient of loss and prior by autograd in float64, then the optimiser of plain torch."""
    rng, batch = torch.Generator().manual_seed(seed), 7
    layers, members_ = network(widths, number, rng), members(number, with_prior)
    fan_in = [torch.full((number, 1, 1), float(ins)) for ins in widths[:-1]]
    x, y = torch.rand(widths[0], batch, generator=rng), torch.randint(widths[-1], (batch,), generator=rng)
    noise = [torch.randn(number, out, batch, generator=rng) for out in widths[1:]]
    shares = shares_of(layers, members_, 50)
    expected = [double(layer) for layer in layers]
    loss = reference(expected, members_, x.double(), y, noise, shares if with_prior else None)

    steps = compiled.CompiledGbp(layers, fan_in, members_, STEP, shares if with_prior else None)
    own, active = steps.step(Batch(x, x.new_empty(0, 0), torch.empty(0, dtype=torch.int64)), y, noise)

    close(own.double(), loss, 1e-5)
    assert [a.shape for a in active] == [(number, out, batch) for out in widths[1:-1]]
    for layer, other in zip(layers, expected, strict=True):
        for part, true in zip(layer, other, strict=True):
            for p, value in zip(part, true, strict=True):
                torch.testing.assert_close(p.double(), value, rtol=1e-4, atol=2e-5)
        assert (layer.w.pi >= 0).all() and (layer.w.pi <= 1).all() and (layer.w.xi >= 0).all()
    for layer, mean, variance in zip(layers, steps.means, steps.variances, strict=True):
        new = moments(layer.w)
        close(mean, new.mean, 1e-6)
        close(variance, new.variance, 1e-6)


def reference(
    layers: Sequence[AdamLayer],
    members: Sequence[Trial],
    x: Tensor,
    y: Tensor,
    noise: Sequence[Tensor],
    shares: Sequence[Tensor] | None,
) -> Tensor:
    """One step in place, all in float64; the loss (trials)."""
    for layer in layers:
        for p in layer.w:
            p.requires_grad_()
    a = x.expand(len(members), -1, -1)
    z = a
    for depth, (layer, eps) in enumerate(zip(layers, noise, strict=False)):
        a = z.relu() if depth else a
        pi, m, xi = layer.w
        d2 = ((1 - pi) * (xi + pi * m**2)) @ a**2
        d = torch.where(d2 > 0, torch.where(d2 > 0, d2, 1.0).sqrt(), 0.0)
        z = ((1 - pi) * m @ a + eps.double() * d) / math.sqrt(a.shape[1])
    loss = torch.stack([torch.nn.functional.cross_entropy(own.T, y) for own in z])
    total = loss.sum()
    if shares is not None:
        each = [(trial.knobs.prior.spike, trial.knobs.prior.slab_variance) for trial in members]
        spike, slab = (torch.tensor(column, dtype=torch.float64).view(-1, 1, 1) for column in zip(*each, strict=True))
        total = total + sum(
            (share.double() * kl(layer.w, SlabPrior(spike, slab))).sum()
            for share, layer in zip(shares, layers, strict=True)
        )
    total.backward()
    gradients = [tuple(torch.zeros_like(p) if p.grad is None else p.grad for p in layer.w) for layer in layers]
    for layer in layers:
        for p in layer.w:
            p.requires_grad_(False)
    ProjectedAdam(layers, [trial.knobs.trainer for trial in members], STEP).update(gradients)
    return loss.detach()


def curves(reports: list[EpochReport]) -> dict[tuple[int, int, str], float]:
    """Every metric of every trial and epoch."""
    return {
        (report.epoch, trial.trial, name): value
        for report in reports
        for trial in report.trials
        for name, value in trial.metrics.items()
    }


@pytest.mark.parametrize("padding", [1.0, math.inf])
def test_training_without_numba_is_the_same_to_rounding(padding: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike trials, with priors and without, silent pixels, padding: plain torch where numba is not installed."""

    def run() -> dict[tuple[int, int, str], float]:
        pack = Pack.start(unlike_trials(epochs=3), INPUTS, CLASSES, padding=padding)
        return curves(list(fit(pack, made_up(dead=(0, 5)))))

    with_passes = run()
    epoch.compiled.cache_clear()
    monkeypatch.setattr(epoch, "find_spec", lambda name: None)
    without = run()
    epoch.compiled.cache_clear()
    assert with_passes != without  # or only one of them was run
    assert with_passes == pytest.approx(without, rel=2e-3, abs=1e-4)


def test_a_broken_trial_is_seen_and_harms_no_other() -> None:
    """NaN in one weight: it stays, in spite of ReLU, gates and clipping, and only there."""

    def run(broken: bool) -> dict[tuple[int, int, str], float]:
        pack = Pack.start(trials({"init.seed": 1}, {"init.seed": 2}, epochs=1), INPUTS, CLASSES)
        (bucket,) = pack.buckets
        if broken:
            bucket.layers[0].w.pi[0, 0, 0] = math.nan
        return curves(list(fit(pack, made_up())))

    whole, partly = run(False), run(True)
    assert math.isnan(partly[1, 0, "train/loss"])
    assert {key: value for key, value in partly.items() if key[1] == 1} == {
        key: value for key, value in whole.items() if key[1] == 1
    }


def test_what_is_not_float32_or_not_random_is_plain_torch() -> None:
    for dtype, changed, expected in (
        (torch.float32, {}, True),
        (torch.float64, {}, False),
        (torch.float32, {"trainer.algorithm": "bp"}, False),
    ):
        (bucket,) = Pack.start(trials(changed), INPUTS, CLASSES, dtype=dtype).buckets
        assert epoch.has_passes(bucket) is expected


def test_a_pass_is_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba refuses to keep a function when no folder can be written; then each process compiles it."""
    real, asked = numba.njit, []

    def njit(**options: object) -> object:
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(passes.numba, "njit", njit)
    double_of = passes.compiled(lambda x: x + x)
    assert asked == [True, False]
    assert double_of(np.float32(2)) == 4


def test_running_means_do_not_become_denormal() -> None:
    """Without gradient they end at 0, on whose way down they would make every step slow."""
    rng = torch.Generator().manual_seed(0)
    layers, none = [layer_of((1, 3, 4), rng), layer_of((1, 3, 2), rng)], torch.empty(0, dtype=torch.int64)
    steps = compiled.CompiledGbp(layers, [torch.ones(1, 1, 1)], members(1, with_prior=False), STEP, None)
    silence = Batch(torch.zeros(4, 2), torch.empty(0, 0), none)
    for _ in range(900):  # 0.9^900 = 7e-42
        steps.step(silence, torch.tensor([0, 1]), [torch.zeros(1, 3, 2)])
    for layer in layers:
        for mean in layer.first:
            assert (mean == 0).all()
