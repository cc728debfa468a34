"""Optuna's samplers, one for each trial: what a trial is follows from the seed, its number, and what came before it."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from lca_sweep.config import Search
from lca_sweep.search.space import Space


def make_sampler(search: Search, space: Space, number: int) -> BaseSampler:
    """The sampler that proposes the trial of this number, and no other."""
    seed = int(np.random.SeedSequence((search.seed, number)).generate_state(1)[0])
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return _Tpe(seed, search.startup_trials, space)


class _Tpe(TPESampler):
    """TPE over the sweep's own space. Optuna's would gather it anew from all the trials there are."""

    def __init__(self, seed: int, startup_trials: int, space: Space) -> None:
        super().__init__(seed=seed, n_startup_trials=startup_trials, multivariate=True, constant_liar=True)
        self._whole = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._whole)
