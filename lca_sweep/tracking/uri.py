"""Tracking URIs: which kind of store they name, and how people look into it. Nothing heavy is imported here."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import quote

from lca_sweep.config import without_password
from lca_sweep.core.objective import Objective

DEFAULT = "sqlite:///mlflow.db"  # MLflow's own
TRAINING = "?workflowType=machine_learning"  # else the UI shows what is for language models beside it
LOCAL_UI = "http://127.0.0.1:5000"  # where `mlflow ui` listens


def kind(uri: str) -> str:
    """`sqlite`, `http`, `files` for a folder, or `other` for what is up to MLflow (databases, its plugins)."""
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme in ("http", "https"):
        return "http"
    if scheme.partition("+")[0] == "sqlite":
        return "sqlite"
    return "files" if scheme in ("", "file") or len(scheme) == 1 else "other"  # one letter: a drive


def ui_command(uri: str) -> str:
    """The shell command, for the present working folder, that opens the MLflow UI on this store; a server's own URL."""
    if kind(uri) == "http":
        return without_password(uri).rstrip("/")
    # a plain `mlflow ui` prefers a folder ./mlruns as older versions filled it
    if uri == DEFAULT and not any(Path("mlruns").glob("[0-9]*/meta.yaml")):
        return "mlflow ui"
    return f"mlflow ui --backend-store-uri {shlex.quote(without_password(uri))}"


def page(uri: str, experiment_id: str, uid: str = "", first: Objective | None = None) -> str:
    """Address of an experiment's table of runs; see `runs_place`."""
    return f"{_base(uri)}/{runs_place(experiment_id, uid, first)}"


def run_page(uri: str, experiment_id: str, run: str) -> str:
    """Address of one run."""
    return f"{_base(uri)}/{run_place(experiment_id, run)}"


def runs_place(experiment_id: str, uid: str = "", first: Objective | None = None) -> str:
    """Where in the UI an experiment's table of runs is; of one sweep, with the best by `first` on top."""
    place = f"#/experiments/{experiment_id}/runs{TRAINING}"
    if uid:
        own = quote(f"tags.lca.sweep_id = '{uid}'", safe="")
        place += f"&searchFilter={own}"
    if first:
        order = quote(f"metrics.`{first.metric}`", safe="")
        place += f"&orderByKey={order}&orderByAsc={'false' if first.maximize else 'true'}"
    return place


def run_place(experiment_id: str, run: str) -> str:
    """Where a run is."""
    return f"#/experiments/{experiment_id}/runs/{run}{TRAINING}"


def model_place(name: str) -> str:
    """Where a registered model is."""
    return f"#/models/{quote(name, safe='')}{TRAINING}"


def _base(uri: str) -> str:
    """Where the UI is: at the store's server, or where `mlflow ui` listens."""
    return without_password(uri).rstrip("/") if kind(uri) == "http" else LOCAL_UI
