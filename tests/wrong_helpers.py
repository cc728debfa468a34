"""What wrong inputs need around them: a conf file, a data set or a sweep that is damaged, a server that says no."""

from __future__ import annotations

import contextlib
import gzip
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sweep_helpers import PATIENCE, ROOT, Ended, aid, descendants

from lca_sweep.checking import checked_sweep
from lca_sweep.compose import config_dir
from lca_sweep.search.storage import journal
from lca_sweep.search.study import Study
from lca_sweep.sweep.folder import opened
from lca_sweep.sweep.lock import locked

HERE = "127.0.0.1"
Made = Callable[[Path, int], AbstractContextManager[str]]  # in a working folder, at a port that is free: on which host


@dataclass(frozen=True)
class Wrong:
    """A wrong input, and what the user is told.

    In words, variables and parts of the message `<at>` stands for an address at which nobody listens unless that is
    `made`, and `<port>` for its port. Every password is `hush`.
    """

    name: str
    words: str  # as in a shell, behind `python -m lca_sweep`
    told: tuple[str, ...]  # parts of the message: where, what, which value, what is allowed or what to do
    made: Made | None = None  # what is there when the words are said
    begun: str = ""  # words by which a sweep was begun there before
    env: Mapping[str, str] = field(default_factory=dict)
    lines: int = 3  # of the message, at most
    apart: bool = False  # in a process of its own, for what is loaded or started
    shell: str = ""  # what a shell does before, in a process that has mounts of its own


# --- what is there -------------------------------------------------------------------------------------------------


@contextmanager
def nothing(folder: Path, port: int) -> Iterator[str]:
    """An empty folder, and nobody who listens."""
    yield HERE


def has(path: str, content: str | bytes = "") -> Made:
    """A file with this content, in place of what is there."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[str]:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield HERE

    return made


def mine(text: str) -> Made:
    """A conf folder of one's own, with the sweep `mine`."""
    return has("conf/sweep/mine.yaml", f"# @package _global_\n{text}\n")


def cut(path: str, size: int) -> Made:
    """A file that breaks off after so many bytes."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[str]:
        os.truncate(folder / path, size)
        yield HERE

    return made


def all_of(*parts: Made) -> Made:
    """Several of these."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[str]:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(part(folder, port)) for part in parts][-1]

    return made


def images(count: int) -> bytes:
    """So many black images, as MNIST's files have them."""
    return gzip.compress(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28)) + bytes(count * 784))


def begin(words: list[str], folder: Path) -> None:
    """The sweep that these words mean, as if it had been killed when its first trials had been proposed."""
    config, space = checked_sweep(words, [config_dir()])
    assert config.sweep.name is not None
    with opened(config, folder / config.sweep.dir / config.sweep.name, print) as made:
        study = Study.open(config, config.sweep.name, space, journal(made.path))
        study.claim(made.uid)
        study.ask([0] * 2)


@contextmanager
def running(folder: Path, port: int) -> Iterator[str]:
    """Somebody runs the sweep `mine`."""
    with locked(folder / "sweeps" / "mine", print):
        yield HERE


def in_mlflow(*statements: str) -> Made:
    """MLflow's database, in which something was done."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[str]:
        make = "from lca_sweep.tracking.connect import connect; connect('sqlite:///mlflow.db', 'lca_sweep')"
        env = os.environ | {"PYTHONPATH": str(ROOT)}  # another process, for MLflow keeps its databases open
        subprocess.run([sys.executable, "-c", make], cwd=folder, env=env, check=True)
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        yield HERE

    return made


# --- who is there --------------------------------------------------------------------------------------------------


@contextmanager
def listening(folder: Path, port: int) -> Iterator[str]:
    """Somebody has the port."""
    with socket.create_server((HERE, port)):
        yield HERE


def answering(status: int) -> Made:
    """A server that answers everything with this status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[str]:
        with ThreadingHTTPServer((HERE, port), Answer) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield HERE
            finally:
                server.shutdown()
                thread.join()

    return made


HEAD = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "include_dashboard": False, "gcs_server_port": int(sys.argv[1])}
cluster = Cluster(initialize_head=True, head_node_args=node)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
OTHER_RAY = """
import sys
from importlib.machinery import PathFinder

class Other(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        if name == "ray._version":
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), setattr(module, "version", "2.1.0"))
        return spec

sys.meta_path.insert(0, Other)
"""


def ray_with(path: str, content: str) -> Made:
    """A real cluster of one machine, whose processes find this Python file before any other of its name."""

    @contextmanager
    def made(folder: Path, port: int) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="lca-", dir="/tmp", ignore_cleanup_errors=True) as place:
            (Path(place) / "first" / path).parent.mkdir(parents=True)
            (Path(place) / "first" / path).write_text(content)
            env = {"PYTHONPATH": f"{place}/first", "RAY_TMPDIR": place}
            with aid(HEAD, str(port), env=env) as (_, address):
                yield address.partition(":")[0]

    return made


# --- what is said --------------------------------------------------------------------------------------------------


def no_mounts() -> str:
    """Why a process can have no mounts of its own here; nothing if it can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "needs root and unshare"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return "" if tried.returncode == 0 else "the kernel allows no mounts here"


def said_apart(words: list[str], folder: Path, env: Mapping[str, str], shell: str) -> Ended:
    """What a process of its own says, and its exit status; whatever it has started goes with it."""
    command = [sys.executable, "-m", "lca_sweep", *words]
    if shell:
        command = ["unshare", "--mount", "sh", "-ec", f"{shell}; exec {shlex.join(command)}"]
    with tempfile.TemporaryDirectory(prefix="lca-", dir="/tmp", ignore_cleanup_errors=True) as ray:
        popen = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": ray, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = popen.communicate(timeout=PATIENCE)
        finally:
            for one in descendants(popen.pid):
                one.kill()
            popen.kill()
            popen.communicate()
        return Ended(popen.returncode, out, err)
