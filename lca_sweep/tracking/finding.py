"""Where a run is in a store that is there, for those who only look: nothing is made, and MLflow is not loaded."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lca_sweep.core.errors import first_line
from lca_sweep.tracking.database import sqlite_path
from lca_sweep.tracking.reaching import LOG_IN
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.uri import kind, run_page

SECONDS = 4.0  # for an answer
EXPERIMENT = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
RUN = """SELECT r.experiment_id, r.run_uuid FROM runs r
JOIN tags a ON a.run_uuid = r.run_uuid AND a.key = 'lca.sweep_id' AND a.value = ?
JOIN tags b ON b.run_uuid = r.run_uuid AND b.key = 'lca.trial' AND b.value = ?
WHERE r.lifecycle_stage = 'active' ORDER BY r.start_time"""


def experiment_id(uri: str, name: str) -> str:
    """Id of an experiment; empty where it is not there, or where that cannot be told without MLflow.

    Raises TrackingError in one line where the store is there and does not answer.
    """
    if kind(uri) == "sqlite":
        found = _query(uri, EXPERIMENT, [name])
        return str(found[0][0]) if found else ""
    if kind(uri) == "http":
        answer = _ask(uri, f"experiments/get-by-name?{urllib.parse.urlencode({'experiment_name': name})}")
        return str(answer.get("experiment", {}).get("experiment_id", ""))
    return ""


def trial_page(uri: str, experiment: str, uid: str, number: int) -> str:
    """Address of a trial's run in the UI; empty where that is not known. Raises TrackingError as `experiment_id`."""
    if kind(uri) == "sqlite":
        found = _query(uri, RUN, [uid, str(number)])
        return run_page(uri, str(found[0][0]), str(found[0][1])) if found else ""
    place = experiment_id(uri, experiment)
    if not place:
        return ""
    wanted = f"tags.`lca.sweep_id` = '{uid}' and tags.`lca.trial` = '{number}'"
    runs = _ask(uri, "runs/search", {"experiment_ids": [place], "filter": wanted, "max_results": 1}).get("runs", [])
    return run_page(uri, place, runs[0]["info"]["run_id"]) if runs else ""


def check_store(uri: str) -> str:
    """What is to be said of a store that a sweep could use: a file, also one that is not there yet, or a server.

    Raises TrackingError, in one line, if it could not.
    """
    sort = kind(uri)
    if sort == "http":
        _ask(uri, f"experiments/get-by-name?{urllib.parse.urlencode({'experiment_name': 'Default'})}")
        return "answers"
    path = sqlite_path(uri)
    there = next(folder for folder in path.parents if folder.exists())
    if not os.access(path if path.exists() else there, os.W_OK) or not os.access(there, os.W_OK):
        raise TrackingError(f"tracking.uri={uri}: {path if path.exists() else there} cannot be written to")
    if not path.exists():
        return "made by the first sweep"
    return f"{_query(uri, 'SELECT count(*) FROM runs', [])[0][0]} runs"


def _query(uri: str, query: str, values: Sequence[str]) -> list[Any]:
    """Rows of a SQLite store; none where there is no file."""
    path = sqlite_path(uri)
    if not path.exists():
        return []
    try:
        with _read_only(path) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise TrackingError(f"tracking.uri={uri}: {first_line(error)}") from error


@contextlib.contextmanager
def _read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that leaves nothing: where nobody is writing, SQLite is told that nobody will."""
    writing = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.as_uri()}?mode=ro{'' if writing else '&immutable=1'}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=SECONDS)) as connection:
        yield connection


def _ask(uri: str, call: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The answer of a server's REST API; empty where what is asked for is not there."""
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/{call}"
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", **_login()})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=_certificates()) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except urllib.error.HTTPError as error:
        with error:
            return _refused(uri, error)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(f"tracking.uri={uri}: no answer of an MLflow server ({reason})") from error


def _refused(uri: str, error: urllib.error.HTTPError) -> dict[str, Any]:
    """Nothing, where MLflow says that there is no such thing; else TrackingError."""
    if b"RESOURCE_DOES_NOT_EXIST" in error.read():
        return {}
    why = {401: f"asks for a user and a password; {LOG_IN}", 403: f"access denied; {LOG_IN}, or ask who runs it"}
    raise TrackingError(f"tracking.uri={uri}: {why.get(error.code, f'HTTP {error.code}; is it an MLflow server?')}")


def _login() -> dict[str, str]:
    """As MLflow's own client takes it from the environment."""
    user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        both = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
