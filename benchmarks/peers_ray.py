"""A search by stock Ray Tune: OptunaSearch and MLflowLoggerCallback, one network a trial, a core each.

`python benchmarks/peers_ray.py '{"trials": 8, ...}' [tuned]`, see peers.py; prints when each trial began and ended.
Tuned it has no loggers but MLflow, and keeps processes from trial to trial.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from peers_task import Job, Task


def main(job: Job, tuned: bool) -> list[tuple[float, float]]:
    """Search in the current folder; (begin, end) of each trial, in seconds of the wall clock."""
    from lca_sweep.config import Cluster
    from lca_sweep.sweep.cluster import connected

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = str(int(tuned))  # those for CSV, JSON and TensorBoard
    with connected(Cluster()):
        return _search(job, tuned)


def _search(job: Job, tuned: bool) -> list[tuple[float, float]]:
    import optuna
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    began, ended = dict[str, float](), dict[str, float]()

    class Clock(tune.Callback):
        """When trials begin and end, as Tune sees it."""

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            began.setdefault(trial.trial_id, time.time())

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ended[trial.trial_id] = time.time()

    def train(params: dict[str, Any], task: Task) -> None:
        for metrics in task.curve(params):
            tune.report(metrics)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = job.task()
    store = MLflowLoggerCallback(tracking_uri="sqlite:///mlflow.db", experiment_name="stock")
    grid = tune.Tuner(
        tune.with_parameters(train, task=task),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(dict(task.space), metric="val_accuracy", mode="max", seed=0),
            num_samples=job.trials,
            reuse_actors=tuned,
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd()), callbacks=[store, Clock()], verbose=0),
    ).fit()
    assert not grid.errors and len(grid) == job.trials, grid.errors
    return [(began[name], ended[name]) for name in began]


if __name__ == "__main__":
    print(json.dumps(main(Job(**json.loads(sys.argv[1])), sys.argv[2:] == ["tuned"])))
