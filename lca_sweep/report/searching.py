"""Figures of a search: where its trials were, what came of them, and which knobs mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import FRACTIONS, Scale, limits, scales
from lca_sweep.report.seeds import natural, number, short_names, spread
from lca_sweep.report.style import (
    BLUE,
    COLOURS,
    GREY,
    VERMILLION,
    Columns,
    Plot,
    legend,
    line_set,
    log_axis,
    panels,
    plain,
    shades,
    styled,
)

MOST_CHOICES = 12  # of a knob, for their names to be written at its axis
MOST_KNOBS = 20
NONE, NOWHERE = object(), -0.2  # of a knob that a trial does not have, and its place on that knob's axis


def searched(result: SweepResult) -> list[str]:
    """Knobs that differ between complete trials, seeds aside, in the space's order."""
    names = dict.fromkeys(name for trial in result.complete for name in trial.params if not name.endswith("seed"))
    return [name for name in names if len({str(trial.params.get(name)) for trial in result.complete}) > 1]


def is_log(result: SweepResult, name: str) -> bool:
    """Whether the space has a knob on a logarithmic scale."""
    leaf: Any = result.config
    parts = name.split(".")
    for part in ("sweep", "space", *(part for part in parts if not part.isdecimal())):  # layers share one leaf
        leaf = leaf.get(part) if isinstance(leaf, Mapping) else None
    return isinstance(leaf, Mapping) and leaf.get("log") is True


@styled
def parallel(result: SweepResult) -> Plot | None:
    """Parallel coordinates: an axis for each searched knob and each objective, a line for each complete trial."""
    names = searched(result)[:MOST_KNOBS]
    trials = result.complete[::-1]
    if len(trials) < 3 or len(names) < 2:
        return None
    first, *others = scales(result.goal)
    ends = [*others, first]  # with the one by which lines are coloured beside its colours
    figure, [axes] = panels(1, 1, 0.9 + 0.42 * (len(names) + len(ends)))
    places = [
        _axis(axes, row, [_knob(trial, name) for trial in trials], is_log(result, name))
        for row, name in enumerate(names)
    ]
    for row, scale in enumerate(ends, len(names)):
        places.append(_axis(axes, row, [_value(result, trial, scale.metric) for trial in trials], False))
    scores = [_value(result, trial, first.metric) for trial in trials]
    worst, best = np.quantile(scores, 0.2 if first.maximize else 0.8), first.running_best(scores)[-1]
    low, high = sorted((float(worst), best))
    colour = shades(axes, low, high, plain(first.metric), "min" if first.maximize else "max")
    rows = np.arange(len(places))
    for top in (False, True):  # the best in front
        few = slice(-3, None) if top else slice(None, -3)
        lines = [np.stack([x, rows], 1) for x in np.array(places).T[few]]
        colours = [VERMILLION if top else colour(score) for score in scores[few]]
        line_set(axes, lines, colors=colours, linewidths=1.2 if top else 0.5, alpha=1 if top else 0.6)
    labels = short_names(names)
    texts = [plain(labels[name]) + ("\n(log)" if is_log(result, name) else "") for name in names]
    axes.set_yticks(rows, [*texts, *(("objective" if not others else plain(end.metric, 20)) for end in ends)])
    partial = [name for name in names if any(name not in trial.params for trial in trials)]
    axes.set(xlim=(NOWHERE - 0.05 if partial else -0.04, 1.04), ylim=(len(rows) - 0.5, -0.5), xticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    table: dict[str, Any] = {
        "trial": [trial.number for trial in trials],
        **{n: [trial.params.get(n) for trial in trials] for n in names},
    }
    table |= {end.metric: [_value(result, trial, end.metric) for trial in trials] for end in ends}
    caption = f"Each line is one of {len(trials)} complete trials; the three best are thick and red."
    caption += " On the far left of an axis: trials that do not have the knob." if partial else ""
    return Plot("knobs", "Where the search went", caption, figure, table)


def _knob(trial: TrialResult, name: str) -> Any:
    return trial.params.get(name, NONE)


def _axis(axes: Any, row: int, values: Sequence[Any], log: bool) -> list[float]:
    """Draw one axis with its ends, or its choices; where each trial is on it, from 0 to 1, or NOWHERE."""
    there = [value for value in values if value is not NONE]
    axes.plot([0, 1], [row, row], color=GREY, linewidth=0.6, zorder=0)
    below = {"ha": "center", "va": "top", "xytext": (0, -2), "textcoords": "offset points", "zorder": 5}
    below["bbox"] = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.3}
    if len(there) < len(values):
        axes.plot([NOWHERE], [row], "o", color=GREY, markersize=3, markerfacecolor="white", zorder=3)
        axes.annotate("absent", (NOWHERE, row), **below)
    if not _numeric(there):
        choices = sorted({str(value) for value in there})
        spots = dict(zip(choices, np.linspace(0, 1, len(choices)) if len(choices) > 1 else [0.5], strict=True))
        for text, spot in spots.items() if len(choices) <= MOST_CHOICES else ():
            axes.annotate(plain(text, 12), (spot, row), **below)
        return [NOWHERE if value is NONE else float(spots[str(value)]) for value in values]
    bend = math.log if log and min(there) > 0 else float
    low, high = bend(min(there)), bend(max(there))
    for spot, value, side in ((0, min(there), "left"), (1, max(there), "right")):
        axes.annotate(number(value, 3), (spot, row), **below | {"ha": side})
    width = high - low
    return [NOWHERE if value is NONE else (bend(value) - low) / width if width > 0 else 0.5 for value in values]


