"""A grid: all its points, each once, in the order in which it was written."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from test_generations import TRIALS, MortalStorage, found, sweep
from test_generations import config as deterministic
from test_ledger import Died, Life

from lca_sweep.config import Config, KnobError, Search, Sweep, validate
from lca_sweep.search import grid
from lca_sweep.search.conditional import Allowed
from lca_sweep.search.space import Space, parse, resolved
from lca_sweep.search.study import Study

SPACE: Space = {
    "trainer.lr": FloatDistribution(0.01, 0.04, step=0.01),
    "model.width": IntDistribution(8, 32, step=8),
    "model.depth": CategoricalDistribution([1, 2, 3]),
}
AXES = ([0.01, 0.02, 0.03, 0.04], [8, 16, 24, 32], [1, 2, 3])
POINTS = [dict(zip(SPACE, point, strict=True)) for point in itertools.product(*AXES)]
LR = {"trainer": {"lr": {"choices": [0.3, 0.1, 0.2]}}}


def config(trials: int | None = None, sampler: str = "grid") -> Config:
    return Config(search=Search(sampler=sampler), sweep=Sweep(name="s", trials=trials))


def opened(storage: InMemoryStorage) -> Study:
    return Study.open(config(1), "s", SPACE, storage)


def raw(storage: InMemoryStorage) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=storage)


@st.composite
def axes(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """A distribution, and the values that a person would list."""
    low, step, steps = draw(st.tuples(st.integers(-50, 50), st.integers(1, 9), st.integers(1, 6)))
    listed = [low + count * step for count in range(steps + 1)]
    kind = draw(st.sampled_from(["whole", "choices", "decimal"]))
    if kind == "whole":
        return IntDistribution(low, listed[-1], step=step), listed
    if kind == "choices":
        shuffled = draw(st.permutations(listed))
        return CategoricalDistribution(shuffled), shuffled
    return FloatDistribution(low / 100, listed[-1] / 100, step=step / 100), [whole / 100 for whole in listed]


@given(st.lists(axes(), max_size=3))
def test_points_are_all_combinations_in_order(drawn: list[tuple[Any, list[Any]]]) -> None:
    """To the bit: what is written as 0.3 is 0.3."""
    space = {f"knob{n}": distribution for n, (distribution, _) in enumerate(drawn)}
    points = [grid.point(space, index) for index in range(grid.size(space))]
    expected = itertools.product(*(listed for _, listed in drawn))
    assert [tuple(point[name] for name in space) for point in points] == list(expected)


@pytest.mark.parametrize("distribution", [FloatDistribution(0.1, 1), FloatDistribution(0.1, 1, log=True)])
def test_a_range_has_no_values(distribution: Any) -> None:
    assert grid.count(distribution) == 0


def test_a_large_grid_is_not_written_out() -> None:
    space = {"a": IntDistribution(0, 2**40), "b": FloatDistribution(0, 1, step=1e-9)}
    assert grid.size(space) == (2**40 + 1) * (10**9 + 1)
    assert grid.point(space, 10**9 + 3) == {"a": 1, "b": 2e-9}


# --- asking ----------------------------------------------------------------------------------------------------------


def test_every_point_once_in_order_whoever_asks() -> None:
    storage = InMemoryStorage()
    for pack, count in enumerate((1, 7, 20, 20)):
        rows = opened(storage).ask([pack] * count)
        for row in rows[::2]:
            opened(storage).finish(row.number, "failed", 0.0, "x")  # whatever becomes of it
    assert [row.params for row in opened(storage).rows()] == POINTS


def test_what_was_put_in_by_hand_is_not_tried_again() -> None:
    """A row with some of its knobs gets the first point with these."""
    storage = InMemoryStorage()
    study = opened(storage)
    raw(storage).enqueue_trial(POINTS[1])
    raw(storage).enqueue_trial({"model.width": 16})
    rows = study.ask([0] * 5)
    assert [POINTS.index(dict(row.params)) for row in rows] == [1, 3, 0, 2, 4]


def test_a_row_that_no_pack_took_is_not_counted() -> None:
    """It has ended, and nobody trained it."""
    storage = InMemoryStorage()
    study = opened(storage)
    study.ask([0])
    raw(storage).enqueue_trial({**POINTS[1], "prior.weight": 3.0})
    trial = raw(storage).ask()
    for name, value in POINTS[1].items():
        storage.set_trial_param(trial._trial_id, name, SPACE[name].to_internal_repr(value), SPACE[name])
    raw(storage).tell(trial, state=optuna.trial.TrialState.FAIL)
    rows = opened(storage).ask([0] * 2)
    assert [row.params for row in rows] == POINTS[1:3]


def test_more_rows_than_points() -> None:
    """By hand: there is nothing new to propose, and nothing breaks."""
    storage = InMemoryStorage()
    study = opened(storage)
    study.ask([0] * len(POINTS))
    raw(storage).enqueue_trial({"model.width": 16})
    (row,) = study.ask([1])
    assert row.params == {"trainer.lr": 0.01, "model.width": 16, "model.depth": 1}


@settings(max_examples=20)
@given(st.sampled_from([1, 2, 4]), st.lists(st.integers(0, 90), max_size=3), st.data())
def test_deterministic_search_goes_along_the_grid(places: int, deaths: list[int], data: st.DataObject) -> None:
    storage = MortalStorage()
    for death in [*deaths, None]:
        storage.life = Life(death)
        try:
            sweep(storage, deterministic("grid"), places, data, SPACE)
        except Died:
            continue
    storage.life = Life()
    assert [row.params for row in found(storage, deterministic("grid"), SPACE)] == POINTS[:TRIALS]


# --- how many --------------------------------------------------------------------------------------------------------


def test_null_is_all_points() -> None:
    tree = LR | {"model": {"width": {"low": 3, "high": 6}, "depth": {"low": 1, "high": 5, "step": 2}}}
    wanted = config()
    validate(wanted)
    space = parse(tree, wanted)
    assert resolved(wanted, space).sweep.total() == 3 * 4 * 3
    assert resolved(config(5), space) == config(5)
    assert resolved(wanted, parse({}, wanted)).sweep.total() == 1


@pytest.mark.parametrize(
    ("leaf", "name"),
    [
        ({"trainer": {"lr": {"low": 0.1, "high": 0.2}}}, "trainer.lr"),
        ({"trainer": {"lr": {"low": 0.1, "high": 0.2, "log": True}}}, "trainer.lr"),
        ({"model": {"width": {"low": 1, "high": 200, "log": True}}}, "model.width"),
    ],
)
def test_what_has_no_points_is_refused_by_name(leaf: dict[str, Any], name: str) -> None:
    with pytest.raises(KnobError) as caught:
        parse(leaf, config())
    assert str(caught.value) == f"sweep.space.{name}: needs choices or step for search=grid"
    parse(leaf, config(3, "random"))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_null_is_refused_where_nothing_says_how_many(sampler: str) -> None:
    with pytest.raises(KnobError, match=r"^sweep\.trials=null: must be a whole number >= 1, but for search=grid"):
        validate(config(None, sampler))


def test_more_trials_than_points_are_refused() -> None:
    assert list(parse(LR, config(3))) == ["trainer.lr"]
    with pytest.raises(KnobError) as caught:
        parse(LR, config(4))
    assert str(caught.value) == "sweep.trials=4: the grid has 3 points; must be <= 3 (or null: all of them)"
    assert len(parse(LR, config(2))) == 1  # fewer are the first so many


# --- knobs that only some points have --------------------------------------------------------------------------------


@st.composite
def conditional(draw: st.DrawFn) -> Space:
    """A few knobs, of which some exist for some values of one that was written before or after them."""
    names = [f"k{n}" for n in range(draw(st.integers(1, 5)))]
    space = {name: IntDistribution(0, draw(st.integers(1, 3))) for name in names}
    when = {}
    for place, name in enumerate(names[1:], 1):
        if draw(st.booleans()):
            other = names[draw(st.integers(0, place - 1))]
            when[name] = {other: Allowed(tuple(draw(st.sets(st.integers(0, space[other].high), min_size=1))))}
    return Space({name: space[name] for name in draw(st.permutations(names))}, when)


@given(conditional())
def test_each_point_that_exists_is_there_once(space: Space) -> None:
    """Against all combinations of all knobs, less the knobs that do not exist there."""
    points = [grid.point(space, index) for index in range(grid.size(space))]
    combinations = itertools.product(*(range(distribution.high + 1) for distribution in space.values()))
    whole = [dict(zip(space, values, strict=True)) for values in combinations]
    expected = {tuple(params.get(name) for name in space) for params in map(space_active(space), whole)}
    assert sorted(map(str, expected)) == sorted(str(tuple(point.get(name) for name in space)) for point in points)
    assert all(space.exact(point) for point in points)


def space_active(space: Space) -> Any:
    return lambda params: {name: params[name] for name in space.active(params)}


@settings(max_examples=10)
@given(conditional(), st.integers(1, 4), st.booleans())
def test_a_search_goes_along_such_a_grid(space: Space, at_once: int, reopen: bool) -> None:
    storage, size = InMemoryStorage(), grid.size(space)
    study = Study.open(config(1), "s", space, storage)
    for pack in range(-(-size // at_once)):
        study = Study.open(config(1), "s", space, storage) if reopen else study
        study.ask([pack] * min(at_once, size - pack * at_once))
    assert [row.params for row in study.rows()] == [grid.point(space, index) for index in range(size)]


def test_a_grid_with_widths_of_layers() -> None:
    tree = {"model": {"depth": {"low": 1, "high": 2}, "widths": {"choices": [10, 20, 30]}}}
    wanted = config()
    assert resolved(wanted, parse(tree, wanted)).sweep.total() == 3 + 3 * 3


def test_a_grid_that_is_walked_takes_a_look_at_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a thousand points take a hundred times as long as ten, and not ten thousand times."""
    looked = []
    point = grid.Grid.point
    monkeypatch.setattr(grid.Grid, "point", lambda self, index: looked.append(index) or point(self, index))
    study = Study.open(config(1), "s", {f"k{n}": IntDistribution(0, 9) for n in range(3)}, InMemoryStorage())
    for pack in range(100):
        study.ask([pack] * 2)
        study.finish(2 * pack, "complete", 0.5)
    assert len(looked) < 4 * 200
