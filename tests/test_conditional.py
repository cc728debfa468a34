"""Knobs that only some trials have: a trial has exactly those that exist for its values, whoever proposes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage

from lca_sweep.config import Config, KnobError, Model, Prior, Search, Sweep
from lca_sweep.core.knobs import Trainer, flat, replace
from lca_sweep.search.conditional import Allowed, Space
from lca_sweep.search.rows import Row, misfit
from lca_sweep.search.space import bounds, knobs, parse
from lca_sweep.search.study import Study

GBP = {"trainer": {"algorithm": "gbp"}}
BOTH = {"choices": ["gbp", "bp"]}
CHEAP = ["tpe", "random", "qmc", "cmaes", "nsga2"]

# what may stand in a space, and what has to stand there with it
PIECES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "trainer.lr": ({"low": 0.01, "high": 0.3, "log": True}, ()),
    "trainer.algorithm": (BOTH, ()),
    "model.depth": ({"low": 1, "high": 4}, ()),
    "init.spike": ({"low": 0.0, "high": 0.5, "when": GBP}, ("trainer.algorithm",)),
    "init.slab_variance": ({"low": 0.1, "high": 0.2, "when": {"init": {"spike": {"low": 0.2}}}}, ("init.spike",)),
    "init.mean_variance": ({"low": 0.1, "high": 0.2, "when": {"model": {"depth": [1, 3]}}}, ("model.depth",)),
    "init.seed": (
        {"low": 0, "high": 9, "when": {**GBP, "model": {"depth": {"low": 2, "high": 3}}}},
        ("trainer.algorithm", "model.depth"),
    ),
    "prior.weight": ({"value": 1, "when": GBP}, ("trainer.algorithm",)),
    "trainer.weight_decay": ({"value": 0.5}, ()),
    "trainer.beta1": ({"value": 0.25, "when": {"model": {"depth": 4}}}, ("model.depth",)),
    "model.widths": ({"low": 20, "high": 40}, ()),
}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        section, _, knob = name.partition(".")
        tree.setdefault(section, {})[knob] = leaf
    return tree


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Some of the pieces with all that they need, in any order."""
    wanted = set(draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=8))) | {"trainer.lr"}
    for name in [*wanted]:
        needed = [name]
        while needed:
            wanted.add(found := needed.pop())
            needed += PIECES[found][1]
    return {name: PIECES[name][0] for name in draw(st.permutations(sorted(wanted)))}


def config(tree: Mapping[str, Any], sampler: str = "random", seed: int = 0, **search: Any) -> Config:
    wanted = Search(sampler=sampler, seed=seed, **search)
    return Config(search=wanted, sweep=Sweep(name="s", trials=8, space=nested(tree)))


def space_of(wanted: Config) -> Space:
    return parse(wanted.sweep.space, wanted)


