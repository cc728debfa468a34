"""A search by plain Optuna: two processes over one journal, one network a trial; nothing is recorded elsewhere.

`python benchmarks/peers_optuna.py '{"trials": 8, ...}'`, see peers.py; prints when each trial began and ended.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from functools import partial

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from peers_task import Job

NAME, PROCESSES = "plain", 2


def main(job: Job) -> list[tuple[float, float]]:
    """Search in the current folder; (begin, end) of each trial, in seconds of the wall clock."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(storage=_storage(), study_name=NAME, direction="maximize")
    counts = [job.trials // PROCESSES + (n < job.trials % PROCESSES) for n in range(PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(partial(_work, job), enumerate(counts), chunksize=1)
    trials = optuna.load_study(study_name=NAME, storage=_storage()).get_trials(deepcopy=False)
    assert len(trials) == job.trials and all(trial.state.is_finished() for trial in trials)
    return [(one.datetime_start.timestamp(), one.datetime_complete.timestamp()) for one in trials]  # type: ignore[union-attr]


def _storage() -> JournalStorage:
    return JournalStorage(JournalFileBackend("study.journal"))


def _work(job: Job, seed: int, trials: int) -> None:
    """So many trials in this process."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = job.task()
    study = optuna.load_study(study_name=NAME, storage=_storage(), sampler=optuna.samplers.TPESampler(seed=seed))

    def objective(trial: optuna.Trial) -> float:
        value = 0.0
        params = {name: trial._suggest(name, distribution) for name, distribution in task.space.items()}
        for epoch, metrics in enumerate(task.curve(params), 1):
            value = metrics["val_accuracy"]
            trial.report(value, epoch)
        return value

    study.optimize(objective, n_trials=trials)


if __name__ == "__main__":
    print(json.dumps(main(Job(**json.loads(sys.argv[1])))))
