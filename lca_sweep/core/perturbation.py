"""Targeted weight perturbation: what happens to sub-networks when weights of one category are changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ARMS = ("vip_deleted", "uip_replaced", "var_deleted", "random_deleted")


@dataclass(frozen=True)
class Perturbation:
    """Accuracy (fraction of 1) of perturbed sub-networks, layer by layer; arms are in the order of ARMS."""

    layers: tuple[int, ...]  # from 1
    fractions: tuple[float, ...]  # of the category's weights that are changed
    accuracy: NDArray[np.float64]  # (layers, arms, fractions, repeats)
    changed: NDArray[np.int64]  # (layers, arms, fractions): how many weights that is
