"""One sweep, its driver and its MLflow server, one of which is killed now and then and started again."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chaos_plan import ENDING, Moment
from sweep_helpers import Process, Run, descendants, free_port, poll, process, start

TICK = 0.02  # seconds
LOOK = 1.0  # seconds between looks at all processes below a driver
HANGS = 150.0  # seconds without any sign of life
WAITS = 60.0  # seconds of a driver's life, after which a moment whose event does not come is taken to be now
OUTAGE = 15.0  # seconds without a server, one time in five: longer than any call to it is tried again
VAIN = 6  # starts in a row that end by themselves, long after the last kill and without success
RAYLET = re.compile(r"\S*/raylet\b")
SIGNALS = {"driver": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
TRACE = Path(__file__).with_name("chaos_trace")
LINES = {  # what a driver says when something happens
    "ray": re.compile(r"starting Ray"),
    "tune": re.compile(r"sweep \S+: "),
    "pack": re.compile(r"\[.*\] pack \d+ starts"),
    "trial": re.compile(r"\[.*\] trial (\d+) (?:complete|pruned|failed)"),
    "done": re.compile(r"(nothing left to do; )?done after"),
}


class Stopped(Exception):
    """The whole experiment is broken off."""


# --- the MLflow server ---------------------------------------------------------------------------------------------


class Server(Protocol):
    """Where runs are recorded."""

    uri: str
    starts: int

    def tend(self) -> None:
        """Start it again if it is time."""

    def kill(self, pause: float) -> bool:
        """SIGKILL all of it, to be started again after a pause; whether there was one."""

    def close(self) -> None:
        """It is gone for good."""


class NoServer:
    """The default instead: a database that the driver itself makes, opens and writes."""

    uri, starts = "sqlite:///mlflow.db", 0

    def tend(self) -> None:
        """Nothing."""

    def kill(self, pause: float) -> bool:
        """There is none."""
        return False

    def close(self) -> None:
        """Nothing."""


class MlflowServer:
    """A real `mlflow server`, the lightest that there is: two processes, one port, a database in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.starts, self._due = folder, 0, 0.0
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._popen: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """See Server."""
        if self._popen is None and time.monotonic() >= self._due:
            self.start()

    def start(self) -> None:
        """Same port, same database."""
        self.starts += 1
        light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("a") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"],
                cwd=self.folder,
                env=os.environ | light,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # all its processes can be killed at once
            )

    def answers(self) -> bool:
        """Whether it is up."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return bool(answer.read() == b"OK")
        return False

    def kill(self, pause: float) -> bool:
        """See Server."""
        if self._popen is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._popen, self._due = None, time.monotonic() + pause
        return True

    def close(self) -> None:
        """See Server."""
        self.kill(0)


@contextlib.contextmanager
def serving(folder: Path, real: bool) -> Iterator[Server]:
    """A server that answers, or none; gone at the end."""
    if not real:
        yield NoServer()
        return
    server = MlflowServer(folder)
    try:
        server.start()
        poll(server.answers, "answer of the MLflow server")
        yield server
    finally:
        server.close()


# --- the driver ----------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """One start of the driver."""

    run: Run
    out: Path
    err: Path
    began: float = field(default_factory=time.monotonic)
    hits: list[str] = field(default_factory=list)  # kinds of kills while it lived
    hit: float = 0.0  # when the last of them was
    code: int | None = None  # None: has not ended
    ended: float = 0.0
    outlived: float = 0.0  # seconds for which something of it was there after its end
    _read: int = 0

    def news(self) -> list[str]:
        """Whole lines that it has written to stdout since the last call."""
        with self.out.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        return whole.decode(errors="replace").splitlines()

    def said(self) -> str:
        """What is on its stderr."""
        return self.err.read_text(errors="replace")

    def survived(self) -> float:
        """Seconds from the last kill to its end."""
        return self.ended - (self.hit or self.began)

    def remains(self) -> list[Process]:
        """Of its processes those that live."""
        return [one for one in self.run.seen if process(one.pid) == one]


def marked(text: str) -> list[Process]:
    """Processes that were started with this text in their environment, whoever is their parent by now."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and text.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(process(int(entry)))
    return [one for one in found if one]


