"""Generalised back-propagation, in Triton's kernels between the matrix products; `gbp` has it in plain torch.

The noise is made where it is needed and nowhere kept; a weight is read and written once a step, by the kernel that has
its gradient, prior, Adam, projection and new moments in one. Needs Triton and float32. On CPU tensors the same
functions run in Triton's interpreter (TRITON_INTERPRET=1), which the tests do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lca_sweep.core import kernels
from lca_sweep.core.gbp import back_project, correlate, cross_entropy, project
from lca_sweep.core.opened import Opened
from lca_sweep.core.pack import Bucket
from lca_sweep.core.spikeslab import SpikeSlab

IMAGES = 512  # of one unit in a program of the kernels for units
WEIGHTS = 1024  # in a program of the kernels for weights
WARPS = 8  # of these


class Counter(NamedTuple):
    """Where noise is: with a layer, a unit and an image, all that it follows from."""

    keys: Tensor  # (trials) int64
    clock: Tensor  # () int64, the step
    first: int = 0  # number of a batch's first image


class Layer(NamedTuple):
    """What the backward pass needs of one layer; all but images are (trials, units, batch)."""

    a: Tensor  # its input, or images (in, batch)
    a2: Tensor  # a squared
    d: Tensor  # D, the noise's amplitude times sqrt(fan_in)


def noise(like: Tensor, at: Counter, layer: int) -> Tensor:
    """Standard normals of the shape of `like`, (trials, units, batch)."""
    out = torch.empty_like(like)
    kernels.noise[_over_units(out)](out, *at, layer, *out.shape[1:], BLOCK=IMAGES)
    return out


def moments(w: SpikeSlab, mean: Tensor, variance: Tensor) -> None:
    """Of each weight, into `mean` and `variance`."""
    grid = (_blocks(mean.numel(), WEIGHTS),)
    kernels.moments[grid](*w, mean, variance, mean.numel(), BLOCK=WEIGHTS, num_warps=WARPS)


def activate(z: Tensor, d: Tensor, scale: Tensor, at: Counter, layer: int, hidden: bool) -> Tensor:
    """See `kernels.activate`; the squared activations of a hidden layer, else `d`."""
    a2 = torch.empty_like(z) if hidden else d
    kernels.activate[_over_units(z)](z, d, a2, scale, *at, layer, *z.shape[1:], HIDDEN=hidden, BLOCK=IMAGES)
    return a2


def slopes(g: Tensor, h: Tensor, a: Tensor, d: Tensor, scale: Tensor, at: Counter, layer: int, hidden: bool) -> None:
    """See `kernels.slopes`; `a` is looked at in a hidden layer only."""
    grid, where = _over_units(g), (at.keys, at.clock, layer)
    kernels.slopes[grid](g, h, a, d, scale, *where, *g.shape[1:], HIDDEN=hidden, BLOCK=IMAGES)


def forward(
    means: Sequence[Tensor], variances: Sequence[Tensor], scales: Sequence[Tensor], x: Tensor, at: Counter
) -> tuple[list[Layer], Tensor]:
    """Stochastic mean-field pass of images `x` (in, batch): the layers, and z (trials, classes, batch) of the last."""
    trace: list[Layer] = []
    a, a2 = x, x * x
    for depth, (mean, variance, scale) in enumerate(zip(means, variances, scales, strict=True)):
        z, d = project(mean, a), project(variance, a2)
        trace.append(Layer(a, a2, d))
        a, a2 = z, activate(z, d, scale, at, depth, hidden=depth < len(means) - 1)
    return trace, a


class FusedGbp:
    """The training step of an opened bucket, in place."""

    def __init__(self, bucket: Bucket, opened: Opened) -> None:
        self.opened = opened
        like = opened.weights[0].m
        trainers = [trial.knobs.trainer for trial in bucket.trials]
        self.trainer = trainers[0]  # of what all share
        self.scales = [n.rsqrt() for n in opened.fan_in]
        self.means, self.variances = ([torch.empty_like(w.m) for w in opened.weights] for _ in range(2))
        priors = [trial.knobs.prior for trial in bucket.trials]
        rates = [
            [t.lr, 1 - t.lr * t.weight_decay, p.strength / opened.images, p.spike, p.slab_variance]
            for t, p in zip(trainers, priors, strict=True)
        ]
        self.rates = torch.tensor(rates, dtype=torch.float64).to(like)
        widths = torch.stack([units.sum(1) for units in bucket.units], 1).to(torch.int32)
        self.sizes = [widths[:, [depth + 1, depth]].contiguous() for depth in range(len(self.means))]
        self.sizes[0][:, 1] = opened.weights[0].m.shape[2]  # inputs are never padding
        self.silent_sizes = self.sizes[0].clone()
        self.silent_sizes[:, 1] = opened.silent.w.m.shape[2]

    def refresh(self) -> None:
        """Take up weights that somebody else has changed."""
        for w, mean, variance in zip(self.opened.weights, self.means, self.variances, strict=True):
            moments(w, mean, variance)

    def step(self, x: Tensor, y: Tensor, at: Counter, rises: Tensor) -> Tensor:
        """One mini-batch: x (heard inputs, batch), y (batch); the loss (trials). `rises` (steps, 2): `adam.rises`."""
        trace, z = forward(self.means, self.variances, self.scales, x, at)
        loss, g = cross_entropy(z, y)
        self.opened.heard([layer.a for layer in trace[1:]])
        h = torch.empty_like(g)
        for depth in range(len(trace) - 1, -1, -1):
            layer, hidden = trace[depth], depth < len(trace) - 1
            a = trace[depth + 1].a if hidden else g
            slopes(g, h, a, layer.d, self.scales[depth], at, depth, hidden)
            big_a, big_b = correlate(g, layer.a), correlate(h, layer.a2)
            if depth > 0:
                g, h = back_project(self.means[depth], g), back_project(self.variances[depth], h)
            self._update(depth, big_a, big_b, rises, at.clock)
        self._update_silent(rises, at.clock)
        return loss

    def _update(self, depth: int, big_a: Tensor, big_b: Tensor, rises: Tensor, clock: Tensor) -> None:
        layer, sizes = self.opened.layers[depth], self.sizes[depth]
        products = big_a, big_b, self.means[depth], self.variances[depth]
        self._launch([*layer.w, *layer.first, *layer.second, *products], sizes, rises, clock, data=True)

    def _update_silent(self, rises: Tensor, clock: Tensor) -> None:
        """They decay, and the prior acts on them."""
        layer = self.opened.silent
        if layer.w.m.numel():
            tensors = [*layer.w, *layer.first, *layer.second, *4 * (layer.w.m,)]  # the last four are not looked at
            self._launch(tensors, self.silent_sizes, rises, clock, data=False)

    def _launch(self, tensors: Sequence[Tensor], sizes: Tensor, rises: Tensor, clock: Tensor, data: bool) -> None:
        trials, out, inputs = tensors[0].shape
        gains = 1 - self.trainer.beta1, 1 - self.trainer.beta2
        kernels.update[(_blocks(out * inputs, WEIGHTS), trials)](
            *tensors,
            *(self.rates, sizes, rises, clock, *gains, self.trainer.eps, out * inputs, inputs),
            DATA=data,
            PRIOR=self.opened.has_prior,
            BLOCK=WEIGHTS,
            num_warps=WARPS,
        )


def _over_units(tensor: Tensor) -> tuple[int, int, int]:
    """Programs for (trials, units, batch)."""
    trials, units, batch = tensor.shape
    return _blocks(batch, IMAGES), _blocks(units, kernels.LANES.value), trials


def _blocks(size: int, block: int) -> int:
    return -(-size // block)
