"""Figures of a search: what came of its trials, by their knobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lca_sweep.core.short import short_names
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import FRACTIONS, Scale, limits, scales
from lca_sweep.report.seeds import averaged, highlighted, natural, number, spread
from lca_sweep.report.style import (
    COLOURS,
    GREY,
    MARKERS,
    Columns,
    Plot,
    legend,
    log_axis,
    panels,
    plain,
    styled,
)


def searched(result: SweepResult, trials: Sequence[TrialResult] | None = None) -> list[str]:
    """Knobs that differ between trials (the complete ones unless told), less seeds, in the space's order."""
    trials = result.complete if trials is None else trials
    names = dict.fromkeys(name for trial in trials for name in trial.params if not name.endswith("seed"))
    return [name for name in names if len({str(trial.params.get(name)) for trial in trials}) > 1]


def leaf_of(result: SweepResult, name: str) -> Mapping[str, Any]:
    """What the space says of a knob: `low` and `high`, or `choices`; nothing where it says nothing."""
    leaf: Any = result.config
    parts = name.split(".")
    for part in ("sweep", "space", *(part for part in parts if not part.isdecimal())):  # layers share one leaf
        leaf = leaf.get(part) if isinstance(leaf, Mapping) else None
    return leaf if isinstance(leaf, Mapping) else {}


def allowed(leaf: Mapping[str, Any]) -> list[Any]:
    """The ends of what a leaf allows, or its choices."""
    return [leaf[end] for end in ("low", "high") if end in leaf] or list(leaf.get("choices", ()))


def is_log(result: SweepResult, name: str) -> bool:
    """Whether the space has a knob on a logarithmic scale."""
    return leaf_of(result, name).get("log") is True


def ended(result: SweepResult) -> list[TrialResult]:
    """Trials of the search that were pruned, worst first, and then the complete ones: the best is drawn in front.

    Those of which no value of the first objective is known are left out.
    """
    first = scales(result.goal)[0]
    early = [trial for trial in result.searched if trial.state == "pruned"]
    early = [trial for trial in early if math.isfinite(value_of(result, trial, first.metric))]
    early.sort(key=lambda trial: first.sign * value_of(result, trial, first.metric))
    return [*early, *result.complete[::-1]]


def numeric(values: Sequence[Any]) -> bool:
    """Whether all are numbers."""
    return all(natural(value)[0] == 0 for value in values)


@styled
def slices(result: SweepResult) -> Plot | None:
    """Objectives and category fractions of every complete trial against the numeric knobs that matter most."""
    trials = result.complete
    names = [name for name in searched(result) if numeric([t.params[name] for t in trials if name in t.params])]
    names = sorted(names, key=lambda name: -result.importances.get(name, 0.0))[:3]
    if len(trials) < 10 or not names or on_a_grid(trials, names):
        return None
    metrics = _metrics(result, trials)
    figure, axes = panels(len(metrics), len(names), 0.4 + 1.1 * len(metrics), sharex="col", sharey="row")
    short, best = short_names(names), highlighted(result)
    for row, (metric, scale) in enumerate(metrics.items()):
        for column, name in enumerate(names):
            panel = axes[row * len(names) + column]
            having = [trial for trial in trials if name in trial.params]
            knob = [trial.params[name] for trial in having]
            values = [value_of(result, trial, metric) for trial in having]
            look: dict[str, Any] = {"color": GREY, "markersize": 1.8, "rasterized": len(trials) > 100}
            panel.plot(knob, values, "o", **look)
            for trial, x, y in zip(having, knob, values, strict=True):
                if trial.number in best:
                    place, _ = best[trial.number]
                    panel.plot([x], [y], MARKERS[place], color=COLOURS[place], zorder=3)
            if is_log(result, name) and min(knob) > 0:
                log_axis(panel, "x", 3)
            else:
                panel.locator_params(axis="x", nbins=2)
            if row == len(metrics) - 1:
                panel.set_xlabel(plain(short[name], 16))
        axes[row * len(names)].set_ylabel(Scale(metric).name)
        axes[row * len(names)].set_ylim(limits(scale.window(value_of(result, trial, metric) for trial in trials), 0.1))
    table: dict[str, Any] = {
        "trial": [trial.number for trial in trials],
        **{n: [t.params.get(n) for t in trials] for n in names},
    }
    table |= {metric: [value_of(result, trial, metric) for trial in trials] for metric in metrics}
    caption = f"Each point is one of {len(trials)} complete trials, the best in their colours"
    caption += "; values far worse than the others are not shown."
    if any(name not in trial.params for trial in trials for name in names):
        caption += " A trial is missing at a knob that it does not have."
    return Plot("slices", "Objective and categories by knob", caption, figure, table)


