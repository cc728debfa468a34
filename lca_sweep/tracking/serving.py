"""The MLflow UI as a process of its own, on this machine alone: begun, waited for, taken down with all its parts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from lca_sweep.config import without_password
from lca_sweep.tracking.database import sqlite_path
from lca_sweep.tracking.quiet import behave
from lca_sweep.tracking.reaching import check
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.uri import kind

HOST, PORT = "127.0.0.1", 5000
PORTS = 100  # that are tried from PORT on
PATIENCE = 180.0  # seconds for a server to answer: on a machine at work it takes its time
LAST_WORDS = 10.0  # seconds for it to end by itself


def check_there(uri: str) -> str:
    """The URI as a server of any working folder reads it. TrackingError in one line if no store is there."""
    if kind(uri) == "files":
        raise TrackingError(f"tracking.uri={uri}: MLflow keeps runs in plain folders no more; say tracking.uri=URL")
    if kind(uri) != "sqlite":
        return uri
    path = sqlite_path(uri)
    if not path.is_file():
        raise TrackingError(f"tracking.uri={uri}: no store at {path}; the first sweep makes it")
    check(uri)
    return f"sqlite:///{path}"


def free_port(wanted: int | None = None) -> int:
    """The port that is asked for, or the first free one from 5000 on; TrackingError if there is none."""
    for port in (wanted,) if wanted else range(PORT, PORT + PORTS):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    if wanted:
        raise TrackingError(f"--port {wanted}: cannot be had (taken?); leave it out for the next free one")
    raise TrackingError(f"no free port from {PORT} to {PORT + PORTS - 1}; say --port N")


@contextmanager
def served(uri: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The UI on a store, as soon as it answers; no process of it is left at the end. TrackingError if it does not."""
    behave()
    # a password belongs into the environment: everybody can read the words of a process
    env = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    words = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    with tempfile.TemporaryDirectory(prefix="lca-ui-") as folder, tempfile.TemporaryFile() as said:
        # a group of its own, so that Ctrl-C reaches us alone; a folder of its own, for it may leave things there
        server = subprocess.Popen(
            words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            _wait(server, uri, port, said)
            yield server
        finally:
            _end(server)


def _wait(server: subprocess.Popen[bytes], uri: str, port: int, said: IO[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > end:
            raise TrackingError(f"tracking.uri={without_password(uri)}: the MLflow UI does not start: {_last(said)}")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2).close()
        return True
    except OSError:
        return False


def _last(said: IO[bytes]) -> str:
    """The last thing that it said, in one line, without a password."""
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "it says nothing")
    return without_password(told)[:300]


def _end(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for what does not go by it, to the server and whatever it has started."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C changes nothing
    for number, patience in ((signal.SIGTERM, LAST_WORDS), (signal.SIGKILL, LAST_WORDS)):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(patience)
    signal.signal(signal.SIGINT, before)
