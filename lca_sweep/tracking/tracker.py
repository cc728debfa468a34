"""What every tracker can do, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from lca_sweep.tracking.records import SweepEnd, SweepRecord, TrialRecord

# A trial's and a sweep's states with MLflow's words for the run; it has none for pruned, `lca.state` tells them apart.
TRIAL_STATUS = MappingProxyType(
    {"complete": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}
)
SWEEP_STATUS = MappingProxyType({"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"})


NO_TAGS: Mapping[str, str] = MappingProxyType({})
PATIENCE = 60.0  # seconds in which MLflow records nothing, after which a sweep ends without it
LAST_WORDS = 5.0  # such seconds after which a tracker is closed without it


class Tracker(Protocol):
    """Keeps the record of a sweep for people. Telling it the same twice changes nothing, also after a restart.

    Only `start_sweep`, `end_sweep` and `close` wait for MLflow. What the others are told is kept in the outbox, a
    folder on disk, until MLflow has it, by this process or by the next one; they raise TrackingError only where the
    disk does not take it. One thread tells; `page`, `front` and `trouble` are for any.
    """

    @property
    def page(self) -> str:
        """Address of the table of the sweep's runs in the MLflow UI, the best first; empty where there is none."""
        ...

    @property
    def front(self) -> str:
        """Address of the sweep's own run there, which describes it; empty where there is none."""
        ...

    @property
    def trouble(self) -> str:
        """Empty, or one line while MLflow does not answer: for how long, and how many epochs it has not got. Cheap."""
        ...

    def start_sweep(self, sweep: SweepRecord) -> str:
        """Run id of the sweep's parent run, RUNNING: the one it had before, or a new one. Comes before all else.

        What the outbox holds of a former process is recorded from then on. TrackingError if the store does not answer,
        or if the outbox is another sweep's.
        """
        ...

    def start_trials(self, trials: Sequence[TrialRecord]) -> None:
        """The trials run: in the runs that the sweep has for their numbers, or in new ones."""
        ...

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial's metrics of one epoch. Epochs ascend: what is there already is left out.

        LookupError for a trial that never started.
        """
        ...

    def end_trial(self, number: int, state: str, reason: str = "", tags: Mapping[str, str] = NO_TAGS) -> None:
        """A trial's end: complete, pruned, failed or interrupted (ValueError); with it come tags of its run.

        Nothing happens for a trial that never started, or whose end was told.
        """
        ...

    def settle(self) -> None:
        """Return when the disk has all that was told: from then on nothing of it is lost, whatever dies."""
        ...

    def flush(self, patience: float = LAST_WORDS) -> bool:
        """Whether MLflow has all that was told; waits while it gets more within `patience` seconds."""
        ...

    def end_sweep(self, end: SweepEnd, patience: float = PATIENCE, say: Callable[[str], None] | None = None) -> None:
        """Wait for MLflow to get all, and close the parent run: finished, interrupted or failed (ValueError).

        Trials that have not ended are recorded as interrupted. Last come the files, and the best network as a model of
        the sweep's name, version `best`. All of it may be told again, and is there once.

        `say` gets a line, from another thread, if that takes more than a moment, one for each damaged line of the
        outbox, and one where the store does not take the model. TrackingError where MLflow records nothing for
        `patience` seconds: the outbox stays, for a later start, and so do the files; or where it refused some of it
        for good.
        """
        ...

    def abandon(self) -> None:
        """The sweep is another process's now: write and remove nothing any more. From any thread."""
        ...

    def close(self, patience: float = LAST_WORDS) -> None:
        """Let go, after a last wait of at most `patience` seconds unless `end_sweep` has waited; safe twice.

        TrackingError where something is not recorded and `end_sweep` has not said so.
        """
        ...


class NullTracker:
    """Keeps no record, so that its users need no `if`."""

    page = front = trouble = ""

    def start_sweep(self, sweep: SweepRecord) -> str:
        """No run, hence an empty id."""
        return ""

    def start_trials(self, trials: Sequence[TrialRecord]) -> None:
        """Nothing."""

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def end_trial(self, number: int, state: str, reason: str = "", tags: Mapping[str, str] = NO_TAGS) -> None:
        """Nothing, for a state that there is."""
        known(state, TRIAL_STATUS)

    def settle(self) -> None:
        """Nothing."""

    def flush(self, patience: float = LAST_WORDS) -> bool:
        """There is nothing to wait for."""
        return True

    def end_sweep(self, end: SweepEnd, patience: float = PATIENCE, say: Callable[[str], None] | None = None) -> None:
        """Nothing, for a status that there is."""
        known(end.status, SWEEP_STATUS)

    def abandon(self) -> None:
        """Nothing."""

    def close(self, patience: float = LAST_WORDS) -> None:
        """Nothing."""


def known(word: str, words: Mapping[str, str]) -> str:
    """MLflow's status for a state; ValueError for one that there is not."""
    if word not in words:
        raise ValueError(f"{word!r}: must be one of {', '.join(words)}")
    return words[word]
