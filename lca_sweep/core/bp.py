"""Ordinary back-propagation (BP), the baseline: weights are single numbers w = m, with neither spike nor slab.

The same network and layout as in `gbp`, of which this is the case pi = xi = 0: z = w a / sqrt(fan_in), no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lca_sweep.core.gbp import back_project, correlate, project
from lca_sweep.core.images import Batch
from lca_sweep.core.spikeslab import SpikeSlab, gate

TRAINED = ("m",)
RANDOM = False


@dataclass(frozen=True)
class LayerTrace:
    """What the backward pass needs of one layer's forward pass."""

    a: Tensor | Batch  # (in, batch) images, or (trials, in, batch): the layer's input
    z: Tensor  # (trials, out, batch) pre-activation
    scale: Tensor  # (trials, 1, 1) 1 / sqrt(fan_in)


def prepare(layers: Sequence[SpikeSlab]) -> list[Tensor]:
    """What `forward` takes of the weights."""
    return [layer.m for layer in layers]


def forward(
    layers: Sequence[Tensor], fan_in: Sequence[Tensor], x: Tensor | Batch, noise: Sequence[Tensor]
) -> list[LayerTrace]:
    """Pass of images `x` (in, batch); there is no `noise` in it."""
    trace: list[LayerTrace] = []
    a = x
    for layer, n in zip(layers, fan_in, strict=True):
        if trace:
            a = trace[-1].z.clamp_min(0)  # ReLU between layers
        scale = n.rsqrt()
        trace.append(LayerTrace(a, project(layer, a).mul_(scale), scale))
    return trace


def backward(layers: Sequence[SpikeSlab], trace: Sequence[LayerTrace], dz: Tensor) -> list[tuple[Tensor]]:
    """Gradient of the loss for each layer's m; `dz` is the last layer's."""
    gradients: list[tuple[Tensor]] = []
    for depth in range(len(layers) - 1, -1, -1):
        t = trace[depth]
        g = dz * t.scale
        gradients.append((correlate(g, t.a),))
        if isinstance(t.a, Tensor) and depth > 0:
            dz = gate(back_project(layers[depth].m, g), t.a)  # ReLU
    return gradients[::-1]
