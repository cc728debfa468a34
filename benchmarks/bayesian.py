"""A published library of variational layers at the same sizes: bayesian-torch, `LinearReparameterization`, Adam.

Not a dependency: `pip install --no-deps bayesian-torch` puts it beside torch. Its weights are normal, without a spike,
so that it trains two numbers of each where we train three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch

from lca_sweep.core.images import Loaded

NAME = "bayesian-torch"


def installed() -> bool:
    """Whether it is here."""
    return find_spec("bayesian_torch") is not None


def epoch(widths: Sequence[int], train: Loaded, batch: int) -> Callable[[], None]:
    """All mini-batches once, in a random order."""
    from bayesian_torch.layers import LinearReparameterization

    layers: list[Any] = [LinearReparameterization(ins, out, bias=False) for ins, out in pairwise(widths)]
    optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()], lr=1e-3)
    images, labels = train.pixels.float() / train.scale, train.y

    def run() -> None:
        for rows in torch.randperm(len(labels)).view(-1, batch):
            a, divergence = images[rows], torch.zeros(())
            for depth, layer in enumerate(layers):
                a, kl = layer(a.relu() if depth else a)
                divergence = divergence + kl
            loss = torch.nn.functional.cross_entropy(a, labels[rows]) + divergence / len(labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run
