"""How well an ensemble of sub-networks does: one by one, averaged, at its mean, and as a mean field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_sweep.core.data import Images
from lca_sweep.core.epoch import evaluate
from lca_sweep.core.images import Loaded, load_images, load_ordered
from lca_sweep.core.knobs import KnobError, Range, require
from lca_sweep.core.network import Network
from lca_sweep.core.pack import Bucket
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.subnetworks import accuracies, chunks, correct, logits, subnetworks

BINS = 15  # of confidence, as in Guo et al. 2017


@dataclass(frozen=True)
class EnsembleScore:
    """One network on some images; accuracies are fractions of 1."""

    mean_field: float  # accuracy of the stochastic mean-field pass, as in training
    mean_network: float  # of the network of mean weights
    subnetworks: tuple[float, ...]  # of each sampled sub-network
    averaged: float  # of the class probabilities averaged over the sub-networks
    nll: float  # nats per image: negative log-likelihood of these probabilities
    ece: float  # their expected calibration error (Guo et al. 2017, 15 bins)


@torch.inference_mode()
def score_ensemble(
    networks: Sequence[Network], images: Images, scale: float, *, draws: int, seeds: Sequence[int]
) -> list[EnsembleScore]:
    """Score networks of the same widths, each by `draws` sub-networks; `x / scale` lies in [0, 1].

    A network's random numbers follow from its own one of `seeds`, its `init.seed`. The noise of the mean field is that
    of epoch 0, of which training knows nothing. Raises KnobError for an argument out of range.
    """
    _check(networks, draws, seeds)
    if not networks:
        return []
    device = networks[0].layers[0].m.device
    loaded = load_images(images, scale, device)
    rngs = [generator(seed, Purpose.ENSEMBLE, device=device) for seed in seeds]
    p, own = _average(networks, loaded, draws, rngs)
    ordered = load_ordered(images, scale, device)
    field = [evaluate(Bucket.of(*pair), ordered, Purpose.TEST, 0)[1][0] for pair in zip(networks, seeds, strict=True)]
    mean = accuracies((network.mean() for network in networks), loaded)
    averaged = correct(p, loaded.y) / len(loaded.y)
    nll, ece = negative_log_likelihood(p, loaded.y), calibration_error(p, loaded.y)
    return [
        EnsembleScore(
            mean_field=field[n],
            mean_network=mean[n].item(),
            subnetworks=tuple(own[n].tolist()),
            averaged=averaged[n].item(),
            nll=nll[n].item(),
            ece=ece[n].item(),
        )
        for n in range(len(networks))
    ]


def _check(networks: Sequence[Network], draws: int, seeds: Sequence[int]) -> None:
    require("draws", draws, Range("sub-networks of each network", ge=1))
    if len(seeds) != len(networks):
        raise KnobError(f"seeds={list(seeds)}: must be {len(networks)}, one for each network")
    for network in networks:
        if network.widths != networks[0].widths:
            raise KnobError(f"widths={network.widths}: must be {networks[0].widths}, the first network's")


def _average(
    networks: Sequence[Network], images: Loaded, draws: int, rngs: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Averaged class probabilities (networks, classes, images), and the sub-networks' accuracies (networks, draws)."""
    like = networks[0].layers[0].m
    total = torch.zeros(len(networks), networks[0].widths[-1], len(images.y), dtype=torch.float64, device=like.device)
    hits = total.new_zeros(len(networks) * draws)
    done = 0
    for chunk in chunks(subnetworks(networks, draws, rngs)):
        here = torch.arange(done, done + len(chunk), device=like.device)
        for where, z in logits(chunk, images):
            total[..., where].index_add_(0, here // draws, torch.softmax(z.double(), 1))
            hits[here] += correct(z, images.y[where])
        done += len(chunk)
    return total / draws, hits.view(-1, draws) / len(images.y)


@torch.no_grad()
def predict(network: Network, x: Tensor, draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Class probabilities averaged over `draws` sub-networks, and their standard deviation over these.

    `x` is (images, inputs) in [0, 1]; both results are (images, classes) in float64, and deviations are those of just
    these sub-networks (divided by `draws`). Raises KnobError for `draws` < 1.
    """
    require("draws", draws, Range("sub-networks", ge=1))
    if len(x) == 0:
        nothing = x.new_zeros(0, network.widths[-1], dtype=torch.float64)
        return nothing, nothing
    images = Loaded(x, torch.zeros(len(x), dtype=torch.long, device=x.device), 1.0)
    middle = torch.cat([torch.softmax(z.double(), 1) for _, z in logits([network.mean()], images)], -1)[0]
    first, second = torch.zeros_like(middle), torch.zeros_like(middle)
    for chunk in chunks(subnetworks([network], draws, [rng])):
        for where, z in logits(chunk, images):
            # (classes, batch); from the mean network's, so that the variance is no difference of large numbers
            deviation = torch.softmax(z.double(), 1) - middle[:, where]
            first[:, where] += deviation.sum(0)
            second[:, where] += deviation.square().sum(0)
    shift = first / draws
    return (middle + shift).t(), (second / draws - shift.square()).clamp_min(0).sqrt().t()


def negative_log_likelihood(p: Tensor, y: Tensor) -> Tensor:
    """Nats per image, (networks), of class probabilities (networks, classes, images); a probability of 0 counts 708."""
    own = p.gather(1, y.expand(len(p), 1, -1)).squeeze(1)
    return -own.clamp_min(torch.finfo(p.dtype).tiny).log().mean(1)


def calibration_error(p: Tensor, y: Tensor) -> Tensor:
    """Expected calibration error, (networks), of class probabilities (networks, classes, images).

    Guo et al. 2017, Eq. (3): |accuracy - confidence| of the images in each bin of confidence ((b - 1) / 15, b / 15],
    weighted by how many these are.
    """
    confidence, guess = p.max(1)
    bin = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gap = (guess == y).to(p.dtype) - confidence  # summed over a bin: its images * (accuracy - confidence)
    return p.new_zeros(len(p), BINS).scatter_add_(1, bin, gap).abs().sum(1) / len(y)
