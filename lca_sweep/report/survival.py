"""How early stopping went: how many trials were still trained at each epoch, and what it had to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import Scale
from lca_sweep.report.style import BLUE, VERMILLION, Columns, Plot, legend, panels, styled

RUNGS = 8  # epochs at which most trials left, that are drawn


@styled
def survival(result: SweepResult) -> Plot | None:
    """Trials in training by epoch; at the epochs where most left, the objective of these and of those that stayed."""
    scale = Scale.of(result.goal.first)
    lengths = {trial.number: length for trial in result.searched if (length := trained(trial, scale.metric))}
    gone = Counter(lengths[trial.number] for trial in _pruned(result) if trial.number in lengths)
    if not gone:
        return None
    ended = [trial for trial in result.searched if trial.number in lengths and trial.state in ("complete", "pruned")]
    epochs = list(range(1, max(lengths[trial.number] for trial in ended) + 1))
    alive = [sum(lengths[trial.number] >= epoch for trial in ended) for epoch in epochs]
    rungs = sorted(epoch for epoch, _ in sorted(gone.items(), key=lambda item: (-item[1], item[0]))[:RUNGS])
    figure, [left, right] = panels(1, 2, 2.3)
    left.step(epochs, alive, where="mid", color=BLUE)
    left.fill_between(epochs, alive, step="mid", color=BLUE, alpha=0.15, linewidth=0)
    left.set(xlabel="epoch", ylabel="trials in training", ylim=(0, None))
    table = Columns(
        "epoch",
        "trials in training",
        "left",
        "worst left",
        "median left",
        "best left",
        "stayed",
        "worst stayed",
        "median stayed",
        "best stayed",
    )
    for epoch, count in zip(epochs, alive, strict=True):
        groups = [_values(ended, lengths, scale.metric, epoch, stay) for stay in (False, True)]
        table.add(epoch, count, *(cell for values in groups for cell in (len(values), *_summary(scale, values))))
    _compare(right, scale, rungs, [(epochs.index(rung), rung) for rung in rungs], table)
    legend(figure, right, 2)
    caption = f"Left: how many of {len(ended)} trials, complete or pruned, were trained for at least so many epochs. "
    caption += f"Right: {scale.metric} of those that left after an epoch and of those that stayed, all packs together: "
    caption += "worst to best, and the median."
    if len(rungs) < len(gone):
        caption += f" The {len(rungs)} epochs after which most left, of {len(gone)}."
    return Plot("survival", "Who left early", caption, figure, table)


def trained(trial: TrialResult, metric: str) -> int:
    """The last epoch of which a metric is known; 0 where none is."""
    series = trial.history.get(metric)
    return 0 if series is None or not len(series.epochs) else int(series.epochs[-1])


def _pruned(result: SweepResult) -> list[TrialResult]:
    return [trial for trial in result.searched if trial.state == "pruned"]


def _values(trials: Sequence[TrialResult], lengths: dict[int, int], metric: str, epoch: int, stay: bool) -> list[float]:
    """The metric after an epoch, of pruned trials whose last one it was, or of all that were trained on."""
    found = []
    for trial in trials:
        length = lengths[trial.number]
        if length > epoch if stay else length == epoch and trial.state == "pruned":
            series = trial.history[metric]
            found += series.values[series.epochs == epoch].tolist()
    return [value for value in found if np.isfinite(value)]


def _summary(scale: Scale, values: Sequence[float]) -> tuple[float, float, float]:
    """Worst, median and best; nan of none."""
    if not values:
        return (np.nan,) * 3
    low, middle, high = min(values), float(np.median(values)), max(values)
    return (low, middle, high) if scale.maximize else (high, middle, low)


def _compare(panel: Any, scale: Scale, rungs: Sequence[int], rows: Sequence[tuple[int, int]], table: Columns) -> None:
    """A pair of bars at each rung."""
    for name, colour, shift, marker in (("left", VERMILLION, -0.13, "s"), ("stayed", BLUE, 0.13, "o")):
        for place, (row, _) in enumerate(rows):
            worst, middle, best = scale.shown(table[f"{part} {name}"][row] for part in ("worst", "median", "best"))
            label = name if place == 0 else None
            panel.plot([place + shift] * 2, [worst, best], color=colour, linewidth=1)
            panel.plot([place + shift], [middle], marker, color=colour, label=label)
    panel.set_xticks(range(len(rungs)), [str(rung) for rung in rungs])
    known = [
        table[f"{part} {name}"][row]
        for part in ("worst", "median", "best")
        for name in ("left", "stayed")
        for row, _ in rows
    ]
    panel.set(xlabel="after epoch", ylabel=scale.label, xlim=(-0.5, len(rungs) - 0.5))
    panel.set_ylim(scale.frame(known, 0.1))
