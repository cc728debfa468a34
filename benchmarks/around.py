"""What there is around the training of a sweep: each part against its own floor, or its goal, in the same run.

`python benchmarks/around.py` runs three sweeps by their commands in fresh folders: minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
from peers_task import Job

CORES = 2
COLD = ("+sweep=mnist", "analysis.report=false")
LONG = Job(trials=512, epochs=2, train_size=2_000)
EMPTY = Job(trials=512, epochs=1, train_size=1, empty=True)
MEMORY = "system/worker_memory_usage_megabytes"


@dataclass(frozen=True)
class Ran:
    """A sweep's command: seconds of the wall clock."""

    whole: float
    first_start: float  # when the first pack starts, from the command
    first_result: float  # when the first trial has a result


def run(folder: str, words: Sequence[str]) -> Ran:
    """Run a sweep by its command in a folder. Raises RuntimeError if it fails."""
    began, start, result, said = time.time(), 0.0, 0.0, ""
    env = {**os.environ, "PYTHONPATH": peers.PATHS}
    command = [sys.executable, "-m", "lca_sweep", *words]
    popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=env, bufsize=1)
    assert popen.stdout
    for line in popen.stdout:
        said += line
        start = start or (time.time() - began if re.search(r"pack \d+ starts", line) else 0.0)
        result = result or (time.time() - began if "] best: " in line else 0.0)
    if popen.wait():
        raise RuntimeError(f"{' '.join(words)}: exit status {popen.returncode}: {said}")
    return Ran(time.time() - began, start, result)


def packs(folder: str) -> list[dict[int, Mapping[str, Any]]]:
    """Of each pack of the sweep mnist its trials' parameters."""
    from lca_sweep.sweep import known

    sweep = known.find(Path(folder, "sweeps"), "mnist", "around")
    found: dict[int, dict[int, Mapping[str, Any]]] = {}
    for row in known.rows_of(sweep, "around"):
        found.setdefault(row.pack or 0, {})[row.number] = row.params
    return list(found.values())


def train(members: dict[int, Mapping[str, Any]]) -> float:
    """Seconds of training and evaluating one pack anew, with the same early stopping, on one thread."""
    import torch

    from lca_sweep.compose import compose, config_dir
    from lca_sweep.core import Pack, Trial, fit, load
    from lca_sweep.search.space import knobs
    from lca_sweep.sweep.cost import make_pruner

    torch.set_num_threads(1)
    config, data = compose(COLD, [config_dir()]), load("mnist")
    began = time.perf_counter()
    pack = Pack.start([Trial(n, knobs(config, own)) for n, own in members.items()], data.inputs, data.classes)
    for _ in fit(pack, data, make_pruner(config.pruner).within(0, pack.trainer.epochs, {}), config.search.goal()):
        pass
    return time.perf_counter() - began


def cold() -> Iterator[str]:
    """The sweep of the README from its command, against its training alone, two packs at a time."""
    with tempfile.TemporaryDirectory() as folder:
        ran, trials = run(folder, COLD), packs(folder)
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        pure = sum(pool.map(train, trials, 1)) / CORES
    goal = 1.15 * pure + 10
    yield f"| cold `+sweep=mnist`, 32 trials: all, s | {ran.whole:.1f} | 1.15 x {pure:.1f} + 10 = {goal:.1f} |"
    yield f"| from the command to the first pack, s | {ran.first_start:.1f} | |"
    yield f"| from the command to the first result, s | {ran.first_result:.1f} | 10 |"


def empty() -> Iterator[str]:
    """Trials that train next to nothing: the sweep's own cost."""
    took = peers.ours(EMPTY)
    rate = took.trials / took.training
    yield f"| empty trials a second, {took.trials} in packs of 8 | {rate:.0f} | 50 |"
    yield f"| the same with start and end | {took.trials / took.whole:.0f} | |"


def memory() -> Iterator[str]:
    """A worker's memory over many packs, as MLflow has it."""
    with tempfile.TemporaryDirectory() as folder:
        run(folder, [*LONG.words(), "analysis.report=false"])
        with sqlite3.connect(Path(folder, "mlflow.db")) as database:
            query = "select value from metrics where key = ? order by timestamp"
            values = [value for (value,) in database.execute(query, (MEMORY,))]
    tenth = len(values) // 10
    parts = [statistics.median(values[at : at + tenth]) for at in (tenth, len(values) // 2, len(values) - tenth)]
    told = ", ".join(f"{part:.0f}" for part in parts)
    yield f"| a worker's resident memory, MB, second tenth, middle and end of {LONG.trials} trials | {told} | flat |"


def main() -> None:
    """Print the table."""
    loads = [os.getloadavg()[0]]
    print(f"\n### Around the training, {CORES} cores\n\n| what | measured | goal |\n|---|---:|---:|", flush=True)
    for part in (cold, empty, memory):
        for line in part():
            print(line, flush=True)
        loads.append(os.getloadavg()[0])
    print(f"\nLoad of the machine: {statistics.fmean(loads):.1f}. It has {os.cpu_count()} cores.")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
