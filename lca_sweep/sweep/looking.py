"""Looking into several trials: one after the other in this process, or side by side on the Ray that the sweep has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lca_sweep.config import Analysis as Wanted
from lca_sweep.core.data import Splits
from lca_sweep.core.errors import UserError, first_line
from lca_sweep.report.results import Analysis
from lca_sweep.sweep.analyses import analysed
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.storage import Storage

LOOK = 0.2  # seconds between looks whether it is enough


@dataclass(frozen=True)
class Wish:
    """What is wanted, and from where."""

    storage: Storage
    data: Splits
    wanted: Wanted


Found = tuple[int, Analysis | UserError]  # of a trial by its number; an error is that of this trial alone
Look = Callable[[Wish, Sequence[int], Callable[[], bool]], Iterator[Found]]


def one_by_one(wish: Wish, numbers: Sequence[int], enough: Callable[[], bool]) -> Iterator[Found]:
    """The analyses of these trials, in order. Between two `enough` may break off, with SweepError."""
    for number in numbers:
        _go_on(enough)
        try:
            yield number, analysed(wish.storage, number, wish.data, wish.wanted)
        except UserError as error:
            yield number, error


def side_by_side(cpus: int, wish: Wish, numbers: Sequence[int], enough: Callable[[], bool]) -> Iterator[Found]:
    """The same as tasks of `cpus` cores and threads each, in the order in which they end; broken off at once."""
    if len(numbers) < 2:  # a process of its own takes as long to start as it would save
        yield from one_by_one(wish, numbers, enough)
        return
    import ray

    task: Any = ray.remote(num_cpus=cpus, max_retries=2)(_task)
    data = ray.put(wish.data)
    waiting = {task.remote(cpus, wish.storage, wish.wanted, data, number): number for number in numbers}
    try:
        while waiting:
            _go_on(enough)
            done, _ = ray.wait(list(waiting), timeout=LOOK)
            for one in done:
                yield _outcome(one, waiting.pop(one))
    finally:
        for one in waiting:
            with suppress(Exception):  # Ray may be gone, and nobody waits for it
                ray.cancel(one, force=True)


def _task(cpus: int, storage: Storage, wanted: Wanted, data: Splits, number: int) -> Analysis | UserError:
    """In a worker of Ray."""
    import torch

    torch.set_num_threads(cpus)
    try:
        return analysed(storage, number, data, wanted)
    except UserError as error:
        return SweepError(str(error))  # whatever it is, it can be sent


def _outcome(task: Any, number: int) -> Found:
    import ray

    try:
        return number, ray.get(task)
    except ray.exceptions.RayError as error:  # its process died again and again, or its code raised
        return number, SweepError(f"trial {number}: cannot be looked into: {first_line(error)}")


def _go_on(enough: Callable[[], bool]) -> None:
    if enough():
        raise SweepError("interrupted")
