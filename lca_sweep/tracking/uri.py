"""Tracking URIs: which kind of store they name, and how people look into it. Nothing heavy is imported here."""

from __future__ import annotations

import shlex
from pathlib import Path

from lca_sweep.config import without_password

DEFAULT = "sqlite:///mlflow.db"  # MLflow's own
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


def page(uri: str, experiment_id: str) -> str:
    """Address of an experiment's table of runs (the UI itself opens on another tab)."""
    base = without_password(uri).rstrip("/") if kind(uri) == "http" else LOCAL_UI
    return f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def run_page(uri: str, experiment_id: str, run: str) -> str:
    """Address of one run."""
    base = without_password(uri).rstrip("/") if kind(uri) == "http" else LOCAL_UI
    return f"{base}/#/experiments/{experiment_id}/runs/{run}"
