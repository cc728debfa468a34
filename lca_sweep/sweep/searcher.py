"""Ray Tune's side of the ledger: a searcher that suggests packs, a callback that books what comes back, a stopper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import HOSTNAME
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from lca_sweep.core.errors import first_line
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.ledger import WAIT, Ledger


class _Light:
    """Tune pickles searchers and callbacks into its own state, which we never read: nothing goes along."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PackSearcher(_Light, Searcher):
    """Suggests the ledger's next pack; the results reach the ledger by `PackCallback`."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(metric=None, mode=None)
        self.ledger = ledger

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """Nothing to set: the space is the ledger's."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        """A pack as the config of a Tune trial; None: ask again later."""
        issue = None
        with self.ledger.stopping.on_error():
            issue = self.ledger.issue()
        if issue is None:
            return Searcher.FINISHED
        if issue is WAIT:
            return None
        trials = {str(number): dict(knobs) for number, knobs in issue.trials.items()}
        bars = {str(epoch): bar for epoch, bar in issue.bars.items()}
        where = {"pack": issue.pack, "trials": trials, "origins": list(issue.origins)}
        return where | {"bars": bars, "prune": issue.prune}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback has seen it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


class PackScheduler(_Light, FIFOScheduler):
    """First come, first served; but who is free takes a new pack, and none that a process is being started for.

    Tune's own scheduler gives such a pack to whoever is free, and ends that process: where packs take less time than
    its start, a machine that has joined would never get any. With no new pack left Tune does so still, and rightly.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._chosen: set[str] = set()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first of the packs that are pending and have not been chosen before."""
        pending = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]
        new = [trial for trial in pending if trial.trial_id not in self._chosen]
        chosen = min(new, key=lambda trial: trial.config["pack"], default=None)
        if chosen:
            self._chosen.add(chosen.trial_id)
        return chosen


class SweepStopper(_Light, Stopper):
    """Ends the packs when the sweep is to stop: each when it has reported its epoch, and then writes a checkpoint.

    Ended by Tune at once, an epoch would have ten seconds to come to its end (TuneController._cleanup_stopping_actors).
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.training = ledger, dict[str, int]()  # packs by Tune's trial id
        self._told = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Asked for each result of each pack."""
        return self.ledger.stopping.due()

    def stop_all(self) -> bool:
        """Asked in every round of Tune's loop: whether to end also what has not begun to train."""
        reason = self.ledger.stopping.reason if self.ledger.stopping.due() else None
        if reason and self.training and not self._told:
            error = self.ledger.stopping.error
            why = first_line(error) if error else reason.text
            self.ledger.view.say(f"{why}: finishing the epoch (Ctrl-C: at once)")
            self._told = True
        return reason is not None and not self.training


class PackCallback(_Light, Callback):
    """Books every result of every pack."""

    def __init__(self, ledger: Ledger, stopper: SweepStopper) -> None:
        self.ledger, self.training = ledger, stopper.training
        self.broken: set[str] = set()  # a process that dies can fail more than one call, and Tune tells of each

    def setup(self, *args: Any, **info: Any) -> None:
        """Tune has just taken the signals for itself."""
        self.ledger.stopping.listen()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.training[trial.trial_id] = trial.config["pack"]

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if self.ledger.stopping.error is None:  # else these books are closed: the pack's checkpoint will have it all
            with self.ledger.stopping.on_error():
                self._book(trial.config["pack"], result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.training.pop(trial.trial_id, None)
        with self.ledger.stopping.on_error():
            self.ledger.pack_over(trial.config["pack"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.training.pop(trial.trial_id, None)
        if self.ledger.stopping.error is None and trial.trial_id not in self.broken:
            self.broken.add(trial.trial_id)
            file = trial.error_file  # not `get_error`: that one reads a copy which Tune makes later
            with self.ledger.stopping.on_error():
                self._fail(trial.config["pack"], last_words(Path(file).read_text() if file else ""))

    def all_broke(self, reason: str) -> None:
        """Tune itself has ended: whatever was being trained begins again from its checkpoint."""
        packs = list(self.training.values())
        self.training.clear()
        with self.ledger.stopping.on_error():
            for pack in packs:
                self.ledger.pack_broke(pack, reason)

    def _book(self, pack: int, result: Mapping[str, Any]) -> None:
        self.ledger.view.pack_at(pack, result[HOSTNAME])
        self.ledger.book(pack, result["reports"], result["usage"])
        for note in result["notes"]:
            self.ledger.view.warn(f"pack {pack}: {note}")
        if result["out_of_memory"]:
            self.ledger.out_of_memory(pack, result["out_of_memory"])

    def _fail(self, pack: int, reason: str) -> None:
        if found := re.match(r"(?:\w+\.)*StorageError: (.*)", reason):
            raise SweepError(found[1])  # not the trials' fault, and the next ones would fare alike
        if "running low on memory" in reason and self.ledger.can_be_split(pack):
            self.ledger.out_of_memory(pack, reason)  # Ray has ended the process before the machine would have
        else:  # also a trial alone: others may have taken the memory
            self.ledger.pack_broke(pack, reason)


def last_words(errors: str) -> str:
    """The newest failure in Tune's file of errors, in one line: an exception's message, or Ray's word of a process."""
    lines = [line.strip() for line in errors.rpartition("Failure # ")[2].splitlines()[1:] if line.strip()]
    if not lines:
        return "its process died"
    if re.match(r"The actor \w+ is unavailable", lines[0]):  # Ray adds an RPC's number, and what it does not know
        return "its machine does not answer"
    return lines[-1] if "ray::" in lines[0] else lines[0]
