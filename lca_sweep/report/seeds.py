"""Trials that differ in their seed alone, as one setting with a spread."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core.objective import Scored
from lca_sweep.core.objective import best_first as order
from lca_sweep.core.short import short_names
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.style import COLOURS, MARKERS, plain

FEW = 7  # settings that colours and markers can tell apart
HIGHLIGHTED = 3  # of more, the best ones, that have a colour of their own
LONGEST = 44  # characters of a label
ALGORITHM = "trainer.algorithm"
ABSENT = ""  # of a knob that a trial does not have
NAMES = {"gbp": "gBP", "bp": "BP"}


@dataclass(frozen=True)
class Setting:
    """Trials of one setting: all complete ones; if there is none, those that run or were pruned. Each seed once."""

    knobs: Mapping[str, Any]  # searched knobs less seeds, by dotted name
    label: str
    trials: tuple[TrialResult, ...]
    bp: bool  # ordinary back-propagation
    rank: int = 0  # among the settings, by their mean scores: 0 is the best; those without a complete trial come last
    place: int | None = None  # of its colour and marker, the same in every figure; None: grey

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
    """In the natural order of their knobs; those of which every trial failed are left out.

    Colours go by rank where each setting is one trial, so that the best is blue, else in the order of the knobs. Of
    more settings than there are colours the best have one, and those of one trial are called after it.
    """
    found = []
    for key, members in result.groups.items():
        trials = tuple(trial for trial in members if trial.value is not None)
        trials = trials or tuple(trial for trial in members if trial.state != "failed" and trial.history)
        if trials:
            found.append(Setting(dict(key), "", once(trials), algorithm(trials[0]) == "bp"))
    knobs = list(dict.fromkeys(name for setting in found for name in setting.knobs))
    found.sort(key=lambda setting: (setting.bp, [natural(setting.knobs.get(name, ABSENT)) for name in knobs]))
    names = short_names({*knobs} - {ALGORITHM})
    mixed, ranks, places = len({setting.bp for setting in found}) > 1, _ranks(result, found), _places(result, found)
    return [
        dataclasses.replace(one, label=_label(one, names, mixed, len(found) <= FEW), rank=rank, place=place)
        for one, rank, place in zip(found, ranks, places, strict=True)
    ]


def _ranks(result: SweepResult, found: Sequence[Setting]) -> list[int]:
    done = {place: setting.mean for place, setting in enumerate(found) if setting.complete}
    ranks = {place: rank for rank, place in enumerate(order(result.goal, done))}
    return [ranks.get(place, len(found)) for place in range(len(found))]


def _places(result: SweepResult, found: Sequence[Setting]) -> list[int | None]:
    ranks = _ranks(result, found)
    if len(found) > FEW:
        return [rank if rank < HIGHLIGHTED else None for rank in ranks]
    if any(len(setting.trials) > 1 for setting in found):
        return list(range(len(found)))
    best_first = sorted(range(len(found)), key=ranks.__getitem__)
    return [best_first.index(number) for number in range(len(found))]


def own_places(found: Sequence[Setting]) -> list[int]:
    """A colour for each of a few settings: its own, or where it has none one that is no best one's."""
    taken = {setting.place for setting in found}
    free = (place for place in range(HIGHLIGHTED, len(found) + 2 * HIGHLIGHTED) if place not in taken)
    return [next(free) if setting.place is None else setting.place for setting in found]


def highlighted(result: SweepResult) -> dict[int, tuple[int, str]]:
    """The best complete trials by number, best first: the place of colour and marker, and the name, of each.

    Among few settings they are those of its setting.
    """
    found = settings(result)
    few = {trial.number: one for one in found for trial in one.trials} if len(found) <= FEW else {}
    best = enumerate(result.complete[:HIGHLIGHTED])
    return {
        trial.number: (one.place or 0, one.label) if (one := few.get(trial.number)) else (rank, f"trial {trial.number}")
        for rank, trial in best
    }


def in_front(best: Mapping[int, tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each of the `highlighted` with how matplotlib is to draw it: the best uppermost, each name once in the legend."""
    names: set[str] = set()
    for rank, (number, (place, name)) in enumerate(best.items()):
        label = "_" if name in names else name  # of a setting with several of the best
        names.add(name)
        yield number, {"color": COLOURS[place], "marker": MARKERS[place], "label": label, "zorder": 4 - 0.1 * rank}


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


def number(value: Any, digits: int = 4) -> str:
    """A knob's value for people: numbers to some digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) else plain(value)


def _label(setting: Setting, names: Mapping[str, str], mixed: bool, few: bool) -> str:
    parts = [NAMES["bp" if setting.bp else "gbp"]] if mixed or not names else []
    parts += [f"{plain(names[name])} {number(v)}" for name, v in setting.knobs.items() if name in names]
    label = ", ".join(parts)
    if len(label) <= LONGEST and (few or len(setting.trials) > 1):
        return label
    return ("" if len(setting.trials) == 1 else "as ") + f"trial {setting.trials[0].number}"


def averaged(seeds: Iterable[int], spread: str) -> str:
    """What a caption says of means over so many seeds, and of their spread; nothing where each is of one seed."""
    return f": mean over seeds; {spread}" if max(seeds, default=0) > 1 else ""


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
