"""Samplers, one for each trial: what a trial is follows from the seed, its number, and what came before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from lca_sweep.config import Search
from lca_sweep.search.grid import point, size, value
from lca_sweep.search.space import Space


def make_sampler(search: Search, space: Space, number: int) -> BaseSampler:
    """The sampler that proposes the trial of this number, and no other."""
    if search.sampler == "grid":
        return _Grid(space)
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


class _Grid(BaseSampler):
    """The first point of the grid that no trial has; what a row that was put in by hand has already stays as it is."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        visited = {self._key(other.params) for other in others if not _never_trained(other)}
        fitting = (found for found in self._points() if given.items() <= found.items())
        return next((found for found in fitting if self._key(found) not in visited), given)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Where all fitting points have been visited: the knob's first value."""
        return value(param_distribution, 0)

    def _points(self) -> Iterator[dict[str, Any]]:
        return (point(self._space, index) for index in range(size(self._space)))

    def _key(self, params: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(params.get(name) for name in self._space)


def _never_trained(trial: FrozenTrial) -> bool:
    """Whether a row has ended before any pack took it."""
    return trial.state.is_finished() and trial.user_attrs.get("pack") is None
