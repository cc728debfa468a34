"""What a trial can be trained by: modules that offer the same functions, named as in `trainer.algorithm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from lca_sweep.core import bp, gbp
from lca_sweep.core.images import Batch
from lca_sweep.core.spikeslab import SpikeSlab

Gradient = tuple[Tensor, ...]  # one layer's, each (trials, out, in): for the numbers in TRAINED, in that order


class Algorithm(Protocol):
    """An algorithm's module; its functions are for all trials of a bucket at once."""

    @property
    def TRAINED(self) -> tuple[str, ...]:
        """The numbers of each weight that are trained, as SpikeSlab calls them; the others stay where they began."""

    @property
    def RANDOM(self) -> bool:
        """Whether weights are random: then a pass needs noise, and weights have categories."""

    def prepare(self, layers: Sequence[SpikeSlab]) -> Sequence[Any]:
        """What `forward` takes of the weights, as long as they stay what they are."""

    def forward(
        self, layers: Sequence[Any], fan_in: Sequence[Tensor], x: Tensor | Batch, noise: Sequence[Tensor]
    ) -> Sequence[Any]:
        """What `backward` needs of each layer, with its input `a` and its pre-activation `z`."""

    def backward(self, layers: Sequence[SpikeSlab], trace: Sequence[Any], dz: Tensor) -> Sequence[Gradient]:
        """Gradient of the loss for each layer, from that of the last pre-activation."""


ALGORITHMS: Mapping[str, Algorithm] = {"gbp": gbp, "bp": bp}
