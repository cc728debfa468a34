"""What a tracker is told of trials, as entries, and an entry as a line of JSON that gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from types import MappingProxyType
from typing import Any, TypeAlias

METRICS_A_CALL = 1000  # MLflow's limit for log_batch


@dataclass(frozen=True)
class Start:
    """A trial starts, or starts again; `time`, here and below, in milliseconds since 1970: when it was told."""

    number: int
    time: int
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Epoch:
    """Metrics of one trial at one epoch. A point's time is part of it: written twice it is still one point."""

    number: int
    time: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class End:
    """A trial ends, in one of its states; `tags` say more of it."""

    number: int
    time: int
    state: str
    reason: str
    tags: Mapping[str, str] = field(default_factory=dict)  # an older outbox has none


Entry: TypeAlias = Start | Epoch | End


@dataclass(frozen=True)
class Amount:
    """So many entries."""

    epochs: int = 0
    changes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.epochs + other.epochs, self.changes + other.changes)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.epochs - other.epochs, self.changes - other.changes)

    def __bool__(self) -> bool:
        return self != Amount()

    def __str__(self) -> str:
        return f"{_counted(self.epochs, 'epoch')} and {_counted(self.changes, 'change')} of state of trials"


def amount_of(entries: Iterable[Entry]) -> Amount:
    """How many they are."""
    kinds = [isinstance(entry, Epoch) for entry in entries]
    return Amount(sum(kinds), len(kinds) - sum(kinds))


def epochs_text(amount: Amount) -> str:
    """Its epochs, in words."""
    return _counted(amount.epochs, "epoch")


def batch_of(entries: Iterable[Entry], limit: int = METRICS_A_CALL) -> list[Epoch]:
    """The epochs at the front, whole ones, that have at most `limit` metrics together; a single one may have more."""
    batch: list[Epoch] = []
    size = 0
    for entry in takewhile(lambda entry: isinstance(entry, Epoch), entries):
        assert isinstance(entry, Epoch)
        size += len(entry.metrics)
        if batch and size > limit:
            break
        batch.append(entry)
    return batch


def line_of(entry: Entry) -> bytes:
    """One line of JSON as Python writes it, with NaN and Infinity; ASCII, ends with a newline."""
    return json.dumps({type(entry).__name__.lower(): vars(entry)}).encode() + b"\n"


def entry_of(line: bytes) -> Entry:
    """What `line_of` made into this line; ValueError if it is none."""
    try:
        ((kind, told),) = json.loads(line).items()
        return _KINDS[kind](told)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no entry: {line[:80]!r}") from error


def _start(told: Mapping[str, Any]) -> Start:
    return Start(int(told["number"]), int(told["time"]), _texts(told["params"]), _texts(told["tags"]))


def _epoch(told: Mapping[str, Any]) -> Epoch:
    metrics = {str(name): float(value) for name, value in told["metrics"].items()}
    return Epoch(int(told["number"]), int(told["time"]), int(told["step"]), metrics)


def _end(told: Mapping[str, Any]) -> End:
    tags = _texts(told.get("tags", {}))
    return End(int(told["number"]), int(told["time"]), str(told["state"]), str(told["reason"]), tags)


def _texts(told: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in told.items()}


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Entry]] = MappingProxyType(
    {"start": _start, "epoch": _epoch, "end": _end}
)
