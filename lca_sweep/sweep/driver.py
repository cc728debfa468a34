"""The driver: from a config to a finished sweep."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lca_sweep.config import Config, KnobError
from lca_sweep.core.data import Splits
from lca_sweep.core.errors import UserError, first_line
from lca_sweep.core.knobs import replace
from lca_sweep.search.sampler import check_installed
from lca_sweep.search.space import Space, bounds
from lca_sweep.search.storage import database, journal
from lca_sweep.search.study import Study
from lca_sweep.sweep.cluster import connected
from lca_sweep.sweep.console import can_redraw, wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.finals import check_finals
from lca_sweep.sweep.folder import Folder, folder_path, is_known, lasting, opened, plain_config, write_config
from lca_sweep.sweep.gather import Source
from lca_sweep.sweep.ledger import Ledger
from lca_sweep.sweep.lock import Lost
from lca_sweep.sweep.looking import Look, one_by_one, side_by_side
from lca_sweep.sweep.noise import LOGS, aside, no_prints
from lca_sweep.sweep.outcome import Outcome, goal_tags
from lca_sweep.sweep.reporting import Report, data_of, data_tags, make_report
from lca_sweep.sweep.room import Resources
from lca_sweep.sweep.stopping import INTERRUPT, STUCK, Reason, Stopping
from lca_sweep.sweep.storage import Storage, StorageError, storage_at, storage_of
from lca_sweep.sweep.telling import commands, data_record, places
from lca_sweep.sweep.tuning import tune_packs
from lca_sweep.sweep.view import View
from lca_sweep.sweep.warm import warm_start
from lca_sweep.sweep.wishes import granted
from lca_sweep.sweep.words import command, duration, plural
from lca_sweep.tracking import PATIENCE, SweepEnd, SweepRecord, Tracker, TrackingError, check, open_tracker

DONE, NONE_COMPLETE = 0, 1
AT_ONCE = 2.0  # seconds for MLflow in place of PATIENCE; what it does not get then is kept for the next start


def run(config: Config, space: Space) -> int:
    """Run, resume or extend a sweep; the exit status.

    0: all trials ended, or the sweep's goal or time budget is reached; 1: all ended and none is complete; 3: something
    it needs was lost on the way (a disk, a database); 130, 143: interrupted, terminated. After 3, 130 and 143 the same
    command goes on. Everything that can be refused is refused before anything is written.
    """
    check_installed(config.search)
    data = data_of(config)
    _check_images(config, space, data)
    name = config.sweep.name or derived_name(config)
    path = folder_path(config, name)
    _check_storage(config)
    check_finals(config, space)
    warm = warm_start(config, space, name)
    check(config.tracking.uri)
    books = database(config.search.storage) if config.search.storage else None
    view, stopping = View(name, config), Stopping(config.sweep, goal=config.search.goal())
    with ExitStack() as stack:
        # what needs Ray for sure starts it first: should it not answer, nothing is written yet
        is_new = not is_known(path) or config.sweep.resume == "never"
        resources = _start_ray(config, stack) if is_new else None
        tracker = open_tracker(config.tracking.uri, config.tracking.experiment, path / "outbox")
        folder = stack.enter_context(opened(config, path, view.say))
        stack.enter_context(aside(folder.path / LOGS))
        stack.enter_context(_closing(tracker))  # before the folder's lock goes, under which the outbox is
        folder.lock.on_stop(partial(_asked_to_stop, stopping, tracker))
        study = Study.open(config, folder.study, space, books or journal(folder.path), view.warn)
        study.claim(folder.uid)
        warm.write(study)
        storage = storage_of(config, folder.path, folder.uid, folder.study)
        driver = _Driver(config, space, data, name, folder, storage, study, tracker, view, stopping)
        if resources is None and driver.work_left():
            resources = _start_ray(config, stack)
        stack.enter_context(stopping.signals())
        return driver.run(resources)


@contextmanager
def _closing(tracker: Tracker) -> Iterator[None]:
    """Close the tracker at the end; what was wrong before counts for more than what it has to say."""
    try:
        yield
    except BaseException:
        with suppress(TrackingError):
            tracker.close()
        raise
    tracker.close()


def _asked_to_stop(stopping: Stopping, tracker: Tracker, lost: Lost | None) -> None:
    """From the lock's thread: somebody asks for an end, or has taken the sweep over; then no store hears of us."""
    if lost:
        tracker.abandon()
        stopping.fail(lost)
    else:
        stopping.ask(Reason("asked to stop", INTERRUPT.status))


