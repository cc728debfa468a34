"""Why a sweep ends before all its trials have: a signal, a request, a budget used up, a goal reached."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lca_sweep.config import Sweep
from lca_sweep.core.objective import Goal, Scored


@dataclass(frozen=True)
class Reason:
    """Why a sweep stops, in a few words, and the exit status; `reached`: its goal is, so that nothing is left to do."""

    text: str
    status: int
    reached: bool = False


INTERRUPT = Reason("interrupted", 128 + signal.SIGINT)
TERMINATION = Reason("terminated", 128 + signal.SIGTERM)
STUCK = Reason("stuck", 3)


@dataclass
class Stopping:
    """Whether a sweep is to stop: workers finish their epoch and write a checkpoint. The first reason counts."""

    sweep: Sweep
    reason: Reason | None = None
    error: Exception | None = None  # what makes it impossible to go on
    goal: Goal = field(default_factory=Goal)
    _began: float = field(default_factory=lambda: time.monotonic())
    _grace: threading.Timer | None = None

    def ask(self, reason: Reason) -> None:
        """The sweep is to stop."""
        self.reason = self.reason or reason

    def start_clock(self) -> None:
        """The time budget begins here."""
        self._began = time.monotonic()

    @contextmanager
    def on_error(self) -> Iterator[None]:
        """An error in here makes the sweep stop, with this error in the end: Ray Tune would bury it in its own."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The sweep is to stop, with this error in the end; no book is written any more."""
        self.error = self.error or error
        self.ask(STUCK)

    def see(self, number: int, scored: Scored) -> None:
        """A trial is complete: was it the goal? That is told by the first objective, if all constraints are kept."""
        target = self.sweep.target
        if target is not None and self.goal.reached(target, scored):
            self.ask(Reason(f"sweep.target={target:g} reached by trial {number}", 0, reached=True))

    def due(self) -> bool:
        """Whether to stop now; looks at the clock, too."""
        budget = self.sweep.time_budget
        if budget is not None and time.monotonic() - self._began >= budget:
            self.ask(Reason(f"sweep.time_budget={budget:g} s is used up", 0))
        return self.reason is not None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the sweep in order; a second SIGINT, or the end of SIGTERM's grace, at once."""
        before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
        self.listen()
        try:
            yield
        finally:
            if self._grace:
                self._grace.cancel()
            for number, handler in before:
                signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals; again after anybody else has (Ray Tune does when it starts)."""
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, self._terminated)

    def _interrupted(self, *_: Any) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.ask(INTERRUPT)

    def _terminated(self, *_: Any) -> None:
        self.ask(TERMINATION)
        if self._grace is None:
            self._grace = threading.Timer(self.sweep.grace, os.kill, (os.getpid(), signal.SIGINT))
            self._grace.daemon = True
            self._grace.start()
