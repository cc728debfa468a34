"""What the tracker was told is on disk until the store has it, once and in order, whoever fails or dies meanwhile."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracking_helpers import (
    FINISHED,
    MOODS,
    PARAMS,
    ROOT,
    UID,
    MemoryStore,
    Points,
    counts,
    die,
    expected,
    metrics,
    on,
    same,
    sweep,
    trial,
    untold_deaths,
    wait_for,
)

from lca_sweep.tracking import SweepEnd, TrackingError
from lca_sweep.tracking.entries import Amount, End, Entry, Epoch, Start, amount_of, batch_of, entry_of, line_of
from lca_sweep.tracking.mlflow_tracker import MlflowTracker
from lca_sweep.tracking.outbox import SEGMENT, Outbox
from lca_sweep.tracking.tracker import TRIAL_STATUS
from lca_sweep.tracking.writer import Refused, Writer, patiently

# --- entries -------------------------------------------------------------------------------------------------------

texts = st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3)
numbers = st.integers(0, 5)
times = st.integers(0, 2**44)
entries = st.one_of(
    st.builds(Start, numbers, times, texts, texts),
    st.builds(Epoch, numbers, times, st.integers(0, 99), st.dictionaries(st.text(max_size=5), st.floats(), max_size=3)),
    st.builds(End, numbers, times, st.sampled_from(sorted(TRIAL_STATUS)), st.text(max_size=20)),
)


@given(entries)
def test_an_entry_is_a_line(entry: Entry) -> None:
    line = line_of(entry)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    assert repr(entry_of(line)) == repr(entry)  # NaN is not itself


@given(entries, st.data())
def test_damaged_lines_are_no_entries(entry: Entry, data: st.DataObject) -> None:
    line = line_of(entry)[:-1]
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(ValueError, match="no entry"):
        entry_of(line[:cut])


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"7", b'{"start": 1}', b'{"epoch": {}}', b'{"x": {}}', b"\xff\0"])
def test_other_lines_are_no_entries(line: bytes) -> None:
    with pytest.raises(ValueError, match="no entry"):
        entry_of(line)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), min_size=1, max_size=12), st.integers(1, 1000))
def test_batches_are_whole_epochs_under_the_limit(sizes: list[tuple[bool, int]], limit: int) -> None:
    told = [
        End(0, 0, "failed", "") if change else Epoch(0, 0, i, dict.fromkeys(map(str, range(size)), 0.0))
        for i, (change, size) in enumerate(sizes)
    ]
    batch = batch_of(told, limit)
    assert batch == told[: len(batch)]
    assert len(batch) <= 1 or sum(len(epoch.metrics) for epoch in batch) <= limit
    following = told[len(batch)] if len(batch) < len(told) else None
    if isinstance(following, Epoch) and batch:  # no room for one more
        assert sum(len(epoch.metrics) for epoch in batch) + len(following.metrics) > limit
    assert bool(batch) == isinstance(told[0], Epoch)


def test_amounts_in_words() -> None:
    some = amount_of([Epoch(0, 0, 1, {})] * 1234 + [End(0, 0, "failed", "")])
    assert str(some) == "1,234 epochs and 1 change of state of trials"
    assert some - some == Amount() and not some - some and some + some


# --- the folder ----------------------------------------------------------------------------------------------------


def epoch(step: int, number: int = 0) -> Epoch:
    return Epoch(number, 1000 + step, step, metrics(step))


def filled(folder: Path, steps: Sequence[int] = (1, 2, 3), uid: str = UID) -> Path:
    """A folder as a process leaves it that told these epochs; its newest segment."""
    outbox = Outbox(folder, uid)
    for step in steps:
        outbox.append(line_of(epoch(step)))
    outbox.close()
    return sorted(folder.iterdir())[-1]


def test_what_is_appended_is_taken_and_dropped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a" / "outbox", UID)
    assert outbox.take() is None and not outbox.folder.exists()  # touched when there is something to keep
    outbox.append(line_of(epoch(1)))
    assert outbox.take() is None  # not sealed yet
    outbox.seal()
    outbox.append(line_of(epoch(2)))
    outbox.settle()
    assert outbox.take() == (1, [epoch(1)]) and outbox.take() is None and not outbox.empty
    outbox.drop(1)
    assert [path.name for path in outbox.folder.iterdir()] == ["00000002.jsonl"]
    outbox.close()
    again = Outbox(outbox.folder, UID)
    assert list(again.left()) == [epoch(2)]
    again.append(line_of(epoch(3)))
    again.seal()
    assert [again.take(), again.take(), again.take()] == [(2, [epoch(2)]), (3, [epoch(3)]), None]
    for number in (2, 3):
        again.drop(number)
    again.close()
    assert again.empty and not outbox.folder.exists()


def test_segments_are_not_large(tmp_path: Path) -> None:
    outbox, line = Outbox(tmp_path, UID), line_of(Epoch(0, 0, 1, {"a" * 300_000: 0.0}))
    for _ in range(9):
        outbox.append(line)
    outbox.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 3 and max(sizes) < SEGMENT + len(line)


def test_settle_makes_files_and_names_durable_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{_fd(file)}")))
    outbox = Outbox(tmp_path / "outbox", UID)
    outbox.append(line_of(epoch(1)))
    outbox.seal()
    outbox.append(line_of(epoch(2)))
    outbox.settle()
    assert [path.removeprefix(str(tmp_path)) for path in synced] == [
        "",  # has the name of the next
        "/outbox/00000001.jsonl",
        "/outbox/00000002.jsonl",
        "/outbox",
    ]
    del synced[:]
    outbox.settle()
    assert not synced
    outbox.append(line_of(epoch(3)))
    outbox.settle()
    assert [Path(path).name for path in synced] == ["00000002.jsonl"]
    outbox.close()


def _fd(file: object) -> int:
    return file if isinstance(file, int) else file.fileno()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("torn", [b'{"epoch": {"number": 0, "ti', b'{"epoch": {"number": 0}}', b"\0\0\0"])
def test_a_torn_last_line_was_never_answered(torn: bytes, tmp_path: Path) -> None:
    path = filled(tmp_path / "outbox")
    with path.open("ab") as file:
        file.write(torn)
    outbox = Outbox(path.parent, UID)
    assert list(outbox.left()) == [epoch(1), epoch(2), epoch(3)] and not outbox.damaged
    path.write_bytes(b'{"swe')
    outbox = Outbox(path.parent, UID)
    assert list(outbox.left()) == [] and not outbox.damaged


@pytest.mark.parametrize(("place", "left"), [(1, [1, 2, 3]), (2, [2, 3]), (3, [1, 3]), (4, [1, 2])])
def test_a_damaged_line_is_told_and_left_out(place: int, left: list[int], tmp_path: Path) -> None:
    path = filled(tmp_path / "outbox")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place - 1] = b"\x00\xff" + lines[place - 1][5:]
    path.write_bytes(b"".join(lines))
    outbox = Outbox(path.parent, UID)
    assert list(outbox.left()) == [epoch(step) for step in left]
    outbox.take()  # reads it again
    assert list(outbox.damaged) == [f"{path}: line {place} is damaged and was left out"]


def test_another_sweeps_outbox_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "outbox", uid=UID[::-1])
    store = MemoryStore()
    tracker = on(store, path.parent)
    with pytest.raises(TrackingError) as caught:
        tracker.start_sweep(sweep(tmp_path))
    assert str(caught.value) == f"{path}: is of another sweep, {UID[::-1]}; must be moved away"
    assert not store.runs and path.exists()
    tracker.close()


def test_no_half_lines_on_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of a line that went to the disk is no line, and what comes later has its own file."""
    outbox = Outbox(tmp_path / "outbox", UID)
    outbox.append(line_of(epoch(1)))

    class Full:
        def __init__(self, file: object) -> None:
            self.file, self.calls = file, 0

        def write(self, line: bytes) -> int:
            self.calls += 1
            if self.calls > 1:
                raise OSError(28, "No space left on device")
            return int(self.file.write(line[:7]))  # type: ignore[attr-defined]

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    monkeypatch.setattr(outbox, "_file", Full(outbox._file))
    with pytest.raises(TrackingError, match=r"^\S+/outbox/00000001.jsonl: what MLflow .* \(No space left on device\)$"):
        outbox.append(line_of(epoch(2)))
    outbox.append(line_of(epoch(3)))
    outbox.close()
    again = Outbox(outbox.folder, UID)
    assert list(again.left()) == [epoch(1), epoch(3)] and len(list(again.folder.iterdir())) == 2


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tracking_helpers import *
store = MemoryStore()
tracker = on(store, Path("outbox"))
tracker.start_sweep(sweep(Path()))
tracker.start_trials([trial(0)])
store.away = True
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
epoch = 0
try:
    while True:
        epoch += 1
        tracker.log(0, epoch, metrics(epoch))
        tracker._outbox._seal = lambda: None  # one file, until it is full
