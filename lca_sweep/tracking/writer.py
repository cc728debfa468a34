"""A thread that brings to the store what is in the outbox: each trial in order, several epochs in a call."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Protocol, TypeVar

from lca_sweep.core.errors import first_line
from lca_sweep.tracking.entries import Amount, End, Entry, Epoch, Start, amount_of, batch_of, epochs_text, line_of
from lca_sweep.tracking.outbox import Outbox
from lca_sweep.tracking.records import TrackingError

T = TypeVar("T")

DELAYS = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts, the last for ever
REST = (0.5, 5.0)  # seconds between rounds of writing, at least and at most
DUTY = 20  # a round is followed by a rest of so many times its length: writing costs a core at most 5 %
HELD = 10_000  # entries in memory, some kB each; what comes after waits on the disk alone
SLOW = 5.0  # seconds without an answer that nobody needs to hear of
LAST_CALL = 0.5  # seconds for the thread to end, which it does unless the store hangs
STRIKES = 3  # failures one after the other, of different trials, that are taken for the store's: the round ends


class Refused(Exception):
    """The store has said no, and will say it again: there is no use in a second attempt."""


class Sink(Protocol):
    """Where a Writer writes to. Any exception but Refused means: try again."""

    def start(self, start: Start) -> None:
        """Record that a trial runs."""
        ...

    def log(self, epochs: Sequence[Epoch]) -> None:
        """Record the metrics of some epochs of one trial."""
        ...

    def end(self, end: End) -> None:
        """Record how a trial ended."""
        ...


class Writer:
    """The thread. It tries for ever; what the outbox has when the process dies is for the next one.

    `left` says what the outbox holds already. Once a trial is refused, so are all of its later entries; no trial waits
    for another: those whose last call failed come last in a round.
    """

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        left: Amount,
        delays: Sequence[float] = DELAYS,
        rest: tuple[float, float] = REST,
    ) -> None:
        self._outbox, self._sink, self._delays, self._rest = outbox, sink, tuple(delays), rest
        self._wake = threading.Condition()  # guards the nine below
        self._left, self._refused = left, Amount()
        self._why: Exception | None = None  # the last refusal
        self._error: Exception | None = None  # why the last attempt failed; None once one does not
        self._asking: float | None = None  # since when the store owes an answer
        self._stuck: tuple[float, Exception] | None = None  # since when each round has left something, and why
        self._waiting, self._closing, self._abandoned = 0, False, False
        self._pending: dict[int, deque[tuple[int, Entry]]] = {}  # by trial; the thread's own, as the four below
        self._aside: set[int] = set()  # trials that were refused
        self._failing: set[int] = set()  # trials whose last call failed
        self._segments: dict[int, int] = {}  # those taken, oldest first, and how many of their entries are pending
        self._held = 0  # the sum of these
        self._thread = threading.Thread(target=self._work, name="tracking-writer", daemon=True)
        self._thread.start()

    def tell(self, entry: Entry) -> None:
        """Put an entry on disk; the thread will come for it. TrackingError if the disk does not take it."""
        line = line_of(entry)
        with self._wake:
            if self._abandoned:
                return
            if self._closing:
                raise RuntimeError("the tracker is closed")
            self._outbox.append(line)
            idle, self._left = not self._left, self._left + amount_of([entry])
            if idle:
                self._wake.notify_all()

    def wait(self, patience: float, limit: float = math.inf) -> bool:
        """Wait until all is recorded or refused; False after so many seconds without progress, or `limit` in all."""
        until = time.monotonic() + limit
        with self._wake:
            self._waiting += 1
            self._wake.notify_all()
            try:
                while self._left and self._progress(min(patience, until - time.monotonic())):
                    pass
                return not self._left
            finally:
                self._waiting -= 1

    def abandon(self) -> None:
        """Write and remove nothing any more: all of it is another process's now. Nobody waits any longer."""
        with self._wake:
            self._closing = self._abandoned = True
            self._wake.notify_all()

    def stop(self, patience: float = math.inf) -> None:
        """End the thread after the call it is in; one that hangs is left to itself, and its entries in the outbox."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(max(0.0, min(patience, LAST_CALL)))

    @property
    def left(self) -> Amount:
        """What was told and is neither recorded nor refused."""
        with self._wake:
            return self._left

    @property
    def refused(self) -> tuple[Amount, Exception | None]:
        """What the store will not have, and why."""
        with self._wake:
            return self._refused, self._why

    @property
    def obstacle(self) -> tuple[str, Exception | None]:
        """What keeps the store from having all, in a few words; empty if it only takes its time."""
        with self._wake:
            if self._error is not None:
                return f"no answer ({first_line(self._error)})", self._error
            silent = 0.0 if self._asking is None else time.monotonic() - self._asking
            return f"no answer for {silent:.0f} s" if silent > 1 else "", None

    @property
    def trouble(self) -> str:
        """A line while the store does not answer, or something stays behind, for longer than a moment; cheap."""
        with self._wake:
            now = time.monotonic()
            silent = now - (self._asking or now)
            stuck, why = self._stuck or (now, None)
            kept = epochs_text(self._left)
        if silent >= SLOW:
            return f"MLflow has not answered for {_clock(silent)}; {kept} kept in the outbox"
        if why and now - stuck >= SLOW:
            return f"MLflow has not got all for {_clock(now - stuck)} ({first_line(why)}); {kept} kept in the outbox"
        return ""

    def _progress(self, patience: float) -> bool:
        before = self._left
        if patience <= 0 or self._abandoned:
            return False
        self._wake.wait_for(lambda: self._left != before or self._abandoned, patience)
        return self._left != before

    def _work(self) -> None:
        pause, failures = self._rest[0], 0
        while self._sleep(pause, bool(failures)):
            began = time.monotonic()
            try:
                self._round()
            except Exception as error:  # whatever it was: the entries stay, for the next round or the next process
                self._failed(error)
                pause = self._delays[min(failures, len(self._delays) - 1)]
                failures += 1
            else:
                self._unstick()
                pause = min(max(DUTY * (time.monotonic() - began), self._rest[0]), self._rest[1])
                failures = 0

    def _sleep(self, pause: float, failed: bool) -> bool:
        """Until there is something to do, and then on for more to come, or for the store; False to end."""
        with self._wake:
            self._wake.wait_for(lambda: self._left or self._closing)
            self._wake.wait_for(lambda: self._closing or (self._waiting and not failed), timeout=pause)
            return not self._closing

    def _round(self) -> None:
        """Write all that is pending and can be; then raise why something cannot be: it has held up nobody."""
        trouble: Exception | None = None
        try:
            self._take()
        except TrackingError as error:
            trouble = error
        strikes = 0
        for number in sorted(self._pending, key=self._failing.__contains__):
            failure = self._try(number)
            trouble, strikes = failure or trouble, strikes + 1 if failure else 0
            if strikes == STRIKES:
                break
        if trouble:
            raise trouble

    def _try(self, number: int) -> Exception | None:
        """Write what is pending of a trial; why it could not be."""
        entries = self._pending.pop(number)
        self._failing.discard(number)
        try:
            self._write(entries)
        except Refused as error:  # this trial only
            self._put_aside(number, entries, error)
        except Exception as error:
            self._failing.add(number)
            return error
        finally:
            if entries:
                self._pending[number] = entries  # at the end: next time the others come first
        return None

    def _take(self) -> None:
        """Hold what the outbox has, by trial."""
        if self._held < HELD:
            self._outbox.seal()
        while self._held < HELD and (segment := self._outbox.take()):
            number, entries = segment
            for entry in entries:
                self._pending.setdefault(entry.number, deque()).append((number, entry))
            self._segments[number] = len(entries)
            self._held += len(entries)
        with self._wake:
            self._drop()  # those in which nothing could be read
            if not self._held and self._outbox.empty:
                self._left = Amount()  # no more and no less, whatever happened to the files
                self._wake.notify_all()

    def _write(self, entries: deque[tuple[int, Entry]]) -> None:
        """Write one trial's entries, a call at a time."""
        while entries and not self._closing:
            first = entries[0][1]
            if first.number in self._aside:
                raise self._why or Refused()
            with self._wake:
                self._asking = self._asking or time.monotonic()
            count = 1
            if isinstance(first, Start):
                self._sink.start(first)
            elif isinstance(first, End):
                self._sink.end(first)
            else:
                batch = batch_of(entry for _, entry in entries)
                self._sink.log(batch)
                count = len(batch)
            self._done(entries, count)

    def _put_aside(self, number: int, entries: deque[tuple[int, Entry]], error: Exception) -> None:
        self._aside.add(number)
        with self._wake:
            self._refused += amount_of(entry for _, entry in entries)
            self._why = error
        self._done(entries, len(entries))

    def _done(self, entries: deque[tuple[int, Entry]], count: int) -> None:
        """The first so many entries of a trial need no more; nor do the segments of which that is true to the last."""
        done = [entries.popleft() for _ in range(count)]
        self._held -= count
        for segment, _ in done:
            self._segments[segment] -= 1
        with self._wake:
            self._asking = self._error = None
            self._drop()
            self._left -= amount_of(entry for _, entry in done)
            self._stuck = self._stuck if self._left else None
            self._wake.notify_all()

    def _drop(self) -> None:
        if self._closing:  # the folder may be another process's by now
            return
        for segment, pending in list(self._segments.items()):
            if pending:
                break
            self._outbox.drop(segment)
            del self._segments[segment]

    def _failed(self, error: Exception) -> None:
        with self._wake:
            now = time.monotonic()
            self._error = error
            self._asking = self._asking or now
            self._stuck = (self._stuck[0] if self._stuck else now), error

    def _unstick(self) -> None:
        with self._wake:
            self._stuck = None


def patiently(attempt: Callable[[], T], patience: float, delays: Sequence[float] = DELAYS) -> T:
    """What `attempt` returns, after further attempts for so many seconds; Refused is not tried again."""
    until = time.monotonic() + patience
    for delay in chain(delays, repeat(delays[-1])):
        try:
            return attempt()
        except Refused:
            raise
        except Exception:
            if time.monotonic() + delay > until:
                raise
        time.sleep(delay)
    raise AssertionError("the delays have no end")


def _clock(seconds: float) -> str:
    """`0:42`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
