"""Generalised back-propagation (gBP): the mean-field forward pass and its hand-derived gradient.

Li & Huang 2020, Eqs. (2)-(5), for all trials of a bucket at once. The images have no trial axis, so the first layer,
most of the work, is one matrix product for all trials. Activations are (trials, units, batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_sweep.core.spikeslab import Moments, SpikeSlab, moments

TRAINED = SpikeSlab._fields
RANDOM = True


@dataclass(frozen=True)
class LayerTrace:
    """What the backward pass needs of one layer's forward pass."""

    a: Tensor  # (in, batch) images, or (trials, in, batch): the layer's input
    a2: Tensor  # a squared
    w: Moments  # (trials, out, in)
    eps: Tensor  # (trials, out, batch) the noise
    d: Tensor  # (trials, out, batch) D = sqrt(a^2 variance^T), the noise's amplitude times sqrt(fan_in)
    z: Tensor  # (trials, out, batch) pre-activation
    scale: Tensor  # (trials, 1, 1) 1 / sqrt(fan_in)


def forward(
    layers: Sequence[SpikeSlab], fan_in: Sequence[Tensor], x: Tensor, noise: Sequence[Tensor]
) -> list[LayerTrace]:
    """Stochastic mean-field pass of images `x` (in, batch); standard normal `noise` (trials, out, batch) per layer."""
    trace: list[LayerTrace] = []
    a = x
    for layer, n, eps in zip(layers, fan_in, noise, strict=True):
        if trace:
            a = trace[-1].z.clamp_min(0)  # ReLU between layers
        trace.append(_forward_layer(layer, n, a, eps))
    return trace


def _forward_layer(layer: SpikeSlab, fan_in: Tensor, a: Tensor, eps: Tensor) -> LayerTrace:
    w = moments(layer)
    scale = fan_in.rsqrt()
    a2 = a * a
    d = project(w.variance, a2).sqrt_()
    z = project(w.mean, a).addcmul_(eps, d).mul_(scale)  # z = G + eps Delta
    return LayerTrace(a, a2, w, eps, d, z, scale)


def cross_entropy(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of softmax of `z` (trials, classes, batch) at labels `y` (batch): loss (trials), dloss/dz."""
    log_p = torch.log_softmax(z, dim=1)
    index = y.expand(z.shape[0], 1, -1)
    loss = log_p.gather(1, index).sum((1, 2)).div_(-y.shape[0])
    dz = log_p.exp_().scatter_add_(1, index, z.new_full((1, 1, 1), -1).expand_as(index))
    return loss, dz.div_(y.shape[0])


def backward(layers: Sequence[SpikeSlab], trace: Sequence[LayerTrace], dz: Tensor) -> list[SpikeSlab]:
    """Gradient of the loss for each layer's (pi, m, xi), exact with the noise held fixed; `dz` is the last layer's."""
    gradients: list[SpikeSlab] = []
    zero = dz.new_zeros(())
    for depth in range(len(layers) - 1, -1, -1):
        t = trace[depth]
        g = dz * t.scale
        h = gate(torch.addcdiv(zero, g * t.eps, t.d, value=0.5), t.d)  # g eps / (2 D), and 0 where D = 0
        gradients.append(_weight_gradient(layers[depth], t, g, h))
        if depth > 0:
            da = back_project(t.w.mean, g).addcmul_(t.a, back_project(t.w.variance, h), value=2)  # dC/da
            dz = gate(da, t.a)  # ReLU
    return gradients[::-1]


def _weight_gradient(w: SpikeSlab, t: LayerTrace, g: Tensor, h: Tensor) -> SpikeSlab:
    """model: dC/dm, dC/dpi, dC/dxi from A = g^T a and B = h^T a^2."""
    big_a, big_b = correlate(g, t.a), correlate(h, t.a2)
    keep, pim = t.w.keep, t.w.pim
    d_m = torch.addcmul(big_a, pim, big_b, value=2).mul_(keep)  # (1-pi)(A + 2 pi m B)
    d_pi = torch.sub(w.m, pim, alpha=2).mul_(big_b).sub_(big_a).mul_(w.m).addcmul_(w.xi, big_b, value=-1)
    d_xi = big_b.mul_(keep)  # (1-pi) B
    return SpikeSlab(d_pi, d_m, d_xi)


def gate(g: Tensor, open_where: Tensor) -> Tensor:
    """g where the other is > 0, else 0 (whatever g is there, also NaN), in one pass over memory."""
    gated: Tensor = torch.ops.aten.threshold_backward(g, open_where, 0)
    return gated


def project(w: Tensor, a: Tensor) -> Tensor:
    """w a for weights (trials, out, in) and inputs (in, batch) shared by all trials, or (trials, in, batch)."""
    if a.dim() == 2:
        return torch.mm(w.reshape(-1, w.shape[-1]), a).view(*w.shape[:2], -1)  # one product for all trials
    return torch.bmm(w, a)


def correlate(g: Tensor, a: Tensor) -> Tensor:
    """g a^T, (trials, out, in), summed over the batch."""
    if a.dim() == 2:
        return torch.mm(g.reshape(-1, g.shape[-1]), a.t()).view(*g.shape[:2], -1)
    return torch.bmm(g, a.transpose(1, 2))


def back_project(w: Tensor, g: Tensor) -> Tensor:
    """w^T g, (trials, in, batch)."""
    return torch.bmm(w.transpose(1, 2), g)
