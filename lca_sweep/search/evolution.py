"""Generations of evolutionary samplers. Each row says of which generation it is, and which earlier rows made that one.

So the next driver goes on with the same generations, however many of their trials have ended meanwhile. The numbers are
JSON in a trial's system attributes; nothing else of a sampler is kept.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

GENERATION, PARENTS = "evolution:generation", "evolution:parents"


def generation_of(trial: FrozenTrial) -> int:
    """Rows without a word, taken over from elsewhere, count to the first one."""
    return int(trial.system_attrs.get(GENERATION, 0))


def current(trials: Sequence[FrozenTrial], population: int, ends: Container[TrialState]) -> int:
    """The generation of the next trial: a new one where enough trials of the newest have come to one of these ends."""
    newest = max(map(generation_of, trials), default=0)
    ended = sum(trial.state in ends for trial in trials if generation_of(trial) == newest)
    return newest + (ended >= population)


def parents_of(trials: Sequence[FrozenTrial], generation: int) -> list[int] | None:
    """The numbers of the trials that a generation was made from; None where it has no row yet."""
    for trial in trials:
        if generation_of(trial) == generation and PARENTS in trial.system_attrs:
            return list(trial.system_attrs[PARENTS])
    return None


def note(study: optuna.Study, trial: FrozenTrial, generation: int, parents: Sequence[int]) -> None:
    """Write of which generation a trial is, and, in the first one of it, from which trials that was made."""
    storage, known = study._storage, parents_of(study.get_trials(deepcopy=False), generation)
    if generation and known is None:
        storage.set_trial_system_attr(trial._trial_id, PARENTS, list(parents))
    storage.set_trial_system_attr(trial._trial_id, GENERATION, generation)