except ValueError as error:
    print(epoch, error)
"""


def test_a_full_disk_is_told_in_a_line(tmp_path: Path) -> None:
    """What the error did not concern is there."""
    code = LIMITED.format(tests=str(ROOT / "tests"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    failed, _, line = done.stdout.strip().partition(" ")
    assert done.stderr == "" and line.endswith("what MLflow is to get cannot be kept there (File too large)")
    assert line.startswith("outbox/0000000")
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.end_sweep(FINISHED)
    tracker.close()
    assert store.trials()[0].history() == expected(range(1, int(failed)))


def test_a_read_only_disk_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file where the folder should be")
    tracker = on(MemoryStore(), tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    with pytest.raises(TrackingError, match=r"^\S+/outbox\S*: what MLflow is to get cannot be kept there \(.+\)$"):
        tracker.start_trials([trial(0)])
    with pytest.raises(LookupError, match="trial 0"):
        tracker.log(0, 1, {})
    tracker.close()


# --- the thread ----------------------------------------------------------------------------------------------------


@dataclass
class Sink:
    """Keeps what is written; `moods` are the answers to the next calls: True writes, False fails."""

    moods: list[bool] = field(default_factory=list)
    refuse: int = -1
    away: bool = False
    written: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    calls: list[list[Entry]] = field(default_factory=list)

    def write(self, entries: Sequence[Entry]) -> None:
        number = entries[0].number
        if number == self.refuse:
            raise Refused(f"{number} is deleted\nand more")
        if self.away or (self.moods and not self.moods.pop(0)):
            raise ConnectionError("gone")
        self.calls.append(list(entries))
        self.written[number] += entries

    def start(self, start: Start) -> None:
        self.write([start])

    def log(self, epochs: Sequence[Epoch]) -> None:
        self.write(epochs)

    def end(self, end: End) -> None:
        self.write([end])


def writer_on(
    sink: Sink, folder: Path, delays: Sequence[float] = (0.0,), rest: tuple[float, float] = (0.0, 0.0)
) -> Writer:
    outbox = Outbox(folder / "outbox", UID)
    return Writer(outbox, sink, amount_of(outbox.left()), delays, rest)


def stop(writer: Writer) -> None:
    writer.stop()
    writer._outbox.close()


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.booleans(), max_size=12))
def test_in_order_and_once_over_failures(trials: list[int], moods: list[bool]) -> None:
    sink, told = Sink(moods), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        writer = writer_on(sink, Path(folder))
        for i, number in enumerate(trials):
            entry: Entry = End(number, i, "failed", "") if i % 4 == 3 else epoch(i, number) if i else epoch(99, number)
            told[number].append(entry)
            writer.tell(entry)
        assert writer.wait(10) and writer.left == writer.refused[0] == Amount()
        stop(writer)
        assert sink.written == told and os.listdir(folder) == []


def test_several_epochs_in_a_call(tmp_path: Path) -> None:
    sink = Sink()
    writer = writer_on(sink, tmp_path, rest=(30.0, 30.0))  # does not begin before somebody waits
    for step in range(1, 21):
        writer.tell(epoch(step))
    assert writer.wait(10)
    assert [len(call) for call in sink.calls] == [20]
    stop(writer)
    with pytest.raises(RuntimeError, match="closed"):
        writer.tell(epoch(21))


def test_nobody_waits_for_a_store_that_hangs(tmp_path: Path) -> None:
    release = threading.Event()

    class Hanging(Sink):
        def write(self, entries: Sequence[Entry]) -> None:
            assert release.wait(60)
            super().write(entries)

    sink = Hanging()
    writer = writer_on(sink, tmp_path)
    for step in range(1, 1001):  # would never end if it waited
        writer.tell(epoch(step))
    began = time.monotonic()
    assert not writer.wait(0.05) and writer.left.epochs == 1000
    release.set()
    assert writer.wait(10)
    stop(writer)
    assert sink.written[0] == [epoch(step) for step in range(1, 1001)]
    assert time.monotonic() - began < 20


def test_one_that_hangs_is_left_to_itself(tmp_path: Path) -> None:
    """And touches the folder no more, whenever it comes back: it may be another process's by then."""
    release = threading.Event()

    class Hanging(Sink):
        def write(self, entries: Sequence[Entry]) -> None:
            assert release.wait(60)

    writer = writer_on(Hanging(), tmp_path)
    writer.tell(epoch(1))
    assert not writer.wait(0.1)
    began = time.monotonic()
    stop(writer)
    assert time.monotonic() - began < 2
    release.set()
    writer._thread.join(10)
    assert not writer._thread.is_alive()
    assert list(Outbox(tmp_path / "outbox", UID).left()) == [epoch(1)]