def _start_ray(config: Config, stack: ExitStack) -> Resources:
    console = wide_console()
    if not can_redraw(console):
        console.print("starting Ray")
        return stack.enter_context(connected(config.cluster))
    with console.status("starting Ray"):
        return stack.enter_context(connected(config.cluster))


@dataclass
class _Driver:
    """One start of one sweep, with all its parts in hand."""

    config: Config
    space: Space
    data: Splits
    name: str
    folder: Folder
    storage: Storage
    study: Study
    tracker: Tracker
    view: View
    stopping: Stopping

    def __post_init__(self) -> None:
        self.patience = PATIENCE  # with MLflow, at the end
        self.look: Look = one_by_one  # into trials, for the report
        self.tags = data_tags(self.data)
        self.ledger = Ledger(self.config, self.study, self.tracker, self.view, self.tags, self.stopping)
        self.view.trouble = lambda: self.tracker.trouble
        self.folder.lock.on_wish(self._grant)
        self.outcome = Outcome(self.config, self.study, self.storage, self.view)

    def _grant(self, wish: Mapping[str, Any]) -> None:
        """From the lock's thread: somebody asks for other numbers."""
        granted(self.ledger, wish)
        packs, trials = self.ledger.most, self.ledger.total
        with suppress(OSError):  # it is for those who look
            write_config(self.folder.path, replace(self.config, {"sweep.trials": trials, "cluster.packs": packs}))

    def work_left(self) -> bool:
        """Whether there is anything to train."""
        return self.stopping.reason is None and self.ledger.work_left()

    def run(self, resources: Resources | None) -> int:
        """Train what is left, on `resources` (None only where nothing is left), and close the books."""
        began, plain = time.monotonic(), plain_config(self.config)
        tags = {**self.tags, **goal_tags(self.study.goal)}
        self.tracker.start_sweep(
            SweepRecord(
                self.name,
                self.folder.uid,
                plain,
                plain["sweep"]["space"],
                tags,
                self.folder.path,
                goal=self.study.goal,
                data=data_record(self.data),
                question=self.config.sweep.question,
                commands=commands(self.folder),
                places=places(self.config, self.folder),
                tables=self.outcome.tables(),
            )
        )
        rows = self.study.rows()
        for row in rows:  # what the study has closed and the tracker not: a write that was not answered
            if row.state not in ("running", "waiting"):
                self.tracker.end_trial(row.number, row.state, row.reason)
        self.view.begin(rows)
        try:
            if resources:
                self._train(resources)
        except KeyboardInterrupt:
            self.patience = AT_ONCE
            if self.stopping.error:  # that it was stuck is what counts
                self._give_up(self.stopping.error)
                raise self.stopping.error from None
            self.stopping.ask(INTERRUPT)
        except BaseException as error:
            self._give_up(error)
            raise
        return self._end(began)

    def _train(self, resources: Resources) -> None:
        trials = plural(self.config.sweep.total(), "trial")
        self.view.say(f"sweep {self.name}: {trials} on {self.data.name}, in {self.folder.path}")
        self.ledger.tags = {**self.tags, "device": resources.device}
        self.look = partial(side_by_side, resources.cpus)
        if waits := resources.waits(self.ledger.most):
            self.view.say(waits)
        if resources.room:
            self.ledger.room = resources.room
        with no_prints(), self.view:
            tune_packs(self.config, self.data, self.folder, self.storage, self.ledger, resources)

    def _end(self, began: float) -> int:
        """Close the books and say what became of the sweep; the exit status."""
        self.folder.lock.on_wish(None)
        unfinished = self.ledger.work_left() or self.study.training() > 0
        reason = self.stopping.reason or INTERRUPT if unfinished else None
        goes_on = reason is not None and not reason.reached
        headline = reason.text if reason else "done"
        trouble: TrackingError | None = None
        report: Report | None = None
        try:
            report = self._report() if self.config.analysis.report and not goes_on else None
            self._close("interrupted" if goes_on else "finished", headline if reason else "", report)
        except TrackingError as error:
            error.status, trouble = STUCK.status, error  # told after the results, which are safe
        except KeyboardInterrupt:
            pass  # whatever the tracker has not written is in its outbox
        told = f"{headline} after {duration(time.monotonic() - began)}"
        self.outcome.tell(told, self.tracker, report.page if report else None)
        if goes_on:
            self.view.say(self._how_to_go_on())
        if trouble:
            raise trouble
        if reason:
            return reason.status
        return DONE if self.study.best() else NONE_COMPLETE

    def _give_up(self, error: BaseException) -> None:
        """Something that the sweep needs was lost: nothing that was booked is, and the sweep can go on."""
        with suppress(Exception, KeyboardInterrupt):  # what went wrong first is what is told
            self._close("failed", first_line(error))
        if isinstance(error, UserError):
            error.status = STUCK.status
        self.view.say(f"stopped; {self._how_to_go_on()}")

    def _how_to_go_on(self) -> str:
        anew = self.config.sweep.resume == "never"
        return f"the same command again{', without sweep.resume=never,' if anew else ''} goes on from here"

    def _report(self) -> Report | None:
        """Figures and the page; a sweep that has none, for whatever reason, is complete all the same."""
        before, why = self.stopping.reason, "interrupted"

        def enough() -> bool:
            return self.stopping.error is not None or self.stopping.reason is not before

        try:
            if not before or not before.status:  # whoever has asked for an end does not wait for figures
                return make_report(self._source(), self.view.say, enough, self.look)
        except KeyboardInterrupt:
            self.patience = AT_ONCE
        except Exception as error:  # also a bug in a figure, which `report` shows in full
            why = first_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
        self.view.say(f"no report: {why}; to make it: {command('report', self.folder.path)}")
        return None

    def _source(self) -> Source:
        return Source(
            name=self.name,
            uid=self.folder.uid,
            path=self.folder.path,
            config=self.config,
            space=self.space,
            rows=self.study.rows(),
            storage=self.storage,
            data=self.data,
            tags=self.tags,
            page=self.tracker.page,
        )

    def _close(self, status: str, message: str = "", report: Report | None = None) -> None:
        self.folder.lock.check()  # else these books are somebody else's now
        with tempfile.TemporaryDirectory(prefix="lca-") as scratch:
            best = self.outcome.best(Path(scratch))
            end = SweepEnd(
                status,
                self.study.counts(),
                best,
                message,
                question=self.config.sweep.question,
                report=report.folder if report else None,
                trial_files=report.trials if report else {},
                pareto=self.outcome.front(),
                finals=self.outcome.finals(),
                tables=self.outcome.tables(),
            )
            self.tracker.end_sweep(end, patience=self.patience, say=self.view.say)


