"""Training and evaluation of a bucket on a GPU: every step is the same sequence of operations on the same tensors.

What changes from step to step (which images, which noise, Adam's count) is read off tables by a clock that is on the
device too. So nothing waits for anything within an epoch, and a step can be recorded once and replayed (`graph`).
The images are multiplied whole: an own product for rare pixels would need sizes that are only known batch by batch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lca_sweep.core import philox
from lca_sweep.core.adam import BatchedAdam, rises
from lca_sweep.core.engine import multiplied
from lca_sweep.core.gbp import cross_entropy
from lca_sweep.core.graph import Replayed
from lca_sweep.core.images import Ordered
from lca_sweep.core.opened import Opened
from lca_sweep.core.pack import Bucket
from lca_sweep.core.rng import Purpose
from lca_sweep.core.spikeslab import SpikeSlab
from lca_sweep.core.subnetworks import correct

ACTIVATIONS = 2**25  # of a bucket's widest layer that are evaluated at once


class DeviceRun:
    """A bucket's training, from epoch to epoch for as long as its trials stay together."""

    def __init__(self, bucket: Bucket, train: Ordered) -> None:
        self.opened, self.train = Opened(bucket, train), train
        self.trainer = bucket.trials[0].knobs.trainer  # of what all share
        batch, trials, like = self.trainer.batch_size, len(bucket.trials), bucket.layers[0].w.m
        steps, place = len(train.y) // batch, like.device
        self.pixels, self.images = whole(train), torch.arange(batch, device=place)
        self.order = torch.zeros(steps, batch, dtype=torch.int64, device=place)
        self.keys = torch.zeros(trials, dtype=torch.int64, device=place)
        self.clock = torch.zeros((), dtype=torch.int64, device=place)  # steps of this epoch so far
        self.rises, self.loss = like.new_zeros(steps, 2), like.new_zeros(steps, trials)
        self.adam = BatchedAdam(
            self.opened.trained, [trial.knobs.trainer for trial in bucket.trials], bucket.algorithm.TRAINED
        )
        self.fused = _fused().FusedGbp(bucket, self.opened) if has_kernels(bucket) else None
        self.widths = noisy(bucket)
        self.replayed = Replayed(place)

    @staticmethod
    def of(bucket: Bucket, train: Ordered) -> DeviceRun:
        """The bucket's own, kept from the epoch before, or a new one."""
        if not isinstance(bucket.run, DeviceRun) or bucket.run.train is not train:
            bucket.run = DeviceRun(bucket, train)
        return bucket.run

    def begin(self, bucket: Bucket, epoch: int, before: int, order: Tensor) -> None:
        """Another epoch, after so many steps in all; `order` (steps, batch) has the images of each step."""
        self.opened.reopen(bucket)
        seeds = [trial.knobs.init.seed for trial in bucket.trials]
        self.keys.copy_(philox.keys(seeds, Purpose.TRAIN, epoch))
        self.order.copy_(order)
        self.rises.copy_(rises(self.trainer, before, len(self.order)))
        self.clock.zero_()
        if self.fused:
            self.fused.refresh()

    def step(self) -> None:
        """The next mini-batch, recorded where that can be done."""
        self.replayed(self.one_step)

    def one_step(self) -> None:
        """The next mini-batch of the epoch; all it needs is on the device."""
        now = self.clock.view(1)
        rows = self.order.index_select(0, now).view(-1)
        x = self.pixels.index_select(0, rows).to(self.loss.dtype).t()
        y = self.train.y.index_select(0, rows)
        self.loss.index_copy_(0, now, self._fused_step(x, y) if self.fused else self._plain_step(x, y))
        self.clock += 1

    def finish(self, bucket: Bucket, tolerance: float) -> dict[int, dict[str, float]]:
        """See `Opened.close`; the training loss is the mean of the steps."""
        return self.opened.close(bucket, self.loss.mean(0), tolerance)

    def _fused_step(self, x: Tensor, y: Tensor) -> Tensor:
        assert self.fused is not None
        loss: Tensor = self.fused.step(x, y, _fused().Counter(self.keys, self.clock), self.rises)
        return loss.unsqueeze(0)

    def _plain_step(self, x: Tensor, y: Tensor) -> Tensor:
        noise = noise_of(self.widths, self.loss.dtype, self.keys, self.clock, self.images)
        loss, gradients = self.opened.gradients(x, y, noise)
        self.adam.update(gradients, self.rises.index_select(0, self.clock.view(1)).view(-1))
        return loss.unsqueeze(0)


