"""Optuna's storages as the sweep uses them: ask for 8 knobs, report 10 epochs, tell; plainly, and by our study."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import optuna
from harness import interleave, table
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from lca_sweep.config import Config, Search
from lca_sweep.search.space import Space
from lca_sweep.search.storage import JOURNAL, database, journal
from lca_sweep.search.study import Study

EPOCHS = 10
PACK = 8
SPACE = Space({f"knob{knob}": FloatDistribution(0, 1) for knob in range(8)})


def plain(storage: BaseStorage, search: Search) -> Callable[[], object]:
    """One trial by Optuna alone, as its manual has it."""
    sampler: BaseSampler = optuna.samplers.RandomSampler(0)
    if search.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, constant_liar=True)
    study = optuna.create_study(
        storage=storage, sampler=sampler, direction="maximize", study_name="plain", load_if_exists=True
    )

    def run() -> None:
        trial = study.ask()
        for name in SPACE:
            trial.suggest_float(name, 0, 1)
        trial.set_user_attr("pack", trial.number)
        for epoch in range(1, EPOCHS + 1):
            trial.report(trial.params["knob0"], epoch)
        study.tell(trial, trial.params["knob0"])

    return run


def ours(storage: BaseStorage, search: Search) -> Callable[[], object]:
    """One trial by the sweep's study."""
    study = Study.open(Config(search=search), "ours", SPACE, storage)
    packs = itertools.count()

    def run() -> None:
        (row,) = study.ask([next(packs)])
        for epoch in range(1, EPOCHS + 1):
            study.report(row.number, epoch, row.params["knob0"])
        study.finish(row.number, "complete", row.params["knob0"])

    return run


def reports(storage: BaseStorage, then: Callable[[], object] = lambda: None) -> Callable[[], object]:
    """An epoch's values of a pack, which are to be on the disk then; `then` follows each."""
    study = Study.open(Config(search=Search(sampler="random")), "reports", SPACE, storage)
    numbers = [row.number for row in study.ask([0] * PACK)]
    epochs = itertools.count(1)

    def run() -> None:
        epoch = next(epochs)
        for number in numbers:
            study.report(number, epoch, 0.5)
            then()
        study.settle()

    return run


def filled(storage: BaseStorage, name: str, trials: int) -> BaseStorage:
    """A storage with a study that has so many trials."""
    study = optuna.create_study(storage=storage, direction="maximize", study_name=name)
    draw = random.Random(0)
    for number in range(trials):
        row = create_trial(
            state=TrialState.COMPLETE,
            params={name: draw.random() for name in SPACE},
            distributions=dict(SPACE),
            value=draw.random(),
            user_attrs={"pack": number},
            intermediate_values={epoch: draw.random() for epoch in range(1, EPOCHS + 1)},
        )
        study.add_trial(row)
    return storage


def main(rounds: int) -> None:
    """Print the tables."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    title = f"one trial of {len(SPACE)} knobs and {EPOCHS} epochs"
    with tempfile.TemporaryDirectory() as folder:

        def new(kind: str, name: str) -> BaseStorage:
            path = Path(folder, name)
            path.mkdir()
            return journal(path) if kind == "journal" else database(f"sqlite:///{path}/study.db")

        contenders = {
            f"{kind}, {sampler}, {who.__name__}": who(
                new(kind, f"{kind}-{sampler}-{who.__name__}"), Search(sampler=sampler)
            )
            for kind in ("journal", "SQLite")
            for sampler in ("random", "tpe")
            for who in (plain, ours)
        }
        print(table(f"Optuna storage, {title}", interleave(contenders, 4 * rounds, 4), "journal, random, plain"))
        waits = new("journal", "waits")
        with open(Path(folder, "waits", JOURNAL), "rb") as file:
            contenders = {
                "journal": reports(new("journal", "reports")),
                "journal, waiting for the disk each time": reports(waits, lambda: os.fsync(file.fileno())),
                "SQLite": reports(new("SQLite", "reports-sqlite")),
            }
            seconds = interleave(contenders, 2 * rounds, 2)
        print(table("An epoch's value of a trial", seconds, "journal", per=PACK), flush=True)
        contenders = {
            f"{who.__name__}, {trials} trials": who(
                filled(new("journal", f"{who.__name__}-{trials}"), who.__name__, trials), Search(sampler="random")
            )
            for trials in (100, 10_000)
            for who in (plain, ours)
        }
        seconds = interleave(contenders, 4 * rounds, 4)
        title = f"In a study of many trials (journal, random sampler), {title}"
        print(table(title, seconds, "ours, 100 trials"), flush=True)


if __name__ == "__main__":
    main(9)
