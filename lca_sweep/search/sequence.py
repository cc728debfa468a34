"""Quasi-random search: the n-th trial is the n-th point of a low-discrepancy sequence."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lca_sweep.config import Search
from lca_sweep.search.conditional import Space
from lca_sweep.search.cube import value


class Qmc(BaseSampler):
    """A point of the whole space, of which a trial takes the knobs that it has."""

    def __init__(self, search: Search, space: Space, number: int) -> None:
        self._space = {name: space[name] for name in sorted(space)}
        self._search, self._number = search, number

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it."""
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The point with this trial's number."""
        places = self._places() if search_space else []
        return {name: value(found, at) for (name, found), at in zip(search_space.items(), places, strict=True)}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: a point has all knobs."""
        raise NotImplementedError(param_name)

    def _places(self) -> list[float]:
        from scipy.stats import qmc  # takes a while

        kind = qmc.Sobol if self._search.qmc.sequence == "sobol" else qmc.Halton
        engine = kind(len(self._space), scramble=self._search.qmc.scramble, rng=self._search.seed)
        if self._number:
            engine.fast_forward(self._number)
        return [float(place) for place in engine.random(1)[0]]
