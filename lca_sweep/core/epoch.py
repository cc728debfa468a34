"""One epoch: training steps over all buckets of a pack, and the evaluation after them."""

from __future__ import annotations

import torch
from torch import Tensor

from lca_sweep.core import adam
from lca_sweep.core.adam import ProjectedAdam
from lca_sweep.core.algorithm import Gradient
from lca_sweep.core.gbp import cross_entropy
from lca_sweep.core.images import Batch, Ordered
from lca_sweep.core.metrics import prior_loss, prior_tensors, weight_metrics
from lca_sweep.core.pack import Bucket, Pack
from lca_sweep.core.prior import kl_gradient
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import SpikeSlab
from lca_sweep.core.subnetworks import correct

EVALUATION_BATCH = 1000  # images at once; fixed, because the noise drawn for an image depends on it


@torch.inference_mode()
def train_epoch(pack: Pack, train: Ordered) -> dict[int, dict[str, float]]:
    """One pass over the training images, in place; the metrics of each trial that come from it."""
    pack.epoch += 1
    batch_size = pack.trainer.batch_size
    rng = generator(pack.trainer.batch_seed, Purpose.ORDER, pack.epoch)
    order = torch.randperm(len(train.y), generator=rng).to(train.y.device)
    steps = len(train.y) // batch_size  # an incomplete batch is dropped
    runs = [BucketEpoch(bucket, train, pack.epoch, pack.steps, batch_size) for bucket in pack.buckets]
    box = train.box(batch_size, pack.like)
    for rows in order[: steps * batch_size].view(steps, -1):
        x, y = train.batch(rows, box), train.y.index_select(0, rows)
        for run in runs:
            run.step(x, y)
    pack.steps += steps
    tolerance = pack.trainer.category_tolerance
    return {number: metrics for run in runs for number, metrics in run.finish(tolerance).items()}


class BucketEpoch:
    """One epoch of one bucket; between its start and `finish` the first layer lives here, without silent inputs."""

    def __init__(self, bucket: Bucket, train: Ordered, epoch: int, steps: int, batch: int) -> None:
        """`steps` is the number of steps taken before this epoch."""
        self.bucket, self.train, self.images = bucket, train, len(train.y)
        self.algorithm = bucket.algorithm
        self.noise = Noise(bucket, Purpose.TRAIN, epoch, batch)
        first = bucket.layers[0]
        self.silent = adam.columns(first, train.silent)
        self.layers = [adam.columns(first, train.heard), *bucket.layers[1:]]
        trainers, trained = [trial.knobs.trainer for trial in bucket.trials], self.algorithm.TRAINED
        self.optimiser = ProjectedAdam([*self.layers, self.silent], trainers, steps, trained)
        self.weights = [layer.w for layer in self.layers]
        self.fan_in = train.fan_in(bucket.fan_in)
        self.no_gradient = tuple(torch.zeros_like(getattr(self.silent.w, name)) for name in trained)
        self.has_prior = any(trial.knobs.prior.strength > 0 for trial in bucket.trials)
        if self.has_prior:
            weight, self.prior = prior_tensors(bucket, first.w.m)
            real = [bucket.real(depth) for depth in range(len(self.layers))]
            masks = [real[0][..., train.heard], *real[1:], real[0][..., train.silent]]
            self.prior_share = [weight / self.images * mask for mask in masks]  # padding has no prior
        self.loss: list[Tensor] = []
        # the largest activation of each hidden unit in this epoch
        self.active = [torch.zeros_like(units, dtype=first.w.m.dtype) for units in bucket.units[1:-1]]

    def step(self, x: Batch, y: Tensor) -> None:
        """One mini-batch: x (heard inputs, batch), y (batch)."""
        trace = self.algorithm.forward(self.algorithm.prepare(self.weights), self.fan_in, x, self.noise.draw())
        loss, dz = cross_entropy(trace[-1].z, y)
        gradients: list[Gradient] = [*self.algorithm.backward(self.weights, trace, dz), self.no_gradient]
        if self.has_prior:
            gradients = self._with_prior(gradients)
        self.optimiser.update(gradients)
        self.loss.append(loss)
        if self.algorithm.RANDOM:
            for active, layer in zip(self.active, trace[1:], strict=True):
                torch.maximum(active, layer.a.amax(-1), out=active)

    def finish(self, tolerance: float) -> dict[int, dict[str, float]]:
        """Put the first layer back. By trial: training loss (mean of the steps), prior's part, weights' metrics."""
        bucket = self.bucket
        adam.put_columns(bucket.layers[0], self.train.heard, self.layers[0])
        adam.put_columns(bucket.layers[0], self.train.silent, self.silent)
        loss = torch.stack(self.loss).mean(0)
        prior = prior_loss(bucket, self.images) if self.has_prior else torch.zeros_like(loss)
        metrics = {"train/loss": loss, "train/prior": prior}
        if self.algorithm.RANDOM:  # else weights have neither categories nor entropy
            pixels = self.train.nonzero.expand_as(bucket.units[0])
            metrics |= weight_metrics(bucket, [pixels, *(active > 0 for active in self.active)], tolerance)
        rows = torch.stack([column.double() for column in metrics.values()], 1).tolist()
        return {
            trial.number: dict(zip(metrics, row, strict=True)) for trial, row in zip(bucket.trials, rows, strict=True)
        }

    def _with_prior(self, gradients: list[Gradient]) -> list[Gradient]:
        """Add the gradient of weight * KL / images."""
        slopes = [kl_gradient(layer.w, self.prior) for layer in [*self.layers, self.silent]]
        return [
            tuple(torch.addcmul(g, share, k) for g, k in zip(gradient, slope, strict=True))
            for gradient, slope, share in zip(gradients, slopes, self.prior_share, strict=True)
        ]


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
