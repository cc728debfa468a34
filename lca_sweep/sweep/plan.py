"""How much training a sweep is, in trial-epochs: as its pruner's rungs have it, before anything has failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lca_sweep.config import Config, Pruner
from lca_sweep.sweep.cost import pack_costs
from lca_sweep.sweep.scene import PackScene


@dataclass
class PackLine:
    """One running pack."""

    size: int
    costs: Sequence[float]  # trial-epochs up to each epoch, from 0 to its last one
    searches: bool = True  # else it belongs to the finals
    epoch: int = 0
    restored: int = 0  # epochs that an earlier run had done
    live: int = 0
    best: float = float("nan")
    host: str = ""
    ends: Counter[str] = field(default_factory=Counter)  # of its trials, in this run

    @property
    def epochs(self) -> int:
        """At its end."""
        return len(self.costs) - 1

    @property
    def done(self) -> float:
        """Trial-epochs of this run."""
        return self.costs[max(self._reached, self.restored)] - self.costs[self.restored]

    @property
    def to_do(self) -> float:
        """Trial-epochs to its end."""
        return self.costs[-1] - self.costs[max(self._reached, self.restored)]

    @property
    def _reached(self) -> int:
        return min(self.epoch, self.epochs)

    def scene(self, number: int) -> PackScene:
        """As it is now."""
        return PackScene(number, self.epoch, self.epochs, self.live, self.size, self.best, self.host)


class Plan:
    """What is known before anything runs. Where the number of epochs is searched, it is taken to be the config's."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def pack(self, size: int, epochs: int, first: int, searches: bool) -> list[float]:
        """Trial-epochs of a pack up to each epoch; `first` is the pack that its trials were asked for in."""
        return pack_costs(size, self.config.pruner if searches else Pruner("none"), epochs, first)

    def search(self, trials: int) -> float:
        """Trial-epochs of so many trials that are in no pack yet."""
        full, rest = divmod(max(trials, 0), self.config.pack.trials)
        return full * self._by_size[-1] + self._by_size[rest]

    def finals(self, candidates: int, begun: int) -> float:
        """Trial-epochs of the finals among so many trials, but for those that have begun."""
        sweep = self.config.sweep
        trials = sweep.replicates * min(sweep.finalists, max(candidates, 0)) - begun
        return float(max(trials, 0) * self.config.trainer.epochs)

    @cached_property
    def _by_size(self) -> list[float]:
        """Of a pack of 0, 1, ... up to `pack.size` trials."""
        sizes = range(self.config.pack.trials + 1)
        return [pack_costs(size, self.config.pruner, self.config.trainer.epochs)[-1] for size in sizes]