@torch.inference_mode()
def evaluate_on_device(
    bucket: Bucket, images: Ordered, purpose: Purpose, epoch: int
) -> tuple[list[float], list[float]]:
    """Cross-entropy and accuracy, as `epoch.evaluate`; an image's noise does not depend on how many go at once."""
    first, *others = (layer.w for layer in bucket.layers)
    layers = [SpikeSlab(*(p.index_select(-1, images.heard) for p in first)), *others]
    keys = philox.keys([trial.knobs.init.seed for trial in bucket.trials], purpose, epoch).to(images.y.device)
    logits = (_fused_logits if has_kernels(bucket) else _plain_logits)(
        bucket, layers, images.fan_in(bucket.fan_in), keys
    )
    pixels, widest = whole(images), max(units.numel() for units in bucket.units[1:])
    loss = torch.zeros(len(bucket.trials), dtype=torch.float64, device=images.y.device)
    hits = torch.zeros_like(loss)
    with multiplied(bucket.trials[0].knobs.trainer.precision):
        for rows in torch.arange(len(images.y)).split(max(ACTIVATIONS // widest, 1)):
            start, end = int(rows[0]), int(rows[-1]) + 1
            y = images.y[start:end]
            z = logits(pixels[start:end].to(first.m.dtype).t(), start)
            loss += cross_entropy(z, y)[0] * len(y)
            hits += correct(z, y)
    return (loss / len(images.y)).tolist(), (hits / len(images.y)).tolist()


Logits = Callable[[Tensor, int], Tensor]  # of x (inputs, batch), whose first image has this number


def _plain_logits(bucket: Bucket, layers: Sequence[SpikeSlab], fan_in: Sequence[Tensor], keys: Tensor) -> Logits:
    prepared, clock = bucket.algorithm.prepare(layers), torch.zeros_like(keys[0])
    widths, dtype = noisy(bucket), layers[0].m.dtype

    def logits(x: Tensor, start: int) -> Tensor:
        images = torch.arange(start, start + x.shape[1], device=x.device)
        noise = noise_of(widths, dtype, keys, clock, images)
        z: Tensor = bucket.algorithm.forward(prepared, fan_in, x, noise)[-1].z
        return z

    return logits


def _fused_logits(bucket: Bucket, layers: Sequence[SpikeSlab], fan_in: Sequence[Tensor], keys: Tensor) -> Logits:
    fused, clock = _fused(), torch.zeros_like(keys[0])
    means, variances = ([torch.empty_like(w.m) for w in layers] for _ in range(2))
    for w, mean, variance in zip(layers, means, variances, strict=True):
        fused.moments(w, mean, variance)
    scales = [n.rsqrt() for n in fan_in]

    def logits(x: Tensor, start: int) -> Tensor:
        z: Tensor = fused.forward(means, variances, scales, x, fused.Counter(keys, clock, start))[1]
        return z

    return logits


def noisy(bucket: Bucket) -> list[int]:
    """Units of every layer, for which there is to be noise; none where weights are not random."""
    return [units.shape[1] for units in bucket.units[1:]] if bucket.algorithm.RANDOM else []


def noise_of(widths: Sequence[int], dtype: torch.dtype, keys: Tensor, clock: Tensor, images: Tensor) -> list[Tensor]:
    """Standard normal noise (trials, width, images) for every layer, by counters."""
    return [philox.noise(keys, clock, layer, width, images).to(dtype) for layer, width in enumerate(widths)]


def has_kernels(bucket: Bucket) -> bool:
    """Whether a bucket's steps go through Triton's kernels: these are for random weights in float32."""
    return bucket.engine.kernels and bucket.algorithm.RANDOM and bucket.layers[0].w.m.dtype == torch.float32


def whole(images: Ordered) -> Tensor:
    """All pixels that are not silent, (images, heard) bytes in the order of `heard`."""
    return torch.cat([images.common, images.rare], 1) if images.rare.shape[1] else images.common


def _fused() -> Any:
    """The module that needs Triton."""
    return importlib.import_module("lca_sweep.core.fused")
