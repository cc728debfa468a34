"""The description that people read first on a sweep's page in the MLflow UI, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lca_sweep.tracking.records import SweepEnd


def text(value: Any) -> str:
    """A knob's value as one would type it on the command line: `0.1`, `null`, `[100, 50]`, `tpe`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def describe(name: str, end: SweepEnd, best_run: str) -> str:
    """The result of a sweep: its trials by state, and the best one with its knobs and metrics."""
    parts = [f"### Sweep `{name}`: {end.status}" + (f"\n\n{end.message}" if end.message else "")]
    parts.append(table("Trials", "", end.counts.items()))
    if end.best is None:
        return "\n\n".join([*parts, "No trial is complete."])
    best = end.best
    parts.append(
        f"**Best: trial {best.number:04d}** with {best.value:.6g}" + (f", run `{best_run}`" if best_run else "")
    )
    if best.knobs:
        parts.append(table("Knob", "Value", ((knob, text(value)) for knob, value in best.knobs.items())))
    if best.metrics:
        parts.append(table("Metric", "Value", ((key, f"{value:.6g}") for key, value in overall(best.metrics).items())))
    return "\n\n".join(parts)


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
