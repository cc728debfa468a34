"""A checkpoint of a pack of 8 against the epoch that it keeps: made, digested, written and flushed, found again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial

import torch
from harness import interleave, table
from training import BATCH

from lca_sweep.core import Pack, Trial, TrialKnobs, load
from lca_sweep.core.epoch import train_epoch
from lca_sweep.core.images import load_ordered
from lca_sweep.core.knobs import flat
from lca_sweep.sweep import checkpoint
from lca_sweep.sweep.checkpoint import Checkpoint, Owner
from lca_sweep.sweep.storage import storage_at

SIZE = 8


def main(rounds: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data, paper = load("mnist"), TrialKnobs()
    train = load_ordered(data.train, data.scale, "cpu")
    pack = Pack.start([Trial(n, paper) for n in range(SIZE)], data.inputs, data.classes)
    train_epoch(pack, train)
    owner = Owner.of("sweep", {str(n): flat(paper) for n in range(SIZE)})
    history = [{"epoch": 1, "trials": [{"trial": n, "state": "running"} for n in range(SIZE)]}]
    whole = Checkpoint(owner, *pack.state(), history)
    content = checkpoint.to_bytes(whole)
    with tempfile.TemporaryDirectory() as folder:
        storage = storage_at(folder)
        checkpoint.save(storage, 0, whole)
        contenders: dict[str, Callable[[], object]] = {
            "one epoch of training": partial(train_epoch, pack, train),
            "state taken out of the pack": pack.state,
            "bytes with a digest": partial(checkpoint.to_bytes, whole),
            "written and flushed": partial(storage.write, "file", content),
            "a checkpoint in all": lambda: checkpoint.save(storage, 0, Checkpoint(owner, *pack.state(), history)),
            "found and verified": partial(checkpoint.find, storage, [0], owner, lambda found: None),
        }
        del whole
        seconds = interleave(contenders, max(rounds // 3, 3), 1)
    megabytes, steps = len(content) / 1e6, len(train.y) // BATCH
    title = f"Checkpoint of a pack of {SIZE}, 784-100-100-10 ({megabytes:.0f} MB; an epoch is {steps} steps), one core"
    print(table(title, seconds, "one epoch of training"), flush=True)


if __name__ == "__main__":
    main(15)
