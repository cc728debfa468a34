"""Who does for real, in a folder, what a page says."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docs_helpers import ROOT, Block, Line, blocks, commands, lines
from docs_rules import ALONE, FOLLOWED, PRELUDE, QUICKER, rule, shortened
from sweep_helpers import descendants, free_port, poll


@dataclass
class Reader:
    """Who does in a folder what a page says."""

    folder: Path
    package: Path = ROOT
    where: Path = field(init=False)  # the working folder
    variables: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)  # in all lines: places and ports that are others here
    done: set[str] = field(default_factory=set)
    heads: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.where = self.folder

    def env(self) -> dict[str, str]:
        """With our Python in front, whatever the tests' own environment has of Ray left out."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(self.package), "RAY_TMPDIR": str(self.folder / "ray")}
        return (
            {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
            | own
            | self.variables
        )

    def follow(self, page: str) -> None:
        """All blocks, in order, once what the page takes for granted is done."""
        self.where = self.folder
        if before := (FOLLOWED | ALONE)[page]:
            self.do(Line(page, 0, before))
        for block in blocks(ROOT / page):
            if block.file:
                write(block, self.where)
            elif block.language == "python":
                self.execute(block)
            elif not block.language:
                for line in lines(block):
                    self.do(line)

    def do(self, line: Line) -> None:
        """A line, as its rule says; of a pipe, all or nothing."""
        text = functools.reduce(lambda text, pair: text.replace(*pair), self.replaced.items(), line.text)
        words = commands(text)[0]
        how = rule(words).for_real
        if how:
            getattr(self, how)(Line(line.page, line.number, text), words)

    # -- ways, as RULES has them

    def run(self, line: Line, words: list[str]) -> None:
        """`python -m lca_sweep ...`, once in a folder unless it only looks; done, and nothing on stderr."""
        self.again(line, [sys.executable, "-m", "lca_sweep", *shortened(words[3:])])

    def make(self, line: Line, words: list[str]) -> None:
        """What the target's recipe runs."""
        recipe = re.search(rf"^{words[1]}:.*\n\t@\$\(PY\) (.*) \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.M)
        assert recipe, words
        self.run(line, ["python", *shlex.split(recipe[1])])

    def type(self, line: Line, words: list[str]) -> None:
        """In a shell."""
        self.must(line, ["bash", "-ec", line.text], quiet=False)

    def export(self, line: Line, words: list[str]) -> None:
        self.variables |= dict(word.split("=", 1) for word in words[1:])

    def go(self, line: Line, words: list[str]) -> None:
        self.where = self.where / words[1]
        assert self.where.is_dir(), line.id

    def serve(self, line: Line, words: list[str]) -> None:
        """A server that answers, and ends when told."""
        port = free_port()
        command = [sys.executable, *words[1:]] if words[0] == "python" else words
        if line.text in self.done:
            return
        self.done.add(line.text)
        with self.started([*command, "--port", str(port)]) as popen:
            poll(lambda: popen.poll() is not None or answers(port), f"answer to {line.text}")
            assert popen.poll() is None and answers(port), line.id

    def lead(self, line: Line, words: list[str]) -> None:
        """A head of a Ray cluster, at ports of its own and on loopback, to the end of the page."""
        others = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "ray-client-server-port")
        more = [f"--{name}={free_port()}" for name in others]
        more += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--block", f"--temp-dir={self.folder / 'ray'}"]
        log = self.folder / "head.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [*words, *more], cwd=self.where, env=self.env(), stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )
        self.heads.append(popen)
        poll(lambda: popen.poll() is not None or b"runtime started" in log.read_bytes(), "Ray head")
        assert popen.poll() is None, log.read_text()

    # -- how

    def execute(self, block: Block) -> None:
        """A block of Python; warnings are errors, but those of MLflow's own imports."""
        text = functools.reduce(lambda text, pair: text.replace(*pair), QUICKER, block.text)
        strict = [] if "mlflow" in text else ["-W", "error"]
        self.must(Line(block.page, block.number, "python"), [sys.executable, *strict, "-c", PRELUDE + text])

    def again(self, line: Line, command: list[str]) -> None:
        """Once in this folder."""
        key = f"{self.where} {shlex.join(command)} {self.variables}"
        if key not in self.done:
            self.must(line, command)
        self.done.add(key)

    def must(self, line: Line, command: list[str], quiet: bool = True) -> None:
        """It ends with status 0, and says nothing on stderr."""
        done = subprocess.run(
            command, cwd=self.where, env=self.env(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        fine = done.returncode == 0 and (not done.stderr or not quiet)
        assert fine, f"{line.id}: {line.text}\n{done.stdout}{done.stderr}"

    @contextlib.contextmanager
    def started(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        popen = subprocess.Popen(
            command, cwd=self.where, env=self.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield popen
            popen.terminate()  # not Ctrl-C's signal, which a shell's background jobs do not hear
            popen.wait(60)
        finally:
            end(popen)

    def close(self) -> None:
        """Nothing stays behind."""
        for popen in self.heads:
            popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(20)
            end(popen)


def end(popen: subprocess.Popen[bytes]) -> None:
    """A process and all below it, whatever it was doing."""
    below = descendants(popen.pid)
    popen.kill()
    popen.wait()
    for one in below:
        one.kill()


def answers(port: int) -> bool:
    """Whether a page is served at a port of this machine."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def write(block: Block, folder: Path) -> None:
    """The file that a block is."""
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


def patched(page: Path, folder: Path) -> Path | None:
    """A copy of the package with the diffs of a page; None where it has none."""
    diffs = [block.text for block in blocks(page) if block.language == "diff"]
    if not diffs:
        return None
    for name in ("lca_sweep", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for diff in diffs:
        subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, text=True, check=True)
    return folder


@contextlib.contextmanager
def reading(page: str = "README.md") -> Iterator[Reader]:
    """A reader in a folder with a short name, as Ray's sockets need, and with a page's diffs; who leaves nothing."""
    folder = Path(tempfile.mkdtemp(prefix="lca-", dir="/tmp"))
    reader = Reader(folder, patched(ROOT / page, folder / "copy") or ROOT)
    (folder / "ray").mkdir()
    try:
        yield reader
    finally:
        reader.close()
        shutil.rmtree(folder, ignore_errors=True)
