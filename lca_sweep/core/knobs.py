"""The knobs of one trial, each declared once: its default, its range, what it means.

A knob's dotted name (`trainer.lr`) is the same string on the command line, in a search space, in Optuna and in MLflow.
Defaults are the setting of Li & Huang, Phys. Rev. Lett. 125, 178301 (2020), for MNIST.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lca_sweep.core.errors import UserError


class KnobError(UserError):
    """A knob has a value that it cannot take; the message is one line for the user."""


@dataclass(frozen=True)
class Range:
    """What a knob may be: bounds for numbers, or a list of choices.

    `shared` knobs are the same for a whole pack; one that is not `searchable` changes what is recorded of a trial, and
    not how it is trained.
    """

    help: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] = ()
    shared: bool = False
    searchable: bool = True

    def allowed(self) -> str:
        """The range in words, e.g. `must be > 0 and <= 1`; empty where anything goes."""
        if self.choices:
            return "must be one of " + ", ".join(map(str, self.choices))
        bounds = ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))
        parts = [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
        return "must be " + " and ".join(parts) if parts else ""

    def holds(self, value: Any) -> bool:
        """Whether `value` (a list is checked item by item; None is up to the type) lies in the range."""
        if value is None:
            return True
        if isinstance(value, (list, tuple)):
            return all(self.holds(item) for item in value)
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )


def knob(default: Any, help: str, **range: Any) -> Any:
    """A dataclass field with its range; lists are copied for each instance."""
    metadata = {"range": Range(help, **range)}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Range]]:
    """Every knob below a dataclass instance: (dotted name, value, range), in the order of declaration."""
    for item in dataclasses.fields(config):
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{name}.")
        else:
            yield name, value, item.metadata["range"]


def check(config: Any, prefix: str = "") -> None:
    """Raise KnobError at the first knob out of range: `trainer.lr=-1: must be > 0`."""
    empty = {name for name, default, _ in walk(type(config)(), prefix) if default == ""}
    for name, value, range in walk(config, prefix):
        require(name, value, range)
        if value == "" and name not in empty:
            raise KnobError(f"{name}=: must not be empty")


def require(name: str, value: Any, range: Range) -> None:
    """Raise KnobError if one value is out of its range."""
    if not range.holds(value):
        hint = nearest(value, range.choices) if isinstance(value, str) else ""
        raise KnobError(f"{name}={value}: {range.allowed() or 'must be a finite number'}{hint}")


def check_trial(trial: TrialKnobs) -> None:
    """Raise KnobError at the first knob of a trial that is out of range, or that its algorithm cannot have."""
    check(trial)
    values = flat(trial)
    if trial.trainer.algorithm == "bp":
        for name in SPIKE_AND_SLAB_ONLY:
            if values[name] > 0:
                raise KnobError(f"{name}={values[name]}: weights have no distribution with {PLAIN}; must be 0")


def check_precision(precision: str, device: str) -> None:
    """Raise KnobError if matrices are to be multiplied as this device, such as `cpu` or `cuda:0`, cannot."""
    if precision != "float32" and not device.startswith("cuda"):
        raise KnobError(f"trainer.precision={precision}: only a GPU has it; must be float32 on CPUs")


def flat(config: Any) -> dict[str, Any]:
    """The knobs as one flat mapping from dotted name to value."""
    return {name: value for name, value, _ in walk(config)}


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What a nested mapping holds, by dotted name."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def shared(trial: TrialKnobs) -> dict[str, Any]:
    """The knobs that a trial has in common with its pack, by dotted name."""
    return {name: value for name, value, range in walk(trial) if range.shared}


def replace(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a nested dataclass with some dotted knobs changed; KnobError for an unknown name."""
    known = flat(config)
    for name in values:
        if name not in known:
            raise KnobError(f"{name}: no such knob{nearest(name, known)}")
    return _replace(config, values, "")


