"""Training epochs and evaluations against their floor, the matrix products alone, and against plain torch autograd."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from unittest import mock

import bayesian
import torch
import two_processes
from harness import interleave, table
from plain_torch import train_epoch as train_epoch_plainly
from torch import Tensor

from lca_sweep.core import Pack, Splits, Trial, TrialKnobs, epoch, load
from lca_sweep.core.epoch import EVALUATION_BATCH, evaluate, train_epoch
from lca_sweep.core.images import Loaded, Ordered, load_images, load_ordered
from lca_sweep.core.knobs import replace
from lca_sweep.core.rng import Purpose

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


def ours(trials: Sequence[TrialKnobs], data: Splits, train: Ordered, padding: float) -> Callable[[], object]:
    """One epoch of a pack."""
    pack = Pack.start([Trial(n, knobs) for n, knobs in enumerate(trials)], data.inputs, data.classes, padding=padding)
    return lambda: train_epoch(pack, train)


def without_numba(trials: Sequence[TrialKnobs], data: Splits, train: Ordered) -> Callable[[], object]:
    """The same where numba is not installed."""
    run = ours(trials, data, train, 1.0)

    def plainly() -> object:
        with mock.patch.object(epoch, "has_passes", lambda bucket: False):
            return run()

    return plainly


def autograd(train: Loaded) -> Callable[[], None]:
    """One epoch of the same model as plain torch users write it."""
    shapes = list(zip(PAPER[1:], PAPER[:-1], strict=True))
    params = [torch.rand(3, out, ins).mul_(0.01).requires_grad_() for out, ins in shapes]
    optimiser = torch.optim.AdamW(params, lr=0.1, weight_decay=1e-4)
    images = train.pixels.float() / train.scale
    return lambda: train_epoch_plainly(params, optimiser, images, train.y, BATCH)


def evaluation_floor(widths: Sequence[int], images: int) -> Callable[[], None]:
    """The matrix products of evaluating one trial on so many images, with kept buffers: 2 a layer."""
    shapes = [(torch.rand(out, ins), torch.rand(EVALUATION_BATCH, ins).t()) for ins, out in pairwise(widths)]
    products = [(w, a, torch.empty(len(w), EVALUATION_BATCH)) for w, a in shapes for _ in range(2)]

    def run() -> None:
        for _ in range(images // EVALUATION_BATCH):
            for left, right, result in products:
                torch.mm(left, right, out=result)

    return run


def evaluation(trials: Sequence[TrialKnobs], data: Splits, images: Ordered) -> Callable[[], object]:
    """One evaluation of a pack of trials that are alike in shape."""
    pack = Pack.start([Trial(n, knobs) for n, knobs in enumerate(trials)], data.inputs, data.classes)
    (bucket,) = pack.buckets
    return lambda: evaluate(bucket, images, Purpose.TEST, 1)


def alone(data: Splits, train: Ordered, rounds: int) -> None:
    """One trial against its floor."""
    paper, whole = TrialKnobs(), load_images(data.train, data.scale, "cpu")
    plain, prior = replace(paper, {"trainer.algorithm": "bp"}), replace(paper, {"prior.weight": 0.01})
    steps = len(whole.y) // BATCH
    contenders = {
        "matrix products alone": floor(PAPER, steps),
        f"those of the {len(train.heard)} pixels that are ever nonzero": floor((len(train.heard), *PAPER[1:]), steps),
        f"those of the {train.common.shape[1]} that many images have": floor(
            (train.common.shape[1], *PAPER[1:]), steps
        ),
        "one trial": ours([paper], data, train, 1.0),
        "one trial with a prior": ours([prior], data, train, 1.0),
        "one trial, without numba": without_numba([paper], data, train),
        "one trial with a prior, without numba": without_numba([prior], data, train),
        "one trial of ordinary back-propagation": ours([plain], data, train, 1.0),
        "plain torch autograd": autograd(whole),
    }
    if bayesian.installed():
        contenders[f"{bayesian.NAME}, normal weights"] = bayesian.epoch(PAPER, whole, BATCH)
    else:
        print(f"\n{bayesian.NAME}: not installed")
    seconds = interleave(contenders, rounds)
    print(table("One epoch, 784-100-100-10, one core", seconds, "matrix products alone"), flush=True)


def packed(data: Splits, train: Ordered, rounds: int, cores: int) -> None:
    """Eight trials alike against their floor."""
    paper = TrialKnobs()
    plain = replace(paper, {"trainer.algorithm": "bp"})
    contenders = {
        "matrix products of 8": floor(PAPER, 8 * (len(train.y) // BATCH)),
        "pack of 8": ours([paper] * 8, data, train, 1.0),
        "pack of 8 with a prior": ours([replace(paper, {"prior.weight": 0.01})] * 8, data, train, 1.0),
        "pack of 8, without numba": without_numba([paper] * 8, data, train),
        "pack of 8, ordinary back-propagation": ours([plain] * 8, data, train, 1.0),
    }
    torch.set_num_threads(cores)
    seconds = interleave(contenders, rounds, 1)
    torch.set_num_threads(1)
    title = f"Per trial in a pack of 8 alike, cores: {cores}"
    print(table(title, seconds, "matrix products of 8", per=8), flush=True)


def padded(data: Splits, train: Ordered, rounds: int) -> None:
    """What padding trials of unlike widths to one tensor costs."""
    mixed = [replace(TrialKnobs(), {"model.width": width}) for width in (40, 55, 70, 85, 100, 115, 130, 160)]
    packs = {f"padding up to {limit}": ours(mixed, data, train, limit) for limit in (1.0, 1.1, 1.3, 100.0)}
    seconds = interleave(packs, rounds, 1)
    print(table("Per trial in a pack of widths 40 to 160, one core", seconds, "padding up to 1.0", per=8), flush=True)


def evaluated(data: Splits, rounds: int) -> None:
    """The evaluation after an epoch against its floor."""
    test, paper = load_ordered(data.test, data.scale, "cpu"), TrialKnobs()
    for trials in (1, 8):
        contenders = {
            "matrix products alone": evaluation_floor(PAPER, trials * len(test.y)),
            f"pack of {trials}": evaluation([paper] * trials, data, test),
        }
        title = f"Evaluation on {len(test.y)} images, per trial, one core"
        seconds = interleave(contenders, rounds if trials == 1 else max(rounds // 3, 3))
        print(table(title, seconds, "matrix products alone", per=trials), flush=True)


def main(rounds: int) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    data = load("mnist")
    train, few = load_ordered(data.train, data.scale, "cpu"), max(rounds // 3, 3)
    alone(data, train, rounds)
    for cores in (1, 2) if (os.cpu_count() or 1) > 1 else (1,):
        packed(data, train, few, cores)
    two_processes.main(few)
    padded(data, train, few)
    evaluated(data, rounds)


if __name__ == "__main__":
    main(15)
