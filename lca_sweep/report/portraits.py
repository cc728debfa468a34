"""Figures of one trained network: its weights as histograms, and where on the image its first layer looks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.report.results import DataInfo, TrialResult
from lca_sweep.report.style import BLUE, Columns, Plot, log_axis, panels, styled

NUMBERS = {"pi": "π", "m": "m", "xi": "Ξ"}
LAYERS = 6  # that are drawn; the table has all


@styled
def histograms(trial: TrialResult) -> Plot | None:
    """Histograms of pi, m and Xi, a row for each layer, counts on a logarithmic scale."""
    if trial.analysis is None or not trial.analysis.histograms:
        return None
    layers = trial.analysis.histograms
    numbers = {name: label for name, label in NUMBERS.items() if name in layers[0]}
    rows = min(len(layers), LAYERS)
    figure, axes = panels(rows, len(numbers), 0.4 + 1.05 * rows, sharey="row")
    table = Columns("layer", "number", "from", "to", "weights")
    for row, layer in enumerate(layers):
        for column, (name, label) in enumerate(numbers.items()):
            bars = layer[name]
            table.add(row + 1, name, bars.edges[:-1], bars.edges[1:], bars.counts)
            if row < rows:
                panel = axes[row * len(numbers) + column]
                panel.stairs(np.maximum(bars.counts, 0.5), bars.edges, baseline=0.5, fill=True, color=BLUE)
                log_axis(panel, "y")
                panel.set_ylim(bottom=0.5)
                panel.locator_params(axis="x", nbins=3)
                panel.set_xlabel(label if row == rows - 1 else "")
        if row < rows:
            axes[row * len(numbers)].set_ylabel(f"layer {row + 1}")
    by = "spike mass π, slab mean m and slab variance Ξ" if len(numbers) > 1 else "their value"
    caption = f"Number of weights of trial {trial.number} by {by}, on a logarithmic scale."
    return Plot(f"trial-{trial.number}-weights", f"Weights of trial {trial.number}", caption, figure, table)


@styled
def receptive_fields(trial: TrialResult, data: DataInfo) -> Plot | None:
    """For each input pixel the share of its first-layer weights in each category, as images: each from its smallest
    share to its largest, which for VIP weights is a small part of 1.
    """
    if trial.analysis is None or not trial.analysis.fields:
        return None
    pictures = {name: image(field, data.shape) for name, field in trial.analysis.fields.items()}
    drawn = {name: picture for name, picture in pictures.items() if picture is not None}
    if len(drawn) < len(pictures):
        return None
    figure, axes = panels(1, len(drawn), 1.45)
    for panel, (name, picture) in zip(axes, drawn.items(), strict=True):
        panel.imshow(picture, cmap="cividis", interpolation="nearest")
        panel.set(title=name.upper(), xticks=[], yticks=[])
        panel.set_xlabel(f"{picture.min():.2g} to {picture.max():.2g}")
        panel.spines[:].set_visible(False)
    colours = " Mean over the three colour planes." if data.shape and len(data.shape) == 3 else ""
    caption = (
        f"Share of a pixel's first-layer weights that are in each category, in trial {trial.number}: dark where it is "
        f"smallest, bright where it is largest.{colours}"
    )
    table: dict[str, Any] = {"input": list(range(data.inputs)), **trial.analysis.fields}
    return Plot(f"trial-{trial.number}-fields", f"Receptive fields of trial {trial.number}", caption, figure, table)


def image(field: NDArray[np.float64], shape: tuple[int, ...] | None) -> NDArray[np.float64] | None:
    """Inputs as an image (height, width), the mean over colour planes; None if they are no image of this shape."""
    if shape is None or len(shape) not in (2, 3) or math.prod(shape) != field.size:
        return None
    planes: NDArray[np.float64] = field.reshape(-1, *shape[-2:]).mean(0)
    return planes
