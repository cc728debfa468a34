"""A bucket while it trains: what a step needs of it whatever the device, and what an epoch comes to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lca_sweep.core import adam
from lca_sweep.core.adam import AdamLayer
from lca_sweep.core.algorithm import Gradient
from lca_sweep.core.gbp import cross_entropy
from lca_sweep.core.images import Batch, Ordered
from lca_sweep.core.metrics import prior_loss, prior_tensors, weight_metrics
from lca_sweep.core.pack import Bucket
from lca_sweep.core.prior import kl_gradient


class Opened:
    """Between opening and `close` the first layer lives here, without silent inputs; all else stays the bucket's.

    It does not hold the bucket, so that a bucket may hold it, and both go when the bucket does.
    """

    def __init__(self, bucket: Bucket, train: Ordered) -> None:
        self.train, self.images = train, len(train.y)
        self.algorithm = bucket.algorithm
        first = bucket.layers[0]
        self.silent = adam.columns(first, train.silent)
        self.layers = [adam.columns(first, train.heard), *bucket.layers[1:]]
        self.weights = [layer.w for layer in self.layers]
        self.fan_in = train.fan_in(bucket.fan_in)
        self.no_gradient = tuple(torch.zeros_like(getattr(self.silent.w, name)) for name in self.algorithm.TRAINED)
        self.has_prior = any(trial.knobs.prior.strength > 0 for trial in bucket.trials)
        if self.has_prior:
            weight, self.prior = prior_tensors(bucket, first.w.m)
            real = [bucket.real(depth) for depth in range(len(self.layers))]
            masks = [real[0][..., train.heard], *real[1:], real[0][..., train.silent]]
            self.prior_share = [weight / self.images * mask for mask in masks]  # padding has no prior
        # the largest activation of each hidden unit in this epoch
        self.active = [torch.zeros_like(units, dtype=first.w.m.dtype) for units in bucket.units[1:-1]]

    @property
    def trained(self) -> list[AdamLayer]:
        """What an optimiser changes: the layers, then the connections from silent inputs."""
        return [*self.layers, self.silent]

    def reopen(self, bucket: Bucket) -> None:
        """Begin another epoch of the same bucket in the same tensors."""
        for index, part in self._parts():
            for own, source in zip(part, adam.columns(bucket.layers[0], index), strict=True):
                for p, values in zip(own, source, strict=True):
                    p.copy_(values)
        for active in self.active:
            active.zero_()

    def gradients(self, x: Batch | Tensor, y: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, list[Gradient]]:
        """Loss (trials) of one mini-batch, x (heard inputs, batch), y (batch); gradient of each of the `trained`."""
        trace = self.algorithm.forward(self.algorithm.prepare(self.weights), self.fan_in, x, noise)
        loss, dz = cross_entropy(trace[-1].z, y)
        gradients: list[Gradient] = [*self.algorithm.backward(self.weights, trace, dz), self.no_gradient]
        if self.has_prior:
            gradients = self._with_prior(gradients)
        if self.algorithm.RANDOM:
            self.heard([layer.a for layer in trace[1:]])
        return loss, gradients

    def heard(self, activations: Sequence[Tensor]) -> None:
        """Keep the largest activation of each hidden unit, (trials, units, batch) a layer."""
        for active, a in zip(self.active, activations, strict=True):
            torch.maximum(active, a.amax(-1), out=active)

    def close(self, bucket: Bucket, loss: Tensor, tolerance: float) -> dict[int, dict[str, float]]:
        """Put the first layer back. By trial: training loss (trials), prior's part, weights' metrics."""
        for index, part in self._parts():
            adam.put_columns(bucket.layers[0], index, part)
        prior = prior_loss(bucket, self.images) if self.has_prior else torch.zeros_like(loss)
        metrics = {"train/loss": loss, "train/prior": prior}
        if self.algorithm.RANDOM:  # else weights have neither categories nor entropy
            pixels = self.train.nonzero.expand_as(bucket.units[0])
            metrics |= weight_metrics(bucket, [pixels, *(active > 0 for active in self.active)], tolerance)
        rows = torch.stack([column.double() for column in metrics.values()], 1).tolist()
        return {
            trial.number: dict(zip(metrics, row, strict=True)) for trial, row in zip(bucket.trials, rows, strict=True)
        }

    def _parts(self) -> tuple[tuple[Tensor, AdamLayer], tuple[Tensor, AdamLayer]]:
        """The first layer's two parts, and which inputs they belong to."""
        return (self.train.heard, self.layers[0]), (self.train.silent, self.silent)

    def _with_prior(self, gradients: list[Gradient]) -> list[Gradient]:
        """Add the gradient of weight * KL / images."""
        slopes = [kl_gradient(layer.w, self.prior) for layer in self.trained]
        return [
            tuple(torch.addcmul(g, share, k) for g, k in zip(gradient, slope, strict=True))
            for gradient, slope, share in zip(gradients, slopes, self.prior_share, strict=True)
        ]
