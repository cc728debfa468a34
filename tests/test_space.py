"""The search space: what is accepted can be sampled and trained, what is not is refused in one line that names it."""

from __future__ import annotations

import copy
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.config import Config, KnobError, Model, Prior, Sweep, validate
from lca_sweep.core.knobs import Range, Trainer, TrialKnobs, flat, replace, walk
from lca_sweep.search.space import Space, bounds, knobs, parse

DEFAULTS = flat(TrialKnobs()) | {"trainer.train_size": 1}  # a whole number, where it is not null
NUMBERS = [name for name, value in DEFAULTS.items() if isinstance(value, (int, float))]
RANGES = {name: range for name, _, range in walk(TrialKnobs()) if range.searchable and name in NUMBERS}


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """{"trainer.lr": leaf} as {"trainer": {"lr": leaf}}, in the same order."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        section, _, knob = name.partition(".")
        tree.setdefault(section, {})[knob] = leaf
    return tree


def ends(name: str) -> tuple[Any, Any]:
    """A lowest and a highest value inside the knob's range, of its type."""
    range, whole = RANGES[name], isinstance(DEFAULTS[name], int)
    tiny = 1 if whole else 1e-9
    low = range.ge if range.ge is not None else range.gt + tiny
    high = range.le if range.le is not None else range.lt - tiny if range.lt is not None else 1000
    return (int(low), int(high)) if whole else (float(low), float(high))


def values(name: str) -> st.SearchStrategy[Any]:
    low, high = ends(name)
    return st.integers(low, high) if isinstance(low, int) else st.floats(low, high, allow_subnormal=False)


@st.composite
def leaves(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Any leaf that the knob allows: choices, or an interval on a linear, logarithmic or stepped scale."""
    form = draw(st.sampled_from(["choices", "linear", "log", "step"]))
    if form == "choices":
        return {"choices": draw(st.lists(values(name), min_size=2, max_size=5, unique=True))}
    if form == "step":
        return draw(stepped(name))
    low, high = sorted(draw(st.lists(values(name), min_size=2, max_size=2, unique=True)))
    return {"low": low, "high": high} | ({"log": True} if form == "log" and low > 0 else {})


@st.composite
def stepped(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Low, high and step on a grid that lies in every knob's range: 1 to 59, or 0.01 to 0.59."""
    low, step, count = draw(st.tuples(st.integers(1, 29), st.integers(1, 10), st.integers(1, 3)))
    leaf = {"low": low, "high": low + count * step, "step": step}
    return leaf if isinstance(DEFAULTS[name], int) else {key: value / 100 for key, value in leaf.items()}


trees = st.lists(st.sampled_from(sorted(RANGES)), min_size=1, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: leaves(name) for name in names})
)


def config(**sections: Any) -> Config:
    """A sweep of eight trials in which every knob has an effect."""
    return Config(**({"prior": Prior(weight=1.0), "sweep": Sweep(trials=8)} | sections))


