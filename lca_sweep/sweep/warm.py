"""What a sweep begins with beside its sampler: points that the user names, and what an earlier sweep has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lca_sweep.config import Config, KnobError, without_password
from lca_sweep.core.knobs import flat, nearest
from lca_sweep.search.points import Point, checked, of_row, of_table, of_tree
from lca_sweep.search.reading import ReadError, read_rows
from lca_sweep.search.rows import Row, best_first
from lca_sweep.search.space import Space, parse
from lca_sweep.search.study import Study
from lca_sweep.sweep.folder import IDENTITY, is_known
from lca_sweep.sweep.known import Known, find

UNLEARNING = ("random", "qmc", "grid")  # samplers to which other trials say nothing


@dataclass(frozen=True)
class WarmStart:
    """Points to be trained first, in order, and ended trials of the sweep `name` that the sampler is to know."""

    points: Sequence[Point] = ()
    rows: Sequence[Row] = ()
    name: str = ""

    def write(self, study: Study) -> list[int]:
        """Put it into a study, each thing once, however often this is done; the numbers of the new points."""
        study.learn(self.rows, self.name)
        return study.enqueue([point.params for point in self.points], [point.source for point in self.points])


def warm_start(config: Config, space: Space, name: str) -> WarmStart:
    """What the config of the sweep `name` asks for, all of it checked; KnobError in one line. Writes nothing."""
    search = config.search
    fixed = flat(config.trial())
    points = [of_tree(tree, space, f"search.enqueue[{place}]", fixed) for place, tree in enumerate(search.enqueue)]
    if search.enqueue_csv is not None:
        points += of_table(search.enqueue_csv, space, "search.enqueue_csv")
    if search.warm_start is None:
        if search.warm_start_best is not None:
            raise KnobError(f"search.warm_start_best={search.warm_start_best}: of which sweep? set search.warm_start")
        return WarmStart(points)
    rows, place = _rows(config, space, name), f"search.warm_start={search.warm_start}"
    if search.warm_start_best is None:
        return WarmStart(points, _fitting(rows, space, place), search.warm_start)
    best = best_first(rows, search.goal())[: search.warm_start_best]
    return WarmStart([*points, *(of_row(row, space, search.warm_start, place) for row in best)])


def _rows(config: Config, space: Space, name: str) -> list[Row]:
    """The trials of the earlier sweep, once it is known to be one of this space and objective."""
    earlier, search = str(config.search.warm_start), config.search
    what, place = f"search.warm_start={earlier}", Path(config.sweep.dir)
    if earlier == name:
        raise KnobError(f"{what}: is this sweep itself; must be an earlier one")
    if not is_known(place / earlier):
        names = sorted(file.parent.name for file in place.glob(f"*/{IDENTITY}"))
        raise KnobError(f"{what}: no sweep of that name in {place}{nearest(earlier, names)}")
    if search.warm_start_best is None and search.sampler in UNLEARNING:
        raise KnobError(
            f"{what}: search.sampler={search.sampler} learns nothing from other trials; "
            "to train its best settings again, set search.warm_start_best"
        )
    known = find(place, earlier, "search.warm_start")
    _refuse_other_goal(known, config, what)
    there = parse(known.config.sweep.space, known.config)
    if differing := sorted(there.keys() ^ space.keys()):
        whose = "that sweep" if differing[0] in there else "this one"
        raise KnobError(f"{what}: {differing[0]} is searched in {whose} only; both must have the same space")
    try:
        return read_rows(known.path, _storage(known, config, what), known.study, there)
    except ReadError as error:
        raise KnobError(f"{what}: {error}") from error


def _refuse_other_goal(known: Known, config: Config, what: str) -> None:
    for knob in ("objectives", "constraints"):
        then, now = getattr(known.config.search, knob), getattr(config.search, knob)
        if list(then) != list(now):
            raise KnobError(f"{what}: has search.{knob}={list(then)}; must be {list(now)}, as here")


def _storage(known: Known, config: Config, what: str) -> str | None:
    """Where the earlier study lies; its password is not written down, but may be that of this sweep's."""
    there, here = known.config.search.storage, config.search.storage
    if there is None or "***" not in there:
        return there
    if here is not None and without_password(here) == there:
        return here
    raise KnobError(f"{what}: its study is in a database with a password; search.storage must be the same, {there}")


def _fitting(rows: Sequence[Row], space: Space, place: str) -> list[Row]:
    """The trials that have come to an end by themselves, all of which this space must hold."""
    ended = [row for row in rows if row.state in ("complete", "pruned") and row.replicate is None]
    for row in ended:
        if row.params:
            checked(row.params, space, f"{place}: trial {row.number}: ", place)
    return ended
