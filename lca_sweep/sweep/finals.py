"""The finals: the best settings of a search are trained again with new seeds, and the best mean wins.

What a search says of its best trial is too good: of many trials it is the one that also had luck with its seed. So only
new seeds count in the finals. They are rows of the same study, which say whom they repeat; that a study has them all,
and who has won, follows from its rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lca_sweep.config import Config, KnobError, Sweep
from lca_sweep.core.knobs import TrialKnobs, replace
from lca_sweep.core.objective import Goal, figure
from lca_sweep.report.intervals import Sample, sample
from lca_sweep.search.rows import Row, best_first
from lca_sweep.search.space import Space, knobs

SEED = "init.seed"


@dataclass(frozen=True)
class Standing:
    """A finalist: its trial in the search, and its complete trials with new seeds, of which there is at least one."""

    row: Row
    replicates: tuple[Row, ...]
    failed: int  # others that are not complete

    @property
    def values(self) -> list[float]:
        """The first objective of each new seed."""
        return [row.value for row in self.replicates if row.value is not None]

    @property
    def result(self) -> Sample:
        """Their mean, and its 95 % interval."""
        return sample(self.values)

    @property
    def excess(self) -> float:
        """By how much the new seeds, on the mean, break the constraints; 0 where they keep all."""
        columns = zip(*(row.violations for row in self.replicates), strict=True)
        return sum((max(0.0, sum(column) / len(column)) for column in columns), 0.0)


def check_finals(config: Config, space: Space) -> None:
    """Raise KnobError if finals are asked for that would say nothing."""
    replicates, best = config.sweep.replicates, config.sweep.finalists
    if not replicates and best != Sweep().finalists:
        raise KnobError(f"sweep.finalists={best}: has no effect with sweep.replicates=0; set that to >= 2")
    if replicates == 1:
        raise KnobError("sweep.replicates=1: one seed gives no interval; must be 0 (no finals) or >= 2")
    if replicates and SEED in space:
        raise KnobError(
            f"sweep.replicates={replicates}: the finals have new seeds, but {SEED} is searched; take it out "
            f"('~sweep.space.{SEED}'), or set sweep.replicates=0"
        )


def finalists(config: Config, rows: Sequence[Row]) -> list[Row]:
    """The trials of the search whose settings are trained again: the best ones, no two of the same setting."""
    found: list[Row] = []
    for row in best_first(rows, config.search.goal()):
        if len(found) < config.sweep.finalists and row.params not in [other.params for other in found]:
            found.append(row)
    return found


def missing(config: Config, rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """Trials and new seeds of which there is no row yet: the seeds that follow the trial's own."""
    there = {row.replicate for row in rows}
    found = []
    for row in finalists(config, rows) if config.sweep.replicates else ():
        own = knobs(config, row.params).init.seed
        seeds = [(own + place) % 2**32 for place in range(1, config.sweep.replicates + 1)]
        found += [(row, seed) for seed in seeds if (row.number, seed) not in there]
    return found


def knobs_of(config: Config, row: Row) -> TrialKnobs:
    """All knobs of a trial, be it one of the finals. KnobError where one is unknown or out of range."""
    whole = knobs(config, row.params)
    again: TrialKnobs = replace(whole, {SEED: row.replicate[1]}) if row.replicate else whole
    return again


def standings(rows: Sequence[Row], goal: Goal) -> list[Standing]:
    """The finalists, best first: by the mean of their new seeds; those of which a seed failed come last.

    Before these come those whose new seeds, on the mean, break the constraints, the least first.
    None before all of them have ended, nor where the search has found a better trial since.
    """
    again = [row for row in rows if row.replicate]
    whom = {row.replicate[0] for row in again if row.replicate}
    best = best_first(rows, goal)[:1]
    if any(row.state in ("waiting", "running") for row in again) or not best or best[0].number not in whom:
        return []
    by_number = {row.number: row for row in rows}
    found = [_standing(by_number[number], again) for number in sorted(whom)]
    there = [standing for standing in found if standing.replicates]
    sign = goal.first.sign
    return sorted(there, key=lambda one: (one.failed > 0, one.excess, -sign * one.result.mean, one.row.number))


def winner(rows: Sequence[Row], goal: Goal) -> Row | None:
    """The trial of the search whose setting is the best: by the finals, or without any by the search itself."""
    held = standings(rows, goal)
    best = [standing.row for standing in held[:1]] or best_first(rows, goal)[:1]
    return best[0] if best else None


def lines(held: Sequence[Standing], objective: str) -> list[str]:
    """A table for the terminal."""
    if not held:
        return []
    rows = [f"finals, {objective}:", "trial  in the search  new seeds"]
    for one in held:
        failed = f", {one.failed} failed" if one.failed else ""
        broken = "; constraints broken" if one.excess else ""
        before = figure(one.row.value or 0.0)
        rows.append(f"{one.row.number:5d}  {before:>13}  {_told(one.result)} ({len(one.values)}{failed}){broken}")
    return [*rows, f"winner: trial {held[0].row.number}"]


def test_line(result: Sample) -> str:
    """What the winner's new seeds have come to on images that nothing was chosen by."""
    return f"test accuracy of the winner, not used for any choice: {_told(result)}"


def _standing(row: Row, again: Sequence[Row]) -> Standing:
    own = [other for other in again if other.replicate and other.replicate[0] == row.number]
    done = tuple(other for other in own if other.value is not None)
    return Standing(row, done, len(own) - len(done))


def _told(result: Sample) -> str:
    return figure(result.mean) + (f" ± {figure(result.half)}" if result.count > 1 else "")
