"""Ray: a quiet local one of our own, or a running cluster."""

from __future__ import annotations

import importlib
import logging
import os
import re
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from lca_sweep import __version__
from lca_sweep.config import Cluster
from lca_sweep.core.errors import first_line
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.noise import into
from lca_sweep.sweep.room import Machine, Resources, elastic, resources
from lca_sweep.sweep.watch import SILENCE, answers, end_at_once, watched

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
# what makes Ray keep to 127.0.0.1, as it does on Windows and macOS; else a part of it listens at every address
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
NOTHING: AbstractContextManager[None] = nullcontext()
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def connected(cluster: Cluster, meanwhile: AbstractContextManager[None] = NOTHING) -> Iterator[Resources]:
    """Ray up and connected; a local one is taken down at the end. Raises SweepError if that is not possible.

    One is in `meanwhile` as it starts.
    """
    manners = QUIET | (_private() if cluster.address == "local" else {PENDING: "10000"})
    os.environ.update({name: value for name, value in manners.items() if name not in os.environ})
    address = address_of(cluster)
    if address != "local":
        check_answers(address)
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # of a machine that is lost Ray prints stack traces, whatever `log_to_driver` says; its log files have them, too
    ray._private.worker._worker_logs_enabled = False
    with ExitStack() as stack:
        with meanwhile:
            _connect(address)
            signal.signal(signal.SIGTERM, _terminated)  # Ray's own handler aborts
            if address != "local":
                stack.enter_context(_watched(address))
            stack.callback(_disconnect)
        if address == "local":
            yield resources(cluster, _machines())
        else:
            _same_package(address)
            yield elastic(cluster, _machines)


def address_of(cluster: Cluster) -> str:
    """Of which Ray; SweepError if it can be none."""
    address, knob = cluster.address, "cluster.address"
    if address == "local":
        return address
    if address == "auto":
        address, knob = os.environ.get("RAY_ADDRESS", ""), "RAY_ADDRESS"
        if not address:  # Ray would join whatever runs on this machine, be it somebody's private sweep
            raise SweepError("cluster.address=auto: RAY_ADDRESS is not set; set it, or give the address here")
    if address.startswith("ray://"):  # there Tune runs in another process, which has none of our books
        raise SweepError(f"{knob}={address}: must be the cluster itself (HOST:6379), not its Ray Client")
    if not re.fullmatch(r"[^/\s]+:\d+", address):
        choices = "" if knob == "RAY_ADDRESS" else "local, auto, or "
        raise SweepError(f"{knob}={address}: must be {choices}HOST:PORT of a cluster, e.g. head:6379")
    return address


def _private() -> dict[str, str]:
    """A Ray of our own is nobody else's: it keeps to this machine, and its token to our processes.

    Ray itself would write one to ~/.ray, for everybody who may look there, and for every Ray of the user's.
    """
    return LOOPBACK if any(name in os.environ for name in TOKENS) else LOOPBACK | {TOKENS[0]: secrets.token_hex(32)}


def _watched(address: str) -> AbstractContextManager[None]:
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    silent = f"its head has not answered for {SILENCE:.0f} s; the same command again goes on from here"
    return watched(host.strip("[]"), int(port), lambda: end_at_once(f"cluster.address={address}: {silent}"))


def _disconnect() -> None:
    import ray

    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ray does not survive one while it goes down
    ray.shutdown()
    signal.signal(signal.SIGINT, interrupt)


def _connect(address: str) -> None:
    """Raises SweepError."""
    with ExitStack() as stack:
        said = [] if address == "local" else stack.enter_context(_aside())
        try:
            _init(address)
            return
        except Exception as failed:  # Ray raises a plain one where a part of it dies as it starts
            error = failed
    why = _token() if "AuthToken" in "".join(said) else _other_version(error) or first_line(error)
    raise SweepError(f"cluster.address={address}: Ray does not connect: {why.partition('. Ensure that')[0]}") from error


def _init(address: str) -> None:
    import ray

    ray.init(
        address=address,
        include_dashboard=False if address == "local" else None,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env=_python() if address == "local" else None,
    )


@contextmanager
def _aside() -> Iterator[list[str]]:
    """What is written to stderr meanwhile, once it is over.

    Ray's C++ has a line a second there on why it does not connect yet, and its exception does not say why it gave up.
    """
    said: list[str] = []
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        try:
            with into(file):
                yield said
        finally:
            file.seek(0)
            said += file


def _other_version(error: Exception) -> str:
    """That the cluster has another Ray or Python than this process, if that is why; Ray says it in seven lines."""
    found = re.findall(r"(?:Ray|Python): (\S+)", str(error))
    if len(found) != 4:
        return ""
    return "it has Ray {} on Python {}; must be Ray {} on Python {}, as here".format(*found)


def _token() -> str:
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return "it asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return "its token is not the one in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"


def _terminated(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def check_answers(address: str, patience: float = 10) -> None:
    """Ray itself tries for 20 s and writes a line a second; a port that nobody listens at is known at once."""
    host, _, port = address.rpartition(":")
    if why := answers(host.strip("[]"), int(port), patience):
        raise SweepError(f"cluster.address={address}: no Ray cluster answers there: {why}; must be one that runs")


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
