"""A study as it stands, for those who only look: nothing is written, whoever may be writing it meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from lca_sweep.core.errors import UserError, first_line
from lca_sweep.search.rows import Row, row_of
from lca_sweep.search.space import Space
from lca_sweep.search.storage import JOURNAL, damaged, database, refuse_damaged_end

FEWEST = 8  # trials from which importances are told


class ReadError(UserError):
    """A study cannot be read; the message is one line for the user."""


def read_rows(folder: Path, url: str | None, name: str, space: Space) -> list[Row]:
    """Every trial of a sweep, by number, from its study: of the journal in `folder`, or of the database at `url`.

    Raises ReadError if there is no such study or it cannot be read, KnobError if the database cannot be opened.
    """
    where = f"the study {name} at {'search.storage' if url else folder / JOURNAL}"
    try:
        storage = database(url) if url else _journal(folder / JOURNAL)
        trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    except KeyError as error:
        raise ReadError(f"{where}: there is none") from error
    except UserError:
        raise
    except (OSError, ValueError, StorageInternalError) as error:
        raise ReadError(f"{where}: cannot be read: {first_line(error)}") from error
    return [row for row in (row_of(trial, space) for trial in trials) if not row.foreign]


def _journal(file: Path) -> BaseStorage:
    os.stat(file)  # for Optuna would make an empty one
    try:
        refuse_damaged_end(file)
        return JournalStorage(JournalFileBackend(str(file)))
    except OSError:
        raise
    except Exception as error:  # whatever Optuna raises at lines that it has not written
        raise ReadError(damaged(file, error)) from error


def importances(rows: Sequence[Row], space: Space, maximize: bool = True) -> tuple[int, dict[str, float]]:
    """How much each searched knob decides which trials are in the best third, the largest first, sum 1.

    PED-ANOVA (Watanabe et al. 2023), told by the first objective at the last epoch that at least half of the trials
    reached, which comes first: so trials that left early count too. Seeds are not among the knobs, nor what not every
    trial has. Empty where there are too few trials, all do equally well, or there is only one knob.
    """
    when = Space.of(space).when
    space = Space({name: found for name, found in space.items() if not name.endswith("seed") and name not in when})
    ended = [row for row in rows if row.values and row.state in ("complete", "pruned") and row.replicate is None]
    if len(ended) < FEWEST or len(space) < 2:
        return 0, {}
    epoch = half_reach(ended)
    values = {row.number: row.values[epoch] for row in ended if epoch in row.values}
    if len(values) < FEWEST or len(set(values.values())) == 1:
        return epoch, {}
    sign = 1 if maximize else -1
    return epoch, _ped_anova([row for row in ended if row.number in values], lambda n: sign * values[n], space)


def half_reach(rows: Sequence[Row]) -> int:
    """The last epoch that at least half of some trials, each with the objective of its epochs, have reached."""
    return sorted((max(row.values) for row in rows), reverse=True)[(len(rows) - 1) // 2]


def _ped_anova(rows: Sequence[Row], value: Callable[[int], float], space: Space) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # loads sklearn, in 2 s

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for row in rows:
        params = {name: row.params[name] for name in space}
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, params=params, distributions=dict(space), value=value(row.number))
        )
    # the better third against all: of a few trials the default, a tenth, is no more than one
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=1 / 3))
