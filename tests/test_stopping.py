"""The first reason to stop counts; signals stop in order once, and at once the second time."""

from __future__ import annotations

import os
import signal
import time

import pytest

from lca_sweep.config import Sweep
from lca_sweep.core.objective import Constraint, Goal, Objective, Scored
from lca_sweep.sweep.stopping import INTERRUPT, STUCK, TERMINATION, Stopping


def test_nothing_stops_it() -> None:
    stopping = Stopping(Sweep())
    stopping.see(0, Scored((1.0,)))
    assert not stopping.due() and stopping.reason is None


def test_the_goal() -> None:
    stopping = Stopping(Sweep(target=0.9))
    stopping.see(1, Scored((0.8999,)))
    assert not stopping.due()
    stopping.see(2, Scored((0.9,)))
    stopping.see(3, Scored((0.95,)))
    assert stopping.due() and stopping.reason is not None
    assert (stopping.reason.text, stopping.reason.status) == ("sweep.target=0.9 reached by trial 2", 0)
    assert stopping.reason.reached


def test_the_goal_is_about_the_first_objective_of_trials_that_keep_all_constraints() -> None:
    goal = Goal(
        (Objective("val/loss", maximize=False), Objective("val/accuracy")), (Constraint("val/accuracy", True, 0.5),)
    )
    stopping = Stopping(Sweep(target=0.2), goal=goal)
    stopping.see(0, Scored((0.21, 0.9), (-0.4,)))
    stopping.see(1, Scored((0.1, 0.4), (0.1,)))
    assert not stopping.due()
    stopping.see(2, Scored((0.2, 0.5), (0.0,)))
    assert stopping.due() and stopping.reason is not None
    assert stopping.reason.text == "sweep.target=0.2 reached by trial 2"


def test_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("lca_sweep.sweep.stopping.time.monotonic", lambda: now)
    stopping = Stopping(Sweep(time_budget=60))
    now = 200.0
    stopping.start_clock()
    now = 259.9
    assert not stopping.due()
    now = 260.0
    assert stopping.due() and stopping.reason is not None
    assert (stopping.reason.text, stopping.reason.status) == ("sweep.time_budget=60 s is used up", 0)
    assert not stopping.reason.reached


def test_the_first_reason_counts() -> None:
    stopping = Stopping(Sweep(target=0.5))
    stopping.ask(TERMINATION)
    stopping.see(0, Scored((0.9,)))
    stopping.ask(INTERRUPT)
    assert stopping.reason == TERMINATION


def test_interrupted_once_and_twice() -> None:
    stopping, before = Stopping(Sweep()), signal.getsignal(signal.SIGINT)
    with stopping.signals():
        signal.raise_signal(signal.SIGINT)
        assert stopping.reason == INTERRUPT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_an_interrupt_after_the_goal_is_at_once() -> None:
    stopping = Stopping(Sweep(target=0.5))
    with stopping.signals():
        stopping.see(0, Scored((0.9,)))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_terminated_again_and_again_within_grace() -> None:
    stopping, before = Stopping(Sweep(grace=60)), signal.getsignal(signal.SIGTERM)
    with stopping.signals():
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert stopping.reason == TERMINATION and TERMINATION.status == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_end_of_grace_is_at_once() -> None:
    stopping = Stopping(Sweep(grace=0.2))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), stopping.signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    assert 0.2 <= time.monotonic() - began < 30


def test_signals_taken_by_somebody_else_are_taken_back() -> None:
    stopping = Stopping(Sweep())
    with stopping.signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stopping.listen()
        signal.raise_signal(signal.SIGINT)
        assert stopping.reason == INTERRUPT


def test_an_error_stops_it_and_is_kept() -> None:
    stopping = Stopping(Sweep())
    with stopping.on_error():
        pass
    assert not stopping.due()
    for error in (first := ValueError("first"), ValueError("second")):
        with stopping.on_error():
            raise error
    assert stopping.due() and stopping.error is first and stopping.reason == STUCK
    with pytest.raises(KeyboardInterrupt), stopping.on_error():
        raise KeyboardInterrupt
