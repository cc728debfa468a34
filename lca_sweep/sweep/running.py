"""A sweep that runs: its parts at work together, from the first pack to closed books.

Importing this takes a second, for torch: for a new sweep `driver` does it while Ray starts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lca_sweep.config import Config
from lca_sweep.core.data import Splits
from lca_sweep.core.errors import UserError, first_line
from lca_sweep.core.knobs import replace
from lca_sweep.search.space import Space
from lca_sweep.search.study import Study
from lca_sweep.sweep.folder import Folder, plain_config, write_config
from lca_sweep.sweep.gather import Source
from lca_sweep.sweep.ledger import Ledger
from lca_sweep.sweep.looking import Look, one_by_one, side_by_side
from lca_sweep.sweep.noise import no_prints
from lca_sweep.sweep.outcome import Outcome, goal_tags
from lca_sweep.sweep.provenance import data_tags
from lca_sweep.sweep.reporting import Report, make_report
from lca_sweep.sweep.room import Resources
from lca_sweep.sweep.stopping import INTERRUPT, STUCK, Stopping
from lca_sweep.sweep.storage import Storage
from lca_sweep.sweep.telling import commands, data_record, places
from lca_sweep.sweep.tuning import tune_packs
from lca_sweep.sweep.view import View
from lca_sweep.sweep.wishes import granted
from lca_sweep.sweep.words import command, duration, extended, plural, trials
from lca_sweep.tracking import PATIENCE, SweepEnd, SweepRecord, Tracker, TrackingError

DONE, NONE_COMPLETE = 0, 1
AT_ONCE = 2.0  # seconds for MLflow in place of PATIENCE; what it does not get then is kept for the next start


@dataclass
class Running:
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
        self.outcome = Outcome(self.folder.path, self.config, self.study, self.storage, self.view)

    def _grant(self, wish: Mapping[str, Any]) -> None:
        """From the lock's thread: somebody asks for other numbers."""
        granted(self.ledger, wish)
        wanted = {"sweep.trials": self.ledger.total, "cluster.packs": self.ledger.most}
        with suppress(OSError):  # it is for those who look
            write_config(self.folder.path, replace(self.config, wanted))

    def work_left(self) -> bool:
        """Whether there is anything to train."""
        return self.stopping.reason is None and self.ledger.work_left()

    def run(self, resources: Resources | None, began: float) -> int:
        """Train what is left, on `resources` (None only where nothing is left), and close the books."""
        plain = plain_config(self.config)
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
            elif self.stopping.reason is None:
                self.view.say(f"sweep {self.name}: nothing is left to do{extended(self.config, self.ledger.total)}")
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
        planned = plural(self.config.sweep.total(), "trial")
        self.view.say(f"sweep {self.name}: {planned} on {self.data.name}, in {self.folder.path}")
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
        elif waiting := [row.number for row in self.study.rows() if row.state == "waiting"]:
            wait, them = ("waits", "it") if len(waiting) == 1 else ("wait", "them")
            how = f"the same command with sweep.trials={self.ledger.asked + len(waiting)} trains {them}"
            self.view.say(f"{trials(waiting)}, put in by hand, {wait}: {how}")
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
        without = ", without sweep.resume=never," if self.config.sweep.resume == "never" else ""
        return f"the same command again{without} goes on from here; or: {command('resume', self.folder.path)}"

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
