"""What every tracker can do, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from lca_sweep.tracking.records import SweepEnd, SweepRecord, TrialRecord

# A trial's and a sweep's states with MLflow's words for the run; it has none for pruned, `lca.state` tells them apart.
TRIAL_STATUS = MappingProxyType(
    {"complete": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}
)
SWEEP_STATUS = MappingProxyType({"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"})


class Tracker(Protocol):
    """Keeps the record of a sweep for people. Telling it the same twice changes nothing, also after a restart.

    Where runs cannot be recorded `start_sweep`, `start_trials`, `end_sweep` and `close` raise TrackingError; the others
    never do: they put what they are told in a queue, and what could not be written is told by `end_sweep` or `close`.
    """

    @property
    def page(self) -> str:
        """Address of the table of runs in the MLflow UI; empty where there is none."""
        ...

    def start_sweep(self, sweep: SweepRecord) -> str:
        """Run id of the sweep's parent run, RUNNING: the one it had before, or a new one. Comes before all else."""
        ...

    def start_trials(self, trials: Sequence[TrialRecord]) -> list[str]:
        """Run ids of the trials' runs, RUNNING: the one that the sweep has for a number, or a new one."""
        ...

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Put a started trial's metrics of one epoch in the queue. Epochs ascend: what is there already is left out."""
        ...

    def end_trial(self, number: int, state: str, reason: str = "") -> None:
        """Put a trial's end in the queue, behind its metrics: complete, pruned, failed or interrupted (ValueError).

        Nothing happens for a trial that never started, or whose end is recorded.
        """
        ...

    def flush(self) -> bool:
        """Wait until the queue was tried; whether all of it is now recorded."""
        ...

    def end_sweep(self, end: SweepEnd) -> None:
        """Write what is queued and close the parent run: status finished, interrupted or failed (ValueError).

        Trials that have not ended are recorded as interrupted.
        """
        ...

    def close(self) -> None:
        """Write what is queued and let go; safe twice."""
        ...


class NullTracker:
    """Keeps no record, so that its users need no `if`."""

    page = ""

    def start_sweep(self, sweep: SweepRecord) -> str:
        """No run, hence an empty id."""
        return ""

    def start_trials(self, trials: Sequence[TrialRecord]) -> list[str]:
        """Empty ids."""
        return [""] * len(trials)

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def end_trial(self, number: int, state: str, reason: str = "") -> None:
        """Nothing, for a state that there is."""
        known(state, TRIAL_STATUS)

    def flush(self) -> bool:
        """There is nothing to wait for."""
        return True

    def end_sweep(self, end: SweepEnd) -> None:
        """Nothing, for a status that there is."""
        known(end.status, SWEEP_STATUS)

    def close(self) -> None:
        """Nothing."""


def known(word: str, words: Mapping[str, str]) -> str:
    """MLflow's status for a state; ValueError for one that there is not."""
    if word not in words:
        raise ValueError(f"{word!r}: must be one of {', '.join(words)}")
    return words[word]
