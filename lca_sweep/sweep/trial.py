"""One trial with all that is known of it, from the study and the storage; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lca_sweep.core.knobs import flat
from lca_sweep.core.network import WEIGHTS
from lca_sweep.core.objective import Goal
from lca_sweep.core.recorded import TEST
from lca_sweep.search.rows import Row
from lca_sweep.sweep import layout
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.finals import knobs_of, standings
from lca_sweep.sweep.gather import histories, last_metrics
from lca_sweep.sweep.known import Known, rows_of, space_of
from lca_sweep.sweep.storage import FolderStorage, Storage, StorageError, storage_of
from lca_sweep.tracking.finding import trial_page
from lca_sweep.tracking.records import TrackingError

SEEDS = ("init.seed", "trainer.batch_seed")


@dataclass(frozen=True)
class Trial:
    """What is known of it; `trouble` says what could not be read."""

    known: Known
    row: Row
    knobs: Mapping[str, Any]  # all that are known, by dotted name, the searched ones first
    undecided: Sequence[str]  # knobs that the sampler will choose
    mates: Sequence[int]  # the trials of its pack
    epoch: int  # of the metrics
    metrics: Mapping[str, float]  # the last
    weights: str  # where they lie; empty where there are none
    page: str  # of its MLflow run; empty where that is not known
    trouble: Sequence[str]

    @property
    def goal(self) -> Goal:
        """What its sweep is for."""
        return self.known.config.search.goal()

    @property
    def epochs(self) -> int:
        """Of the whole training."""
        return int(self.knobs["trainer.epochs"])

    @property
    def why(self) -> str:
        """How it has come to its state."""
        row = self.row
        if row.state in ("pruned", "failed"):
            return row.reason
        if row.state == "running":
            return f"epoch {max(row.values, default=0)} of {self.epochs} is booked"
        return "put in, not begun" if row.state == "waiting" else ""

    @property
    def origin(self) -> str:
        """Where its knobs come from."""
        if self.row.replicate:
            return f"the finals: trial {self.row.replicate[0]} again, with seed {self.row.replicate[1]}"
        return self.row.source or f"search.sampler={self.known.config.search.sampler}"

    @property
    def best(self) -> tuple[int, float]:
        """The epoch at which the first objective was best, and its value there; only where it has values."""
        sign = self.goal.first.sign
        return max(self.row.values.items(), key=lambda point: (sign * point[1], -point[0]))

    @property
    def seeds(self) -> dict[str, Any]:
        """All that its numbers follow from, beside knobs and data."""
        own = {name: self.knobs[name] for name in SEEDS if name in self.knobs}
        return own | {"search.seed": self.known.config.search.seed}


def trial_of(known: Known, number: int) -> Trial:
    """One trial of a sweep. SweepError if there is no such trial, UserError if the study cannot be read."""
    rows = {row.number: row for row in rows_of(known, "show")}
    if number not in rows:
        there = f"trials 0 to {max(rows)}" if rows else "no trial yet"
        raise SweepError(f"show {known.name} {number}: no such trial (it has {there})")
    row, config = rows[number], known.config
    storage = storage_of(config, known.path, known.uid, known.study)
    trouble: list[str] = []
    epoch, metrics = _metrics(known, row, storage, trouble)
    if config.sweep.replicates and number not in _told(list(rows.values()), config.search.goal()):
        metrics = {name: value for name, value in metrics.items() if name not in TEST}
    mates = [one.number for one in rows.values() if row.pack is not None and one.pack == row.pack]
    space = space_of(known)
    undecided = [name for name in space if name not in row.given] if row.state == "waiting" else []
    return Trial(
        known,
        row,
        _knobs(known, row, undecided),
        undecided,
        mates,
        epoch,
        metrics,
        _weights(storage, row, trouble),
        _page(known, number, trouble),
        trouble,
    )


def _told(rows: Sequence[Row], goal: Goal) -> set[int]:
    """The trials of which test accuracy is told in a sweep with finals: the new seeds of their winner."""
    return {row.number for held in standings(rows, goal)[:1] for row in held.replicates}


def _knobs(known: Known, row: Row, undecided: Sequence[str]) -> dict[str, Any]:
    whole, own = flat(knobs_of(known.config, row)), {**row.params, **row.given}
    open_ones = {name.partition(".widths.")[0] + ".widths" if ".widths." in name else name for name in undecided}
    return {**own, **{name: value for name, value in whole.items() if name not in own and name not in open_ones}}


def _metrics(known: Known, row: Row, storage: Storage, trouble: list[str]) -> tuple[int, Mapping[str, float]]:
    """The last epoch of which metrics are kept, and these."""
    epoch, metrics = last_metrics(storage, row.number) if row.state == "complete" else (0, {})
    if metrics or row.state == "waiting":
        return epoch, metrics
    try:
        series = histories(storage, [row], known.uid)[row.number]
    except StorageError as error:
        trouble.append(str(error))
        return 0, {}
    epoch = max((int(one.epochs[-1]) for one in series.values()), default=0)
    return epoch, {name: float(one.values[-1]) for name, one in series.items()}


def _weights(storage: Storage, row: Row, trouble: list[str]) -> str:
    """Where a complete trial's weights lie, if they do."""
    name = f"{layout.trial(row.number)}/{WEIGHTS}"
    if row.state == "complete":
        try:
            return _address(storage, name) if name in storage.names(name) else ""
        except StorageError as error:
            trouble.append(str(error))
    return ""


def _address(storage: Storage, name: str) -> str:
    """A blob's place, as one may copy it."""
    if isinstance(storage, FolderStorage):
        return str(storage.path / name)
    return f"{getattr(storage, 'url', storage)}".partition("?")[0] + f"/{name}"


def _page(known: Known, number: int, trouble: list[str]) -> str:
    tracking = known.config.tracking
    try:
        return trial_page(tracking.uri, tracking.experiment, known.uid, number) if "***" not in tracking.uri else ""
    except TrackingError as error:
        trouble.append(str(error))
    return ""
