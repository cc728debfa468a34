"""What rivals search: the space of conf/sweep/mnist.yaml with narrower networks, on scikit-learn's digits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lca_sweep.config import Config
from lca_sweep.core import Images, Pack, Splits, Trial, fit, load
from lca_sweep.core.knobs import replace
from lca_sweep.search.space import Space, knobs, parse

EPOCHS = 40
SPACE: Mapping[str, Any] = {
    "trainer": {"lr": {"low": 0.003, "high": 0.3, "log": True}},
    "model": {"width": {"low": 8, "high": 64}, "depth": {"low": 1, "high": 3}},
    "init": {
        "spike": {"low": 0.0, "high": 0.5},
        "slab_variance": {"low": 1e-4, "high": 0.1, "log": True},
    },
    "prior": {
        "spike": {"low": 0.1, "high": 0.9},
        "slab_variance": {"low": 0.01, "high": 10.0, "log": True},
        "weight": {"low": 1e-5, "high": 0.1, "log": True},
    },
}


@dataclass(frozen=True)
class Told:
    """One trial after one epoch (from 1): what a search has paid for, and what it has learned."""

    trial: str
    epoch: int
    value: float  # validation accuracy


@dataclass(frozen=True)
class Task:
    """The same for all searches: data, knobs that are not searched, and the space."""

    data: Splits
    config: Config
    space: Space

    @classmethod
    def digits(cls) -> Task:
        """500 images to train on in batches of 100; 1,197 to validate, so that accuracies differ by 0.08 % at least."""
        config = replace(Config(), {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "sweep.trials": 2})
        return cls(_divided(load("digits"), 500, 1_697), config, parse(SPACE, config))

    def curve(self, params: Mapping[str, Any]) -> Iterator[float]:
        """Validation accuracy after each epoch of a trial on its own; ends early where it diverges."""
        trial = Trial(0, knobs(self.config, params))
        for report in fit(Pack.start([trial], self.data.inputs, self.data.classes), self.data):
            yield report.trials[0].metrics["val/accuracy"]


def found(told: Sequence[Told]) -> float:
    """The best accuracy of the trials that were trained to the end; nan where there is none."""
    return max((one.value for one in told if one.epoch == EPOCHS), default=math.nan)


def _divided(data: Splits, train: int, validation: int) -> Splits:
    """The same images, up to `train` to train on, up to `validation` to validate on, the rest to test."""
    parts = (data.train, data.validation, data.test)
    x, y = np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])
    cuts = zip(np.split(x, (train, validation)), np.split(y, (train, validation)), strict=True)
    first, second, third = (Images(*cut) for cut in cuts)
    return dataclasses.replace(data, train=first, validation=second, test=third)
