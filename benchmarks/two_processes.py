"""What a sweep does with cores: a process of one thread on each, at the same time, against the same of its floor."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch
from harness import interleave, table

from lca_sweep.core import TrialKnobs, load
from lca_sweep.core.images import load_ordered

PACK = 8
FLOOR, OURS = "matrix products of 8, in each process", "pack of 8, in each process"


def work(orders: Connection) -> None:
    """A process: do what is asked for by name, and say when it is done."""
    from training import BATCH, PAPER, floor, ours

    torch.set_num_threads(1)
    data = load("mnist")
    train = load_ordered(data.train, data.scale, "cpu")
    contenders = {
        FLOOR: floor(PAPER, PACK * (len(train.y) // BATCH)),
        OURS: ours([TrialKnobs()] * PACK, data, train, 1.0),
    }
    while name := orders.recv():
        contenders[name]()
        orders.send("done")


@contextmanager
def processes(number: int) -> Iterator[list[Connection]]:
    """So many of them, and the way to speak to each."""
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(number)]
    started = [spawn.Process(target=work, args=(theirs,), daemon=True) for _, theirs in pipes]
    for process in started:
        process.start()
    yield [own for own, _ in pipes]
    for own, _ in pipes:
        own.send("")
    for process in started:
        process.join()


def together(pipes: list[Connection], name: str) -> Callable[[], None]:
    """All do it at once; the time is that of the slowest."""

    def run() -> None:
        for pipe in pipes:
            pipe.send(name)
        for pipe in pipes:
            pipe.recv()

    return run


def main(rounds: int) -> None:
    """Print the table."""
    cores = min(os.cpu_count() or 1, 2)
    with processes(cores) as pipes:
        contenders = {name: together(pipes, name) for name in (FLOOR, OURS)}
        seconds = interleave(contenders, rounds, 1)
    title = f"Per trial, {cores} processes of one thread at a time, a pack of {PACK} alike in each"
    print(table(title, seconds, FLOOR, per=cores * PACK), flush=True)


if __name__ == "__main__":
    main(9)
