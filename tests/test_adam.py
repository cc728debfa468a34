"""Projected Adam: against torch's AdamW and clamp, alone and in the whole training of a trial."""

from __future__ import annotations

import math

import torch
from core_strategies import INPUTS, close, leaves, made_up, plain_forward, randomise, seeds, trials, unlike_trials
from hypothesis import given
from torch import Tensor

from lca_sweep.core import Pack, SpikeSlab, Splits, Trial, fit
from lca_sweep.core.adam import ProjectedAdam
from lca_sweep.core.pack import initial
from lca_sweep.core.prior import SlabPrior, kl
from lca_sweep.core.rng import Purpose, generator


def torchs(params: list[Tensor], trial: Trial) -> torch.optim.AdamW:
    t = trial.knobs.trainer
    return torch.optim.AdamW(params, lr=t.lr, betas=(t.beta1, t.beta2), eps=t.eps, weight_decay=t.weight_decay)


def project(layers: list[SpikeSlab]) -> None:
    with torch.no_grad():
        for w in layers:
            w.pi.clamp_(0, 1)
            w.xi.clamp_(0, math.inf)


@given(seeds)
def test_steps_are_adamws_and_a_clamp(seed: int) -> None:
    """Trials of different lr and decay, any gradients, from a step in the middle on: to the last digits of float64."""
    members = trials({}, {"trainer.lr": 0.5}, {"trainer.weight_decay": 0.3}, {"trainer.lr": 1e-4})
    pack = Pack.start(members, 4, 3, dtype=torch.float64)
    randomise(pack, seed)
    (bucket,) = pack.buckets
    rng = torch.Generator().manual_seed(seed)
    gradients = [[SpikeSlab(*map(torch.randn_like, layer.w)) for layer in bucket.layers] for _ in range(4)]
    for step in gradients:
        for gradient in step:
            for g in gradient:
                g.normal_(generator=rng)
    reference = [leaves([SpikeSlab(*(p[t] for p in layer.w)) for layer in bucket.layers]) for t in range(len(members))]
    optimisers = [
        torchs([p for w in layers for p in w], trial) for layers, trial in zip(reference, members, strict=True)
    ]
    for done in (0, 2):  # a new optimiser goes on where the last one stopped
        ours = ProjectedAdam(bucket.layers, [trial.knobs.trainer for trial in members], done)
        for step in gradients[done : done + 2]:
            ours.update(step)
            for t, (layers, optimiser) in enumerate(zip(reference, optimisers, strict=True)):
                for w, gradient in zip(layers, step, strict=True):
                    for p, g in zip(w, gradient, strict=True):
                        p.grad = g[t].clone()
                optimiser.step()
                project(layers)
                for w, layer in zip(layers, bucket.layers, strict=True):
                    for p, mine in zip(w, layer.w, strict=True):
                        torch.testing.assert_close(mine[t], p.detach(), rtol=1e-12, atol=1e-13)
    for layer in bucket.layers:
        assert (layer.w.pi >= 0).all() and (layer.w.pi <= 1).all() and (layer.w.xi >= 0).all()
        assert (layer.w.pi == 0).any() or (layer.w.pi == 1).any()  # the clamp did something


def plainly_trained(trial: Trial, data: Splits) -> list[SpikeSlab]:
    """The whole training of one trial as one writes it with autograd: same batches, same noise, nothing of ours."""
    knobs = trial.knobs
    layers = leaves([SpikeSlab(*(p.double() for p in w)) for w in initial(trial, INPUTS, data.classes)])
    optimiser = torchs([p for w in layers for p in w], trial)
    prior = SlabPrior(*(torch.tensor(v, dtype=torch.float64) for v in (knobs.prior.spike, knobs.prior.slab_variance)))
    images, labels = torch.tensor(data.train.x).double().t() / data.scale, torch.tensor(data.train.y)
    for epoch in range(1, knobs.trainer.epochs + 1):
        order = torch.randperm(len(labels), generator=generator(knobs.trainer.batch_seed, Purpose.ORDER, epoch))
        noise = generator(knobs.init.seed, Purpose.TRAIN, epoch)
        whole = len(order) - len(order) % knobs.trainer.batch_size
        for batch in order[:whole].split(knobs.trainer.batch_size):
            eps = [torch.empty(w.m.shape[0], len(batch), dtype=torch.float64).normal_(generator=noise) for w in layers]
            z = plain_forward(layers, images[:, batch], eps)[-1]
            divergence = sum(kl(w, prior).sum() for w in layers)
            loss = (
                torch.nn.functional.cross_entropy(z.t(), labels[batch]) + knobs.prior.weight / len(labels) * divergence
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            project(layers)
    return layers


def test_training_is_adamw_and_a_clamp_on_autograds_gradients() -> None:
    """A pack of unlike trials, with priors, dead pixels and an incomplete last batch, against a plain loop each.

    Not to the last digit: where a gradient is nearly 0, Adam divides its rounding error by eps = 1e-8.
    """
    members, data = unlike_trials(epochs=3), made_up(train=110, dead=(0, 5))
    pack = Pack.start(members, INPUTS, data.classes, padding=math.inf, dtype=torch.float64)
    networks = {report.trial: report.network for epoch in fit(pack, data) for report in epoch.trials}
    for trial in members:
        network = networks[trial.number]
        assert network is not None
        for mine, w in zip(network.layers, plainly_trained(trial, data), strict=True):
            for p, expected in zip(mine, w, strict=True):
                close(p, expected.detach(), 1e-7)
