"""Trials an hour of lca_sweep, stock Ray Tune with MLflow, and plain Optuna: the same space, epochs and machine.

`python benchmarks/peers.py` starts each one's own command in a fresh folder, in turns: many minutes, so that it is part
of `make bench` only with `--peers`. Peers train by plain torch autograd, one network a core. Where they are given fewer
trials than ours, the time of as many is told: start and end once, and the trials at the pace that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from peers_task import Job

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE), str(HERE.parent)])
OURS = "lca_sweep"
EMPTY = 8  # times as many trials where they train nothing, of ours: else loading torch is all that one sees
PEERS = {
    "Ray Tune, OptunaSearch, MLflowLoggerCallback": ("peers_ray.py",),
    "the same with reuse_actors=True, no other loggers": ("peers_ray.py", "tuned"),
    "Optuna, 2 processes, no MLflow": ("peers_optuna.py",),
}


@dataclass(frozen=True)
class Took:
    """Seconds of a command, and of them those between the first trial's begin and the last one's end."""

    whole: float
    training: float
    trials: int

    def of(self, trials: int) -> float:
        """Seconds of the command for so many trials."""
        return self.whole - self.training + self.training * trials / self.trials


def ours(job: Job) -> Took:
    """One sweep in a fresh folder, by its command; its end is when all books are closed."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*job.words(), "analysis.report=false", f"sweep.dir={folder}/sweeps"]
        began = time.time()
        popen = _start(folder, "-m", "lca_sweep", *words, f"tracking.uri=sqlite:///{folder}/mlflow.db")
        assert popen.stdout
        first, last, said = 0.0, 0.0, ""
        for line in popen.stdout:
            first = first or (time.time() if re.search(r"pack \d+ starts", line) else 0.0)
            said, last = said + line, time.time()
        if popen.wait():
            raise RuntimeError(f"lca_sweep: exit status {popen.returncode}: {said}")
        return Took(time.time() - began, last - first, job.trials)


def peer(job: Job, script: str, *words: str) -> Took:
    """One search in a fresh folder, by its script."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        popen = _start(folder, str(HERE / script), json.dumps(asdict(job)), *words)
        out, _ = popen.communicate()
        whole = time.time() - began
        if popen.returncode:
            raise RuntimeError(f"{script}: exit status {popen.returncode}: {out}")
    spans = json.loads(out.splitlines()[-1])
    return Took(whole, max(end for _, end in spans) - min(begin for begin, _ in spans), job.trials)


def _start(folder: str, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": PATHS, "MLFLOW_LOGGING_LEVEL": "ERROR"}
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=folder, env=env, bufsize=1)


def measure(job: Job, peer_trials: int, rounds: int) -> dict[str, Took]:
    """The median of each, by its whole time; they take turns."""
    taken: dict[str, list[Took]] = {}
    for _ in range(rounds):
        taken.setdefault(OURS, []).append(ours(job))
        for name, words in PEERS.items():
            taken.setdefault(name, []).append(peer(replace(job, trials=peer_trials), *words))
    return {name: sorted(times, key=lambda took: took.whole)[(len(times) - 1) // 2] for name, times in taken.items()}


def report(title: str, took: Mapping[str, Took], trials: int, per: float, unit: str) -> Iterator[str]:
    """A Markdown table of how many trials each does in `per` seconds."""
    yield f"\n### {title}\n"
    yield f"| search | trials | start and end, s | training, s | trials {unit} | ratio | with start and end | ratio |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    warm = {name: per * one.trials / one.training for name, one in took.items()}
    cold = {name: per * trials / one.of(trials) for name, one in took.items()}
    for name, one in took.items():
        parts = [f"{one.trials}", f"{one.whole - one.training:.1f}", f"{one.training:.1f}"]
        for rates in (warm, cold):
            parts += [f"{rates[name]:.3g}", f"{rates[OURS] / rates[name]:.1f}"]
        yield f"| {name} | {' | '.join(parts)} |"


def main(job: Job, peer_trials: int, rounds: int) -> None:
    """Print the tables."""
    loads = [os.getloadavg()[0]]
    title = f"{job.trials} trials of {job.epochs} epochs, {job.train_size} images of MNIST, on {os.cpu_count()} cores"
    print("\n".join(report(title, measure(job, peer_trials, rounds), job.trials, 3600.0, "an hour")), flush=True)
    loads.append(os.getloadavg()[0])
    empty = replace(job, trials=EMPTY * job.trials, epochs=1, empty=True)
    title = (
        f"{empty.trials} trials that train nothing; lca_sweep's: one unit, one image, weights and checkpoints written"
    )
    print("\n".join(report(title, measure(empty, peer_trials, rounds), empty.trials, 1.0, "a second")), flush=True)
    loads.append(os.getloadavg()[0])
    print("\nRatio: how many times as many lca_sweep does. Its training begins before its processes have loaded torch.")
    print("Where a peer did fewer trials, what it would take for as many follows from these.")
    print(f"Load of the machine: {statistics.fmean(loads):.1f}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=32, help="of lca_sweep")
    parser.add_argument("--peer-trials", type=int, help="of each peer; as many if not given")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--train-size", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1, help="turns of each")
    parser.add_argument("--quick", action="store_true", help="16 trials, 4 of each peer, 5 epochs, 2,500 images")
    args = parser.parse_args()
    job = Job(16, 5, 2_500) if args.quick else Job(args.trials, args.epochs, args.train_size)
    main(job, args.peer_trials or (4 if args.quick else job.trials), args.rounds)
