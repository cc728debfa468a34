"""The worker's side: one Ray Tune trial trains one pack. Imports the core, and of Ray only `ray.tune`."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from ray import tune

from lca_sweep.core.data import Splits
from lca_sweep.core.engine import engine_for
from lca_sweep.core.errors import SlowerWarning, first_line
from lca_sweep.core.halving import KeepAll, Pruner
from lca_sweep.core.knobs import Trainer, TrialKnobs, flat, replace
from lca_sweep.core.objective import Goal
from lca_sweep.core.pack import Pack, Trial
from lca_sweep.core.train import RUNNING, EpochReport, TrialReport, fit, training_images
from lca_sweep.sweep import checkpoint, layout
from lca_sweep.sweep.checkpoint import Checkpoint, Owner
from lca_sweep.sweep.storage import Storage, StorageError, patiently
from lca_sweep.sweep.usage import Meter

T = TypeVar("T")

# how torch says it where it raises a plain RuntimeError: its allocator of main memory, CUDA itself, cuBLAS
NO_MEMORY = ("can't allocate memory", "DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class PackPlan:
    """What all packs of a sweep have in common; `uid` is the sweep's."""

    storage: Storage
    uid: str
    pruner: Pruner
    padding: float
    checkpoint_every: int
    threads: int
    device: str
    goal: Goal = field(default_factory=Goal)


