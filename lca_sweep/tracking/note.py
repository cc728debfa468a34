"""The description that people read first on a sweep's page in the MLflow UI, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lca_sweep.tracking.records import BestTrial, SweepEnd

MOST = 10  # so many trials of a Pareto set are named


def text(value: Any) -> str:
    """A knob's value as one would type it on the command line: `0.1`, `null`, `[100, 50]`, `tpe`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def describe(name: str, end: SweepEnd, best_run: str) -> str:
    """The question of a sweep, and its result: its trials by state, and the best one with its knobs and metrics."""
    parts = [end.question] if end.question else []
    parts.append(f"### Sweep `{name}`: {end.status}" + (f"\n\n{end.message}" if end.message else ""))
    parts.append(table("Trials", "", end.counts.items()))
    if end.best is None:
        return "\n\n".join([*parts, "No trial is complete."])
    best = end.best
    if end.pareto:
        names = ", ".join(f"{number:04d}" for number in end.pareto[:MOST])
        more = f" and {len(end.pareto) - MOST} more" if len(end.pareto) > MOST else ""
        parts.append(f"Pareto set, by the first objective: trials {names}{more} (tag `pareto`)")
    parts.append(
        f"**Best: trial {best.number:04d}** with {best.value:.6g}" + (f", run `{best_run}`" if best_run else "")
    )
    return "\n\n".join(parts + _tables(best))


def describe_model(model: str, sweep: str) -> str:
    """What a registered model is, and how one loads it."""
    return f"""The best trial of sweep `{sweep}`: an ensemble of spike-and-slab networks.

```python
import mlflow  # with MLFLOW_TRACKING_URI set to this store

model = mlflow.pyfunc.load_model("models:/{model}@best")
answer = model.predict(pixels, params={{"draws": 100, "seed": 0}})  # params may be left out
answer["probability"]  # (images, classes): of each class, averaged over the sampled sub-networks
answer["std"]  # (images, classes): its standard deviation over the sub-networks
```

`pixels` are numbers as in the data set, one row an image: an array of any type, nested lists or a data frame.
The same seed gives the same answer; left out, it is the trial's own. lca_sweep need not be installed."""


def describe_version(sweep: str, best: BestTrial) -> str:
    """Which trial a version of the model is."""
    return "\n\n".join([f"Trial {best.number:04d} of sweep `{sweep}`, with {best.value:.6g}", *_tables(best)])


def _tables(best: BestTrial) -> list[str]:
    """The knobs and the metrics of a trial, where it has any."""
    tables = []
    if best.knobs:
        tables.append(table("Knob", "Value", ((knob, text(value)) for knob, value in best.knobs.items())))
    if best.metrics:
        tables.append(table("Metric", "Value", ((key, f"{value:.6g}") for key, value in overall(best.metrics).items())))
    return tables


def table(left: str, right: str, rows: Iterable[tuple[str, Any]]) -> str:
    """A Markdown table of two columns."""
    lines = [f"| {cell(left)} | {cell(right)} |", "| --- | ---: |"]
    return "\n".join(lines + [f"| {cell(key)} | {cell(value)} |" for key, value in rows])


def overall(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the whole network, without those of single layers."""
    return {key: value for key, value in metrics.items() if not key.startswith("layer")}


def cell(value: Any) -> str:
    """What does not break the table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