def test_trouble_and_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink(away=True)
    writer = writer_on(sink, tmp_path, delays=(0.01,))
    assert writer.trouble == ""
    for step in range(1, 1235):
        writer.tell(epoch(step))
    assert not writer.wait(0.1)
    assert writer.trouble == ""  # not yet
    began, clock = time.monotonic(), time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 3702)
    assert writer.trouble.startswith("MLflow has not answered for 1:01:4")
    assert writer.trouble.endswith("; 1,234 epochs kept in the outbox")
    monkeypatch.undo()
    assert writer.obstacle[0] == "no answer (gone)"
    sink.away = False
    assert writer.wait(10)
    assert writer.trouble == writer.obstacle[0] == "" and time.monotonic() - began < 10
    stop(writer)


def test_a_refused_trial_harms_no_other(tmp_path: Path) -> None:
    sink = Sink(refuse=1)
    writer = writer_on(sink, tmp_path, delays=(30.0,))  # a refusal is not worth a delay
    for step in range(1, 4):
        for number in (0, 1):
            writer.tell(epoch(step, number))
        assert writer.wait(10)
    refused, why = writer.refused
    assert (refused, len(sink.written[0])) == (Amount(3, 0), 3) and str(why) == "1 is deleted\nand more"
    stop(writer)
    assert not (tmp_path / "outbox").exists()


