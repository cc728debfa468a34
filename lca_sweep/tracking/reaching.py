"""Whether a store answers at all, asked before anything is begun: nothing is made, and MLflow is not loaded."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from importlib.metadata import entry_points

from lca_sweep.core.errors import first_line, why_no_database
from lca_sweep.core.files import try_to_write
from lca_sweep.tracking.database import sqlite_path
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.uri import kind

SECONDS = 10  # for a server's first answer
EXAMPLE = "sqlite:///mlflow.db, http://HOST:PORT or postgresql+psycopg://USER@HOST/DATABASE"
LOG_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
LOGIN = re.compile(r"://([^/]*|[^:/]*:(?!\d+/)\S*)@")  # before a host; there may be a / in a password, after no port
SCHEMES = ("postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc")  # beside SQLite's, and HTTP


def check(uri: str) -> None:
    """Raise TrackingError, in one line, where `uri` names no store, no server answers, or a file is no database."""
    refuse(uri)
    try:
        if kind(uri) == "http":
            reach_server(uri)
        elif kind(uri) == "sqlite":
            _look_into(uri)
    except TrackingError:
        raise
    except sqlite3.Error as error:
        raise TrackingError(f"tracking.uri={uri}: {why_no_database(error, EXAMPLE)}") from error
    except (OSError, ValueError, HTTPException) as error:  # the last two: of what is no address
        raise TrackingError(f"tracking.uri={uri}: {no_answer(error)}; must be a store that can be reached") from error


def refuse(uri: str) -> None:
    """Raise TrackingError, in one line, for what can be no store, whoever may listen there."""
    sort = kind(uri)
    if sort == "files":
        raise TrackingError(f"tracking.uri={uri}: MLflow keeps runs in plain folders no more; must be like {EXAMPLE}")
    if sort == "http" and LOGIN.search(uri):
        raise TrackingError(f"tracking.uri={LOGIN.sub('://***@', uri)}: no user or password in it; {LOG_IN}")
    if sort == "other" and not _is_known(uri.partition(":")[0]):
        raise TrackingError(f"tracking.uri={uri}: no such kind of store; must be like {EXAMPLE}")


def _is_known(scheme: str) -> bool:
    """Whether MLflow, or a plugin of it, has a store for this."""
    return scheme.partition("+")[0] in SCHEMES or scheme in entry_points(group="mlflow.tracking_store").names


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
