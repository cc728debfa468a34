"""The sweep's ledger: an Optuna study that always tells the truth about every trial.

Each trial carries the pack that it belongs to (user attribute `pack`). A row that is still RUNNING when nobody runs it
is an orphan of a driver that died: its pack is issued again.

Whatever is asked about it is answered from memory. A new trial is proposed there and written whole, in one go.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lca_sweep.config import Config, KnobError, Search
from lca_sweep.core.objective import Scored
from lca_sweep.search.given import known, put_in_once, repeated
from lca_sweep.search.outage import Patience, silent
from lca_sweep.search.rows import FIXED, STATES, Row, best_first, misfit, pareto, row_of
from lca_sweep.search.sampler import make_samplers
from lca_sweep.search.space import Space
from lca_sweep.search.storage import shown
from lca_sweep.search.table import Table


class Study:
    """Ask for trials, report their epochs, tell their ends. All writes may be repeated: the second changes nothing.

    Every method that writes raises StudyLost if the storage gives no answer for `search.patience` seconds.
    """

    def __init__(self, name: str, search: Search, space: Space, table: Table) -> None:
        self._name, self._space = name, Space.of(space)
        self._samplers = make_samplers(search, self._space)
        self.goal = search.goal()
        self._loose: set[int] = set()  # rows that wait for a pack
        self._training: set[int] = set()  # rows that run in one
        self._packs: dict[int, set[int]] = {}  # rows of each pack
        self._table = table
        self._table.load(self._note)

    @classmethod
    def open(
        cls, config: Config, name: str, space: Space, storage: BaseStorage, say: Callable[[str], None] = silent
    ) -> Study:
        """The study of this sweep, made if it does not exist yet; `say` is told when the storage keeps us waiting."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        patience = Patience(shown(storage), config.search.patience, say)
        ways = (StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE)
        wanted = [ways[part.maximize] for part in config.search.goal().objectives]
        patience(lambda: optuna.create_study(storage=storage, study_name=name, directions=wanted, load_if_exists=True))
        # not through Optuna's study: it keeps copies of a database's rows, as we do
        id = patience(lambda: storage.get_study_id_from_name(name))
        patience = replace(patience, exists=lambda: _id_of(storage, name) == id)
        _check_directions(wanted, patience(lambda: storage.get_study_directions(id)), name)
        return cls(name, config.search, space, Table(storage, id, patience))

    def claim(self, uid: str) -> None:
        """Note whose study this is, in a storage that many may share. Raises KnobError if it is another sweep's."""
        owner = self._table.claim(uid)
        if owner != uid:
            raise KnobError(
                f"sweep.name={self._name}: search.storage holds a study of that name from another folder; "
                "give another name (sweep.name=...), or go on in the old folder (sweep.dir=...)"
            )

    # --- what is known -------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Every trial of the sweep, by number; not what samplers know from an earlier one."""
        return [row for row in map(self._row, range(len(self._table))) if not row.foreign]

    def pack(self, pack: int) -> list[Row]:
        """The trials of a pack, by number."""
        return [self._row(number) for number in sorted(self._packs.get(pack, ()))]

    def is_open(self, number: int) -> bool:
        """Whether a trial has not been told its end."""
        return number < len(self._table) and self._trial(number).state == TrialState.RUNNING

    def training(self) -> int:
        """How many trials are open in packs."""
        return len(self._training)

    def searching(self) -> int:
        """How many of these are the search's, and not the finals'."""
        return sum(self._row(number).replicate is None for number in self._training)

    def counts(self) -> dict[str, int]:
        """How many trials of the search are in each state."""
        found = Counter(row.state for row in self.rows() if row.replicate is None)
        return {state: found[state] for state in ("complete", "pruned", "failed", "running")}

    def best(self, k: int = 1) -> list[Row]:
        """The k best complete trials, best first (ties: the earlier one)."""
        return best_first(self.rows(), self.goal)[:k]

    def pareto(self) -> list[Row]:
        """The complete trials that keep all constraints and that no other such one dominates, by first objective."""
        return pareto(self.rows(), self.goal)

    # --- what is written -----------------------------------------------------------------------------------------

    def ask(self, packs: Sequence[int], until: int | None = None) -> list[Row]:
        """One row for each pack number: rows that wait for a pack first, then new suggestions.

        Those that wait were left by a driver of an older version that died, or put in by hand. `until` is noted in
        each: how many rows packs have once all these are there.
        """
        self._table.look_for_new()
        return [self._row(self._next({} if until is None else {"until": until}, pack)) for pack in packs]

    def enqueue(self, points: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> list[int]:
        """Put in rows that wait, in this order, with the knobs that each point names; the numbers of new ones.

        A point that is there already, from wherever it came, is not put in again.
        """
        self._table.look_for_new()
        there = map(self._trial, range(len(self._table)))
        numbers = put_in_once(list(there), zip(points, sources, strict=True), self._table.add)
        return [number for number in numbers if number is not None]

    def learn(self, rows: Sequence[Row], name: str) -> None:
        """Have samplers know the ended trials of an earlier sweep of this name, each as what it was; once each."""
        self._table.look_for_new()
        there = {self._trial(number).user_attrs.get("source") for number in range(len(self._table))}
        for row in rows:
            source = f"{name}/{row.number}"
            if source not in there:
                told = (row.values, row.scores, row.violations)
                self._table.add(known(STATES[row.state], row.params, self._space, *told, source))

    def repeat(self, row: Row, seed: int, pack: int) -> int:
        """A row in a pack that trains a trial's setting with another seed; its number."""
        return self._table.add(repeated(row.params, self._space, (row.number, seed), pack))

    def move(self, numbers: Sequence[int], pack: int, origin: int) -> None:
        """Open trials go from the pack `origin` to another."""
        for number in filter(self.is_open, numbers):
            origins = self._trial(number).user_attrs.get("origins", [])
            if origins[:1] != [origin]:  # else we died just here before
                self._set_attr(number, "origins", [origin, *origins])
            self._set_attr(number, "pack", pack)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """The first objective of a running trial after an epoch (from 1); whether that was news. See `settle`."""
        news = self.is_open(number) and epoch not in self._trial(number).intermediate_values
        if news:
            self._table.write(number, lambda storage, id: storage.set_trial_intermediate_value(id, epoch, float(value)))
        return news

    def settle(self) -> None:
        """Have the disk hold what was reported: a journal waits for it once, not for each value."""
        self._table.settle()

    def finish(self, number: int, state: str, value: float | Scored, reason: str = "") -> None:
        """Tell a trial's end, once: complete (with its objectives), pruned, or failed (with the reason).

        A number stands for a single objective, without constraints.
        """
        if not self.is_open(number):
            return
        scored = value if isinstance(value, Scored) else Scored((value,))
        values = self._end_values(number, state, scored.scores)
        if reason:
            self._set_attr(number, "reason", reason)
        if scored.violations and state != "failed":  # Optuna's samplers look for them there, also in pruned trials
            self._set_system_attr(number, "constraints", list(scored.violations))

        def end(storage: BaseStorage, id: int) -> None:
            if not storage.set_trial_state_values(id, STATES[state], values):
                raise StorageInternalError("another process wrote the same trial at the same time")

        self._table.write(number, end)

    def _end_values(self, number: int, state: str, scores: Sequence[float]) -> list[float] | None:
        """As `optuna.Study.tell` has it: a pruned trial's value is its last one, if that is a number, and the only one.

        With several objectives a pruned trial has none.
        """
        objectives = len(self.goal.objectives)
        if state == "complete" and (len(scores) != objectives or any(math.isnan(score) for score in scores)):
            raise ValueError(f"trial {number} cannot be complete: its value is not a number for each objective")
        if state == "complete":
            return [float(score) for score in scores]
        reported = self._trial(number).intermediate_values if state == "pruned" and objectives == 1 else {}
        last = reported[max(reported)] if reported else math.nan
        return None if math.isnan(last) else [last]

    # --- rows ----------------------------------------------------------------------------------------------------

    def _next(self, attrs: Mapping[str, Any], pack: int) -> int:
        """A row that is in this pack now; its number."""
        while self._loose:
            number = min(self._loose, key=lambda loose: (self._trial(loose).state == TrialState.WAITING, loose))
            if self._take(number, {**attrs, "pack": pack}):
                return number
        return self._add({**attrs, "pack": pack})

    def _take(self, number: int, attrs: Mapping[str, Any]) -> bool:
        """Put a row that waits into a pack; False if another process has ended it meanwhile."""
        if self._trial(number).state == TrialState.WAITING:
            self._table.write(number, lambda storage, id: storage.set_trial_state_values(id, TrialState.RUNNING))
        self._table.read(number)
        if number not in self._loose:
            return False
        if misfit := self._misfit(number):
            self.finish(number, "failed", 0.0, f"put in by hand with {misfit}, which is not in sweep.space")
            return False
        whole, known = self._propose(number), self._trial(number).system_attrs
        for key, value in whole.system_attrs.items():  # what the sampler notes of it
            if known.get(key) != value:
                self._set_system_attr(number, key, value)
        for name in [name for name in self._space.order if name in whole.params]:  # what others depend on first
            self._set_param(number, name, self._space[name].to_internal_repr(whole.params[name]))
        for key, value in attrs.items():  # the pack last: with it the row is whole
            self._set_attr(number, key, value)
        return True

    def _misfit(self, number: int) -> str:
        trial = self._trial(number)
        return misfit({**trial.system_attrs.get(FIXED, {}), **trial.params}, self._space)

    def _add(self, attrs: Mapping[str, Any]) -> int:
        """A new row, written whole or not at all; its number."""
        proposed = self._propose(len(self._table))
        return self._table.add(
            create_trial(
                state=TrialState.RUNNING,
                params={name: proposed.params[name] for name in self._space if name in proposed.params},
                distributions={name: self._space[name] for name in self._space if name in proposed.params},
                user_attrs=dict(attrs),
                system_attrs=dict(proposed.system_attrs),
            )
        )

    def _propose(self, number: int) -> FrozenTrial:
        return self._table.mirror.propose(number, self._space, self._samplers(number))

    def _set_param(self, number: int, name: str, value: float) -> None:
        self._table.write(number, lambda storage, id: storage.set_trial_param(id, name, value, self._space[name]))

    def _set_attr(self, number: int, key: str, value: Any) -> None:
        self._table.write(number, lambda storage, id: storage.set_trial_user_attr(id, key, value))

    def _set_system_attr(self, number: int, key: str, value: Any) -> None:
        self._table.write(number, lambda storage, id: storage.set_trial_system_attr(id, key, value))

    def _note(self, number: int) -> None:
        """Keep the sets of rows right after a row has changed."""
        row = self._row(number)
        for members, belongs in (
            (self._loose, row.pack is None and row.state in ("running", "waiting")),
            (self._training, row.pack is not None and row.state == "running"),
        ):
            (members.add if belongs else members.discard)(number)
        for origin in row.origins:
            self._packs.get(origin, set()).discard(number)
        if row.pack is not None:
            self._packs.setdefault(row.pack, set()).add(number)

    def _trial(self, number: int) -> FrozenTrial:
        return self._table.mirror.get_trial(number)

    def _row(self, number: int) -> Row:
        return row_of(self._trial(number), self._space)


def _check_directions(wanted: Sequence[StudyDirection], there: Sequence[StudyDirection], name: str) -> None:
    """Raise KnobError unless a study that is there has these directions."""
    if list(wanted) != list(there):
        new, old = (", ".join(direction.name.lower() for direction in found) for found in (wanted, there))
        raise KnobError(
            f"search.objectives: the study {name} in search.storage was made to {old}, not to {new}; "
            "must be the same (or give another sweep.name)"
        )


def _id_of(storage: BaseStorage, name: str) -> int | None:
    """The study of this name, if there is one."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None
