"""Generalised back-propagation (gBP): the mean-field forward pass and its hand-derived gradient.

Li & Huang 2020, Eqs. (2)-(5), for all trials of a bucket at once. The images have no trial axis, so the first layer,
most of the work, is one matrix product for all trials. Activations are (trials, units, batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_sweep.core.images import Batch
from lca_sweep.core.spikeslab import Moments, SpikeSlab, gate, moments

TRAINED = SpikeSlab._fields
RANDOM = True


@dataclass(frozen=True)
class LayerTrace:
    """What the backward pass needs of one layer's forward pass."""

    a: Tensor | Batch  # (in, batch) images, or (trials, in, batch): the layer's input
    a2: Tensor | Batch  # a squared
    w: Moments  # (trials, out, in)
    eps: Tensor  # (trials, out, batch) the noise
    d: Tensor  # (trials, out, batch) D = sqrt(a^2 variance^T), the noise's amplitude times sqrt(fan_in)
    z: Tensor  # (trials, out, batch) pre-activation
    scale: Tensor  # (trials, 1, 1) 1 / sqrt(fan_in)


def prepare(layers: Sequence[SpikeSlab]) -> list[Moments]:
    """What `forward` takes of the weights."""
    return [moments(layer) for layer in layers]


def forward(
    layers: Sequence[Moments], fan_in: Sequence[Tensor], x: Tensor | Batch, noise: Sequence[Tensor]
) -> list[LayerTrace]:
    """Stochastic mean-field pass of images `x` (in, batch); standard normal `noise` (trials, out, batch) per layer."""
    trace: list[LayerTrace] = []
    a = x
    for layer, n, eps in zip(layers, fan_in, noise, strict=True):
        if trace:
            a = trace[-1].z.clamp_min(0)  # ReLU between layers
        trace.append(_forward_layer(layer, n, a, eps))
    return trace


def _forward_layer(w: Moments, fan_in: Tensor, a: Tensor | Batch, eps: Tensor) -> LayerTrace:
    scale = fan_in.rsqrt()
    a2 = a.squared if isinstance(a, Batch) else a * a
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
        if isinstance(t.a, Tensor) and depth > 0:
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


def project(w: Tensor, a: Tensor | Batch) -> Tensor:
    """w a for weights (trials, out, in) and inputs (in, batch) shared by all trials, or (trials, in, batch)."""
    if isinstance(a, Tensor) and a.dim() == 3:
        return torch.bmm(w, a)
    rows = w.reshape(-1, w.shape[-1])  # one product for all trials
    product = torch.mm(rows, a) if isinstance(a, Tensor) else _project_batch(rows, a)
    return product.view(*w.shape[:2], -1)


def _project_batch(w: Tensor, a: Batch) -> Tensor:
    common = len(a.common)
    product = torch.mm(w[:, :common], a.common)
    if len(a.few):
        product.scatter_add_(1, a.few.expand(len(w), -1), torch.mm(w[:, common:], a.rare))
    return product


def correlate(g: Tensor, a: Tensor | Batch) -> Tensor:
    """g a^T, (trials, out, in), summed over the batch."""
    if isinstance(a, Tensor) and a.dim() == 3:
        return torch.bmm(g, a.transpose(1, 2))
    rows = g.reshape(-1, g.shape[-1])
    product = torch.mm(rows, a.t()) if isinstance(a, Tensor) else _correlate_batch(rows, a)
    return product.view(*g.shape[:2], -1)


def _correlate_batch(g: Tensor, a: Batch) -> Tensor:
    common, rare = len(a.common), len(a.rare)
    product = g.new_empty(len(g), common + rare)
    torch.mm(g, a.common.t(), out=product[:, :common])
    if rare:
        torch.mm(g.index_select(1, a.few), a.rare.t(), out=product[:, common:])
    return product


def back_project(w: Tensor, g: Tensor) -> Tensor:
    """w^T g, (trials, in, batch)."""
    return torch.bmm(w.transpose(1, 2), g)
