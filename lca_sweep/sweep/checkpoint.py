"""A pack's checkpoints: single safetensors files, with JSON and a digest of the whole file in their headers.

The last two are kept, so that there is one to go on from where the newest is damaged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from lca_sweep.core.train import RUNNING
from lca_sweep.sweep import layout
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.storage import Storage, StorageError, patiently

FORMAT = "2"
ENTRY = "checkpoint"  # the only one of the header's metadata: of several, the order would change from time to time
DIGEST = re.compile(rb'\\"digest\\": \\"([0-9a-f]{64})\\"')  # the first is ours: it begins the entry
BLANK = b"0" * 64
ADDED = {
    "trainer.algorithm": "gbp",
    "trainer.train_size": None,
    "trainer.precision": "float32",
    "prior.kind": "kl",
}  # knobs that older checkpoints lack, and what they mean


class UnusableError(SweepError):
    """Why a checkpoint cannot be gone on from."""


@dataclass(frozen=True)
class Owner:
    """Whose a checkpoint is: the sweep's uid, and by number the digest of each trial's flat knobs."""

    uid: str
    trials: Mapping[str, str]

    @staticmethod
    def of(uid: str, trials: Mapping[str, Any]) -> Owner:
        """Of a pack's trials, flat knobs by number."""
        return Owner(uid, {number: _digest(knobs) for number, knobs in trials.items()})

    def is_in(self, other: Owner) -> bool:
        """Whether the other one's checkpoint holds all of these trials, with the same knobs."""
        return self.uid == other.uid and self.trials.items() <= other.trials.items()


@dataclass(frozen=True)
class Checkpoint:
    """A pack's state, and every report up to it, so that none is lost between a worker and a driver that dies."""

    owner: Owner
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

    def only(self, owner: Owner) -> Checkpoint:
        """The part of these trials: a pack that was split goes on as several."""
        ours = {int(number) for number in owner.trials}
        tensors = {name: tensor for name, tensor in self.tensors.items() if int(name.partition(".")[0]) in ours}
        about = {**self.about, "live": [number for number in self.about["live"] if number in ours]}
        reports = [{**r, "trials": [trial for trial in r["trials"] if trial["trial"] in ours]} for r in self.history]
        return Checkpoint(owner, tensors, about, [report for report in reports if report["trials"]])


def save(storage: Storage, pack: int, checkpoint: Checkpoint, keep: int = 0) -> None:
    """Write it, and delete those of epochs before `keep`. Raises StorageError."""
    storage.write(layout.checkpoint(pack, checkpoint.about["epoch"]), to_bytes(checkpoint))
    with suppress(StorageError):  # one too many does no harm
        for epoch, name in _stored(storage, pack):
            if epoch < keep:
                storage.delete(name)


def find(
    storage: Storage, packs: Sequence[int], owner: Owner, check: Callable[[Checkpoint], None]
) -> tuple[Checkpoint | None, list[str]]:
    """The part of `owner`'s trials in the newest usable checkpoint of the first pack that has one; lines for the user.

    Unusable ones are named, and left where they are; those of other studies and trials are passed over. `check` raises
    UnusableError for what the caller cannot go on from. Raises StorageError if nothing can be listed.
    """
    unusable: list[str] = []
    for epoch, name in _newest_first(storage, packs):
        try:
            found = _read(storage, name, epoch)
            if owner.is_in(found.owner):
                found = found.only(owner)
                check(found)
                return found, [f"{line}; goes on from epoch {epoch}" for line in unusable]
        except UnusableError as error:
            unusable.append(f"{name}: {error}")
    return None, [f"{line}; begins anew" for line in unusable]


def newest_history(storage: Storage, packs: Sequence[int], uid: str) -> Sequence[Mapping[str, Any]]:
    """The reports in the newest usable checkpoint of the first pack that has one; none if there is none.

    Raises StorageError if nothing can be listed.
    """
    for epoch, name in _newest_first(storage, packs):
        with suppress(UnusableError):
            found = _read(storage, name, epoch)
            if found.owner.uid == uid:
                return found.history
    return []


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The file's content."""
    header = {
        "digest": BLANK.decode(),
        "format": FORMAT,
        "uid": checkpoint.owner.uid,
        "trials": checkpoint.owner.trials,
        "about": checkpoint.about,
        "history": checkpoint.history,
    }
    blank = bytes_of(dict(checkpoint.tensors), metadata={ENTRY: json.dumps(header)})
    at = _place_of_digest(blank)
    return b"".join((memoryview(blank)[:at], _sha256(blank).encode(), memoryview(blank)[at + len(BLANK) :]))


