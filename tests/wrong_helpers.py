"""What wrong inputs need around them: a conf file, a data set or a sweep that is damaged, a server that says no."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sweep_helpers import ROOT

from lca_sweep.checking import checked_sweep
from lca_sweep.compose import config_dir
from lca_sweep.search.storage import journal
from lca_sweep.search.study import Study
from lca_sweep.sweep.folder import opened
from lca_sweep.sweep.lock import locked

Made = Callable[[Path, int], AbstractContextManager[None]]  # in a working folder, with the number of a free port


@dataclass(frozen=True)
class Wrong:
    """A wrong input, and what the user is told.

    In words, variables and parts of the message `<port>` stands for a port at which nobody listens unless it is `made`.
    Every password in this table is `hush`.
    """

    name: str
    words: str  # as in a shell, behind `python -m lca_sweep`
    told: tuple[str, ...]  # parts of the message: where, what, which value, what is allowed or what to do
    made: Made | None = None  # what is there when the words are said
    begun: str = ""  # words by which a sweep was begun there before that
    env: Mapping[str, str] = field(default_factory=dict)
    status: int = 2
    lines: int = 3  # of the message, at most


@contextmanager
def nothing(folder: Path, port: int) -> Iterator[None]:
    yield


def has(path: str, content: str | bytes = "") -> Made:
    """A file with this content, in place of what is there."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[None]:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield

    return made


def mine(text: str) -> Made:
    """A conf folder of one's own, with one sweep."""
    return has("conf/sweep/mine.yaml", text)


def damaged(path: str, cut: int) -> Made:
    """A file that ends after so many bytes."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[None]:
        os.truncate(folder / path, cut)
        yield

    return made


def images(count: int) -> bytes:
    """So many black images, as a file of MNIST has them."""
    return gzip.compress(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28)) + bytes(count * 784))


def begin(words: list[str], folder: Path) -> None:
    """A sweep that was begun by these words, and has trained nothing yet."""
    config, space = checked_sweep(words, [config_dir()])
    assert config.sweep.name is not None
    with opened(config, folder / config.sweep.dir / config.sweep.name, print) as made:
        study = Study.open(config, config.sweep.name, space, journal(made.path))
        study.claim(made.uid)
        study.ask([0] * 2)


@contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    """Somebody runs the sweep `mine`."""
    with locked(folder / "sweeps" / "mine", print):
        yield


def answering(status: int, headers: Mapping[str, str] = {}) -> Made:  # noqa: B006
    """A server that answers everything with this status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[None]:
        with ThreadingHTTPServer(("127.0.0.1", port), Answer) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    return made


@contextmanager
def listening(folder: Path, port: int) -> Iterator[None]:
    """Somebody has the port."""
    with socket.create_server(("127.0.0.1", port)):
        yield
