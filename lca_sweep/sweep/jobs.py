"""Sweeps as jobs of a Ray cluster elsewhere: sent, followed and stopped by its Jobs API."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shlex
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lca_sweep.core.errors import first_line
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.parcel import Parcel

ADDRESS, TOKENS = "RAY_API_SERVER_ADDRESS", ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
SECONDS = 10  # for a first answer
PATIENCE = 60.0  # seconds without the connection until nobody listens any more
LOOK = 0.5
SPARE = 5  # seconds that a sweep has after its grace until Ray kills it

CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")

Client = Any  # ray.job_submission.JobSubmissionClient: it comes with an extra


class JobError(SweepError):
    """A cluster does not do what it is asked."""


def cluster_at(address: str | None) -> Client:
    """The cluster at an address, or at that of RAY_API_SERVER_ADDRESS. Raises JobError if it does not let us in."""
    place = address or os.environ.get(ADDRESS, "")
    if not place.startswith(("http://", "https://")) or "@" in place:
        what = f"--address {place}" if address else f"{ADDRESS}={place}"
        raise JobError(f"submit: {what}: must be like http://HOST:8265, of the cluster's head")
    os.environ[ADDRESS] = place  # which Ray goes by before any argument
    _reach(place)
    _use_token()
    try:
        from ray.job_submission import JobSubmissionClient

        client = JobSubmissionClient(place)
    except ImportError as error:
        raise JobError(f"submit: needs ray[default]: {first_line(error)}; pip install 'lca-sweep[cluster]'") from error
    except Exception as error:  # requests', Ray's own, or plain ones
        raise JobError(f"submit: {place}: {_refusal(error)}") from error
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return client


def submit(client: Client, parcel: Parcel, wait: bool) -> int:
    """Send a sweep; then follow it to its end (see `attach`), or return 0."""
    _same_ray(client)
    job, console = f"{parcel.name}-{uuid.uuid4().hex[:8]}", wide_console()
    seconds = str(math.ceil(parcel.grace) + SPARE)
    with tempfile.TemporaryDirectory(prefix="lca-") as folder:
        parcel.fill(Path(folder))
        # the environment is also that of Ray's process which will end the sweep if asked to
        there = {"working_dir": folder, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": seconds}}
        try:
            client.submit_job(entrypoint=shlex.join(parcel.command()), runtime_env=there, submission_id=job)
        except Exception as error:
            raise JobError(f"submit: {_place(client)}: {_refusal(error)}") from error
    console.print(f"submitted as {job}", soft_wrap=True, markup=False)
    if wait:
        return attach(client, job)
    console.print(_how(job), soft_wrap=True, markup=False)
    return 0


def attach(client: Client, job: str) -> int:
    """Show what a sweep has said and says, to its end; its exit status. Ctrl-C leaves it running: 130."""
    _details(client, job)
    try:
        _follow(client, job)
        details = _ended(client, job)
    except KeyboardInterrupt:
        print(f"\n{job} goes on there; {_how(job)}", flush=True)
        return 128 + signal.SIGINT
    return _status(job, details)


def stop(client: Client, job: str) -> int:
    """End a sweep in order: it finishes its epoch, and the same words go on from there; 0 once it has ended."""
    if _details(client, job).status.is_terminal():
        raise JobError(f"submit: --stop {job}: has ended already")
    console = wide_console()
    console.print(f"asked {job} to stop; it finishes its epoch first", soft_wrap=True, markup=False)
    client.stop_job(job)
    _ended(client, job)
    console.print(f"{job} is stopped; the same words submitted again go on from there", soft_wrap=True, markup=False)
    return 0


def _use_token() -> None:
    """Ray looks for a token only where it is told that there may be one."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    if any(os.environ.get(name) for name in TOKENS) or Path("~/.ray/auth_token").expanduser().is_file():
        os.environ["RAY_AUTH_MODE"] = "token"


def _reach(place: str) -> None:
    """Any answer will do; Ray's client itself would wait for minutes."""
    try:
        urllib.request.urlopen(f"{place.rstrip('/')}/api/version", timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError, HTTPException) as error:  # the last two: of what is no address
        why = getattr(error, "reason", error)
        raise JobError(f"submit: {place}: no Ray cluster answers there: {why}; must be one that runs") from error


def _refusal(error: Exception) -> str:
    """Why the cluster refuses, in one line that has no token in it."""
    said = first_line(error)
    if type(error).__name__ == "AuthenticationError":
        if said.startswith("Authentication failed"):
            return (
                "refuses this token; must be the cluster's, in RAY_AUTH_TOKEN or a file that RAY_AUTH_TOKEN_PATH names"
            )
        return "asks for a token; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with it"
    return f"not a Ray cluster's Jobs API: {said}" if isinstance(error, ValueError) else said


def _place(client: Client) -> str:
    return str(client.get_address())


def _same_ray(client: Client) -> None:
    """Raise JobError if the cluster's Ray is another: our code is written for this one."""
    import ray

    found = client._server_ray_version  # it has asked for it, and has no method that tells
    if found != ray.__version__:
        raise JobError(f"submit: {_place(client)}: has Ray {found}; must be {ray.__version__}, as here")


def _how(job: str) -> str:
    return f"to see it: python -m lca_sweep submit --attach {job}; to end it: --stop {job}"


def _details(client: Client, job: str) -> Any:
    try:
        return client.get_job_info(job)
    except Exception as error:
        missing = "404" in first_line(error)
        raise JobError(f"submit: {job}: {'no such job there' if missing else _refusal(error)}") from error


def _follow(client: Client, job: str) -> None:
    """Print the log as it grows; where the connection breaks, on from what was printed."""
    printed, lost = 0, None

    async def tail() -> None:
        nonlocal printed, lost
        seen = 0  # it begins with the log's first character each time
        async for text in client.tail_job_logs(job):
            fresh = text[max(0, printed - seen) :]
            seen, lost = seen + len(text), None
            printed = max(printed, seen)
            sys.stdout.write(fresh)
            sys.stdout.flush()

    while True:
        try:
            return asyncio.run(tail())
        except Exception as error:
            lost = lost or time.monotonic()
            if time.monotonic() - lost > PATIENCE:
                raise _lost(job, error) from error
        time.sleep(LOOK)


def _ended(client: Client, job: str) -> Any:
    """What became of a job, as soon as something has."""
    lost = time.monotonic()
    while True:
        try:
            details, lost = client.get_job_info(job), time.monotonic()
            if details.status.is_terminal():
                return details
        except Exception as error:
            if time.monotonic() - lost > PATIENCE:
                raise _lost(job, error) from error
        time.sleep(LOOK)


def _lost(job: str, error: Exception) -> JobError:
    failure = JobError(f"submit: the connection is lost ({first_line(error)}); {job} may go on there; {_how(job)}")
    failure.status = 3
    return failure


def _status(job: str, details: Any) -> int:
    """The exit status of a sweep that has ended, as a shell would have it."""
    if details.status == "SUCCEEDED":
        return 0
    if details.status == "STOPPED":
        print(f"{job} was stopped; the same words submitted again go on from there", flush=True)
        return 128 + signal.SIGTERM
    code = details.driver_exit_code
    if code is None:  # it did not come to a start, or the head went away with it
        failure = JobError(f"submit: {job}: failed: {(details.message or 'no reason given').splitlines()[0]}")
        failure.status = 3
        raise failure
    return int(code) if code >= 0 else 128 - int(code)
