"""A sweep's folder: all that belongs to it, and who may write there."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from lca_sweep.config import USUAL_SIZE, Config, without_password
from lca_sweep.core.files import try_to_write, write_atomically
from lca_sweep.core.knobs import leaves, listed, replace
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.lock import Lock, locked, refuse_running

# what may differ when a sweep goes on: how much of it and where, not what its trials are
FREE = (
    "sweep.trials",
    "sweep.target",
    "sweep.time_budget",
    "sweep.grace",
    "sweep.resume",
    "sweep.dir",
    "sweep.question",
    "analysis.",
    "cluster.",
    "data.dir",
    "pack.checkpoint_every",
    "search.patience",
    "search.enqueue",
    "search.enqueue_csv",
    "search.warm_start",
    "search.warm_start_best",
    "sweep.replicates",
    "sweep.finalists",
)
IDENTITY, CONFIG = "sweep.json", "config.yaml"
REMEDY = (
    "give another name (sweep.name=...), or the old knobs to go on with it; or put it aside (sweep.resume=never)",
    f"what may change: {listed(f'{knob}*' if knob.endswith('.') else knob for knob in FREE)}",
)


@dataclasses.dataclass(frozen=True)
class Folder:
    """`path` is absolute; `uid` names this very sweep for ever, also if another gets its name later."""

    path: Path
    uid: str
    study: str  # its name in Optuna
    lock: Lock


def folder_path(config: Config, name: str) -> Path:
    """Where this sweep lies; touches nothing.

    Raises SweepError if the name belongs to a sweep of other knobs (unless that is to be put aside), if another process
    of this machine runs it, or if nothing can be written there.
    """
    path = Path(config.sweep.dir).absolute() / name
    check_knobs(config, path)
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise SweepError(f"sweep.dir={config.sweep.dir}: {there} must be a folder that one can write to")
    try:
        try_to_write(there)
        refuse_running(path)
    except OSError as error:
        raise SweepError(f"sweep.dir={config.sweep.dir}: cannot write to {there}: {error.strerror}") from error
    return path


def check_knobs(config: Config, path: Path) -> None:
    """Raise SweepError if the sweep in this folder was begun with other knobs, unless it is to be put aside."""
    if is_known(path) and config.sweep.resume != "never":
        _refuse_other_knobs(path.name, _read(path), plain_config(config))


def derived_name(config: Config) -> str:
    """A name for an unnamed sweep: the same knobs give the same name, also when knobs are added to lca_sweep."""
    default = lasting(plain_config(Config()))
    if config.pack.size == USUAL_SIZE:  # as if it had not been said
        config = replace(config, {"pack.size": None})
    chosen = {knob: value for knob, value in lasting(plain_config(config)).items() if default.get(knob) != value}
    digest: str = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
    return f"{config.data.name}-{digest[:8]}"


def is_known(path: Path) -> bool:
    """Whether a sweep was begun there."""
    return (path / IDENTITY).exists()


def begun_size(config: Config, path: Path) -> int | None:
    """Trials in a pack of the sweep that goes on there; None where one begins anew."""
    return _size(_read(path)) if is_known(path) and config.sweep.resume != "never" else None


def _size(known: Mapping[str, Any]) -> int:
    """What sweep.json says of it: as it was asked for, or what null came to."""
    size: int | None = known["config"].get("pack", {}).get("size")
    return size or known.get("pack_size", USUAL_SIZE)


@contextmanager
def opened(config: Config, path: Path, say: Callable[[str], None], size: int | None = None) -> Iterator[Folder]:
    """The folder, made if it is new, with its lock held: it goes with the process that holds it.

    `size` is what `pack.size` has come to; a sweep keeps it for ever.
    With `sweep.resume=never` what lies there is put aside. Raises SweepError if the folder cannot be written, or if
    another process runs this sweep.
    """
    anew = config.sweep.resume == "never" and is_known(path)
    with ExitStack() as stack:
        try:
            if anew:
                say(f"the sweep that had this name is kept in {_put_aside(path, say)}")
            path.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(locked(path, say))
            known = _identity(config, path, anew, size)
        except OSError as error:
            where = error.filename or path
            raise SweepError(f"sweep.dir={config.sweep.dir}: cannot write {where}: {error.strerror}") from error
        yield Folder(path, known["uid"], known.get("study", path.name), lock)


def _put_aside(path: Path, say: Callable[[str], None]) -> Path:
    """Rename a sweep's folder, once nobody runs it; its new place."""
    with locked(path, say) as lock:
        places = (path.with_name(f"{path.name}.{count}") for count in itertools.count(1))
        kept = next(place for place in places if not place.exists())
        path.rename(kept)
        lock.folder = kept
    return kept


