"""All benchmarks, as Markdown tables: `make bench`; `make bench ARGS="--rounds 5"`; --around, --peers: long ones."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import analysis
import around
import checkpoints
import costs
import imports
import storage
import tracking
import training

LONG = ("peers.py", "rival_search.py")  # whole searches by us and by others: an hour

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measured turns of each contender")
    parser.add_argument("--peers", action="store_true", help="only the comparisons with Ray Tune and Optuna themselves")
    parser.add_argument("--around", action="store_true", help="only whole sweeps: what is around training")
    args = parser.parse_args()
    if args.around:
        around.main()
        sys.exit()
    if args.peers:
        for script in LONG:
            subprocess.run([sys.executable, Path(__file__).with_name(script)], check=True)
        sys.exit()
    for benchmark in (training, costs, analysis, checkpoints, imports, storage, tracking):
        benchmark.main(args.rounds)
