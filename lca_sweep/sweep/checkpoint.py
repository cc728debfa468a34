"""A pack's checkpoint: one safetensors file, whole or absent, with its JSON in the file's own header."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from lca_sweep.core.files import write_atomically

FORMAT = "1"


@dataclass(frozen=True)
class Checkpoint:
    """A pack's state, and every report up to it, so that none is lost between a worker and a driver that dies."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]
    history: list[dict[str, Any]]


def save(file: Path, checkpoint: Checkpoint) -> None:
    """Write it, replacing an older one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT,
        "about": json.dumps(checkpoint.about),
        "history": json.dumps(checkpoint.history),
    }
    write_atomically(file, to_bytes(checkpoint.tensors, metadata=header))


def load(file: Path) -> Checkpoint | None:
    """The checkpoint, or None where there is none."""
    if not file.exists():
        return None
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    if header["format"] != FORMAT:
        raise ValueError(f"{file}: checkpoint format {header['format']}; this version reads {FORMAT}")
    return Checkpoint(tensors, json.loads(header["about"]), json.loads(header["history"]))
