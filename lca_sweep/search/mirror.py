"""The study in memory: what samplers look at, and what all reads are answered from."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lca_sweep.search.space import Space

NAME = "mirror"


class Mirror(InMemoryStorage):
    """The trials of one study with their numbers, which are their ids too.

    Samplers propose here, so that nothing of a proposal is written before it is whole. `directions` are the study's.
    """

    def __init__(self, directions: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE,)) -> None:
        super().__init__()
        self._study = self.create_new_study(list(directions), NAME)

    def __len__(self) -> int:
        return len(self._trials())

    def append(self, trial: FrozenTrial) -> int:
        """Add a trial under the next number; the number."""
        number = len(self)
        self._trial_id_to_study_id_and_number[number] = (self._study, number)
        self._trials().append(trial)
        self.replace(number, trial)
        return number

    def replace(self, number: int, trial: FrozenTrial) -> None:
        """Put a trial in the place of the one of this number. Optuna writes into these two of its dicts."""
        own = copy.copy(trial)
        own.number = own._trial_id = number
        own.params, own.distributions = dict(trial.params), dict(trial.distributions)
        self._trials()[number] = own

    def propose(self, number: int, space: Space, sampler: BaseSampler) -> FrozenTrial:
        """The trial of this number, or of the next, with all its parameters; the mirror is afterwards as before."""
        new = number == len(self)
        if new:
            self.append(create_trial(state=TrialState.RUNNING))
        before = self.get_trial(number)
        try:
            self.replace(number, before)
            trial = optuna.Trial(optuna.load_study(study_name=NAME, storage=self, sampler=sampler), number)
            for name in sorted(space):  # in whatever order the knobs were given
                trial._suggest(name, space[name])
            return self.get_trial(number)
        finally:
            self.replace(number, before)
            if new:
                self._trials().pop()
                del self._trial_id_to_study_id_and_number[number]

    def _trials(self) -> list[FrozenTrial]:
        return self._studies[self._study].trials
