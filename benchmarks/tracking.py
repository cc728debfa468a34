"""What it costs the driver to tell MLflow of an epoch and of an end: by way of the outbox, and directly."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from harness import interleave, table

from lca_sweep.tracking import SweepRecord, Tracker, TrialRecord, open_tracker
from lca_sweep.tracking.database import prepare

METRICS = {f"layer{i % 5}/metric{i}": i / 7 for i in range(35)}  # as many as a trial has
CALLS = 10  # in a turn
TITLES = (
    f"MLflow in SQLite, an epoch of {len(METRICS)} metrics",
    "MLflow in SQLite, start and end of a trial without params, on disk",
)


def told(folder: Path) -> tuple[Callable[[], object], Callable[[], object], Tracker]:
    """Tell epochs; the start and the end of trials, on disk when it returns; and what they are told to."""
    tracker = open_tracker(f"sqlite:///{folder}/mlflow.db", "bench", folder / "outbox")
    tracker.start_sweep(SweepRecord("bench", "0" * 32, {}, {}, {}, folder))
    numbers, epochs = count(1), count(1)
    tracker.start_trials([TrialRecord(0, 0, {}, frozenset(), {})])

    def epoch() -> None:
        for _ in range(CALLS):
            tracker.log(0, next(epochs), METRICS)

    def end() -> None:
        for _ in range(CALLS):
            number = next(numbers)
            tracker.start_trials([TrialRecord(number, 0, {}, frozenset(), {})])
            tracker.end_trial(number, "complete")
            tracker.settle()

    return epoch, end, tracker


def then(tell: Callable[[], object], tracker: Tracker) -> Callable[[], object]:
    """Tell, and wait until MLflow has it: the thread has nothing to do when the next contender's turn comes."""

    def run() -> None:
        tell()
        tracker.flush(60)

    return run


def direct(folder: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same, written to MLflow before it returns."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    prepare(folder / "direct.db")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/direct.db")
    experiment = client.create_experiment("direct")
    run, epochs = client.create_run(experiment).info.run_id, count(1)

    def epoch() -> None:
        for _ in range(CALLS):
            step = next(epochs)
            client.log_batch(run, metrics=[Metric(key, value, step, step) for key, value in METRICS.items()])

    def end() -> None:
        for _ in range(CALLS):
            client.set_terminated(client.create_run(experiment).info.run_id)

    return epoch, end


def main(rounds: int) -> None:
    """Print the tables."""
    folder = Path(tempfile.mkdtemp(prefix="lca_sweep-"))
    try:
        *tells, tracker = told(folder)
        for title, tell, write in zip(TITLES, tells, direct(folder), strict=True):
            contenders = {"outbox": tell, "outbox, and MLflow has it": then(tell, tracker), "MlflowClient": write}
            print(table(title, interleave(contenders, rounds), "outbox", per=CALLS), flush=True)
        tracker.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(9)
