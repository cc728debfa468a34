"""What a person sees while a sweep runs: a frame that is kept up to date in a terminal, a line an event elsewhere."""

from __future__ import annotations

import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.text import Text

from lca_sweep.config import Config
from lca_sweep.core.objective import Goal, Scored, figure
from lca_sweep.search.rows import Row, contenders
from lca_sweep.search.space import knobs
from lca_sweep.sweep.console import can_redraw, wide_console
from lca_sweep.sweep.drawing import frame
from lca_sweep.sweep.live import Live
from lca_sweep.sweep.pace import Pace
from lca_sweep.sweep.plan import PackLine, Plan
from lca_sweep.sweep.scene import BestScene, Scene
from lca_sweep.sweep.sheet import Sheet
from lca_sweep.sweep.words import clock, duration, in_words, params_line, plural, trials

BEST_EVERY = 30.0  # seconds between two lines on a new best, where there are lines: at first each epoch has one


@dataclass(frozen=True)
class Best:
    """A trial as it was after an epoch: its first objective, and how that compares."""

    value: float = float("nan")
    order: tuple[float, float] = (float("-inf"), float("-inf"))  # the smaller excess first, then the objective
    number: int = -1
    epoch: int = 0

    @property
    def rank(self) -> tuple[tuple[float, float], int]:
        """The larger, the better; of equal ones the earlier trial."""
        return self.order, -self.number


