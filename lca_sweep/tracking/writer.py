"""A thread that writes while training goes on: each run in order, several epochs in a call, nothing lost silently."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from lca_sweep.core.errors import first_line

T = TypeVar("T")

METRICS_A_CALL = 1000  # MLflow's limit for log_batch
DELAYS = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds between attempts
REST = (0.5, 5.0)  # seconds between rounds of writing, at least and at most
DUTY = 20  # a round is followed by a rest of so many times its length: writing costs a core at most 5 %


class Refused(Exception):
    """The store has said no, and will say it again: there is no use in a second attempt."""


@dataclass(frozen=True)
class Epoch:
    """Metrics of one trial at one epoch; `time` in milliseconds since 1970."""

    run: str
    step: int
    time: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """A run's new MLflow status, and tags to set with it (None: to take away)."""

    run: str
    status: str
    tags: Mapping[str, str | None]


Entry: TypeAlias = Epoch | Change


class Sink(Protocol):
    """Where a Writer writes to. Any exception but Refused means: try again."""

    def log(self, run: str, epochs: Sequence[Epoch]) -> None:
        """Record the metrics of some epochs of one run."""
        ...

    def change(self, change: Change) -> None:
        """Record a run's new status and tags."""
        ...


@dataclass(frozen=True)
class Unwritten:
    """What is not recorded and why."""

    epochs: int
    changes: int
    error: Exception

    def __str__(self) -> str:
        what = f"{self.epochs} epochs and {self.changes} changes of state of trials"
        return f"{what} were not recorded: {first_line(self.error)}"


class Writer:
    """The thread and its queue, which has no bound: an epoch of a trial is a few kB."""

    def __init__(self, sink: Sink, delays: Sequence[float] = DELAYS, rest: tuple[float, float] = REST) -> None:
        self._sink, self._delays, self._rest = sink, tuple(delays), rest
        self._wake = threading.Condition()  # guards the five below
        self._inbox: list[Entry] = []
        self._asked = self._answered = 0  # flushes
        self._left: Unwritten | None = None
        self._closing = False
        self._pending: dict[str, deque[Entry]] = {}  # by run; the thread's own, as the two below
        self._refused: dict[str, list[Entry]] = {}  # all later entries of such a run join these
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="tracking-writer", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; returns at once. RuntimeError after `close`."""
        with self._wake:
            if self._closing:
                raise RuntimeError("the tracker is closed")
            self._inbox.append(entry)
            self._wake.notify_all()

    def flush(self) -> Unwritten | None:
        """Wait until all that was put has been tried; what of it is not recorded."""
        with self._wake:
            self._asked += 1
            ticket = self._asked
            self._wake.notify_all()
            while self._answered < ticket and self._thread.is_alive():
                self._wake.wait(1.0)
            return self._left

    def close(self) -> Unwritten | None:
        """Flush and end the thread; safe twice."""
        with self._wake:
            self._closing = True
        unwritten = self.flush()
        self._thread.join()
        return unwritten

    def _work(self) -> None:
        pause, closing = self._rest[0], False
        while not closing:
            ticket = self._collect(pause)
            began = time.monotonic()
            try:
                patiently(self._write, self._delays)
            except Exception as error:  # whatever it was: kept, with the entries, for the next round and for `flush`
                self._error = error
            pause = min(max(DUTY * (time.monotonic() - began), self._rest[0]), self._rest[1])
            closing = self._answer(ticket)

    def _collect(self, pause: float) -> int:
        """Sleep until there is something to do, and then on for more to come; the newest flush that asked."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self._urgent())
            self._wake.wait_for(self._urgent, timeout=pause)
            fresh, self._inbox = self._inbox, []
            ticket = self._asked
        for entry in fresh:
            if entry.run in self._refused:
                self._refused[entry.run].append(entry)
            else:
                self._pending.setdefault(entry.run, deque()).append(entry)
        return ticket

    def _urgent(self) -> bool:
        return self._closing or self._asked > self._answered

    def _answer(self, ticket: int) -> bool:
        """Tell those who flushed; whether the thread can end."""
        left = [entry for entries in (*self._pending.values(), *self._refused.values()) for entry in entries]
        epochs = sum(isinstance(entry, Epoch) for entry in left)
        with self._wake:
            self._left = Unwritten(epochs, len(left) - epochs, self._error) if left and self._error else None
            self._answered = ticket
            self._wake.notify_all()
            return self._closing and not self._inbox

    def _write(self) -> None:
        """Write all that is pending, and keep what cannot be; each run's entries in their order."""
        for run in list(self._pending):
            entries = self._pending.pop(run)
            try:
                while entries:
                    for _ in range(self._write_some(entries)):
                        entries.popleft()
            except Refused as error:  # this run only; the others can still be written
                self._error, self._refused[run] = error, list(entries)
            except Exception:
                self._pending[run] = entries  # at the end: next time the others come first
                raise

    def _write_some(self, entries: deque[Entry]) -> int:
        """Write the first entries of one run in one call; how many they were."""
        first = entries[0]
        if isinstance(first, Change):
            self._sink.change(first)
            return 1
        batch = batch_of(entries)
        self._sink.log(first.run, batch)
        return len(batch)


def batch_of(entries: Iterable[Entry], limit: int = METRICS_A_CALL) -> list[Epoch]:
    """The epochs at the front, whole ones, that have at most `limit` metrics together; a single one may have more."""
    batch: list[Epoch] = []
    size = 0
    for entry in entries:
        if isinstance(entry, Change) or (batch and size + len(entry.metrics) > limit):
            break
        batch.append(entry)
        size += len(entry.metrics)
    return batch


def patiently(attempt: Callable[[], T], delays: Sequence[float] = DELAYS) -> T:
    """What `attempt` returns, after as many further attempts as there are delays; Refused is not tried again."""
    for delay in delays:
        try:
            return attempt()
        except Refused:
            raise
        except Exception:
            time.sleep(delay)
    return attempt()
