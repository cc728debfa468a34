"""A pack's checkpoint: one safetensors file, whole or absent, with its JSON in the file's own header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from lca_sweep.core.files import write_atomically
from lca_sweep.sweep.errors import SweepError

FORMAT = "1"


@dataclass(frozen=True)
class Checkpoint:
    """A pack's state, and every report up to it, so that none is lost between a worker and a driver that dies."""

    owner: str  # digest of the pack's trials and their knobs
    tensors: dict[str, Tensor]
    about: dict[str, Any]
    history: list[dict[str, Any]]


def owner(trials: Mapping[str, Any]) -> str:
    """Whose a checkpoint is: the digest of a pack's trials, flat knobs by number."""
    return hashlib.sha256(json.dumps(trials, sort_keys=True).encode()).hexdigest()


def save(file: Path, checkpoint: Checkpoint) -> None:
    """Write it, replacing an older one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT,
        "owner": checkpoint.owner,
        "about": json.dumps(checkpoint.about),
        "history": json.dumps(checkpoint.history),
    }
    write_atomically(file, to_bytes(checkpoint.tensors, metadata=header))


def load(file: Path) -> Checkpoint | None:
    """The checkpoint, or None where there is none. Raises SweepError if it cannot be read."""
    if not file.exists():
        return None
    with _opened(file) as opened:
        header = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    return Checkpoint(header["owner"], tensors, json.loads(header["about"]), json.loads(header["history"]))


def check(file: Path) -> None:
    """Raise SweepError if there is a checkpoint that `load` could not read; looks at its header only."""
    if file.exists():
        with _opened(file):
            pass


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as opened:
            found = (opened.metadata() or {}).get("format")
            if found != FORMAT:
                raise SweepError(f"{file}: a checkpoint of format {found}; this version reads {FORMAT}")
            yield opened
    except SafetensorError as error:
        raise SweepError(f"{file}: damaged ({error}); delete it to train its pack anew") from error
