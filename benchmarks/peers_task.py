"""What peers do in the time that is measured: so many trials of conf/sweep/mnist.yaml, each of so many epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lca_sweep.compose import compose, config_dir
from lca_sweep.config import Config
from lca_sweep.core import Splits, load
from lca_sweep.search.space import Space, knobs, parse

SWEEP = ("+sweep=mnist", "pruner=none")
TINY = (
    "data=digits",
    "~sweep.space.model",
    "search.enqueue=[]",
    "model.width=1",
    "model.depth=1",
    "trainer.batch_size=1",
)
METRICS = ("val_loss", "val_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class Job:
    """`trials`, each of `epochs` on the first `train_size` images; or `empty` ones, which train nothing."""

    trials: int
    epochs: int
    train_size: int
    empty: bool = False

    def words(self) -> tuple[str, ...]:
        """lca_sweep's command line for it. An empty trial is to it a network of one unit and one image."""
        return (
            *SWEEP,
            *(TINY if self.empty else ()),
            f"trainer.train_size={1 if self.empty else self.train_size}",
            f"trainer.epochs={self.epochs}",
            f"sweep.trials={self.trials}",
        )

    def task(self) -> Task:
        """The same for peers."""
        config = compose(self.words(), [config_dir()])
        data = load(config.data.name)
        data = replace(data, train=data.train.first(config.trainer.train_size))
        return Task(config, parse(config.sweep.space, config), data, self.empty)


@dataclass(frozen=True)
class Task:
    """A job with its data and its space."""

    config: Config
    space: Space
    data: Splits
    empty: bool

    def curve(self, params: Mapping[str, Any]) -> Iterator[dict[str, float]]:
        """Metrics after each epoch of a trial, trained by plain torch on one core."""
        if self.empty:
            yield from [dict.fromkeys(METRICS, 0.5)] * self.config.trainer.epochs
            return
        import torch
        from plain_torch import curve

        torch.set_num_threads(1)
        yield from curve(knobs(self.config, params), self.data)
