"""A sweep that was begun, found by its name: what it is, for those who look at it and those who go on with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lca_sweep.config import Config
from lca_sweep.core.knobs import nearest
from lca_sweep.search.reading import read_rows
from lca_sweep.search.rows import Row
from lca_sweep.search.space import Space, parse
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.folder import CONFIG, IDENTITY, is_known

T = TypeVar("T")


@dataclass(frozen=True)
class Known:
    """What sweep.json says."""

    path: Path  # the sweep's folder, absolute
    uid: str
    study: str  # its name in Optuna
    config: Config

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name


def find(place: Path, name: str, what: str) -> Known:
    """The sweep `name` in the folder of all sweeps. Raises SweepError, which begins with `what`, if there is none."""
    path = path_of(place, name, what)
    try:
        known = json.loads((path / IDENTITY).read_bytes())
        return Known(path, known["uid"], known.get("study", name), filled(Config(), known["config"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SweepError(
            f"{what} {name}: {path / IDENTITY} cannot be read ({error}); bring back a copy of it"
        ) from error


def now(known: Known) -> Known:
    """With the knobs of its last start, some of which may be others than those that it was begun with."""
    with suppress(OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return dataclasses.replace(
            known, config=filled(known.config, yaml.safe_load((known.path / CONFIG).read_text()))
        )
    return known


def home(known: Known) -> Path | None:
    """The working folder that it was last started in, to which its relative paths are; None where nothing tells."""
    place, folders = Path(known.config.sweep.dir), known.path.parent.parts
    count = len(place.parts)
    if place.is_absolute() or ".." in place.parts or folders[len(folders) - count :] != place.parts:
        return None
    return Path(*folders[: len(folders) - count]).resolve()


def space_of(known: Known) -> Space:
    """What it searches."""
    return parse(known.config.sweep.space, known.config)


def rows_of(known: Known, what: str) -> list[Row]:
    """Its trials, by number. Raises UserError where they cannot be read; `what` asks."""
    url = known.config.search.storage
    if url and "***" in url:
        raise SweepError(f"{what} {known.name}: its study is in a database; say search.storage=URL, with the password")
    return read_rows(known.path, url, known.study, space_of(known))


def path_of(place: Path, name: str, what: str) -> Path:
    """Its folder, absolute; SweepError likewise."""
    path = place.absolute() / name
    if not is_known(path):
        names = sorted(file.parent.name for file in place.glob(f"*/{IDENTITY}"))
        raise SweepError(f"{what} {name}: no sweep of that name in {place}{nearest(name, names)}")
    return path


def filled(default: T, tree: Mapping[str, Any]) -> T:
    """A copy of a nested dataclass with the values of a plain tree, which may be older or newer than some knobs."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(default):  # type: ignore[arg-type]
        if item.name in tree:
            old, new = getattr(default, item.name), tree[item.name]
            changes[item.name] = filled(old, new) if dataclasses.is_dataclass(old) else new
    return dataclasses.replace(default, **changes)  # type: ignore[type-var]
