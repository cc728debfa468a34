"""Whether the head of a cluster still answers. After a minute without it Ray ends the driver, with no word of ours."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lca_sweep.sweep.stopping import STUCK

LOOK = 5.0  # seconds between two looks, and for an answer
SILENCE = 45.0  # seconds without an answer that end the driver; Ray gives it 60, and a head that starts again needs 20


@contextmanager
def watched(
    host: str, port: int, lost: Callable[[], None], look: float = LOOK, silence: float = SILENCE
) -> Iterator[None]:
    """Call `lost`, from a thread, once nobody has answered there for `silence` seconds."""
    over = threading.Event()
    words = (host, port, lost, over, look, silence)
    threading.Thread(target=_watch, args=words, name="watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def end_at_once(message: str) -> None:
    """End this process as if it had been killed, but for a line and the status.

    In order it cannot end: Ray's calls wait for the head, too. What was booked is on disk; the kernel frees the lock.
    """
    with suppress(OSError, ValueError):
        print(f"lca_sweep: {message}", file=sys.__stderr__, flush=True)  # the other one may be libraries' (noise.py)
    os._exit(STUCK.status)


def answers(host: str, port: int, patience: float) -> str:
    """Why nobody answers there; nothing if somebody does."""
    try:
        socket.create_connection((host, port), timeout=patience).close()
    except OSError as error:
        return str(error)
    return ""


def _watch(host: str, port: int, lost: Callable[[], None], over: threading.Event, look: float, silence: float) -> None:
    silent_since: float | None = None
    while not over.wait(look):
        asked = time.monotonic()
        if not answers(host, port, look):
            silent_since = None
            continue
        silent_since = silent_since or asked
        if time.monotonic() - silent_since >= silence and not over.is_set():
            lost()
            return