def test_one_that_always_fails_harms_no_other(tmp_path: Path) -> None:
    class Picky(Sink):
        def log(self, epochs: Sequence[Epoch]) -> None:
            if epochs[0].number == 0:
                raise UnicodeError("not this one")
            super().log(epochs)

    sink = Picky()
    writer = writer_on(sink, tmp_path)
    for step in range(1, 4):
        for number in (0, 1, 2):
            writer.tell(epoch(step, number))
        time.sleep(0.02)
    assert not writer.wait(0.3)
    assert [len(sink.written[number]) for number in (0, 1, 2)] == [0, 3, 3] and writer.left == Amount(3, 0)
    stop(writer)
    assert {entry.number for entry in Outbox(tmp_path / "outbox", UID).left()} >= {0}


def test_several_that_always_fail_harm_no_other(tmp_path: Path) -> None:
    """However many they are, and wherever they stand, the others are written in every round."""
    bad = set(range(0, 16, 2))

    class Picky(Sink):
        def log(self, epochs: Sequence[Epoch]) -> None:
            if epochs[0].number in bad:
                raise OSError("HTTP 413")
            super().log(epochs)

    sink = Picky()
    writer = writer_on(sink, tmp_path, rest=(600.0, 600.0))
    writer._sleep = lambda pause, failed: False  # type: ignore[method-assign]
    stop(writer)
    writer._closing = False  # rounds are ours from here on
    for step in range(1, 11):
        for number in range(16):
            writer.tell(epoch(step, number))
        with pytest.raises(OSError, match="HTTP 413"):
            writer._round()
        if step > len(bad):  # each has failed once
            assert [len(sink.written[number]) for number in range(1, 16, 2)] == [step] * 8
    assert writer.left == Amount(80, 0) and not any(sink.written[number] for number in bad)
    stop(writer)


def test_a_store_that_is_away_is_not_asked_for_every_trial(tmp_path: Path) -> None:
    asked = []

    class Away(Sink):
        def log(self, epochs: Sequence[Epoch]) -> None:
            asked.append(epochs[0].number)
            raise ConnectionError("gone")

    writer = writer_on(Away(), tmp_path, delays=(600.0,))
    with writer._wake:  # the thread sees all of them at once
        for number in range(100):
            writer.tell(epoch(1, number))
    wait_for(lambda: writer.obstacle[0])
    assert len(asked) < 10
    stop(writer)


