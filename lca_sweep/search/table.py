"""The rows of one study, twice: in the storage, which is the truth, and in a mirror, which is quick to read."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lca_sweep.search.mirror import Mirror
from lca_sweep.search.outage import Patience
from lca_sweep.search.storage import Journal

NONCE = "row"  # user attribute
TWICE = "written twice by a storage that had not answered"


class Table:
    """Writes to the storage, patiently, and what has been written there to the mirror. `note` is told each new number
    and each changed one. Every method raises StudyLost if the storage gives no answer.
    """

    def __init__(self, storage: BaseStorage, study: int, patience: Patience) -> None:
        self.mirror = Mirror(patience(lambda: storage.get_study_directions(study)))
        self._storage, self._study = storage, study
        self._patience = patience
        self._ids: list[int] = []  # in the storage, by number
        self._nonces: set[str] = set()  # of the rows that are here
        self._mine: set[str] = set()  # of the rows that this process has written

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, note: Callable[[int], None]) -> None:
        """Take over all that the storage has; to be called first, and once."""
        self._note = note
        for trial in self._patience(lambda: self._storage.get_all_trials(self._study, deepcopy=False)):
            twin = _nonce(trial) in self._nonces
            self._append(trial._trial_id, self._patience(partial(self._ended, trial)) if twin else trial)

    def claim(self, uid: str) -> str:
        """Whose study this is: from now on that of `uid`, unless somebody else's already."""
        owner = self._patience(lambda: self._storage.get_study_user_attrs(self._study)).get("sweep")
        if owner is None:
            self._patience(lambda: self._storage.set_study_user_attr(self._study, "sweep", uid))
        return str(owner or uid)

    def add(self, row: FrozenTrial) -> int:
        """Add a row, in one write; its number, which is the next one unless others have added rows too."""
        number = len(self)
        row.user_attrs[NONCE] = uuid.uuid4().hex
        self._mine.add(_nonce(row))

        def add() -> int:
            return self._storage.create_new_trial(self._study, row)

        def add_again() -> int:  # it may be there although the storage gave no answer
            self._look_for_new()
            there = [n for n in range(number, len(self)) if _nonce(self.mirror.get_trial(n)) == _nonce(row)]
            return self._ids[there[0]] if there else add()

        id = self._patience(add, add_again)
        if len(self) == number and self._patience(lambda: self._id_of(number)) == id:
            self._append(id, row)
        else:
            self.look_for_new()
        return self._ids.index(id, number)

    def look_for_new(self) -> None:
        """Take over the rows that others have added."""
        self._patience(self._look_for_new)

    def write(self, number: int, write: Callable[[BaseStorage, int], object]) -> None:
        """Change a row. The end of a trial stays as it is, whoever wrote it."""
        try:
            self._patience(lambda: write(self._storage, self._ids[number]))
        except UpdateFinishedTrialError:
            self.read(number)
        else:
            write(self.mirror, number)
            self._note(number)

    def settle(self) -> None:
        """Have the disk hold all that was written; other storages than a journal see to that themselves."""
        if isinstance(self._storage, Journal):
            self._patience(self._storage.settle)

    def read(self, number: int) -> None:
        """Take over what the storage has of a row."""
        self.mirror.replace(number, self._patience(lambda: self._storage.get_trial(self._ids[number])))
        self._note(number)

    def _look_for_new(self) -> None:
        while (id := self._id_of(len(self))) is not None:
            trial = self._storage.get_trial(id)
            stray = trial.user_attrs.get("pack") is not None and _nonce(trial) not in self._mine - self._nonces
            self._append(id, self._ended(trial) if stray else trial)

    def _id_of(self, number: int) -> int | None:
        try:
            return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)
        except KeyError:
            return None

    def _append(self, id: int, trial: FrozenTrial) -> None:
        self._ids.append(id)
        self._nonces |= {_nonce(trial)} - {""}
        self._note(self.mirror.append(trial))

    def _ended(self, trial: FrozenTrial) -> FrozenTrial:
        """A row of a pack that nobody trains, and that has failed now, in no pack: its write was given up, by us or by
        a driver that died, and has come through after all. Before the mirror has it; may be repeated.
        """
        id, storage = trial._trial_id, self._storage
        if trial.state != TrialState.RUNNING:
            return trial
        with suppress(UpdateFinishedTrialError):
            storage.set_trial_user_attr(id, "reason", TWICE)
            storage.set_trial_user_attr(id, "pack", None)
            storage.set_trial_state_values(id, TrialState.FAIL)
        return storage.get_trial(id)


def _nonce(trial: FrozenTrial) -> str:
    """What tells a row from another of the same parameters; empty in rows of others."""
    return str(trial.user_attrs.get(NONCE, ""))
