"""Generalised back-propagation on a CPU, with compiled passes between the matrix products; `gbp` has it in plain torch.

A weight is read and written once a step, by the pass that has its gradient, prior, Adam, projection and new moments in
one; so are the units' arrays in each direction. Needs numba and float32. Numbers are those of plain torch but for the
rounding of single operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lca_sweep.core import passes
from lca_sweep.core.adam import AdamLayer
from lca_sweep.core.gbp import back_project, correlate, cross_entropy, project
from lca_sweep.core.images import Batch
from lca_sweep.core.pack import Trial
from lca_sweep.core.passes import Array
from lca_sweep.core.prior import PI_FLOOR, XI_FLOOR

Three = tuple[Array, Array, Array]


class Weights(NamedTuple):
    """A layer as the passes see it: views of its tensors."""

    w: Three  # pi, m, xi
    first: Three
    second: Three
    new: tuple[Array, Array]  # mean, variance


class Trace(NamedTuple):
    """What the backward pass needs of one layer; all but images are (trials, units, batch)."""

    a: Tensor | Batch  # its input
    a2: Tensor | Batch  # a squared
    d: Tensor  # D, the noise's amplitude times sqrt(fan_in)
    eps: Tensor


class CompiledGbp:
    """The training steps of one epoch of a bucket, in place."""

    def __init__(
        self,
        layers: Sequence[AdamLayer],
        fan_in: Sequence[Tensor],
        trials: Sequence[Trial],
        steps: int,
        shares: Sequence[Tensor] | None,
    ) -> None:
        """`layers`: the network's, then one that gets no gradient; `steps` were taken before.

        `shares`, of each layer (trials, out, in): how much of the prior's gradient is added; None: there is no prior.
        """
        self.layers, self.steps = layers, steps
        self.trainers = [trial.knobs.trainer for trial in trials]
        self.rates = _rates(trials)
        self.shares = [flat(share) for share in shares or ()]
        self.means, self.variances = ([torch.empty_like(layer.w.m) for layer in layers] for _ in range(2))
        self.views = [
            Weights(_three(layer.w), _three(layer.first), _three(layer.second), (flat(mean), flat(variance)))
            for layer, mean, variance in zip(layers, self.means, self.variances, strict=True)
        ]
        for view in self.views:
            passes.moments(*view.w, *view.new)
        self.no_product = flat(torch.zeros_like(layers[-1].w.m))
        self.scales = [n.rsqrt().view(-1).numpy() for n in fan_in]
        slab = [trial.knobs.prior.slab_variance for trial in trials]
        self.slab = layers[0].w.m.new_tensor(slab).view(-1, 1, 1)

    def step(self, x: Batch, y: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One mini-batch: x (inputs, batch), y (batch), noise (trials, out, batch) per layer.

        The loss (trials), and the activations of the hidden layers.
        """
        self.steps += 1
        trace, z = self._forward(x, noise)
        loss, g = cross_entropy(z, y)
        products = self._backward(trace, g)
        self._correct()
        for depth, (big_a, big_b) in enumerate(products):
            self._update(depth, (flat(big_a), flat(big_b)))
        self._update(len(products), (self.no_product, self.no_product))
        return loss, [layer.a for layer in trace[1:] if isinstance(layer.a, Tensor)]

    def _forward(self, x: Batch, noise: Sequence[Tensor]) -> tuple[list[Trace], Tensor]:
        """Of each layer what it needs on the way back; z of the last."""
        trace: list[Trace] = []
        a: Tensor | Batch = x
        a2: Tensor | Batch = x.squared
        for depth, eps in enumerate(noise):
            z, d = project(self.means[depth], a), project(self.variances[depth], a2)
            trace.append(Trace(a, a2, d, eps))
            hidden = depth < len(noise) - 1
            a, a2 = z, torch.empty_like(z) if hidden else d
            passes.activate(flat(z), flat(d), flat(a2), flat(eps), self.scales[depth], hidden)
        assert isinstance(a, Tensor)
        return trace, a

    def _backward(self, trace: Sequence[Trace], g: Tensor) -> list[tuple[Tensor, Tensor]]:
        """A = g^T a and B = h^T a^2 of each layer."""
        products: list[tuple[Tensor, Tensor]] = []
        h = torch.empty_like(g)
        for depth in range(len(trace) - 1, -1, -1):
            layer, hidden = trace[depth], depth < len(trace) - 1
            a = trace[depth + 1].a if hidden else layer.eps
            assert isinstance(a, Tensor)
            scale = self.scales[depth]
            passes.slopes(flat(g), flat(h), flat(a), flat(layer.d), flat(layer.eps), scale, hidden)
            products.append((correlate(g, layer.a), correlate(h, layer.a2)))
            if depth > 0:
                g, h = back_project(self.means[depth], g), back_project(self.variances[depth], h)
        return products[::-1]

    def _correct(self) -> None:
        """Take up the corrections of Adam's bias at this step."""
        for rates, t in zip(self.rates, self.trainers, strict=True):
            rise1, rise2 = 1 - t.beta1**self.steps, 1 - t.beta2**self.steps
            rates[passes.PACE], rates[passes.RISE] = t.lr / rise1, rise2**-0.5

    def _update(self, depth: int, products: tuple[Array, Array]) -> None:
        view, w = self.views[depth], self.layers[depth].w
        logs, share = products, products[0]  # not looked at; what is written must not overlap, or the loop is slow
        if self.shares:
            logit = torch.logit(w.pi, eps=PI_FLOOR)
            logs = flat(logit), flat((w.xi / self.slab).clamp_min_(XI_FLOOR).log_())
            share = self.shares[depth]
        passes.update(view.w, view.first, view.second, products, view.new, self.rates, logs, share, bool(self.shares))


def _rates(trials: Sequence[Trial]) -> Array:
    """Of each trial what `passes.update` names; PACE and RISE are another at each step."""
    rows = []
    for trial in trials:
        t, p = trial.knobs.trainer, trial.knobs.prior
        adam = 1 - t.beta1, 1 - t.beta2, 1 - t.lr * t.weight_decay, 0.0, 0.0, t.eps
        spike = np.log(p.spike / (1 - p.spike))
        rows.append([*adam, spike, p.slab_variance, PI_FLOOR, XI_FLOOR * p.slab_variance])
    return np.array(rows, np.float32)


def flat(tensor: Tensor) -> Array:
    """The same memory as (trials, numbers of a trial)."""
    view: Array = tensor.view(len(tensor), tensor[0].numel()).numpy()
    return view


def _three(parts: Sequence[Tensor]) -> Three:
    pi, m, xi = map(flat, parts)
    return pi, m, xi