def exists(name: str, tree: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Straight from what is written, knob by knob."""
    for section, inner in tree[name].get("when", {}).items():
        for knob, wanted in inner.items():
            other = f"{section}.{knob}"
            if not exists(other, tree, params):
                return False
            found = params[other]
            if isinstance(wanted, dict):
                if not wanted.get("low", found) <= found <= wanted.get("high", found):
                    return False
            elif found not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
    return True


def expected(tree: Mapping[str, Any], params: Mapping[str, Any]) -> set[str]:
    names = {name for name in tree if "value" not in tree[name] and exists(name, tree, params)}
    if "model.widths" in names:
        depth = params.get("model.depth", Model().depth)
        names = names - {"model.widths"} | {f"model.widths.{layer}" for layer in range(depth)}
    return names


def asked(wanted: Config, count: int, at_once: int = 2) -> list[Row]:
    """Trials that end as they are asked for; every third one is pruned."""
    study = Study.open(wanted, "s", space_of(wanted), InMemoryStorage())
    for number in range(0, count, at_once):
        for row in study.ask([number] * at_once):
            study.report(row.number, 1, row.params["trainer.lr"])
            study.finish(row.number, "pruned" if row.number % 3 == 2 else "complete", row.params["trainer.lr"])
    return study.rows()


@settings(max_examples=25)
@given(trees(), st.sampled_from(CHEAP), st.integers(0, 99))
def test_a_proposal_has_exactly_the_knobs_that_exist_and_lies_in_the_space(
    tree: dict[str, Any], sampler: str, seed: int
) -> None:
    wanted = config(tree, sampler, seed)
    wanted.search.startup_trials = 3
    wanted.search.nsga2.population = 4
    space = space_of(wanted)
    for row in asked(wanted, 16):
        assert set(row.params) == expected(tree, row.params)
        assert list(row.params) == [name for name in space if name in row.params]
        for name, value in row.params.items():
            assert space[name]._contains(space[name].to_internal_repr(value))
        assert space.exact(row.params) and misfit(row.params, space) == ""


@given(trees(), st.integers(0, 99))
def test_the_knobs_of_a_trial(tree: dict[str, Any], seed: int) -> None:
    """What it searches, then what the space sets, then what the config has; all of it within the bounds."""
    wanted = config(tree, seed=seed)
    base, space = flat(wanted.trial()), space_of(wanted)
    ends = {name: bounds(name, space, wanted) for name in base if name != "model.widths"}
    for row in asked(wanted, 4):
        trial = knobs(wanted, row.params)
        found, widths = flat(trial), [v for n, v in row.params.items() if n.startswith("model.widths.")]
        if widths:
            assert trial.model.hidden() == tuple(widths) and trial.model.depth == len(widths)
        for name, value in found.items():
            assert type(value) is type(base[name]) or name in ("model.widths", "trainer.train_size")
            if name in row.params:
                assert value == row.params[name]
            elif name in tree and "value" in tree[name] and exists(name, tree, row.params):
                assert value == tree[name]["value"]
            elif name != "model.widths" and not (widths and name == "model.depth"):
                assert value == base[name]
            low, high = ends.get(name, (None, None))
            assert low is None or low <= value <= high


def test_widths_of_a_network_of_fixed_depth() -> None:
    tree = {"model.widths": {"low": 20, "high": 40, "step": 10}}
    assert space_of(config(tree)) == {f"model.widths.{n}": IntDistribution(20, 40, step=10) for n in range(2)}
    deep = config(tree | {"model.depth": {"value": 3}})
    assert list(space_of(deep)) == ["model.widths.0", "model.widths.1", "model.widths.2"]
    trial = knobs(deep, {"model.widths.0": 20, "model.widths.1": 40, "model.widths.2": 30})
    assert trial.model.hidden() == (20, 40, 30)


def test_widths_stand_where_they_were_written() -> None:
    tree = {
        "trainer.lr": PIECES["trainer.lr"][0],
        "model.widths": {"low": 8, "high": 9},
        "model.depth": {"choices": [1, 3]},
    }
    space = space_of(config(tree))
    assert list(space) == ["trainer.lr", "model.widths.0", "model.widths.1", "model.widths.2", "model.depth"]
    assert list(space.active({"model.depth": 1})) == ["trainer.lr", "model.widths.0", "model.depth"]
    assert space.next({"model.depth": 3, "trainer.lr": 1, "model.widths.0": 8}).keys() == {
        "model.widths.1",
        "model.widths.2",
    }


def test_plain_bp_and_gbp_in_one_space() -> None:
    """The prior and the spike mass exist for gbp only; without the condition, or with another base, that is refused."""
    tree = {"trainer.algorithm": BOTH, "init.spike": PIECES["init.spike"][0]}
    for row in asked(config(tree | {"trainer.lr": PIECES["trainer.lr"][0]}), 8):
        assert ("init.spike" in row.params) == (row.params["trainer.algorithm"] == "gbp")
        knobs(config(tree), row.params)
    with pytest.raises(KnobError, match=r"^init\.spike=0\.25: .*trainer\.algorithm=bp, .*must be 0$"):
        space_of(replace(config(tree), {"init.spike": 0.25}))
    with pytest.raises(KnobError, match=r"^sweep\.space\.init\.spike: .*trainer\.algorithm=bp, .*must be 0$"):
        space_of(config(tree | {"init.spike": {"value": 0.25}}))
    assert space_of(config(tree | {"init.spike": {"value": 0.25, "when": GBP}})).constants["init.spike"].value == 0.25


LR, DEPTH = {"low": 0.1, "high": 0.2}, {"low": 1, "high": 3}
SPIKE = {"low": 0.1, "high": 0.5}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"trainer.lr": {**LR, "when": {}}}, "sweep.space.trainer.lr.when={}: must be a tree"),
    ({"trainer.lr": {**LR, "when": 3}}, "sweep.space.trainer.lr.when=3: must be a tree"),
    ({"trainer.lr": {**LR, "when": {"model": 3}}}, "sweep.space.trainer.lr.when.model=3: must be a tree"),
    ({"trainer.lr": {**LR, "when": {"model": {"dept": 3}}}}, "sweep.space.trainer.lr.when.model.dept: no such knob"),
    ({"trainer.lr": {**LR, "when": {"model": {"depth": 3}}}}, "when.model.depth: model.depth is not searched"),
    (
        {"trainer.lr": {**LR, "when": {"model": {"depth": 3}}}, "model.depth": {"value": 3}},
        "sweep.space.trainer.lr.when.model.depth: model.depth is not searched",
    ),
    *(
        (
            {"trainer.lr": {**LR, "when": {"model": {"depth": spec}}}, "model.depth": DEPTH},
            f"when.model.depth={text}: {why}",
        )
        for spec, text, why in [
            (4, "4", "model.depth never has that value"),
            ([1, 4], "4", "model.depth never has that value"),
            ([], "[]", "model.depth never has that value"),
            ("a", "a", "model.depth never has that value"),
            (2.0, "2.0", "model.depth never has that value"),
            (True, "true", "model.depth never has that value"),
            ({"low": 4}, "{'low': 4}", "model.depth never has that value"),
            ({"low": 3, "high": 2}, "{'low': 3, 'high': 2}", "model.depth never has that value"),
            ({}, "{}", "must be a value"),
            ({"lo": 3}, "{'lo': 3}", "must be a value"),
            ({"low": "a"}, "{'low': 'a'}", "must be a value"),
        ]
    ),
    (
        {"trainer.lr": {**LR, "when": {"trainer": {"algorithm": "pb"}}}, "trainer.algorithm": BOTH},
        "when.trainer.algorithm=pb: trainer.algorithm never has that value",
    ),
    (
        {"trainer.lr": {**LR, "when": {"trainer": {"algorithm": {"low": 1}}}}, "trainer.algorithm": BOTH},
        "when.trainer.algorithm={'low': 1}: must be a value, or a list of values",
    ),
    (
        {"trainer.lr": LR, "init.seed": {"low": 0, "high": 9, "when": {"trainer": {"lr": 0.15}}}},
        "sweep.space.init.seed.when.trainer.lr=0.15: single values are never drawn",
    ),
    (
        {"trainer.lr": {**LR, "when": {"trainer": {"lr": {"low": 0.15}}}}},
        "sweep.space.trainer.lr.when: trainer.lr depends on itself",
    ),
    (
        {
            "trainer.lr": {**LR, "when": {"model": {"depth": 2}}},
            "model.depth": {**DEPTH, "when": {"trainer": {"lr": {"low": 0.15}}}},
        },
        "sweep.space.model.depth.when: model.depth depends on itself through trainer.lr",
    ),
    ({"trainer.lr": {"value": 0}}, "sweep.space.trainer.lr.value=0.0: must be > 0, as trainer.lr"),
    ({"trainer.lr": {"value": "a"}}, "sweep.space.trainer.lr.value=a: must be a number"),
    ({"trainer.lr": {"value": 0.1, "low": 0.1}}, "sweep.space.trainer.lr: value cannot go with low"),
    ({"trainer.lr": {"choices": [0.1]}}, "write {value: 0.1}"),
    ({"trainer.lr": {"low": 0.1, "high": 0.1}}, "write {value: 0.1}"),
    ({"pack.size": {"value": 3}}, "sweep.space.pack.size: pack.size belongs to the sweep"),
    ({"model.widths": DEPTH, "model.width": DEPTH}, "sweep.space.model.widths: cannot go with sweep.space.model.width"),
    ({"model.widths": {"value": [3]}}, "sweep.space.model.widths.value: set model.widths itself"),
    ({"model.widths": {"low": 0, "high": 3}}, "sweep.space.model.widths.low=0: must be >= 1"),
    (
        {"model.widths": DEPTH, "model.depth": {**DEPTH, "when": GBP}, "trainer.algorithm": BOTH},
        "sweep.space.model.widths: every trial must have a model.depth",
    ),
    (
        {"trainer.algorithm": {"value": "bp"}, "init.spike": SPIKE},
        "sweep.space.init.spike: init.spike has no effect while",
    ),
    ({"prior.weight": {"value": 0}, "prior.spike": SPIKE}, "sweep.space.prior.spike: prior.spike has no effect while"),
]


@pytest.mark.parametrize(("tree", "text"), WRONG, ids=[text for _, text in WRONG])
def test_a_wrong_condition_is_refused_in_one_line(tree: dict[str, Any], text: str) -> None:
    with pytest.raises(KnobError) as caught:
        space_of(config(tree))
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("sweep.space.")


def test_what_the_space_sets_is_refused_where_it_contradicts_the_config() -> None:
    wanted = replace(config({"trainer.lr": LR, "init.spike": {"value": 0.3}}), {"trainer.algorithm": "bp"})
    with pytest.raises(KnobError, match=r"sweep\.space\.init\.spike: .*no effect while trainer.algorithm=bp"):
        space_of(wanted)
    wanted = replace(config({"trainer.lr": LR, "trainer.algorithm": {"value": "bp"}}), {"prior.weight": 1.0})
    with pytest.raises(KnobError, match=r"^prior\.weight=1\.0: weights have no distribution"):
        space_of(wanted)
    with pytest.raises(KnobError, match=r"^sweep\.space\.model\.widths: model\.widths=\[3\] is set"):
        space_of(Config(model=Model(widths=[3]), sweep=Sweep(trials=2, space=nested({"model.widths": DEPTH}))))
    needed = Config(
        prior=Prior(), sweep=Sweep(trials=2, space=nested({"prior.weight": {"value": 1}, "prior.spike": SPIKE}))
    )
    assert list(space_of(needed)) == ["prior.spike"]
    assert Trainer().algorithm == "gbp"  # else the above would be refused for another reason


# --- what others put in -------------------------------------------------------------------------------------------

TWO = Space(
    {"kind": CategoricalDistribution(["a", "b"]), "x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)},
    {"x": {"kind": Allowed(("a",))}, "y": {"kind": Allowed(("b",))}},
)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({}, ""),
        ({"kind": "b"}, ""),
        ({"kind": "a", "x": 0.5}, ""),
        ({"kind": "b", "x": 0.5}, "x=0.5"),
        ({"x": 0.5}, "x=0.5"),  # whether it exists would be for the sampler to say
        ({"kind": "c"}, "kind=c"),
    ],
)
@pytest.mark.parametrize("sampler", CHEAP[:2])
def test_a_row_put_in_by_hand_keeps_to_the_conditions(params: dict[str, Any], why: str, sampler: str) -> None:
    storage = InMemoryStorage()
    study = Study.open(Config(search=Search(sampler=sampler)), "s", TWO, storage)
    optuna.load_study(study_name="s", storage=storage).enqueue_trial(params)
    (row,) = study.ask([0])
    assert TWO.exact(row.params) and row.number == (1 if why else 0)
    assert (study.rows()[0].state, study.rows()[0].reason) == (
        ("failed", f"put in by hand with {why}, which is not in sweep.space") if why else ("running", "")
    )
    assert why or params.items() <= row.params.items()
    assert Study.open(Config(search=Search(sampler=sampler)), "s", TWO, storage).rows() == study.rows()


def test_tpe_finds_the_better_branch_and_the_better_place_in_it() -> None:
    """Of two branches the one with the higher top; its own knob does not exist in the other."""
    late = []
    for seed in range(3):
        wanted = Config(search=Search(seed=seed), sweep=Sweep(name="s"))
        study = Study.open(wanted, "s", TWO, InMemoryStorage())
        for number in range(60):
            (row,) = study.ask([number])
            top, place = (1.0, row.params["x"] - 0.8) if row.params["kind"] == "a" else (0.3, row.params["y"] - 0.2)
            study.finish(row.number, "complete", top - abs(place))
        late += study.rows()[30:]
    branch = [row for row in late if row.params["kind"] == "a"]
    assert len(branch) > 0.7 * len(late)
    near = [row for row in branch if abs(row.params["x"] - 0.8) < 0.15]
    assert len(near) > 0.5 * len(branch)  # at random 0.3
