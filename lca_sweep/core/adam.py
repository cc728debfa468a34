"""Projected Adam with decoupled decay (Kingma & Ba 2015; Loshchilov & Hutter 2019), clipped to the valid range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lca_sweep.core.knobs import Trainer
from lca_sweep.core.spikeslab import SpikeSlab


class AdamLayer(NamedTuple):
    """One layer's weights and their optimiser state; every tensor is (trials, out, in)."""

    w: SpikeSlab
    first: SpikeSlab  # running mean of the gradient
    second: SpikeSlab  # running mean of its square


def start(w: SpikeSlab) -> AdamLayer:
    """Optimiser state before the first step."""
    first, second = (SpikeSlab(*map(torch.zeros_like, w)) for _ in range(2))
    return AdamLayer(w, first, second)


class ProjectedAdam:
    """The optimiser of a bucket for as long as its tensors stay in place; each trial has its own lr and decay."""

    def __init__(
        self,
        layers: Sequence[AdamLayer],
        trainers: Sequence[Trainer],
        steps: int,
        trained: Sequence[str] = SpikeSlab._fields,
    ) -> None:
        """`steps` is the number of steps taken before; of each weight's numbers only the `trained` change."""
        self.trials = [_Trial(layers, t, trainer, steps, trained) for t, trainer in enumerate(trainers)]
        self.pis = [layer.w.pi for layer in layers] if "pi" in trained else []
        self.xis = [layer.w.xi for layer in layers] if "xi" in trained else []

    def update(self, gradients: Sequence[Sequence[Tensor]]) -> None:
        """One step in place, then pi into [0, 1] and xi into [0, inf); of each layer one gradient of each `trained`."""
        for t, trial in enumerate(self.trials):
            trial.update([g[t] for gradient in gradients for g in gradient])
        for pi in self.pis:
            pi.clamp_(0, 1)
        for xi in self.xis:
            xi.clamp_(min=0)


class _Trial:
    """Views of one trial's tensors, taken once."""

    def __init__(
        self, layers: Sequence[AdamLayer], t: int, trainer: Trainer, steps: int, trained: Sequence[str]
    ) -> None:
        self.w, self.first, self.second = (
            [getattr(layer[part], name)[t] for layer in layers for name in trained] for part in range(3)
        )
        self.step = torch.tensor(float(steps), device=self.w[0].device)
        self.trainer = trainer

    def update(self, gradients: list[Tensor]) -> None:
        """The kernel behind torch.optim.AdamW(fused=True), one pass over memory, without that class's bookkeeping."""
        self.step += 1
        torch._fused_adamw_(
            self.w,
            gradients,
            self.first,
            self.second,
            [],
            [self.step] * len(self.w),
            lr=self.trainer.lr,
            beta1=self.trainer.beta1,
            beta2=self.trainer.beta2,
            weight_decay=self.trainer.weight_decay,
            eps=self.trainer.eps,
            amsgrad=False,
            maximize=False,
        )


class BatchedAdam:
    """The same step for all trials at once, by plain tensor operations that a CUDA graph can hold.

    Nothing in it is Python's, not even the number of the step, which is the caller's, as `rises`.
    """

    def __init__(self, layers: Sequence[AdamLayer], trainers: Sequence[Trainer], trained: Sequence[str]) -> None:
        self.tensors = [[getattr(part, name) for part in layer] for layer in layers for name in trained]
        self.clips = [{"pi": (0.0, 1.0), "m": None, "xi": (0.0, None)}[name] for _ in layers for name in trained]
        like, self.trainer = self.tensors[0][0], trainers[0]  # of what all share

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).to(like).view(-1, 1, 1)

        self.lr = column([trainer.lr for trainer in trainers])
        self.shrink = column([1 - trainer.lr * trainer.weight_decay for trainer in trainers])

    def update(self, gradients: Sequence[Sequence[Tensor]], rises: Tensor) -> None:
        """One step in place, as `ProjectedAdam`; `rises` (2) is the step's row of that function."""
        rise1, rise2 = rises.unbind()
        flat = [g for gradient in gradients for g in gradient]
        for (w, first, second), clip, g in zip(self.tensors, self.clips, flat, strict=True):
            first.lerp_(g, 1 - self.trainer.beta1)
            second.lerp_(g * g, 1 - self.trainer.beta2)
            step = first / rise1 / (second / rise2).sqrt_().add_(self.trainer.eps)
            w.mul_(self.shrink).sub_(step.mul_(self.lr))
            if clip:
                w.clamp_(*clip)


def rises(trainer: Trainer, before: int, steps: int) -> Tensor:
    """1 - beta^step of both betas, what running means are divided by at each of so many steps: (steps, 2) float64."""
    step = torch.arange(before + 1, before + steps + 1, dtype=torch.float64).unsqueeze(1)
    return 1 - torch.tensor([trainer.beta1, trainer.beta2], dtype=torch.float64) ** step


def select(layer: AdamLayer, t: int, out: int, inputs: int) -> AdamLayer:
    """One trial's part of a layer, (out, in), without padding; views."""
    return AdamLayer(*(SpikeSlab(*(p[t, :out, :inputs] for p in part)) for part in layer))


def columns(layer: AdamLayer, index: Tensor) -> AdamLayer:
    """A copy of the connections from some inputs."""
    return AdamLayer(*(SpikeSlab(*(p.gather(-1, index.expand(*p.shape[:-1], -1)) for p in part)) for part in layer))


def put_columns(layer: AdamLayer, index: Tensor, source: AdamLayer) -> None:
    """Write back what `columns` took."""
    for part, own in zip(layer, source, strict=True):
        for p, values in zip(part, own, strict=True):
            p.scatter_(-1, index.expand_as(values), values)


def stack(parts: Sequence[AdamLayer], out: int, inputs: int) -> AdamLayer:
    """Trials' layers (out, in) of any smaller size, padded to one (trials, out, in).

    A padded connection is absent (pi = 1, m = xi = 0): it passes nothing on, and gets no gradient.
    """
    like = parts[0].w.m

    def padded(role: int, name: int) -> Tensor:
        absent = 1.0 if role == 0 and name == 0 else 0.0
        box = torch.full((len(parts), out, inputs), absent, dtype=like.dtype, device=like.device)
        for t, part in enumerate(parts):
            own = part[role][name]
            box[t, : own.shape[0], : own.shape[1]] = own
        return box

    return AdamLayer(*(SpikeSlab(*(padded(role, name) for name in range(3))) for role in range(3)))
