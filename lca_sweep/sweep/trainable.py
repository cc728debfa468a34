"""The worker's side: one Ray Tune trial trains one pack. Imports the core, and of Ray only `ray.tune`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from lca_sweep.core.data import Splits
from lca_sweep.core.halving import Pruner
from lca_sweep.core.knobs import TrialKnobs, flat, replace
from lca_sweep.core.pack import Pack, Trial
from lca_sweep.core.train import EpochReport, TrialReport, fit
from lca_sweep.sweep import checkpoint
from lca_sweep.sweep.layout import checkpoint_file, trial_folder


@dataclass(frozen=True)
class PackPlan:
    """What all packs of a sweep have in common."""

    folder: Path
    pruner: Pruner
    padding: float
    checkpoint_every: int
    threads: int
    device: str


class PackTrainable(tune.Trainable):
    """Each `step` is one epoch; its result carries the epoch's reports as plain dicts.

    A pack that was begun before goes on from its checkpoint, and first repeats every report up to there: whoever
    listens keeps what is new to them.
    """

    def setup(self, config: dict[str, Any], data: Splits, plan: PackPlan) -> None:  # type: ignore[override]
        self.data, self.plan = data, plan
        torch.set_num_threads(plan.threads)
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """Take up one pack: `pack` is its number, `trials` maps trial numbers to their flat knobs."""
        self.path = checkpoint_file(self.plan.folder, config["pack"])
        trials = [Trial(int(n), replace(TrialKnobs(), knobs)) for n, knobs in config["trials"].items()]
        inputs, classes = self.data.inputs, self.data.classes
        self.pack = Pack.start(trials, inputs, classes, padding=self.plan.padding, device=self.plan.device)
        self.history: list[dict[str, Any]] = []
        self.unsent = 0  # reports before this one have reached the driver in an earlier result
        self.owner = checkpoint.owner(config["trials"])
        saved = checkpoint.load(self.path)
        if saved is not None and saved.owner == self.owner:  # another study may have left its own behind
            self.pack.restore(saved.tensors, saved.about)
            self.history = saved.history
        self.knobs = {trial.number: flat(trial.knobs) for trial in trials}
        self.reports: Iterator[EpochReport] = fit(self.pack, self.data, self.plan.pruner)

    def step(self) -> dict[str, Any]:
        report = next(self.reports, None)
        if report is not None:
            for trial in report.trials:
                self.keep_network(report.epoch, trial)
            self.history.append(as_dict(report))
            ended = any(trial.state != "running" for trial in report.trials)
            if ended or report.epoch % self.plan.checkpoint_every == 0:
                tensors, about = self.pack.state()
                checkpoint.save(self.path, checkpoint.Checkpoint(self.owner, tensors, about, self.history))
        news, self.unsent = self.history[self.unsent :], len(self.history)
        return {"reports": news, "done": not self.pack.buckets}

    def keep_network(self, epoch: int, trial: TrialReport) -> None:
        """Write a complete trial's weights to the sweep's folder."""
        if trial.network is None:
            return
        about = {
            "trial": trial.trial,
            "epoch": epoch,
            "data": {"name": self.data.name, "digest": self.data.digest},
            "knobs": self.knobs[trial.trial],
            "metrics": dict(trial.metrics),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
        }
        trial.network.save(trial_folder(self.plan.folder, trial.trial), about)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The same process takes the next pack."""
        self.begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the pack's own checkpoint is in the sweep's folder."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, for the same reason."""


def as_dict(report: EpochReport) -> dict[str, Any]:
    """A report as plain JSON, without the weights."""
    trials = [{f.name: getattr(t, f.name) for f in dataclasses.fields(t) if f.name != "network"} for t in report.trials]
    return {"epoch": report.epoch, "trials": trials}
