"""The sweep's ledger: an Optuna study that always tells the truth about every trial.

Each trial carries the pack that it belongs to (user attribute `pack`). A row that is still RUNNING when nobody runs it
is an orphan of a driver that died: its pack is issued again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from lca_sweep.config import Config, KnobError, Search, without_password
from lca_sweep.core.errors import first_line
from lca_sweep.search.space import Space

JOURNAL = "study.journal"
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_NAMES = {state: name for name, state in _STATES.items()}
_NAMES |= {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}


@dataclass(frozen=True)
class Row:
    """One trial as the study knows it; `values` has the objective by epoch."""

    number: int
    state: str  # waiting (put in by hand), running, complete, pruned or failed
    params: Mapping[str, Any]
    values: Mapping[int, float]
    value: float | None  # the objective at the end, where the trial is complete
    pack: int | None
    reason: str


class Study:
    """Ask for trials, report their epochs, tell their ends. All writes may be repeated: the second changes nothing."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study, self._space = study, space
        self._handles: dict[int, optuna.Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._open: set[int] = set()
        for row in self.rows():
            self._reported[row.number] = set(row.values)
            if row.state == "running":
                self._open.add(row.number)

    @staticmethod
    def open(config: Config, name: str, space: Space, storage: BaseStorage) -> Study:
        """The study of this sweep, made if it does not exist yet."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = make_sampler(config.search, 0)
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", sampler=sampler, load_if_exists=True
        )
        # seed + trials so far: a sampler rebuilt with its old seed would propose the old points again
        study.sampler = make_sampler(config.search, len(study.get_trials(deepcopy=False)))
        return Study(study, space)

    def claim(self, uid: str) -> None:
        """Note whose study this is, in a storage that many may share. Raises KnobError if it is another sweep's."""
        owner = self._study.user_attrs.get("sweep")
        if owner is None:
            self._study.set_user_attr("sweep", uid)
        elif owner != uid:
            raise KnobError(
                f"sweep.name={self._study.study_name}: search.storage holds a study of that name from another folder; "
                "give another name (sweep.name=...), or go on in the old folder (sweep.dir=...)"
            )

    def rows(self) -> list[Row]:
        """Every trial, by number."""
        return [_row(trial) for trial in self._study.get_trials(deepcopy=False)]

    def ask(self, size: int, pack: int) -> list[Row]:
        """Up to `size` rows of a new pack: rows that no pack took before their driver died, then new suggestions."""
        stray = [row.number for row in self.rows() if row.state == "running" and row.pack is None][:size]
        trials = [self._reopen(number) for number in stray]
        trials += [self._study.ask() for _ in range(size - len(trials))]
        for trial in trials:
            self._suggest(trial)
            self._handles[trial.number] = trial
            self._reported[trial.number] = set()
            self._open.add(trial.number)
        for trial in trials:
            trial.set_user_attr("pack", pack)
        rows = self._study.get_trials(deepcopy=False)
        return [_row(rows[trial.number]) for trial in trials]

    def is_open(self, number: int) -> bool:
        """Whether a trial has not been told its end."""
        return number in self._open

    def report(self, number: int, epoch: int, value: float) -> None:
        """The objective of a running trial after an epoch (from 1)."""
        if number in self._open and epoch not in self._reported[number]:
            self._handle(number).report(value, epoch)
            self._reported[number].add(epoch)

    def finish(self, number: int, state: str, value: float, reason: str = "") -> None:
        """Tell a trial's end, once: complete (with its value), pruned, or failed (with the reason)."""
        if number not in self._open:
            return
        if reason:
            self._handle(number).set_user_attr("reason", reason)
        self._study.tell(number, value if state == "complete" else None, state=_STATES[state])
        self._open.discard(number)
        self._handles.pop(number, None)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        found = Counter(row.state for row in self.rows())
        return {state: found[state] for state in ("complete", "pruned", "failed", "running")}

    def best(self, k: int = 1) -> list[Row]:
        """The k best complete trials, best first (ties: the earlier one)."""
        done = [row for row in self.rows() if row.value is not None]
        return sorted(done, key=lambda row: (-(row.value or 0.0), row.number))[:k]

    def _suggest(self, trial: optuna.Trial) -> None:
        for name, distribution in self._space.items():
            if isinstance(distribution, optuna.distributions.FloatDistribution):
                trial.suggest_float(
                    name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
                )
            elif isinstance(distribution, optuna.distributions.IntDistribution):
                trial.suggest_int(
                    name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
                )
            elif isinstance(distribution, optuna.distributions.CategoricalDistribution):
                trial.suggest_categorical(name, distribution.choices)

    def _handle(self, number: int) -> optuna.Trial:
        if number not in self._handles:
            self._handles[number] = self._reopen(number)
        return self._handles[number]

    def _reopen(self, number: int) -> optuna.Trial:
        frozen: FrozenTrial = self._study.get_trials(deepcopy=False)[number]
        return optuna.Trial(self._study, frozen._trial_id)


def journal(folder: Path) -> BaseStorage:
    """The default storage: a journal file in the sweep's folder, whose lock the caller holds."""
    file = folder / JOURNAL
    _mend(file)
    return JournalStorage(JournalFileBackend(str(file)))


def _mend(file: Path) -> None:
    """Take away what a writer that was killed, or whose disk was full, can leave: its lock, and half a line.

    Optuna would wait half a minute for the lock; and it appends to half a line, after which nothing can be read at all.
    """
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        with open(file, "rb+") as journal:
            journal.truncate(journal.read().rfind(b"\n") + 1)


def database(url: str) -> BaseStorage:
    """The storage at an Optuna URL. Raises KnobError if it cannot be opened."""
    try:
        return RDBStorage(url)
    except Exception as error:  # whatever the database's driver raises
        raise KnobError(f"search.storage={without_password(url)}: cannot be opened: {first_line(error)}") from error


def make_sampler(search: Search, trials: int) -> BaseSampler:
    """Optuna's sampler, seeded for a study that has so many trials already."""
    seed = (search.seed + trials) % 2**32
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=search.startup_trials, multivariate=True, constant_liar=True)


def group_by_pack(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows of each pack, packs in order."""
    packs: dict[int, list[Row]] = {}
    for row in rows:
        if row.pack is not None:
            packs.setdefault(row.pack, []).append(row)
    return dict(sorted(packs.items()))


def _row(trial: FrozenTrial) -> Row:
    return Row(
        number=trial.number,
        state=_NAMES[trial.state],
        params=trial.params,
        values=trial.intermediate_values,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        pack=trial.user_attrs.get("pack"),
        reason=trial.user_attrs.get("reason", ""),
    )
