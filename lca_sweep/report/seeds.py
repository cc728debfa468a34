"""Trials that differ in their seed alone, as one setting with a spread."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core.objective import Scored
from lca_sweep.core.objective import best_first as order
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.style import plain

FEW = 7  # settings that colours and markers can tell apart
LONGEST = 44  # characters of a label
ALGORITHM = "trainer.algorithm"
ABSENT = ""  # of a knob that a trial does not have
LAST = re.compile(r"[^.]*(\.\d+)?$")
NAMES = {"gbp": "gBP", "bp": "BP"}


@dataclass(frozen=True)
class Setting:
    """Trials of one setting: all complete ones; if there is none, those that run or were pruned. Each seed once."""

    knobs: Mapping[str, Any]  # searched knobs less seeds, by dotted name
    label: str
    trials: tuple[TrialResult, ...]
    bp: bool  # ordinary back-propagation
    rank: int = 0  # among the settings, by their mean scores: 0 is the best; those without a complete trial come last

    @property
    def complete(self) -> bool:
        """Whether its trials are."""
        return any(trial.value is not None for trial in self.trials)

    @property
    def mean(self) -> Scored:
        """The mean over its trials of what is compared: objectives, and how much constraints are broken."""
        every = [trial.scored for trial in self.trials if trial.value is not None]
        return Scored(_means([one.scores for one in every]), _means([one.violations for one in every]))


def algorithm(trial: TrialResult) -> str:
    """`gbp` or `bp`."""
    return str(trial.knobs.get(ALGORITHM, "gbp"))


def settings(result: SweepResult) -> list[Setting]:
    """In the natural order of their knobs; those of which every trial failed are left out."""
    found = []
    for key, members in result.groups.items():
        trials = tuple(trial for trial in members if trial.value is not None)
        trials = trials or tuple(trial for trial in members if trial.state != "failed" and trial.history)
        if trials:
            found.append(Setting(dict(key), "", once(trials), algorithm(trials[0]) == "bp"))
    knobs = list(dict.fromkeys(name for setting in found for name in setting.knobs))
    found.sort(key=lambda setting: (setting.bp, [natural(setting.knobs.get(name, ABSENT)) for name in knobs]))
    names = short_names({*knobs} - {ALGORITHM})
    mixed, ranks = len({setting.bp for setting in found}) > 1, _ranks(result, found)
    return [
        Setting(s.knobs, _label(s, names, mixed), s.trials, s.bp, rank) for s, rank in zip(found, ranks, strict=True)
    ]


def _ranks(result: SweepResult, found: Sequence[Setting]) -> list[int]:
    done = {place: setting.mean for place, setting in enumerate(found) if setting.complete}
    ranks = {place: rank for rank, place in enumerate(order(result.goal, done))}
    return [ranks.get(place, len(found)) for place in range(len(found))]


def _means(points: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sum(values) / len(values) for values in zip(*points, strict=True))


def once(trials: Iterable[TrialResult]) -> tuple[TrialResult, ...]:
    """Trials of one setting without those whose seeds an earlier one had: they are the same, and no spread."""
    found: dict[tuple[Any, ...], TrialResult] = {}
    for trial in trials:
        seeds = tuple((name, value) for name, value in trial.knobs.items() if name.endswith("seed"))
        found.setdefault(seeds, trial)
    return tuple(found.values())


def best_first(found: Iterable[Setting]) -> list[Setting]:
    """By their mean scores, best first."""
    return sorted(found, key=lambda setting: setting.rank)


def some(found: Sequence[Setting], most: int = FEW) -> list[Setting]:
    """All settings, or the best where there are more than `most`; in their natural order."""
    best = {id(setting) for setting in best_first(found)[:most]}
    return [setting for setting in found if id(setting) in best]


def natural(value: Any) -> tuple[int, float, str]:
    """Sorts numbers by size, and all else behind them by its text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Knobs without their section where that leaves no two alike: `lr`, but `prior.spike` and `init.spike`.

    Of a layer's knob the section is what is before its name and number: `widths.0`.
    """
    names = sorted(names)
    last = [LAST.search(name)[0] for name in names]  # type: ignore[index]  # there is always one
    return {name: name if last.count(end) > 1 else end for name, end in zip(names, last, strict=True)}


def number(value: Any, digits: int = 4) -> str:
    """A knob's value for people: numbers to some digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) else plain(value)


def _label(setting: Setting, names: Mapping[str, str], mixed: bool) -> str:
    parts = [NAMES["bp" if setting.bp else "gbp"]] if mixed or not names else []
    parts += [f"{plain(names[name])} {number(v)}" for name, v in setting.knobs.items() if name in names]
    label = ", ".join(parts)
    if len(label) <= LONGEST:
        return label
    return ("" if len(setting.trials) == 1 else "as ") + f"trial {setting.trials[0].number}"


def curves(trials: Sequence[TrialResult], metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Epochs (epochs), and a metric by trial and epoch (trials, epochs), at the epochs that all of them have.

    Trials of which less than half of the longest history is known, or with a value that is not finite, are left out.
    """
    series = [trial.history[metric] for trial in trials if metric in trial.history]
    series = [one for one in series if len(one.epochs) and np.isfinite(one.values).all()]
    longest = max((len(one.epochs) for one in series), default=0)
    series = [one for one in series if 2 * len(one.epochs) >= longest]
    if not series:
        return np.zeros(0, np.int64), np.zeros((0, 0))
    epochs = series[0].epochs
    for one in series[1:]:
        epochs = np.intersect1d(epochs, one.epochs)
    return epochs, np.array([one.values[np.isin(one.epochs, epochs)] for one in series])


def last(trials: Iterable[TrialResult], metric: str) -> list[float]:
    """A metric after the last epoch of each trial that has it."""
    found = (trial.last(metric) for trial in trials)
    return [value for value in found if value is not None and math.isfinite(value)]


def layers(trials: Iterable[TrialResult], metric: str) -> list[int]:
    """Numbers of the layers of which some trial has `layerN/metric`, ascending."""
    names = {name for trial in trials for name in trial.history}
    numbers = (name[5:].removesuffix(f"/{metric}") for name in names if name.startswith("layer"))
    return sorted(int(text) for text in numbers if text.isdecimal())


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds, 0 for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def floor_of(values: Iterable[float]) -> float:
    """Where an axis may begin so that a few bad values do not squeeze the others: Tukey's far fence, 3 IQR below."""
    known = np.array([value for value in values if math.isfinite(value)])
    low, high = np.quantile(known, (0.25, 0.75))
    return float(max(known.min(), low - 3 * (high - low)))


def best_with(found: Iterable[Setting], has: Callable[[TrialResult], Any]) -> Setting | None:
    """The best setting some of whose trials have something, with these trials alone."""
    for setting in best_first(found):
        if trials := tuple(trial for trial in setting.trials if has(trial)):
            return dataclasses.replace(setting, trials=trials)
    return None
