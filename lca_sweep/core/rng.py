"""Explicit randomness: a generator follows from a seed, what it is for, and the epoch; from nothing else."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """Streams that must not overlap; the numbers are part of every result, so they never change."""

    INIT = 0
    ORDER = 1
    TRAIN = 2
    VALIDATION = 3
    TEST = 4
    ENSEMBLE = 5
    PERTURBATION = 6


def generator(seed: int, purpose: Purpose, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for this seed, purpose and epoch, hashed to the 32 bits that torch takes on a CPU."""
    words = np.random.SeedSequence([seed, int(purpose), epoch]).generate_state(1, np.uint32)
    return torch.Generator(device).manual_seed(int(words[0]))
