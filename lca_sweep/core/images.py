"""Images on the device, and mini-batches of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lca_sweep.core.data import Images

ALIGNED = 16  # a row of so many floats starts at a cache line, which matrix products like


class Loaded(NamedTuple):
    """Images on the device. Pixels stay bytes, a quarter of the memory, until their batch is needed."""

    pixels: Tensor  # (images, inputs) uint8
    y: Tensor  # (images) labels
    scale: float  # pixels / scale lies in [0, 1]

    def floats(self, pixels: Tensor, box: Tensor) -> Tensor:
        """Pixels (batch, inputs) as x (inputs, batch) in [0, 1], in a kept `box` (at least batch, inputs)."""
        return box[: len(pixels)].copy_(pixels).mul_(1 / self.scale).t()


class Training(NamedTuple):
    """The training images without the pixels that are zero in all of them.

    Connections from such a pixel never get a gradient from the data, so a training step need not multiply by them. They
    still decay, and they count when other images are evaluated.
    """

    images: Loaded  # (images, heard)
    heard: Tensor  # (heard) indices of the pixels that are nonzero in some training image, and a few more
    silent: Tensor  # (silent) indices of the others
    nonzero: Tensor  # (inputs) whether a pixel is nonzero in some training image


def load_images(images: Images, scale: float, device: torch.device | str) -> Loaded:
    """Images as tensors on a device."""
    return Loaded(torch.tensor(images.x, device=device), torch.tensor(images.y, device=device), scale)


def load_training(images: Images, scale: float, device: torch.device | str) -> Training:
    """Training images as tensors on a device."""
    whole = load_images(images, scale, device)
    nonzero = whole.pixels.amax(0) > 0
    order = torch.argsort(nonzero.int(), descending=True, stable=True)
    columns = min(math.ceil(int(nonzero.sum()) / ALIGNED) * ALIGNED, len(order))
    heard, silent = order[:columns].sort().values, order[columns:].sort().values
    return Training(Loaded(whole.pixels.index_select(1, heard), whole.y, scale), heard, silent, nonzero)
