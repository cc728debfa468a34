"""CMA-ES (Hansen 2016) over the knobs that are numbers and that every trial has; the others are drawn at random.

A generation's distribution follows from the generations before, which the rows tell. It is kept in memory, and made
anew from them by the next driver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lca_sweep.config import Search
from lca_sweep.search import evolution
from lca_sweep.search.conditional import Space
from lca_sweep.search.cube import place, value

ENDS = (TrialState.COMPLETE, TrialState.PRUNED)


class Cmaes(BaseSampler):
    """One for a whole study: `seeded` says which trial it is to propose next."""

    def __init__(self, search: Search, space: Space) -> None:
        self._search = search
        self._space = {
            name: space[name]
            for name in sorted(space)
            if name not in space.when and not isinstance(space[name], CategoricalDistribution)
        }
        self._size = search.cmaes.population or 4 + int(3 * math.log(max(1, len(self._space))))  # Hansen 2016, (48)
        self._told: list[list[int]] = []  # the parents of each generation, from the second
        self._optimizer: Any = None

    def seeded(self, seed: int) -> Cmaes:
        """Itself, to propose the trial of this seed."""
        self._seed, self._random = seed, RandomSampler(seed=seed)
        return self

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The numbers among the knobs that every trial has."""
        return {name: found for name, found in self._space.items() if name not in trial.params}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A draw from the distribution of the current generation."""
        if not search_space:
            return {}
        rows = [one for one in study.get_trials(deepcopy=False) if self._space.keys() <= one.params.keys()]
        generation = evolution.current(rows, self._size, ENDS)
        known = evolution.parents_of(rows, generation)
        parents = self._best(rows, generation - 1, study.direction) if known is None else known
        self._go_to(rows, generation, parents)
        evolution.note(study, trial, generation, parents)
        point = dict(zip(self._space, self._optimizer.ask(), strict=True))
        return {name: value(search_space[name], float(point[name])) for name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """All else at random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _begin(self) -> Any:
        from cmaes import CMA

        middle, bounds = np.full(len(self._space), 0.5), np.tile([0.0, 1.0], (len(self._space), 1))
        return CMA(middle, self._search.cmaes.sigma, bounds, population_size=self._size)

    def _best(self, rows: Sequence[FrozenTrial], generation: int, direction: StudyDirection) -> list[int]:
        """The best of a generation, as many as make the next one."""
        ended = [one for one in rows if one.state in ENDS and evolution.generation_of(one) == generation]
        return [one.number for one in sorted(ended, key=lambda one: _rank(one, direction))[: self._size]]

    def _go_to(self, rows: Sequence[FrozenTrial], generation: int, parents: list[int]) -> None:
        """Bring the distribution to a generation, from where it is, or from the beginning."""
        known = [evolution.parents_of(rows, one) or [] for one in range(len(self._told) + 1, generation)]
        wanted = [*self._told, *known, parents][:generation]
        if self._optimizer is None or self._told != wanted[: len(self._told)]:
            self._optimizer, self._told = self._begin(), []
        by_number = {one.number: one for one in rows}
        for numbers in wanted[len(self._told) :]:
            self._optimizer.tell([(self._point(by_number[n]), float(rank)) for rank, n in enumerate(numbers)])
        self._told = wanted
        self._optimizer.reseed_rng(self._seed)

    def _point(self, trial: FrozenTrial) -> NDArray[np.float64]:
        """Where a trial lies in the unit cube."""
        return np.array([place(found, trial.params[name]) for name, found in self._space.items()])


def _rank(trial: FrozenTrial, direction: StudyDirection) -> tuple[float, ...]:
    """Smaller is better: complete trials by what they break of the constraints and by value, then pruned ones by the
    epoch that they reached and their value there.
    """
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    if trial.state == TrialState.COMPLETE:
        excess = sum(max(0.0, violation) for violation in trial.constraints.values())
        return 0.0, excess, sign * (trial.value or 0.0), trial.number
    epoch, found = max(trial.intermediate_values.items(), default=(0, math.nan))
    return 1.0, -float(epoch), math.inf if math.isnan(found) else sign * found, trial.number
