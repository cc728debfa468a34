"""What is told to a tracker: plain records, and the error that it may answer with."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lca_sweep.config import without_password
from lca_sweep.core.errors import UserError
from lca_sweep.core.objective import Goal


class TrackingError(UserError):
    """The runs cannot be recorded; the message is one line for the user, and no password is in it."""

    def __init__(self, message: str) -> None:
        super().__init__(without_password(message))


@dataclass(frozen=True)
class DataRecord:
    """The images that all trials of a sweep have in common; `images` says how many: training, validation, test."""

    name: str
    digest: str
    inputs: int
    classes: int
    images: Mapping[str, int]


@dataclass(frozen=True)
class Table:
    """Trials beside each other: a line of cells for each, in the order in which to show them; `head` is above these."""

    title: str
    head: Sequence[str]
    trials: Mapping[int, Sequence[str]]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as it starts, or starts again; `uid` is what makes it the same sweep.

    What follows `folder` is for its page: `commands` and `places` tell people what to type and where things lie,
    `tables` what was found before this start.
    """

    name: str
    uid: str
    config: Mapping[str, Any]  # the resolved config, nested
    space: Mapping[str, Any]  # the search space, nested
    tags: Mapping[str, str]
    folder: Path
    goal: Goal = field(default_factory=Goal)
    data: DataRecord | None = None
    question: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it starts, or starts again."""

    number: int
    pack: int
    knobs: Mapping[str, Any]  # all of them, by dotted name
    searched: frozenset[str]  # names of those that the sweep searches
    tags: Mapping[str, str]


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a sweep."""

    number: int
    value: float
    metrics: Mapping[str, float]
    knobs: Mapping[str, Any]  # the searched ones, by dotted name
    artifacts: Path | None  # folder with its weights
    algorithm: str = "gbp"  # that trained it; `bp`: ordinary back-propagation, a network of ordinary weights


@dataclass(frozen=True)
class SweepEnd:
    """How a sweep ended: `status` is finished, interrupted or failed; `counts` are its trials by state.

    `report` and `trial_files` (by the trials' numbers) are folders whose content goes to the sweep's and to the trials'
    runs; `question` is what the sweep was made to find out; `pareto` are, of a sweep with several objectives, the
    trials that no other one dominates, in the order in which to name them; `finals` are metrics of the best trial's new
    seeds; `tables` are the best trials and what else is worth comparing.
    """

    status: str
    counts: Mapping[str, int]
    best: BestTrial | None
    message: str = ""
    report: Path | None = None
    trial_files: Mapping[int, Path] = field(default_factory=dict)
    question: str = ""
    pareto: Sequence[int] = ()
    finals: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()


def user() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"
