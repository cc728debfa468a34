"""The finals: the search's best settings, trained again with new seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lca_sweep.report.intervals import Sample, sample
from lca_sweep.report.results import Final, SweepResult, TrialResult
from lca_sweep.report.scale import Scale, limits
from lca_sweep.report.seeds import highlighted, last
from lca_sweep.report.style import COLOURS, GREY, Columns, Plot, legend, panels, styled

TEST = "test/accuracy"


@styled
def finals(result: SweepResult) -> Plot | None:
    """Of each finalist what the search saw, and what new seeds came to: all, their mean and its interval."""
    if not result.finals:
        return None
    scale, shift = Scale.of(result.goal.first), 0.16
    figure, [axes] = panels(1, 1, 0.9 + 0.34 * len(result.finals))
    table = Columns("trial", "search", "seeds", "mean", "half", "winner")
    shown: list[float] = []
    own = highlighted(result)
    for row, final in enumerate(result.finals):
        before, once = found(result, final), row == 0
        place, _ = own.get(final.number, (None, ""))
        colour = GREY if place is None else COLOURS[place]
        new = scale.shown(final.values)
        mean, half = scale.factor * final.mean, scale.factor * final.half
        axes.plot(new, [row + shift] * len(new), "|", color=colour, markersize=5)
        axes.errorbar(mean, row, xerr=None if math.isnan(half) else half, fmt="o", color=colour, markersize=4)
        if before is not None:
            axes.plot(
                scale.factor * before, row, "D", color=GREY, markerfacecolor="white", label="search" if once else None
            )
            shown.append(scale.factor * before)
        shown += [*new, mean, *(() if math.isnan(half) else (mean - half, mean + half))]
        table.add(final.number, before, len(new), final.mean, final.half, int(once))
    axes.plot([], [], "|", color=GREY, markersize=5, label="new seed")
    axes.plot([], [], "o", color=GREY, label="mean of new seeds")
    names = [f"trial {final.number}" + ("\n(winner)" if row == 0 else "") for row, final in enumerate(result.finals)]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=scale.label, ylim=(len(names) - 0.5, -0.6), xlim=limits((min(shown), max(shown))))
    legend(figure, axes, 3)
    caption = (
        "The search's best settings, trained again with new seeds, which took no part in choosing them: so their "
        "means, with 95 % intervals (Student's t), are unbiased for each setting. The value that the search saw is "
        "not: it was chosen for being the best of many, luck included. The winner is the one of the best mean"
        + (" among those that keep the constraints on the mean" if result.goal.constraints else "")
        + (f"; as the best of {len(names)}, that mean is itself a little too good." if len(names) > 1 else ".")
    )
    return Plot("finals", "The finals: new seeds", caption, figure, table)


def found(result: SweepResult, final: Final) -> float | None:
    """What the search saw of a finalist."""
    trial = result.by_number.get(final.number)
    return trial.value if trial else None


def winner(result: SweepResult) -> TrialResult | None:
    """The search's trial of the setting that has won the finals; without finals the best one."""
    if result.finals:
        return result.by_number.get(result.finals[0].number)
    return result.complete[0] if result.complete else None


def of_winner(result: SweepResult) -> Sample | None:
    """Test accuracy of the winner: of its new seeds where there were finals, else of its single trial."""
    if result.finals:
        numbers: Sequence[int] = result.finals[0].replicates
        trials = [result.by_number[number] for number in numbers if number in result.by_number]
    else:
        trials = list(result.complete[:1])
    values = last(trials, TEST)
    return sample(values) if values else None
