"""Many networks of concrete weights, such as sub-networks: run side by side over the same images, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

import torch
from torch import Tensor

from lca_sweep.core.images import Loaded
from lca_sweep.core.network import Network, outputs

BATCH = 500  # images at once, so few that a CPU's cache holds the activations of some dozen small networks
MEMORY = 2**25  # bytes of weights and activations at once; more is no quicker on a CPU

Weights = Sequence[Tensor]  # of one network: concrete, (out, in) a layer


def subnetworks(networks: Iterable[Network], draws: int, rngs: Iterable[torch.Generator]) -> Iterator[Weights]:
    """`draws` sub-networks of the first network, then of the next; drawn one at a time, each network by its own rng.

    So a network's random numbers depend neither on the others nor on how many are run at once.
    """
    for network, rng in zip(networks, rngs, strict=True):
        for _ in range(draws):
            yield network.sample(rng)


def chunks(networks: Iterable[Weights]) -> Iterator[list[Weights]]:
    """As many networks of like widths at a time, at least one, as `MEMORY` allows."""
    source = iter(networks)
    for first in source:
        yield [first, *islice(source, max(MEMORY // _bytes(first), 1) - 1)]


def _bytes(weights: Weights) -> int:
    """Memory that one network more takes: its weights, and those stacked, and activations on both sides of a layer."""
    widths = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    activations = BATCH * max(below + above for below, above in pairwise([*widths[1:], 0]))
    return (2 * sum(w.numel() for w in weights) + activations) * weights[0].element_size()


def stack(networks: Sequence[Weights]) -> list[Tensor]:
    """Layers for `outputs`: (networks, out, in), or (out, in) where all networks have one and the same tensor."""
    layers = zip(*networks, strict=True)
    return [same[0] if all(w is same[0] for w in same) else torch.stack(same) for same in layers]


def logits(networks: Sequence[Weights], images: Loaded) -> Iterator[tuple[slice, Tensor]]:
    """Which images, and their logits (networks, classes, batch), batch by batch; the networks are one of the `chunks`.

    A layer whose tensor all the networks share is not copied, and up to the first that they do not share they are run
    as one.
    """
    weights = stack(networks)
    box = weights[0].new_empty(min(BATCH, len(images.y)), images.pixels.shape[1])
    for start in range(0, len(images.y), BATCH):
        where = slice(start, start + BATCH)
        z = outputs(weights, images.floats(images.pixels[where], box))
        yield where, z.expand(len(networks), *z.shape[-2:])


def accuracies(networks: Iterable[Weights], images: Loaded) -> Tensor:
    """Accuracy of each network, (networks) in float64, a fraction of 1."""
    hits = [torch.zeros(0, dtype=torch.float64, device=images.y.device)]
    for chunk in chunks(networks):
        hits.append(torch.stack([correct(z, images.y[where]) for where, z in logits(chunk, images)]).sum(0))
    return torch.cat(hits) / len(images.y)


def correct(z: Tensor, y: Tensor) -> Tensor:
    """How many images are classified right, (networks) in float64: logits or probabilities (networks, classes, batch).

    Among equals the first class wins, as with argmax, which is slower across a middle axis.
    """
    return (z.max(1).indices == y).sum(1, dtype=torch.float64)
