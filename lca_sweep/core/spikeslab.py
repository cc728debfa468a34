"""Spike-and-slab weights: w is 0 with probability pi, else Normal(m, xi); Eq. (1) of Li & Huang 2020.

All functions work elementwise on tensors of any shape, usually (trials, out, in).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ENTROPY_FLOOR = 1e-8  # a slab narrower than this counts as a point: its entropy would go to minus infinity


class SpikeSlab(NamedTuple):
    """The three numbers of each weight."""

    pi: Tensor  # spike mass, in [0, 1]
    m: Tensor  # slab mean
    xi: Tensor  # slab variance, >= 0


class Moments(NamedTuple):
    """What the forward pass takes of the weights, and two products on the way to it."""

    mean: Tensor
    variance: Tensor
    keep: Tensor  # 1 - pi
    pim: Tensor  # pi m


def moments(w: SpikeSlab) -> Moments:
    """Mean and variance of each weight."""
    keep, pim = 1 - w.pi, w.pi * w.m
    mean = keep * w.m  # Li & Huang 2020, below Eq. (1)
    variance = torch.addcmul(w.xi, pim, w.m).mul_(keep)  # (1-pi)(xi + pi m^2): no difference that cancels
    return Moments(mean, variance, keep, pim)


def sample(w: SpikeSlab, rng: torch.Generator) -> Tensor:
    """One draw of concrete weights, a sub-network: 0 with probability pi, else Normal(m, xi)."""
    slab = torch.empty_like(w.m).normal_(generator=rng).mul_(w.xi.sqrt()).add_(w.m)
    kept = torch.empty_like(w.pi).uniform_(generator=rng) >= w.pi
    return slab * kept


def entropy(w: SpikeSlab) -> Tensor:
    """Entropy per weight in nats: the spike's coin, plus (1-pi) times that of the slab where it is not a point."""
    coin = -(_xlogx(w.pi) + _xlogx(1 - w.pi))
    slab = 0.5 * torch.log(2 * math.pi * math.e * w.xi.clamp_min(ENTROPY_FLOOR))
    return coin.add_(gate(slab.mul_(1 - w.pi), w.xi, ENTROPY_FLOOR))


def gate(x: Tensor, by: Tensor, above: float = 0.0) -> Tensor:
    """x where the other is > `above`, else 0 (whatever x is there, also NaN), in one pass over memory."""
    gated: Tensor = torch.ops.aten.threshold_backward(x, by, above)
    return gated


def _xlogx(x: Tensor) -> Tensor:
    """x ln x, 0 at 0; faster than xlogy."""
    return x * x.clamp_min(torch.finfo(x.dtype).tiny).log_()


class Categories(NamedTuple):
    """Boolean masks; every weight is in exactly one."""

    vip: Tensor  # very important: surely there, and with one value
    uip: Tensor  # unimportant: surely absent
    var: Tensor  # variable: the rest


def categories(w: SpikeSlab, tolerance: float = 0.0) -> Categories:
    """VIP: pi = 0 and xi = 0; UIP: pi = 1; VAR: the rest. `tolerance` >= 0 is the slack of each equality."""
    vip = (w.pi <= tolerance) & (w.xi <= tolerance)
    uip = w.pi >= 1 - tolerance
    return Categories(vip & ~uip, uip, ~(vip | uip))


def counts(w: SpikeSlab, where: Tensor, tolerance: float = 0.0) -> dict[str, Tensor]:
    """How many weights are `vip`, `uip` and `var`, and their `size` in all, in `where`; by input, the last axis."""
    masks = categories(w, tolerance)._asdict()
    return {name: (mask & where).sum(-2) for name, mask in masks.items()} | {"size": where.sum(-2)}


def fractions(layers: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The `counts` of one or more layers as fractions of all their weights; 0 where there are none."""
    total = {name: sum((layer[name] for layer in layers[1:]), layers[0][name]) for name in layers[0]}
    size = total.pop("size").clamp_min(1)
    return {f"{name}_fraction": count / size for name, count in total.items()}
