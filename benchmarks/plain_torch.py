"""The network as plain torch users write it, one at a time: autograd, AdamW, clamp."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lca_sweep.core import Images, Splits, TrialKnobs
from lca_sweep.core.knobs import Prior

FLOOR = 1e-4  # of pi, 1 - pi and xi in the logarithms of the prior

Penalty = Callable[[Sequence[Tensor]], Tensor]


def forward(params: Sequence[Tensor], a: Tensor) -> Tensor:
    """Logits (images, classes) of one stochastic pass; each layer is (3, out, in): pi, m and xi."""
    for depth, (pi, m, xi) in enumerate(params):
        mean, variance = (1 - pi) * m, (1 - pi) * (xi + pi * m**2)
        a = a.relu() if depth else a
        g, delta = a @ mean.T, ((a * a) @ variance.T + 1e-20).sqrt()
        a = (g + torch.randn_like(g) * delta) / m.shape[1] ** 0.5
    return a


def train_epoch(
    params: Sequence[Tensor],
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    penalty: Penalty | None = None,
) -> None:
    """All mini-batches once, in a random order; `penalty` is added to each one's loss."""
    for batch in torch.randperm(len(labels)).view(-1, batch_size):
        loss = torch.nn.functional.cross_entropy(forward(params, images[batch]), labels[batch])
        optimiser.zero_grad()
        (loss + penalty(params) if penalty else loss).backward()
        optimiser.step()
        with torch.no_grad():
            for p in params:
                p[0].clamp_(0, 1)
                p[2].clamp_(min=0)


def curve(knobs: TrialKnobs, data: Splits) -> Iterator[dict[str, float]]:
    """Loss and accuracy of validation and test images after each epoch of one trial."""
    torch.manual_seed(knobs.init.seed)
    params = [_layer(out, ins, knobs) for ins, out in pairwise((data.inputs, *knobs.model.hidden(), data.classes))]
    optimiser = torch.optim.AdamW(params, lr=knobs.trainer.lr, weight_decay=knobs.trainer.weight_decay)
    train, *others = (_tensors(part, data.scale) for part in (data.train, data.validation, data.test))
    share = knobs.prior.strength / len(train[1])
    penalty: Penalty | None = None
    if share:

        def penalty(params: Sequence[Tensor]) -> Tensor:
            return share * torch.stack([kl(p, knobs.prior) for p in params]).sum()

    for _ in range(knobs.trainer.epochs):
        train_epoch(params, optimiser, *train, knobs.trainer.batch_size, penalty)
        found = {}
        for name, (images, labels) in zip(("val", "test"), others, strict=True):
            with torch.no_grad():
                logits = forward(params, images)
                found[f"{name}_loss"] = torch.nn.functional.cross_entropy(logits, labels).item()
                found[f"{name}_accuracy"] = (logits.argmax(1) == labels).float().mean().item()
        yield found


def _layer(out: int, ins: int, knobs: TrialKnobs) -> Tensor:
    init = knobs.init
    m, xi = torch.randn(out, ins) * init.mean_variance**0.5, torch.rand(out, ins) * init.slab_variance
    return torch.stack([torch.full((out, ins), init.spike), m, xi]).requires_grad_()


def kl(layer: Tensor, prior: Prior) -> Tensor:
    """KL of a layer's weights from the prior, summed, in nats."""
    pi, m, xi = layer[0].clamp(FLOOR, 1 - FLOOR), layer[1], layer[2].clamp(min=FLOOR * prior.slab_variance)
    ratio = xi / prior.slab_variance
    slab = 0.5 * (ratio + m**2 / prior.slab_variance - 1 - ratio.log())
    spike = pi * (pi / prior.spike).log() + (1 - pi) * ((1 - pi) / (1 - prior.spike)).log()
    return (spike + (1 - pi) * slab).sum()


def _tensors(images: Images, scale: float) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images.x).float() / scale, torch.from_numpy(images.y)
