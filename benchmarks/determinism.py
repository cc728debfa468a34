"""What deterministic search costs: the same sweep with and without generations, two packs at a time.

`python benchmarks/determinism.py [--rounds 3]`; starts real sweeps, so it is not part of `make bench`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from harness import interleave, table

SWEEP = (
    "+sweep=mnist",
    "trainer.train_size=2500",
    "trainer.epochs=12",
    "pack.size=4",
    "sweep.trials=48",
    "cluster.packs=2",
)
CHOICES = {
    "suggestions as packs end": (),
    "generations of 4 packs": ("search.deterministic=true", "search.generation=4"),
    "generations of 2 packs": ("search.deterministic=true", "search.generation=2"),
}


def sweep(*words: str) -> Callable[[], float]:
    """Run the sweep in a fresh folder; seconds from the first pack's start to its end, without Python's and Ray's."""

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            words_ = [*SWEEP, *words, f"sweep.dir={folder}/sweeps", f"tracking.uri=sqlite:///{folder}/mlflow.db"]
            popen = subprocess.Popen(
                [sys.executable, "-m", "lca_sweep", *words_], stdout=subprocess.PIPE, text=True, bufsize=1
            )
            assert popen.stdout
            began = 0.0
            for line in popen.stdout:
                began = began or (time.perf_counter() if re.search(r"pack \d+ starts", line) else 0.0)
                if line.startswith("done after"):
                    seconds = time.perf_counter() - began
                    popen.communicate()
                    return seconds
        raise RuntimeError("the sweep did not come to its end")

    return run


def main(rounds: int) -> None:
    """Print the table."""
    contenders = {name: sweep(*words) for name, words in CHOICES.items()}
    seconds = interleave(contenders, rounds, 0, measured=True)
    print(table("48 trials in packs of 4, two packs at a time", seconds, "suggestions as packs end", unit="s"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args().rounds)
