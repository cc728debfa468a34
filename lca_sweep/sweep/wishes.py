"""Another number of trials, or of packs at a time, for a sweep that runs: asked for from another shell."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_sweep.core.errors import UserError
from lca_sweep.core.files import write_atomically
from lca_sweep.search.grid import size
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.known import Known, find, now, rows_of, space_of
from lca_sweep.sweep.lock import LOOK, Owner, runner
from lca_sweep.sweep.words import plural

if TYPE_CHECKING:
    from lca_sweep.sweep.ledger import Ledger

KNOBS = {"trials": "sweep.trials", "concurrency": "cluster.packs"}
PATIENCE = 20.0  # seconds in which a sweep that hears is sure to


def ask(place: Path, name: str, wish: Mapping[str, int]) -> int:
    """`set NAME trials=64 concurrency=2`; exit status 0. SweepError if nobody runs it, or it cannot be."""
    known = now(find(place, name, "set"))
    _check(known, wish)
    owner = runner(known.path)
    if owner is None:
        words = " ".join(f"{KNOBS[what]}={value}" for what, value in wish.items())
        raise SweepError(f"set {name}: nobody runs it; the command that began it does that, with {words} added")
    asked = _asked(known)
    file = known.path / f"wish-{time.time_ns():020d}.json"
    try:
        write_atomically(file, json.dumps(dict(wish)).encode())
    except OSError as error:
        raise SweepError(f"set {name}: {error.filename or file}: {error.strerror}") from error
    _wait(known, owner, file)
    console = wide_console()
    for line in told(wish, asked):
        console.print(f"{name}: {line}", soft_wrap=True, markup=False)
    return 0


def granted(ledger: Ledger, wish: Mapping[str, Any]) -> None:
    """Do as asked: the ledger goes by it when it is next asked for a pack. From any thread."""
    asked = ledger.asked
    if "trials" in wish:
        ledger.aim(int(wish["trials"]))
    if "concurrency" in wish:
        ledger.most = int(wish["concurrency"])
    for line in told(wish, asked):
        ledger.view.say(line)


def told(wish: Mapping[str, int], asked: int) -> list[str]:
    """What comes of it, where so many trials were asked for already."""
    lines = []
    if "trials" in wish:
        trials = wish["trials"]
        fewer = f": {asked} were begun already, and are finished" if trials < asked else ""
        lines.append(f"from now on {plural(trials, 'trial')} in all{fewer}")
    if "concurrency" in wish:
        lines.append(f"from now on {plural(wish['concurrency'], 'pack')} at a time, if the resources allow")
    return lines


def _check(known: Known, wish: Mapping[str, int]) -> None:
    """Raise SweepError if the sweep cannot have so many trials."""
    trials, search = wish.get("trials"), known.config.search
    if trials is None:
        return
    if search.deterministic:
        raise SweepError(f"set {known.name}: trials={trials}: search.deterministic=true; extend it after its end")
    if search.sampler == "grid" and trials > (points := size(space_of(known))):
        raise SweepError(f"set {known.name}: trials={trials}: the grid has {points} points; must be <= {points}")


def _asked(known: Known) -> int:
    """How many trials of the search were begun; 0 where that cannot be read."""
    with suppress(UserError):
        return sum(row.begun for row in rows_of(known, "set"))
    return 0


def _wait(known: Known, owner: Owner, file: Path) -> None:
    """Until the sweep has heard it; SweepError if it does not."""
    end, there = time.monotonic() + PATIENCE, runner(known.path)
    while (waiting := file.exists()) and _is(there, owner) and time.monotonic() < end:
        time.sleep(LOOK / 5)
        there = runner(known.path)
    if waiting or not _is(runner(known.path), owner):  # whoever ends clears away what it has not heard
        file.unlink(missing_ok=True)
        raise SweepError(f"set {known.name}: not heard: it has ended, or is just starting or ending; try again")


def _is(there: Owner | None, owner: Owner) -> bool:
    return there is not None and there.id == owner.id
