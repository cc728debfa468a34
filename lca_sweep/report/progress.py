"""Figures of how a search went on, trial by trial: its objectives, and what its Pareto front covers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lca_sweep.report.hypervolume import corner, growth, normalised
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import Scale, scales
from lca_sweep.report.seeds import highlighted, settings
from lca_sweep.report.style import BLACK, BLUE, COLOURS, GREY, MARKERS, PALE, Plot, legend, panels, styled

OTHERS = (("pruned", "|", PALE), ("failed", "x", BLACK))
MANY = 100  # trials from which points are small, and pixels


@styled
def objective(result: SweepResult) -> Plot | None:
    """Each objective of each complete trial by its number, and the best until then; none for one or two settings."""
    done = sorted(result.complete, key=lambda trial: trial.number)
    if len(done) < 3 or len(settings(result)) < 3:
        return None
    every = scales(result.goal)
    figure, axes = panels(len(every), 1, 0.5 + 1.8 * len(every), sharex=True)
    table: dict[str, Any] = {"trial": [trial.number for trial in done]}
    beyond = 0
    for place, (scale, panel) in enumerate(zip(every, axes, strict=True)):
        values = [trial.scored.scores[place] for trial in done]
        best = _best_so_far(scale, done, values)
        table |= {scale.metric: values, "best" if len(every) == 1 else f"best {scale.metric}": best}
        beyond += _progress(panel, scale, done, values, best, result)
    axes[-1].set_xlabel("trial")
    legend(figure, axes[0], 3 if any(not trial.feasible for trial in done) else 4)
    names = " and ".join(scale.metric for scale in every)
    caption = (
        f"{names} of {len(done)} complete trials in the order in which they were proposed, the best in their colours."
    )
    caption += f" {beyond} far worse than the others are drawn at the edge." if beyond else ""
    if any(not trial.feasible for trial in done):
        caption += " Hollow: those that break a constraint, which do not count as the best."
    if any(trial.state in ("pruned", "failed") for trial in result.searched):
        caption += " Pruned and failed trials, which have no objective, are marks at the edge."
    return Plot("objective", "Progress of the search", caption, figure, table)


def _best_so_far(scale: Scale, done: Sequence[TrialResult], values: Sequence[float]) -> list[float]:
    """Of the trials that keep all constraints; nan before the first one."""
    kept = [value if trial.feasible else -scale.sign * math.inf for trial, value in zip(done, values, strict=True)]
    return [value if math.isfinite(value) else math.nan for value in scale.running_best(kept)]


def _progress(
    panel: Any,
    scale: Scale,
    done: Sequence[TrialResult],
    values: Sequence[float],
    best: Sequence[float],
    result: SweepResult,
) -> int:
    """One objective; how many values are drawn at the edge."""
    worst, top = (scale.factor * end for end in scale.window(values))
    room = 0.1 * (top - worst) or scale.sign * 0.01 * (abs(top) or 1.0)  # towards the better side
    edge = worst - 0.3 * room
    shown = [scale.sign * max(scale.sign * value, scale.sign * edge) for value in scale.shown(values)]
    many = len(done) > MANY
    for feasible, face, name in ((True, GREY, "complete"), (False, "none", "breaks a constraint")):
        some = [(trial.number, y) for trial, y in zip(done, shown, strict=True) if trial.feasible is feasible]
        if some:
            look = {"color": GREY, "markerfacecolor": face, "markersize": 1.5 if many else 3, "rasterized": many}
            panel.plot(*zip(*some, strict=True), "o", label=name, **look)
    numbers = [trial.number for trial in done]
    panel.step(numbers, scale.shown(best), where="post", color=BLACK, linewidth=0.8, label="best so far", zorder=1)
    best_ones = highlighted(result)
    for trial, y in zip(done, shown, strict=True):
        if trial.number in best_ones:
            own, _ = best_ones[trial.number]
            panel.plot([trial.number], [y], MARKERS[own], color=COLOURS[own], markersize=4, zorder=3)
    for place, (state, marker, colour) in enumerate(OTHERS):
        ended = [trial.number for trial in result.searched if trial.state == state]
        if ended:
            height = [worst - (0.9 + 0.6 * place) * room] * len(ended)
            panel.plot(ended, height, marker, color=colour, markersize=4, label=state, rasterized=many)
    panel.set(ylabel=scale.label, ylim=sorted((worst - 2 * room, top + room)))
    return sum(scale.sign * value < scale.sign * worst for value in scale.shown(values))


@styled
def covered(result: SweepResult) -> Plot | None:
    """The hypervolume that the Pareto front of the trials so far dominates; None for a single objective."""
    done = sorted(result.complete, key=lambda trial: trial.number)
    kept = [trial for trial in done if trial.feasible]
    if len(result.goal.objectives) < 2 or len(kept) < 3:
        return None
    points = normalised([result.goal.gains(trial.scored.scores) for trial in kept])
    volumes = growth(points)
    numbers = [trial.number for trial in kept]
    figure, [axes] = panels(1, 1, 2.2)
    axes.step(numbers, volumes, where="post", color=BLUE)
    news = [place for place, volume in enumerate(volumes) if volume > (volumes[place - 1] if place else 0.0)]
    axes.plot([numbers[place] for place in news], [volumes[place] for place in news], "o", color=BLUE, markersize=2)
    axes.set(xlabel="trial", ylabel="hypervolume", ylim=(0, 1.08 * (max(volumes) or 1.0)))
    worst = corner([trial.scored.scores for trial in kept], result.goal)
    reference = ", ".join(f"{one.metric} {at:.4g}" for one, at in zip(result.goal.objectives, worst, strict=True))
    caption = (
        "Share of the box from the worst to the best value of each objective that the front of the trials so far "
        f"dominates; the reference point are the worst values of the {len(kept)} complete trials that count "
        f"({reference}). It tells the progress of this search, and cannot be compared with another one's. Points: "
        "trials that enlarge it."
    )
    return Plot(
        "hypervolume", "Growth of the Pareto front", caption, figure, {"trial": numbers, "hypervolume": volumes}
    )
