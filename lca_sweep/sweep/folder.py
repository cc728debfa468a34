"""A sweep's folder: all that belongs to it, and who may write there."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lca_sweep.config import Config, without_password
from lca_sweep.core.files import write_atomically
from lca_sweep.sweep.errors import SweepError

# what may differ when a sweep goes on: how much of it and where, not what its trials are
FREE = ("sweep.trials", "sweep.dir", "cluster.", "data.dir", "pack.checkpoint_every")
IDENTITY = "sweep.json"


@dataclasses.dataclass(frozen=True)
class Folder:
    """`path` is absolute; `uid` names this very sweep for ever, also if another gets its name later."""

    path: Path
    uid: str


def folder_path(config: Config, name: str) -> Path:
    """Where this sweep lies; touches nothing.

    Raises SweepError if the name belongs to a sweep of other knobs, or if nothing can be written there.
    """
    path = Path(config.sweep.dir).absolute() / name
    if is_known(path):
        _refuse_other_knobs(name, _read(path)["config"], plain_config(config))
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise SweepError(f"sweep.dir={config.sweep.dir}: {there} must be a folder that one can write to")
    return path


def is_known(path: Path) -> bool:
    """Whether a sweep was begun there."""
    return (path / IDENTITY).exists()


@contextmanager
def opened(config: Config, path: Path) -> Iterator[Folder]:
    """The folder, made if it is new, with its lock held: it goes with the process that holds it.

    Raises SweepError if the folder cannot be written, or if another process runs this sweep.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / "lock", "a+")  # noqa: SIM115 (held until the sweep ends)
    except OSError as error:
        raise SweepError(f"sweep.dir={config.sweep.dir}: cannot write {error.filename}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise SweepError(f"{path}: this sweep is being run by process {lock.read().strip()}") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield Folder(path, _identity(config, path))


def _identity(config: Config, path: Path) -> str:
    """The sweep's uid, made with its first start; config.yaml is for people and is written at every start."""
    plain = plain_config(config)
    if not is_known(path):
        content = {"uid": uuid.uuid4().hex, "config": plain}
        write_atomically(path / IDENTITY, json.dumps(content, indent=2).encode())
    known = _read(path)
    _refuse_other_knobs(path.name, known["config"], plain)  # again: now nobody else can begin it
    write_atomically(path / "config.yaml", yaml.safe_dump(plain, sort_keys=False).encode())
    uid: str = known["uid"]
    return uid


def _read(path: Path) -> dict[str, Any]:
    """What sweep.json says."""
    try:
        known: dict[str, Any] = json.loads((path / IDENTITY).read_bytes())
    except (OSError, ValueError) as error:
        raise SweepError(f"{path / IDENTITY}: cannot be read ({error}); give another sweep.name") from error
    return known


def plain_config(config: Config) -> dict[str, Any]:
    """The composed config as nested plain values, without the passwords of databases and servers."""
    plain = dataclasses.asdict(config)
    plain["tracking"]["uri"] = without_password(config.tracking.uri)
    plain["search"]["storage"] = config.search.storage and without_password(config.search.storage)
    return plain


def lasting(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a plain config that make a sweep what it is, flat."""
    return {knob: value for knob, value in _flat(tree).items() if not knob.startswith(FREE)}


def _refuse_other_knobs(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    before, after = lasting(old), lasting(new)
    differing = [
        f"  {knob}: {before.get(knob, 'not set')} -> {after.get(knob, 'not set')}"
        for knob in sorted(before | after)
        if before.get(knob) != after.get(knob)
    ]
    if differing:
        more = [f"  and {len(differing) - 8} more"] if len(differing) > 8 else []
        raise SweepError(
            "\n".join(
                [
                    f"sweep.name={name}: this sweep was begun with other knobs:",
                    *differing[:8],
                    *more,
                    "give another name (sweep.name=...), or the old knobs to go on with it",
                ]
            )
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
