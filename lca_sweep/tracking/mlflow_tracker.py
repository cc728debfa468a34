"""A sweep in MLflow: one parent run, one nested run for each trial, which are written by way of the outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Timer
from typing import TypeVar

import yaml

from lca_sweep.config import without_password
from lca_sweep.core.errors import first_line
from lca_sweep.tracking.delivery import deliver, in_words
from lca_sweep.tracking.ending import MODEL, Ending
from lca_sweep.tracking.entries import Amount, End, Entry, Epoch, Start, amount_of
from lca_sweep.tracking.front import Front
from lca_sweep.tracking.inputs import inputs_of
from lca_sweep.tracking.note import text
from lca_sweep.tracking.outbox import Outbox
from lca_sweep.tracking.records import SweepEnd, SweepRecord, TrackingError, TrialRecord
from lca_sweep.tracking.runs import NOTE, Runs, common_tags
from lca_sweep.tracking.store import Change, Store, milliseconds, param_text
from lca_sweep.tracking.tracker import LAST_WORDS, NO_TAGS, PATIENCE, SWEEP_STATUS, TRIAL_STATUS, known
from lca_sweep.tracking.uri import page, run_page
from lca_sweep.tracking.writer import DELAYS, REST, Refused, Writer, patiently

T = TypeVar("T")

FIRST_WORDS = 8.0  # seconds for a store that had answered a moment ago
MOMENT = 2.0  # seconds that nobody minds


class MlflowTracker:
    """Tracker (see there) on an MLflow store."""

    def __init__(
        self,
        store: Store,
        uri: str,
        outbox: Path,
        delays: Sequence[float] = DELAYS,
        rest: tuple[float, float] = REST,
    ) -> None:
        self._store, self._uri, self._folder = store, uri, outbox
        self._delays, self._rest = tuple(delays), rest
        self._sweep: SweepRecord | None = None
        self._parent = ""  # its run id
        self._states: dict[int, str] = {}  # of all trials that started, as last told
        self._told = False  # that something is not recorded
        self._missing: dict[str, Exception] = {}  # files that are not uploaded
        self._abandoned = Event()
        self._outbox: Outbox  # these three from `start_sweep` on
        self._runs: Runs
        self._writer: Writer

    @property
    def page(self) -> str:
        """See Tracker; before there is a sweep, of all the experiment's runs."""
        sweep = self._sweep
        own = (sweep.uid, sweep.goal.first) if sweep else ()
        return page(self._uri, self._store.experiment_id, *own)

    @property
    def front(self) -> str:
        """See Tracker."""
        return run_page(self._uri, self._store.experiment_id, self._parent) if self._parent else ""

    @property
    def trouble(self) -> str:
        """See Tracker."""
        return without_password(self._writer.trouble) if self._sweep else ""

    def start_sweep(self, sweep: SweepRecord) -> str:
        """See Tracker. A tracker is for one sweep (ValueError)."""
        if self._abandoned.is_set():
            return self._parent
        if self._sweep and self._sweep.uid != sweep.uid:
            raise ValueError(f"sweep {sweep.name}: the tracker is at another one")
        if self._sweep:
            self._write_sweep(sweep)
        else:
            self._begin(sweep)
        self._sweep = sweep
        if self._abandoned.is_set():  # meanwhile
            self._writer.abandon()
        return self._parent

    def start_trials(self, trials: Sequence[TrialRecord]) -> None:
        """See Tracker."""
        for trial in trials:
            params = {name: param_text(text(value)) for name, value in trial.knobs.items()}
            own = {"lca.pack": str(trial.pack), "lca.searched": ",".join(sorted(trial.searched))}
            self._tell(Start(trial.number, milliseconds(), params, {**trial.tags, **own}))
            self._states[trial.number] = "running"

    def log(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Tracker."""
        if number not in self._states:
            raise LookupError(f"trial {number} has not started")
        self._tell(Epoch(number, milliseconds(), epoch, {key: float(value) for key, value in metrics.items()}))

    def end_trial(self, number: int, state: str, reason: str = "", tags: Mapping[str, str] = NO_TAGS) -> None:
        """See Tracker."""
        known(state, TRIAL_STATUS)
        if self._states.get(number, state) != state:
            self._tell(End(number, milliseconds(), state, reason, dict(tags)))
            self._states[number] = state

    def settle(self) -> None:
        """See Tracker."""
        if not self._abandoned.is_set():
            self._outbox.settle()

    def flush(self, patience: float = LAST_WORDS) -> bool:
        """See Tracker."""
        return self._writer.wait(patience) and not self._writer.refused[0]

    def end_sweep(self, end: SweepEnd, patience: float = PATIENCE, say: Callable[[str], None] | None = None) -> None:
        """See Tracker."""
        known(end.status, SWEEP_STATUS)
        if self._abandoned.is_set():
            return
        assert self._sweep is not None, "start_sweep comes first"
        say = say or (lambda line: None)
        full = self._interrupt()
        for line in list(self._outbox.damaged):
            say(line)
        with self._saying(say):
            if not self._writer.wait(patience):
                self._confess()
            with self._for_user("the end of the sweep", "; the same command again records it"):
                ending = Ending(self._store, self._runs, self._sweep, self._parent, end, milliseconds())
                patiently(partial(self._unless_abandoned, ending.close), patience, self._delays)
            self._deliver(ending, patience, say)
        if self._abandoned.is_set():  # meanwhile
            return
        self._outbox.close()
        self._confess()
        if full:
            raise full

    def abandon(self) -> None:
        """See Tracker."""
        self._abandoned.set()
        if self._sweep:
            self._writer.abandon()

    def close(self, patience: float = LAST_WORDS) -> None:
        """See Tracker."""
        if self._sweep is None:
            return
        if self._abandoned.is_set():
            self._outbox.let_go()
            return
        until = time.monotonic() + patience
        if not self._told:
            self._writer.wait(patience, limit=patience)
        self._writer.stop(until - time.monotonic())
        self._outbox.close()
        self._confess()

    def _begin(self, sweep: SweepRecord) -> None:
        self._outbox = Outbox(self._folder, sweep.uid)
        left, told, states = _former(self._outbox.left())  # refused before anything is written
        self._write_sweep(sweep)
        with self._for_user(f"the trials of sweep {sweep.name}"):
            self._runs = self._try(partial(Runs, self._store, sweep, self._parent))
            front = Front(sweep, self._store.experiment_id, self._runs.id).running()
            self._try(partial(self._store.tag, self._parent, {NOTE: front}))
        self._states = dict.fromkeys(told, "running") | self._runs.states | states
        self._writer = Writer(self._outbox, self._runs, left, self._delays, self._rest)

    def _write_sweep(self, sweep: SweepRecord) -> None:
        with self._for_user(f"sweep {sweep.name}"):
            self._parent = self._try(partial(self._start_sweep, sweep))
            if sweep.data:
                self._try(partial(self._store.inputs, self._parent, inputs_of(sweep.data)))
            for name, content in (("config.yaml", sweep.config), ("space.yaml", sweep.space)):
                document = yaml.safe_dump(_plain(content), sort_keys=False)
                self._try(partial(self._store.text, self._parent, document, name))

    def _tell(self, entry: Entry) -> None:
        assert self._sweep is not None, "start_sweep comes first"
        self._writer.tell(entry)

    def _interrupt(self) -> TrackingError | None:
        """Trials that have not ended are interrupted; the error where the disk does not take that."""
        try:
            for number in [number for number, state in self._states.items() if state == "running"]:
                self.end_trial(number, "interrupted")
            self.settle()
        except TrackingError as error:
            return error
        return None

    def _start_sweep(self, sweep: SweepRecord) -> str:
        tags = {
            **sweep.tags,
            "lca.kind": "sweep",
            "lca.state": "running",
            "lca.folder": str(sweep.folder.absolute()),
            **common_tags(sweep),
        }
        found = self._store.find({"lca.sweep_id": sweep.uid, "lca.kind": "sweep"})
        if not found:
            return self._store.create(sweep.name, tags, milliseconds())
        old = dict.fromkeys({"lca.message"} & found[0].tags.keys())
        self._store.change(Change(found[0].id, "RUNNING", tags | old, milliseconds()))
        return found[0].id

    def _deliver(self, ending: Ending, patience: float, say: Callable[[str], None]) -> None:
        """Upload the files; what is missing is confessed later, but for the model, which not every store can take."""
        things = {what: partial(self._unless_abandoned, upload) for what, upload in ending.files().items()}
        self._missing = deliver(things, patience, self._delays)
        if isinstance(refusal := self._missing.get(MODEL), Refused):
            del self._missing[MODEL]
            say(without_password(f"{self._where}: {MODEL} is not registered: {first_line(refusal)}"))

    def _unless_abandoned(self, action: Callable[[], None]) -> None:
        if not self._abandoned.is_set():
            action()

    def _try(self, attempt: Callable[[], T]) -> T:
        return patiently(attempt, FIRST_WORDS, self._delays)

    @contextmanager
    def _for_user(self, what: str, then: str = "") -> Iterator[None]:
        """Whatever stops a call to the store becomes one line; the error itself stays behind it."""
        try:
            yield
        except (AssertionError, TrackingError):
            raise
        except Exception as error:
            raise TrackingError(f"{self._where}: {what}: {first_line(error)}{then}") from error

    @contextmanager
    def _saying(self, say: Callable[[str], None]) -> Iterator[None]:
        """Say what is waited for, once, if it is for longer than a moment."""
        timer = Timer(MOMENT, lambda: say(without_password(f"waiting for MLflow at {self._uri}: {self._wanting()}")))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _wanting(self) -> str:
        left = self._writer.left
        return self._writer.obstacle[0] or (f"{left} to go" if left else "the end of the sweep")

    def _confess(self) -> None:
        """TrackingError, once, where MLflow has not got all: what it may still get, and what it will not have."""
        left, (refused, refusal), (obstacle, error) = self._writer.left, self._writer.refused, self._writer.obstacle
        possible = any(not isinstance(why, Refused) for why in self._missing.values())
        parts = []
        if self._abandoned.is_set():
            return
        if left:
            kept = f"{left} are not recorded yet and kept in {self._folder}: the same command again records them"
            parts.append(f"{obstacle or 'too slow'}; {kept}")
        if refused and refusal:
            parts.append(f"{refused} were not recorded: {first_line(refusal)}")
        if self._missing:
            then = ": the same command again uploads them" if possible else ""
            parts.append(f"not uploaded: {in_words(self._missing)}{then}")
        if parts and not self._told:
            self._told = True
            trouble = TrackingError(f"{self._where}: {'; '.join(parts)}")
            trouble.status = 3 if left or possible else trouble.status
            raise trouble from error or refusal or next(iter(self._missing.values()), None)

    @property
    def _where(self) -> str:
        return f"tracking.uri={self._uri}"


def _former(left: Iterable[Entry]) -> tuple[Amount, set[int], dict[int, str]]:
    """How many entries a former process left, of which trials, and the states that they tell."""
    amount, told, states = Amount(), set(), {}
    for entry in left:
        amount += amount_of([entry])
        told.add(entry.number)
        if not isinstance(entry, Epoch):
            states[entry.number] = entry.state if isinstance(entry, End) else "running"
    return amount, told, states


def _plain(value: object) -> object:
    """Nested mappings and sequences as dicts and lists, which YAML writes plainly."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
