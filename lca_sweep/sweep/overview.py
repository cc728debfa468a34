"""How a sweep stands, from what lies in its folder and its study; nothing is written, whoever may be running it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lca_sweep.config import Config
from lca_sweep.core.errors import UserError
from lca_sweep.search.rows import Row, best_first, contenders, group_by_pack
from lca_sweep.search.storage import JOURNAL
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.finals import Standing, missing, standings, winner
from lca_sweep.sweep.folder import CONFIG, IDENTITY
from lca_sweep.sweep.known import Known, find, now, rows_of
from lca_sweep.sweep.lock import Owner, runner
from lca_sweep.sweep.words import STATES

OUTBOX = "outbox"


@dataclass(frozen=True)
class Overview:
    """One sweep. `trouble` says why nothing is known of its trials, if so."""

    known: Known
    owner: Owner | None  # who runs it
    rows: Sequence[Row]
    changed: float  # when something of it was last written, seconds since 1970
    began: float
    outbox: int  # entries that MLflow has not got
    trouble: str = ""

    @property
    def config(self) -> Config:
        """Of its last start."""
        return self.known.config

    @property
    def search(self) -> list[Row]:
        """The trials of the search."""
        return [row for row in self.rows if row.replicate is None]

    @property
    def counts(self) -> dict[str, int]:
        """How many of these are in each state."""
        found = Counter(row.state for row in self.search)
        return {state: found[state] for state in STATES}

    @property
    def asked(self) -> int:
        """How many of these were begun."""
        return sum(row.begun for row in self.rows)

    @property
    def total(self) -> int | None:
        """How many there are to be; None where that follows from a grid that cannot be counted."""
        trials = self.config.sweep.trials
        return None if trials is None else max(trials, self.asked)

    @property
    def state(self) -> str:
        """`running`, `done`, `interrupted`, or `unknown`."""
        if self.owner:
            return "running"
        if self.trouble:
            return "unknown"
        return "done" if self._is_done() else "interrupted"

    @property
    def best(self) -> list[Row]:
        """Its best trials, the winner of the finals first."""
        goal = self.config.search.goal()
        first = winner(self.rows, goal)
        return [first, *(row for row in best_first(self.rows, goal) if row != first)] if first else []

    @property
    def finals(self) -> list[Standing]:
        """The finalists, best first."""
        return standings(self.rows, self.config.search.goal())

    @property
    def packs(self) -> Mapping[int, list[Row]]:
        """Trials that run, by pack."""
        return group_by_pack([row for row in self.rows if row.state == "running"])

    @property
    def pruned_at(self) -> dict[int, int]:
        """How many trials have left at each epoch."""
        epochs = Counter(max(row.values, default=0) for row in self.search if row.state == "pruned")
        return dict(sorted(epochs.items()))

    def _is_done(self) -> bool:
        target, goal = self.config.sweep.target, self.config.search.goal()
        if any(row.state == "running" for row in self.rows):
            return False
        if target is not None and any(goal.reached(target, scored) for scored in contenders(self.rows).values()):
            return True
        return self.total is not None and self.asked >= self.total and not missing(self.config, self.rows)


def overview(known: Known, what: str) -> Overview:
    """How one sweep stands. Raises UserError, which begins with `what`, if its trials cannot be read."""
    return _overview(known, _runner(known.path), _rows(known, what))


def best_of(known: Known, what: str) -> int:
    """The number of a sweep's best trial. SweepError where none is complete, UserError as `overview`."""
    best = overview(known, what).best
    if not best:
        raise SweepError(f"{what} {known.name}: no trial is complete, so that none is the best")
    return best[0].number


def overviews(place: Path, what: str) -> list[Overview]:
    """All sweeps in a folder, the one that changed last first; what cannot be read of one is its `trouble`."""
    found, sweeps = [], []
    for file in place.glob(f"*/{IDENTITY}"):
        with suppress(UserError):  # a sweep.json of something else
            sweeps.append(now(find(place, file.parent.name, what)))
    with ThreadPoolExecutor(max(1, len(sweeps))) as at_once:  # a machine that is gone is waited for, but once
        owners = list(at_once.map(_runner, [known.path for known in sweeps]))
    for known, owner in zip(sweeps, owners, strict=True):
        try:
            found.append(_overview(known, owner, _rows(known, what)))
        except UserError as error:
            found.append(_overview(known, owner, [], str(error)))
    return sorted(found, key=lambda one: (-one.changed, one.known.name))


def there_are(place: Path) -> bool:
    """Whether any sweep was begun in a folder."""
    return any(place.glob(f"*/{IDENTITY}"))


def latest(place: Path, what: str) -> Known:
    """The sweep that changed last; SweepError if there is none. No study is opened."""
    names = [file.parent for file in place.glob(f"*/{IDENTITY}")]
    if not names:
        raise SweepError(f"{what}: no sweeps in {place}")
    return now(find(place, max(names, key=lambda path: (_changed(path), path.name)).name, what))


def epoch_of(rows: Sequence[Row]) -> int:
    """The last epoch of a pack that the study knows of; 0 before the first."""
    return max((max(row.values, default=0) for row in rows), default=0)


def _overview(known: Known, owner: Owner | None, rows: Sequence[Row], trouble: str = "") -> Overview:
    began = _time(known.path / IDENTITY)
    return Overview(known, owner, rows, _changed(known.path), began, _waiting(known), trouble)


def _rows(known: Known, what: str) -> list[Row]:
    return rows_of(known, what) if _is_begun(known) else []


def _is_begun(known: Known) -> bool:
    """Whether there is a study: a driver makes the folder first."""
    return bool(known.config.search.storage) or (known.path / JOURNAL).exists()


def _runner(folder: Path) -> Owner | None:
    try:
        return runner(folder)
    except OSError:  # one may look into a folder that one cannot write to
        return None


def _changed(folder: Path) -> float:
    return max(map(_time, (folder / JOURNAL, folder / IDENTITY, folder / CONFIG, *folder.glob(f"{OUTBOX}/*.jsonl"))))


def _time(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _waiting(known: Known) -> int:
    """Lines of the outbox but for the first of each file, which names the sweep."""
    found = 0
    for file in known.path.glob(f"{OUTBOX}/*.jsonl"):
        with suppress(OSError):
            found += max(0, file.read_bytes().count(b"\n") - 1)
    return found


def stamp(seconds: float) -> str:
    """A time of day as `2026-11-24 15:40:12`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
