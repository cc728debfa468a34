"""Targeted weight perturbation: what happens to sub-networks when weights of one category are changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_sweep.core.data import Images
from lca_sweep.core.images import Loaded, load_images
from lca_sweep.core.knobs import Range, require
from lca_sweep.core.network import Network
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import SpikeSlab, categories
from lca_sweep.core.subnetworks import accuracies

ARMS = ("vip_deleted", "uip_replaced", "var_deleted", "random_deleted")
FRACTIONS = tuple(tenths / 10 for tenths in range(11))


@dataclass(frozen=True)
class Perturbation:
    """Accuracy (fraction of 1) of perturbed sub-networks, layer by layer; arms are in the order of ARMS."""

    layers: tuple[int, ...]  # from 1
    fractions: tuple[float, ...]  # of the category's weights that are changed
    accuracy: NDArray[np.float64]  # (layers, arms, fractions, repeats)
    changed: NDArray[np.int64]  # (layers, arms, fractions): how many weights that is


@torch.inference_mode()
def perturb(
    network: Network,
    images: Images,
    scale: float,
    *,
    seed: int,
    layers: Sequence[int] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    repeats: int = 10,
    tolerance: float = 0.0,
) -> Perturbation:
    """Change more and more weights of one layer (of each of `layers`, from 1; None: all) and see what becomes of it.

    Each repeat draws a sub-network and perturbs it in all arms: a fraction of its VIP weights becomes 0, of its UIP
    weights Normal(0, 1) draws; as many VAR weights as were VIP weights become 0 (all, if they are fewer), and as many
    of any category. A larger fraction changes the same weights and more. `tolerance` is that of `categories`. A layer's
    random numbers do not depend on which others are perturbed. Raises KnobError for an argument out of range.
    """
    depth = len(network.layers)
    numbers = tuple(range(1, depth + 1) if layers is None else layers)
    require("layers", list(numbers), Range("layers", ge=1, le=depth))
    require("fractions", list(fractions), Range("fractions of a category", ge=0, le=1))
    require("repeats", repeats, Range("sub-networks of a layer", ge=1))
    require("tolerance", tolerance, Range("slack of categories", ge=0, lt=0.5))
    loaded = load_images(images, scale, network.layers[0].m.device)
    changed = np.empty((len(numbers), len(ARMS), len(fractions)), np.int64)
    accuracy = np.empty((*changed.shape, repeats))
    for row, number in enumerate(numbers):
        masks = targets(network.layers[number - 1], tolerance)
        rng = generator(seed, Purpose.PERTURBATION, number, loaded.y.device)
        changed[row] = _how_many([int(mask.sum()) for mask in masks], fractions)
        for repeat in range(repeats):
            accuracy[row, ..., repeat] = _repeat(network, number - 1, masks, changed[row], loaded, rng)
    return Perturbation(numbers, tuple(fractions), accuracy, changed)


def targets(layer: SpikeSlab, tolerance: float) -> list[Tensor]:
    """Mask (out, in) of the weights that each arm may change."""
    masks = categories(layer, tolerance)
    return [masks.vip, masks.uip, masks.var, torch.ones_like(masks.vip)]


def _how_many(sizes: Sequence[int], fractions: Sequence[float]) -> NDArray[np.int64]:
    """Weights to change, (arms, fractions), where an arm may change `sizes` of them."""
    vip, uip = (np.rint(np.multiply(fractions, size)).astype(np.int64) for size in sizes[:2])
    return np.stack([vip, uip, np.minimum(vip, sizes[2]), vip])


def _repeat(
    network: Network,
    depth: int,
    masks: Sequence[Tensor],
    changed: NDArray[np.int64],
    images: Loaded,
    rng: torch.Generator,
) -> NDArray[np.float64]:
    """Accuracy (arms, fractions) of one sub-network with so many weights of one layer `changed`."""
    weights = network.sample(rng)
    each = plans(masks, weights[depth], rng)
    # An unchanged layer is the same in all arms; it is run once, as is whatever else comes twice.
    arms = np.arange(len(ARMS))[:, None] * (changed > 0)
    kinds, place = np.unique(np.stack([arms.ravel(), changed.ravel()]), axis=1, return_inverse=True)
    variants = (
        [*weights[:depth], perturbed(weights[depth], each[arm], count), *weights[depth + 1 :]]
        for arm, count in kinds.T.tolist()
    )
    found = accuracies(variants, images).cpu().numpy()
    return found[place.reshape(changed.shape)]


class Plan(NamedTuple):
    """In which order weights of a layer are changed, and to what."""

    order: Tensor  # (out, in) from 0; weights that are never changed come after all others
    value: Tensor  # (out, in), or one for all


def plans(masks: Sequence[Tensor], w: Tensor, rng: torch.Generator) -> list[Plan]:
    """One for each arm: the weights in its mask (out, in) in random order; `w` are the weights, for their type."""
    orders = []
    for mask in masks:
        order = torch.full_like(mask, mask.numel(), dtype=torch.long)
        order[mask] = torch.randperm(int(mask.sum()), generator=rng, device=mask.device)
        orders.append(order)
    value = {"uip_replaced": torch.empty_like(w).normal_(generator=rng)}
    return [Plan(order, value.get(arm, w.new_zeros(()))) for arm, order in zip(ARMS, orders, strict=True)]


def perturbed(w: Tensor, plan: Plan, count: int) -> Tensor:
    """Weights (out, in) of which the first `count` of the plan are changed."""
    return torch.where(plan.order < count, plan.value, w)
