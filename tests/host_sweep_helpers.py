"""What the tests of several hosts share: a sweep that a token guards, and what must be true at its end."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import pytest
from hosts_helpers import Cluster, Host, Sweep, missing
from sweep_helpers import Ended, children, poll, reported, retrained, study

from lca_sweep.core.data import load

WHY_NOT = missing()
MARKS = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

NAME = "hosts"
EPOCHS = 60
WORDS = (
    "data=digits",
    "trainer.batch_size=100",
    "model.width=12",
    f"sweep.name={NAME}",
    "sweep.storage=s3://lca-sweep/sweeps",
    "pack.size=2",
    "pack.checkpoint_every=10",
    f"trainer.epochs={EPOCHS}",
    "search.sampler=random",
    "sweep.space.trainer.lr={low: 0.005, high: 0.05, log: true}",
)
ENDLESS = "sweep.trials=2000"  # `enough` ends it


def trains(host: Host) -> bool:
    """Whether it trains a pack now."""
    return bool(host.processes("Trainable.train"))


def both_train(cluster: Cluster, folder: Path, reports: int = 1) -> None:
    """Wait for that."""
    poll(lambda: reported(folder, NAME) >= reports, "reports")
    for worker in cluster.workers:
        poll(lambda worker=worker: trains(worker), f"pack on host {worker.name}")


def enough(host: Host, folder: Path, run: Sweep) -> Ended:
    """What was begun is finished, and no more; the end of that."""
    done = host.do(sys.executable, "-m", "lca_sweep", "set", NAME, "trials=1", folder=folder)
    assert done.returncode == 0, done.stderr
    return run.end(400)


def check(folder: Path, ended: Ended, also: Set[int] = frozenset()) -> None:
    """Every trial and every epoch once; those of the first pack, and of these packs, with the numbers that they have
    if nobody disturbs them."""
    assert (ended.code, ended.err) == (0, ""), ended.out[-2000:] + ended.err
    assert "(raylet)" not in ended.out and "Traceback" not in ended.out
    trials, runs = study(folder, NAME), children(folder)
    assert {trial.state.name for trial in trials} == {"COMPLETE"} and sorted(runs) == [one.number for one in trials]
    for trial in trials:
        points = list(trial.intermediate_values.items())
        assert [epoch for epoch, _ in points] == list(range(1, EPOCHS + 1)), trial.number
        assert runs[trial.number].metrics["val/accuracy"] == points, trial.number
    some = [trial for trial in trials if trial.user_attrs["pack"] in {0, *also}]
    shared = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(some, load("digits"), shared)
    assert {one.number: runs[one.number].metrics for one in some} == {n: found for n, (found, _) in expected.items()}


def taken_up(out: str) -> set[int]:
    """The packs that were issued again."""
    return {int(pack) for pack in re.findall(r"pack (\d+) goes on from its checkpoint", out)}


def seconds(action: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began
