"""All benchmarks, as Markdown tables: `make bench`, or `make bench ARGS="--rounds 5"`."""

from __future__ import annotations

import argparse

import analysis
import checkpoints
import imports
import storage
import tracking
import training

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measured turns of each contender")
    rounds = parser.parse_args().rounds
    for benchmark in (training, analysis, checkpoints, imports, storage, tracking):
        benchmark.main(rounds)
