"""MLflow's SQLite file: made whole before anyone can see it, and set up for a reader beside a writer."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import uuid
from pathlib import Path

from lca_sweep.core.files import try_to_write
from lca_sweep.tracking.records import TrackingError


def sqlite_path(uri: str) -> Path:
    """Absolute path of the file that a SQLite URI names; TrackingError if it names none."""
    location = uri.partition("://")[2].partition("?")[0]
    path = location.removeprefix("/")
    if path == location or path in ("", ":memory:"):
        raise TrackingError(
            f"tracking.uri={uri}: names no file; must be like sqlite:///mlflow.db or sqlite:////folder/mlflow.db"
        )
    return Path(path).absolute()


def prepare(path: Path) -> None:
    """Make the database if it is not there; OSError or sqlite3.Error where it cannot be written to."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(path)
    _use_wal(path)


def artifacts_beside(path: Path, experiment: str) -> str:
    """URI of the folder for an experiment's artifacts: `mlruns`, MLflow's usual name, next to the database."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment).strip(".") or "_"
    return (path.parent / "mlruns" / safe).as_uri()


def _make(path: Path) -> None:
    """Processes that meet at a new file spoil it for good: make it elsewhere, then give it its name in one step."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    try_to_write(path.parent)  # now, not after the seconds that making the tables takes
    with tempfile.TemporaryDirectory(prefix="lca_sweep-") as folder:
        made = Path(folder) / "mlflow.db"
        SqlAlchemyStore(f"sqlite:///{made}", str(path.parent / "mlruns")).engine.dispose()  # type: ignore[no-untyped-call]
        _use_wal(made)
        _publish(made, path)


def _publish(made: Path, path: Path) -> None:
    """Give `path` the content of `made`, unless another process was quicker."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        shutil.copyfile(made, beside)
        try:
            os.link(beside, path)  # unlike a rename it never replaces
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                os.rename(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _use_wal(path: Path) -> None:
    """Readers (the UI) and the writer no longer wait for each other; the file remembers it."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            connection.execute("PRAGMA journal_mode=wal")
        connection.execute("BEGIN IMMEDIATE")  # says now whether one may write
        connection.rollback()
