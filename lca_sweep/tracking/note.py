"""What people read of a model in the MLflow UI, in Markdown; and how anything is written in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lca_sweep.tracking.records import BestTrial


def text(value: Any) -> str:
    """A knob's value as one would type it on the command line: `0.1`, `null`, `[100, 50]`, `tpe`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def describe_model(model: str, sweep: str) -> str:
    """What a registered model is, and how one loads it."""
    return f"""The best trial of sweep `{sweep}`: an ensemble of spike-and-slab networks.

{how_to_load(model)}

`pixels` are numbers as in the data set, one row an image: an array of any type, nested lists or a data frame.
The same seed gives the same answer; left out, it is the trial's own. lca_sweep need not be installed."""


def how_to_load(model: str) -> str:
    """Lines of Python that open a sweep's model."""
    return f"""```python
import mlflow  # with MLFLOW_TRACKING_URI set to this store

model = mlflow.pyfunc.load_model("models:/{model}@best")
answer = model.predict(pixels, params={{"draws": 100, "seed": 0}})  # params may be left out
answer["probability"]  # (images, classes): of each class, averaged over the sampled sub-networks
answer["std"]  # (images, classes): its standard deviation over the sub-networks
```"""


def describe_version(sweep: str, best: BestTrial, run: str) -> str:
    """Which trial a version of the model is; `run` is the place of its run in the UI, or nothing."""
    trial = link(f"Trial {best.number:04d}", run)
    return "\n\n".join([f"{trial} of sweep `{sweep}`, with {best.value:.6g}", *tables(best)])


def tables(best: BestTrial) -> list[str]:
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


def link(words: str, place: str) -> str:
    """Words that lead to a place in the UI, if there is one."""
    return f"[{words}]({place})" if place else words


def overall(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the whole network, without those of single layers."""
    return {key: value for key, value in metrics.items() if not key.startswith("layer")}


def cell(value: Any) -> str:
    """What does not break the table."""
    return " ".join(str(value).splitlines()).replace("|", "\\|")