def on_a_grid(trials: Sequence[TrialResult], names: Sequence[str]) -> bool:
    """Whether one or two numeric knobs take a few values each."""
    return 1 <= len(names) <= 2 and all(len({trial.params.get(name) for trial in trials}) <= 12 for name in names)


@styled
def dependence(result: SweepResult) -> Plot | None:
    """Objective and category fractions against the one or two numeric knobs of a grid; a line for each second value."""
    trials = result.complete
    names = searched(result)
    numbers = [name for name in names if numeric([t.params[name] for t in trials if name in t.params])]
    if set(names) - set(numbers) - {"trainer.algorithm"} or not on_a_grid(trials, numbers):
        return None
    if any(name not in trial.params for trial in trials for name in names):
        return None
    x, *others = sorted(numbers, key=lambda name: -len({trial.params[name] for trial in trials}))
    others += [name for name in names if name == "trainer.algorithm"]
    lines: dict[tuple[Any, ...], list[TrialResult]] = {}
    for trial in sorted(trials, key=lambda trial: [natural(trial.params[name]) for name in others]):
        lines.setdefault(tuple(trial.params[name] for name in others), []).append(trial)
    metrics = _metrics(result, trials)
    figure, axes = panels(-(-len(metrics) // 2), min(2, len(metrics)), 2.3 if len(metrics) < 3 else 3.8, sharex=True)
    table, short = Columns(*others, "metric", x, "seeds", "mean", "sd"), short_names(names)
    for metric, panel in zip(metrics, axes, strict=False):
        for place, (key, members) in enumerate(lines.items()):
            label = ", ".join(f"{plain(short[n])} {number(v)}" for n, v in zip(others, key, strict=True))
            _means(
                panel,
                place,
                label,
                table,
                (*key, metric),
                [(t.params[x], value_of(result, t, metric)) for t in members],
            )
        panel.set_ylabel(Scale(metric).name)
        _scale(panel, sorted({float(trial.params[x]) for trial in trials}))
    for panel in axes[len(metrics) :]:
        panel.set_visible(False)
    figure.supxlabel(plain(x), fontsize=7)
    if others:
        legend(figure, axes[0], 2)
    caption = f"After the last epoch{averaged(table['seeds'], 'error bars: standard deviation over seeds')}."
    return Plot("dependence", f"What {short[x]} does", caption, figure, table)


def _means(
    panel: Any, place: int, label: str, table: Columns, key: tuple[Any, ...], points: Sequence[tuple[float, float]]
) -> None:
    """One line of means over seeds, into the panel and the table; points are (knob, value)."""
    seeds: dict[float, list[float]] = {}
    for at, value in sorted(points):
        if math.isfinite(value):
            seeds.setdefault(at, []).append(value)
    if not seeds:
        return
    mean = [float(np.mean(each)) for each in seeds.values()]
    sd = [spread(each) for each in seeds.values()]
    dash, colour = ("-", "--", "-.", ":")[place % 4], COLOURS[place % len(COLOURS)]
    marker = "osD^vPX"[place % 7]
    panel.errorbar(list(seeds), mean, sd, label=label, color=colour, linestyle=dash, marker=marker, elinewidth=0.7)
    table.add(*key, list(seeds), [len(each) for each in seeds.values()], mean, sd)


def _scale(panel: Any, values: Sequence[float]) -> None:
    """Logarithmic for values of several magnitudes; 0, if it is among them, a step to their left."""
    positive = [value for value in values if value > 0]
    if not positive or values[0] < 0 or len(values) < 3 or positive[-1] < 20 * positive[0]:
        return
    if values[0] > 0:
        log_axis(panel, "x")
    else:
        panel.set_xscale("symlog", linthresh=positive[0], linscale=1)
        panel.set_xticks([0, positive[0], positive[-1]], ["0", number(positive[0]), number(positive[-1])])
        panel.minorticks_off()


def _metrics(result: SweepResult, trials: Sequence[TrialResult]) -> dict[str, Scale]:
    """What is drawn: all objectives, and category fractions where some trial has them."""
    found = {scale.metric: scale for scale in scales(result.goal)}
    wanted = [name for name in FRACTIONS if any(trial.last(name) is not None for trial in trials)]
    return found | {name: Scale(name) for name in wanted if name not in found}


def value_of(result: SweepResult, trial: TrialResult, metric: str) -> float:
    """An objective of a complete trial, or a metric after the last epoch; nan where there is none."""
    for objective, score in zip(result.goal.objectives, trial.scored.scores, strict=False):
        if objective.metric == metric and trial.value is not None:
            return score
    value = trial.last(metric)
    return math.nan if value is None else value
