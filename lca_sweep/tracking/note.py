"""What people read of a model in the MLflow UI, in Markdown; and how anything is written in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lca_sweep.tracking.records import BestTrial


def text(value: Any) -> str:
    """A knob's value as one would type it on the command line: `0.1`, `null`, `[100, 50]`, `tpe`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


KINDS = {
    "gbp": "an ensemble of spike-and-slab networks, of which 100 are drawn and averaged unless told otherwise",
    "bp": "one network of ordinary weights, from ordinary back-propagation; `std` is 0, as there is nothing to draw",
}


def describe_model(model: str, sweep: str, algorithm: str) -> str:
    """What a registered model is, and how one loads it."""
    seeds = "" if algorithm == "bp" else "The same seed gives the same answer; left out, it is the trial's own. "
    return f"""The best trial of sweep `{sweep}`: {KINDS[algorithm]}.

{how_to_load(model, algorithm)}

`pixels` are numbers as in the data set, not scaled, one row an image: an array of any type, nested lists or a data
frame. {seeds}lca_sweep need not be installed."""


def how_to_load(model: str, algorithm: str) -> str:
    """Lines of Python that open a sweep's model."""
    drawn = algorithm != "bp"
    told = ', params={"draws": 100, "seed": 0})  # params may be left out' if drawn else ")"
    over = ", averaged over the sampled sub-networks" if drawn else ""
    doubt = "its standard deviation over the sub-networks" if drawn else "0"
    return f"""```python
import mlflow  # with MLFLOW_TRACKING_URI set to this store

model = mlflow.pyfunc.load_model("models:/{model}@best")
answer = model.predict(pixels{told}
answer["probability"]  # (images, classes): of each class{over}
answer["std"]  # (images, classes): {doubt}
```"""


def describe_version(sweep: str, best: BestTrial, run: str) -> str:
    """Which trial a version of the model is, and what it is; `run` is the place of its run in the UI, or nothing."""
    trial = link(f"Trial {best.number:04d}", run)
    what = f"{trial} of sweep `{sweep}`, with {best.value:.6g}: {KINDS[best.algorithm]}"
    return "\n\n".join([what, *tables(best)])


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
