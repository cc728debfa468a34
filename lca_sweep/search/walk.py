"""Grid search: the first point of the grid that no trial has."""

from __future__ import annotations

from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lca_sweep.search.conditional import Space
from lca_sweep.search.grid import Grid, Params, value
from lca_sweep.search.mirror import Mirror


class Walk(BaseSampler):
    """One for a whole study: it looks at each row until a pack has it. What a row has already stays as it is."""

    def __init__(self, space: Space) -> None:
        self._space, self._grid = space, Grid(space)
        self._visited: set[tuple[Any, ...]] = set()
        self._loose: set[int] = set()  # rows that no pack has taken yet
        self._seen = 0  # rows
        self._first = 0  # the first point that may be free
        self._point: Params | None = None

    def again(self) -> Walk:
        """Itself, to propose another trial."""
        self._point = None
        return self

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it."""
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """The first point that no other row has, of those with what this one has."""
        if self._point is None:
            given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            waiting = self._look(cast(Mirror, study._storage), trial.number)
            self._point = dict(given) if self._space.whole(given) else self._free(given, waiting)
        return self._point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Where all fitting points have been visited: the knob's first value."""
        return value(param_distribution, 0)

    def _look(self, mirror: Mirror, own: int) -> set[tuple[Any, ...]]:
        """Take in the rows that were added or taken by a pack since; the points of those that still wait."""
        self._loose |= set(range(self._seen, len(mirror)))
        self._seen = len(mirror)
        for number in sorted(self._loose - {own}):
            trial = mirror.get_trial(number)
            if trial.user_attrs.get("pack") is not None:
                self._visited.add(self._key(trial.params))
            if trial.user_attrs.get("pack") is not None or trial.state.is_finished():  # else nobody trains it
                self._loose.discard(number)
        return {self._key(mirror.get_trial(number).params) for number in self._loose - {own}}

    def _free(self, given: Params, waiting: set[tuple[Any, ...]]) -> Params:
        if given:
            found = self._grid.fitting(given)
            return next((point for point in found if self._key(point) not in self._visited | waiting), given)
        while self._first < self._grid.size and self._key(self._grid.point(self._first)) in self._visited:
            self._first += 1
        points = (self._grid.point(index) for index in range(self._first, self._grid.size))
        return next((point for point in points if self._key(point) not in self._visited | waiting), {})

    def _key(self, params: Params) -> tuple[Any, ...]:
        return tuple(params.get(name) for name in self._space)
