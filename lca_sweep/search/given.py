"""Rows that no sampler proposes: points that wait, settings trained again, what an earlier sweep found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from lca_sweep.search.rows import FIXED
from lca_sweep.search.space import Space


def waiting(params: Mapping[str, Any], source: str) -> FrozenTrial:
    """A row to be trained with these knobs; the sampler adds the others."""
    return create_trial(state=TrialState.WAITING, user_attrs={"source": source}, system_attrs={FIXED: dict(params)})


def repeated(params: Mapping[str, Any], space: Space, replicate: tuple[int, int], pack: int) -> FrozenTrial:
    """A row in a pack, with all its knobs; `replicate` is the trial that is repeated, and the new seed."""
    return create_trial(
        state=TrialState.RUNNING,
        params=dict(params),
        distributions={name: space[name] for name in params},
        user_attrs={"pack": pack, "replicate": list(replicate)},
    )


def known(
    state: TrialState,
    params: Mapping[str, Any],
    space: Space,
    values: Mapping[int, float],
    scores: Sequence[float],
    violations: Sequence[float],
    source: str,
) -> FrozenTrial:
    """A trial of an earlier sweep as it ended there; in no pack, so that nobody trains it."""
    return create_trial(
        state=state,
        params=dict(params),
        distributions={name: space[name] for name in params},
        intermediate_values=dict(values),
        values=list(scores) or None,
        user_attrs={"source": source},
        system_attrs={"constraints": list(violations)} if violations else {},
    )


def put_in(storage: BaseStorage, study: str, points: Sequence[tuple[Mapping[str, Any], str]]) -> list[int | None]:
    """Add rows that wait to a study which somebody else may be writing; the number of each, None: it was there before.

    `points` are knobs and where they come from. Raises KeyError if there is no such study.
    """
    id = storage.get_study_id_from_name(study)

    def add(row: FrozenTrial) -> int:
        return storage.get_trial_number_from_id(storage.create_new_trial(id, row))

    return put_in_once(storage.get_all_trials(id, deepcopy=False), points, add)


def put_in_once(
    there: Iterable[FrozenTrial], points: Iterable[tuple[Mapping[str, Any], str]], add: Callable[[FrozenTrial], int]
) -> list[int | None]:
    """Have a row that waits added for each point that no trial `there` was put in with; as `put_in`."""
    before = [trial.system_attrs.get(FIXED) for trial in there]
    found: list[int | None] = []
    for params, source in points:
        new = dict(params) not in before
        before += [dict(params)] if new else []
        found.append(add(waiting(params, source)) if new else None)
    return found
