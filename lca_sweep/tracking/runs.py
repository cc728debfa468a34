"""The runs of a sweep's trials: which there are, what they hold, and what is told of a trial written to its run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lca_sweep.tracking.entries import End, Epoch, Start
from lca_sweep.tracking.inputs import inputs_of
from lca_sweep.tracking.naming import describe_end, describe_trial, run_name
from lca_sweep.tracking.records import SweepRecord, user
from lca_sweep.tracking.store import Change, Found, Store
from lca_sweep.tracking.tracker import NO_TAGS, TRIAL_STATUS
from lca_sweep.tracking.writer import Refused

LEFT = "left."  # how tags begin that say why a trial left early
NOTE = "mlflow.note.content"


@dataclass
class _Run:
    """What a trial's run holds already."""

    id: str
    running: bool
    tags: dict[str, str]
    params: dict[str, str]
    steps: dict[str, int]  # the last epoch of each metric
    last: dict[str, float]  # of what the sweep is for, the value of that epoch
    has_inputs: bool = False
    ended: End | None = None  # as it was told


class Runs:
    """The Sink (see there) of a sweep: told twice, also after a restart, changes nothing.

    A refusal is taken for one only while the store knows the sweep's own run: else it is a wrong store, or none.
    """

    def __init__(self, store: Store, sweep: SweepRecord, parent: str) -> None:
        """Asks the store for the runs that there are; any of its exceptions."""
        self._store, self._sweep, self._parent = store, sweep, parent
        self._runs: dict[int, _Run] = {}
        self._unsure: set[int] = set()  # trials that may have a run that we do not know of
        self._doubt = False  # whether requests were given up that may still come through
        self._recall()

    @property
    def states(self) -> dict[int, str]:
        """The states of all trials that have a run."""
        return {
            number: "running" if run.running else run.tags.get("lca.state", "") for number, run in self._runs.items()
        }

    def id(self, number: int) -> str:
        """Id of a trial's run; empty if it has none."""
        return self._runs[number].id if number in self._runs else ""

    def start(self, start: Start) -> None:
        """See Sink. A run's params cannot change: Refused where a trial has come to other knobs."""
        with self._sure():
            run = self._runs.get(start.number) or self._create(start.number, start.time, start.tags, start.params)
            _same_params(start, run.params)
            tags = self._tags(start.number, start.tags, start.params)
            if not run.running or not tags.items() <= run.tags.items():
                old = [key for key in run.tags if key == "lca.reason" or key.startswith(LEFT)]
                self._store.change(Change(run.id, "RUNNING", tags | dict.fromkeys(old), 0))
                run.running, run.tags = True, tags
            run.ended = None
            if missing := {knob: value for knob, value in start.params.items() if knob not in run.params}:
                self._store.params(run.id, missing)
                run.params |= missing
            if self._sweep.data and not run.has_inputs:
                self._store.inputs(run.id, inputs_of(self._sweep.data))
                run.has_inputs = True

    def log(self, epochs: Sequence[Epoch]) -> None:
        """See Sink. Epochs ascend: what is there already is left out."""
        with self._sure():
            # a start that is lost (its line damaged) takes the params along, not the metrics
            run = self._runs.get(epochs[0].number) or self._create(epochs[0].number, epochs[0].time, {}, {})
            steps, new = dict(run.steps), []
            for epoch in epochs:
                fresh = {key: value for key, value in epoch.metrics.items() if steps.get(key, -1) < epoch.step}
                steps |= dict.fromkeys(fresh, epoch.step)
                new += [replace(epoch, metrics=fresh)] if fresh else []
            if new:
                self._store.log(run.id, new)
                run.steps = steps
                for epoch in new:
                    run.last |= {key: epoch.metrics[key] for key in self._sweep.goal.metrics if key in epoch.metrics}

    def end(self, end: End) -> None:
        """See Sink. Nothing happens for a trial that has no run, or whose end is recorded."""
        run = self._runs.get(end.number)
        if run is None:
            return
        run.ended = end
        if run.tags.get("lca.state") == end.state and not run.running:
            return
        tags = {"lca.state": end.state, **end.tags, NOTE: self._note(end, run)}
        tags |= {"lca.reason": end.reason} if end.reason else {}
        with self._sure():
            self._store.change(Change(run.id, TRIAL_STATUS[end.state], tags, end.time))
        run.running, run.tags = False, run.tags | tags

    def mark(self, tag: str, numbers: Collection[int]) -> None:
        """These trials' runs, and no other ones, have the tag `true`."""
        for number, run in self._runs.items():
            wanted = number in numbers
            if wanted != (tag in run.tags):
                with self._sure():
                    self._store.tag(run.id, {tag: "true" if wanted else None})
                run.tags = {**run.tags, tag: "true"} if wanted else {k: v for k, v in run.tags.items() if k != tag}

    def tidy(self) -> None:
        """Set right what a server that hung made of requests that had been given up: runs twice, ends undone."""
        if self._doubt:
            for found in self._recall():
                run = self._runs[int(found.tags["lca.trial"])]
                if run.ended and run.id == found.id and found.status == "RUNNING":
                    run.running = True
                    self.end(run.ended)
            self._doubt = False

    def _recall(self, tags: Mapping[str, str] = NO_TAGS) -> list[Found]:
        """Learn the runs with these tags; of two with one number (a lost answer to `create`) the empty one goes."""
        there = self._store.find({"mlflow.parentRunId": self._parent, "lca.kind": "trial", **tags})
        for found in sorted(there, key=_is_empty):
            known = self._runs.setdefault(int(found.tags["lca.trial"]), _run(found))
            if known.id != found.id and _is_empty(found):
                self._store.delete(found.id)
        return there

    def _create(self, number: int, time: int, tags: Mapping[str, str], params: Mapping[str, str]) -> _Run:
        if number in self._unsure:
            self._recall({"lca.trial": str(number)})
            self._unsure.discard(number)
            if number in self._runs:
                return self._runs[number]
        title, tags = run_name(number, params, tags), self._tags(number, tags, params)
        try:
            run = self._store.create(title, tags, time)
        except Exception:
            self._unsure.add(number)  # it may be there nonetheless
            raise
        self._runs[number] = made = _Run(run, True, dict(tags), {}, {}, {})
        return made

    def _note(self, end: End, run: _Run) -> str:
        """What the trial is, and how it ended; a metric that is not there is not told of."""
        what = describe_trial(end.number, run.params, run.tags, self._sweep.name)
        scores = {key: run.last[key] for key in self._sweep.goal.metrics if key in run.last}
        return f"{what}: {describe_end(end, max(run.steps.values(), default=0), scores)}"

    def _tags(self, number: int, tags: Mapping[str, str], params: Mapping[str, str]) -> dict[str, str]:
        return {
            **tags,
            NOTE: describe_trial(number, params, tags, self._sweep.name),
            "lca.kind": "trial",
            "lca.trial": str(number),
            "lca.state": "running",
            "mlflow.parentRunId": self._parent,
            **common_tags(self._sweep),
        }

    @contextmanager
    def _sure(self) -> Iterator[None]:
        try:
            yield
        except Refused:
            try:
                self._store.get(self._parent)  # deleted or not
            except Refused as error:
                raise ConnectionError(str(error)) from error
            raise
        except Exception:
            self._doubt = True
            raise


def common_tags(sweep: SweepRecord) -> dict[str, str]:
    """Tags of the sweep's run and of its trials' runs."""
    return {
        "lca.sweep": sweep.name,
        "lca.sweep_id": sweep.uid,
        "mlflow.user": user(),
        "mlflow.source.name": "lca_sweep",
        "mlflow.source.type": "LOCAL",
    }


def _run(found: Found) -> _Run:
    return _Run(
        found.id,
        found.status == "RUNNING",
        dict(found.tags),
        dict(found.params),
        dict(found.steps),
        dict(found.metrics),
        found.has_inputs,
    )


def _is_empty(found: Found) -> bool:
    return not found.params and not found.steps


def _same_params(start: Start, old: Mapping[str, str]) -> None:
    for name, value in start.params.items():
        if old.get(name, value) != value:
            raise Refused(
                f"trial {start.number}: {name}={value}: its run was started with {old[name]}; must be the same"
            )
