"""Early stopping beside earlier packs: a trial leaves where it is worse than most of theirs were at its epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lca_sweep.core.halving import Leave
from lca_sweep.core.objective import Goal, Scored, figure


@dataclass(frozen=True)
class Bar:
    """A trial leaves whose first objective is worse than the bar of its epoch; where there is none, all stay."""

    name: str  # of the bar, for the user: "median", "best 25 %"
    bars: Mapping[int, float] = field(default_factory=dict)  # by epoch, of the first objective as it is

    def leavers(self, epoch: int, goal: Goal, trials: Mapping[int, Scored]) -> dict[int, Leave]:
        """See Pruner."""
        bar = self.bars.get(epoch)
        if bar is None:
            return {}
        sign, side = goal.first.sign, "below" if goal.first.maximize else "above"
        values = {trial: scored.scores[0] for trial, scored in sorted(trials.items())}
        return {
            trial: Leave(
                f"{figure(value)} {side} the {self.name} {figure(bar)} at epoch {epoch}",
                {"epoch": epoch, "value": value, "bar": bar},
            )
            for trial, value in values.items()
            if sign * value < sign * bar
        }

    def stay(self, epoch: int, live: int) -> int:
        """Nobody knows beforehand how many will be worse."""
        return live

    def within(self, pack: int, epochs: int, bars: Mapping[int, float]) -> Bar:
        """With the bars that the pack was given when it was issued."""
        return replace(self, bars=bars)
