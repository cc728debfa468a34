"""MLflow: the record of a sweep for people. The only package that imports mlflow, for a tracker that is opened."""

from __future__ import annotations

from pathlib import Path

from lca_sweep.tracking.quiet import behave
from lca_sweep.tracking.reaching import check
from lca_sweep.tracking.records import (
    BestTrial,
    DataRecord,
    SweepEnd,
    SweepRecord,
    Table,
    TrackingError,
    TrialRecord,
)
from lca_sweep.tracking.tracker import PATIENCE, NullTracker, Tracker
from lca_sweep.tracking.uri import kind, ui_command

__all__ = [
    "PATIENCE",
    "BestTrial",
    "DataRecord",
    "NullTracker",
    "SweepEnd",
    "SweepRecord",
    "Table",
    "Tracker",
    "TrackingError",
    "TrialRecord",
    "check",
    "modules_for",
    "open_tracker",
    "ui_command",
]


def modules_for(uri: str) -> list[str]:
    """What `open_tracker` will import, which takes seconds, for those who would do so before, bit by bit."""
    behave()  # now: MLflow reads its settings when it is imported
    ours = ["lca_sweep.tracking.mlflow_tracker", "lca_sweep.tracking.connect"]
    modules = ["sqlalchemy.orm", "mlflow.entities", "mlflow.tracking", *ours]
    return [*modules, "mlflow.store.tracking.sqlalchemy_store"] if kind(uri) == "sqlite" else modules


def open_tracker(uri: str, experiment: str, outbox: Path) -> Tracker:
    """A tracker on this MLflow store; its database and experiment are made if need be. TrackingError in one line.

    `outbox` is a folder, one sweep's own, for what MLflow has not got yet; touched from `start_sweep` on, by one
    process at a time.
    """
    behave()
    from lca_sweep.tracking.connect import connect
    from lca_sweep.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(connect(uri, experiment), uri, outbox)
