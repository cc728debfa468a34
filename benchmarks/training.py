"""Training epochs against their floor, the matrix products alone, and against plain torch autograd; on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from harness import interleave, table
from plain_torch import train_epoch as train_epoch_plainly
from torch import Tensor

from lca_sweep.core import Pack, Splits, Trial, TrialKnobs, load
from lca_sweep.core.epoch import train_epoch
from lca_sweep.core.images import Loaded, Training, load_images, load_training
from lca_sweep.core.knobs import replace

BATCH = 500
PAPER = (784, 100, 100, 10)


def floor(widths: Sequence[int], steps: int) -> Callable[[], None]:
    """The matrix products of so many steps, with kept buffers: 2 forward, 2 for weights, 2 for hidden inputs."""
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    for depth, (ins, out) in enumerate(pairwise(widths)):
        w, a, g = torch.rand(out, ins), torch.rand(BATCH, ins).t(), torch.rand(out, BATCH)
        products += 2 * [(w, a, torch.empty(out, BATCH)), (g, a.t(), torch.empty(out, ins))]
        products += 2 * [(w.t(), g, torch.empty(ins, BATCH))] if depth else []

    def run() -> None:
        for _ in range(steps):
            for left, right, result in products:
                torch.mm(left, right, out=result)

    return run


def ours(trials: Sequence[TrialKnobs], data: Splits, train: Training, padding: float) -> Callable[[], object]:
    """One epoch of a pack."""
    pack = Pack.start([Trial(n, knobs) for n, knobs in enumerate(trials)], data.inputs, data.classes, padding=padding)
    return lambda: train_epoch(pack, train)


def autograd(train: Loaded) -> Callable[[], None]:
    """One epoch of the same model as plain torch users write it."""
    shapes = list(zip(PAPER[1:], PAPER[:-1], strict=True))
    params = [torch.rand(3, out, ins).mul_(0.01).requires_grad_() for out, ins in shapes]
    optimiser = torch.optim.AdamW(params, lr=0.1, weight_decay=1e-4)
    images = train.pixels.float() / train.scale
    return lambda: train_epoch_plainly(params, optimiser, images, train.y, BATCH)


def main(rounds: int) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    data = load("mnist")
    train, whole = load_training(data.train, data.scale, "cpu"), load_images(data.train, data.scale, "cpu")
    steps, paper = len(whole.y) // BATCH, TrialKnobs()
    plain = replace(paper, {"trainer.algorithm": "bp"})
    kept = (len(train.heard), *PAPER[1:])
    single = {
        "matrix products alone": floor(PAPER, steps),
        f"those of the {kept[0]} pixels that are ever nonzero": floor(kept, steps),
        "one trial": ours([paper], data, train, 1.0),
        "one trial with a prior": ours([replace(paper, {"prior.weight": 0.01})], data, train, 1.0),
        "one trial of ordinary back-propagation": ours([plain], data, train, 1.0),
        "plain torch autograd": autograd(whole),
    }
    print(table("One epoch, 784-100-100-10, one core", interleave(single, rounds), "matrix products alone"), flush=True)
    same = {"matrix products of 8": floor(PAPER, 8 * steps), "pack of 8": ours([paper] * 8, data, train, 1.0)}
    same["pack of 8, ordinary back-propagation"] = ours([plain] * 8, data, train, 1.0)
    seconds = interleave(same, max(rounds // 3, 3), 1)
    print(table("Per trial in a pack of 8 alike, one core", seconds, "matrix products of 8", per=8), flush=True)
    mixed = [replace(paper, {"model.width": width}) for width in (40, 55, 70, 85, 100, 115, 130, 160)]
    packs = {f"padding up to {limit}": ours(mixed, data, train, limit) for limit in (1.0, 1.1, 1.3, 100.0)}
    seconds = interleave(packs, max(rounds // 3, 3), 1)
    print(table("Per trial in a pack of widths 40 to 160, one core", seconds, "padding up to 1.0", per=8), flush=True)


if __name__ == "__main__":
    main(15)
