"""How well an ensemble of sub-networks does: one by one, averaged, at its mean, and as a mean field."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lca_sweep.core.network import Network

CHUNK = 64 << 20  # numbers in memory at a time: weights and activations


@dataclass(frozen=True)
class EnsembleScore:
    """One network on some images; accuracies are fractions of 1."""

    mean_field: float  # accuracy of the stochastic mean-field pass, as in training
    mean_network: float  # of the network of mean weights
    subnetworks: tuple[float, ...]  # of each sampled sub-network
    averaged: float  # of the class probabilities averaged over the sub-networks
    nll: float  # nats per image: negative log-likelihood of these probabilities
    ece: float  # their expected calibration error (Guo et al. 2017, 15 bins)


def predict(network: Network, x: Tensor, draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Class probabilities of images x (inputs, batch), the mean over `draws` sub-networks and the standard deviation.

    Both (batch, classes) in float64.
    """
    images, widths = x.shape[1], network.widths
    size = sum(n * m for n, m in pairwise(widths)) + images * sum(widths[1:])
    at_once = max(1, CHUNK // size)
    total = torch.zeros(images, widths[-1], dtype=torch.float64, device=x.device)
    squares = torch.zeros_like(total)
    for start in range(0, draws, at_once):
        p = _probabilities(network, x, min(at_once, draws - start), rng)
        total += p.sum(0)
        squares += p.square().sum(0)
    mean = total / draws
    return mean, (squares / draws - mean.square()).clamp_min(0).sqrt()


def _probabilities(network: Network, x: Tensor, draws: int, rng: torch.Generator) -> Tensor:
    """(draws, batch, classes); the images are shared, so the first layer is one matrix product for all draws."""
    drawn = [network.sample(rng) for _ in range(draws)]
    layers = [torch.stack(layer) for layer in zip(*drawn, strict=True)]  # (draws, out, in) each
    a = (layers[0].flatten(0, 1) @ x).view(*layers[0].shape[:2], x.shape[1]) / layers[0].shape[2] ** 0.5
    for w in layers[1:]:
        a = torch.bmm(w, a.clamp_min(0)) / w.shape[2] ** 0.5  # (draws, out, batch)
    probabilities: Tensor = a.double().softmax(1).transpose(1, 2)
    return probabilities