def _identity(config: Config, path: Path, anew: bool, size: int | None) -> dict[str, Any]:
    """What the sweep is, made with its first start; config.yaml is for people and is written at every start."""
    plain = plain_config(config)
    if not is_known(path):
        uid = uuid.uuid4().hex
        # a database may hold the study of a sweep that was put aside; a journal lies in its own folder
        study = f"{path.name}-{uid[:8]}" if anew and config.search.storage else path.name
        content = {"uid": uid, "study": study, "config": plain, "pack_size": size or config.pack.trials}
        write_atomically(path / IDENTITY, json.dumps(content, indent=2).encode())
    known = _read(path)
    _refuse_other_knobs(path.name, known, plain)  # again: now nobody else can begin it
    write_config(path, config)
    return known


def write_config(path: Path, config: Config) -> None:
    """Say how the sweep in this folder is being run now, for people and for who looks at it. Raises OSError."""
    write_atomically(path / CONFIG, yaml.safe_dump(plain_config(config), sort_keys=False).encode())


def _read(path: Path) -> dict[str, Any]:
    """What sweep.json says."""
    try:
        known: dict[str, Any] = json.loads((path / IDENTITY).read_bytes())
        if not isinstance(known["uid"], str) or not isinstance(known["config"], dict):
            raise TypeError("has other things in it than a sweep's")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(
            f"{path / IDENTITY}: cannot be read ({error}); put it right, or give another sweep.name"
        ) from error
    return known


def plain_config(config: Config) -> dict[str, Any]:
    """The composed config as nested plain values, without the passwords of databases and servers."""
    plain = dataclasses.asdict(config)
    plain["tracking"]["uri"] = without_password(config.tracking.uri)
    plain["search"]["storage"] = config.search.storage and without_password(config.search.storage)
    return plain


def lasting(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a plain config that make a sweep what it is, flat."""
    return {knob: value for knob, value in leaves(tree).items() if not knob.startswith(FREE)}


def _refuse_other_knobs(name: str, known: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    before, after = _lasting_then(known["config"]), lasting(new)
    before["pack.size"] = _size(known)
    after["pack.size"] = after["pack.size"] or before["pack.size"]
    differing = [
        f"  {knob}: {before.get(knob, 'not set')} -> {after.get(knob, 'not set')}"
        for knob in sorted(before | after)
        if before.get(knob) != after.get(knob)
    ]
    if len(differing) == 1:
        raise SweepError(
            "\n".join([f"sweep.name={name}: this sweep was begun with another{differing[0][1:]}", *REMEDY])
        )
    if differing:
        more = [f"  and {len(differing) - 8} more"] if len(differing) > 8 else []
        lines = [f"sweep.name={name}: this sweep was begun with other knobs:", *differing[:8], *more, *REMEDY]
        raise SweepError("\n".join(lines))


def _lasting_then(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The lasting knobs of a sweep, which may be older than some of them: it was begun with what is their default."""
    defaults = {knob: value for knob, value in lasting(plain_config(Config())).items() if knob != "sweep.space"}
    return defaults | lasting(tree)