class PackTrainable(tune.Trainable):
    """Each `step` is one epoch; its result has its reports as plain dicts, what it took, and lines for the user.

    A pack that was begun before goes on from its checkpoint, and first repeats every report up to there: whoever
    listens keeps what is new to them. A pack that does not fit into memory says so in its last result.
    """

    def setup(self, config: dict[str, Any], data: Splits, plan: PackPlan) -> None:  # type: ignore[override]
        self.data, self.plan = data, plan
        torch.set_num_threads(plan.threads)
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """Take up one pack: `pack` is its number, `trials` maps trial numbers to their flat knobs.

        `origins`, if there are any, are packs whose checkpoints may hold these trials where its own has none, the
        nearest first. `bars` is what the pruner compares with, by epoch; with `prune` false nobody leaves early.
        """
        self.number, origins = config["pack"], config.get("origins", [])
        self.prune = config.get("prune", True)
        self.bars = {int(epoch): bar for epoch, bar in config.get("bars", {}).items()}
        self.trials = [Trial(int(n), replace(TrialKnobs(), knobs)) for n, knobs in config["trials"].items()]
        self.owner = Owner.of(self.plan.uid, config["trials"])
        self.pack = Pack(self.data.inputs, self.data.classes, Trainer(), [], self.plan.padding)
        self.reports: Iterator[EpochReport] = iter(())
        self.history: list[Any] = []
        self.notes: list[str] = []
        self.unsent = 0  # reports before this one have reached the driver in an earlier result
        self.epoch = self.saved = 0  # the last whole epoch, and that of the newest checkpoint
        self.out_of_memory = ""
        self.meter = Meter()
        self._within_memory(lambda: self._take_up([self.number, *origins]))

    def step(self) -> dict[str, Any]:
        self._within_memory(self._train)
        news, self.unsent = self.history[self.unsent :], len(self.history)
        notes, self.notes = self.notes, []
        done = not self.pack.buckets
        told = {"reports": news, "usage": self.meter.look(), "notes": notes}
        return told | {"out_of_memory": self.out_of_memory, "done": done}

    def cleanup(self) -> None:
        """Tune's last call, also where the sweep is to stop: the epochs since the last checkpoint are kept."""
        with suppress(StorageError):  # and at once: Tune waits ten seconds for this
            self._within_memory(self._save)

    def keep_network(self, epoch: int, trial: TrialReport) -> None:
        """Write a complete trial's weights. Raises StorageError: what is not written is not told either."""
        if trial.network is None:
            return
        about = {
            "trial": trial.trial,
            "epoch": epoch,
            "data": {"name": self.data.name, "digest": self.data.digest, "scale": self.data.scale},
            "knobs": next(flat(one.knobs) for one in self.trials if one.number == trial.trial),
            "metrics": dict(trial.metrics),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
        }
        for name, content in trial.network.to_files(about).items():
            patiently(partial(self.plan.storage.write, f"{layout.trial(trial.trial)}/{name}", content))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The same process takes the next pack; the last one may have been told to stop."""
        self.cleanup()
        self.begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the pack's own checkpoint is in the sweep's storage."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, for the same reason."""

    def _take_up(self, packs: list[int]) -> None:
        inputs, classes = self.data.inputs, self.data.classes
        engine, told = telling(lambda: engine_for(self.plan.device))
        padding, device = self.plan.padding, self.plan.device
        self.pack = Pack.start(self.trials, inputs, classes, padding=padding, device=device, engine=engine)
        found, notes = checkpoint.find(self.plan.storage, packs, self.owner, self._check)
        self.notes = [*told, *notes]
        if found:
            self.pack.restore(found.tensors, found.about)
            self.history, self.epoch = list(found.history), self.pack.epoch
            self.saved = self.epoch
        self.reports = fit(self.pack, self.data, self._pruner(packs[-1]), self.plan.goal)

    def _pruner(self, first: int) -> Pruner:
        """This pack's; what was split goes on as the `first` pack of its trials began."""
        if not self.prune:
            return KeepAll()
        return self.plan.pruner.within(first, self.pack.trainer.epochs, self.bars)

    def _check(self, found: Checkpoint) -> None:
        images = training_images(self.pack.trainer, self.data.train)
        steps = len(images.y) // self.pack.trainer.batch_size
        checkpoint.check_fits(found, self.pack.state()[0], found.about["epoch"] * steps)

    def _train(self) -> None:
        """One epoch, and a checkpoint after it if it is time."""
        report, told = telling(lambda: next(self.reports, None))
        self.notes += told
        if report is None:
            return
        for trial in report.trials:
            self.keep_network(report.epoch, trial)
        self.history.append(as_dict(report))
        self.epoch = report.epoch
        ended = any(trial.state != RUNNING for trial in report.trials)
        if ended or report.epoch % self.plan.checkpoint_every == 0:
            self._save_or_note()

    def _save_or_note(self) -> None:
        try:
            patiently(self._save)
        except StorageError as error:
            goes_on = "; training goes on" if self.pack.buckets else ""
            self.notes.append(f"checkpoint of epoch {self.epoch} not written: {error.reason}{goes_on}")

    def _save(self) -> None:
        """Write a checkpoint of the last epoch, unless there is one; not from tensors that are in the next already."""
        if self.epoch > self.saved and self.epoch == self.pack.epoch:
            tensors, about = self.pack.state()
            found = Checkpoint(self.owner, tensors, about, self.history)
            checkpoint.save(self.plan.storage, self.number, found, keep=self.saved)
            self.saved = self.epoch

    def _within_memory(self, action: Callable[[], None]) -> None:
        """Do it; if memory does not suffice, remember that, and let go of all that the pack holds."""
        try:
            action()
            return
        except (MemoryError, RuntimeError) as error:
            self.out_of_memory = lack_of_memory(error)
            if not self.out_of_memory:
                raise
        # not before the exception is gone: it holds the frames, and these the tensors
        self.reports = iter(())
        free_memory()
        with suppress(StorageError, MemoryError, RuntimeError):
            self._save()
        self.pack.buckets, self.saved = [], self.epoch
        free_memory()


def telling(action: Callable[[], T]) -> tuple[T, list[str]]:
    """What an action gives, and what it warns of: that a GPU is used below its speed. Who looks at Ray's logs?"""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SlowerWarning)
        result = action()
    for one in caught:
        if not issubclass(one.category, SlowerWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return result, [str(one.message) for one in caught if issubclass(one.category, SlowerWarning)]


def as_dict(report: EpochReport) -> dict[str, Any]:
    """A report as plain JSON, without the weights."""
    trials = [{f.name: getattr(t, f.name) for f in dataclasses.fields(t) if f.name != "network"} for t in report.trials]
    return {"epoch": report.epoch, "trials": trials}


def lack_of_memory(error: Exception) -> str:
    """One line if an error says that memory does not suffice, else nothing."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return first_line(error) if known or any(word in str(error) for word in NO_MEMORY) else ""


def free_memory() -> None:
    """What nobody refers to goes back to the machine."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
