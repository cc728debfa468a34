"""Which knobs mattered: their importances, and every trial against the most important one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lca_sweep.core.short import short_names
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import limits, scales
from lca_sweep.report.searching import allowed, ended, is_log, leaf_of, numeric, value_of
from lca_sweep.report.seeds import highlighted, in_front
from lca_sweep.report.style import (
    BLUE,
    GREY,
    PALE,
    Plot,
    legend,
    log_axis,
    panels,
    plain,
    styled,
)

MANY = 100  # trials from which points are pixels


@styled
def importances(result: SweepResult) -> Plot | None:
    """How much each searched knob decides whether a trial is among the better ones."""
    if not result.importances:
        return None
    shares = dict(sorted(result.importances.items(), key=lambda item: (-item[1], item[0])))
    figure, [axes] = panels(1, 1, 0.7 + 0.2 * len(shares))
    names = short_names(shares)
    bars = axes.barh([plain(names[name]) for name in shares], list(shares.values()), color=BLUE, height=0.65)
    axes.bar_label(bars, [f"{100 * share:.0f} %" for share in shares.values()], padding=2)
    axes.set(xlabel="share of importance", xlim=(0, 1.15 * max(shares.values()) or 1))
    axes.invert_yaxis()
    caption = f"Importance of the searched knobs for being in the best third by {result.objective} (PED-ANOVA), sum 1"
    caption += f", told by its value at epoch {result.importances_at}." if result.importances_at else "."
    table: dict[str, Any] = {"knob": list(shares), "importance": list(shares.values())}
    return Plot("importances", "Which knobs mattered", caption, figure, table)


@styled
def decisive(result: SweepResult) -> Plot | None:
    """The first objective of every trial against the most important knob; None where importances are not known."""
    if not result.importances:
        return None
    name = min(result.importances, key=lambda knob: (-result.importances[knob], knob))
    trials = [trial for trial in ended(result) if name in trial.params]
    if not trials:
        return None
    scale, short = scales(result.goal)[0], plain(short_names([name])[name])
    values = np.array([value_of(result, trial, scale.metric) for trial in trials])
    ends = sorted(scale.factor * end for end in scale.upper(values))
    heights = np.clip(scale.factor * values, ends[0], ends[1])
    figure, [axes] = panels(1, 1, 2.3)
    spots = _axis(axes, leaf_of(result, name), [trial.params[name] for trial in trials], is_log(result, name))
    axes.set(
        xlabel=short + (" (log)" if is_log(result, name) else ""), ylabel=scale.label, ylim=limits((ends[0], ends[1]))
    )
    _points(axes, result, trials, spots, heights)
    legend(figure, axes, 3)
    early = sum(trial.state == "pruned" for trial in trials)
    caption = f"{scale.metric} of {len(trials) - early} complete trials"
    caption += f" and, paler, of {early} pruned ones at the epoch at which they left" if early else ""
    caption += f", against {short}, the most important knob, over all that is searched."
    beyond = int((heights != scale.factor * values).sum())
    caption += (
        f" {beyond} far worse than the others {'is' if beyond == 1 else 'are'} drawn at the edge." if beyond else ""
    )
    table: dict[str, Any] = {"trial": [trial.number for trial in trials], "state": [trial.state for trial in trials]}
    table |= {name: [trial.params[name] for trial in trials], scale.metric: values.tolist()}
    return Plot("decisive", f"What {short} does", caption, figure, table)


def _axis(axes: Any, leaf: Mapping[str, Any], values: Sequence[Any], log: bool) -> list[float]:
    """Have the x axis span all that a knob may be; where each value is on it."""
    if not numeric(values):
        names = list(dict.fromkeys(str(value) for value in [*allowed(leaf), *values]))
        axes.set_xticks(range(len(names)), [plain(name, max(4, 40 // len(names))) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        return [float(names.index(str(value))) for value in values]
    ends = [*values, *(value for value in allowed(leaf) if numeric([value]))]
    low, high = min(ends), max(ends)
    if log and low > 0:
        log_axis(axes, "x")
        room = (high / low) ** 0.03 if high > low else 2.0
        axes.set_xlim(low / room, high * room)
    else:
        room = 0.03 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
    return [float(value) for value in values]


def _points(
    axes: Any, result: SweepResult, trials: Sequence[TrialResult], spots: Sequence[float], heights: Any
) -> None:
    """Pruned trials behind, the others over them, the best in front in their own colours."""
    best, at = highlighted(result), {trial.number: place for place, trial in enumerate(trials)}
    for state, colour in (("pruned", PALE), ("complete", GREY)):
        places = [place for number, place in at.items() if trials[place].state == state and number not in best]
        look = {"color": colour, "markersize": 2.5, "rasterized": len(trials) > MANY}
        if places:
            axes.plot([spots[place] for place in places], heights[places], "o", label=state, **look)
    for number, look in in_front({number: one for number, one in best.items() if number in at}):
        axes.plot([spots[at[number]]], [heights[at[number]]], linestyle="", markersize=4, **look)
