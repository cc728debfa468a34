"""What a sweep leaves behind, and how two sweeps that must be equal differ."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from safetensors import safe_open
from sweep_helpers import Metrics, Record, records, study

Facts = Mapping[Any, Any]


@dataclass(frozen=True)
class Trained:
    """One epoch of a pack as the process that trained it noted it; `trials` were live in it."""

    process: int
    epoch: int
    trials: tuple[int, ...]


@dataclass(frozen=True)
class Books:
    """The study, the MLflow runs, the weights of complete trials, and every epoch that was trained."""

    trials: Sequence[optuna.trial.FrozenTrial]
    runs: Sequence[Record]
    weights: Mapping[int, Mapping[str, str]]
    trained: Sequence[Trained]

    @staticmethod
    def read(folder: Path, name: str, trace: Path) -> Books:
        """All of it, from disk: nothing of it is asked of those who wrote it."""
        weights = {
            int(file.parent.name): digests(file) for file in folder.glob(f"sweeps/{name}/trials/*/*.safetensors")
        }
        return Books(study(folder, name), records(folder), weights, traced(trace))

    def of_trials(self) -> list[Record]:
        """The runs of trials."""
        return [run for run in self.runs if run.tags.get("lca.kind") == "trial"]

    def parents(self) -> list[Record]:
        """The runs of sweeps: one, if all is well."""
        return [run for run in self.runs if run.tags.get("lca.kind") == "sweep"]


def digests(file: Path) -> dict[str, str]:
    """Shape and bytes of each tensor of a file, bytes as their digest."""
    with safe_open(file, framework="np") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    return {name: f"{t.shape} {hashlib.sha256(t.tobytes()).hexdigest()[:16]}" for name, t in tensors.items()}


def traced(trace: Path) -> list[Trained]:
    """The notes of chaos_trace/sitecustomize.py."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    notes = [line.split() for line in lines]
    return [Trained(int(pid), int(epoch), tuple(map(int, trials.split(",")))) for pid, epoch, trials in notes]


# --- two sweeps that must be equal ---------------------------------------------------------------------------------


def compare(expected: Books, found: Books) -> dict[str, list[str]]:
    """Differences by subject, each in a line; subjects without any have an empty list."""
    left, right = facts(expected), facts(found)
    return {subject: differences(left[subject], right[subject]) for subject in left}


def differences(expected: Facts, found: Facts) -> list[str]:
    """What is missing, what is too much, and what has another value."""
    lines = [f"{key}: missing" for key in expected if key not in found]
    lines += [f"{key}: {value}, not expected at all" for key, value in found.items() if key not in expected]
    both = [key for key in expected if key in found and expected[key] != found[key]]
    return lines + [f"{key}: {found[key]}, expected {expected[key]}" for key in both]


def facts(books: Books) -> dict[str, Facts]:
    """All that must be equal, as flat mappings by subject."""
    return {**study_facts(books.trials), **run_facts(books), "weights": _flat(books.weights)}


def study_facts(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, Facts]:
    """What Optuna holds."""
    return {
        "trials and their states": {t.number: f"{t.state.name} {t.user_attrs.get('reason', '')}" for t in trials},
        "parameters": _flat({t.number: t.params for t in trials}),
        "packs": {t.number: t.user_attrs.get("pack") for t in trials},
        "objective by epoch": _flat({t.number: t.intermediate_values for t in trials}),
        "objective at the end": {t.number: exact(t.value) for t in trials},
    }


def run_facts(books: Books) -> dict[str, Facts]:
    """What MLflow holds. Runs of one trial are put together: a second run shows as values that are there twice."""
    runs = sorted(books.of_trials(), key=lambda run: int(run.tags["lca.trial"]))
    numbers = [int(run.tags["lca.trial"]) for run in runs]
    ends: dict[int, list[str]] = {}
    points: dict[Any, list[str]] = {}
    for number, run in zip(numbers, runs, strict=True):
        told = (run.name, run.status, run.tags["lca.state"], run.tags["lca.pack"], run.tags.get("lca.reason", ""))
        ends.setdefault(number, []).append(" ".join(told))
        for key, step, value in _points(run.metrics):
            points.setdefault((number, key, step), []).append(value)
    return {
        "MLflow runs and their states": ends,
        "MLflow parameters": _flat({number: run.params for number, run in zip(numbers, runs, strict=True)}),
        "MLflow metrics by epoch": points,
        "best trial, and the sweep's own run": _flat(dict(enumerate(map(_parent_facts, books.parents())))),
    }


def _parent_facts(run: Record) -> Facts:
    """Of a sweep's run: its end, and its newest metrics, for one that was interrupted has older ones as well."""
    best = {tag: value for tag, value in run.tags.items() if tag.startswith("best.") and tag != "best.run_id"}
    newest = {key: (points[-1][0], exact(points[-1][1])) for key, points in run.metrics.items()}
    return {"status": run.status, "lca.state": run.tags["lca.state"], **best, **newest}


