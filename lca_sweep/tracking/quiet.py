"""MLflow's manners, as environment variables, since it reads them when it is imported; what the user has set stays."""

from __future__ import annotations

import os
from types import MappingProxyType

MANNERS = MappingProxyType(
    {
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong comes as an exception; INFO is migrations of the database
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # a line for each run that ends
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nobody asked the user
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_UV_AUTO_DETECT": "false",  # a model needs what it says, not what the working folder is a project of
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the writer tries again itself; MLflow would for 4 min
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    }
)


def behave() -> None:
    """Set what is not set yet; to be called before mlflow is imported."""
    for name, value in MANNERS.items():
        os.environ.setdefault(name, value)
