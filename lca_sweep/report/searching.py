"""Figures of a search: where its trials were, what came of them, and which knobs mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.seeds import floor_of, natural, number, settings, short_names, spread
from lca_sweep.report.style import (
    BLACK,
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


def searched(result: SweepResult) -> list[str]:
    """Knobs that differ between complete trials, seeds aside, in the space's order."""
    names = dict.fromkeys(name for trial in result.complete for name in trial.params if not name.endswith("seed"))
    return [name for name in names if len({str(trial.params.get(name)) for trial in result.complete}) > 1]


def is_log(result: SweepResult, name: str) -> bool:
    """Whether the space has a knob on a logarithmic scale."""
    leaf: Any = result.config
    for part in ("sweep", "space", *name.split(".")):
        leaf = leaf.get(part) if isinstance(leaf, Mapping) else None
    return isinstance(leaf, Mapping) and leaf.get("log") is True


@styled
def parallel(result: SweepResult) -> Plot | None:
    """Parallel coordinates: an axis for each searched knob, a line for each complete trial, coloured by objective."""
    names = searched(result)[:MOST_KNOBS]
    trials = [trial for trial in reversed(result.complete) if all(name in trial.params for name in names)]
    if len(trials) < 3 or len(names) < 2:
        return None
    figure, [axes] = panels(1, 1, 0.9 + 0.42 * (len(names) + 1))
    scores = [trial.value or 0.0 for trial in trials]
    places = [_axis(axes, row, name, trials, is_log(result, name)) for row, name in enumerate(names)]
    places.append(_axis(axes, len(names), result.objective, trials, False))
    colour = shades(axes, float(np.quantile(scores, 0.2)), max(scores), plain(result.objective))
    rows = np.arange(len(places))
    for best in (False, True):  # the best in front
        few = slice(-3, None) if best else slice(None, -3)
        lines = [np.stack([x, rows], 1) for x in np.array(places).T[few]]
        colours = [VERMILLION if best else colour(score) for score in scores[few]]
        line_set(axes, lines, colors=colours, linewidths=1.2 if best else 0.5, alpha=1 if best else 0.6)
    labels = short_names(names)
    ends = [plain(labels[name]) + ("\n(log)" if is_log(result, name) else "") for name in names]
    axes.set_yticks(rows, [*ends, "objective"])
    axes.set(xlim=(-0.04, 1.04), ylim=(len(names) + 0.5, -0.5), xticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    table: dict[str, Any] = {
        "trial": [trial.number for trial in trials],
        **{n: [t.params[n] for t in trials] for n in names},
    }
    caption = f"Each line is one of {len(trials)} complete trials; the three best are thick and red."
    return Plot("knobs", "Where the search went", caption, figure, table | {result.objective: scores})


def _axis(axes: Any, row: int, name: str, trials: Sequence[TrialResult], log: bool) -> list[float]:
    """Draw one axis with its ends, or its choices; where each trial is on it, from 0 to 1."""
    values = [trial.params.get(name, trial.value) for trial in trials]
    axes.axhline(row, color=GREY, linewidth=0.6, zorder=0)
    below = {"ha": "center", "va": "top", "xytext": (0, -2), "textcoords": "offset points", "zorder": 5}
    below["bbox"] = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.3}
    if not _numeric(values):
        choices = sorted({str(value) for value in values})
        spots = dict(zip(choices, np.linspace(0, 1, len(choices)) if len(choices) > 1 else [0.5], strict=True))
        for text, spot in spots.items() if len(choices) <= MOST_CHOICES else ():
            axes.annotate(plain(text, 12), (spot, row), **below)
        return [float(spots[str(value)]) for value in values]
    scale = math.log if log and min(values) > 0 else float
    low, high = scale(min(values)), scale(max(values))
    for spot, value, side in ((0, min(values), "left"), (1, max(values), "right")):
        axes.annotate(number(value, 3), (spot, row), **below | {"ha": side})
    return [(scale(value) - low) / (high - low) if high > low else 0.5 for value in values]


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
def objective(result: SweepResult) -> Plot | None:
    """The objective of each complete trial by its number, and the best until then; none for one or two settings."""
    done = sorted(result.complete, key=lambda trial: trial.number)
    if len(done) < 3 or len(settings(result)) < 3:
        return None
    values = [100 * (trial.value or 0.0) for trial in done]
    best = list(accumulate(values, max))
    figure, [axes] = panels(1, 1, 2.3)
    numbers, floor = [trial.number for trial in done], floor_of(values)
    top, many = max(values), len(done) > 100
    room = 0.1 * (top - floor) or 1.0
    inside = [max(value, floor - 0.3 * room) for value in values]
    axes.plot(numbers, inside, "o", color=GREY, markersize=1.5 if many else 3, label="complete", rasterized=many)
    axes.step(numbers, best, where="post", color=VERMILLION, label="best so far")
    others = (("pruned", "|", BLUE), ("failed", "x", BLACK))
    for place, (state, marker, colour) in enumerate(others):
        ended = [trial.number for trial in result.trials if trial.state == state]
        if ended:
            height = [floor - (0.9 + 0.6 * place) * room] * len(ended)
            axes.plot(ended, height, marker, color=colour, markersize=4, label=state, rasterized=many)
    axes.set(xlabel="trial", ylabel=f"{plain(result.objective)} (%)", ylim=(floor - 2 * room, top + room))
    legend(figure, axes, 4)
    below = sum(value < floor for value in values)
    caption = f"{result.objective} of {len(done)} complete trials in the order in which they were proposed."
    caption += f" {below} far below the others are drawn at the lower edge." if below else ""
    if any(trial.state in ("pruned", "failed") for trial in result.trials):
        caption += " Pruned and failed trials, which have no objective, are marks at the bottom."
    table: dict[str, Any] = {
        "trial": numbers,
        result.objective: [trial.value for trial in done],
        "best": [value / 100 for value in best],
    }
    return Plot("objective", "Progress of the search", caption, figure, table)


