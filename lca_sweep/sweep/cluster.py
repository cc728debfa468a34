"""Ray: a quiet local one of our own, or a running cluster."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lca_sweep import __version__
from lca_sweep.config import Cluster
from lca_sweep.core.errors import first_line
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.room import Machine, Resources, elastic, resources

# before ray is imported; what it prints is about itself, and its files are in its own folder
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
PENDING = "TUNE_MAX_PENDING_TRIALS_PG"  # Tune asks a cluster for so many places at once; the ledger for how many


@contextmanager
def connected(cluster: Cluster) -> Iterator[Resources]:
    """Ray up and connected; a local one is taken down at the end. Raises SweepError if that is not possible."""
    quiet = QUIET if cluster.address == "local" else {**QUIET, PENDING: "10000"}
    os.environ.update({name: value for name, value in quiet.items() if name not in os.environ})
    import ray

    address = cluster.address
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
        if not address:  # Ray would join whatever runs on this machine, be it somebody's private sweep
            raise SweepError("cluster.address=auto: RAY_ADDRESS is not set; set it, or give the address here")
    if address.startswith("ray://"):  # there Tune runs in another process, which has none of our books
        raise SweepError(f"cluster.address={address}: must be the cluster itself (HOST:6379), not its Ray Client")
    _answers(address)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # of a machine that is lost Ray prints stack traces, whatever `log_to_driver` says; its log files have them, too
    ray._private.worker._worker_logs_enabled = False
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=_python() if address == "local" else None,
        )
    except Exception as error:  # Ray raises a plain one where a part of it dies as it starts
        raise SweepError(f"cluster.address={address}: Ray does not connect: {first_line(error)}{_hint()}") from error
    signal.signal(signal.SIGTERM, _terminated)  # Ray's own handler aborts
    try:
        if address == "local":
            yield resources(cluster, _machines())
        else:
            _same_package(address)
            yield elastic(cluster, _machines)
    finally:
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ray does not survive one while it goes down
        ray.shutdown()
        signal.signal(signal.SIGINT, interrupt)


def _hint() -> str:
    """Ray's exception does not say that it was the token."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return " (does it ask for a token? then set RAY_AUTH_MODE=token)"
    return " (is the token the cluster's? It is RAY_AUTH_TOKEN, or in the file RAY_AUTH_TOKEN_PATH)"


def _terminated(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _answers(address: str) -> None:
    """Ray itself tries for 20 s and writes a line a second; a port that nobody listens at is known at once."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # local, auto, or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise SweepError(f"cluster.address={address}: no Ray cluster answers there: {error}") from error


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _machines() -> list[Machine]:
    return [node["Resources"] for node in _nodes()]


def _same_package(address: str) -> None:
    """A cluster without our package would fail every trial, for good. Asked of a machine that trains, if there is one.

    It takes no CPU, so that nobody waits for one who uses the cluster too.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    def version() -> str:
        return str(importlib.import_module("lca_sweep").__version__)

    where = max(_nodes(), key=lambda node: float(node["Resources"].get("CPU", 0)))
    task = ray.remote(version).options(num_cpus=0, scheduling_strategy=On(where["NodeID"], soft=True))
    try:
        found = ray.get(task.remote(), timeout=120)
    except ImportError as error:
        raise SweepError(f"cluster.address={address}: lca_sweep is not installed on its machines") from error
    except ray.exceptions.GetTimeoutError as error:
        raise SweepError(f"cluster.address={address}: no process was started there in 120 s") from error
    if found != __version__:
        raise SweepError(f"cluster.address={address}: has lca_sweep {found}; must be {__version__}, as here")


def _python() -> dict[str, str] | None:
    """Ray starts workers through a shell, and forgets to quote a Python whose path has a space."""
    quoted = shlex.quote(sys.executable)
    return {"py_executable": quoted} if quoted != sys.executable else None
