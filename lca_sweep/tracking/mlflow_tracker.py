"""A sweep in MLflow: one parent run, one nested run for each trial, metrics written by a thread."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import yaml

from lca_sweep.config import without_password
from lca_sweep.core.errors import first_line
from lca_sweep.tracking.note import describe, text
from lca_sweep.tracking.records import SweepEnd, SweepRecord, TrackingError, TrialRecord
from lca_sweep.tracking.store import Store, milliseconds, param_text
from lca_sweep.tracking.tracker import SWEEP_STATUS, TRIAL_STATUS, known
from lca_sweep.tracking.uri import page
from lca_sweep.tracking.writer import DELAYS, Change, Epoch, Refused, Unwritten, Writer, patiently

T = TypeVar("T")


@dataclass
class _Trial:
    """What is known of a trial's run, counting what is still in the queue."""

    run: str
    state: str  # as in lca.state; empty if it never got that far
    running: bool
    params: dict[str, str]
    steps: dict[str, int] = field(default_factory=dict)  # the last epoch of each metric


class MlflowTracker:
    """Tracker (see there) on an MLflow store."""

    def __init__(self, store: Store, uri: str, delays: Sequence[float] = DELAYS) -> None:
        self._store, self._uri, self._delays = store, uri, tuple(delays)
        self._writer = Writer(store, delays)
        self._sweep: SweepRecord | None = None
        self._parent = ""  # its run id
        self._trials: dict[int, _Trial] = {}
        self._told = False  # that something is not recorded

    @property
    def page(self) -> str:
        """Address of the experiment's table of runs."""
        return page(self._uri, self._store.experiment_id)

    def start_sweep(self, sweep: SweepRecord) -> str:
        """See Tracker."""
        if self._sweep is None or self._sweep.uid != sweep.uid:
            self._trials.clear()
        self._sweep = sweep
        with self._for_user(f"sweep {sweep.name}"):
            self._parent = self._try(partial(self._start_sweep, sweep))
            for name, content in (("config.yaml", sweep.config), ("space.yaml", sweep.space)):
                document = yaml.safe_dump(_plain(content), sort_keys=False)
                self._try(partial(self._store.text, self._parent, document, name))
        return self._parent

    def start_trials(self, trials: Sequence[TrialRecord]) -> list[str]:
        """See Tracker. A run's params cannot change: TrackingError where a trial has come to other knobs."""
        runs = []
        for trial in trials:
            with self._for_user(f"trial {trial.number}"):
                runs.append(self._try(partial(self._start_trial, trial)))
        return runs

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Tracker. LookupError for a trial that never started."""
        trial = self._trials[number]
        new = {key: float(value) for key, value in metrics.items() if trial.steps.get(key, -1) < epoch}
        if new:
            trial.steps.update(dict.fromkeys(new, epoch))
            self._writer.put(Epoch(trial.run, epoch, milliseconds(), new))

    def end_trial(self, number: int, state: str, reason: str = "") -> None:
        """See Tracker."""
        status = known(state, TRIAL_STATUS)
        trial = self._trials.get(number)
        if trial is None or (trial.state == state and not trial.running):
            return
        trial.state, trial.running = state, False
        tags = {"lca.state": state} | ({"lca.reason": reason} if reason else {})
        self._writer.put(Change(trial.run, status, tags))

    def flush(self) -> bool:
        """See Tracker."""
        return self._writer.flush() is None

    def end_sweep(self, end: SweepEnd) -> None:
        """See Tracker."""
        status = known(end.status, SWEEP_STATUS)
        for number in [number for number, trial in self._trials.items() if trial.running]:
            self.end_trial(number, "interrupted")
        unwritten = self._writer.flush()
        with self._for_user("the end of the sweep"):
            self._try(partial(self._end_sweep, end, status))
        self._tell(unwritten)

    def close(self) -> None:
        """See Tracker."""
        self._tell(self._writer.close())

    def _start_sweep(self, sweep: SweepRecord) -> str:
        tags = {
            **sweep.tags,
            "lca.kind": "sweep",
            "lca.state": "running",
            "lca.folder": str(sweep.folder.absolute()),
            **self._common_tags(sweep),
        }
        found = self._store.find({"lca.sweep_id": sweep.uid, "lca.kind": "sweep"})
        if not found:
            return self._store.create(sweep.name, tags)
        self._store.change(Change(found[0].id, "RUNNING", tags | dict.fromkeys({"lca.message"} & found[0].tags.keys())))
        self._recall(found[0].id)
        return found[0].id

    def _recall(self, parent: str) -> None:
        """Learn the parent's runs; of two with one number (a lost answer to `create`) the older counts."""
        for run in self._store.find({"mlflow.parentRunId": parent, "lca.kind": "trial"}):
            state = run.tags.get("lca.state", "")
            trial = _Trial(run.id, state, run.status == "RUNNING", dict(run.params), dict(run.steps))
            self._trials.setdefault(int(run.tags["lca.trial"]), trial)

    def _start_trial(self, trial: TrialRecord) -> str:
        params = {name: param_text(text(value)) for name, value in trial.knobs.items()}
        known_trial = self._trials.get(trial.number)
        if known_trial is None:
            known_trial = self._create(trial)
        else:
            _same_params(known_trial.params, params)
            # in the queue, since an end may still be in it
            self._writer.put(Change(known_trial.run, "RUNNING", {**self._trial_tags(trial), "lca.reason": None}))
        if missing := {name: value for name, value in params.items() if name not in known_trial.params}:
            self._store.params(known_trial.run, missing)
            known_trial.params |= missing
        known_trial.state, known_trial.running = "running", True
        return known_trial.run

    def _create(self, trial: TrialRecord) -> _Trial:
        try:
            run = self._store.create(f"{trial.number:04d}", self._trial_tags(trial))
        except Exception:
            self._recall(self._parent)  # it may be there nonetheless
            raise
        self._trials[trial.number] = made = _Trial(run, "running", True, {})
        return made

    def _trial_tags(self, trial: TrialRecord) -> dict[str, str]:
        assert self._sweep is not None, "start_sweep comes first"
        return {
            **trial.tags,
            "lca.kind": "trial",
            "lca.trial": str(trial.number),
            "lca.pack": str(trial.pack),
            "lca.state": "running",
            "lca.searched": ",".join(sorted(trial.searched)),
            "mlflow.parentRunId": self._parent,
            **self._common_tags(self._sweep),
        }

    def _common_tags(self, sweep: SweepRecord) -> dict[str, str]:
        return {
            "lca.sweep": sweep.name,
            "lca.sweep_id": sweep.uid,
            "mlflow.user": _user(),
            "mlflow.source.name": "lca_sweep",
            "mlflow.source.type": "LOCAL",
        }

    def _end_sweep(self, end: SweepEnd, status: str) -> None:
        assert self._sweep is not None, "start_sweep comes first"
        best = end.best
        run = self._trials[best.number].run if best and best.number in self._trials else ""
        tags = {"lca.state": end.status, "mlflow.note.content": describe(self._sweep.name, end, run)}
        metrics = {f"trials/{state}": float(count) for state, count in end.counts.items()}
        if end.message:
            tags["lca.message"] = end.message
        if best:
            # tags and metrics, for an extended sweep may come to another best: params could not change
            tags |= {"best.trial": str(best.number), "best.run_id": run}
            tags |= {f"best.{name}": text(value) for name, value in best.knobs.items()}
            metrics |= {"best/value": best.value, **{f"best/{key}": value for key, value in best.metrics.items()}}
        if best and best.artifacts:
            self._store.folder(self._parent, best.artifacts, "best")
        self._log_parent(sum(end.counts.values()), metrics)
        self._store.change(Change(self._parent, status, tags))

    def _log_parent(self, step: int, metrics: Mapping[str, float]) -> None:
        """The parent's metrics have the number of trials as their step; what is there already is left out."""
        there = self._store.get(self._parent)
        latest = {key: (there.steps[key], value) for key, value in there.metrics.items()}
        new = {key: float(value) for key, value in metrics.items() if latest.get(key) != (step, float(value))}
        if new:
            self._store.log(self._parent, [Epoch(self._parent, step, milliseconds(), new)])

    def _try(self, attempt: Callable[[], T]) -> T:
        return patiently(attempt, self._delays)

    @contextmanager
    def _for_user(self, what: str) -> Iterator[None]:
        """Whatever stops a call to the store becomes one line; the error itself stays behind it."""
        try:
            yield
        except (AssertionError, TrackingError):
            raise
        except Exception as error:
            raise TrackingError(f"tracking.uri={without_password(self._uri)}: {what}: {first_line(error)}") from error

    def _tell(self, unwritten: Unwritten | None) -> None:
        if unwritten and not self._told:
            self._told = True
            raise TrackingError(f"tracking.uri={without_password(self._uri)}: {unwritten}") from unwritten.error


def _same_params(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    for name, value in new.items():
        if old.get(name, value) != value:
            raise Refused(f"{name}={value}: its run was started with {old[name]}; must be the same")


def _plain(value: object) -> object:
    """Nested mappings and sequences as dicts and lists, which YAML writes plainly."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"
