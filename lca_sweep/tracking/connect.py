"""The way into a store: the database made, the server reached, the experiment there; or one line on why not."""

from __future__ import annotations

import re

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lca_sweep.core.errors import why_no_database
from lca_sweep.tracking.database import artifacts_beside, prepare, sqlite_path
from lca_sweep.tracking.reaching import EXAMPLE, LOG_IN, no_answer, reach_server, refuse
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.store import Store
from lca_sweep.tracking.uri import kind

ANSWERS = {  # of a server that lets nobody in, by HTTP status
    "401": f"asks for a user and a password, or does not take yours; {LOG_IN}",
    "403": f"access denied; {LOG_IN} of one who may, or have its --allowed-hosts name the host as it is written here",
    "404": "answers with HTTP 404; must be the address of an MLflow server",
}


def connect(uri: str, experiment: str) -> Store:
    """The experiment in the store that `uri` names, both made if need be; TrackingError in one line."""
    refuse(uri)
    sort = kind(uri)
    path = sqlite_path(uri) if sort == "sqlite" else None
    try:
        if path:
            prepare(path)
        elif sort == "http":
            reach_server(uri)
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


def _reach_database(uri: str) -> None:
    """One attempt; MLflow itself makes ten in two minutes."""
    from mlflow.store.db.utils import create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _reason(error: Exception) -> str:
    """Why a store cannot be used, in one line: in our words where MLflow's own are long, or about something else."""
    said = str(error)
    if answer := re.search(r"failed with error code (\d+) != 200|too many (\d+) error responses", said):
        status = answer[1] or answer[2]
        return ANSWERS.get(status, f"answers with HTTP {status}; is it an MLflow server, and well?")
    if schema := re.search(r"database schema \(found version (\w+), but expected (\w+)\)", said):
        return (
            f"is of another version of MLflow (schema {schema[1]}, here {schema[2]}); "
            "if that is older, say `mlflow db upgrade URI`; if newer, install the MLflow that made it"
        )
    return why_no_database(error, EXAMPLE) if not isinstance(error, OSError) else no_answer(error)
