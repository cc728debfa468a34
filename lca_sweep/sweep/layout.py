"""Where things lie in a sweep's folder."""

from __future__ import annotations

from pathlib import Path


def checkpoint_file(folder: Path, pack: int) -> Path:
    """A pack's checkpoint."""
    return folder / "checkpoints" / f"pack-{pack:04d}.safetensors"


def trial_folder(folder: Path, number: int) -> Path:
    """A complete trial's weights, and what is known of them."""
    return folder / "trials" / f"{number:04d}"
