"""A real sweep of each kind: every sampler over a conditional space, and each way to stop early with one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState
from sweep_helpers import children, study, sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS, EPOCHS = 12, 4
KINDS = {  # grid and random have sweeps of their own, see test_sweep.py and test_goal.py
    "tpe": ("pruner=hyperband", "pruner.min_epochs=1"),
    "gp": ("pruner=percentile", "pruner.min_epochs=1", "pruner.startup_trials=2", "pruner.percentile=50"),
    "qmc": ("pruner=median", "pruner.min_epochs=1", "pruner.startup_trials=2"),
    "cmaes": ("search.cmaes.population=4",),
    "nsga2": (
        "search.nsga2.population=4",
        "search.objectives=[maximize val/accuracy, minimize val/loss]",
        "pruner=halving",
        "pruner.min_epochs=2",
    ),
}
WORDS = (
    "data=digits",
    "trainer.batch_size=100",
    f"trainer.epochs={EPOCHS}",
    "sweep.name=kind",
    f"sweep.trials={TRIALS}",
    "search.startup_trials=2",
    "pack.size=4",
    "cluster.packs=1",
    "sweep.space.trainer.lr={low: 0.003, high: 0.3, log: true}",
    "sweep.space.model={depth: {low: 1, high: 2}, widths: {low: 4, high: 12}}",
    "sweep.space.prior.kind.choices=[none, kl]",
    "sweep.space.prior.weight={low: 1e-4, high: 0.1, log: true, when: {prior: {kind: kl}}}",
)


@pytest.mark.parametrize("sampler", KINDS)
def test_a_sweep_of_each_kind(tmp_path: Path, sampler: str) -> None:
    ended = sweep(tmp_path, *WORDS, f"search={sampler}", *KINDS[sampler])
    assert ended.code == 0, ended.err
    trials, runs = study(tmp_path, "kind"), children(tmp_path)
    assert len(trials) == len(runs) == TRIALS
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == TRIALS, "none was proposed twice"
    for trial in trials:
        knows = {"trainer.lr", "model.depth", "prior.kind", "model.widths.0"}
        knows |= {"model.widths.1"} if trial.params["model.depth"] == 2 else set()
        knows |= {"prior.weight"} if trial.params["prior.kind"] == "kl" else set()
        assert trial.params.keys() == knows
        done = trial.state == TrialState.COMPLETE
        assert done or trial.state == TrialState.PRUNED
        assert (max(trial.intermediate_values) == EPOCHS) == done
        assert ("left.epoch" in runs[trial.number].tags) == (not done)
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    assert pruned > 0 if any(word.startswith("pruner=") for word in KINDS[sampler]) else pruned == 0
