"""Images on the device, and mini-batches of them: whole, or without most of the zeros that a product would meet."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_sweep.core.data import Images

ALIGNED = 16  # a row of so many floats starts at a cache line, which matrix products like
SAVED = 64  # so many columns setting rare pixels apart must save, or it costs more than it saves


class Loaded(NamedTuple):
    """Images on the device. Pixels stay bytes, a quarter of the memory, until their batch is needed."""

    pixels: Tensor  # (images, inputs) uint8
    y: Tensor  # (images) labels
    scale: float  # pixels / scale lies in [0, 1]

    def floats(self, pixels: Tensor, box: Tensor) -> Tensor:
        """Pixels (batch, inputs) as x (inputs, batch) in [0, 1], in a kept `box` (at least batch, inputs)."""
        return box[: len(pixels)].copy_(pixels).mul_(1 / self.scale).t()


@dataclass(frozen=True)
class Batch:
    """Some images x (inputs, batch) in two blocks of inputs; only `few` of the images have any of the second."""

    common: Tensor  # (common, batch)
    rare: Tensor  # (rare, few): of the others these inputs are 0
    few: Tensor  # (few) places in the batch

    @cached_property
    def squared(self) -> Batch:
        """The same of x squared; made once for all buckets."""
        return Batch(self.common * self.common, self.rare * self.rare, self.few)


class Ordered(NamedTuple):
    """Images without the pixels that are zero in all of them, the others in two blocks, for quick products.

    Connections from a silent pixel never get a gradient from these images, so a training step need not multiply by
    them. They still decay, and they count when other images are evaluated. Of MNIST's digits a fifth of the other
    pixels are nonzero in a fifteenth of the images: the others need not be multiplied by these.
    """

    common: Tensor  # (images, common) bytes of the pixels that many images have
    rare: Tensor  # (images, rare) of those that few images have
    few: Tensor  # (images) whether an image has one of the rare
    y: Tensor  # (images) labels
    scale: float  # pixels / scale lies in [0, 1]
    heard: Tensor  # (common + rare) indices of these pixels, in their order
    silent: Tensor  # (silent) indices of the others, all zero
    nonzero: Tensor  # (inputs) whether a pixel is nonzero in some image

    def box(self, batch: int, like: Tensor) -> Tensor:
        """Room for `batch`, of the dtype and device of `like`."""
        return like.new_empty(batch, self.common.shape[1])

    def batch(self, rows: Tensor, box: Tensor) -> Batch:
        """The images `rows`, pixels not divided by `scale`; in a kept `box`, which the next batch overwrites."""
        common = box[: len(rows)].copy_(self.common.index_select(0, rows)).t()
        few = self.few.index_select(0, rows).nonzero().squeeze(1)
        return Batch(common, self.rare.index_select(0, rows[few]).to(box).t(), few)

    def fan_in(self, fan_in: Sequence[Tensor]) -> list[Tensor]:
        """Layers' N for pixels that are not divided by `scale`: (x / scale) / sqrt(N) = x / sqrt(N scale^2)."""
        return [fan_in[0] * self.scale**2, *fan_in[1:]]


def load_images(images: Images, scale: float, device: torch.device | str) -> Loaded:
    """Images as tensors on a device. On a CPU they are the same memory, which processes may share: only to be read."""
    return Loaded(_shared(images.x).to(device), _shared(images.y).to(device), scale)


def _shared(array: NDArray[Any]) -> Tensor:
    """A tensor of the same memory. Ray's arrays cannot be written, of which torch warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def load_ordered(images: Images, scale: float, device: torch.device | str, saved: float = SAVED) -> Ordered:
    """Images as tensors on a device, ordered; rare pixels are set apart if that saves more columns than `saved`.

    On a GPU they never should (`saved` infinite): how many images of a batch have any would have to be waited for.
    """
    pixels, y, _ = load_images(images, scale, device)
    count = sum((part > 0).sum(0) for part in pixels.split(4096))
    assert isinstance(count, Tensor)
    order = torch.argsort(count, stable=True)  # the rarest first
    heard = min(math.ceil(max(1, int((count > 0).sum())) / ALIGNED) * ALIGNED, len(order))  # at least one block
    silent, heard_order = order[: len(order) - heard], order[len(order) - heard :]
    rare, few = _rare(pixels, heard_order, saved)
    blocks = heard_order[rare:].sort().values, heard_order[:rare].sort().values
    common, seldom = (_columns(pixels, block) for block in blocks)
    return Ordered(common, seldom, few, y, scale, torch.cat(blocks), silent.sort().values, count > 0)


def _columns(pixels: Tensor, block: Tensor) -> Tensor:
    """Some pixels of each image; without a copy where it is all of them, as of photographs."""
    return pixels if len(block) == pixels.shape[1] else pixels.index_select(1, block)


def _rare(pixels: Tensor, order: Tensor, saved: float) -> tuple[int, Tensor]:
    """How many of the pixels, the rarest first, to set apart so that least is multiplied; which images have any."""
    nobody = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    best, least, any_so_far = (0, nobody), len(order) - saved, nobody
    for rare in range(ALIGNED, len(order) if saved < math.inf else 0, ALIGNED):
        any_so_far = any_so_far | (pixels.index_select(1, order[rare - ALIGNED : rare]).amax(1) > 0)
        share = any_so_far.float().mean().item()
        cost = len(order) - rare + share * rare
        if cost < least:
            best, least = (rare, any_so_far), cost
        if share > 0.5:
            break
    return best
