"""Sweeps as people run them: in a terminal of 40 columns whose size changes, and where there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sweep_helpers import PATIENCE, poll, running, start
from terminal_helpers import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = ("+sweep=smoke", "sweep.name=s", "cluster.packs=2", "trainer.epochs=40")
NOISE = """if True:
    import os, sys, threading, time, warnings

    def noise():
        while "ray.tune.tuner" not in sys.modules:
            time.sleep(0.01)
        for _ in range(10):  # while workers start
            time.sleep(0.2)
            os.write(2, b"C++ says so\\n")
            warnings.warn("a library warns")
            print("a library prints", file=sys.stderr)

    if any("sweep.name=s" in word for word in sys.orig_argv):
        threading.Thread(target=noise, daemon=True).start()
    """


class Terminal:
    """A screen that a thread keeps up to date, and all that was written to it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.master, self.slave = pty.openpty()
        self.screen, self.written = Screen(columns, lines), ""
        self.frames: list[list[str]] = []  # what one saw each time a frame was there
        self._lock, self._over = threading.Lock(), threading.Event()
        self.resize(columns, lines)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            self.screen.resize(columns, lines)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        os.close(self.slave)
        os.close(self.master)

    def _read(self) -> None:
        rest = b""
        while not self._over.is_set():
            while select.select([self.master], [], [], 0.05)[0]:
                with self._lock:
                    rest += os.read(self.master, 65536)
                    text = rest.decode(errors="ignore")
                    rest = rest[len(text.encode()) :]
                    self.written += text
                    self.screen.feed(text)
            with self._lock:
                if not self.frames or self.frames[-1] != self.screen.sight:
                    self.frames.append(self.screen.sight)


def test_a_terminal_of_forty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    with closing(Terminal(40, 14)) as one:
        run = start(tmp_path, *WORDS, stdout=one.slave, stderr=one.slave)
        try:
            poll(lambda: any("at epoch" in line for line in one.screen.sight) or run.over(), "epoch")
            one.resize(60, 14)
            poll(lambda: any("─ " in line and len(line) > 50 for line in one.screen.sight) or run.over(), "wider bar")
            one.resize(40, 14)
            poll(run.over, "end")
        finally:
            run.clear()
    assert run.popen.returncode == 0, one.written
    trained = [frame for frame in one.frames if any(line.startswith("best 0.") for line in frame)]
    assert trained
    titles = [frame for frame in one.frames if "pack  epoch  trials  val/accuracy" in frame]
    assert titles and max(len(frame) for frame in one.frames) <= 14
    assert all(line.count("s: ") <= 1 for frame in one.frames for line in frame)
    for frame in titles:  # one frame is in sight, and not what is left of another
        assert sum("of 4 trials" in line for line in frame) == 1 and sum("best" in line for line in frame) == 1
    assert any(re.search(r"about .* left", line) for frame in trained for line in frame)
    text = one.screen.text
    assert sum("s: 4 of 4 trials" in line for line in text) == 1  # the last frame stays
    assert any(re.fullmatch(r"done after .*: 4 complete", line) for line in text)
    assert one.written.count("\x1b[?25l") == one.written.count("\x1b[?25h")


@pytest.mark.parametrize("setting", [{"TERM": "xterm", "FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_line_an_event_where_there_is_no_terminal(
    setting: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in CI; libraries are noisy there, too. TERM=dumb is a terminal by name only."""
    inject = tmp_path / "inject"
    inject.mkdir()
    (inject / "sitecustomize.py").write_text(NOISE)
    monkeypatch.setenv("PYTHONPATH", str(inject))
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    if setting["TERM"] == "dumb":
        with closing(Terminal(80, 24)) as one:
            run = start(tmp_path, *WORDS, stdout=one.slave, stderr=one.slave)
            try:
                poll(run.over, "end")
            finally:
                run.clear()
        out = one.written.replace("\r\n", "\n").removesuffix("\x1b[0m")  # Ray's colorama, as it ends
        err, code = "", run.popen.returncode
    else:
        with running(tmp_path, *WORDS) as run:
            assert run.popen.stdout
            seen = ""
            while "pack 0 starts" not in seen:  # as soon as it does, for each line is flushed
                line = run.popen.stdout.readline()
                assert line, seen
                seen += line
            assert not run.over() and "done after" not in seen
            ended = run.end(PATIENCE)
        out, err, code = seen + ended.out, ended.err, ended.code
    assert (code, err) == (0, ""), out
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", out)
    lines = [found[1] for line in out.splitlines() if (found := re.fullmatch(r"\[ *\d+:\d\d\] (.*)", line))]
    starts = [line for line in lines if line.startswith("pack") and " starts: trials " in line]
    ends = [line for line in lines if re.match(r"pack \d ends: 2 complete; in all \d of 4 trials", line)]
    bests = [float(found[1]) for line in lines if (found := re.match(r"best: ([\d.]+), trial \d at epoch", line))]
    assert len(starts) == len(ends) == 2
    done = [found[1] for line in lines if (found := re.search(r" complete at epoch 40: val/accuracy ([\d.]+)", line))]
    assert len(done) == 4 and bests and bests[-1] == max(map(float, done))  # a trial that led may fall back
    assert len(lines) == 2 + 2 + 4 + len(bests)
    assert "C++ says so" not in out and "a library" not in out
    said = (tmp_path / "sweeps" / "s" / "logs" / "messages.log").read_text()
    assert "C++ says so" in said and "a library warns" in said and "a library prints" in said
