"""NSGA-II (Deb et al. 2002): the better trials of a generation are the parents of the next one."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from lca_sweep.config import Search
from lca_sweep.search import evolution
from lca_sweep.search.conditional import Space


class Nsga2(NSGAIISampler):
    """Optuna's, whose generations are read from the rows. Knobs that not every trial has are drawn at random."""

    def __init__(self, seed: int, search: Search, space: Space) -> None:
        super().__init__(
            seed=seed,
            population_size=search.nsga2.population,
            crossover_prob=search.nsga2.crossover,
            mutation_prob=search.nsga2.mutation,
        )
        self._space, self._size = space, search.nsga2.population

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The knobs that every trial has."""
        fresh = self._space.next(trial.params)
        return {name: fresh[name] for name in fresh if name not in self._space.when and not fresh[name].single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child of two parents, or of one."""
        if not search_space:
            return {}
        generation = evolution.current(study.get_trials(deepcopy=False), self._size, (TrialState.COMPLETE,))
        parents = self.get_parent_population(study, generation)
        evolution.note(study, trial, generation, [parent.number for parent in parents])
        return self._child_generation_strategy(study, search_space, parents) if parents else {}

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The complete trials of a generation."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in trials if evolution.generation_of(trial) == generation]

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The trials that a generation is made from, by number; Optuna's would be forgotten with the process."""
        if generation == 0:
            return []
        trials = study.get_trials(deepcopy=False)
        known = evolution.parents_of(trials, generation)
        if known is None:
            known = [parent.number for parent in self.select_parent(study, generation)]
        return [trial for trial in trials if trial.number in set(known)]
