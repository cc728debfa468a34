"""Ray: a quiet local one of our own, or a running cluster; and how many packs it takes at a time."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lca_sweep import __version__
from lca_sweep.config import Cluster
from lca_sweep.core.errors import first_line
from lca_sweep.sweep.errors import SweepError

# before ray is imported; what it prints is about itself, and its files are in its own folder
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# what makes Ray keep to 127.0.0.1, as it does on Windows and macOS; else a part of it listens at every address
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Resources:
    """What a pack gets, and how many packs run at a time, at most."""

    cpus: int
    gpus: float
    packs: int

    @property
    def device(self) -> str:
        """Where a pack's tensors live."""
        return "cuda" if self.gpus > 0 else "cpu"


@contextmanager
def connected(cluster: Cluster) -> Iterator[Resources]:
    """Ray up and connected; a local one is taken down at the end. Raises SweepError if that is not possible."""
    address = cluster.address
    manners = QUIET | (_private() if address == "local" else {})
    os.environ.update({name: value for name, value in manners.items() if name not in os.environ})
    import ray

    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
        if not address:  # Ray would join whatever runs on this machine, be it somebody's private sweep
            raise SweepError("cluster.address=auto: RAY_ADDRESS is not set; set it, or give the address here")
    if address.startswith("ray://"):  # there Tune runs in another process, which has none of our books
        raise SweepError(f"cluster.address={address}: must be the cluster itself (HOST:6379), not its Ray Client")
    _answers(address)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=_python() if address == "local" else None,
        )
    except Exception as error:  # Ray raises a plain one where a part of it dies as it starts
        hint = "" if "RAY_AUTH_MODE" in os.environ else " (does it ask for a token? then set RAY_AUTH_MODE=token)"
        raise SweepError(f"cluster.address={address}: Ray does not connect: {first_line(error)}{hint}") from error
    signal.signal(signal.SIGTERM, _terminated)  # Ray's own handler aborts
    try:
        if address != "local":
            _same_package(address)
        yield resources(cluster, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    finally:
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ray does not survive one while it goes down
        ray.shutdown()
        signal.signal(signal.SIGINT, interrupt)


def _private() -> dict[str, str]:
    """A Ray of our own is nobody else's: it keeps to this machine, and its token to our processes.

    Ray itself would write one to ~/.ray, for everybody who may look there, and for every Ray of the user's.
    """
    return LOOPBACK if any(name in os.environ for name in TOKENS) else LOOPBACK | {TOKENS[0]: secrets.token_hex(32)}


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


def _same_package(address: str) -> None:
    """A cluster without our package would fail every trial, for good."""
    import ray

    def version() -> str:
        return str(importlib.import_module("lca_sweep").__version__)

    try:
        found = ray.get(ray.remote(version).remote(), timeout=120)
    except ImportError as error:
        raise SweepError(f"cluster.address={address}: lca_sweep is not installed on its machines") from error
    except ray.exceptions.GetTimeoutError as error:
        raise SweepError(f"cluster.address={address}: no CPU became free there in 120 s") from error
    if found != __version__:
        raise SweepError(f"cluster.address={address}: has lca_sweep {found}; must be {__version__}, as here")


def _python() -> dict[str, str] | None:
    """Ray starts workers through a shell, and forgets to quote a Python whose path has a space."""
    quoted = shlex.quote(sys.executable)
    return {"py_executable": quoted} if quoted != sys.executable else None


def resources(cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """Share out what the machines have. Raises SweepError if not even one pack fits on any of them."""
    cpus = max(int(node.get("CPU", 0)) for node in nodes)
    gpus = max(node.get("GPU", 0.0) for node in nodes)
    per_pack = cluster.gpus_per_pack if cluster.gpus_per_pack is not None else min(1.0, gpus)
    if cluster.cpus_per_pack > cpus:
        raise SweepError(
            f"cluster.cpus_per_pack={cluster.cpus_per_pack}: the largest machine has {cpus} CPUs; must be <= {cpus}"
        )
    if per_pack > gpus:
        raise SweepError(
            f"cluster.gpus_per_pack={per_pack:g}: the largest machine has {gpus:g} GPUs; must be <= {gpus:g}"
        )
    fit = sum(_fit(cluster.cpus_per_pack, per_pack, node) for node in nodes)
    if not fit:
        raise SweepError(f"cluster.cpus_per_pack={cluster.cpus_per_pack}: no machine has as many CPUs beside a GPU")
    return Resources(cluster.cpus_per_pack, per_pack, fit)


def _fit(cpus: int, gpus: float, node: Mapping[str, float]) -> int:
    """How many packs one machine takes."""
    fit = int(node.get("CPU", 0)) // cpus
    return min(fit, int(node.get("GPU", 0.0) / gpus)) if gpus else fit