def from_bytes(content: bytes) -> Checkpoint:
    """The checkpoint in a file's content. Raises UnusableError."""
    header = _header(content)
    if header.get("format") != FORMAT:
        raise UnusableError(f"of format {header.get('format')}; this version reads {FORMAT}")
    at = _place_of_digest(content)
    start, end = memoryview(content)[:at], memoryview(content)[at + len(BLANK) :]
    if _sha256(start, BLANK, end) != header["digest"]:
        raise UnusableError("damaged (digest differs)")
    try:
        owner = Owner(header["uid"], header["trials"])
        return Checkpoint(owner, tensors_of(content), header["about"], header["history"])
    except (KeyError, ValueError, SafetensorError) as error:
        raise UnusableError(f"not a checkpoint ({error})") from error


def check_consistent(checkpoint: Checkpoint, epoch: int) -> None:
    """Raise UnusableError unless the history is whole up to this epoch and ends with the very trials that live on."""
    try:
        epochs = [report["epoch"] for report in checkpoint.history]
        last = checkpoint.history[-1]["trials"] if epochs else []
        running = {trial["trial"] for trial in last if trial["state"] == RUNNING}
        whole = epochs == list(range(1, epoch + 1)) and checkpoint.about["epoch"] == epoch
        consistent = whole and running == set(checkpoint.about["live"])
    except (KeyError, TypeError):
        consistent = False
    if not consistent:
        raise UnusableError("its reports are not those of its epoch")


def check_fits(checkpoint: Checkpoint, fresh: Mapping[str, Tensor], steps: int) -> None:
    """Raise UnusableError unless its tensors are like those of a fresh pack's live trials, after as many `steps`."""
    live = set(checkpoint.about["live"])
    wanted = {name: tensor for name, tensor in fresh.items() if int(name.partition(".")[0]) in live}
    if _kinds(checkpoint.tensors) != _kinds(wanted):
        raise UnusableError("its tensors are not those of its trials")
    if checkpoint.about["steps"] != steps:
        raise UnusableError(f"after {checkpoint.about['steps']} steps; on these images it would be {steps}")


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def _read(storage: Storage, name: str, epoch: int) -> Checkpoint:
    try:
        content = patiently(lambda: storage.read(name))
    except StorageError as error:
        raise UnusableError(f"cannot be read ({error.reason})") from error
    if content is None:
        raise UnusableError("is gone")
    found = from_bytes(content)
    check_consistent(found, epoch)
    return found


def _newest_first(storage: Storage, packs: Sequence[int]) -> Iterator[tuple[int, str]]:
    for pack in packs:
        yield from sorted(patiently(partial(_stored, storage, pack)), reverse=True)


def _stored(storage: Storage, pack: int) -> list[tuple[int, str]]:
    """Epoch and name of each checkpoint of a pack."""
    found = []
    for name in storage.names(layout.checkpoints(pack)):
        with suppress(ValueError):  # not one of ours
            found.append((layout.epoch_of(name), name))
    return found


def _header(content: bytes) -> dict[str, Any]:
    """Our entry of the header, which begins after the eight bytes of its length."""
    try:
        metadata = json.loads(content[8 : _end_of_header(content)])["__metadata__"]
        header: dict[str, Any] = json.loads(metadata[ENTRY])
        header["digest"], header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableError("damaged (its header cannot be read)") from error
    return header


def _end_of_header(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _place_of_digest(content: bytes) -> int:
    match = DIGEST.search(content, 8, _end_of_header(content))
    if not match:
        raise UnusableError("damaged (its header cannot be read)")
    return match.start(1)


def _digest(knobs: Mapping[str, Any]) -> str:
    """Of a trial's flat knobs; the same as before there were those of ADDED, so that sweeps begun then go on."""
    told = {name: value for name, value in knobs.items() if name not in ADDED or value != ADDED[name]}
    return _sha256(json.dumps(told, sort_keys=True))


def _sha256(*parts: str | bytes | memoryview) -> str:
    """Where processors have instructions for it, the fastest digest by a factor of two."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()
