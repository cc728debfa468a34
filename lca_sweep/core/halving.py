"""Early stopping inside a pack: successive halving (Jamieson & Talwalkar 2016), and brackets of it (Li et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lca_sweep.core.objective import Goal, Scored, ranked


@dataclass(frozen=True)
class Leave:
    """Why a trial leaves early: in words, and the numbers in them."""

    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)


class Pruner(Protocol):
    """Who leaves a pack early. What it answers follows from its fields and from what it is asked."""

    def leavers(self, epoch: int, goal: Goal, trials: Mapping[int, Scored]) -> dict[int, Leave]:
        """The trials that leave after `epoch` (counted from 1), by what each live one has then."""
        ...

    def stay(self, epoch: int, live: int) -> int:
        """How many of `live` trials stay after `epoch`, where that can be known beforehand; else all."""
        ...

    def within(self, pack: int, epochs: int, bars: Mapping[int, float]) -> Pruner:
        """The same for one pack: its number, its last epoch, and by epoch what earlier packs have come to."""
        ...


@dataclass(frozen=True)
class KeepAll:
    """No trial leaves early."""

    def leavers(self, epoch: int, goal: Goal, trials: Mapping[int, Scored]) -> dict[int, Leave]:
        """Always none."""
        return {}

    def stay(self, epoch: int, live: int) -> int:
        """All."""
        return live

    def within(self, pack: int, epochs: int, bars: Mapping[int, float]) -> KeepAll:
        """As everywhere."""
        return self


@dataclass(frozen=True)
class Halving:
    """The best 1/eta of the trials stay at epochs min_epochs, eta * min_epochs, eta^2 * min_epochs, ..."""

    eta: int = 2
    min_epochs: int = 5

    def is_rung(self, epoch: int) -> bool:
        """Whether trials leave after this epoch (counted from 1)."""
        rung = self.min_epochs
        while rung < epoch:
            rung *= self.eta
        return rung == epoch

    def leavers(self, epoch: int, goal: Goal, trials: Mapping[int, Scored]) -> dict[int, Leave]:
        """See Pruner; trials of one front are told apart by crowding (ties: the lower number stays)."""
        if not self.is_rung(epoch):
            return {}
        ranks, of = ranked(goal, trials), len(trials)
        left = list(enumerate(ranks, 1))[self.stay(epoch, of) :]
        return {
            trial: Leave(f"rank {rank} of {of} at epoch {epoch}", {"epoch": epoch, "rank": rank, "of": of})
            for rank, trial in sorted(left, key=lambda pair: pair[1])
        }

    def stay(self, epoch: int, live: int) -> int:
        """One in eta at a rung, rounded up: a pack never dies of it."""
        return math.ceil(live / self.eta) if self.is_rung(epoch) else live

    def within(self, pack: int, epochs: int, bars: Mapping[int, float]) -> Halving:
        """As everywhere."""
        return self


@dataclass(frozen=True)
class Hyperband:
    """Packs are halved, each with a first rung of its own, so that what begins slowly gets its chance in some packs.

    Bracket s of a pack has its first rung at min_epochs * eta^s; there are as many brackets as such epochs before the
    last one, at least one, and packs take them in turn.
    """

    eta: int = 2
    min_epochs: int = 5

    def brackets(self, epochs: int) -> int:
        """How many there are for packs of so many epochs."""
        count = 1
        while self.min_epochs * self.eta**count < epochs:
            count += 1
        return count

    def within(self, pack: int, epochs: int, bars: Mapping[int, float]) -> Halving:
        """The bracket of a pack."""
        return Halving(self.eta, self.min_epochs * self.eta ** (pack % self.brackets(epochs)))

    def leavers(self, epoch: int, goal: Goal, trials: Mapping[int, Scored]) -> dict[int, Leave]:
        """As in the first bracket, where no pack is named."""
        return Halving(self.eta, self.min_epochs).leavers(epoch, goal, trials)

    def stay(self, epoch: int, live: int) -> int:
        """Likewise."""
        return Halving(self.eta, self.min_epochs).stay(epoch, live)
