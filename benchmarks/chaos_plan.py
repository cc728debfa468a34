"""When whom to kill: drawn from a seed, as a moment after something that happens in a sweep."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# How often each kind comes. `interrupt` and `terminate` are SIGINT and SIGTERM of the driver, the others are SIGKILL.
OFTEN = {"driver": 6, "server": 5, "worker": 4, "raylet": 3, "interrupt": 1, "terminate": 1}
KINDS = tuple(OFTEN)
ENDS_A_DRIVER = ("driver", "raylet", "interrupt", "terminate")

# What a moment is counted from: how many more of it at most, and the longest delay in seconds after the last one.
STARTING = {"start": (1, 10.0), "ray": (1, 5.0), "tune": (1, 4.0)}  # the process; `starting Ray`; Tune begins
GOING_ON = {"pack": (2, 1.0), "epochs": (150, 0.2), "trial": (6, 0.3)}  # issued; trained; ended
QUICKLY = {"kill": (0, 1.0)}  # the last kill
ENDING = {"last": (4, 0.3), "done": (1, 0.3)}  # at most so many trials have not ended; the driver has said `done`
LATEST = 3  # kills of a round that are kept for its end


@dataclass(frozen=True)
class Moment:
    """Kill one of `kind`, `delay` seconds after `count` more of the event `after` have been seen."""

    kind: str
    after: str
    count: int
    delay: float

    def __str__(self) -> str:
        return f"{self.kind} {self.delay:.2f} s after {self.count} {self.after}"


def plan(seed: str, kills: int, kinds: Sequence[str] = KINDS) -> list[Moment]:
    """The kills of one round, in order; its first one comes while the sweep is being made, its last ones at the end."""
    rng = random.Random(seed)
    drawn = deal(rng, kills, kinds)
    late = min(LATEST, kills // 4)
    moments = [_moment(rng, drawn[0], STARTING)] if drawn else []
    for before, kind in pairwise(drawn[: kills - late]):
        moments.append(_moment(rng, kind, _events(rng, before, kind)))
    return moments + [_moment(rng, kind, ENDING) for kind in drawn[kills - late :]]


def deal(rng: random.Random, kills: int, kinds: Sequence[str]) -> list[str]:
    """So many kinds: first each of them once, in any order, then as often as OFTEN says."""
    first = rng.sample(list(kinds), len(kinds))
    return [*first, *rng.choices(list(kinds), [OFTEN[kind] for kind in kinds], k=max(kills - len(kinds), 0))][:kills]


def _events(rng: random.Random, before: str, kind: str) -> dict[str, tuple[int, float]]:
    """What may come next: a driver starts only where one has ended, and workers are there only later."""
    if rng.random() < 0.2:
        return QUICKLY
    if before in ENDS_A_DRIVER and kind != "worker" and rng.random() < 0.5:
        return STARTING
    return GOING_ON


def _moment(rng: random.Random, kind: str, events: dict[str, tuple[int, float]]) -> Moment:
    after = rng.choice(list(events))
    most, longest = events[after]
    return Moment(kind, after, rng.randint(min(most, 1), most), rng.uniform(0, longest))
