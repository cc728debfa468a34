"""How well an ensemble of sub-networks does: one by one, averaged, at its mean, and as a mean field."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EnsembleScore:
    """One network on some images; accuracies are fractions of 1."""

    mean_field: float  # accuracy of the stochastic mean-field pass, as in training
    mean_network: float  # of the network of mean weights
    subnetworks: tuple[float, ...]  # of each sampled sub-network
    averaged: float  # of the class probabilities averaged over the sub-networks
    nll: float  # nats per image: negative log-likelihood of these probabilities
    ece: float  # their expected calibration error (Guo et al. 2017, 15 bins)
