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
    rows = min(len(layers), LAYERS)
    figure, axes = panels(rows, len(NUMBERS), 0.4 + 1.05 * rows, sharey="row")
    table = Columns("layer", "number", "from", "to", "weights")
    for row, layer in enumerate(layers):
        for column, (name, label) in enumerate(NUMBERS.items()):
            bars = layer[name]
            table.add(row + 1, name, bars.edges[:-1], bars.edges[1:], bars.counts)
            if row < rows:
                panel = axes[row * len(NUMBERS) + column]
                panel.stairs(np.maximum(bars.counts, 0.5), bars.edges, baseline=0.5, fill=True, color=BLUE)
                log_axis(panel, "y")
                panel.set_ylim(bottom=0.5)
                panel.locator_params(axis="x", nbins=3)
                panel.set_xlabel(label if row == rows - 1 else "")
        if row < rows:
            axes[row * len(NUMBERS)].set_ylabel(f"layer {row + 1}")
    caption = (
        f"Number of weights of trial {trial.number} by spike mass π, slab mean m and slab variance Ξ, on a logarithmic "
        "scale."
    )
    return Plot(f"trial-{trial.number}-weights", f"Weights of trial {trial.number}", caption, figure, table)


@styled
def receptive_fields(trial: TrialResult, data: DataInfo) -> Plot | None:
    """For each input pixel the share of its first-layer weights in each category, as images."""
    if trial.analysis is None or not trial.analysis.fields:
        return None
    pictures = {name: image(field, data.shape) for name, field in trial.analysis.fields.items()}
    drawn = {name: picture for name, picture in pictures.items() if picture is not None}
    if len(drawn) < len(pictures):
        return None
    figure, axes = panels(1, len(drawn), 1.3)
    shown = [
        panel.imshow(picture, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        for panel, picture in zip(axes, drawn.values(), strict=True)
    ]
    for panel, name in zip(axes, drawn, strict=True):
        panel.set(title=name.upper(), xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    figure.colorbar(shown[0], ax=axes, label="share of weights", aspect=12, pad=0.02, shrink=0.8)
    colours = " Mean over the three colour planes." if data.shape and len(data.shape) == 3 else ""
    caption = f"First-layer weights of trial {trial.number} in each category, by the pixel they come from.{colours}"
    table: dict[str, Any] = {"input": list(range(data.inputs)), **trial.analysis.fields}
    return Plot(f"trial-{trial.number}-fields", f"Receptive fields of trial {trial.number}", caption, figure, table)


def image(field: NDArray[np.float64], shape: tuple[int, ...] | None) -> NDArray[np.float64] | None:
    """Inputs as an image (height, width), the mean over colour planes; None if they are no image of this shape."""
    if shape is None or len(shape) not in (2, 3) or math.prod(shape) != field.size:
        return None
    planes: NDArray[np.float64] = field.reshape(-1, *shape[-2:]).mean(0)
    return planes
