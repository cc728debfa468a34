"""A pack: trials trained together. Trials of like shape share a bucket, whose tensors have a leading trial axis.

Trials of one bucket are padded to its largest widths; how much padding is worth it is the caller's choice (1: none).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lca_sweep.core import adam
from lca_sweep.core.adam import AdamLayer
from lca_sweep.core.algorithm import ALGORITHMS, Algorithm
from lca_sweep.core.engine import CPU, Engine, engine_for
from lca_sweep.core.knobs import Init, KnobError, Model, Trainer, TrialKnobs, check_precision, check_trial, shared
from lca_sweep.core.network import Network
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import SpikeSlab


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters, with the number that it has in its sweep."""

    number: int
    knobs: TrialKnobs


@dataclass
class Bucket:
    """Trials of one algorithm and one depth, padded to common widths."""

    trials: tuple[Trial, ...]
    layers: list[AdamLayer]
    fan_in: list[Tensor]  # per layer (trials, 1, 1): each trial's own N in 1/sqrt(N)
    units: list[Tensor]  # inputs, hidden layers, classes: (trials, units), True where a unit is not padding
    engine: Engine = CPU
    run: Any = field(default=None, repr=False)  # what its training on a device keeps from epoch to epoch

    @property
    def algorithm(self) -> Algorithm:
        """What its trials are trained by."""
        return ALGORITHMS[self.trials[0].knobs.trainer.algorithm]

    def real(self, depth: int) -> Tensor:
        """Mask (trials, out, in) of the connections of a layer that are not padding."""
        return self.units[depth + 1].unsqueeze(2) & self.units[depth].unsqueeze(1)

    @staticmethod
    def of(network: Network, seed: int) -> Bucket:
        """One finished network, as trials are evaluated; `seed` is the init.seed of its noise."""
        knobs = TrialKnobs(model=Model(widths=list(network.widths[1:-1])), init=Init(seed=seed))
        layers = [adam.start(SpikeSlab(*(p.unsqueeze(0) for p in w))) for w in network.layers]
        fan_in = [w.m.new_full((1, 1, 1), w.m.shape[1]) for w in network.layers]
        units = [torch.ones(1, n, dtype=torch.bool, device=network.layers[0].m.device) for n in network.widths]
        return Bucket((Trial(0, knobs),), layers, fan_in, units, engine_for(units[0].device))


@dataclass
class Pack:
    """The state of a pack after `epoch` epochs; `fit` trains it in place."""

    inputs: int
    classes: int
    trainer: Trainer  # of any trial: the knobs that all trials share
    buckets: list[Bucket]
    padding: float
    epoch: int = 0
    steps: int = 0
    engine: Engine = CPU

    @staticmethod
    def start(
        trials: Sequence[Trial],
        inputs: int,
        classes: int,
        *,
        padding: float = 1.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: Engine | None = None,
    ) -> Pack:
        """Fresh trials at their initial weights. Raises KnobError for knobs out of range, or unlike though shared.

        `engine` None: the best for the device.
        """
        _check(trials)
        check_precision(trials[0].knobs.trainer.precision, str(device))
        own = {
            trial.number: [
                adam.start(SpikeSlab(*(p.to(device, dtype) for p in w))) for w in initial(trial, inputs, classes)
            ]
            for trial in trials
        }
        pack = Pack(inputs, classes, trials[0].knobs.trainer, [], padding, engine=engine or engine_for(device))
        pack.buckets = pack._grouped(trials, own)
        return pack

    @property
    def trials(self) -> list[Trial]:
        """Live trials, by number."""
        return sorted((trial for bucket in self.buckets for trial in bucket.trials), key=lambda trial: trial.number)

    @property
    def like(self) -> Tensor:
        """A tensor of the pack's device and dtype (there must be a live trial)."""
        return self.buckets[0].layers[0].w.m

    def network(self, number: int) -> Network:
        """A copy of one live trial's weights."""
        return Network(tuple(SpikeSlab(*(p.clone() for p in layer.w)) for layer in self._own()[number]))

    def drop(self, numbers: Collection[int]) -> None:
        """These trials leave; the survivors' tensors shrink."""
        if not numbers:
            return
        own = self._own()
        self.buckets = self._grouped([trial for trial in self.trials if trial.number not in numbers], own)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that training goes on from: tensors by name, copies that training on leaves alone, and plain JSON."""
        tensors = {
            f"{number}.layer{depth}.{role}.{name}": tensor.clone(memory_format=torch.contiguous_format)
            for number, layers in self._own().items()
            for depth, layer in enumerate(layers, start=1)
            for role, part in layer._asdict().items()
            for name, tensor in part._asdict().items()
        }
        return tensors, {"epoch": self.epoch, "steps": self.steps, "live": [trial.number for trial in self.trials]}

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Put a state back into a pack started with the same trials: it goes on as if it had never stopped."""
        live = [trial for trial in self.trials if trial.number in set(about["live"])]
        place = self.like
        own = {
            trial.number: [
                _layer_from(tensors, f"{trial.number}.layer{depth}", place)
                for depth in range(1, len(trial.knobs.model.hidden()) + 2)
            ]
            for trial in live
        }
        self.buckets = self._grouped(live, own)
        self.epoch, self.steps = about["epoch"], about["steps"]

    def _own(self) -> dict[int, list[AdamLayer]]:
        """Each live trial's layers without padding; views."""
        return {
            trial.number: [
                adam.select(layer, t, out, ins)
                for layer, (out, ins) in zip(bucket.layers, self._shapes(trial), strict=True)
            ]
            for bucket in self.buckets
            for t, trial in enumerate(bucket.trials)
        }

    def _shapes(self, trial: Trial) -> list[tuple[int, int]]:
        return shapes(self.inputs, trial.knobs.model.hidden(), self.classes)

    def _grouped(self, trials: Sequence[Trial], own: Mapping[int, list[AdamLayer]]) -> list[Bucket]:
        """Buckets follow from the live trials alone, so that a restored pack has the very same ones."""
        groups = group(trials, self.inputs, self.classes, self.padding)
        return [self._bucket(members, [own[trial.number] for trial in members]) for members in groups]

    def _bucket(self, trials: Sequence[Trial], own: Sequence[list[AdamLayer]]) -> Bucket:
        widths = torch.tensor([(self.inputs, *trial.knobs.model.hidden(), self.classes) for trial in trials])
        largest = widths.amax(0).tolist()
        device, dtype = own[0][0].w.m.device, own[0][0].w.m.dtype
        layers = [
            adam.stack([layers[depth] for layers in own], largest[depth + 1], largest[depth])
            for depth in range(len(largest) - 1)
        ]
        fan_in = [widths[:, depth].to(device, dtype).view(-1, 1, 1) for depth in range(len(largest) - 1)]
        units = [(torch.arange(n) < widths[:, depth : depth + 1]).to(device) for depth, n in enumerate(largest)]
        return Bucket(tuple(trials), layers, fan_in, units, self.engine)