@dataclass(frozen=True)
class Kill:
    """What was done, and when."""

    at: float  # seconds since the beginning of the round
    life: int
    moment: Moment
    late: bool  # its event did not come

    def __str__(self) -> str:
        return f"{self.at:7.2f} s, start {self.life}: {self.moment}{' (not seen)' if self.late else ''}"


class Scene:
    """A sweep from its first start to its end, disturbed by a plan; `findings` are what must not be."""

    def __init__(
        self, folder: Path, words: Sequence[str], trials: int, server: Server, moments: Sequence[Moment], seed: str
    ) -> None:
        self.folder, self.words, self.trials, self.server = folder, words, trials, server
        self.rng, self.moments = random.Random(f"{seed} details"), list(moments)
        self.lives: list[Life] = []
        self.kills: list[Kill] = []
        self.findings: list[str] = []
        self.seen: Counter[str] = Counter()
        self.trace = folder / "trace"
        self._over: set[str] = set()  # numbers of trials whose end was told
        self._began = self._news = time.monotonic()
        self._looked = self._killed = 0.0
        self._due = 0.0  # when a driver is to be started
        self._armed: Armed | None = None
        self._arm()  # before the first start, which it may wait for
        self.seconds = 0.0

    def play(self, stop: threading.Event) -> None:
        """Until a driver ends with 0."""
        try:
            while not self._tick():
                if stop.is_set():
                    raise Stopped
                time.sleep(TICK)
        finally:
            self.seconds = time.monotonic() - self._began
            self._clear()

    def _tick(self) -> bool:
        """Everybody's turn; whether the sweep is over."""
        self.server.tend()
        over = self._tend_driver()
        self._watch()
        if not over:
            self._tend_kill()
        return over

    # the driver

    @property
    def life(self) -> Life | None:
        """The newest start, if it has not ended."""
        return self.lives[-1] if self.lives and self.lives[-1].code is None else None

    def _tend_driver(self) -> bool:
        life = self.life
        if life is None:
            if time.monotonic() >= self._due:
                self._start()
            return False
        code = life.run.popen.poll()
        if code is None:
            if time.monotonic() - self._news > HANGS:
                self._note(life, f"no sign of life for {HANGS:.0f} s")
                life.hits.append("driver")
                life.run.popen.kill()
            return False
        life.code, life.ended = code, time.monotonic()
        self._due = time.monotonic() + self.rng.uniform(0, 1)
        self._judge(life)
        return bool(code == 0)

    def _start(self) -> None:
        number = len(self.lives) + 1
        out, err = (self.folder / f"driver-{number:03d}.{kind}" for kind in ("out", "err"))
        paths = [str(TRACE), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {"CHAOS_TRACE": str(self.trace), "PYTHONPATH": os.pathsep.join(paths), "SPT_NOENV": "1"}
        with out.open("w") as stdout, err.open("w") as stderr:
            run = start(self.folder, *self.words, env=env, stdout=stdout, stderr=stderr)
        self.lives.append(Life(run, out, err))
        self._see("start")

    def _judge(self, life: Life) -> None:
        """What a driver must not do, whatever was done to it: it may end, with a word on why."""
        said = life.said()
        if "driver" not in life.hits and "Traceback" in said:
            self._note(life, "a traceback")
        if life.code == 0 and said and "raylet" not in life.hits:  # a driver's own part of Ray complains about that
            self._note(life, "success, and something on stderr")
        if life.code is not None and life.code < 0 and not set(life.hits) & {*SIGNALS, "raylet"}:
            self._note(life, f"died of signal {-life.code}")
        alone = time.monotonic() - max(self._began, self._killed)
        vain = len(self.lives) >= VAIN and not any(one.hits for one in self.lives[-VAIN:])
        refused = not self.kills and all(one.code == 2 for one in self.lives)  # from the first on: it is its words
        if life.code != 0 and vain and (refused or alone > HANGS):
            self._note(life, f"ended by itself {VAIN} times in a row: the sweep cannot go on")
            raise RuntimeError(self.findings[-1])

    def _note(self, life: Life, what: str) -> None:
        words = life.said().strip().splitlines()
        last = f"; its last words: {words[-1][:300]}" if words else ""
        hit = ", ".join(life.hits) or "no kill"
        self.findings.append(f"{life.err}: {what} (exit status {life.run.popen.poll()}, after {hit}){last}")

    # what happens

    def _see(self, event: str, times: int = 1) -> None:
        self.seen[event] += times
        self._news = time.monotonic()

    def _watch(self) -> None:
        if self.lives:
            for line in self.lives[-1].news():
                self._hear(line)
        lines = self.trace.stat().st_size if self.trace.exists() else 0
        if lines > self.seen["bytes"]:
            self._see("bytes", lines - self.seen["bytes"])
            self._see("epochs", self.trace.read_bytes().count(b"\n") - self.seen["epochs"])
        if time.monotonic() - self._looked > LOOK:
            self._look()

    def _hear(self, line: str) -> None:
        self._news = time.monotonic()
        for event, pattern in LINES.items():
            if found := pattern.match(line):
                self._see(event)
                if event == "trial":
                    self._over.add(found[1])

    def _look(self) -> None:
        """Who is there below the driver, and who has outlived an earlier one."""
        self._looked = time.monotonic()
        for life in self.lives:
            if life.code is None:
                life.run.seen |= set(descendants(life.run.popen.pid))
            elif life.run.seen and life.remains():
                life.outlived = time.monotonic() - life.ended
            elif life.run.ray.exists():
                life.run.clear()

    # kills

    def _tend_kill(self) -> None:
        armed, now = self._armed, time.monotonic()
        if armed is None:
            return
        if armed.due is None:
            if self._has_come(armed):
                armed.due = now + armed.moment.delay
            elif armed.moment.after not in ENDING and self.life and now - max(armed.since, self.life.began) > WAITS:
                armed.due, armed.late = now, True
        if armed.due is not None and now >= armed.due and self._strike(armed.moment.kind):
            self._book(Kill(now - self._began, len(self.lives), armed.moment, armed.late))
            self._arm()

    def _arm(self) -> None:
        """The next moment of the plan, counted from now."""
        moment = self.moments.pop(0) if self.moments else None
        self._armed = Armed(moment, self.seen[moment.after] + moment.count) if moment else None

    def _book(self, kill: Kill) -> None:
        self.kills.append(kill)
        self._killed = time.monotonic()
        self._see("kill")
        with (self.folder / "kills.log").open("a") as log:
            log.write(f"{kill}\n")

    def _has_come(self, armed: Armed) -> bool:
        if armed.moment.after == "last":
            return len(self._over) >= self.trials - armed.moment.count
        return self.seen[armed.moment.after] >= armed.goal

    def _strike(self, kind: str) -> bool:
        """Whether there was one to kill."""
        if kind == "server":
            struck = self.server.kill(self.rng.uniform(0, 3) if self.rng.random() < 0.8 else OUTAGE)
        else:
            struck = self.life is not None and self._strike_driver(kind, self.life)
        if struck and self.life:
            self.life.hits.append(kind)
            self.life.hit = time.monotonic()
        return struck

    def _strike_driver(self, kind: str, life: Life) -> bool:
        below = descendants(life.run.popen.pid)
        life.run.seen |= set(below)
        if kind in SIGNALS:
            life.run.popen.send_signal(SIGNALS[kind])
            return True
        pool = life.run.workers() if kind == "worker" else [one for one in below if RAYLET.match(one.command)]
        if pool:
            self.rng.choice(pool).kill()
        return bool(pool)

    def _clear(self) -> None:
        """Nobody stays."""
        for life in self.lives:
            life.run.seen |= set(marked(f"RAY_TMPDIR={life.run.ray}\0"))
            if life.code is not None and (left := life.remains()):
                life.outlived = time.monotonic() - life.ended
                with (self.folder / "left.log").open("a") as log:
                    log.writelines(f"{life.err}: {one}\n" for one in left)
            life.run.clear()


@dataclass
class Armed:
    """A moment that is waited for."""

    moment: Moment
    goal: int
    since: float = field(default_factory=time.monotonic)
    due: float | None = None
    late: bool = False
