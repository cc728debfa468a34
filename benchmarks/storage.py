"""Optuna's storages as the sweep uses them: ask for 8 knobs, report 10 epochs, tell."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import optuna
from harness import interleave, table
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, RDBStorage

from lca_sweep.search.study import journal

KNOBS = 8
EPOCHS = 10


def one_trial(storage: BaseStorage) -> Callable[[], object]:
    """Ask, report and tell one trial; random, so that only the storage is measured."""
    study = optuna.create_study(storage=storage, sampler=RandomSampler(0), direction="maximize")

    def run() -> None:
        trial = study.ask()
        for knob in range(KNOBS):
            trial.suggest_float(f"knob{knob}", 0, 1)
        for epoch in range(1, EPOCHS + 1):
            trial.report(0.5, epoch)
        study.tell(trial, 0.5)

    return run


def main(rounds: int) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "journal file": one_trial(journal(Path(folder))),
            "SQLite": one_trial(RDBStorage(f"sqlite:///{folder}/study.db")),
        }
        seconds = interleave(contenders, 4 * rounds, 4)
    print(table(f"Optuna storage, one trial of {KNOBS} knobs and {EPOCHS} epochs", seconds, "journal file"), flush=True)


if __name__ == "__main__":
    main(9)