def _numeric(values: Sequence[Any]) -> bool:
    return all(natural(value)[0] == 0 for value in values)


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
def slices(result: SweepResult) -> Plot | None:
    """Objectives and category fractions of every complete trial against the numeric knobs that matter most."""
    trials = result.complete
    names = [name for name in searched(result) if _numeric([t.params[name] for t in trials if name in t.params])]
    names = sorted(names, key=lambda name: -result.importances.get(name, 0.0))[:3]
    if len(trials) < 10 or not names or on_a_grid(trials, names):
        return None
    metrics = _metrics(result, trials)
    figure, axes = panels(len(metrics), len(names), 0.4 + 1.1 * len(metrics), sharex="col", sharey="row")
    short = short_names(names)
    for row, (metric, scale) in enumerate(metrics.items()):
        for column, name in enumerate(names):
            panel = axes[row * len(names) + column]
            having = [trial for trial in trials if name in trial.params]
            knob = [trial.params[name] for trial in having]
            values = [_value(result, trial, metric) for trial in having]
            panel.plot(
                knob,
                values,
                "o",
                color=COLOURS[row % len(COLOURS)],
                markersize=1.8,
                alpha=0.6,
                rasterized=len(trials) > 100,
            )
            if is_log(result, name) and min(knob) > 0:
                log_axis(panel, "x", 3)
            else:
                panel.locator_params(axis="x", nbins=2)
            if row == len(metrics) - 1:
                panel.set_xlabel(plain(short[name], 16))
        axes[row * len(names)].set_ylabel(Scale(metric).name)
        axes[row * len(names)].set_ylim(limits(scale.window(_value(result, trial, metric) for trial in trials), 0.1))
    table: dict[str, Any] = {
        "trial": [trial.number for trial in trials],
        **{n: [t.params.get(n) for t in trials] for n in names},
    }
    table |= {metric: [_value(result, trial, metric) for trial in trials] for metric in metrics}
    caption = f"Each point is one of {len(trials)} complete trials; values far worse than the others are not shown."
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
    numeric = [name for name in names if _numeric([t.params[name] for t in trials if name in t.params])]
    if set(names) - set(numeric) - {"trainer.algorithm"} or not on_a_grid(trials, numeric):
        return None
    if any(name not in trial.params for trial in trials for name in names):
        return None
    x, *others = sorted(numeric, key=lambda name: -len({trial.params[name] for trial in trials}))
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
                panel, place, label, table, (*key, metric), [(t.params[x], _value(result, t, metric)) for t in members]
            )
        panel.set_ylabel(Scale(metric).name)
        _scale(panel, sorted({float(trial.params[x]) for trial in trials}))
    for panel in axes[len(metrics) :]:
        panel.set_visible(False)
    figure.supxlabel(plain(x), fontsize=7)
    if others:
        legend(figure, axes[0], 2)
    caption = "After the last epoch: mean over seeds; error bars: standard deviation over seeds."
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


def _value(result: SweepResult, trial: TrialResult, metric: str) -> float:
    """An objective, or a metric after the last epoch; nan where there is none."""
    for objective, score in zip(result.goal.objectives, trial.scored.scores, strict=True):
        if objective.metric == metric:
            return score
    value = trial.last(metric)
    return math.nan if value is None else value
