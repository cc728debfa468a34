"""What is recorded of a trial's weights at every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lca_sweep.core.pack import Bucket
from lca_sweep.core.prior import SlabPrior, kl
from lca_sweep.core.spikeslab import counts, entropy, fractions

Columns = dict[str, Tensor]  # name -> one value per trial


def weight_metrics(bucket: Bucket, heard: Sequence[Tensor], tolerance: float) -> Columns:
    """Category fractions overall and per layer, entropy, mean spike mass and dead fraction per layer, for each trial.

    `heard` has, for every layer, (trials, in): whether the input was nonzero for any training image (a hidden unit: in
    this epoch). Connections from unheard inputs get no gradient: `dead_fraction` is their share, `live_` omits them.
    """
    columns: Columns = {}
    everywhere: list[Columns] = []
    alive: list[Columns] = []
    for depth, layer in enumerate(bucket.layers):
        real, prefix = bucket.real(depth), f"layer{depth + 1}/"
        by_input = counts(layer.w, real, tolerance)
        everywhere.append({name: count.sum(-1) for name, count in by_input.items()})
        alive.append({name: (count * heard[depth]).sum(-1) for name, count in by_input.items()})
        columns |= {f"{prefix}{name}": value for name, value in fractions(everywhere[-1:]).items()}
        size, weight = everywhere[-1]["size"], real.to(layer.w.pi.dtype)
        columns[f"{prefix}entropy"] = (entropy(layer.w) * weight).sum((-2, -1)) / size
        columns[f"{prefix}mean_spike"] = (layer.w.pi * weight).sum((-2, -1)) / size
        columns[f"{prefix}dead_fraction"] = 1 - alive[-1]["size"] / size
    columns |= {f"weights/{name}": value for name, value in fractions(everywhere).items()}
    return columns | {f"weights/live_{name}": value for name, value in fractions(alive).items()}


def prior_tensors(bucket: Bucket, like: Tensor) -> tuple[Tensor, SlabPrior]:
    """Weight of the prior and its hyperparameters, each (trials, 1, 1)."""

    def column(name: str) -> Tensor:
        values = [getattr(trial.knobs.prior, name) for trial in bucket.trials]
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)

    return column("strength"), SlabPrior(column("spike"), column("slab_variance"))


def prior_loss(bucket: Bucket, images: int) -> Tensor:
    """weight * KL / images of each trial, what the prior adds to the loss."""
    weight, prior = prior_tensors(bucket, bucket.layers[0].w.m)
    total = sum((kl(layer.w, prior) * bucket.real(depth)).sum((-2, -1)) for depth, layer in enumerate(bucket.layers))
    return total * weight.flatten() / images
