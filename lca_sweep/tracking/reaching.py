"""Whether a store answers at all, asked before anything is begun: nothing is made, and MLflow is not loaded."""

from __future__ import annotations

import contextlib
import sqlite3
import ssl
import urllib.error
import urllib.request

from lca_sweep.core.errors import first_line
from lca_sweep.core.files import try_to_write
from lca_sweep.tracking.database import sqlite_path
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.uri import kind

SECONDS = 10  # for a server's first answer


def check(uri: str) -> None:
    """Raise TrackingError, in one line, where no server answers at `uri`, or where its file is no database."""
    try:
        if kind(uri) == "http":
            reach_server(uri)
        elif kind(uri) == "sqlite":
            _look_into(uri)
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(f"tracking.uri={uri}: {no_answer(error)}") from error


def reach_server(uri: str) -> None:
    """Any answer will do, also that one has to log in; OSError if nobody answers."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # MLflow may have been told the certificate
            raise


def no_answer(error: Exception) -> str:
    """Why a store does not answer, in one line."""
    if isinstance(error, urllib.error.URLError):
        return f"no answer ({error.reason})"
    if isinstance(error, ConnectionError):  # accepted and then dropped: a server that is going down
        return f"no answer ({error})"
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS} s"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename2 or error.filename or 'no answer'}: {error.strerror}"
    return first_line(error)


def _look_into(uri: str) -> None:
    """sqlite3.Error where there is a file that is no database, OSError where none could be made."""
    path = sqlite_path(uri)
    if not path.exists():
        try_to_write(next(folder for folder in path.parents if folder.exists()))
    else:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=SECONDS)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
