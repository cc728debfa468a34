"""The driver: from a config to a finished sweep."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from lca_sweep.config import Config, KnobError
from lca_sweep.core.data import Splits, load
from lca_sweep.core.errors import first_line
from lca_sweep.core.network import ABOUT
from lca_sweep.search.space import Space
from lca_sweep.search.study import Row, Study, database, journal
from lca_sweep.sweep import checkpoint
from lca_sweep.sweep.cluster import Resources, connected
from lca_sweep.sweep.cost import make_pruner
from lca_sweep.sweep.folder import Folder, folder_path, is_known, lasting, opened, plain_config
from lca_sweep.sweep.layout import checkpoint_file, trial_folder
from lca_sweep.sweep.ledger import Ledger
from lca_sweep.sweep.provenance import provenance
from lca_sweep.sweep.view import View, duration, plural, results, wide_console
from lca_sweep.tracking import BestTrial, SweepEnd, SweepRecord, Tracker, TrackingError, open_tracker, ui_command

DONE, NONE_COMPLETE, INTERRUPTED = 0, 1, 130


def run(config: Config, space: Space) -> int:
    """Run, resume or extend a sweep. Exit status 0: all trials ended; 1: none is complete; 130: interrupted, can go on.

    Everything that can be refused is refused before anything is written.
    """
    home = os.path.expanduser(config.data.dir) if config.data.dir else None
    data = load(config.data.name, dir=home, train_size=config.data.train_size)
    _check_batch(config, data)
    name = config.sweep.name or derived_name(config)
    path = folder_path(config, name)
    storage = database(config.search.storage) if config.search.storage else None
    with ExitStack() as stack:
        # what needs Ray for sure starts it first: should it not answer, nothing is written yet
        resources = None if is_known(path) else _start_ray(config, stack)
        tracker = open_tracker(config.tracking.uri, config.tracking.experiment, path / "outbox")
        folder = stack.enter_context(opened(config, path))
        stack.callback(tracker.close)  # before the folder's lock goes, under which the outbox is
        study = Study.open(config, name, space, storage or journal(path))
        study.claim(folder.uid)
        driver = _Driver(config, data, name, folder, study, tracker)
        if resources is None and driver.ledger.work_left():
            resources = _start_ray(config, stack)
        return driver.run(resources)


def _start_ray(config: Config, stack: ExitStack) -> Resources:
    console = wide_console()
    if not console.is_terminal:
        console.print("starting Ray")
    with console.status("starting Ray"):
        return stack.enter_context(connected(config.cluster))


class _Driver:
    """One start of one sweep, with all its parts in hand."""

    def __init__(self, config: Config, data: Splits, name: str, folder: Folder, study: Study, tracker: Tracker) -> None:
        self.config, self.data, self.name, self.folder = config, data, name, folder
        self.study, self.tracker, self.view = study, tracker, View(name, config)
        self.tags = {"data": data.name, "data.digest": data.digest[:16], **provenance()}
        self.ledger = Ledger(config, study, tracker, self.view, self.tags)
        for pack in self.ledger.orphans:
            checkpoint.check(checkpoint_file(folder.path, pack))

    def run(self, resources: Resources | None) -> int:
        """Train what is left, on `resources` (None only where nothing is left), and close the books."""
        began, plain = time.monotonic(), plain_config(self.config)
        self.tracker.start_sweep(
            SweepRecord(self.name, self.folder.uid, plain, plain["sweep"]["space"], self.tags, self.folder.path)
        )
        self.view.begin(self.study.rows())
        try:
            if resources:
                self._train(resources)
        except KeyboardInterrupt:
            pass  # just before or after the training; during it, Tune itself takes it
        except BaseException as error:
            with suppress(TrackingError):  # what went wrong first is what is told
                self._close("failed", first_line(error))
            raise
        interrupted = self.ledger.work_left() or self.study.counts()["running"] > 0
        self._close("interrupted" if interrupted else "finished")
        what = "interrupted" if interrupted else "done" if resources else "nothing left to do; done"
        self._print(f"{what} after {duration(time.monotonic() - began)}")
        if interrupted:
            self.view.say("the same command again goes on from here")
            return INTERRUPTED
        return DONE if self.study.best() else NONE_COMPLETE

    def _train(self, resources: Resources) -> None:
        trials = plural(self.config.sweep.trials, "trial")
        self.view.say(f"sweep {self.name}: {trials} on {self.data.name}, in {self.folder.path}")
        self.ledger.tags = {**self.tags, "device": resources.device}
        with self.view:
            tune_packs(self.config, self.data, self.folder, self.ledger, resources)

    def _close(self, status: str, message: str = "") -> None:
        for row in self.study.rows():
            if row.state == "running":
                self.tracker.end_trial(row.number, "interrupted", "")
        best = [self._best(row) for row in self.study.best()]
        self.tracker.end_sweep(
            SweepEnd(status, self.study.counts(), best[0] if best else None, message), say=self.view.say
        )

    def _best(self, row: Row) -> BestTrial:
        folder = trial_folder(self.folder.path, row.number)
        metrics = self._metrics([row])[row.number]
        artifacts = folder if (folder / ABOUT).exists() else None
        return BestTrial(row.number, row.value or 0.0, metrics, row.params, artifacts)

    def _metrics(self, rows: list[Row]) -> dict[int, Mapping[str, float]]:
        """Last metrics of complete trials, from what their workers wrote."""
        found = {}
        for row in rows:
            about = trial_folder(self.folder.path, row.number) / ABOUT
            found[row.number] = json.loads(about.read_bytes())["metrics"] if about.exists() else {}
        return found

    def _print(self, headline: str) -> None:
        counts, say = self.study.counts(), self.view.say
        states = ", ".join(
            f"{counts[state]} {state}" for state in ("complete", "pruned", "failed", "running") if counts[state]
        )
        say(f"{headline}: {states or 'no trial'}")
        best = self.study.best(5)
        for line in results(best, self._metrics(best)):
            say(line)
        for row in self.study.rows():
            if row.state == "failed":
                say(f"trial {row.number} failed: {row.reason}")
        for line in self._ui():
            say(line)

    def _ui(self) -> list[str]:
        """How to look at the runs; with the path of our own mlflow where the shell would not find it."""
        command, own = ui_command(self.config.tracking.uri), Path(sys.executable).with_name("mlflow")
        if not command.startswith("mlflow "):
            return [f"MLflow: {self.tracker.page}"]
        if shutil.which("mlflow") != str(own) and own.exists():
            near = os.path.relpath(own)
            command = shlex.quote(str(own) if near.startswith("..") else near) + command.removeprefix("mlflow")
        return ["MLflow UI, the runs of this and other sweeps:", f"  {command}", f"  {self.tracker.page}"]


def tune_packs(config: Config, data: Splits, folder: Folder, ledger: Ledger, resources: Resources) -> None:
    """Let Ray Tune run the ledger's packs until there are none left, or until it is interrupted."""
    from ray import tune  # after `connected` has set its environment

    from lca_sweep.sweep.searcher import PackCallback, PackSearcher
    from lca_sweep.sweep.trainable import PackPlan, PackTrainable

    plan = PackPlan(
        folder=folder.path,
        pruner=make_pruner(config.pruner),
        padding=config.pack.padding,
        checkpoint_every=config.pack.checkpoint_every,
        threads=config.cluster.cpus_per_pack,
        device=resources.device,
    )
    trainable = tune.with_resources(
        tune.with_parameters(PackTrainable, data=data, plan=plan), {"cpu": resources.cpus, "gpu": resources.gpus}
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=PackSearcher(ledger),
            num_samples=-1,  # until the searcher has no more
            max_concurrent_trials=resources.packs,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"pack-{trial.config['pack']:04d}",
            trial_dirname_creator=lambda trial: f"pack-{trial.config['pack']:04d}",
        ),
        run_config=tune.RunConfig(
            name=f"ray-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(folder.path / "logs"),
            callbacks=[PackCallback(ledger)],
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0, checkpoint_at_end=False
            ),  # packs keep their own
            failure_config=tune.FailureConfig(max_failures=config.cluster.max_failures),
            verbose=0,
        ),
    )
    tuner.fit()


def derived_name(config: Config) -> str:
    """A name for an unnamed sweep: the same knobs give the same name."""
    digest: str = hashlib.sha256(json.dumps(lasting(plain_config(config)), sort_keys=True).encode()).hexdigest()
    return f"{config.data.name}-{digest[:8]}"


def _check_batch(config: Config, data: Splits) -> None:
    images, batch = len(data.train.y), config.trainer.batch_size
    if batch > images:
        raise KnobError(f"trainer.batch_size={batch}: {data.name} has {images} training images; must be <= {images}")
