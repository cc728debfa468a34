"""`resume [NAME]`: the sweep that the command which began it would go on with, from its folder alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lca_sweep.config import Config, validate, without_password
from lca_sweep.core.knobs import flat, replace
from lca_sweep.search.aims import check_goal
from lca_sweep.search.space import Space, resolved
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.folder import FREE, derived_name
from lca_sweep.sweep.known import Known, find, home, now, space_of
from lca_sweep.sweep.overview import overviews

URLS = ("search.storage", "tracking.uri")  # of which the folder does not have the passwords
# what may be told anew; one that is to go on is not to be put aside
CHANGES = (*(knob.rstrip(".") for knob in FREE if knob not in ("sweep.resume", "sweep.dir")), "sweep.dir", *URLS)
PLACES = ("tracking.uri", "search.storage", "sweep.storage", "data.dir", "search.enqueue_csv")


def resume(place: Path, name: str | None, values: Mapping[str, Any]) -> tuple[Config, Space]:
    """What is to be run. UserError in one line where the sweep cannot go on so."""
    known = now(find(place, name or only(place), "resume"))
    config = replace(known.config, {**values, "sweep.dir": str(place), "sweep.resume": "auto"})
    _check_urls(known, config)
    _check_home(known, config, values)
    _check_name(known)
    validate(config)
    space = space_of(dataclasses.replace(known, config=config))
    check_goal(config, space)
    return resolved(config, space), space


def only(place: Path) -> str:
    """The name of the only sweep that was interrupted; SweepError if there are none, or several."""
    there = overviews(place, "resume")
    waiting = sorted(one.known.name for one in there if one.state == "interrupted")
    unknown = sorted(one.known.name for one in there if one.state == "unknown")
    if len(waiting) > 1:
        raise SweepError(f"resume: which one? interrupted: {', '.join(waiting)}")
    if not waiting:
        more = f" (not known of {', '.join(unknown)}; say which)" if unknown else ""
        raise SweepError(f"resume: no sweep in {place} was interrupted{more}")
    return waiting[0]


def _check_urls(known: Known, config: Config) -> None:
    """Raise SweepError for a password that is missing, or another place than the one that the sweep has."""
    before, after = flat(known.config), flat(config)
    for knob in URLS:
        url = after[knob]
        if url and "***" in url:
            raise SweepError(f"resume {known.name}: {knob}={url}: say {knob}=URL, with the password")
        if (url and without_password(url)) != (before[knob] and without_password(before[knob])):
            raise SweepError(
                f"resume {known.name}: {knob}={url and without_password(url)}: must be {before[knob]}, "
                "as the sweep was begun with"
            )


def _check_home(known: Known, config: Config, values: Mapping[str, Any]) -> None:
    """Raise SweepError where relative paths of the last start mean others from here."""
    began, knobs = home(known), flat(config)
    if began is None or began == Path.cwd():
        return
    for knob in PLACES:
        if knob not in values and _is_relative(knobs[knob]):
            raise SweepError(f"resume {known.name}: {knob}={knobs[knob]} means a place in {began}: go there first")


def _is_relative(place: str | None) -> bool:
    if not place:
        return False
    scheme, is_url, rest = place.partition("://")
    if is_url:
        return scheme.startswith("sqlite") and not rest.startswith("//")
    return not Path(place).expanduser().is_absolute()


def _check_name(known: Known) -> None:
    """Raise SweepError where the same command would go on with another folder: this one was put aside, or renamed."""
    name = known.config.sweep.name or derived_name(known.config)
    if name != known.name:
        raise SweepError(
            f"resume {known.name}: is the folder of {name}, put aside or renamed; to go on, name it so again"
        )
