"""What a pack gets, and how many packs there is room for: on one machine, or on many that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lca_sweep.config import Cluster
from lca_sweep.sweep.errors import SweepError

LOOK = 5.0  # seconds between two looks at the machines

Machine = Mapping[str, float]  # what it has: CPU, GPU, memory, ...


@dataclass
class Room:
    """How many packs the machines of a running cluster take now; at least one, or an autoscaler would see no need.

    For machines come and go, they are looked at again every few seconds.
    """

    cpus: int
    gpus: float
    machines: Callable[[], Sequence[Machine]]
    _found: int = 0
    _next: float = field(default_factory=time.monotonic)

    def __call__(self) -> int:
        return max(1, self.there())

    def there(self) -> int:
        """The same, or 0."""
        if time.monotonic() >= self._next:
            with suppress(Exception):  # a head that starts again: then what it said last counts
                self._found = sum(fit(self.cpus, self.gpus, machine) for machine in self.machines())
            self._next = time.monotonic() + LOOK
        return self._found


@dataclass(frozen=True)
class Resources:
    """What a pack gets, and how many packs run at a time, at most; `room` where machines come and go."""

    cpus: int
    gpus: float
    packs: int
    room: Room | None = None

    @property
    def device(self) -> str:
        """Where a pack's tensors live."""
        return "cuda" if self.gpus > 0 else "cpu"

    def waits(self, asked: int | None) -> str:
        """A line on what the sweep waits for, if `asked` packs are to run at a time (None: as many as fit)."""
        there = self.room.there() if self.room else self.packs
        if self.room is None or there >= (asked or 1):
            return ""
        takes = f"{self.cpus} CPU" + (f", {self.gpus:g} GPU" if self.gpus else "")
        return f"room for {there} of {asked or 1} packs ({takes} each) so far; waiting for machines to join the cluster"


def resources(cluster: Cluster, machines: Sequence[Machine]) -> Resources:
    """Share out what the machines have. Raises SweepError if not even one pack fits on any of them."""
    cpus = max(int(machine.get("CPU", 0)) for machine in machines)
    gpus = _most_gpus(machines)
    per_pack = _per_pack(cluster, gpus)
    if cluster.cpus_per_pack > cpus:
        raise SweepError(
            f"cluster.cpus_per_pack={cluster.cpus_per_pack}: the largest machine has {cpus} CPUs; must be <= {cpus}"
        )
    if per_pack > gpus:
        raise SweepError(
            f"cluster.gpus_per_pack={per_pack:g}: the largest machine has {gpus:g} GPUs; must be <= {gpus:g}"
        )
    room = sum(fit(cluster.cpus_per_pack, per_pack, machine) for machine in machines)
    if not room:
        raise SweepError(f"cluster.cpus_per_pack={cluster.cpus_per_pack}: no machine has as many CPUs beside a GPU")
    return Resources(cluster.cpus_per_pack, per_pack, room)


def elastic(cluster: Cluster, machines: Callable[[], Sequence[Machine]]) -> Resources:
    """The same where machines come and go: one without CPUs, and any number of packs, are waited for.

    Raises SweepError as `resources` does if there are machines, none is large enough, and nobody asked to wait.
    """
    there = machines()
    per_pack = _per_pack(cluster, _most_gpus(there))
    if cluster.packs is None and any(machine.get("CPU", 0) for machine in there):
        try:
            resources(cluster, there)
        except SweepError as error:
            raise SweepError(f"{error} (or cluster.packs=N: then a larger one is waited for)") from error
    room = Room(cluster.cpus_per_pack, per_pack, machines)
    return Resources(cluster.cpus_per_pack, per_pack, room(), room)


def fit(cpus: int, gpus: float, machine: Machine) -> int:
    """How many packs one machine takes."""
    packs = int(machine.get("CPU", 0)) // cpus
    return min(packs, int(machine.get("GPU", 0.0) / gpus)) if gpus else packs


def _most_gpus(machines: Sequence[Machine]) -> float:
    return max((machine.get("GPU", 0.0) for machine in machines), default=0.0)


def _per_pack(cluster: Cluster, gpus: float) -> float:
    return cluster.gpus_per_pack if cluster.gpus_per_pack is not None else min(1.0, gpus)
