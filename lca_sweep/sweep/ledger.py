"""Where search, tracking and the terminal meet: every event of a sweep is booked once, however often it comes."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from lca_sweep.config import Config
from lca_sweep.core.knobs import flat, replace, shared
from lca_sweep.core.objective import Scored
from lca_sweep.search.bars import bars
from lca_sweep.search.generations import Ask, generation, rest
from lca_sweep.search.rows import Row, group_by_pack
from lca_sweep.search.study import Study
from lca_sweep.sweep.finals import knobs_of, missing
from lca_sweep.sweep.stopping import Stopping
from lca_sweep.sweep.view import View
from lca_sweep.tracking import Tracker, TrialRecord


@dataclass(frozen=True)
class Issue:
    """A pack to train: its number, the flat knobs of its trials by number, and packs that its trials were in before.

    `bars` is what its trials are compared with, by epoch, where the pruner looks at other packs.
    Without `prune` no trial leaves it early.
    """

    pack: int
    trials: Mapping[int, Mapping[str, Any]]
    origins: tuple[int, ...] = ()
    bars: Mapping[int, float] = field(default_factory=dict)
    prune: bool = True


class Wait(enum.Enum):
    """Neither a pack nor the end."""

    WAIT = enum.auto()


WAIT: Final = Wait.WAIT


class Ledger:
    """Issues packs and books their reports.

    The tracker has the whole of a trial, on disk, before the study is told its end: what the study has closed is not
    booked again, so that whatever a driver that dies still had in memory would be lost.
    """

    def __init__(
        self,
        config: Config,
        study: Study,
        tracker: Tracker,
        view: View,
        tags: Mapping[str, str],
        stopping: Stopping | None = None,
    ) -> None:
        self.config, self.study, self.tracker, self.view, self.tags = config, study, tracker, view, tags
        self.goal = config.search.goal()
        self.stopping = stopping or Stopping(config.sweep, goal=self.goal)
        rows = study.rows()
        packs = group_by_pack(rows)
        # packs to issue: those that a dead driver left unfinished, then those that were asked for
        self.ready = [pack for pack, rows in packs.items() if any(row.state == "running" for row in rows)]
        self.asked = sum(row.begun for row in rows)  # of the search
        self._counting = threading.Lock()
        self.next_pack = max(packs, default=-1) + 1
        # what was begun is finished, also if fewer trials are asked for now
        self._begun = self.asked + sum(row.pack is None and row.state == "running" for row in rows)
        self.total = max(config.sweep.total(), self._begun)
        self._rest = rest(rows, config.pack.trials, self.total)
        self.most = config.cluster.packs  # that are trained at the same time; None: as many as the resources allow
        self.room: Callable[[], int | None] = lambda: None  # how many these are, if not known for good
        self._out: set[int] = set()  # packs that were issued
        self._finals = {row.number for row in rows if row.replicate}
        self._held = config.sweep.replicates == 0  # whether all of the finals are among the rows
        self._failures: dict[int, int] = {}  # of each pack, since its last news
        for row in study.best(1):
            self.stopping.see(row.number, Scored(row.scores, row.violations))

    def work_left(self) -> bool:
        """Whether any pack is still to be issued."""
        return bool(self.ready) or self.asked < self.total or bool(self._finals_left())

    def aim(self, trials: int) -> int:
        """A new total, from now on; the one that holds, for what was asked for is finished. From any thread."""
        self.config = replace(self.config, {"sweep.trials": trials})
        with self._counting:
            self.total = max(trials, self.asked, self._begun)
        self._held = self.config.sweep.replicates == 0
        self.view.config = replace(self.view.config, {"sweep.trials": self.total})
        return self.total

    def issue(self) -> Issue | Wait | None:
        """The next pack; WAIT while it cannot be known which, or whether there is one; None when there is no more."""
        if self.stopping.due():
            return None
        most = self.most or self.room()
        if most is not None and self._busy() >= most:
            return WAIT
        if ask := self._due():
            rows = self.study.ask(ask.packs, ask.until)
            with self._counting:  # the study may have been asked for long, and fewer be wanted since
                self.asked += len(rows)
                self.total = max(self.total, self.asked)
            self.next_pack = max(self.next_pack, ask.packs[-1] + 1)
            self.ready += [pack for pack in dict.fromkeys(ask.packs) if pack not in self.ready]
        self._hold_finals()
        while self.ready:
            pack = self.ready.pop(0)
            self._part(pack)
            if self._live(pack):
                return self._issue(pack)
        # a pack that runs may still be split
        return WAIT if self.work_left() or self.study.training() else None

    def book(
        self, pack: int, reports: Sequence[Mapping[str, Any]], usage: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """Reports of a pack, old ones among them or not: a pack that goes on first repeats what it had reported.

        `usage` is what the last of them took of the machine; it is the same for all trials of the pack.
        """
        if len(reports) > 1 and any(self.study.is_open(trial["trial"]) for trial in reports[-1]["trials"]):
            self.view.pack_restored(pack, reports[-2]["epoch"])
        for report in reports:
            fresh = [trial for trial in report["trials"] if self.study.is_open(trial["trial"])]
            took = usage if report is reports[-1] else {}
            if any([self._book_epoch(report["epoch"], trial, took) for trial in fresh]):
                self._failures.pop(pack, None)
            self._book_ends([trial for trial in fresh if trial["state"] != "running"])
            if fresh:  # else the pack is through, and the view has closed it
                self.view.pack_reported(pack, report)
        self.study.settle()

    def can_be_split(self, pack: int) -> bool:
        """Whether more than one of its trials is live."""
        return len(self._live(pack)) > 1

    def out_of_memory(self, pack: int, reason: str) -> None:
        """A pack did not fit: its live trials go on as two packs of half the size, from where they were."""
        live = self._live(pack)
        if len(live) < 2:
            self.pack_failed(pack, f"out of memory, with one trial in its pack: {reason}")
            return
        middle = len(live) // 2
        new = [self.next_pack, self.next_pack + 1]
        self.next_pack += 2
        for numbers, half in zip((live[:middle], live[middle:]), new, strict=True):
            self.study.move(numbers, half, origin=pack)
        self.ready = new + self.ready
        self.view.pack_split(pack, new, reason)

    def pack_broke(self, pack: int, reason: str) -> None:
        """A pack's process died, or its code raised: it begins again from its checkpoint, or has failed by now."""
        failures = self._failures[pack] = self._failures.get(pack, 0) + 1
        if failures > self.config.cluster.max_failures:
            self.pack_failed(pack, reason)
        elif self._live(pack) and pack not in self.ready:
            self.ready.insert(0, pack)
            self.view.pack_broke(pack, reason)

    def pack_over(self, pack: int) -> None:
        """A pack has no more to report; should any of its trials still be open, nobody else would train it."""
        if not self.stopping.due() and self._live(pack):
            self.pack_broke(pack, "it ended before its trials did")

    def pack_failed(self, pack: int, reason: str) -> None:
        """A pack cannot be trained: its live trials have failed."""
        live = self._live(pack)
        for number in live:
            self.tracker.end_trial(number, "failed", reason)
        self.tracker.settle()
        for number in live:
            self.study.finish(number, "failed", 0.0, reason)
        if live:
            self.view.pack_failed(pack, live, reason)

    def _live(self, pack: int) -> list[int]:
        """The trials of a pack that have not ended."""
        return [row.number for row in self.study.pack(pack) if row.state == "running"]

    def _part(self, pack: int) -> None:
        """Trials that cannot share a pack, because they differ in shared knobs, leave for packs of their own.

        Those like the first one stay, so that nobody leaves a pack that was issued before. After a driver that died in
        the middle, this pack comes before those that it had begun to fill, and the rest follows into the same ones.
        """
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for row in self.study.pack(pack):
            if row.state == "running":
                kinds.setdefault(self._kind(row), []).append(row.number)
        if len(kinds) < 2:
            return
        left = [row for row in self.study.rows() if row.origins[:1] == (pack,) and row.pack != pack]
        moved = {self._kind(row): row.pack for row in left}
        for kind, numbers in list(kinds.items())[1:]:
            new = moved.get(kind) or self.next_pack
            self.study.move(numbers, new, origin=pack)
            self.next_pack = max(self.next_pack, new + 1)
            self.ready += [new] if new not in self.ready else []

    def _issue(self, pack: int) -> Issue:
        # all trials of the pack, also those that ended: without a checkpoint its halving must see them again
        rows = self.study.pack(pack)
        running = [row for row in rows if row.state == "running"]
        kind = self._kind(running[0])
        rows = [row for row in rows if self._kind(row) == kind]  # others: ended by hand
        knobs = {row.number: self._knobs(row) for row in rows}
        prune = running[0].replicate is None
        issue = Issue(pack, knobs, running[0].origins, self._bars(pack) if prune else {}, prune)
        self._out.add(pack)
        self.tracker.start_trials([self._record(row, pack) for row in running])
        self.view.pack_started(pack, rows)
        return issue

    def _bars(self, pack: int) -> dict[int, float]:
        """What the pack's trials have to come up to, as things stand now."""
        if self.config.pruner.name not in ("median", "percentile"):
            return {}
        return bars(self.study.rows(), pack, self.goal.first, self.config.pruner, self.config.search.deterministic)

    def _busy(self) -> int:
        """How many packs are being trained."""
        self._out = {pack for pack in self._out if self._live(pack)}
        return len(self._out - set(self.ready))

    def _finals_left(self) -> list[tuple[Row, int]]:
        """Trials to be repeated, and the new seeds, once the search is over."""
        due = not self._held and self._search_is_over()
        return missing(self.config, self.study.rows()) if due else []

    def _search_is_over(self) -> bool:
        return self.asked >= self.total and not self.study.searching()

    def _hold_finals(self) -> None:
        """Add what is missing of the finals, in packs of their own; whoever follows a driver that dies goes on."""
        if self._held or not self._search_is_over():
            return
        left, size = self._finals_left(), self.config.pack.trials
        for place, (row, seed) in enumerate(left):
            self._finals.add(self.study.repeat(row, seed, self.next_pack + place // size))
        packs = range(self.next_pack, self.next_pack + -(-len(left) // size))
        self.next_pack += len(packs)
        self.ready += packs
        self._held = True

    def _due(self) -> Ask | None:
        """The trials to ask the study for now."""
        size, search = self.config.pack.trials, self.config.search
        if self._rest:
            ask, self._rest = self._rest, None
            return ask
        if search.deterministic:
            return None if self.study.training() else generation(self.study.rows(), size, search.generation, self.total)
        wanted = 0 if self.ready else max(0, min(size, self.total - self.asked))
        return Ask([self.next_pack] * wanted, self.asked + wanted) if wanted else None

    def _book_epoch(self, epoch: int, trial: Mapping[str, Any], took: Mapping[str, float]) -> bool:
        self.tracker.log(trial["trial"], epoch, {**trial["metrics"], **took})
        return self.study.report(trial["trial"], epoch, trial["metrics"][self.goal.first.metric])

    def _book_ends(self, trials: Sequence[Mapping[str, Any]]) -> None:
        if not trials:
            return
        for trial in trials:
            left = {f"left.{key}": f"{value:g}" for key, value in trial.get("left", {}).items()}
            self.tracker.end_trial(trial["trial"], trial["state"], trial["reason"], left)
        self.tracker.settle()
        for trial in trials:
            scored = self.goal.scored(trial["metrics"])
            self.study.finish(trial["trial"], trial["state"], scored, trial["reason"])
            if trial["state"] == "complete" and trial["trial"] not in self._finals:
                self.stopping.see(trial["trial"], scored)

    def _kind(self, row: Row) -> tuple[Any, ...]:
        """What all trials of a pack have in common."""
        return tuple(shared(knobs_of(self.config, row)).values())

    def _knobs(self, row: Row) -> dict[str, Any]:
        return flat(knobs_of(self.config, row))

    def _record(self, row: Row, pack: int) -> TrialRecord:
        whole = {**self._knobs(row), **row.params}  # widths layer by layer too, as they are searched
        tags = {**self.tags, **({"source": row.source} if row.source else {})}
        if row.replicate:
            tags |= {"replicate.of": str(row.replicate[0]), "replicate.seed": str(row.replicate[1])}
        return TrialRecord(row.number, pack, whole, frozenset(row.params), tags)