def shapes(inputs: int, hidden: Iterable[int], classes: int) -> list[tuple[int, int]]:
    """(out, in) of every layer."""
    widths = (inputs, *hidden, classes)
    return [(out, ins) for ins, out in pairwise(widths)]


def work(inputs: int, hidden: Iterable[int], classes: int) -> int:
    """Connections of a network: what a training step costs, up to a factor."""
    return sum(math.prod(shape) for shape in shapes(inputs, hidden, classes))


def group(trials: Sequence[Trial], inputs: int, classes: int, padding: float) -> list[list[Trial]]:
    """Trials that share tensors: of one algorithm and depth, padded to at most `padding` times their own work."""
    groups: list[list[Trial]] = []
    largest: tuple[int, ...] = ()
    own = 0
    for trial in sorted(trials, key=_by_shape):
        hidden = trial.knobs.model.hidden()
        joint = tuple(map(max, largest, hidden)) if groups and _kind(trial) == _kind(groups[-1][0]) else ()
        own += work(inputs, hidden, classes)
        if joint and (len(groups[-1]) + 1) * work(inputs, joint, classes) <= padding * own:
            groups[-1].append(trial)
            largest = joint
        else:
            groups.append([trial])
            largest, own = hidden, work(inputs, hidden, classes)
    return groups


def _kind(trial: Trial) -> tuple[str, int]:
    """Algorithm and depth."""
    return trial.knobs.trainer.algorithm, len(trial.knobs.model.hidden())


def _by_shape(trial: Trial) -> tuple[str, int, tuple[int, ...], int]:
    return *_kind(trial), trial.knobs.model.hidden(), trial.number


def initial(trial: Trial, inputs: int, classes: int) -> list[SpikeSlab]:
    """Initial weights of one trial, (out, in) a layer, float32 on the CPU: they follow from its knobs alone.

    All algorithms draw alike, so that trials of one seed begin at the same m.
    """
    random = ALGORITHMS[trial.knobs.trainer.algorithm].RANDOM
    init, rng = trial.knobs.init, generator(trial.knobs.init.seed, Purpose.INIT)
    layers = []
    for shape in shapes(inputs, trial.knobs.model.hidden(), classes):
        m = torch.empty(shape).normal_(0, math.sqrt(init.mean_variance), generator=rng)
        xi = torch.empty(shape).uniform_(0, init.slab_variance, generator=rng)
        layers.append(SpikeSlab(torch.full(shape, init.spike), m, xi if random else torch.zeros(shape)))
    return layers


def _layer_from(tensors: Mapping[str, Tensor], prefix: str, place: Tensor) -> AdamLayer:
    def part(role: str) -> SpikeSlab:
        return SpikeSlab(*(tensors[f"{prefix}.{role}.{name}"].to(place) for name in SpikeSlab._fields))

    return AdamLayer(part("w"), part("first"), part("second"))


def _check(trials: Sequence[Trial]) -> None:
    numbers = [trial.number for trial in trials]
    if not trials or len(set(numbers)) < len(numbers):
        raise KnobError(f"trials {numbers}: a pack must have one or more, with unlike numbers")
    first = trials[0]
    for trial in trials:
        check_trial(trial.knobs)
        own = shared(trial.knobs)
        for name, value in shared(first.knobs).items():
            if own[name] != value:
                raise KnobError(
                    f"{name}={own[name]}: trial {trial.number} shares a pack with trial {first.number}; must be {value}"
                )
