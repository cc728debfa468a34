"""`show [NAME] TRIAL`: one trial on a screen, or as JSON.

JSON is an object: `name` (of the sweep), `trial`, `state` (complete, pruned, failed, running, waiting), `why`, `origin`
(where its knobs come from), `value` (the first objective at the end, or null), `scores` (all objectives), `violations`
(of each constraint), `params` (searched knobs), `knobs` (all, of one that waits those that are known), `objective`
(name of the first), `values` (it by epoch), `epoch` and `metrics` (the last that are kept), `pack` (or null),
`pack_trials`, `replicate` (null, or trial and seed), `seeds`, `weights` (where they lie, or null), `page` (of its
MLflow run, or null), `trouble` (what could not be read).
Keys are only ever added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from lca_sweep.core.objective import figure
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.known import Known
from lca_sweep.sweep.printing import print_json, print_line, print_table, spark, value_text
from lca_sweep.sweep.trial import Trial, trial_of
from lca_sweep.sweep.words import spans

WIDEST = 60  # bars of a line
PARTS = ("train", "val", "test")
LAYER = {"VIP": "vip_fraction", "UIP": "uip_fraction", "VAR": "var_fraction", "entropy": "entropy"}


def show(known: Known, trial: int, as_json: bool) -> int:
    """One trial; exit status 0."""
    found, console = trial_of(known, trial), wide_console()
    if as_json:
        print_json(console, _whole(found))
        return 0
    for line in (*_head(found), *_course(found, console)):
        print_line(console, line)
    print_table(console, ("knob (*: searched)", "value"), _knobs(found))
    _print_metrics(found, console)
    for line in _places(found):
        print_line(console, line)
    return 0


def _whole(found: Trial) -> dict[str, Any]:
    row = found.row
    return {
        "name": found.known.name,
        "trial": row.number,
        "state": row.state,
        "why": found.why,
        "origin": found.origin,
        "value": row.value,
        "scores": list(row.scores),
        "violations": list(row.violations),
        "params": {**row.params, **row.given},
        "knobs": dict(found.knobs),
        "objective": found.goal.first.metric,
        "values": dict(row.values),
        "epoch": found.epoch,
        "metrics": dict(found.metrics),
        "pack": row.pack,
        "pack_trials": list(found.mates),
        "replicate": row.replicate and {"trial": row.replicate[0], "seed": row.replicate[1]},
        "seeds": found.seeds,
        "weights": found.weights or None,
        "page": found.page or None,
        "trouble": list(found.trouble),
    }


def _head(found: Trial) -> Iterator[str]:
    row = found.row
    yield f"{found.known.name}, trial {row.number}: {row.state}{f' ({found.why})' if found.why else ''}"
    yield f"from {found.origin}"
    if len(row.scores) > 1:
        named = zip(found.goal.objectives, row.scores, strict=True)
        yield ", ".join(f"{part.metric} {figure(value)}" for part, value in named)
    for part, by in zip(found.goal.constraints, row.violations, strict=False):
        yield f"{part}: {'kept' if by <= 0 else f'broken by {figure(by)}'}"


def _course(found: Trial, console: Console) -> Iterator[str]:
    """The first objective by epoch."""
    points = sorted(found.row.values.items())
    if not points:
        return
    values = [value for _, value in points]
    at, best = found.best
    yield f"{found.goal.first.metric}, epochs {points[0][0]} to {points[-1][0]}:"
    yield spark(values, min(WIDEST, console.width - 1), console.encoding)
    yield f"first {figure(values[0])}, last {figure(values[-1])}, best {figure(best)} at {at}"


def _knobs(found: Trial) -> list[tuple[str, str]]:
    """All knobs; a star for those that the sweep searches."""
    searched, known = {**found.row.params, **found.row.given}, found.knobs.items()
    told = [(f"{name} *" if name in searched else name, value_text(value)) for name, value in known]
    return told + [(f"{name} *", "up to the sampler") for name in found.undecided]


def _print_metrics(found: Trial, console: Console) -> None:
    metrics = found.metrics
    if not metrics:
        return
    print_line(console, f"metrics at epoch {found.epoch}:")
    images = [(part, *(_told(metrics.get(f"{part}/{what}")) for what in ("accuracy", "loss"))) for part in PARTS]
    print_table(console, ("images", "accuracy", "loss"), [row for row in images if set(row[1:]) != {"-"}])
    layers = sorted(
        {name.partition("/")[0] for name in metrics if name.startswith("layer")}, key=lambda one: int(one[5:])
    )
    rows = [(layer[5:], *(_told(metrics.get(f"{layer}/{key}")) for key in LAYER.values())) for layer in layers]
    if rows:
        rows.append(("all", *(_told(metrics.get(f"weights/{key}")) for key in LAYER.values())))
        print_table(console, ("layer", *LAYER), rows)


def _told(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _places(found: Trial) -> Iterator[str]:
    row = found.row
    if row.pack is not None:
        yield f"pack {row.pack}, trials {spans(sorted(found.mates))}"
    yield f"seeds: {', '.join(f'{name}={value}' for name, value in found.seeds.items())}"
    if found.weights:
        yield f"weights: {_near(found.weights)}"
    if found.page:
        yield f"MLflow: {found.page}"
    yield from found.trouble


def _near(place: str) -> str:
    """A file below the working folder, from there."""
    return os.path.relpath(place) if "://" not in place and Path(place).is_relative_to(Path.cwd()) else place
