"""What an epoch costs, as a function of width, depth, pack and batch: fitted to some measurements, held against others.

Seconds = images * trials * (a * products + b * units) + steps * (trials * c * weights + d * layers). Products are the
multiplications of an image in one trial, 4 of a weight of the first layer (of those pixels that are multiplied), 6 of
others; units are those that draw noise; d is what calling an operation costs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import nnls

from lca_sweep.core import Pack, Splits, Trial, TrialKnobs, load
from lca_sweep.core.epoch import train_epoch
from lca_sweep.core.images import Ordered, load_ordered
from lca_sweep.core.knobs import replace


@dataclass(frozen=True)
class Case:
    """A pack of trials that are alike."""

    width: int
    depth: int
    trials: int
    batch: int

    def terms(self, train: Ordered, classes: int) -> list[float]:
        """What a, b, c and d are multiplied by."""
        heard, images = train.common.shape[1] + train.rare.shape[1], len(train.y)
        multiplied = train.common.shape[1] + train.rare.shape[1] * train.few.float().mean().item()
        layers = list(pairwise([heard, *self.depth * [self.width], classes]))
        products = 4 * multiplied * self.width + sum(6 * ins * out for ins, out in layers[1:])
        units, weights, steps = sum(out for _, out in layers), sum(i * o for i, o in layers), images // self.batch
        return [
            images * self.trials * products,
            images * self.trials * units,
            steps * self.trials * weights,
            steps * len(layers),
        ]


FITTED = (
    Case(100, 2, 1, 500),
    Case(100, 2, 8, 500),
    Case(40, 1, 8, 500),
    Case(300, 2, 4, 500),
    Case(100, 2, 4, 50),
    Case(40, 3, 1, 100),
)
CHECKED = (
    Case(100, 2, 2, 500),
    Case(100, 4, 4, 250),
    Case(200, 3, 4, 500),
    Case(60, 2, 8, 100),
    Case(400, 1, 2, 1000),
)


def measure(cases: Sequence[Case], data: Splits, train: Ordered, rounds: int) -> list[float]:
    """Seconds of the processor for an epoch of each, the median; they take turns."""
    packs = []
    for case in cases:
        knobs = replace(
            TrialKnobs(),
            {"model.width": case.width, "model.depth": case.depth, "trainer.batch_size": case.batch},
        )
        packs.append(Pack.start([Trial(n, knobs) for n in range(case.trials)], data.inputs, data.classes))
    taken: list[list[float]] = [[] for _ in packs]
    for turn in range(rounds + 1):
        for pack, own in zip(packs, taken, strict=True):
            began = time.thread_time()
            train_epoch(pack, train)
            if turn:
                own.append(time.thread_time() - began)
    return [statistics.median(own) for own in taken]


def main(rounds: int) -> None:
    """Print the fit and both tables."""
    torch.set_num_threads(1)
    data = load("mnist")
    train = load_ordered(data.train, data.scale, "cpu")
    seconds = np.array(measure([*FITTED, *CHECKED], data, train, rounds))
    terms = np.array([case.terms(train, data.classes) for case in (*FITTED, *CHECKED)])
    known = len(FITTED)
    scaled = terms[:known] / seconds[:known, None]  # errors relative to what was measured
    scale = scaled.max(0)
    fit = nnls(scaled / scale, np.ones(known))[0] / scale
    print("\n### Model of an epoch's cost, one core\n")
    names = ("multiplication", "unit and image", "weight and step", "layer and step")
    print(", ".join(f"{value * 1e9:.3g} ns a {name}" for value, name in zip(fit, names, strict=True)))
    print("\n| width | hidden layers | trials | batch | measured, ms a trial | model | error |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for at, case in enumerate((*FITTED, *CHECKED)):
        real, told = seconds[at] / case.trials * 1e3, terms[at] @ fit / case.trials * 1e3
        error, mark = told / real - 1, "" if at < known else " (not fitted)"
        print(
            f"| {case.width} | {case.depth} | {case.trials} | {case.batch} "
            f"| {real:.1f} | {told:.1f} | {error:+.0%}{mark} |"
        )


if __name__ == "__main__":
    main(9)
