"""The way into a store: the database made, the server reached, the experiment there; or one line on why not."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lca_sweep.core.errors import first_line
from lca_sweep.tracking.database import artifacts_beside, prepare, sqlite_path
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.store import Store
from lca_sweep.tracking.uri import kind

SECONDS = 10  # for a server's first answer
LOGIN = re.compile(r"://([^/]*|[^:/]*:(?!\d+/)\S*)@")  # before a host; there may be a / in a password, after no port


def connect(uri: str, experiment: str) -> Store:
    """The experiment in the store that `uri` names, both made if need be; TrackingError in one line."""
    sort = kind(uri)
    if sort == "files":
        raise TrackingError(
            f"tracking.uri={uri}: MLflow keeps runs in plain folders no more; "
            "must be like sqlite:///mlflow.db, http://HOST:PORT or postgresql://..."
        )
    if sort == "http" and LOGIN.search(uri):
        raise TrackingError(
            f"tracking.uri={LOGIN.sub('://***@', uri)}: no user or password in it; "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    path = sqlite_path(uri) if sort == "sqlite" else None
    try:
        if path:
            prepare(path)
        elif sort == "http":
            _reach_server(uri)
        elif "://" in uri and uri.partition("+")[0].partition(":")[0] in ("postgresql", "mysql", "mssql"):
            _reach_database(uri)
        # MLflow keeps one open database for each URI, and a relative one means another file after a chdir
        client = MlflowClient(tracking_uri=f"sqlite:///{path}" if path else uri)
        return Store(client, _experiment(client, experiment, artifacts_beside(path, experiment) if path else None))
    except TrackingError:
        raise
    except Exception as error:  # drivers that are not installed, sockets, permissions, MLflow's own
        raise TrackingError(f"tracking.uri={uri}: {_reason(error)}") from error


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Id of the experiment, made if need be; a server decides itself where artifacts go."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            found = client.get_experiment_by_name(name) if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"tracking.experiment={name}: was deleted; must be another name, or restored with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)


def _reach_server(uri: str) -> None:
    """Any answer will do, also that one has to log in; OSError if nobody answers."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # MLflow may have been told the certificate
            raise


def _reach_database(uri: str) -> None:
    """One attempt; MLflow itself makes ten in two minutes."""
    from mlflow.store.db.utils import create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError):
        return f"no answer ({error.reason})"
    if isinstance(error, ConnectionError):  # accepted and then dropped: a server that is going down
        return f"no answer ({error})"
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS} s"
    return first_line(error)
