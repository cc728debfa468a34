"""Counter-based noise: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

A number follows from a key (a trial's seed, what it is for, the epoch) and a counter (step, layer, unit, image), and
from nothing else: neither from a trial's mates, nor from padding, nor from who is asked first. So nothing has to be
drawn in an order, and noise can be made anew instead of being kept. These functions are plain torch, for any device;
`kernels` has the same in Triton.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lca_sweep.core.rng import Purpose

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # what the key grows by from round to round
WORD = 0xFFFFFFFF  # 32 bits
EIGHTH, QUARTER = 1 << 29, (1 << 30) - 1  # of a turn of 2^32; a mask
LANES = 4  # numbers of one counter: those of so many units beside each other

Words = tuple[Tensor, Tensor, Tensor, Tensor]  # each int64, from 0 to WORD


def keys(seeds: Sequence[int], purpose: Purpose, epoch: int) -> Tensor:
    """A key of 64 bits for each trial, (trials) int64 on the CPU; hashed as in `rng.generator`."""
    words = [np.random.SeedSequence([seed, int(purpose), epoch]).generate_state(1, np.uint64) for seed in seeds]
    return torch.from_numpy(np.concatenate(words).view(np.int64))


def philox(counter: Sequence[Tensor], key: Tensor) -> Words:
    """Four words of 32 random bits from a counter of four (int64, 0 to WORD) and a key of 64 bits; all broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & WORD, (key >> 32) & WORD
    for _ in range(ROUNDS):
        low0, high0 = _product(MULTIPLIERS[0], c0)
        low1, high1 = _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def _product(factor: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper half of the 64 bits; that int64 has a sign does not change them."""
    product = word * factor
    return product & WORD, (product >> 32) & WORD


def normals(words: Words) -> list[Tensor]:
    """Four standard normals, float32, by two Box-Muller transforms; at most 6.8 in size."""
    return [*_box_muller(*words[:2]), *_box_muller(*words[2:])]


def _box_muller(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Radius from one word, angle from the other."""
    radius = (((one.float() + 0.5) * 2.0**-32).log() * -2).sqrt()  # the logarithm's argument is in (0, 1]
    cosine, sine = _cosine_and_sine(other)
    return radius * cosine, radius * sine


def _cosine_and_sine(word: Tensor) -> tuple[Tensor, Tensor]:
    """Of the angle 2 pi word / 2^32: the nearest quarter turn exactly, and Taylor's series for the rest, to rounding.

    So it is the same on all devices, and needs no reduction of large angles, which makes a GPU's kernel long.
    """
    turned = (word + EIGHTH) & WORD
    quarter, rest = turned >> 30, (turned & QUARTER) - EIGHTH
    x = rest.float() * (2 * math.pi * 2.0**-32)  # in [-pi/4, pi/4)
    x2 = x * x
    sine = x * (1 + x2 * (-1 / 6 + x2 * (1 / 120 + x2 * (-1 / 5040 + x2 * (1 / 362880)))))
    cosine = 1 + x2 * (-1 / 2 + x2 * (1 / 24 + x2 * (-1 / 720 + x2 * (1 / 40320 - x2 * (1 / 3628800)))))
    odd = (quarter & 1) == 1
    along, across = torch.where(odd, sine, cosine), torch.where(odd, cosine, sine)
    back = ((quarter + 1) & 2) == 2
    return torch.where(back, -along, along), torch.where(quarter >= 2, -across, across)


def noise(key: Tensor, step: Tensor, layer: int, units: int, images: Tensor) -> Tensor:
    """Standard normals (trials, units, images), float32: `key` (trials), `step` (), `images` (images), all int64.

    The step may live on the device: its value is not looked at here.
    """
    groups = torch.arange(-(-units // LANES), device=key.device).view(1, -1, 1)
    at = images.view(1, 1, -1), groups, torch.full_like(step, layer), step
    lanes = torch.stack(normals(philox(at, key.view(-1, 1, 1))), 2)  # (trials, groups, lanes, images)
    return lanes.flatten(1, 2)[:, :units].contiguous()
