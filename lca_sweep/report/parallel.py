"""Every trial of a search as a line through its knobs: parallel coordinates, over the whole of what is searched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lca_sweep.core.short import short_names
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import Scale, scales
from lca_sweep.report.searching import allowed, ended, is_log, leaf_of, numeric, searched, value_of
from lca_sweep.report.seeds import highlighted, in_front, number
from lca_sweep.report.style import GREY, PALE, Plot, legend, line_set, panels, plain, styled

MOST_CHOICES = 12  # of a knob, for their names to be written at its axis
MOST_KNOBS = 20
LETTERS = 40  # that an axis has room for
NONE, NOWHERE = object(), -0.16  # of a knob that a trial does not have, and its place on that knob's axis
DARKEST, LIGHTEST = 0.25, 0.75  # greys of complete trials: 0 would be black


@styled
def parallel(result: SweepResult) -> Plot | None:
    """An axis for each searched knob and each objective, a line for each trial that is complete or was pruned."""
    trials = ended(result)
    names = searched(result, trials)[:MOST_KNOBS]
    if len(result.complete) < 3 or len(names) < 2:
        return None
    first, *others = scales(result.goal)
    ends = [*others, first]
    figure, [axes] = panels(1, 1, 0.7 + 0.4 * (len(names) + len(ends)))
    places, clipped = [], []
    for row, name in enumerate(names):
        values = [trial.params.get(name, NONE) for trial in trials]
        places.append(_knob(axes, row, values, leaf_of(result, name)))
    for row, scale in enumerate(ends, len(names)):
        spots, beyond = _objective(axes, row, scale, [value_of(result, trial, scale.metric) for trial in trials])
        places.append(spots)
        clipped += [scale.metric] if beyond else []
    _lines(axes, result, trials, np.array(places).T)
    labels = short_names(names)
    texts = [plain(labels[name], 20) + ("\n(log)" if is_log(result, name) else "") for name in names]
    axes.set_yticks(range(len(places)), [*texts, *(plain(end.metric, 20) for end in ends)])
    partial = any(name not in trial.params for name in names for trial in trials)
    axes.set(xlim=(NOWHERE - 0.14 if partial else -0.04, 1.04), ylim=(len(places) - 0.4, -0.3), xticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    legend(figure, axes, 3)
    table: dict[str, Any] = {"trial": [trial.number for trial in trials], "state": [trial.state for trial in trials]}
    table |= {name: [trial.params.get(name) for trial in trials] for name in names}
    table |= {end.metric: [value_of(result, trial, end.metric) for trial in trials] for end in ends}
    return Plot("knobs", "Where the search went", _caption(result, trials, partial, clipped), figure, table)


def _caption(result: SweepResult, trials: Sequence[TrialResult], partial: bool, clipped: Sequence[str]) -> str:
    early = len(trials) - len(result.complete)
    caption = f"A line for each of {len(result.complete)} complete trials, the darker the better"
    caption += f", and, pale, of {early} pruned ones, with the values at which they left" if early else ""
    caption += ". Axes span what is searched."
    caption += " On the far left of an axis: trials that do not have the knob." if partial else ""
    return caption + (f" What is far worse by {' or '.join(clipped)} is at the axis' end." if clipped else "")


def _lines(axes: Any, result: SweepResult, trials: Sequence[TrialResult], places: Any) -> None:
    """places: (trials, axes). Pruned trials behind, the others over them, the best in front in their own colours."""
    rows, best = np.arange(places.shape[1]), highlighted(result)
    lines = {trial.number: np.stack([x, rows], 1) for trial, x in zip(trials, places, strict=True)}
    line_set(axes, [lines[trial.number] for trial in trials if trial.state == "pruned"], colors=PALE, linewidths=0.5)
    greys = np.linspace(LIGHTEST, DARKEST, len(result.complete))
    others = [(grey, trial.number) for grey, trial in zip(greys, result.complete[::-1], strict=True)]
    others = [(grey, own) for grey, own in others if own not in best]
    colours = [str(grey) for grey, _ in others]
    line_set(axes, [lines[own] for _, own in others], colors=colours, linewidths=0.6)
    for own, look in in_front(best):
        axes.plot(*lines[own].T, **look)


def _knob(axes: Any, row: int, values: Sequence[Any], leaf: Mapping[str, Any]) -> list[float]:
    """Draw a knob's axis with its ends, or its choices; where each trial is on it, from 0 to 1, or NOWHERE."""
    there = [value for value in values if value is not NONE]
    axes.plot([0, 1], [row, row], color=GREY, linewidth=0.6, zorder=0)
    if len(there) < len(values):
        axes.plot([NOWHERE], [row], "o", color=GREY, markersize=3, markerfacecolor="white", zorder=3)
        _below(axes, row, NOWHERE, "absent", "center")
    if not numeric(there):
        spots = _choices(axes, row, list(dict.fromkeys(str(value) for value in [*allowed(leaf), *there])))
        return [NOWHERE if value is NONE else spots[str(value)] for value in values]
    numbers = [*there, *(value for value in allowed(leaf) if numeric([value]))]
    bend = math.log if leaf.get("log") is True and min(numbers) > 0 else float
    low, width = bend(min(numbers)), bend(max(numbers)) - bend(min(numbers))
    for spot, value, side in ((0, min(numbers), "left"), (1, max(numbers), "right")):
        _below(axes, row, spot, number(value, 3), side)
    return [NOWHERE if value is NONE else (bend(value) - low) / width if width > 0 else 0.5 for value in values]


def _choices(axes: Any, row: int, names: Sequence[str]) -> dict[str, float]:
    """Where each choice is; they are named as far as there is room."""
    spots = dict(zip(names, np.linspace(0, 1, len(names)).tolist() if len(names) > 1 else [0.5], strict=True))
    for text, spot in spots.items() if len(names) <= MOST_CHOICES else ():
        side = {0.0: "left", 1.0: "right"}.get(spot, "center")
        _below(axes, row, spot, plain(text, max(4, min(12, LETTERS // len(names) - 1))), side)
    return spots


def _objective(axes: Any, row: int, scale: Scale, values: Sequence[float]) -> tuple[list[float], bool]:
    """Draw an objective's axis; where each trial is on it, and whether some are off, which are drawn at its end."""
    worst, best = scale.upper(values)
    low, high = sorted((worst, best))
    axes.plot([0, 1], [row, row], color=GREY, linewidth=0.6, zorder=0)
    known = [value for value in values if math.isfinite(value)]
    for spot, value, side, more in ((0, low, "left", min(known) < low), (1, high, "right", max(known) > high)):
        text = f"{number(scale.factor * value, 4)}{' %' if scale.factor == 100 else ''}"
        _below(axes, row, spot, (("< " if spot == 0 else "> ") if more else "") + text, side)
    places = [float(np.clip((value - low) / ((high - low) or 1.0), 0, 1)) for value in values]
    return places, min(known) < low or max(known) > high


def _below(axes: Any, row: int, spot: float, text: str, side: str) -> None:
    """A word below an axis."""
    box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.3}
    where = {"va": "top", "xytext": (0, -3), "textcoords": "offset points", "zorder": 5}
    axes.annotate(text, (spot, row), ha=side, bbox=box, **where)