def test_trouble_lasts_while_others_get_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial fails for long; that others are written meanwhile does not hide it."""
    monkeypatch.setattr("lca_sweep.tracking.writer.SLOW", 0.3)

    class Picky(Sink):
        def log(self, epochs: Sequence[Epoch]) -> None:
            if epochs[0].number == 0 and self.away:
                raise OSError("HTTP 413")
            super().log(epochs)

        def write(self, entries: Sequence[Entry]) -> None:
            self.written[entries[0].number] += entries

    sink = Picky(away=True)
    writer = writer_on(sink, tmp_path, delays=(0.01,))
    writer.tell(epoch(1, 0))
    until = time.monotonic() + 1.5
    for step in range(1, 10_000):
        writer.tell(epoch(step, 1))
        time.sleep(0.01)
        if time.monotonic() > until:
            break
    assert re.fullmatch(r"MLflow has not got all for 0:0\d \(HTTP 413\); .* kept in the outbox", writer.trouble)
    sink.away = False
    assert writer.wait(10) and writer.trouble == ""
    stop(writer)


def test_a_file_that_cannot_be_read_is_trouble_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lca_sweep.tracking.writer.SLOW", 0.2)
    sink = Sink(away=True)
    writer = writer_on(sink, tmp_path, delays=(0.01,))
    writer.tell(epoch(1))
    wait_for(lambda: writer._held)
    writer.tell(epoch(2, 1))
    read = Path.read_bytes
    broken = tmp_path / "outbox" / "00000002.jsonl"

    def unreadable(path: Path) -> bytes:
        if path == broken:
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", unreadable)
        sink.away = False
        wait_for(lambda: sink.written[0] and writer.trouble)
        assert "Input/output error" in writer.trouble and sink.written[1] == []
    assert writer.wait(10) and sink.written[1] == [epoch(2, 1)] and writer.trouble == ""
    stop(writer)


def test_much_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.tracking.writer.HELD", 10)
    sink = Sink(away=True)
    writer = writer_on(sink, tmp_path)
    for step in range(1, 501):
        writer.tell(epoch(step))
        if step % 10 == 0:
            time.sleep(0.001)
    assert not writer.wait(0.05)
    held = writer._held
    assert held < 500 and len(list((tmp_path / "outbox").iterdir())) <= 12
    sink.away = False
    assert writer.wait(10)
    stop(writer)
    assert sink.written[0] == [epoch(step) for step in range(1, 501)]


def test_files_that_vanish_are_not_waited_for_when_nothing_is_left(tmp_path: Path) -> None:
    """A file whose lines somebody spoilt while we ran holds less than was told."""
    sink = Sink()
    writer = writer_on(sink, tmp_path, rest=(1.0, 1.0))
    writer.tell(epoch(1))
    writer.tell(epoch(2))
    (path,) = (tmp_path / "outbox").iterdir()
    path.write_bytes(path.read_bytes()[:-9] + b"\n")
    assert writer.wait(10)
    assert sink.written[0] == [epoch(1)] and len(writer._outbox.damaged) == 1
    stop(writer)


def test_patiently_returns_the_first_success() -> None:
    answers = iter([1, 2])
    assert patiently(lambda: 1 // (next(answers) - 1), patience=5.0, delays=(0.0,)) == 1
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, patience=0.2, delays=(0.0, 0.05))
    assert 0.1 < time.monotonic() - began < 5


# --- the tracker over deaths ---------------------------------------------------------------------------------------


@dataclass
class Told:
    """What was told of a trial, over all lives."""

    epochs: int = 0
    state: str = ""
    reason: str = ""


def values(number: int, step: int) -> dict[str, float]:
    return {"a": number + step / 7, "b": (math.nan, math.inf, -math.inf, 0.1)[step % 4]}


def history(number: int, epochs: int) -> Points:
    return {key: [(step, values(number, step)[key]) for step in range(1, epochs + 1)] for key in "ab"} if epochs else {}


@dataclass
class Life:
    """One process: what it tells, how the store is meanwhile, and how it dies."""

    events: list[tuple[int, str]]
    moods: list[str]  # from its start on
    later: list[str]  # after that, for the thread
    torn: bool
    rest: float


trials = st.integers(0, 1)
acts = st.sampled_from(["start", "epoch", "epoch", "epoch", "again", "settle", *sorted(TRIAL_STATUS)])
lives = st.builds(
    Life,
    st.lists(st.tuples(trials, acts), max_size=25),
    st.lists(st.sampled_from(MOODS), max_size=15),
    st.lists(st.sampled_from(MOODS), max_size=15),
    st.booleans(),
    st.sampled_from([0.0, 0.0, 0.002]),
)


def live(life: Life, store: MemoryStore, folder: Path, told: dict[int, Told]) -> None:
    """Tell a life's events, and die."""
    tracker = on(store, folder / "outbox")
    store.moods = list(life.moods)
    try:
        tracker.start_sweep(sweep(folder))
    except SystemExit:
        return
    store.moods = list(life.later)
    for number, act in life.events:
        tell(tracker, number, act, told)
        time.sleep(life.rest / 10)
    time.sleep(life.rest)
    die(tracker)
    store.moods = []
    segments = sorted((folder / "outbox").glob("*"))
    if life.torn and segments:
        with segments[-1].open("ab") as file:
            file.write(b'{"epoch": {"number": 0, "time": 12')


def tell(tracker: object, number: int, act: str, told: dict[int, Told]) -> None:
    if act in ("epoch", "again") and number not in told:
        tell(tracker, number, "start", told)
    known = told.get(number)
    if act == "start":
        tracker.start_trials([trial(number)])  # type: ignore[attr-defined]
        told.setdefault(number, Told()).state = "running"
        told[number].reason = ""
    elif act == "settle":
        tracker.settle()  # type: ignore[attr-defined]
    elif known and act in ("epoch", "again"):
        known.epochs += 1
        for step in range(max(1, known.epochs - 2 * (act == "again")), known.epochs + 1):
            tracker.log(number, step, values(number, step))  # type: ignore[attr-defined]
    elif act in TRIAL_STATUS:
        tracker.end_trial(number, act, f"by {act}")  # type: ignore[attr-defined]
        if known and known.state != act:
            known.state, known.reason = act, f"by {act}"


@settings(max_examples=150)
@given(st.lists(lives, max_size=5))
def test_everything_told_is_recorded_once_over_failures_and_deaths(all_lives: list[Life]) -> None:
    store, told = MemoryStore(), {}
    # no two things are told at the same time, so that what is written twice shows
    clock = patch("lca_sweep.tracking.mlflow_tracker.milliseconds", count(1).__next__)
    with tempfile.TemporaryDirectory() as name, clock, untold_deaths():
        folder = Path(name)
        for life in all_lives:
            live(life, store, folder, told)
        store.moods = []
        tracker = on(store, folder / "outbox")
        tracker.start_sweep(sweep(folder))
        tracker.end_sweep(FINISHED)
        tracker.close()
        assert os.listdir(folder) == []
    runs = store.trials()
    assert set(runs) == set(told)
    for number, known in told.items():
        state = "interrupted" if known.state == "running" else known.state
        run = runs[number]
        assert (run.tags["lca.state"], run.status) == (state, TRIAL_STATUS[state])
        assert run.tags.get("lca.reason", "") == known.reason
        assert run.params == PARAMS and run.tags["lca.pack"] == "0"
        assert same(run.history(), history(number, known.epochs))
    assert [parent.status for parent in store.parents()] == ["FINISHED"]


