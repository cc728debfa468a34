"""The study in memory: what samplers look at, and what all reads are answered from."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lca_sweep.search.conditional import Space

NAME = "mirror"
SHARED = ("tpe:relative_params:", "gp:relative_params:")  # half proposals, for other processes of Optuna's


class Mirror(InMemoryStorage):
    """The trials of one study with their numbers, which are their ids too.

    Samplers propose here, so that nothing of a proposal is written before it is whole. `directions` are the study's.
    """

    def __init__(self, directions: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE,)) -> None:
        super().__init__()
        self._study = self.create_new_study(list(directions), NAME)
        self._several = len(directions) > 1
        self._wanted: Iterable[str] = ()  # knobs that are being proposed

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
        """The trial of this number, or of the next, with all its parameters; the mirror is afterwards as before.

        First the knobs that every trial has, together; then those that exist given these, together; and so on.
        """
        new = number == len(self)
        if new:
            self.append(create_trial(state=TrialState.RUNNING))
        before = self.get_trial(number)
        try:
            self.replace(number, before)
            while fresh := space.next(self.get_trial(number).params):
                self._suggest(number, fresh, sampler)
            return self.get_trial(number)
        finally:
            self._wanted = ()
            self.replace(number, before)
            if new:
                self._trials().pop()
                del self._trial_id_to_study_id_and_number[number]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials; while knobs are proposed those that have them, so that samplers learn from these alone."""
        return [trial for trial in super().get_all_trials(study_id, deepcopy, states) if self._tells(trial)]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something about a trial; but not half a proposal, since nobody sees one."""
        if not key.startswith(SHARED):
            super().set_trial_system_attr(trial_id, key, value)

    def _suggest(self, number: int, fresh: dict[str, BaseDistribution], sampler: BaseSampler) -> None:
        self._wanted = fresh.keys()
        trial = optuna.Trial(optuna.load_study(study_name=NAME, storage=self, sampler=sampler), number)
        assert trial.relative_params is not None  # also where all values are given: samplers note a generation then
        for name, distribution in fresh.items():
            trial._suggest(name, distribution)

    def _tells(self, trial: FrozenTrial) -> bool:
        if not self._wanted:
            return True
        if self._several and trial.state == TrialState.PRUNED:  # Optuna ranks these by one objective only
            return False
        return all(name in trial.params for name in self._wanted)

    def _trials(self) -> list[FrozenTrial]:
        return self._studies[self._study].trials
