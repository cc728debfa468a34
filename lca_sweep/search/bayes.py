"""Samplers that learn a model from the trials so far: Parzen estimators (TPE) and Gaussian processes.

What a sampler sees are the trials that have the knobs in question. Before so many of these are complete, it draws at
random.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from lca_sweep.config import Search
from lca_sweep.search.conditional import Space
from lca_sweep.search.quiet import quiet


class Tpe(TPESampler):
    """TPE (Bergstra et al. 2011); trials that still run count as bad ones (constant liar)."""

    def __init__(self, seed: int, search: Search, space: Space) -> None:
        super().__init__(
            seed=seed,
            n_startup_trials=0,  # ours, as Optuna counts pruned trials too
            n_ei_candidates=search.tpe.candidates,
            multivariate=search.tpe.multivariate,
            constant_liar=search.tpe.constant_liar,
        )
        self._space, self._startup, self._together = space, search.startup_trials, search.tpe.multivariate

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The sweep's own. Optuna's would be gathered anew from all the trials there are."""
        return _several_valued(self._space.next(trial.params)) if self._together else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """These knobs together."""
        return super().sample_relative(study, trial, search_space) if self._knows_enough(study) else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One knob by itself."""
        if self._knows_enough(study):
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)

    def _knows_enough(self, study: optuna.Study) -> bool:
        return complete(study) >= self._startup


class Gp(GPSampler):
    """Gaussian process with expected improvement, in which trials that still run have unknown values."""

    def __init__(self, seed: int, search: Search, space: Space) -> None:
        with quiet():
            super().__init__(
                seed=seed,
                n_startup_trials=max(1, search.startup_trials),  # there is no process without any
                deterministic_objective=search.gp.noiseless,
                warn_independent_sampling=False,
            )
        self._space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The sweep's own, as for TPE."""
        return _several_valued(self._space.next(trial.params))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """These knobs together; Optuna's remark that another package would make it faster is left out."""
        with quiet():
            return super().sample_relative(study, trial, search_space)


def complete(study: optuna.Study) -> int:
    """How many complete trials a sampler can learn from."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _several_valued(space: dict[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    return {name: distribution for name, distribution in space.items() if not distribution.single()}