def exact(value: Any) -> Any:
    """A float as text that is the same for the same bits only, so that NaN equals NaN."""
    return f"{value!r} {struct.pack('>d', value).hex()}" if isinstance(value, float) else value


def _points(metrics: Metrics) -> Iterable[tuple[str, int, str]]:
    return [(key, step, exact(value)) for key, points in metrics.items() for step, value in points]


def _flat(tree: Mapping[Any, Facts]) -> dict[Any, Any]:
    return {(outer, inner): exact(value) for outer, leaves in tree.items() for inner, value in leaves.items()}


# --- one sweep that is over ----------------------------------------------------------------------------------------


def lawless(books: Books, checkpoint_every: int) -> dict[str, list[str]]:
    """What must not be in the books of any sweep that is over, by subject, each in a line."""
    again = repeats(books)
    limit = [f"pack {pack}: {n} epochs trained again" for pack, n in again if n > checkpoint_every]
    return {
        "nothing is left running": running(books),
        "one run a trial": doubled_runs(books),
        "one value a metric and epoch": doubled_points(books.runs),
        "no epoch is left out": gaps(books),
        "the study and MLflow agree": disagreements(books),
        f"at most {checkpoint_every} epochs of a pack trained again": limit,
        "one process a pack at a time": [f"pack {pack}: epoch {epoch}" for pack, epoch in intruders(books)],
    }


def running(books: Books) -> list[str]:
    """Rows and runs that say that somebody works on them."""
    rows = [f"trial {t.number}: {t.state.name} in the study" for t in books.trials if not t.state.is_finished()]
    return rows + [f"run {run.name}: RUNNING in MLflow" for run in books.runs if run.status == "RUNNING"]


def doubled_runs(books: Books) -> list[str]:
    """Trials, or the sweep, with more than one run."""
    counts = Counter(f"trial {run.tags['lca.trial']}" for run in books.of_trials())
    counts["the sweep"] = len(books.parents())
    return [f"{what}: {count} runs" for what, count in counts.items() if count > 1]


def doubled_points(runs: Sequence[Record]) -> list[str]:
    """Metrics that have several values at one step."""
    found = []
    for run in runs:
        counts = Counter((key, step) for key, points in run.metrics.items() for step, _ in points)
        found += [f"run {run.name}: {key} {n} times at {step}" for (key, step), n in counts.items() if n > 1]
    return found


def gaps(books: Books) -> list[str]:
    """Trials whose epochs are not 1, 2, 3, ..., in the study or in any of their metrics."""
    found = []
    for trial in books.trials:
        if sorted(trial.intermediate_values) != list(range(1, len(trial.intermediate_values) + 1)):
            found.append(f"trial {trial.number}: epochs {sorted(trial.intermediate_values)} in the study")
    for run in books.of_trials():
        for key, points in run.metrics.items():
            steps = sorted({step for step, _ in points})
            if steps != list(range(1, len(steps) + 1)):
                found.append(f"run {run.name}: {key} has epochs {steps}")
    return found


def disagreements(books: Books) -> list[str]:
    """Trials whose objective by epoch is not the same in both."""
    runs = {int(run.tags["lca.trial"]): run.metrics.get("val/accuracy", []) for run in books.of_trials()}
    found = []
    for trial in books.trials:
        theirs = [(step, exact(value)) for step, value in runs.get(trial.number, [])]
        if theirs != [(step, exact(value)) for step, value in sorted(trial.intermediate_values.items())]:
            found.append(f"trial {trial.number}: not the same objective by epoch in the study and in MLflow")
    return found


def repeats(books: Books) -> list[tuple[int, int]]:
    """Each time that a pack was taken up again: the pack, and how many epochs were trained that had been before."""
    found = []
    for pack, notes in _by_pack(books).items():
        furthest, owner, last = 0, notes[0].process, 0
        for note in notes:
            if note.process != owner or note.epoch != last + 1:
                found.append((pack, max(furthest - note.epoch + 1, 0)))
            furthest, owner, last = max(furthest, note.epoch), note.process, note.epoch
    return found


def intruders(books: Books) -> list[tuple[int, int]]:
    """Epochs of packs (pack, epoch) by processes whose pack another process had taken over already."""
    found = []
    for pack, notes in _by_pack(books).items():
        owner, retired = notes[0].process, set[int]()
        for note in notes:
            if note.process in retired:
                found.append((pack, note.epoch))
            elif note.process != owner:
                retired.add(owner)
                owner = note.process
    return found


def _by_pack(books: Books) -> dict[int, list[Trained]]:
    pack_of = {trial.number: int(trial.user_attrs.get("pack", -1)) for trial in books.trials}
    found: dict[int, list[Trained]] = {}
    for note in books.trained:
        found.setdefault(pack_of.get(note.trials[0], -1), []).append(note)
    return found