def _check_storage(config: Config) -> None:
    """Raise SweepError if nothing could be kept where checkpoints and weights are to go."""
    place = config.sweep.storage
    if place is None:
        return  # the sweep's folder is checked by itself
    try:
        storage_at(place).check()
    except StorageError as error:
        raise SweepError(f"sweep.storage={place}: {error.reason}") from error


def derived_name(config: Config) -> str:
    """A name for an unnamed sweep: the same knobs give the same name, also when knobs are added to lca_sweep."""
    default = lasting(plain_config(Config()))
    chosen = {knob: value for knob, value in lasting(plain_config(config)).items() if default.get(knob) != value}
    digest: str = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
    return f"{config.data.name}-{digest[:8]}"


def _check_images(config: Config, space: Space, data: Splits) -> None:
    """Raise KnobError unless any trial of the sweep has as many training images as it needs."""
    there = len(data.train.y)
    smallest, largest = bounds("trainer.train_size", space, config)
    batch = bounds("trainer.batch_size", space, config)[1]
    has = f"{data.name} has {there} training images"
    if largest is not None and largest > there:
        raise KnobError(f"{_said('trainer.train_size', largest, space)}: {has}; must be <= {there}")
    if smallest is None and batch > there:
        raise KnobError(f"{_said('trainer.batch_size', batch, space)}: {has}; must be <= {there}")
    if smallest is not None and batch > smallest:
        least = _said("trainer.train_size", smallest, space)
        raise KnobError(f"{_said('trainer.batch_size', batch, space)}: must be <= {least}")


def _said(knob: str, value: Any, space: Space) -> str:
    """Where the user has given a knob this value."""
    return f"sweep.space.{knob}: {value}" if knob in space else f"{knob}={value}"