def test_a_replay_of_what_is_recorded_changes_nothing(tmp_path: Path) -> None:
    """The process died between recording the last entry and dropping the file."""
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker._outbox.drop = lambda number: None  # type: ignore[method-assign]
    tracker.start_trials([trial(0)])
    for step in (1, 2):
        tracker.log(0, step, metrics(step))
    tracker.end_trial(0, "pruned", "slow")
    assert tracker.flush()
    die(tracker)
    (run,) = store.trials().values()
    before = replace(run, tags=dict(run.tags), points=set(run.points), order=[])
    time.sleep(0.01)  # so that new times would be others
    again = on(store, tmp_path / "outbox")
    again.start_sweep(sweep(tmp_path))
    assert again.flush()
    assert replace(store.trials()[0], order=[]) == before and before.end is not None
    again.close()
    assert not (tmp_path / "outbox").exists()


def test_a_wrong_store_refuses_nothing_for_good(tmp_path: Path) -> None:
    """A server that came back on an empty database, or a proxy that answers in its place."""
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    assert tracker.flush()
    kept = dict(store.runs)
    store.runs.clear()
    tracker.log(0, 1, metrics(1))
    assert not tracker.flush(0.1)
    store.runs |= kept
    assert tracker.flush()
    tracker.end_sweep(FINISHED)
    tracker.close()
    assert store.trials()[0].history() == expected([1])


def test_a_damaged_start_takes_no_metrics_along(tmp_path: Path) -> None:
    store, says = MemoryStore(), []
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker._writer.stop()
    tracker._outbox.append(b'{"start": {"number": 0, "ti...\n')
    tracker._outbox.append(line_of(epoch(1)))
    tracker._outbox.close()
    again = on(store, tmp_path / "outbox")
    again.start_sweep(sweep(tmp_path))
    again.end_sweep(FINISHED, say=says.append)
    again.close()
    assert store.trials()[0].history() == expected([1])
    assert says == [f"{tmp_path}/outbox/00000001.jsonl: line 2 is damaged and was left out"]


def test_a_lost_answer_to_create_makes_no_second_run(tmp_path: Path) -> None:
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    store.moods = ["lost"]
    tracker.start_trials([trial(0)])
    assert tracker.flush()
    assert [run.params for run in store.runs.values()] == [{}, PARAMS]  # the parent's first
    tracker.close()


def test_files_go_in_the_order_of_the_telling(tmp_path: Path) -> None:
    """Else a trial's start would be told again, and its end not."""

    class Picky(MemoryStore):
        def log(self, run: str, epochs: Sequence[Epoch]) -> None:
            if epochs[0].number == 0 and self.picky:
                raise ConnectionError("not this one")
            super().log(run, epochs)

        picky = True

    store = Picky()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0), trial(1)])
    assert tracker.flush()
    tracker.log(0, 1, metrics(1))
    tracker.start_trials([trial(1, pack=1)])
    assert not tracker.flush(0.2)
    tracker.end_trial(1, "complete")
    wait_for(lambda: store.trials()[1].status == "FINISHED")
    assert len(list((tmp_path / "outbox").iterdir())) >= 2  # none is dropped before the one with what was refused
    die(tracker)
    store.picky = False
    again = on(store, tmp_path / "outbox")
    again.start_sweep(sweep(tmp_path))
    assert again.flush()
    assert store.trials()[1].status == "FINISHED" and store.trials()[0].history() == expected([1])
    again.close()


def test_a_create_that_came_through_late_leaves_no_second_run(tmp_path: Path) -> None:
    """The server hung with the request in its hands, and made the run after another one was made."""
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    store.moods = ["away"]
    tracker.start_trials([trial(0)])
    tracker.log(0, 1, metrics(1))
    assert tracker.flush()
    (run,) = store.trials().values()
    store.create("0000", dict(run.tags), run.start)
    tracker.end_sweep(FINISHED)
    tracker.close()
    assert store.trials() == {0: run} and run.history() == expected([1])


def test_a_start_that_came_through_late_undoes_no_end(tmp_path: Path) -> None:
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    store.moods = ["away"]
    tracker.start_trials([trial(0), trial(1)])
    for number in (0, 1):
        tracker.end_trial(number, "complete")
    assert tracker.flush()
    run, ended = store.trials()[0], store.trials()[0].end
    run.status, run.tags["lca.state"], run.end = "RUNNING", "running", None
    tracker.end_sweep(FINISHED)
    tracker.close()
    assert (run.status, run.tags["lca.state"], run.end) == ("FINISHED", "complete", ended)
    assert store.trials()[1].order == ["complete"]


