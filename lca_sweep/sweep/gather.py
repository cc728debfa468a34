"""All that a report is made of, from what the study and the storage hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lca_sweep.config import Config
from lca_sweep.core.data import Splits
from lca_sweep.core.knobs import flat
from lca_sweep.core.network import ABOUT
from lca_sweep.core.objective import Goal
from lca_sweep.core.recorded import TEST
from lca_sweep.report.results import Analysis, DataInfo, Final, Series, SweepResult, TrialResult
from lca_sweep.search.reading import importances
from lca_sweep.search.rows import Row, misfit
from lca_sweep.search.space import Space
from lca_sweep.sweep import checkpoint, layout
from lca_sweep.sweep.finals import knobs_of, standings
from lca_sweep.sweep.folder import plain_config
from lca_sweep.sweep.storage import Storage, StorageError

History = dict[str, Series]


@dataclass(frozen=True)
class Source:
    """A sweep with all that is known of it."""

    name: str
    uid: str
    path: Path
    config: Config
    space: Space
    rows: Sequence[Row]
    storage: Storage
    data: Splits
    tags: Mapping[str, str]
    page: str = ""  # of the MLflow UI


def gather(source: Source, analyses: Mapping[int, Analysis]) -> SweepResult:
    """The sweep as a report has it. Raises StorageError if the checkpoints cannot be listed."""
    space = Space.of(source.space)
    # others were put in by hand, with what this sweep cannot have
    rows = [row for row in source.rows if space.exact(row.params) and not misfit(row.params, space)]
    goal = source.config.search.goal()
    held = finals(rows, goal)
    history = histories(source.storage, rows, source.uid)
    if held or source.config.sweep.replicates:
        history = _without_test(history, held[0].replicates if held else ())
    epoch, shares = importances(rows, space, goal.first.maximize)

    def one(row: Row) -> TrialResult:
        whole = flat(knobs_of(source.config, row))
        number = row.number
        return TrialResult(
            number,
            row.state,
            row.value,
            row.reason,
            row.params,
            whole,
            history[number],
            analyses.get(number),
            scores=row.scores,
            violations=row.violations,
            source=row.source,
            replicate=row.replicate,
        )

    return SweepResult(
        name=source.name,
        uid=source.uid,
        question=source.config.sweep.question,
        objective=goal.first.metric,
        folder=str(source.path),
        data=_data_info(source.data),
        trials=tuple(one(row) for row in rows),
        importances=shares,
        importances_at=epoch,
        finals=held,
        config=plain_config(source.config),
        provenance=source.tags,
        page=source.page,
        goal=goal,
    )


def finals(rows: Sequence[Row], goal: Goal) -> tuple[Final, ...]:
    """The finalists as a report has them, the winner first."""
    return tuple(
        Final(
            one.row.number,
            tuple(row.number for row in one.replicates),
            tuple(one.values),
            mean.mean,
            mean.half,
            one.excess,
        )
        for one in standings(rows, goal)
        for mean in [one.result]
    )


def _without_test(history: Mapping[int, History], winner: Sequence[int]) -> dict[int, History]:
    """Test images are looked at once where there are finals, when they are over: for the new seeds of their winner."""
    return {
        number: {name: found for name, found in metrics.items() if number in winner or name not in TEST}
        for number, metrics in history.items()
    }


def histories(storage: Storage, rows: Sequence[Row], uid: str) -> dict[int, History]:
    """Every metric of each trial by epoch: of its pack's newest checkpoint, or the last one, kept with its weights."""
    found: dict[int, History] = {row.number: {} for row in rows}
    packs: dict[tuple[int, ...], set[int]] = {}
    for row in rows:
        if row.pack is not None:
            packs.setdefault((row.pack, *row.origins), set()).add(row.number)
    for pack, members in packs.items():
        found |= _series(checkpoint.newest_history(storage, pack, uid), members)
    for row in rows:
        if row.state == "complete" and not found[row.number]:
            found[row.number] = _last_of(storage, row.number)
    return found


def _series(reports: Iterable[Mapping[str, Any]], members: set[int]) -> dict[int, History]:
    points: dict[int, dict[str, list[tuple[int, float]]]] = {number: {} for number in members}
    for report in reports:
        for trial in report["trials"]:
            if trial["trial"] in members:
                for name, value in trial["metrics"].items():
                    points[trial["trial"]].setdefault(name, []).append((report["epoch"], value))
    return {number: {name: _of_points(pairs) for name, pairs in metrics.items()} for number, metrics in points.items()}


def _of_points(points: Sequence[tuple[int, float]]) -> Series:
    return Series(np.array([epoch for epoch, _ in points]), np.array([value for _, value in points], dtype=float))


def _last_of(storage: Storage, number: int) -> History:
    epoch, metrics = last_metrics(storage, number)
    return {name: _of_points([(epoch, value)]) for name, value in metrics.items()}


def last_metrics(storage: Storage, number: int) -> tuple[int, Mapping[str, float]]:
    """The last epoch of a complete trial and its metrics, as its worker wrote them; none where that cannot be read."""
    with suppress(StorageError, ValueError, LookupError, TypeError):
        about = json.loads(storage.read(f"{layout.trial(number)}/{ABOUT}") or b"null")
        return about["epoch"], about["metrics"]
    return 0, {}


def _data_info(data: Splits) -> DataInfo:
    parts = (data.train, data.validation, data.test)
    train, validation, test = (len(part.y) for part in parts)
    return DataInfo(data.name, data.digest, data.inputs, data.classes, data.shape, (train, validation, test))
