"""Training: `fit` yields one report per epoch and knows nothing of who listens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lca_sweep.core.data import Images, Splits
from lca_sweep.core.epoch import evaluate, train_epoch
from lca_sweep.core.halving import KeepAll, Leave, Pruner
from lca_sweep.core.images import load_ordered
from lca_sweep.core.knobs import KnobError, Trainer
from lca_sweep.core.network import Network
from lca_sweep.core.objective import Goal
from lca_sweep.core.pack import Bucket, Pack, Trial
from lca_sweep.core.rng import Purpose

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"


@dataclass(frozen=True)
class TrialReport:
    """One trial after one epoch. `network` holds the trained weights when the trial is complete."""

    trial: int
    state: str
    metrics: Mapping[str, float]
    reason: str = ""  # why it failed, or left early
    network: Network | None = None
    left: Mapping[str, float] = field(default_factory=dict)  # the numbers in the reason of one that left, by name


@dataclass(frozen=True)
class EpochReport:
    """All trials that were live during one epoch (counted from 1)."""

    epoch: int
    trials: tuple[TrialReport, ...]


def fit(pack: Pack, data: Splits, pruner: Pruner | None = None, goal: Goal | None = None) -> Iterator[EpochReport]:
    """Train `pack` in place up to its last epoch, yielding after each; trials that end leave before the report.

    The pruner compares by `goal`, validation accuracy if there is none. A trial of which a number that is trained or
    aimed for is not finite has failed.
    A pack whose training was broken off within an epoch (by an exception) is spent: restore it from an earlier state.
    Raises KnobError if the data has fewer training images than the knobs ask for.
    """
    pruner, goal = pruner or KeepAll(), goal or Goal()
    chosen = training_images(pack.trainer, data.train)
    if not pack.buckets:
        return
    whole = {"saved": math.inf} if pack.engine.recorded else {}
    train, validation, test = (
        load_ordered(part, data.scale, pack.like.device, **whole) for part in (chosen, data.validation, data.test)
    )
    while pack.buckets and pack.epoch < pack.trainer.epochs:
        metrics = train_epoch(pack, train)
        for bucket in pack.buckets:
            for name, images, purpose in (("val", validation, Purpose.VALIDATION), ("test", test, Purpose.TEST)):
                loss, accuracy = evaluate(bucket, images, purpose, pack.epoch)
                for t, trial in enumerate(bucket.trials):
                    metrics[trial.number] |= {f"{name}/loss": loss[t], f"{name}/accuracy": accuracy[t]}
        report = _report(pack, metrics, pruner, goal)
        pack.drop([r.trial for r in report.trials if r.state != RUNNING])
        yield report


def training_images(trainer: Trainer, images: Images) -> Images:
    """Those of all the training images that are trained on; KnobError if there are not so many, or no mini-batch."""
    size, there = trainer.train_size, len(images.y)
    if size is not None and size > there:
        raise KnobError(f"trainer.train_size={size}: must be <= {there}, the training images")
    if trainer.batch_size > (size or there):
        what = f"{there}, the training images" if size is None else f"trainer.train_size={size}"
        raise KnobError(f"trainer.batch_size={trainer.batch_size}: must be <= {what}")
    return images.first(size)


def score(
    network: Network, images: Images, scale: float, *, seed: int, epoch: int, purpose: Purpose = Purpose.TEST
) -> tuple[float, float]:
    """Cross-entropy and accuracy of the stochastic forward pass of one network.

    With the trial's `init.seed` and its last epoch the noise is that of training: these are the very numbers that `fit`
    reported (test images; VALIDATION for the others). Only if the trial had pack-mates may rounding make a difference.
    The noise of a GPU is another: a network that was trained on one must be there.
    """
    bucket = Bucket.of(network, seed)
    loss, accuracy = evaluate(bucket, load_ordered(images, scale, bucket.fan_in[0].device), purpose, epoch)
    return loss[0], accuracy[0]


def _report(pack: Pack, metrics: Mapping[int, dict[str, float]], pruner: Pruner, goal: Goal) -> EpochReport:
    reasons = {number: _not_finite(values, goal, pack.epoch) for number, values in metrics.items()}
    sound = {number: goal.scored(values) for number, values in metrics.items() if not reasons[number]}
    last = pack.epoch == pack.trainer.epochs
    leavers: Mapping[int, Leave] = {} if last else pruner.leavers(pack.epoch, goal, sound)

    def one(trial: Trial) -> TrialReport:
        number = trial.number
        if reasons[number]:
            return TrialReport(number, FAILED, metrics[number], reasons[number])
        if last:
            return TrialReport(number, COMPLETE, metrics[number], network=pack.network(number))
        if leave := leavers.get(number):
            return TrialReport(number, PRUNED, metrics[number], leave.reason, left=leave.numbers)
        return TrialReport(number, RUNNING, metrics[number])

    return EpochReport(pack.epoch, tuple(one(trial) for trial in pack.trials))


def _not_finite(values: Mapping[str, float], goal: Goal, epoch: int) -> str:
    watched = dict.fromkeys(("train/loss", "val/loss", *goal.metrics))
    bad = [name for name in watched if not math.isfinite(values.get(name, math.nan))]
    return f"{bad[0]} is {values.get(bad[0], math.nan)} at epoch {epoch}" if bad else ""
