"""What a person sees while a sweep runs: a live table in a terminal, one line per event elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lca_sweep.config import Config
from lca_sweep.core.objective import Goal, Scored, figure
from lca_sweep.search.rows import Row, contenders
from lca_sweep.search.space import knobs
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.cost import pack_cost
from lca_sweep.sweep.words import clock, duration, params_line, plural, spans

COLUMNS = {"test/accuracy": "test/accuracy", "weights/vip_fraction": "VIP", "weights/uip_fraction": "UIP"}


@dataclass
class PackLine:
    """One running pack as the table shows it."""

    size: int
    epochs: int  # at its end
    first: int  # the pack that its trials were asked for in
    epoch: int = 0
    restored: int = 0  # epochs that an earlier run had done
    live: int = 0
    best: float = float("nan")


@dataclass
class Best:
    """The best trial seen so far, at its end or on its way: its first objective, and how that compares."""

    value: float = float("nan")
    order: tuple[float, float] = (float("-inf"), float("-inf"))  # the smaller excess first, then the objective
    number: int = -1
    epoch: int = 0


@dataclass
class View:
    """Fed by the ledger; draws from what it was fed, and asks nobody."""

    name: str
    config: Config
    console: Console = field(default_factory=wide_console)
    counts: Counter[str] = field(default_factory=Counter)
    packs: dict[int, PackLine] = field(default_factory=dict)
    best: Best = field(default_factory=Best)
    params: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    finals: set[int] = field(default_factory=set)  # trials that repeat others with new seeds
    trouble: Callable[[], str] = str  # a line on what the sweep does not wait for, or nothing
    done_cost: float = 0.0  # of packs that are through, in trial-epochs; of this run
    goal: Goal = field(init=False)
    _live: Live | None = None
    _since: float = 0.0
    _told: bool = False  # of the present trouble

    def __post_init__(self) -> None:
        self.goal = self.config.search.goal()

    def __enter__(self) -> View:
        self._since = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=2)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)
            self._live = None

    def begin(self, rows: Sequence[Row]) -> None:
        """What the study holds before anything runs."""
        self._know(rows)
        for row in rows:
            if row.state not in ("running", "waiting"):
                self._end(row.number, row.state)
        epochs = {row.number: max(row.values, default=0) for row in rows}
        for number, scored in contenders(rows).items():
            self._see(number, scored, epochs[number])

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(Text(line), soft_wrap=True)

    def pack_started(self, pack: int, rows: Sequence[Row]) -> None:
        """A pack was handed out."""
        epochs = knobs(self.config, rows[0].params).trainer.epochs
        first = next((row.origins[-1] for row in rows if row.origins), pack)
        self.packs[pack] = PackLine(len(rows), epochs, first, live=sum(row.state == "running" for row in rows))
        self._know(rows)
        noun = "trial" if len(rows) == 1 else "trials"
        what = "the finals, " if rows[0].replicate else ""
        self._event(f"pack {pack} starts: {what}{noun} {spans([row.number for row in rows])}")

    def pack_restored(self, pack: int, epoch: int) -> None:
        """A pack goes on from a checkpoint after this epoch."""
        self.packs[pack].restored = epoch

    def pack_reported(self, pack: int, report: Mapping[str, Any]) -> None:
        """One epoch of a pack."""
        self._look_for_trouble()
        line, epoch = self.packs[pack], report["epoch"]
        line.epoch, line.live = epoch, sum(trial["state"] == "running" for trial in report["trials"])
        first = self.goal.first
        values = {trial["trial"]: trial["metrics"][first.metric] for trial in report["trials"]}
        line.best = max(values.values(), key=lambda value: first.sign * value)
        for trial in report["trials"]:
            self._see(trial["trial"], self.goal.scored(trial["metrics"]), epoch)
            if trial["state"] != "running" and trial["trial"] not in self.ended:
                self._end(trial["trial"], trial["state"])
                why = trial["reason"].removesuffix(f" at epoch {epoch}") or self._scores(trial["metrics"])
                self._event(f"trial {trial['trial']} {trial['state']} at epoch {epoch}: {why}")
        if not line.live:
            self._close_pack(pack)

    def pack_failed(self, pack: int, numbers: Sequence[int], reason: str) -> None:
        """A pack ended with an error; these trials of it were live."""
        for number in numbers:
            self._end(number, "failed")
        self.say(f"pack {pack} failed: {reason}")
        self._close_pack(pack)

    def pack_split(self, pack: int, halves: Sequence[int], reason: str) -> None:
        """A pack that did not fit into memory goes on as two."""
        self.say(f"pack {pack} is out of memory, goes on as packs {halves[0]} and {halves[1]}: {reason}")
        self._leave(pack)

    def pack_broke(self, pack: int, reason: str) -> None:
        """A pack that will begin again where its checkpoint is."""
        self.say(f"pack {pack} goes on from its checkpoint: {reason}")
        self._leave(pack)

    def render(self) -> Group:
        """The live table."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("pack", "epoch", "trials", self.goal.first.metric):
            table.add_column(title, justify="right", no_wrap=True)
        for pack, line in sorted(self.packs.items()):
            value = figure(line.best) if line.epoch else "starting"
            table.add_row(str(pack), f"{line.epoch}/{line.epochs}", f"{line.live}/{line.size}", value)
        trouble = self.trouble()
        return Group(Text(self.headline()), table, Text(self.best_line()), *([Text(trouble)] if trouble else []))

    def headline(self) -> str:
        """Progress in one line."""
        done = sum(self.counts.values())
        parts = [f"{self.counts[state]} {state}" for state in ("complete", "pruned", "failed") if self.counts[state]]
        states = f" ({', '.join(parts)})" if parts else ""
        eta = self._eta()
        left = f", about {duration(eta)} left" if eta is not None else ""
        elapsed = duration(time.monotonic() - self._since)
        again = f", finals: {len(self.finals & self.ended)} of {len(self.finals)}" if self.finals else ""
        return f"{self.name}: {done} of {plural(self.config.sweep.total(), 'trial')}{states}{again}, {elapsed}{left}"

    def best_line(self) -> str:
        """The best so far in one line."""
        if self.best.number < 0:
            return "best: none yet"
        knobs = params_line(self.params.get(self.best.number, {}))
        keeps = ", breaks a constraint" if self.best.order[0] < 0 else ""
        where = f"trial {self.best.number} at epoch {self.best.epoch}{keeps}"
        return f"best: {figure(self.best.value)}, {where}  {knobs}"

    def _eta(self) -> float | None:
        """Seconds left, from the trial-epochs done in this run and still to do."""
        spent = self.done_cost + sum(self._cost(line, line.epoch) for line in self.packs.values())
        fresh = self.config.sweep.total() - sum(self.counts.values()) - sum(line.live for line in self.packs.values())
        size = self.config.pack.size
        # where the number of epochs is searched, what is not asked for yet is taken to have the config's
        waiting = pack_cost(size, self.config.pruner, self.config.trainer.epochs) * max(fresh, 0) / size
        to_do = (
            sum(self._cost(line, line.epochs) - self._cost(line, line.epoch) for line in self.packs.values()) + waiting
        )
        return (time.monotonic() - self._since) * to_do / spent if spent else None

    def _scores(self, metrics: Mapping[str, float]) -> str:
        """All objectives of a trial."""
        return ", ".join(f"{part.metric} {figure(metrics[part.metric])}" for part in self.goal.objectives)

    def _see(self, number: int, scored: Scored, epoch: int) -> None:
        order = (-scored.excess, self.goal.gains(scored.scores)[0])
        if order >= self.best.order and number not in self.finals:
            self.best = Best(scored.scores[0], order, number, epoch)

    def _know(self, rows: Sequence[Row]) -> None:
        self.params |= {row.number: row.params for row in rows}
        self.finals |= {row.number for row in rows if row.replicate}

    def _end(self, number: int, state: str) -> None:
        if number not in self.ended:
            self.ended.add(number)
            self.counts[state] += number not in self.finals

    def _leave(self, pack: int) -> None:
        line = self.packs.pop(pack)
        self.done_cost += self._cost(line, line.epoch)

    def _close_pack(self, pack: int) -> None:
        line = self.packs.pop(pack)
        self.done_cost += self._cost(line, line.epochs)

    def _cost(self, line: PackLine, epoch: int) -> float:
        """Trial-epochs of a pack up to an epoch, done in this run."""
        pruner = self.config.pruner
        before = pack_cost(line.size, pruner, line.epochs, min(line.restored, epoch), line.first)
        return pack_cost(line.size, pruner, line.epochs, epoch, line.first) - before

    def _look_for_trouble(self) -> None:
        """Without a live table each trouble is told once."""
        trouble = self.trouble()
        if trouble and not self._told:
            self._event(trouble)
        self._told = bool(trouble)

    def _event(self, line: str) -> None:
        if not self._live:
            self.say(f"[{clock(time.monotonic() - self._since)}] {line}")


def results(rows: Sequence[Row], metrics: Mapping[int, Mapping[str, float]], goal: Goal) -> list[str]:
    """Lines on the best trials: objectives and some metrics of the last epoch (by trial), the searched knobs below."""
    aims = [part.metric for part in goal.objectives]
    others = {name: short for name, short in COLUMNS.items() if name not in aims}
    widths = [max(len(name), 8) for name in aims] + [max(len(short), 6) for short in others.values()]
    lines = [_columns("trial", [*aims, *others.values()], widths)] if rows else []
    for row in rows:
        found = metrics.get(row.number, {})
        values = [figure(score) for score in row.scores or (row.value or 0.0,)]
        values += [f"{found[name]:.4f}" if name in found else "-" for name in others]
        lines.append(_columns(f"{row.number:5d}", values, widths))
        lines += [f"       {params_line(row.params)}"] if row.params else []
    return lines


def _columns(first: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([first, *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
