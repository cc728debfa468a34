"""`submit`: the words of a sweep that is to run on a Ray cluster elsewhere, checked here, and what goes along."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lca_sweep.checking import Parser, checked_sweep, own_folder
from lca_sweep.compose import config_dir
from lca_sweep.config import Config, KnobError, without_password
from lca_sweep.overrides import UsageError
from lca_sweep.sweep.parcel import Parcel

USAGE = "submit WORDS [--address http://HOST:8265] [--no-wait] [--config-dir DIR], or submit --attach ID, --stop ID"
THERE = {  # cluster=kubernetes takes these from the cluster's own environment; here stand others for them
    "LCA_SWEEP_DIR": "/sweeps",
    "LCA_SWEEP_STORAGE": "s3://lca-sweep/sweeps",
    "LCA_SWEEP_STUDY": "postgresql+psycopg://optuna@postgres:5432/optuna",
    "LCA_SWEEP_TRACKING": "http://mlflow:5000",
}
RELATIVE = re.compile(r"sqlite(\+\w+)?:///(?!/)")
LOGIN = re.compile(r"(https?://)[^/\s]*@")
SECRETS = "PGPASSWORD, MLFLOW_TRACKING_PASSWORD or the like in the cluster's environment"


def submit(words: Sequence[str]) -> int:
    """Send a sweep to a cluster, look at one that is there, or end it; the exit status, of the sweep where it ended."""
    parser = Parser(prog="submit", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--no-wait", action="store_true")
    for option in ("--address", "--config-dir", "--attach", "--stop"):
        parser.add_argument(option)
    flags = parser.parse_intermixed_args(list(words))
    asked = flags.attach or flags.stop
    if asked and (flags.overrides or flags.no_wait or flags.config_dir or (flags.attach and flags.stop)):
        raise UsageError(f"submit: write {USAGE}")
    from lca_sweep.sweep import jobs

    if asked:
        there = jobs.cluster_at(flags.address)
        return jobs.attach(there, asked) if flags.attach else jobs.stop(there, asked)
    sweep = _sweep(flags.overrides, own_folder(flags.config_dir))
    return jobs.submit(jobs.cluster_at(flags.address), sweep, wait=not flags.no_wait)


def _sweep(words: Sequence[str], own: Sequence[Path]) -> Parcel:
    """What is to be sent. UsageError or KnobError for what could not be run there."""
    _refuse_secrets(words)
    with _as_there():
        config, _ = checked_sweep(words, [config_dir(), *own])
    _refuse_elsewhere(config)
    _refuse_secrets([f"search.storage={config.search.storage}", f"tracking.uri={config.tracking.uri}"])
    points = Path(config.search.enqueue_csv) if config.search.enqueue_csv else None
    if points and not points.is_file():
        raise KnobError(f"search.enqueue_csv={points}: no such file here; it goes along with the sweep")
    name = config.sweep.name or config.data.name
    return Parcel(name, tuple(words), config_dir(), own[0] if own else None, points, config.sweep.grace)


@contextmanager
def _as_there() -> Iterator[None]:
    """With the variables set that are set there, for as long as the words are composed."""
    before = {name: os.environ.get(name) for name in THERE}
    os.environ.update(THERE)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})


def _refuse_secrets(words: Sequence[str]) -> None:
    """Raise KnobError for a password or a login: whoever may look at the cluster can read a job's words."""
    for word in words:
        shown = LOGIN.sub(r"\1***@", without_password(word))
        if shown != word:
            raise KnobError(f"{shown}: no password may be in what is sent; must be {SECRETS}")


def _refuse_elsewhere(config: Config) -> None:
    """Raise KnobError for a place that would be in the job's own folder, which goes when the job has ended."""
    if config.cluster.address not in ("local", "auto"):
        raise KnobError(
            f"cluster.address={config.cluster.address}: a sweep that is submitted runs on the cluster of --address; "
            "must be left out"
        )
    for knob, folder, hint in (
        ("sweep.dir", config.sweep.dir, "a folder of the cluster's head that lasts, e.g. /sweeps"),
        ("sweep.storage", config.sweep.storage, "s3://bucket/path, or a folder that all its machines share"),
        ("data.dir", config.data.dir, "a folder that is on all its machines"),
    ):
        if folder and "://" not in folder and not os.path.isabs(os.path.expanduser(folder)):
            raise KnobError(f"{knob}={folder}: the cluster has no such folder to keep; must be {hint}")
    for knob, url in (("tracking.uri", config.tracking.uri), ("search.storage", config.search.storage)):
        if RELATIVE.match(url or ""):
            raise KnobError(f"{knob}={url}: would go with the job; must be a server's, or sqlite:////PATH on the head")
