"""All benchmarks, as Markdown tables: `make bench`, or `make bench ARGS="--rounds 5"`; `--peers`: the long ones."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import analysis
import checkpoints
import imports
import storage
import tracking
import training

LONG = ("peers.py", "rival_search.py")  # whole searches by us and by others: an hour

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measured turns of each contender")
    parser.add_argument("--peers", action="store_true", help="only the comparisons with Ray Tune and Optuna themselves")
    args = parser.parse_args()
    if args.peers:
        for script in LONG:
            subprocess.run([sys.executable, Path(__file__).with_name(script)], check=True)
        sys.exit()
    for benchmark in (training, analysis, checkpoints, imports, storage, tracking):
        benchmark.main(args.rounds)
