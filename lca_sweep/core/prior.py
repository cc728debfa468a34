"""The sparsity prior: KL divergence from the posterior of each weight to one common spike-and-slab.

Ours, not the paper's. KL(q || p) grows without bound at xi = 0, and its slope does at pi = 0 and pi = 1, where training
clips. So below PI_FLOOR from either end, and below XI_FLOOR prior slab variances, KL is continued by its tangent:
finite, once continuously differentiable, and still at least 0 as long as the prior itself lies between the floors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lca_sweep.core.spikeslab import SpikeSlab

PI_FLOOR = 1e-4
XI_FLOOR = 1e-4  # in units of the prior's slab variance


class SlabPrior(NamedTuple):
    """Hyperparameters of the prior, each broadcastable to (trials, out, in)."""

    spike: Tensor  # pi0, in (0, 1)
    slab_variance: Tensor  # xi0, > 0


def kl(w: SpikeSlab, prior: SlabPrior) -> Tensor:
    """KL(q || p) of each weight in nats, continued by tangents past the floors."""
    inside = _inside(w, prior)
    slope = _slopes(inside, prior)
    value = (
        torch.xlogy(inside.pi, inside.pi / prior.spike)
        + torch.xlogy(1 - inside.pi, (1 - inside.pi) / (1 - prior.spike))
        + (1 - inside.pi) * _slab(inside, prior)
    )
    return value + slope.pi * (w.pi - inside.pi) + slope.xi * (w.xi - inside.xi)


def kl_gradient(w: SpikeSlab, prior: SlabPrior) -> SpikeSlab:
    """Gradient of `kl`, with respect to pi, m and xi."""
    inside = _inside(w, prior)
    slope = _slopes(inside, prior)
    # past one floor, the tangent's slope still depends on the other variables
    past_pi, past_xi = w.pi - inside.pi, w.xi - inside.xi
    bend = (1 / prior.slab_variance - 1 / inside.xi).mul_(0.5)
    d_m = slope.m.addcmul_(past_pi, w.m / prior.slab_variance, value=-1)
    d_pi = slope.pi.addcmul_(past_xi * bend, past_pi == 0, value=-1)
    d_xi = slope.xi.addcmul_(past_pi * bend, past_xi == 0, value=-1)
    return SpikeSlab(d_pi, d_m, d_xi)


def _inside(w: SpikeSlab, prior: SlabPrior) -> SpikeSlab:
    return SpikeSlab(w.pi.clamp(PI_FLOOR, 1 - PI_FLOOR), w.m, torch.maximum(w.xi, XI_FLOOR * prior.slab_variance))


def _slab(w: SpikeSlab, prior: SlabPrior) -> Tensor:
    """KL between the two slabs."""
    ratio = w.xi / prior.slab_variance
    return 0.5 * (ratio + w.m.square() / prior.slab_variance - 1 - torch.log(ratio))


def _slopes(w: SpikeSlab, prior: SlabPrior) -> SpikeSlab:
    """Gradient of KL between the floors."""
    d_pi = torch.logit(w.pi) - torch.logit(prior.spike) - _slab(w, prior)
    d_m = (1 - w.pi) * w.m / prior.slab_variance
    d_xi = 0.5 * (1 - w.pi) * (1 / prior.slab_variance - 1 / w.xi)
    return SpikeSlab(d_pi, d_m, d_xi)