@styled
def slices(result: SweepResult) -> Plot | None:
    """Objective and category fractions of every complete trial against the numeric knobs that matter most."""
    trials = result.complete
    names = [name for name in searched(result) if _numeric([trial.params.get(name) for trial in trials])]
    names = sorted(names, key=lambda name: -result.importances.get(name, 0.0))[:3]
    if len(trials) < 10 or not names or on_a_grid(trials, names):
        return None
    metrics = _metrics(result, trials)
    figure, axes = panels(len(metrics), len(names), 0.4 + 1.1 * len(metrics), sharex="col", sharey="row")
    short = short_names(names)
    for row, metric in enumerate(metrics):
        values = [_value(result, trial, metric) for trial in trials]
        for column, name in enumerate(names):
            panel = axes[row * len(names) + column]
            knob = [trial.params[name] for trial in trials]
            panel.plot(knob, values, "o", color=COLOURS[row], markersize=1.8, alpha=0.6, rasterized=len(trials) > 100)
            if is_log(result, name) and min(knob) > 0:
                log_axis(panel, "x", 3)
            else:
                panel.locator_params(axis="x", nbins=2)
            if row == len(metrics) - 1:
                panel.set_xlabel(plain(short[name], 16))
        axes[row * len(names)].set_ylabel(metrics[metric])
        known = [value for value in values if math.isfinite(value)]
        low, high = floor_of(known), max(known)
        axes[row * len(names)].set_ylim(low - 0.1 * (high - low) - 1e-3, high + 0.1 * (high - low) + 1e-3)
    table: dict[str, Any] = {
        "trial": [trial.number for trial in trials],
        **{n: [t.params[n] for t in trials] for n in names},
    }
    table |= {metric: [_value(result, trial, metric) for trial in trials] for metric in metrics}
    caption = f"Each point is one of {len(trials)} complete trials; values far below the others are not shown."
    return Plot("slices", "Objective and categories by knob", caption, figure, table)


def on_a_grid(trials: Sequence[TrialResult], names: Sequence[str]) -> bool:
    """Whether one or two numeric knobs take a few values each."""
    return 1 <= len(names) <= 2 and all(len({trial.params.get(name) for trial in trials}) <= 12 for name in names)


@styled
def dependence(result: SweepResult) -> Plot | None:
    """Objective and category fractions against the one or two numeric knobs of a grid; a line for each second value."""
    trials = result.complete
    names = searched(result)
    numeric = [name for name in names if _numeric([trial.params.get(name) for trial in trials])]
    if set(names) - set(numeric) - {"trainer.algorithm"} or not on_a_grid(trials, numeric):
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
        panel.set_ylabel(metrics[metric])
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


def _metrics(result: SweepResult, trials: Sequence[TrialResult]) -> dict[str, str]:
    """What is drawn, with the axes' names: category fractions only where some trial has them."""
    wanted = {f"weights/{name}_fraction": f"{name.upper()} fraction" for name in ("vip", "uip", "var")}
    return {result.objective: plain(result.objective)} | {
        name: label for name, label in wanted.items() if any(trial.last(name) is not None for trial in trials)
    }


def _value(result: SweepResult, trial: TrialResult, metric: str) -> float:
    """The objective, or a metric after the last epoch; nan where there is none."""
    value = trial.value if metric == result.objective else trial.last(metric)
    return math.nan if value is None else float(value)
