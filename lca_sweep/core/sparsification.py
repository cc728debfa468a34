"""Accuracy of a network of which only the surest weights are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class KeptCurve:
    """Accuracy (fraction of 1) against the share of weights that is kept, in the order of 1 - pi."""

    kept: tuple[float, ...]  # shares of all weights, descending from 1
    mean_network: tuple[float, ...]  # accuracy of the mean network at each
    subnetworks: NDArray[np.float64]  # (kept, draws): of sampled sub-networks
    without_uip: tuple[float, float]  # share kept, and the mean network's accuracy, with all UIP weights removed
