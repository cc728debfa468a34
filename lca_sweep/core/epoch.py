"""One epoch: training steps over all buckets of a pack, and the evaluation after them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from lca_sweep.core.adam import ProjectedAdam
from lca_sweep.core.device import DeviceRun, evaluate_on_device
from lca_sweep.core.engine import multiplied
from lca_sweep.core.gbp import cross_entropy
from lca_sweep.core.images import Batch, Ordered
from lca_sweep.core.opened import Opened
from lca_sweep.core.pack import Bucket, Pack
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import SpikeSlab
from lca_sweep.core.subnetworks import correct

Learn = Callable[[Batch, Tensor, Sequence[Tensor]], Tensor]  # of a mini-batch and its noise; the loss (trials)

EVALUATION_BATCH = 1000  # images at once; fixed, because the noise drawn for an image depends on it


@torch.inference_mode()
def train_epoch(pack: Pack, train: Ordered) -> dict[int, dict[str, float]]:
    """One pass over the training images, in place; the metrics of each trial that come from it."""
    pack.epoch += 1
    batch_size = pack.trainer.batch_size
    rng = generator(pack.trainer.batch_seed, Purpose.ORDER, pack.epoch)
    steps = len(train.y) // batch_size  # an incomplete batch is dropped
    order = torch.randperm(len(train.y), generator=rng)[: steps * batch_size].view(steps, -1).to(train.y.device)
    found = (_on_device if pack.engine.recorded else _on_cpu)(pack, train, order)
    pack.steps += steps
    return {number: metrics for each in found for number, metrics in each.items()}


def _on_cpu(pack: Pack, train: Ordered, order: Tensor) -> list[dict[int, dict[str, float]]]:
    """All buckets share a mini-batch."""
    runs = [BucketEpoch(bucket, train, pack.epoch, pack.steps, order.shape[1]) for bucket in pack.buckets]
    box = train.box(order.shape[1], pack.like)
    for rows in order:
        x, y = train.batch(rows, box), train.y.index_select(0, rows)
        for run in runs:
            run.step(x, y)
    return [run.finish(pack.trainer.category_tolerance) for run in runs]


def _on_device(pack: Pack, train: Ordered, order: Tensor) -> list[dict[int, dict[str, float]]]:
    """Each bucket's step is whole by itself; nothing is waited for before the end."""
    runs = [(bucket, DeviceRun.of(bucket, train)) for bucket in pack.buckets]
    for bucket, run in runs:
        run.begin(bucket, pack.epoch, pack.steps, order)
    with multiplied(pack.trainer.precision):
        for _ in range(len(order)):
            for _, run in runs:
                run.step()
    return [run.finish(bucket, pack.trainer.category_tolerance) for bucket, run in runs]


class BucketEpoch:
    """One epoch of one bucket on a CPU: noise by generators; compiled passes, or one fused AdamW for each trial."""

    def __init__(self, bucket: Bucket, train: Ordered, epoch: int, steps: int, batch: int) -> None:
        """`steps` is the number of steps taken before this epoch."""
        self.bucket, self.opened = bucket, Opened(bucket, train)
        self.noise = Noise(bucket, Purpose.TRAIN, epoch, batch)
        self.learn = (self._by_passes if has_passes(bucket) else self._in_plain_torch)(steps)
        self.loss: list[Tensor] = []

    def step(self, x: Batch, y: Tensor) -> None:
        """One mini-batch: x (heard inputs, batch), y (batch)."""
        self.loss.append(self.learn(x, y, self.noise.draw()))

    def _by_passes(self, before: int) -> Learn:
        opened, trials = self.opened, self.bucket.trials
        shares = opened.prior_share if opened.has_prior else None
        passes = compiled().CompiledGbp(opened.trained, opened.fan_in, trials, before, shares)

        def learn(x: Batch, y: Tensor, noise: Sequence[Tensor]) -> Tensor:
            loss, activations = passes.step(x, y, noise)
            opened.heard(activations)
            return cast(Tensor, loss)

        return learn

    def _in_plain_torch(self, before: int) -> Learn:
        opened, trainers = self.opened, [trial.knobs.trainer for trial in self.bucket.trials]
        optimiser = ProjectedAdam(opened.trained, trainers, before, opened.algorithm.TRAINED)

        def learn(x: Batch, y: Tensor, noise: Sequence[Tensor]) -> Tensor:
            loss, gradients = opened.gradients(x, y, noise)
            optimiser.update(gradients)
            return loss

        return learn

    def finish(self, tolerance: float) -> dict[int, dict[str, float]]:
        """See `Opened.close`; the training loss is the mean of the steps."""
        return self.opened.close(self.bucket, torch.stack(self.loss).mean(0), tolerance)


@cache
def compiled() -> Any:
    """The module `compiled` where numba is, which it needs; else None, and all is plain torch."""
    return importlib.import_module("lca_sweep.core.compiled") if find_spec("numba") else None


def has_passes(bucket: Bucket) -> bool:
    """Whether a bucket's steps go through compiled passes: these are for random weights in float32 on a CPU."""
    m = bucket.layers[0].w.m
    return bucket.algorithm.RANDOM and (m.device.type, m.dtype) == ("cpu", torch.float32) and compiled() is not None


class Noise:
    """Standard normal noise for one bucket: each trial draws from its own generator, in its own widths only.

    None where weights are not random.
    """

    def __init__(self, bucket: Bucket, purpose: Purpose, epoch: int, batch: int) -> None:
        like = bucket.layers[0].w.m
        noisy = bucket.units[1:] if bucket.algorithm.RANDOM else []
        widths = [units.sum(1).tolist() for units in noisy]
        self.eps = [like.new_zeros(len(bucket.trials), units.shape[1], batch) for units in noisy]
        rngs = [generator(trial.knobs.init.seed, purpose, epoch, like.device) for trial in bucket.trials]
        self.draws = [
            (eps[t, : width[t]], rng) for t, rng in enumerate(rngs) for eps, width in zip(self.eps, widths, strict=True)
        ]

    def draw(self) -> list[Tensor]:
        """(trials, out, batch) for every layer, in buffers that the next draw overwrites; padding stays 0."""
        for eps, rng in self.draws:
            eps.normal_(generator=rng)
        return self.eps


@torch.inference_mode()
def evaluate(bucket: Bucket, images: Ordered, purpose: Purpose, epoch: int) -> tuple[list[float], list[float]]:
    """Cross-entropy and accuracy of the (stochastic) forward pass, for every trial of a bucket."""
    if bucket.engine.recorded:
        return evaluate_on_device(bucket, images, purpose, epoch)
    first, *others = (layer.w for layer in bucket.layers)
    heard = SpikeSlab(*(p.gather(-1, images.heard.expand(*p.shape[:-1], -1)) for p in first))
    layers, fan_in = bucket.algorithm.prepare([heard, *others]), images.fan_in(bucket.fan_in)
    batch = min(EVALUATION_BATCH, len(images.y))
    noise = Noise(bucket, purpose, epoch, batch)
    loss = torch.zeros(len(bucket.trials), dtype=torch.float64, device=images.y.device)
    hits = torch.zeros_like(loss)
    box = images.box(batch, first.m)
    for rows in torch.arange(len(images.y), device=images.y.device).split(batch):
        eps, y = [e[..., : len(rows)] for e in noise.draw()], images.y[rows]
        z = bucket.algorithm.forward(layers, fan_in, images.batch(rows, box), eps)[-1].z
        loss += cross_entropy(z, y)[0] * len(y)
        hits += correct(z, y)
    return (loss / len(images.y)).tolist(), (hits / len(images.y)).tolist()
