"""The head of a cluster is missed when it is away for long, and not before."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

from sweep_helpers import free_port

from lca_sweep.sweep.watch import watched

LOOK, SILENCE = 0.02, 0.3


def listen(port: int) -> socket.socket:
    """Somebody who answers there until it is closed."""
    return socket.create_server(("127.0.0.1", port), backlog=1000)


def test_one_who_does_not_answer_for_long_is_missed_once() -> None:
    port, missed = free_port(), threading.Semaphore(0)
    with listen(port) as head, watched("127.0.0.1", port, missed.release, LOOK, SILENCE):
        assert not missed.acquire(timeout=2 * SILENCE)
        head.close()
        closed = time.monotonic()
        assert missed.acquire(timeout=20) and time.monotonic() - closed >= SILENCE - 2 * LOOK
        assert not missed.acquire(timeout=2 * SILENCE)


def test_one_who_is_back_in_time_is_not_missed() -> None:
    """Each time the silence begins anew."""
    port, missed = free_port(), threading.Event()
    with watched("127.0.0.1", port, missed.set, LOOK, 20 * SILENCE):
        for _ in range(3):
            time.sleep(SILENCE)
            with listen(port):
                time.sleep(SILENCE)
    time.sleep(SILENCE)
    assert not missed.is_set()


def test_nobody_is_missed_afterwards() -> None:
    missed = threading.Event()
    with watched("127.0.0.1", free_port(), missed.set, LOOK, SILENCE):
        pass
    assert not missed.wait(3 * SILENCE)


def test_the_end_is_told_in_one_line() -> None:
    """Also while the main thread is in a call that does not return."""
    code = """
import threading
from lca_sweep.sweep.watch import end_at_once
threading.Thread(target=end_at_once, args=("its head is gone",), daemon=True).start()
threading.Event().wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "lca_sweep: its head is gone\n")
