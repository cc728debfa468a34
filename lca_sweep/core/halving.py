"""Successive halving inside a pack (Jamieson & Talwalkar 2016): at each rung the worst trials leave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


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

    def leavers(self, epoch: int, scores: Mapping[int, float]) -> list[int]:
        """The trials that leave after `epoch`, by each live trial's score (higher is better; ties: the lower stays)."""
        if not self.is_rung(epoch):
            return []
        ranked = sorted(scores, key=lambda trial: (-scores[trial], trial))
        return sorted(ranked[math.ceil(len(ranked) / self.eta) :])


@dataclass(frozen=True)
class KeepAll:
    """No trial leaves early."""

    def leavers(self, epoch: int, scores: Mapping[int, float]) -> list[int]:
        """Always none."""
        return []


Pruner = Halving | KeepAll
