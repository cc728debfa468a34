"""Whether a database answers, for those who only look: nothing is made in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy

from lca_sweep.config import KnobError, without_password
from lca_sweep.core.errors import first_line
from lca_sweep.search.storage import connect_args


def reach(url: str, knob: str) -> str:
    """What is to be said of the database that `knob` names. Raises KnobError if a sweep could not use it."""
    file = _file(url)
    if file is not None and not file.exists():
        there = next(folder for folder in file.parents if folder.exists())
        if os.access(there, os.W_OK):
            return "made by the first sweep"
        raise KnobError(f"{knob}={url}: {there} cannot be written to")
    try:
        engine = sqlalchemy.create_engine(url, connect_args={**connect_args(url), **_soon(url)})
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master" if file else "SELECT 1")
        finally:
            engine.dispose()
    except Exception as error:  # whatever the database's driver raises
        raise KnobError(f"{knob}={without_password(url)}: cannot be opened: {first_line(error)}") from error
    return "answers"


def _file(url: str) -> Path | None:
    """The file of a SQLite database."""
    scheme, _, path = url.partition(":///")
    return Path(path.partition("?")[0]).absolute() if scheme.startswith("sqlite") else None


def _soon(url: str) -> dict[str, Any]:
    """Who only looks does not wait as long as a sweep."""
    return {"connect_timeout": 5} if url.startswith("postgresql") else {}