def test_the_end_of_a_sweep_without_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.tracking.mlflow_tracker.MOMENT", 0.5)
    store, says = MemoryStore(), []
    tracker = on(store, tmp_path / "outbox", "http://me:secret@host")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0), trial(1)])
    assert tracker.flush()
    store.away = True
    tracker.log(0, 1, metrics(1))
    tracker.end_trial(0, "complete")
    with pytest.raises(TrackingError) as caught:
        tracker.end_sweep(FINISHED, patience=2.5, say=says.append)
    assert caught.value.status == 3, "the same command goes on"
    assert str(caught.value) == (
        "tracking.uri=http://me:***@host: no answer (gone); 1 epoch and 2 changes of state of trials are not recorded "
        f"yet and kept in {tmp_path}/outbox: the same command again records them"
    )
    assert says == ["waiting for MLflow at http://me:***@host: no answer (gone)"]
    began = time.monotonic()
    tracker.close(patience=60)
    assert time.monotonic() - began < 30, "it has been waited for"
    store.away = False
    again = on(store, tmp_path / "outbox")
    again.start_sweep(sweep(tmp_path))
    again.end_sweep(FINISHED, say=says.append)
    again.close()
    assert store.trials()[0].history() == expected([1])
    assert [run.tags["lca.state"] for run in store.trials().values()] == ["complete", "interrupted"]
    assert [parent.status for parent in store.parents()] == ["FINISHED"] and len(says) == 1
    assert not (tmp_path / "outbox").exists()


def test_the_parent_cannot_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.tracking.mlflow_tracker.MOMENT", 0.1)
    store, says = MemoryStore(), []
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    store.away = True
    with pytest.raises(
        TrackingError, match=r"^tracking.uri=memory: the end of the sweep: gone; the same command again"
    ):
        tracker.end_sweep(FINISHED, patience=1.5, say=says.append)
    assert says == ["waiting for MLflow at memory: the end of the sweep"]
    tracker.close()


def test_close_keeps_what_is_not_recorded(tmp_path: Path) -> None:
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    store.away = True
    tracker.start_trials([trial(0)])
    with pytest.raises(
        TrackingError, match=r"0 epochs and 1 change of state of trials are not recorded yet and kept in"
    ):
        tracker.close(patience=0.1)
    tracker.close()
    assert len(list((tmp_path / "outbox").iterdir())) == 1


def cut_off(folder: Path) -> tuple[MemoryStore, MlflowTracker]:
    """A store that goes away when it has the start of a trial, and the tracker on it."""
    store = MemoryStore()
    tracker = on(store, folder / "outbox")
    tracker.start_sweep(sweep(folder))
    tracker.start_trials([trial(0)])
    assert tracker.flush()
    store.away = True
    return store, tracker


def test_an_abandoned_tracker_leaves_all_to_the_next_one(tmp_path: Path) -> None:
    """Another driver has taken the sweep over while this one slept; no point is written twice, no file is removed."""
    store, old = cut_off(tmp_path)
    old.log(0, 1, metrics(1))
    old.abandon()
    files = sorted((tmp_path / "outbox").iterdir())
    store.away = False
    old.log(0, 2, metrics(2))
    old.end_trial(0, "complete")
    old.end_sweep(FINISHED)
    old.close()
    assert files and sorted((tmp_path / "outbox").iterdir()) == files
    new = on(store, tmp_path / "outbox")
    new.start_sweep(sweep(tmp_path))
    new.log(0, 2, metrics(2))
    assert new.flush()
    assert store.trials()[0].history() == expected([1, 2])
    assert [parent.status for parent in store.parents()] == ["RUNNING"]
    new.end_trial(0, "complete")
    new.end_sweep(FINISHED)
    new.close()
    assert store.trials()[0].order == ["epoch 1", "epoch 2", "complete"]


def test_abandoned_while_it_waits_for_the_end(tmp_path: Path) -> None:
    """The lock's thread says so while the driver's hangs in `end_sweep`: the parent run is the other driver's."""
    store, tracker = cut_off(tmp_path)
    tracker.log(0, 1, metrics(1))
    ending = threading.Thread(target=tracker.end_sweep, args=(FINISHED,), kwargs={"patience": 100.0})
    ending.start()
    wait_for(lambda: tracker._writer._waiting)
    tracker.abandon()
    ending.join(20)
    assert not ending.is_alive(), "it has been waited for"
    store.away = False
    tracker.close()
    assert [parent.status for parent in store.parents()] == ["RUNNING"]
    assert store.trials()[0].order == [] and list((tmp_path / "outbox").iterdir())


def test_abandoned_before_its_end_is_written(tmp_path: Path) -> None:
    """All is recorded, only the parent run is open, and the store away."""
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    store.away = True
    ending = threading.Thread(target=tracker.end_sweep, args=(FINISHED,), kwargs={"patience": 100.0})
    ending.start()
    time.sleep(0.1)
    tracker.abandon()
    store.away = False
    ending.join(20)
    assert not ending.is_alive()
    assert tracker.start_sweep(sweep(tmp_path)) == tracker._parent
    assert [parent.order for parent in store.parents()] == [[]]


