"""Ray Tune as its manual has it: one network a trial, Ray's own searcher, scheduler and stopper."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rival_task import EPOCHS, Task, Told

from lca_sweep.config import Cluster
from lca_sweep.sweep.cluster import connected

METRIC = "accuracy"


@contextmanager
def ray_of_two() -> Iterator[None]:
    """A quiet local Ray that trains two trials at a time."""
    with connected(Cluster()):
        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
        yield


def stock(task: Task, seed: int, budget: int, reduction: float | None) -> list[Told]:
    """OptunaSearch, and ASHA with this reduction factor (None: every trial trains to the end), two trials at a time."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch
    from ray.tune.stopper import Stopper

    class Budget(Stopper):
        """Ends everything after so many epochs of all trials, which it writes down."""

        def __init__(self) -> None:
            self.told: list[Told] = []

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            told = Told(trial_id, result["training_iteration"], result[METRIC])
            if told not in self.told[-4:]:  # Tune repeats the last result of a function that has returned
                self.told.append(told)
            return self.stop_all()

        def stop_all(self) -> bool:
            return len(self.told) >= budget

    def train(params: dict[str, Any], task: Task) -> None:
        import torch

        torch.set_num_threads(1)
        for value in task.curve(params):
            tune.report({METRIC: value})

    stopper = Budget()
    searcher = ConcurrencyLimiter(OptunaSearch(dict(task.space), metric=METRIC, mode="max", seed=seed), 2)
    scheduler: TrialScheduler = FIFOScheduler()
    if reduction:
        scheduler = ASHAScheduler(metric=METRIC, mode="max", max_t=EPOCHS, grace_period=5, reduction_factor=reduction)
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_parameters(train, task=task),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="stock", storage_path=folder, stop=stopper, verbose=0),
        ).fit()
    return stopper.told[:budget]