@dataclass
class View:
    """Fed by the ledger; shows what it was fed, and asks nobody."""

    name: str
    config: Config
    console: Console = field(default_factory=wide_console)
    counts: Counter[str] = field(default_factory=Counter)
    packs: dict[int, PackLine] = field(default_factory=dict)
    live: dict[int, Best] = field(default_factory=dict)  # trials in training, after their last epoch
    complete: Best = field(default_factory=Best)  # of all that are complete, at their end
    best: Best = field(default_factory=Best)  # of both: what trials have come to, not what they once had
    history: list[tuple[float, float]] = field(default_factory=list)  # when the best was another, and its value
    params: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    finals: set[int] = field(default_factory=set)  # trials that repeat others with new seeds
    warnings: dict[str, tuple[str, int]] = field(default_factory=dict)  # by kind: the first one, and how many came
    trouble: Callable[[], str] = str  # a line on what the sweep does not wait for, or nothing
    done_cost: float = 0.0  # of packs that are through, in trial-epochs as planned; of this run
    trained: float = 0.0  # trial-epochs as they were, in this run
    goal: Goal = field(init=False)
    plan: Plan = field(init=False)
    _live: Live | None = None
    _since: float = 0.0  # when it was entered
    _pace: Pace | None = None
    _warned: str = ""  # the last time
    _told: bool = False  # of the present trouble
    _told_best: tuple[float, Best | None] = (float("-inf"), None)  # when, and which

    def __post_init__(self) -> None:
        self.goal = self.config.search.goal()
        self.plan = Plan(self.config)

    def __enter__(self) -> View:
        self._since = time.monotonic()
        if can_redraw(self.console):
            self._live = Live(self.console, self.render)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_best(0.0)
        if self._live:
            self._live.__exit__(kind, error, trace)
            self._live = None
        for first, count in list(self.warnings.values()):
            if count > 1:
                self.say(f"this came {count} times: {first}")
        self.warnings.clear()

    def begin(self, rows: Sequence[Row]) -> None:
        """What the study holds before anything runs."""
        self._know(rows)
        for row in rows:
            if row.state not in ("running", "waiting"):
                self._end(row.number, row.state)
        epochs = {row.number: max(row.values, default=0) for row in rows}
        for number, scored in contenders(rows).items():
            self._see(number, scored, epochs[number], "complete")
        self._rank()
        self.history = [(0.0, self.best.value)] if self.best.number >= 0 else []
        self._told_best = (float("-inf"), self.best)

    def say(self, line: str, style: str = "") -> None:
        """One line that stays; the style is for terminals."""
        if self._live:
            self._live.say(Text(line, style))
        else:
            self.console.print(Text(line), soft_wrap=True)

    def warn(self, line: str) -> None:
        """Something is amiss and the sweep goes on: said where it comes first, else counted, numbers aside."""
        kind = re.sub(r"\d+", "0", line)
        first, count = self.warnings.get(kind, (line, 0))
        self.warnings[kind] = (first, count + 1)
        self._warned = line
        if not count:
            self._moment(f"warning: {line}", "yellow")

    def pack_started(self, pack: int, rows: Sequence[Row]) -> None:
        """A pack was handed out."""
        epochs, searches = knobs(self.config, rows[0].params).trainer.epochs, rows[0].replicate is None
        first = next((row.origins[-1] for row in rows if row.origins), pack)
        costs = self.plan.pack(len(rows), epochs, first, searches)
        live = sum(row.state == "running" for row in rows)
        self.packs[pack] = PackLine(len(rows), costs, searches, live=live)
        self._pace = self._pace or Pace(time.monotonic())
        self._know(rows)
        there = [row for row in rows if row.state == "running"]
        epoch = max((max(row.values, default=0) for row in there), default=0)
        begins = f"goes on at epoch {epoch + 1}" if epoch else "starts"
        what = "" if searches else "the finals, "
        self._event(f"pack {pack} {begins}: {what}{trials([row.number for row in there])}")

    def pack_restored(self, pack: int, epoch: int) -> None:
        """A pack goes on from a checkpoint after this epoch."""
        self.packs[pack].restored = epoch

    def pack_at(self, pack: int, host: str) -> None:
        """Where a pack is trained."""
        line = self.packs.get(pack)
        if line and host != line.host:
            line.host = host
            if host != platform.node():
                self._event(f"pack {pack} runs on {host}")

    def pack_reported(self, pack: int, report: Mapping[str, Any]) -> None:
        """One epoch of a pack."""
        self._look_for_trouble()
        line, epoch = self.packs[pack], report["epoch"]
        line.epoch, line.live = epoch, sum(trial["state"] == "running" for trial in report["trials"])
        first = self.goal.first
        values = {trial["trial"]: trial["metrics"][first.metric] for trial in report["trials"]}
        line.best = max(values.values(), key=lambda value: first.sign * value)
        if epoch > line.restored:
            self.trained += len(report["trials"])
            done = self.done_cost + sum(each.done for each in self.packs.values())
            self._pace = self._pace or Pace(self._since)
            self._pace.tell(time.monotonic(), pack, done, self.trained)
        for trial in report["trials"]:
            if epoch >= line.restored and trial["trial"] not in self.ended:
                self._see(trial["trial"], self.goal.scored(trial["metrics"]), epoch, trial["state"])
            if trial["state"] != "running" and trial["trial"] not in self.ended:
                self._end(trial["trial"], trial["state"])
                line.ends[trial["state"]] += 1
                why = trial["reason"].removesuffix(f" at epoch {epoch}") or self._scores(trial["metrics"])
                self._event(f"trial {trial['trial']} {trial['state']} at epoch {epoch}: {why}")
        self._rank()
        self._tell_best(BEST_EVERY if line.live else 0.0)
        if not line.live:
            self._close_pack(pack)
            self._event(f"pack {pack} ends: {in_words(line.ends)}; in all {self.headline()}")

    def pack_failed(self, pack: int, numbers: Sequence[int], reason: str) -> None:
        """A pack ended with an error; these trials of it were live."""
        for number in numbers:
            self._end(number, "failed")
        self._rank()
        self._moment(f"pack {pack} failed: {reason}", "red")
        self._close_pack(pack)

    def pack_split(self, pack: int, halves: Sequence[int], reason: str) -> None:
        """A pack that did not fit into memory goes on as two."""
        self._moment(f"pack {pack} is out of memory, goes on as packs {halves[0]} and {halves[1]}: {reason}")
        self._leave(pack)

    def pack_broke(self, pack: int, reason: str) -> None:
        """A pack that will begin again where its checkpoint is."""
        self._moment(f"pack {pack} goes on from its checkpoint: {reason}")
        self._leave(pack)

    def render(self, sheet: Sheet) -> list[Text]:
        """What a terminal shows now."""
        return frame(self.scene(), sheet)

    def scene(self) -> Scene:
        """All that there is to see now. From any thread."""
        now, warnings, total = time.monotonic(), list(self.warnings.values()), self.config.sweep.total()
        whole = self.plan.search(total) + self.plan.finals(total, 0)
        return Scene(
            name=self.name,
            metric=self.goal.first.metric,
            total=total,
            maximize=self.goal.first.maximize,
            counts=dict(self.counts),
            finals=(len(self.finals & self.ended), len(self.finals)),
            elapsed=now - self._since,
            left=self._left(now),
            rate=self._pace.rate(now) if self._pace else None,
            share=1 - self._to_do() / whole if whole else 1.0,
            best=self._best(),
            history=list(self.history),
            packs=[line.scene(pack) for pack, line in dict(self.packs).items()],
            trouble=self.trouble(),
            warnings=sum(count for _, count in warnings),
            warned=self._warned,
        )

    def headline(self) -> str:
        """Progress in one line."""
        done, left = sum(self.counts.values()), self._left(time.monotonic())
        states = f" ({in_words(self.counts)})" if done else ""
        again = f", finals: {len(self.finals & self.ended)} of {len(self.finals)}" if self.finals else ""
        about = f", about {duration(left)} left" if left is not None and self._to_do() else ""
        return f"{done} of {plural(self.config.sweep.total(), 'trial')}{states}{again}{about}"

    def best_line(self) -> str:
        """The best so far in one line."""
        best = self._best()
        if best is None:
            return "best: none yet"
        keeps = "" if best.keeps else ", breaks a constraint"
        where = f"trial {best.number} at epoch {best.epoch}{keeps}"
        return f"best: {figure(best.value)}, {where}  {' '.join(best.knobs)}".rstrip()

    def _best(self) -> BestScene | None:
        best = self.best
        if best.number < 0:
            return None
        searched = [params_line({name: value}) for name, value in self.params.get(best.number, {}).items()]
        return BestScene(best.value, best.number, best.epoch, best.order[0] >= 0, searched)

    def _left(self, now: float) -> float | None:
        """Seconds left: for what is to do, or of the time budget."""
        budget = self.config.sweep.time_budget
        left = self._pace.left(now, self._to_do()) if self._pace else None
        return min(left, max(0.0, self._since + budget - now)) if left is not None and budget is not None else left

    def _to_do(self) -> float:
        """Trial-epochs to do, as planned."""
        lines = list(self.packs.values())
        live = sum(line.live for line in lines if line.searches)
        fresh = max(0, self.config.sweep.total() - sum(self.counts.values()) - live)
        begun = len(self.finals & self.ended) + sum(line.live for line in lines if not line.searches)
        waiting = self.plan.search(fresh) + self.plan.finals(self.counts["complete"] + fresh + live, begun)
        return waiting + sum(line.to_do for line in lines)

    def _scores(self, metrics: Mapping[str, float]) -> str:
        """All objectives of a trial."""
        return ", ".join(f"{part.metric} {figure(metrics[part.metric])}" for part in self.goal.objectives)

    def _see(self, number: int, scored: Scored, epoch: int, state: str) -> None:
        """A trial after an epoch."""
        seen = Best(scored.scores[0], (-scored.excess, self.goal.gains(scored.scores)[0]), number, epoch)
        if number in self.finals or epoch <= self.live.get(number, Best()).epoch:
            return
        self.live.pop(number, None)
        if state == "running":
            self.live[number] = seen
        elif state == "complete":
            self.complete = max(self.complete, seen, key=lambda one: one.rank)

    def _rank(self) -> None:
        """Which one is the best now."""
        best = max([self.complete, *self.live.values()], key=lambda one: one.rank)
        if best.number >= 0 and best.value != self.best.value:
            self.history.append((time.monotonic() - self._since, best.value))
        self.best = best

    def _know(self, rows: Sequence[Row]) -> None:
        self.params |= {row.number: row.params for row in rows}
        self.finals |= {row.number for row in rows if row.replicate}

    def _end(self, number: int, state: str) -> None:
        self.live.pop(number, None)
        if number not in self.ended:
            self.ended.add(number)
            self.counts[state] += number not in self.finals

    def _leave(self, pack: int) -> None:
        self.done_cost += self.packs.pop(pack).done

    def _close_pack(self, pack: int) -> None:
        line = self.packs.pop(pack)
        self.done_cost += line.done + line.to_do

    def _look_for_trouble(self) -> None:
        """Where there are lines, one when a trouble begins; a terminal shows it while it lasts."""
        trouble = self.trouble()
        if trouble and not self._told and not self._live:
            self.warn(trouble)
        self._told = bool(trouble)

    def _tell_best(self, every: float) -> None:
        """Where there are lines, one on a new best, but not for each epoch."""
        now, (when, told) = time.monotonic(), self._told_best
        if self.best.number >= 0 and self.best != told and now - when >= every:
            self._told_best = (now, self.best)
            self._event(self.best_line())

    def _moment(self, line: str, style: str = "") -> None:
        """Of which the user should hear in any case."""
        self._event(line)
        if self._live:
            self.say(line, style)

    def _event(self, line: str) -> None:
        """Which a terminal shows in other ways."""
        if not self._live:
            self.say(f"[{clock(time.monotonic() - self._since)}] {line}" if self._since else line)
