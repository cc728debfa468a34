"""The front page of a sweep in the MLflow UI: the description of its run, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lca_sweep.tracking.note import cell, how_to_load, link, table, tables
from lca_sweep.tracking.records import BestTrial, SweepEnd, SweepRecord, Table
from lca_sweep.tracking.registry import model_name
from lca_sweep.tracking.store import LONGEST_TAG
from lca_sweep.tracking.uri import model_place, run_place, runs_place

MOST = 10  # so many trials of a Pareto set are named
LEAF = {"low", "high", "choices", "value"}  # what says of a knob what it may be


@dataclass(frozen=True)
class Front:
    """The page of one sweep; `run` tells the id of a trial's run, or nothing."""

    sweep: SweepRecord
    experiment_id: str
    run: Callable[[int], str]

    def running(self) -> str:
        """While it runs: what it searches, what an earlier start has found, where to look."""
        found = [*map(self._table, self.sweep.tables)]
        return self._page("running", [], [*found, *self._search()])

    def ended(self, end: SweepEnd) -> str:
        """At its end: the best trial, the trials by state, the best ones side by side, all that the best came to."""
        told = [end.message] if end.message else []
        return self._page(end.status, [*told, self._best(end.best)], list(self._result(end)), end.question, end.best)

    def _page(
        self, state: str, news: Sequence[str], parts: Sequence[str], question: str = "", best: BestTrial | None = None
    ) -> str:
        """What counts comes first: the UI shows a few lines, and the rest to whoever asks for it."""
        asked, first = question or self.sweep.question, self.sweep.goal.first
        head = [*([asked] if asked else []), f"### Sweep `{self.sweep.name}`: {state}", *news]
        place = runs_place(self.experiment_id, self.sweep.uid, first)
        head.append(f"{link('All its runs', place)}, by {first.metric}, the best first.")
        return _fitting([*head, *parts, *self._practice(best)])

    def _best(self, best: BestTrial | None) -> str:
        if best is None:
            return "No trial is complete."
        return f"**Best: {self._trial(best.number, 'trial ')}** with {best.value:.6g} (tag `best`)"

    def _result(self, end: SweepEnd) -> Iterator[str]:
        yield table("Trials", "", end.counts.items())
        if end.pareto:
            names = ", ".join(f"{number:04d}" for number in end.pareto[:MOST])
            more = f" and {len(end.pareto) - MOST} more" if len(end.pareto) > MOST else ""
            yield f"Pareto set, by the first objective: trials {names}{more} (tag `pareto`)"
        yield from map(self._table, end.tables)
        if end.best:
            yield _headed(f"Trial {end.best.number:04d}", "\n\n".join(tables(end.best)))

    def _search(self) -> list[str]:
        """What is searched, and for what."""
        goal = self.sweep.goal
        rows = [("objective", ", ".join(map(str, goal.objectives)))]
        rows += [("constraint", str(bound)) for bound in goal.constraints]
        return [_headed("The search", table("", "", [*rows, *_leaves(self.sweep.space)]))]

    def _practice(self, best: BestTrial | None) -> list[str]:
        """What to type, where things lie, how to open the model."""
        parts: list[str] = []
        if self.sweep.commands:
            typed = "\n".join(f"{command}  # {what}" for what, command in self.sweep.commands.items())
            parts.append(_headed("What to type", f"```sh\n{typed}\n```"))
        if self.sweep.places:
            rows = [(what, f"`{where}`") for what, where in self.sweep.places.items()]
            parts.append(_headed("Where things lie", table("", "", rows)))
        if best and best.artifacts:
            model = model_name(self.sweep.name)
            place = f"{link(model, model_place(model))} in the registry"
            parts.append(_headed("The model", f"{place}\n\n{how_to_load(model, best.algorithm)}"))
        return parts

    def _table(self, told: Table) -> str:
        head = ["trial", *told.head]
        lines = ["| " + " | ".join(map(cell, head)) + " |", "| " + " | ".join(["---:"] * len(head)) + " |"]
        for number, cells in told.trials.items():
            lines.append("| " + " | ".join([self._trial(number), *map(cell, cells)]) + " |")
        return _headed(told.title, "\n".join(lines))

    def _trial(self, number: int, word: str = "") -> str:
        run = self.run(number)
        return link(f"{word}{number:04d}", run_place(self.experiment_id, run) if run else "")


def _headed(title: str, content: str) -> str:
    """With a heading, for the UI leaves no room between two tables."""
    return f"### {title}\n\n{content}"


def _fitting(parts: list[str]) -> str:
    """As many of the parts, from the first on, as MLflow keeps: a part that is cut off could be misread."""
    while len(whole := "\n\n".join(parts)) > LONGEST_TAG and len(parts) > 1:
        parts = parts[:-1]
    return whole


def _leaves(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The knobs of a search space as it was written, with what they may be."""
    for name, value in space.items():
        if isinstance(value, Mapping) and not value.keys() & LEAF:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str)
