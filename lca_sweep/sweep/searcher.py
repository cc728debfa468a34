"""Ray Tune's side of the ledger: a searcher that suggests packs, a callback that books what comes back, a stopper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from lca_sweep.sweep.ledger import WAIT, Ledger
from lca_sweep.sweep.stopping import Stopping


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
        issue = self.ledger.issue()
        if issue is None:
            return Searcher.FINISHED
        if issue is WAIT:
            return None
        trials = {str(number): dict(knobs) for number, knobs in issue.trials.items()}
        return {"pack": issue.pack, "trials": trials, "origins": list(issue.origins)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback has seen it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


class PackCallback(_Light, Callback):
    """Books every result of every pack."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def setup(self, *args: Any, **info: Any) -> None:
        """Tune has just taken the signals for itself."""
        self.ledger.stopping.listen()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        pack = trial.config["pack"]
        self.ledger.book(pack, result["reports"])
        for note in result["notes"]:
            self.ledger.view.say(f"pack {pack}: {note}")
        if result["out_of_memory"]:
            self.ledger.out_of_memory(pack, result["out_of_memory"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        file = trial.error_file  # not `get_error`: that one reads a copy which Tune makes later
        reason = last_words(Path(file).read_text() if file else "")
        ended = self.ledger.out_of_memory if "running low on memory" in reason else self.ledger.pack_failed
        ended(trial.config["pack"], reason)


class SweepStopper(_Light, Stopper):
    """Ends all packs when the sweep is to stop: each finishes its epoch, and cleans up by writing a checkpoint."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No pack by itself."""
        return False

    def stop_all(self) -> bool:
        """Asked in every round of Tune's loop."""
        return self.stopping.due()


def last_words(errors: str) -> str:
    """The newest failure in Tune's file of errors, in one line: an exception's message, or Ray's word of a process."""
    lines = [line.strip() for line in errors.rpartition("Failure # ")[2].splitlines()[1:] if line.strip()]
    if not lines:
        return "its process died"
    return lines[-1] if "ray::" in lines[0] else lines[0]
