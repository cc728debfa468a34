"""A real sweep with two objectives and a constraint, as its books tell of it to others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import children, parent, sweep

from lca_sweep.core.objective import Constraint, Goal, Objective, Scored, pareto, ranked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GOAL = Goal(
    (Objective("val/accuracy"), Objective("layer1/entropy", False)), (Constraint("weights/vip_fraction", False, 0.5),)
)
WORDS = (
    "data=digits",
    "trainer.batch_size=100",
    "trainer.epochs=4",
    "model.width=10",
    "sweep.name=two",
    "sweep.trials=12",
    "pack.size=4",
    "search=random",
    "pruner=halving",
    "pruner.min_epochs=2",
    "cluster.packs=1",
    "search.objectives=[maximize val/accuracy, minimize layer1/entropy]",
    'search.constraints=["weights/vip_fraction <= 0.5"]',
    "sweep.space.trainer.lr={low: 0.001, high: 0.3, log: true}",
    "sweep.space.init.spike={low: 0.0, high: 0.9}",
)
READ = """
import json, sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
study = optuna.load_study(study_name="two", storage=JournalStorage(JournalFileBackend(sys.argv[1])))
print(json.dumps({
    "directions": [direction.name for direction in study.directions],
    "best": [trial.number for trial in study.best_trials],
    "trials": [[t.state.name, t.values, t.intermediate_values, list(t.constraints.values()), t.user_attrs]
               for t in study.trials],
}))
"""


def as_optuna_reads_it(folder: Path) -> dict[str, Any]:
    """The study, by a process that knows nothing of us."""
    file = folder / "sweeps/two/study.journal"
    done = subprocess.run([sys.executable, "-c", READ, str(file)], cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_two_objectives_and_a_constraint(tmp_path: Path) -> None:
    ended = sweep(tmp_path, *WORDS)
    assert (ended.code, ended.err) == (0, ""), ended.err
    study, runs, top = as_optuna_reads_it(tmp_path), children(tmp_path), parent(tmp_path)
    assert study["directions"] == ["MAXIMIZE", "MINIMIZE"] and len(study["trials"]) == 12
    assert [trial[0] for trial in study["trials"]].count("PRUNED") == 6  # half of each pack
    scored = {n: GOAL.scored({key: points[-1][1] for key, points in run.metrics.items()}) for n, run in runs.items()}
    complete: dict[int, Scored] = {}
    for number, (state, values, by_epoch, constraints, _) in enumerate(study["trials"]):
        assert by_epoch == {str(epoch): value for epoch, value in runs[number].metrics["val/accuracy"]}
        assert constraints == pytest.approx(list(scored[number].violations))
        assert values == (None if state == "PRUNED" else pytest.approx(list(scored[number].scores)))
        complete |= {number: scored[number]} if state == "COMPLETE" else {}
    best = pareto(GOAL, complete)
    assert best and sorted(study["best"]) == best
    for pack in range(3):
        members = {n: scored_at(runs[n].metrics, 2) for n in range(4 * pack, 4 * pack + 4)}
        for rank, number in enumerate(ranked(GOAL, members), 1):
            attrs, tags = study["trials"][number][4], runs[number].tags
            if rank > 2:
                assert attrs["reason"] == tags["lca.reason"] == f"rank {rank} of 4 at epoch 2"
                assert (tags["left.epoch"], tags["left.rank"], tags["left.of"]) == ("2", str(rank), "4")
                assert f"trial {number} pruned at epoch 2: rank {rank} of 4" in ended.out
            else:
                assert "reason" not in attrs and "left.rank" not in tags
    assert {n for n, run in runs.items() if run.tags.get("pareto") == "true"} == set(best)
    assert top.tags["lca.objectives"] == "maximize val/accuracy, minimize layer1/entropy"
    assert top.tags["lca.constraints"] == "weights/vip_fraction <= 0.5"
    first = max(best, key=lambda n: (complete[n].scores[0], -n))
    assert top.tags["best.trial"] == str(first)
    lines = ended.out.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("Pareto set: "))
    assert lines[head + 1].split() == ["trial", "val/accuracy", "layer1/entropy", "test/accuracy", "VIP", "UIP"]
    assert lines[head + 2].split()[:3] == [str(first), *(f"{score:.4f}" for score in complete[first].scores)]
    other = sweep(tmp_path, *WORDS, "search.objectives=[maximize val/accuracy]")
    assert (
        other.code == 2 and "search.objectives: ['maximize val/accuracy', 'minimize layer1/entropy'] -> " in other.err
    )


def scored_at(metrics: dict[str, list[tuple[int, float]]], epoch: int) -> Scored:
    return GOAL.scored({key: dict(points)[epoch] for key, points in metrics.items()})


def test_a_constraint_that_nobody_keeps_is_said_and_no_target_is_reached(tmp_path: Path) -> None:
    words = (*WORDS[:4], "sweep.name=none", "sweep.trials=2", "pack.size=2", "search=random", WORDS[-2])
    more = ('search.constraints=["val/accuracy >= 1.5"]', "sweep.target=0.01")
    ended = sweep(tmp_path, *words, *more)
    assert (ended.code, ended.err) == (0, ""), ended.err
    assert "no trial keeps val/accuracy >= 1.5; the nearest come first:" in ended.out.splitlines()
    assert "reached" not in ended.out and not [n for n, run in children(tmp_path).items() if "pareto" in run.tags]


def test_a_median_pruner_says_by_how_much(tmp_path: Path) -> None:
    words = ("pruner=median", "pruner.min_epochs=1", "pruner.startup_trials=2", "sweep.trials=8", "pack.size=2")
    ended = sweep(tmp_path, *WORDS[:4], "sweep.name=median", *words, "search=random", "cluster.packs=1", WORDS[-2])
    assert (ended.code, ended.err) == (0, ""), ended.err
    left = {n: run for n, run in children(tmp_path).items() if run.tags["lca.state"] == "pruned"}
    assert left and min(left) >= 2, "the first pack has nothing to come up to"
    for run in left.values():
        epoch, value = run.metrics["val/accuracy"][-1]
        assert run.tags["left.epoch"] == str(epoch)
        bar = float(run.tags["left.bar"])
        assert float(run.tags["left.value"]) == pytest.approx(value, rel=1e-5) and value < bar
        words = run.tags["lca.reason"].split()
        assert words[:4] == [f"{value:.4f}", "below", "the", "median"] and words[5:] == ["at", "epoch", str(epoch)]
        assert float(words[4]) == pytest.approx(bar, abs=1e-4)
