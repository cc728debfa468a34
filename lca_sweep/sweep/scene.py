"""What there is to see of a running sweep at one moment, as plain records; drawing.py makes lines of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PackScene:
    """A pack that is being trained."""

    number: int
    epoch: int  # the last one that it has reported; 0: none yet
    epochs: int
    live: int  # of its trials
    size: int
    best: float  # of its trials, by the first objective, in that epoch
    host: str = ""  # where; empty: not known yet


@dataclass(frozen=True)
class BestScene:
    """The best trial as things stand: complete, or after its last epoch."""

    value: float  # of the first objective
    number: int
    epoch: int
    keeps: bool = True  # all constraints
    knobs: Sequence[str] = ()  # those that are searched: `trainer.lr=0.1`


@dataclass(frozen=True)
class Scene:
    """All of it. Times are in seconds since the start of this run."""

    name: str
    metric: str  # the first objective
    total: int  # trials of the search
    maximize: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)  # trials of the search that have ended, by state
    finals: tuple[int, int] = (0, 0)  # how many have ended, of how many that have begun
    elapsed: float = 0.0
    left: float | None = None
    rate: float | None = None  # trial-epochs a second
    share: float = 0.0  # of all work, 0 to 1
    best: BestScene | None = None
    history: Sequence[tuple[float, float]] = ()  # when the best was another, and its value
    packs: Sequence[PackScene] = ()
    trouble: str = ""  # what the sweep does not wait for
    warnings: int = 0  # how often one came
    warned: str = ""  # the last one
