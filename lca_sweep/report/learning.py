"""Figures of training: accuracy and weight categories by epoch, entropy and sparsity by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import Scale, limits
from lca_sweep.report.seeds import (
    FEW,
    HIGHLIGHTED,
    NAMES,
    Setting,
    algorithm,
    averaged,
    best_first,
    best_with,
    curves,
    highlighted,
    last,
    layers,
    own_places,
    settings,
    spread,
)
from lca_sweep.report.style import (
    CATEGORIES,
    COLOURS,
    GREY,
    MARKERS,
    ORANGE,
    PALE,
    Columns,
    Plot,
    legend,
    line_set,
    panels,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 9  # layers that are drawn; the table has all


@styled
def accuracy(result: SweepResult) -> Plot | None:
    """Accuracy against epoch: a line and a band for each setting, or every trial of a search.

    That is one of many settings, or one whose test images are kept for the winner of the finals.
    """
    found = settings(result)
    return (_of_settings(found) if len(found) <= FEW else None) or _of_trials(result)


def _of_settings(found: Sequence[Setting]) -> Plot | None:
    """Test accuracy: what is compared here are settings, and none is chosen by it."""
    metric = "test/accuracy"
    drawn = [(setting, *curves(setting.trials, metric)) for setting in found]
    drawn = [(setting, epochs, values) for setting, epochs, values in drawn if len(epochs)]
    if not drawn:
        return None
    figure, [axes] = panels(1, 1, 2.5)
    table = Columns("setting", "seeds", "epoch", "mean", "smallest", "largest")
    for place, (setting, epochs, values) in zip(own_places([one for one, *_ in drawn]), drawn, strict=True):
        mean, low, high = values.mean(0), values.min(0), values.max(0)
        colour = COLOURS[place]
        axes.plot(epochs, 100 * mean, label=setting.label, color=colour, **_mark(place, len(epochs), setting.bp))
        axes.fill_between(epochs, 100 * low, 100 * high, color=colour, alpha=0.2, linewidth=0)
        table.add(setting.label, len(values), epochs, mean, low, high)
    _frame(axes, Scale(metric), table["epoch"], table["smallest"], table["largest"], "test accuracy (%)")
    legend(figure, axes, 1 if max(len(setting.label) for setting, *_ in drawn) > 18 else 2)
    caption = "Accuracy of the stochastic pass on the test images"
    caption += averaged(table["seeds"], "band: smallest to largest") + "."
    if any(setting.bp for setting, *_ in drawn):
        caption += " Dashed: ordinary back-propagation."
    return Plot("accuracy", "Accuracy by epoch", caption, figure, table)


def _of_trials(result: SweepResult) -> Plot | None:
    """The first objective of each trial of a search."""
    scale = Scale.of(result.goal.first)
    metric = scale.metric
    shown = [trial for trial in result.searched if trial.history.get(metric) is not None and trial.state != "failed"]
    shown = [trial for trial in shown if np.isfinite(trial.history[metric].values).all()]
    if not shown:
        return None
    figure, [axes] = panels(1, 1, 2.5)
    for name, early, colour in (("gbp", True, PALE), ("bp", True, ORANGE), ("gbp", False, GREY), ("bp", False, ORANGE)):
        some = [trial for trial in shown if algorithm(trial) == name and (trial.state == "pruned") is early]
        looks = {"linestyles": "-" if name == "gbp" else "--", "alpha": 0.4 if early and name == "bp" else 0.8}
        line_set(axes, [_line(trial, scale) for trial in some], colors=colour, linewidths=0.4, **looks)
    best = highlighted(result)
    for trial in sorted((one for one in shown if one.number in best), key=lambda one: list(best).index(one.number)):
        line, bp, (place, label) = _line(trial, scale), algorithm(trial) == "bp", best[trial.number]
        label += " (BP)" if bp else ""
        axes.plot(*line.T, color=COLOURS[place], label=label, **_mark(place, len(line), bp))
    table = Columns("trial", "algorithm", "epoch", metric)
    for trial in shown:
        table.add(trial.number, algorithm(trial), trial.history[metric].epochs, trial.history[metric].values)
    _frame(axes, scale, table["epoch"], table[metric], table[metric])
    legend(figure, axes, HIGHLIGHTED)
    mixed = " (grey: gBP; orange, dashed: BP)" if len(set(table["algorithm"])) > 1 else " (grey)"
    pruned = "; paler: those that were pruned" if any(trial.state == "pruned" for trial in shown) else ""
    caption = f"{metric} of all {len(shown)} trials with a history{mixed}{pruned}; the best complete ones in colour."
    title = "Accuracy by epoch" if metric.endswith("accuracy") else "The objective by epoch"
    return Plot("accuracy", title, caption, figure, table)


def _line(trial: TrialResult, scale: Scale) -> Any:
    """(epochs, 2): epoch and the value as it is shown."""
    series = trial.history[scale.metric]
    return np.stack([series.epochs, scale.factor * series.values], 1)


def _mark(place: int, points: int, bp: bool = False) -> dict[str, Any]:
    """A few markers on the way, at other epochs for each line; dashed for BP."""
    every = max(1, points // 6)
    return {
        "marker": MARKERS[place % len(MARKERS)],
        "markevery": (min(place, points - 1) * every // 4 if points else 0, every),
        "linestyle": "--" if bp else "-",
    }


def _frame(
    axes: Axes, scale: Scale, epochs: Sequence[int], worst: Sequence[float], best: Sequence[float], name: str = ""
) -> None:
    """Axes that show what happens after the first tenth of the epochs, and the best of all values."""
    first = max(epochs) / 10
    low, _ = scale.window(value for epoch, value in zip(epochs, worst, strict=True) if epoch >= first)
    _, high = scale.window(best)
    bottom, top = limits((scale.factor * low, scale.factor * high), 0.06)
    axes.set(xlabel="epoch", ylabel=name or scale.label)
    axes.set_ylim(bottom, min(100.5, top) if scale.factor == 100 else top)


@styled
def categories(result: SweepResult) -> Plot | None:
    """Weight category fractions of each layer against epoch, of the best setting that has them."""
    best = best_with(settings(result), lambda trial: "layer1/vip_fraction" in trial.history)
    if best is None:
        return None
    numbers = layers(best.trials, "vip_fraction")
    drawn = [numbers[int(i)] for i in np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), PANELS)).round())]
    columns = 2 if len(drawn) == 4 else min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = panels(rows, columns, 0.5 + 1.5 * rows, sharex=True, sharey=True)
    table = Columns("layer", "category", "epoch", "seeds", "mean", "smallest", "largest")
    for layer in numbers:
        for name, (colour, dash) in CATEGORIES.items():
            epochs, values = curves(best.trials, f"layer{layer}/{name}_fraction")
            if not len(epochs):
                continue
            mean, low, high = values.mean(0), values.min(0), values.max(0)
            table.add(layer, name.upper(), epochs, len(values), mean, low, high)
            if layer in drawn:
                panel = axes[drawn.index(layer)]
                panel.plot(epochs, mean, dash, color=colour, label=name.upper(), marker="o" if len(epochs) == 1 else "")
                panel.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    for place, panel in enumerate(axes):
        panel.set_visible(place < len(drawn))
        if place < len(drawn):
            panel.set(title=f"layer {drawn[place]}", ylim=(-0.03, 1.03))
    figure.supxlabel("epoch", fontsize=7)
    figure.supylabel("fraction of weights", fontsize=7)
    legend(figure, axes[0], 3)
    slack = best.trials[0].knobs.get("trainer.category_tolerance")
    caption = (
        f"Very important (VIP: spike mass 0, slab variance 0), unimportant (UIP: spike mass 1) and variable (VAR) "
        f"weights of {_name(best)}{f', to within {slack:g}' if slack else ''}"
        f"{averaged(table['seeds'], 'band: smallest to largest')}."
    )
    return Plot("categories", "Weight categories by layer", caption, figure, table)


@styled
def by_layer(result: SweepResult) -> Plot | None:
    """Entropy per weight, and sparsity, against layer, a line for each setting; of a large search the best ones."""
    found = [setting for setting in settings(result) if last(setting.trials, "layer1/entropy")]
    chosen = found if len(found) <= FEW else best_first(found)[:HIGHLIGHTED]
    if not chosen:
        return None
    figure, axes = panels(1, 2, 2.4)
    table = Columns("setting", "quantity", "layer", "seeds", "mean", "sd")
    for place, setting in zip(own_places(chosen), chosen, strict=True):
        for panel, metric in zip(axes, ("entropy", "uip_fraction"), strict=True):
            numbers = layers(setting.trials, metric)
            seeds = [last(setting.trials, f"layer{layer}/{metric}") for layer in numbers]
            mean, sd = [float(np.mean(each)) for each in seeds], [spread(each) for each in seeds]
            style: dict[str, Any] = {
                "marker": MARKERS[place],
                "color": COLOURS[place],
                "linestyle": ("-", "--", "-.", ":")[place % 4],
            }
            panel.errorbar(numbers, mean, sd, label=setting.label, elinewidth=0.7, **style)
            table.add(setting.label, metric, numbers, [len(each) for each in seeds], mean, sd)
    for panel, name in zip(axes, ("entropy per weight (nats)", "sparsity (UIP fraction)"), strict=True):
        panel.set(xlabel="layer", ylabel=name, xticks=sorted(set(table["layer"])))
    legend(figure, axes[0], 1 if max(len(setting.label) for setting in chosen) > 18 else 2)
    caption = f"After the last epoch{averaged(table['seeds'], 'error bars: standard deviation over seeds')}."
    if len(chosen) < len(found):
        single = all(len(setting.trials) == 1 for setting in found)
        caption += f" The best {len(chosen)} of {len(found)} {'trials' if single else 'settings'}."
    return Plot("layers", "Entropy and sparsity by layer", caption, figure, table)


def _name(setting: Setting) -> str:
    """A setting in a sentence."""
    return "the best setting" + (f" ({setting.label})" if setting.label not in NAMES.values() else "")
