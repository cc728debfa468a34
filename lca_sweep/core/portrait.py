"""Pictures of a trained network's weights, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lca_sweep.core.knobs import Range, require
from lca_sweep.core.network import Network
from lca_sweep.core.spikeslab import categories


@dataclass(frozen=True)
class Histogram:
    """How many weights have a value between neighbouring edges."""

    edges: NDArray[np.float64]  # (bins + 1)
    counts: NDArray[np.int64]  # (bins)


def histograms(network: Network, bins: int = 60) -> tuple[dict[str, Histogram], ...]:
    """Of each layer's `pi` between 0 and 1, `m` between its extremes, and `xi` from 0: each weight is counted once.

    A value on an edge counts above it, on the last edge below. Raises KnobError for `bins` < 1.
    """
    require("bins", bins, Range("bars of a histogram", ge=1))
    return tuple(
        {
            "pi": _histogram(layer.pi, bins, 0.0, 1.0),
            "m": _histogram(layer.m, bins, layer.m.min().item(), layer.m.max().item()),
            "xi": _histogram(layer.xi, bins, 0.0, layer.xi.max().item()),
        }
        for layer in network.layers
    )


def _histogram(values: Tensor, bins: int, low: float, high: float) -> Histogram:
    edges = np.linspace(low, high, bins + 1)
    if (np.diff(edges) <= 0).any():  # all values are, or nearly are, one
        reach = max(1.0, abs(low), abs(high)) / 2
        edges = np.linspace(low - reach, high + reach, bins + 1)
    counts, _ = np.histogram(values.detach().double().cpu().numpy(), edges)
    return Histogram(edges, counts.astype(np.int64))


def receptive_fields(network: Network, tolerance: float = 0.0) -> dict[str, NDArray[np.float64]]:
    """Share of each input's first-layer weights, (inputs), that are `vip`, `uip` and `var`; the three sum to 1.

    `tolerance` is that of `categories`; KnobError if it is out of range.
    """
    require("tolerance", tolerance, Range("slack of categories", ge=0, lt=0.5))
    masks = categories(network.layers[0], tolerance)._asdict()
    return {name: mask.double().mean(0).cpu().numpy() for name, mask in masks.items()}
