"""The README's picture, from the MLflow store of a folder where `+sweep=mnist` and the paper's setting were run.

python docs/picture.py FOLDER docs/results.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from mlflow import MlflowClient
from mlflow.entities import Run

COLOURS = {"vip": "#D55E00", "uip": "#0072B2", "var": "#999999"}  # Okabe & Ito: safe for colour-blind eyes
NAMES = {"vip": "VIP, very important", "uip": "UIP, unimportant", "var": "VAR, variable"}


def main(folder: Path, target: Path) -> None:
    """Draw the sweep on the left, the paper's setting on the right."""
    client = MlflowClient(f"sqlite:///{folder.absolute()}/mlflow.db")
    experiment = client.get_experiment_by_name("lca_sweep")
    children = client.search_runs([experiment.experiment_id], "tags.`lca.kind` = 'trial'", max_results=1000)
    sweep = [run for run in children if run.data.tags["lca.sweep"] == "mnist"]
    paper = next(run for run in children if run.data.tags["lca.sweep"].startswith("mnist-"))
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, *right) = plt.subplots(1, 4, figsize=(11, 3), width_ratios=(2.2, 1, 1, 1), layout="constrained")
    draw_sweep(client, left, sweep)
    draw_categories(client, right, paper)
    figure.savefig(target, dpi=160)


def history(client: MlflowClient, run: Run, metric: str) -> tuple[list[int], list[float]]:
    """Epochs and values of one metric."""
    points = sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric))
    return [step for step, _ in points], [value for _, value in points]


def draw_sweep(client: MlflowClient, axes: Axes, runs: list[Run]) -> None:
    """Every trial's validation accuracy; pruned ones end early."""
    for run in runs:
        done = run.data.tags["lca.state"] == "complete"
        epochs, values = history(client, run, "val/accuracy")
        axes.plot(
            epochs, values, color="#D55E00" if done else "#999999", lw=1.4 if done else 0.8, zorder=3 if done else 2
        )
        axes.plot(epochs[-1:], values[-1:], "o", ms=3, color="#D55E00" if done else "#999999")
    complete = sum(run.data.tags["lca.state"] == "complete" for run in runs)
    axes.set(xscale="log", xlabel="epoch", ylabel="validation accuracy", ylim=(0.7, 0.98))
    axes.set_title(f"+sweep=mnist: {len(runs)} trials, {complete} trained to the end", fontsize=9)
    axes.set_xticks([1, 2, 5, 10, 20, 60], ["1", "2", "5", "10", "20", "60"], minor=False)
    axes.minorticks_off()


def draw_categories(client: MlflowClient, axes: list[Axes], run: Run) -> None:
    """Stacked category fractions of each layer, by epoch."""
    for layer, panel in enumerate(axes, start=1):
        columns = {name: history(client, run, f"layer{layer}/{name}_fraction") for name in COLOURS}
        epochs = columns["vip"][0]
        panel.stackplot(epochs, *(values for _, values in columns.values()), colors=COLOURS.values(), lw=0)
        panel.set(xlabel="epoch", ylim=(0, 1), xlim=(1, epochs[-1]), yticks=[0, 0.5, 1])
        panel.set_title(f"paper's setting, layer {layer}", fontsize=9)
        if layer == 1:
            panel.set_ylabel("fraction of weights")
            for name, height in (("vip", 0.02), ("uip", 0.11), ("var", 0.55)):
                panel.text(0.3 * epochs[-1], height, NAMES[name], color="white", fontsize=7, weight="bold")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