def draws(space: Space, seed: int, count: int = 3) -> list[dict[str, Any]]:
    """Parameters of a few trials as Optuna draws them."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(space).params for _ in range(count)]


@given(trees, st.integers(0, 2**31))
def test_every_draw_from_a_valid_space_can_be_trained(tree: dict[str, Any], seed: int) -> None:
    space = parse(nested(tree), config())
    for params in draws(space, seed):
        trial = flat(knobs(config(), params))  # checks every range
        assert {name: trial[name] for name in params} == params
        assert all(type(trial[name]) is type(DEFAULTS[name]) for name in params)
        assert all(trial[name] == value for name, value in flat(config().trial()).items() if name not in params)


@given(trees)
def test_a_space_says_what_its_tree_says_in_the_same_order(tree: dict[str, Any]) -> None:
    before = copy.deepcopy(tree)
    space = parse(nested(tree), config())
    sections = {name.partition(".")[0]: None for name in tree}
    assert list(space) == [name for section in sections for name in tree if name.startswith(f"{section}.")]
    for name, leaf in tree.items():
        found = space[name]
        if "choices" in leaf:
            assert isinstance(found, CategoricalDistribution)
            assert list(found.choices) == leaf["choices"]
        else:
            assert isinstance(found, IntDistribution if isinstance(DEFAULTS[name], int) else FloatDistribution)
            assert (found.low, found.high, found.log) == (leaf["low"], leaf["high"], leaf.get("log", False))
            assert found.step == leaf.get("step", 1 if isinstance(found, IntDistribution) else None)
    assert tree == before


@given(st.sampled_from(sorted(RANGES)), st.data())
def test_a_bound_outside_the_range_is_refused(name: str, data: st.DataObject) -> None:
    range: Range = RANGES[name]
    inside = data.draw(values(name))
    floor = range.ge if range.ge is not None else range.gt
    below = floor - data.draw(st.integers(1, 100)) if isinstance(inside, int) else floor - data.draw(st.floats(0.1, 9))
    with pytest.raises(KnobError, match=rf"^sweep\.space\.{name}\.low=.*must be >"):
        parse(nested({name: {"low": below, "high": inside}}), config())
    with pytest.raises(KnobError, match=rf"^sweep\.space\.{name}\.choices\[1\]=.*must be >"):
        parse(nested({name: {"choices": [inside, below]}}), config())


LR, WIDTH = "trainer.lr", "model.width"
WRONG: list[tuple[dict[Any, Any], list[str]]] = [
    # no such knob, or none that can be searched
    ({"trainer": {"l": {"low": 1, "high": 2}}}, ["sweep.space.trainer.l:", "no such knob", "'trainer.lr'"]),
    ({"trianer": {"lr": {"low": 1, "high": 2}}}, ["sweep.space.trianer:", "no such knob"]),
    ({"trainer.lr": {"low": 0.1, "high": 0.2}}, ["'trainer.lr'", "nest"]),
    ({3: {"low": 0.1, "high": 0.2}}, ["sweep.space", "3", "key"]),
    ({"pack": {"size": {"low": 1, "high": 2}}}, ["sweep.space.pack.size:", "belongs to the sweep"]),
    ({"data": {"name": {"choices": ["mnist", "digits"]}}}, ["sweep.space.data.name:", "belongs to the sweep"]),
    (nested({"trainer.category_tolerance": {"low": 0.1, "high": 0.2}}), ["category_tolerance:", "what is recorded"]),
    (nested({"trainer.train_size": {"choices": [None, 2]}}), ["train_size.choices[0]=null:", "whole number"]),
    (nested({"trainer.train_size": {"low": 0, "high": 2}}), ["train_size.low=0:", "must be >= 1"]),
    (nested({"trainer.algorithm": {"low": 0, "high": 1}}), ["trainer.algorithm:", "give choices"]),
    (nested({"trainer.algorithm": {"choices": ["bp", "gpb"]}}), ["choices[1]=gpb:", "must be one of gbp, bp"]),
    ({"model": {"widths": {"choices": [[1], [2]]}}}, ["sweep.space.model.widths.choices[0]=[1]:", "whole number"]),
    # not a tree, not a leaf
    ({"trainer": 3}, ["sweep.space.trainer=3:", "tree of knobs"]),
    ({"trainer": {"lr": 0.1}}, ["sweep.space.trainer.lr=0.1:", "low", "choices"]),
    ({"trainer": {"lr": None}}, ["sweep.space.trainer.lr=null:", "low", "choices"]),
    ({"trainer": {"lr": [0.1, 0.2]}}, ["sweep.space.trainer.lr=[0.1, 0.2]:", "choices"]),
    (nested({LR: {"lo": 0.1, "high": 0.2}}), ["sweep.space.trainer.lr.lo:", "'low'"]),
    (nested({LR: {"low": 0.1, "high": 0.2, 3: 4}}), ["sweep.space.trainer.lr.3:", "low, high, log, step, choices"]),
    (nested({LR: {}}), ["sweep.space.trainer.lr:", "must have low and high, or choices"]),
    (nested({LR: {"low": 0.1}}), ["sweep.space.trainer.lr:", "must have low and high", "has low"]),
    (nested({LR: {"low": 0.1, "high": 0.2, "choices": [1, 2]}}), ["sweep.space.trainer.lr:", "low, high"]),
    # an interval that holds nothing or too much
    (nested({LR: {"low": 0.2, "high": 0.1}}), ["sweep.space.trainer.lr:", "low=0.2", "above", "high=0.1"]),
    (nested({LR: {"low": 0.1, "high": 0.1}}), ["sweep.space.trainer.lr:", "set trainer.lr=0.1"]),
    (nested({LR: {"low": 0, "high": 0.1}}), ["sweep.space.trainer.lr.low=0.0:", "must be > 0"]),
    (nested({"init.spike": {"low": 0, "high": 1.5}}), ["sweep.space.init.spike.high=1.5:", "<= 1"]),
    (nested({"prior.spike": {"low": 0.5, "high": 1.0}}), ["sweep.space.prior.spike.high=1.0:", "<= 0.9999"]),
    (nested({LR: {"low": 0.1, "high": float("inf")}}), ["sweep.space.trainer.lr.high=inf:"]),
    (nested({LR: {"low": float("nan"), "high": 0.1}}), ["sweep.space.trainer.lr.low=nan:"]),
    # wrong types
    (nested({LR: {"low": "a", "high": 0.1}}), ["sweep.space.trainer.lr.low=a:", "must be a number"]),
    (nested({LR: {"low": None, "high": 0.1}}), ["sweep.space.trainer.lr.low=null:", "must be a number"]),
    (nested({LR: {"low": 0.1, "high": True}}), ["sweep.space.trainer.lr.high=true:", "must be a number"]),
    (nested({LR: {"low": {"x": 1}, "high": 1}}), ["sweep.space.trainer.lr.low=", "must be a number"]),
    (nested({WIDTH: {"low": 1.0, "high": 3}}), ["sweep.space.model.width.low=1.0:", "whole number"]),
    (nested({WIDTH: {"low": 1, "high": 2.5}}), ["sweep.space.model.width.high=2.5:", "whole number"]),
    # scales
    (nested({LR: {"low": 0.1, "high": 1, "log": 1}}), ["sweep.space.trainer.lr.log=1:", "true or false"]),
    (nested({LR: {"low": 0.1, "high": 1, "log": None}}), ["sweep.space.trainer.lr.log=null:", "true or false"]),
    (nested({"init.spike": {"low": 0, "high": 1, "log": True}}), ["sweep.space.init.spike.low=0.0:", "> 0", "log"]),
    (nested({"init.seed": {"low": 0, "high": 9, "log": True}}), ["sweep.space.init.seed.low=0:", "> 0", "log"]),
    (nested({LR: {"low": 0.1, "high": 1, "log": True, "step": 0.1}}), ["sweep.space.trainer.lr.step=0.1:", "log=true"]),
    (nested({LR: {"low": 0.1, "high": 1, "step": 0.2}}), ["sweep.space.trainer.lr.step=0.2:", "whole steps"]),
    (nested({LR: {"low": 0.1, "high": 1, "step": 0}}), ["sweep.space.trainer.lr.step=0.0:", "> 0"]),
    (nested({LR: {"low": 0.1, "high": 1, "step": None}}), ["sweep.space.trainer.lr.step=null:", "number"]),
    (nested({LR: {"low": 0.1, "high": 1, "step": float("nan")}}), ["sweep.space.trainer.lr.step=nan:", "> 0"]),
    (nested({WIDTH: {"low": 1, "high": 9, "step": 0.5}}), ["sweep.space.model.width.step=0.5:", "whole number"]),
    (nested({WIDTH: {"low": 1, "high": 9, "step": 3}}), ["sweep.space.model.width.step=3:", "low=1", "high=9"]),
    # choices
    (nested({LR: {"choices": []}}), ["sweep.space.trainer.lr.choices=[]:", "at least two"]),
    (nested({LR: {"choices": 0.1}}), ["sweep.space.trainer.lr.choices=0.1:", "list"]),
    (nested({LR: {"choices": None}}), ["sweep.space.trainer.lr.choices=null:", "list"]),
    (nested({LR: {"choices": "abc"}}), ["sweep.space.trainer.lr.choices=abc:", "list"]),
    (nested({LR: {"choices": [0.1]}}), ["sweep.space.trainer.lr:", "set trainer.lr=0.1"]),
    (nested({LR: {"choices": [1, 1.0]}}), ["sweep.space.trainer.lr.choices", "twice"]),
    (nested({LR: {"choices": [0.1, -1]}}), ["sweep.space.trainer.lr.choices[1]=-1.0:", "must be > 0"]),
    (nested({LR: {"choices": [0.1, "x"]}}), ["sweep.space.trainer.lr.choices[1]=x:", "number"]),
    (nested({LR: {"choices": [0.1, [0.2]]}}), ["sweep.space.trainer.lr.choices[1]=[0.2]:", "number"]),
    (nested({WIDTH: {"choices": [True, 2]}}), ["sweep.space.model.width.choices[0]=true:", "whole number"]),
    # nothing
    ({}, ["sweep.trials=8:", "nothing is searched", "+sweep="]),
    ({"trainer": {}}, ["sweep.trials=8:", "nothing is searched"]),
]


@pytest.mark.parametrize(("tree", "pieces"), WRONG, ids=[str(tree) for tree, _ in WRONG])
def test_a_wrong_space_is_refused_in_one_line(tree: dict[Any, Any], pieces: list[str]) -> None:
    with pytest.raises(KnobError) as caught:
        parse(tree, config())
    message = str(caught.value)
    assert "\n" not in message
    assert [piece for piece in pieces if piece not in message] == [], message


@pytest.mark.parametrize("name", ["model.width", "model.depth"])
def test_the_shape_is_not_searched_where_the_widths_are_set(name: str) -> None:
    tree = nested({name: {"low": 1, "high": 3}})
    assert list(parse(tree, config())) == [name]
    with pytest.raises(KnobError, match=rf"sweep\.space\.{name}: .*model\.widths=\[20\]"):
        parse(tree, config(model=Model(widths=[20])))


@pytest.mark.parametrize("name", ["prior.spike", "prior.slab_variance"])
def test_the_prior_is_not_searched_where_it_has_no_weight(name: str) -> None:
    tree = nested({name: {"low": 0.1, "high": 0.3}})
    weighed = nested({name: {"low": 0.1, "high": 0.3}, "prior.weight": {"low": 0.0, "high": 1.0}})
    assert list(parse(tree, config())) == [name]
    assert list(parse(weighed, config(prior=Prior()))) == [name, "prior.weight"]
    with pytest.raises(KnobError, match=rf"sweep\.space\.{name}: .*prior\.weight=0"):
        parse(tree, config(prior=Prior()))


BP = Trainer(algorithm="bp")
BOTH = {"trainer.algorithm": {"choices": ["gbp", "bp"]}}


@pytest.mark.parametrize(
    "name", ["prior.weight", "prior.spike", "prior.slab_variance", "init.spike", "init.slab_variance"]
)
def test_distributions_are_not_searched_where_weights_have_none(name: str) -> None:
    tree = nested({name: {"low": 0.1, "high": 0.3}})
    with pytest.raises(KnobError, match=rf"^sweep\.space\.{name}: .*has no effect while trainer\.algorithm=bp is set"):
        parse(tree, config(trainer=BP))


@pytest.mark.parametrize("name", ["prior.weight", "init.spike"])
def test_bp_never_meets_what_it_cannot_have(name: str) -> None:
    """Neither where the other knob is set, nor where it is searched; what only gbp heeds may be searched."""
    plain = config(prior=Prior())
    tree = nested(BOTH | {name: {"low": 0.0, "high": 0.3}})
    with pytest.raises(KnobError, match=rf"^sweep\.space\.{name}: .*trainer\.algorithm=bp, .*must be 0$"):
        parse(tree, plain)
    with pytest.raises(KnobError, match=rf"^{name}=0\.5: .*trainer\.algorithm=bp, .*must be 0$"):
        parse(nested(BOTH), replace(plain, {name: 0.5}))
    assert list(parse(nested(BOTH | {"init.slab_variance": {"low": 0.1, "high": 0.3}}), plain)) == [
        "trainer.algorithm",
        "init.slab_variance",
    ]
    with pytest.raises(KnobError, match=rf"^{name}=0\.5: .*trainer\.algorithm=bp; must be 0$"):
        validate(replace(plain, {name: 0.5, "trainer.algorithm": "bp"}))
    assert knobs(plain, {"trainer.algorithm": "bp"}).trainer.algorithm == "bp"


@given(trees)
def test_the_bounds_of_a_knob(tree: dict[str, Any]) -> None:
    """What is drawn lies within; what is not searched has one value."""
    space = parse(nested(tree), config())
    for params in draws(space, 0):
        for name, value in flat(knobs(config(), params)).items():
            low, high = bounds(name, space, config())
            assert (low, high) == (value, value) if name not in space else low <= value <= high


def test_one_trial_needs_no_space() -> None:
    assert parse({}, Config()) == {}


@pytest.mark.parametrize(
    ("params", "pieces"),
    [
        ({"trainer.l": 0.1}, ["trainer.l:", "no such knob", "'trainer.lr'"]),
        ({"trainer.lr": -1.0}, ["trainer.lr=-1.0:", "must be > 0"]),
        ({"pack.size": 3}, ["pack.size:", "no such knob"]),
    ],
)
def test_knobs_refuses_parameters_that_cannot_be_trained(params: dict[str, Any], pieces: list[str]) -> None:
    with pytest.raises(KnobError) as caught:
        knobs(config(), params)
    assert [piece for piece in pieces if piece not in str(caught.value)] == []


def test_a_space_is_made_of_plain_distributions() -> None:
    space = parse(nested({LR: {"low": 1, "high": 2}, "prior.weight": {"choices": [1, 2]}}), config())
    assert all(isinstance(found, BaseDistribution) for found in space.values())
    assert space[LR] == FloatDistribution(1.0, 2.0)
    assert space["prior.weight"] == CategoricalDistribution((1.0, 2.0))
    assert [type(choice) for choice in space["prior.weight"].choices] == [float, float]  # as the knob, not as the YAML
