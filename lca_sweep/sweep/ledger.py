"""Where search, tracking and the terminal meet: every event of a sweep is booked once, however often it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lca_sweep.config import Config
from lca_sweep.core.knobs import flat
from lca_sweep.core.train import OBJECTIVE
from lca_sweep.search.space import knobs
from lca_sweep.search.study import Row, Study, group_by_pack
from lca_sweep.sweep.view import View
from lca_sweep.tracking import Tracker, TrialRecord


@dataclass(frozen=True)
class Issue:
    """A pack to train: its number and the flat knobs of its trials by number."""

    pack: int
    trials: Mapping[int, Mapping[str, Any]]


class Ledger:
    """Issues packs and books their reports.

    MLflow's outbox has the whole of a trial, on disk, before the study is told its end: what the study has closed is
    not booked again.
    """

    def __init__(self, config: Config, study: Study, tracker: Tracker, view: View, tags: Mapping[str, str]) -> None:
        self.config, self.study, self.tracker, self.view, self.tags = config, study, tracker, view, tags
        rows = study.rows()
        packs = group_by_pack(rows)
        self.orphans = [pack for pack, rows in packs.items() if any(row.state == "running" for row in rows)]
        self.issued = sum(len(rows) for rows in packs.values())
        self.next_pack = max(packs, default=-1) + 1
        # what was begun is finished, also if fewer trials are asked for now
        begun = self.issued + sum(row.pack is None and row.state == "running" for row in rows)
        self.total = max(config.sweep.trials, begun)

    def work_left(self) -> bool:
        """Whether any pack is still to be issued."""
        return bool(self.orphans) or self.issued < self.total

    def issue(self) -> Issue | None:
        """The next pack: one that a dead driver left unfinished, or one of new trials; None when there is no more."""
        if self.orphans:
            pack = self.orphans.pop(0)
            # all trials of the pack, also those that ended: without a checkpoint its halving must see them again
            rows = group_by_pack(self.study.rows())[pack]
        elif self.issued < self.total:
            pack, self.next_pack = self.next_pack, self.next_pack + 1
            size = min(self.config.pack.size, self.total - self.issued)
            rows = self.study.ask(size, pack)
            self.issued += len(rows)
        else:
            return None
        issue = Issue(pack, {row.number: self._knobs(row) for row in rows})
        running = [row for row in rows if row.state == "running"]
        self.tracker.start_trials([self._record(row, pack) for row in running])
        self.view.pack_started(pack, rows)
        return issue

    def book(self, pack: int, reports: Sequence[Mapping[str, Any]]) -> None:
        """Reports of a pack, old ones among them or not: a pack that goes on first repeats what it had reported."""
        if len(reports) > 1 and any(self.study.is_open(trial["trial"]) for trial in reports[-1]["trials"]):
            self.view.pack_restored(pack, reports[-2]["epoch"])
        for report in reports:
            fresh = [trial for trial in report["trials"] if self.study.is_open(trial["trial"])]
            for trial in fresh:
                self._book_epoch(report["epoch"], trial)
            self._book_ends([trial for trial in fresh if trial["state"] != "running"])
            if fresh:  # else the pack is through, and the view has closed it
                self.view.pack_reported(pack, report)

    def pack_failed(self, pack: int, reason: str) -> None:
        """A pack's process died too often, or its code raised: its live trials have failed."""
        live = [row.number for row in group_by_pack(self.study.rows())[pack] if row.state == "running"]
        for number in live:
            self.tracker.end_trial(number, "failed", reason)
        self.tracker.settle()
        for number in live:
            self.study.finish(number, "failed", 0.0, reason)
        if live:
            self.view.pack_failed(pack, live, reason)

    def _book_epoch(self, epoch: int, trial: Mapping[str, Any]) -> None:
        self.tracker.log(trial["trial"], epoch, trial["metrics"])
        self.study.report(trial["trial"], epoch, trial["metrics"][OBJECTIVE])

    def _book_ends(self, trials: Sequence[Mapping[str, Any]]) -> None:
        if not trials:
            return
        for trial in trials:
            self.tracker.end_trial(trial["trial"], trial["state"], trial["reason"])
        self.tracker.settle()
        for trial in trials:
            self.study.finish(trial["trial"], trial["state"], trial["metrics"][OBJECTIVE], trial["reason"])

    def _knobs(self, row: Row) -> dict[str, Any]:
        return flat(knobs(self.config, row.params))

    def _record(self, row: Row, pack: int) -> TrialRecord:
        return TrialRecord(row.number, pack, self._knobs(row), frozenset(row.params), self.tags)