def test_nothing_is_told_to_an_abandoned_tracker(tmp_path: Path) -> None:
    """Not even that it is closed, to a driver that is in the middle of it; nor is a folder missed that is gone."""
    tracker = on(MemoryStore(), tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    tracker._writer.abandon()  # as if between the look at the flag and the telling
    tracker.log(0, 1, metrics(1))
    tracker.abandon()
    for path in (tmp_path / "outbox").iterdir():
        path.unlink()
    (tmp_path / "outbox").rmdir()
    tracker.log(0, 2, metrics(2))
    tracker.settle()
    tracker.close()
    assert not (tmp_path / "outbox").exists()


def test_a_file_that_is_gone_holds_up_nobody(tmp_path: Path) -> None:
    store, tracker = cut_off(tmp_path)
    says: list[str] = []
    tracker.log(0, 1, metrics(1))
    tracker._outbox.seal()
    (gone,) = (tmp_path / "outbox").iterdir()
    tracker.log(0, 2, metrics(2))
    gone.unlink()
    store.away = False
    tracker.end_trial(0, "complete")
    tracker.end_sweep(FINISHED, say=says.append)
    tracker.close()
    assert store.trials()[0].history()["val/accuracy"][-1] == (2, metrics(2)["val/accuracy"])
    assert store.trials()[0].status == "FINISHED" and [parent.status for parent in store.parents()] == ["FINISHED"]
    assert says in ([f"{gone}: is gone; what MLflow was to get from it is lost"], [])


def test_the_end_of_a_sweep_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a trial was interrupted cannot be kept; the parent run is closed all the same."""
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    tracker.log(0, 1, metrics(1))
    monkeypatch.setattr(tracker._outbox, "append", refuse)
    with pytest.raises(TrackingError, match="no room"):
        tracker.end_sweep(SweepEnd("failed", counts(running=1), None, "no room"))
    tracker.close()
    assert store.trials()[0].history() == expected([1])
    assert [parent.status for parent in store.parents()] == ["FAILED"]


def refuse(line: bytes) -> None:
    raise TrackingError("no room")


def test_close_has_an_end_however_slow_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets on all the time, and would for minutes."""
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    assert tracker.flush()
    monkeypatch.setattr("lca_sweep.tracking.entries.METRICS_A_CALL", 1)
    log = store.log
    monkeypatch.setattr(store, "log", lambda *args: (time.sleep(0.2), log(*args))[1])
    for number in range(1, 300):
        tracker.start_trials([trial(number)])
        tracker.log(number, 1, metrics(1))
    began = time.monotonic()
    with pytest.raises(TrackingError, match="are not recorded yet and kept in"):
        tracker.close(patience=1.0)
    assert time.monotonic() - began < 20 and len(store.trials()) < 300


def test_close_does_not_add_to_its_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread hangs in a call; what it is given to end is part of the patience."""
    monkeypatch.setattr("lca_sweep.tracking.writer.LAST_CALL", 60.0)
    store, release = MemoryStore(), threading.Event()
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    monkeypatch.setattr(store, "create", lambda *args: release.wait(60))
    tracker.start_trials([trial(0)])
    began = time.monotonic()
    with pytest.raises(TrackingError, match="not recorded yet") as caught:
        tracker.close(patience=0.5)
    assert time.monotonic() - began < 15 and caught.value.status == 3
    release.set()


def test_no_password_in_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own words may have its address, with a password that the user's does not show."""
    monkeypatch.setattr("lca_sweep.tracking.mlflow_tracker.MOMENT", 0.1)
    store, says = MemoryStore(), []
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    monkeypatch.setattr(store, "create", refuse_with_address)
    tracker.start_trials([trial(0)])
    with pytest.raises(TrackingError, match=r"postgresql://me:\*{3}@host/db") as caught:
        tracker.end_sweep(FINISHED, patience=1.0, say=says.append)
    assert says and not any("hush" in line for line in (str(caught.value), *says))


def refuse_with_address(*args: object) -> str:
    raise ConnectionError("postgresql://me:hush@host/db does not answer")


def test_an_unsure_create_asks_for_its_own_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = MemoryStore(), []
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    find = store.find
    monkeypatch.setattr(store, "find", lambda tags: (asked.append(dict(tags)), find(tags))[1])
    store.moods = ["lost"]
    tracker.start_trials([trial(0), trial(1)])
    assert tracker.flush() and sorted(store.trials()) == [0, 1]
    assert [tags.get("lca.trial") for tags in asked] == ["0"]
    tracker.close()


def test_a_tracker_is_for_one_sweep(tmp_path: Path) -> None:
    store = MemoryStore()
    tracker = on(store, tmp_path / "outbox")
    parent = tracker.start_sweep(sweep(tmp_path))
    assert tracker.start_sweep(sweep(tmp_path)) == parent
    with pytest.raises(ValueError, match="at another"):
        tracker.start_sweep(sweep(tmp_path, UID[::-1]))
    tracker.close()


def test_an_end_of_an_older_outbox_has_no_tags() -> None:
    old = b'{"end": {"number": 3, "time": 7, "state": "pruned", "reason": ""}}\n'
    assert entry_of(old) == End(3, 7, "pruned", "", {})
    new = End(3, 7, "pruned", "rank 6 of 8 at epoch 5", {"left.rank": "6"})
    assert entry_of(line_of(new)) == new
