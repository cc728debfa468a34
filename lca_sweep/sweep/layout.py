"""Names of what a sweep stores."""

from __future__ import annotations


def checkpoints(pack: int) -> str:
    """What the names of a pack's checkpoints begin with."""
    return f"checkpoints/pack-{pack:04d}/"


def checkpoint(pack: int, epoch: int) -> str:
    """A pack's checkpoint after an epoch; their names sort as their epochs do."""
    return f"{checkpoints(pack)}{epoch:06d}.safetensors"


def epoch_of(checkpoint: str) -> int:
    """The epoch in a checkpoint's name. Raises ValueError for another name."""
    return int(checkpoint.rpartition("/")[2].removesuffix(".safetensors"))


def trial(number: int) -> str:
    """The folder of a complete trial's weights, and of what is known of them."""
    return f"trials/{number:04d}"
