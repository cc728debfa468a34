"""Figures of what trained networks bear: weights of one category changed, most weights removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core.perturbation import ARMS, Perturbation
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.seeds import Setting, averaged, best_with, settings, some
from lca_sweep.report.style import (
    BLACK,
    BLUE,
    GREEN,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Columns,
    Plot,
    legend,
    panels,
    plain,
    styled,
)

ROWS, COLUMNS = 4, 4  # settings and layers that are drawn; the table has all layers
LOOKS = {  # of each arm: name, colour, line
    "vip_deleted": ("VIP deleted", VERMILLION, "-"),
    "uip_replaced": ("UIP replaced", BLUE, "--"),
    "var_deleted": ("VAR deleted", GREEN, ":"),
    "random_deleted": ("random deleted", BLACK, "-."),
}


@styled
def perturbation(result: SweepResult) -> Plot | None:
    """Test error of sub-networks against the fraction of a category's weights that is changed, layer by layer."""
    found = some([kept for setting in settings(result) if (kept := best_with([setting], perturbed))], ROWS)
    if not found:
        return None
    depth = max(len(_errors(setting.trials)[0].layers) for setting in found)
    columns = min(depth, COLUMNS)
    figure, axes = panels(len(found), columns, 0.6 + 1.35 * len(found), sharex=True, sharey="row")
    table = Columns("setting", "layer", "arm", "fraction", "weights_changed", "runs", "error_percent", "sd")
    for row, setting in enumerate(found):
        first, errors, changed = _errors(setting.trials)
        for place, layer in enumerate(first.layers):
            for arm, key in enumerate(ARMS):
                runs = errors[place, arm]  # (fractions, runs)
                mean, sd = runs.mean(1), _sd(runs)
                table.add(setting.label, layer, key, first.fractions, changed[place, arm], runs.shape[1], mean, sd)
                if place < columns:
                    _arm(axes[row * columns + place], key, first.fractions, mean, sd)
        for place, panel in enumerate(axes[row * columns : (row + 1) * columns]):
            panel.set_visible(place < len(first.layers))
            panel.set_title(f"layer {first.layers[place]}" if row == 0 and place < len(first.layers) else "")
        axes[row * columns].set_ylabel(plain(setting.label, 20) + "\nerror (%)" if len(found) > 1 else "test error (%)")
    figure.supxlabel("fraction of the category's weights", fontsize=7)
    legend(figure, axes[0], 2)
    return Plot("perturbation", "Targeted perturbation", _caption(found), figure, table)


def perturbed(trial: TrialResult) -> Perturbation | None:
    """What perturbing a trial's weights did, where that was tried."""
    return trial.analysis.perturbation if trial.analysis else None


def _errors(trials: Sequence[TrialResult]) -> tuple[Perturbation, NDArray[np.float64], NDArray[np.float64]]:
    """The first trial's study; test errors in percent (layers, arms, fractions, runs) of it and all like it, where a
    run is a repeat of a trial; the mean number of weights changed (layers, arms, fractions)."""
    every = [study for trial in trials if (study := perturbed(trial))]
    like = [one for one in every if (one.layers, one.fractions) == (every[0].layers, every[0].fractions)]
    errors = 100 * (1 - np.concatenate([one.accuracy for one in like], axis=-1))
    return every[0], errors, np.mean([one.changed for one in like], axis=0)


def _sd(runs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation over the last axis, 0 for a single run."""
    return runs.std(-1, ddof=1) if runs.shape[-1] > 1 else np.zeros(runs.shape[:-1])


def _arm(panel: Any, key: str, fractions: Sequence[float], mean: Any, sd: Any) -> None:
    name, colour, dash = LOOKS[key]
    marker = MARKERS[ARMS.index(key)]
    panel.plot(fractions, mean, dash, color=colour, marker=marker, markersize=2, label=name)
    panel.fill_between(fractions, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)


def _caption(found: Sequence[Setting]) -> str:
    seeds = sorted({len(setting.trials) for setting in found})
    over = "" if seeds == [1] else f" and seeds ({'/'.join(map(str, seeds))})"
    return (
        "Test error of sub-networks in one layer of which VIP weights are set to 0, UIP weights are replaced by "
        "standard normal draws, or as many VAR weights, or any weights, as VIP weights are set to 0: mean over repeats"
        f"{over}; band: one standard deviation. VAR and random weights may be those of inputs that are "
        "0 in every training image, which matter little."
    )


@styled
def kept(result: SweepResult) -> Plot | None:
    """Accuracy against the share of weights that is kept, of the best setting of each algorithm."""
    found = settings(result)
    best = [best_with([s for s in found if s.bp is bp], lambda trial: trial.analysis) for bp in (False, True)]
    if best == [None, None]:
        return None
    figure, [axes] = panels(1, 1, 2.5)
    table = Columns("algorithm", "network", "kept", "seeds", "mean", "smallest", "largest")

    def line(name: str, shares: Sequence[float], values: NDArray[np.float64], bp: bool, looks: dict[str, Any]) -> None:
        """values: (seeds, shares)."""
        mean, low, high = values.mean(0), values.min(0), values.max(0)
        table.add("bp" if bp else "gbp", name, shares, len(values), mean, low, high)
        label = f"BP {name}" if bp and best[0] else name
        axes.plot(shares, 100 * mean, label=label, **looks)
        if len(shares) > 1:
            axes.fill_between(shares, 100 * low, 100 * high, color=looks["color"], alpha=0.2, linewidth=0)

    for setting in best:
        if setting:
            _kept_lines(setting, line)
    axes.set(xscale="log", xlabel="share of weights kept", ylabel="test accuracy (%)")
    _percent_ticks(axes, [share for share in table["kept"] if share > 0])
    legend(figure, axes, 2)
    caption = (
        "The most certain weights of the whole network (smallest spike mass; among equals, as are all of BP, the mean "
        f"farthest from 0) are kept, the others set to 0{averaged(table['seeds'], 'band: smallest to largest')}. Star: "
        "without the unimportant weights alone. Weights of inputs that are 0 in every training image are never "
        "trained: at an initial spike mass of 0 they count among the most certain."
    )
    return Plot("kept", "Accuracy of what is left", caption, figure, table)


def _kept_lines(setting: Setting, line: Any) -> None:
    curves = [trial.analysis.kept for trial in setting.trials if trial.analysis]
    shares = curves[0].kept
    like = [curve for curve in curves if curve.kept == shares]
    means = np.array([curve.mean_network for curve in like])
    if setting.bp:
        looks = {"color": ORANGE, "linestyle": "--", "marker": "D"}
        line("network", shares, means, True, looks)
        return
    line("mean network", shares, means, False, {"color": BLUE, "marker": "o"})
    draws = np.array([curve.subnetworks.mean(1) for curve in like])
    line("sub-networks", shares, draws, False, {"color": VERMILLION, "linestyle": ":", "marker": "s"})
    left = [float(np.mean([curve.without_uip[0] for curve in like]))]
    star = {"color": PURPLE, "linestyle": "", "marker": "*", "markersize": 7, "markeredgecolor": SKY}
    line("mean network without UIP", left, np.array([[c.without_uip[1]] for c in like]), False, star)


def _percent_ticks(axes: Any, shares: Sequence[float]) -> None:
    ticks = [tick for tick in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001) if tick >= min(shares, default=1)]
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.invert_xaxis()
