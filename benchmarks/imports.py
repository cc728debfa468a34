"""What it takes to import the core, and to ask for help, against importing torch; each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from harness import interleave, table

CORE = "from lca_sweep.core import Network, Pack, Trial, TrialKnobs, fit, load"


def fresh(*words: str) -> Callable[[], object]:
    """Run Python with these arguments."""
    return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def main(rounds: int) -> None:
    """Print the table."""
    contenders = {
        "import torch": fresh("-c", "import torch"),
        "import the core": fresh("-c", CORE),
        "python -m lca_sweep --help": fresh("-m", "lca_sweep", "--help"),
    }
    print(table("Start-up, fresh process", interleave(contenders, rounds, 1), "import torch", unit="s"), flush=True)


if __name__ == "__main__":
    main(9)
