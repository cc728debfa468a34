"""What people are told of a sweep: its page in the tracker, what to type, where things lie, the best trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lca_sweep.config import Config, without_password
from lca_sweep.core.data import Splits
from lca_sweep.core.objective import Goal, figure
from lca_sweep.core.short import short_names
from lca_sweep.search.rows import Row
from lca_sweep.search.storage import JOURNAL
from lca_sweep.sweep.finals import Standing
from lca_sweep.sweep.folder import Folder
from lca_sweep.sweep.words import command, number, params_line
from lca_sweep.tracking import DataRecord, Table

COLUMNS = {"test/accuracy": "test/accuracy", "weights/vip_fraction": "VIP", "weights/uip_fraction": "UIP"}


def data_record(data: Splits) -> DataRecord:
    """The images, and how many for which purpose."""
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    images = {purpose: len(part.y) for purpose, part in parts.items()}
    return DataRecord(data.name, data.digest, data.inputs, data.classes, images)


def commands(folder: Folder) -> dict[str, str]:
    """What to type, in the folder that the sweep was begun in, by what it does."""
    what = {
        "trains what is missing, and nothing twice": "resume",
        "how it stands": "status",
        "its report, at any time": "report",
        "an end in order": "stop",
    }
    return {words: command(word, folder.path) for words, word in what.items()}


def places(config: Config, folder: Folder) -> dict[str, str]:
    """Where what survives of the sweep lies, without passwords."""
    study = config.search.storage or str(folder.path / JOURNAL)
    mark = f"-{folder.uid[:8]}"
    own = folder.study.removesuffix(mark) + mark  # as reporting.storage_of has it
    storage = f"{own} in {without_password(config.sweep.storage)}" if config.sweep.storage else str(folder.path)
    return {
        "where to type it": str(Path.cwd()),
        "folder of the sweep": str(folder.path),
        "study (Optuna)": without_password(study),
        "checkpoints and weights": storage,
        "configuration, search space": "config.yaml and space.yaml among the artifacts of this run",
    }


def best_table(title: str, rows: Sequence[Row], metrics: Mapping[int, Mapping[str, float]], goal: Goal) -> Table:
    """Trials beside each other: objectives, some metrics of the last epoch, and the searched knobs."""
    aims = [part.metric for part in goal.objectives]
    there = set().union(*metrics.values())
    others = {name: short for name, short in COLUMNS.items() if name in there and name not in aims}
    knobs = list(dict.fromkeys(knob for row in rows for knob in row.params))

    def cells(row: Row) -> list[str]:
        found = metrics.get(row.number, {})
        scores = [figure(score) for score in row.scores or (row.value or 0.0,)]
        values = [figure(found[name]) if name in found else "" for name in others]
        return [*scores, *values, *(number(row.params[knob]) if knob in row.params else "" for knob in knobs)]

    return Table(
        title, [*aims, *others.values(), *short_names(knobs).values()], {row.number: cells(row) for row in rows}
    )


def finals_table(held: Sequence[Standing], goal: Goal) -> Table:
    """The finalists, the winner first: their value in the search, and the mean of their new seeds."""

    def cells(one: Standing) -> list[str]:
        values = (one.row.value or 0.0, one.result.mean, one.result.half)
        return [*map(figure, values), str(len(one.values))]

    head = ["in the search", "mean of new seeds", "± (95 %)", "seeds"]
    return Table(f"Finals, {goal.first.metric}", head, {one.row.number: cells(one) for one in held})


def results(rows: Sequence[Row], metrics: Mapping[int, Mapping[str, float]], goal: Goal) -> list[str]:
    """Lines on the best trials: objectives and some metrics of the last epoch (by trial), the searched knobs below."""
    aims = [part.metric for part in goal.objectives]
    others = {name: short for name, short in COLUMNS.items() if name not in aims}
    widths = [max(len(name), 8) for name in aims] + [max(len(short), 6) for short in others.values()]
    lines = [_columns("trial", [*aims, *others.values()], widths)] if rows else []
    for row in rows:
        found = metrics.get(row.number, {})
        values = [figure(score) for score in row.scores or (row.value or 0.0,)]
        values += [f"{found[name]:.4f}" if name in found else "-" for name in others]
        lines.append(_columns(f"{row.number:5d}", values, widths))
        lines += [f"       {params_line(row.params)}"] if row.params else []
    return lines


def _columns(first: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([first, *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
