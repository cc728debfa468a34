"""What a sweep has come to: its best trials, in the terminal and for the tracker."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lca_sweep.config import Config
from lca_sweep.core.knobs import flat
from lca_sweep.core.objective import Goal
from lca_sweep.report.intervals import Sample, sample
from lca_sweep.search.rows import Row
from lca_sweep.search.study import Study
from lca_sweep.sweep import layout
from lca_sweep.sweep.finals import Standing, knobs_of, lines, standings, test_line, winner
from lca_sweep.sweep.gather import last_metrics
from lca_sweep.sweep.storage import Storage, StorageError, fetched
from lca_sweep.sweep.telling import best_table, finals_table, results
from lca_sweep.sweep.view import View
from lca_sweep.sweep.words import command, in_words, plural, trials
from lca_sweep.tracking import BestTrial, Table, Tracker, ui_command

BEST, FRONT = 5, 10  # so many trials are told of: the best ones, or of a Pareto set
TEST = "test/accuracy"


@dataclass(frozen=True)
class Outcome:
    """Reads what the study and the storage hold, at any time."""

    path: Path  # the sweep's folder
    config: Config
    study: Study
    storage: Storage
    view: View

    def best(self, scratch: Path) -> BestTrial | None:
        """The best trial; its files are in the storage's folder, or copied into `scratch`."""
        row = winner(self.study.rows(), self.study.goal)
        if row is None:
            return None
        _, metrics = last_metrics(self.storage, row.number)
        try:
            artifacts = fetched(self.storage, layout.trial(row.number), scratch) if metrics else None
        except (StorageError, OSError) as error:  # the latter where copies cannot be put
            self.view.say(str(error))
            artifacts = None
        algorithm = flat(knobs_of(self.config, row))["trainer.algorithm"]
        return BestTrial(row.number, row.value or 0.0, metrics, row.params, artifacts, algorithm)

    def front(self) -> list[int]:
        """The Pareto set of a sweep with several objectives, by the first one; nothing where there is only one."""
        return [row.number for row in self.study.pareto()] if len(self.study.goal.objectives) > 1 else []

    def tables(self) -> list[Table]:
        """The best trials, or some of the Pareto set, and the finals, side by side; nothing while there are none."""
        goal, held = self.study.goal, standings(self.study.rows(), self.study.goal)
        front = self.study.pareto() if len(goal.objectives) > 1 else []
        rows = front[:FRONT] or self.study.best(FRONT)
        title = "Pareto set" if front else "The best"
        return [
            *([best_table(title, rows, self._last_metrics(rows), goal)] if rows else []),
            *([finals_table(held, goal)] if held else []),
        ]

    def tell(self, headline: str, tracker: Tracker, report: Path | None = None) -> None:
        """Counts, the best trials, what failed, and the way to the report and to the MLflow UI."""
        say = self.view.say
        say(f"{headline}: {in_words(self.study.counts(), runs=False) or 'no trial'}")
        for line in [*self._best(), *self._finals()]:
            say(line)
        for line in failures(self.study.rows()):
            say(line)
        if report:
            say(f"report: {os.path.relpath(report)}")
        for line in self._ui(tracker):
            say(line)

    def _best(self) -> list[str]:
        """The best trials, or the Pareto set; and whether none of them keeps the constraints."""
        goal, best = self.study.goal, self.study.best(BEST)
        kept = self.study.pareto()
        lines = []
        if best and not kept:
            lines.append(f"no trial keeps {' and '.join(map(str, goal.constraints))}; the nearest come first:")
        elif kept and len(goal.objectives) > 1:
            best = kept[:FRONT]
            some = f", {FRONT} of them" if len(kept) > FRONT else ""
            lines.append(f"Pareto set: {plural(len(kept), 'trial')}{some}, by {goal.first.metric}")
        return lines + results(best, self._last_metrics(best), goal)

    def _last_metrics(self, rows: Sequence[Row]) -> dict[int, Mapping[str, float]]:
        return {row.number: self._shown(row.number) for row in rows}

    def finals(self) -> Mapping[str, float]:
        """What the winner's new seeds have come to, as metrics; nothing without finals."""
        held = standings(self.study.rows(), self.study.goal)
        if not held:
            return {}
        result, test = held[0].result, self._test(held[0])
        told = {"finals/mean": result.mean, "finals/half": result.half, "finals/seeds": float(result.count)}
        told |= {"finals/test_accuracy": test.mean, "finals/test_half": test.half} if test else {}
        return {name: value for name, value in told.items() if math.isfinite(value)}

    def _finals(self) -> list[str]:
        held = standings(self.study.rows(), self.study.goal)
        test = self._test(held[0]) if held else None
        return [*lines(held, self.study.goal.first.metric), *([test_line(test)] if test else [])]

    def _test(self, standing: Standing) -> Sample | None:
        """Test accuracy of the new seeds; nothing where it cannot be read."""
        found = [last_metrics(self.storage, row.number)[1].get(TEST) for row in standing.replicates]
        values = [value for value in found if value is not None]
        return sample(values) if values else None

    def _shown(self, number: int) -> Mapping[str, float]:
        """A trial's last metrics; where there are finals, test accuracy is kept for their winner."""
        metrics = last_metrics(self.storage, number)[1]
        return {name: value for name, value in metrics.items() if name != TEST or not self.config.sweep.replicates}

    def _ui(self, tracker: Tracker) -> list[str]:
        """How to look at the runs."""
        if ui_command(self.config.tracking.uri).startswith("mlflow "):  # a file or a database, which nobody serves yet
            return [f"MLflow UI: {command('ui', self.path)}"]
        return [
            "MLflow, this sweep's runs, the best first, and its own page:",
            f"  {tracker.page}",
            f"  {tracker.front}",
        ]


def failures(rows: Sequence[Row]) -> list[str]:
    """A line for each reason for which trials failed."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.state == "failed":
            found.setdefault(re.sub(r" at epoch \d+$", "", row.reason), []).append(row)
    return [
        f"{trials([row.number for row in alike])} failed: {alike[0].reason if len(alike) == 1 else reason}"
        for reason, alike in found.items()
    ]


def goal_tags(goal: Goal) -> dict[str, str]:
    """What the search is for, as tags of the sweep's run."""
    bounds = {"lca.constraints": ", ".join(map(str, goal.constraints))} if goal.constraints else {}
    return {"lca.objectives": ", ".join(map(str, goal.objectives)), **bounds}