def _replace(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
    changes = {}
    for item in dataclasses.fields(config):
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            changes[item.name] = _replace(value, values, f"{name}.")
        elif name in values:
            changes[item.name] = values[name]
    return dataclasses.replace(config, **changes)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'trainer.lr'?` for a misspelt name, or nothing if none is near."""
    names = list(known)
    last = {n: n.rpartition(".")[2] for n in names}
    found = difflib.get_close_matches(name, names, 1)
    for word in () if found else difflib.get_close_matches(name.rpartition(".")[2], list(last.values()), 1):
        found = [n for n in names if last[n] == word]
    return f"; did you mean '{found[0]}'?" if found else ""


def listed(names: Iterable[str], mark: str = "") -> str:
    """Dotted names in few words, each with a mark behind it: `sweep.{dir,trials}=, cluster=`."""
    sections: dict[str, list[str]] = {}
    for name in names:
        section, dot, rest = name.partition(".")
        sections.setdefault(section + dot, []).append(rest)
    grouped = [f"{{{','.join(rest)}}}" if len(rest) > 1 else rest[0] for rest in sections.values()]
    return ", ".join(f"{section}{rest}{mark}" for section, rest in zip(sections, grouped, strict=True))


def written(value: Any) -> str:
    """A value as one writes it in YAML."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


PLAIN = "trainer.algorithm=bp"
SPIKE_AND_SLAB_ONLY = ("init.spike", "prior.weight")  # 0 where weights are single numbers


@dataclass
class Model:
    """The network's shape; inputs and classes come with the data."""

    width: int = knob(100, "units in each hidden layer", ge=1)
    depth: int = knob(2, "number of hidden layers", ge=1, le=64)
    widths: list[int] | None = knob(None, "units of the hidden layers one by one, instead of width and depth", ge=1)

    def hidden(self) -> tuple[int, ...]:
        """Hidden widths from the input side."""
        return tuple(self.widths) if self.widths else (self.width,) * self.depth


@dataclass
class Init:
    """Where the three numbers of each weight start."""

    spike: float = knob(0.0, "initial spike mass pi of every weight", ge=0, le=1)
    mean_variance: float = knob(2 / 784, "variance of the normal draw of the slab means m", ge=0)
    slab_variance: float = knob(0.01, "slab variances Xi are drawn uniformly between 0 and this", ge=0)
    seed: int = knob(0, "seed of a trial's initial weights and of its noise", ge=0, lt=2**32)


@dataclass
class Trainer:
    """Projected Adam with decoupled decay on m, pi and Xi."""

    algorithm: str = knob(
        "gbp",
        "gbp: generalised back-propagation; bp: the ordinary one, a baseline whose weights are single numbers w = m",
        choices=("gbp", "bp"),
    )
    lr: float = knob(0.1, "learning rate of m, pi and Xi", gt=0)
    weight_decay: float = knob(1e-4, "decoupled decay, times lr, of m, pi and Xi", ge=0)
    epochs: int = knob(100, "passes over the training images", ge=1, shared=True)
    train_size: int | None = knob(None, "use only the first so many training images; null: all", ge=1, shared=True)
    batch_size: int = knob(500, "images in a mini-batch; an incomplete one is dropped", ge=1, shared=True)
    batch_seed: int = knob(0, "seed of the mini-batch order, which all trials share", ge=0, lt=2**32, shared=True)
    beta1: float = knob(0.9, "Adam's decay of the first moment", ge=0, lt=1, shared=True)
    beta2: float = knob(0.999, "Adam's decay of the second moment", ge=0, lt=1, shared=True)
    eps: float = knob(1e-8, "Adam's guard against division by zero", gt=0, shared=True)
    precision: str = knob(
        "float32",
        "how a GPU multiplies matrices: float32, or tf32, with the first 11 binary digits of each factor, and faster",
        choices=("float32", "tf32"),
        shared=True,
        searchable=False,
    )
    category_tolerance: float = knob(
        0.0,
        "slack in calling pi or Xi exactly 0 or 1 (weight categories)",
        ge=0,
        lt=0.5,
        shared=True,
        searchable=False,
    )


@dataclass
class Prior:
    """Sparsity prior: weight * KL(q || p) / (number of training images) is added to the loss."""

    kind: str = knob(
        "kl", "kl: weight * KL / images is added to the loss; none: nothing is, as in the paper", choices=("kl", "none")
    )
    weight: float = knob(0.0, "strength of the prior; 0 is the paper's algorithm", ge=0)
    spike: float = knob(0.5, "spike mass pi0 of the prior", ge=1e-4, le=1 - 1e-4)
    slab_variance: float = knob(1.0, "slab variance xi0 of the prior", gt=0)

    @property
    def strength(self) -> float:
        """The weight that counts: 0 where there is no prior."""
        return self.weight if self.kind == "kl" else 0.0


@dataclass
class TrialKnobs:
    """All that a trial's numbers follow from, beside the data."""

    model: Model = field(default_factory=Model)
    init: Init = field(default_factory=Init)
    trainer: Trainer = field(default_factory=Trainer)
    prior: Prior = field(default_factory=Prior)
