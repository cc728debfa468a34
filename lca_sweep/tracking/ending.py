"""The end of a sweep as MLflow gets it: first what the run itself says, then the files, last the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from lca_sweep.tracking.entries import Epoch
from lca_sweep.tracking.front import Front
from lca_sweep.tracking.note import text
from lca_sweep.tracking.publishing import publish
from lca_sweep.tracking.records import SweepEnd, SweepRecord
from lca_sweep.tracking.runs import NOTE, Runs
from lca_sweep.tracking.store import Change, Store
from lca_sweep.tracking.tracker import SWEEP_STATUS, known
from lca_sweep.tracking.writer import Refused

BEST = "best"  # tag of the best trial
PARETO = "pareto"  # tag of the trials that no other one dominates, where a sweep has several objectives
MODEL = "the model of the best trial"


@dataclass(frozen=True)
class Ending:
    """The end of one sweep, told at `now` (milliseconds since 1970). Everything may be done again: nothing changes."""

    store: Store
    runs: Runs
    sweep: SweepRecord
    parent: str  # run id
    end: SweepEnd
    now: int

    def close(self) -> None:
        """The parent's metrics, tags, description and status."""
        self.runs.tidy()
        self.runs.mark(PARETO, self.end.pareto)
        end, best = self.end, self.end.best
        self.runs.mark(BEST, [best.number] if best else [])
        run = self.runs.id(best.number) if best else ""
        front = Front(self.sweep, self.store.experiment_id, self.runs.id)
        tags = {"lca.state": end.status, NOTE: front.ended(end)}
        ended = {state: count for state, count in end.counts.items() if state != "running"}
        metrics = {f"trials/{state}": float(count) for state, count in ended.items()}
        if end.message:
            tags["lca.message"] = end.message
        if best:
            # tags and metrics, for an extended sweep may come to another best: params could not change
            tags |= {"best.trial": str(best.number), "best.run_id": run}
            tags |= {f"best.{name}": text(value) for name, value in best.knobs.items()}
            metrics |= {"best/value": best.value, **{f"best/{key}": value for key, value in best.metrics.items()}}
        self._log(sum(ended.values()), {**metrics, **end.finals})
        self.store.change(Change(self.parent, known(end.status, SWEEP_STATUS), tags, self.now))

    def files(self) -> Mapping[str, Callable[[], None]]:
        """What is to be uploaded, by what it is, the most important first."""
        end, best = self.end, self.end.best
        things: dict[str, Callable[[], None]] = {}
        if best and best.artifacts:
            things["the best network"] = partial(self.store.folder, self.parent, best.artifacts, "best")
        if end.report:
            things["the report"] = partial(self.store.folder, self.parent, end.report, "report")
        for number in sorted(end.trial_files):
            things[f"the analysis of trial {number}"] = partial(self._analysis, number)
        if best and best.artifacts:
            run = self.runs.id(best.number)
            things[MODEL] = partial(publish, self.store, self.sweep, self.parent, best, best.artifacts, run)
        return things

    def _analysis(self, number: int) -> None:
        run = self.runs.id(number)
        if not run:
            raise Refused("it has no run")
        self.store.folder(run, self.end.trial_files[number], "analysis")

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        """The parent's metrics have the number of ended trials as their step; what is there already is left out."""
        there = self.store.get(self.parent)
        latest = {key: (there.steps[key], value) for key, value in there.metrics.items()}
        new = {key: float(value) for key, value in metrics.items() if latest.get(key) != (step, float(value))}
        if new:
            self.store.log(self.parent, [Epoch(-1, self.now, step, new)])  # the parent has no number
