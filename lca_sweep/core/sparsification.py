"""Accuracy of a network of which only the surest weights are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_sweep.core.data import Images
from lca_sweep.core.images import load_images
from lca_sweep.core.knobs import Range, require
from lca_sweep.core.network import Network
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import categories
from lca_sweep.core.subnetworks import Weights, accuracies, subnetworks

KEPT = (*(tenths / 10 for tenths in range(10, 0, -1)), 0.05, 0.02, 0.01)


@dataclass(frozen=True)
class KeptCurve:
    """Accuracy (fraction of 1) against the share of weights that is kept, in the order of 1 - pi."""

    kept: tuple[float, ...]  # shares of all weights, descending from 1
    mean_network: tuple[float, ...]  # accuracy of the mean network at each
    subnetworks: NDArray[np.float64]  # (kept, draws): of sampled sub-networks
    without_uip: tuple[float, float]  # share kept, and the mean network's accuracy, with all UIP weights removed


@torch.inference_mode()
def kept_curve(
    network: Network,
    images: Images,
    scale: float,
    *,
    seed: int,
    draws: int = 20,
    kept: Sequence[float] = KEPT,
    tolerance: float = 0.0,
) -> KeptCurve:
    """Remove weights of the whole network in the order of `removal`, until a share of them is `kept`.

    The sub-networks are those of `score_ensemble` with this seed, the same at each share. Without spikes this is
    magnitude pruning. `tolerance` is that of `categories`. Raises KnobError for an argument out of range.
    """
    require("draws", draws, Range("sub-networks", ge=1))
    require("kept", list(kept), Range("shares of all weights", ge=0, le=1))
    require("tolerance", tolerance, Range("slack of categories", ge=0, lt=0.5))
    device = network.layers[0].m.device
    loaded, mean, order = load_images(images, scale, device), network.mean(), removal(network)
    size = sum(w.numel() for w in mean)
    cuts = [size - round(share * size) for share in kept]
    drawn = subnetworks([network], draws, [generator(seed, Purpose.ENSEMBLE, device=device)])
    uip = [categories(layer, tolerance).uip for layer in network.layers]
    one = accuracies([masked(mean, uip)], loaded)
    of_mean = accuracies((_pruned(mean, order, cut) for cut in cuts), loaded)
    of_drawn = accuracies((_pruned(weights, order, cut) for weights in drawn for cut in cuts), loaded)
    return KeptCurve(
        tuple(kept),
        tuple(of_mean.tolist()),
        of_drawn.view(draws, len(cuts)).t().cpu().numpy(),
        (1 - sum(int(mask.sum()) for mask in uip) / size, one.item()),
    )


def removal(network: Network) -> list[Tensor]:
    """Place of each weight, (out, in) a layer, in the order of removal over the whole network, from 0.

    Those go first that are most surely absent, by pi; among equals the smallest mean. This is the order of 1 - pi,
    without the rounding of a difference.
    """
    pi = torch.cat([layer.pi.flatten() for layer in network.layers])
    size = torch.cat([mean.abs().flatten() for mean in network.mean()])
    by_size = size.argsort(stable=True)
    order = by_size[pi[by_size].argsort(descending=True, stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    parts = place.split([layer.pi.numel() for layer in network.layers])
    return [part.view_as(layer.pi) for part, layer in zip(parts, network.layers, strict=True)]


def _pruned(weights: Weights, order: Sequence[Tensor], cut: int) -> Weights:
    return masked(weights, [place < cut for place in order])


def masked(weights: Weights, removed: Sequence[Tensor]) -> Weights:
    """Weights that are 0 where a mask says so."""
    return [w.masked_fill(mask, 0) for w, mask in zip(weights, removed, strict=True)]
