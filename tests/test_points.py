"""A point comes back from a tree, from a table and from the command line as it was; what is none is told in a line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.core.knobs import KnobError, TrialKnobs, flat, written
from lca_sweep.search.points import of_row, of_table, of_texts, of_tree
from lca_sweep.search.rows import Row
from lca_sweep.search.space import Space

SPACE: Space = {
    "trainer.lr": FloatDistribution(0.01, 0.3, log=True),
    "trainer.algorithm": CategoricalDistribution(["gbp", "bp"]),
    "model.width": IntDistribution(8, 32, step=4),
    "model.depth": CategoricalDistribution([1, 2, 3]),
    "prior.weight": FloatDistribution(0.0, 1.0, step=0.25),
}
VALUES = {
    "trainer.lr": st.floats(0.01, 0.3),
    "trainer.algorithm": st.sampled_from(["gbp", "bp"]),
    "model.width": st.sampled_from(range(8, 33, 4)),
    "model.depth": st.sampled_from([1, 2, 3]),
    "prior.weight": st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
}
points = st.fixed_dictionaries({}, optional=VALUES).filter(bool)  # type: ignore[arg-type]


def nested(params: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in params.items():
        section, knob = name.split(".")
        tree.setdefault(section, {})[knob] = value
    return tree


@given(points)
def test_a_tree_comes_back(params: dict[str, Any]) -> None:
    """Also with knobs that all trials have so."""
    for tree in (nested(params), nested({**params, "trainer.beta1": 0.9, "init.spike": 0})):
        assert of_tree(tree, SPACE, "search.enqueue[0]", flat(TrialKnobs())).params == params


@given(points)
def test_words_come_back(params: dict[str, Any]) -> None:
    read = of_texts({name: written(value) for name, value in params.items()}, SPACE, "enqueue s").params
    assert read == params and [type(value) for value in read.values()] == [type(value) for value in params.values()]


@given(st.lists(points, min_size=1, max_size=5), st.permutations(list(SPACE)), st.booleans(), st.sampled_from("\n\r"))
def test_a_table_comes_back(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[dict[str, Any]], order: list[str], beside: bool, end: str
) -> None:
    """Also one of trials, with columns that are no knobs; and a spreadsheet's, with a mark at its beginning."""
    extra = {"trial": 3, "state": "complete", "test/accuracy": 0.9} if beside else {}
    file = io.StringIO()
    writer = csv.DictWriter(file, [*extra, *order], restval="", lineterminator="\r\n" if end == "\r" else "\n")
    writer.writeheader()
    writer.writerows(extra | params for params in wanted)
    path = tmp_path_factory.mktemp("csv") / "points.csv"
    path.write_bytes(("\ufeff" * beside + file.getvalue()).encode())
    read = of_table(str(path), SPACE, "search.enqueue_csv")
    assert [(point.params, point.source) for point in read] == [(params, "csv") for params in wanted]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (7, "p=7: must be a tree of knobs, e.g. {trainer: {lr: 0.1}}"),
        ({}, "p: must name at least one searched knob"),
        ({"trainer": {"lr": 7}}, "p.trainer.lr=7: must be a number from 0.01 to 0.3"),
        ({"trainer": {"lr": "much"}}, "p.trainer.lr=much: must be a number from 0.01 to 0.3"),
        ({"trainer": {"lr": True}}, "p.trainer.lr=true: must be a number from 0.01 to 0.3"),
        ({"trainer": {"lr": None}}, "p.trainer.lr=null: must be a number from 0.01 to 0.3"),
        ({"trainer": {"lr": float("nan")}}, "p.trainer.lr=nan: must be a number from 0.01 to 0.3"),
        ({"trainer": {"lrr": 0.1}}, "p.trainer.lrr=0.1: no such knob; did you mean 'trainer.lr'?"),
        (
            {"trainer": {"beta1": 0.1}},
            "p.trainer.beta1=0.1: is not in sweep.space, and 0.9 in all trials; take it out of the point, "
            "or the point out of search.enqueue",
        ),
        ({"trainer": {"beta1": 0.9}}, "p: must name at least one searched knob"),
        ({"sweep": {"trials": 3}}, "p.sweep.trials=3: is not in sweep.space, so it is the same in all trials"),
        ({"model": {"width": 9}}, "p.model.width=9: must be a whole number from 8 to 32 in steps of 4"),
        ({"model": {"width": 8.5}}, "p.model.width=8.5: must be a whole number from 8 to 32 in steps of 4"),
        ({"model": {"depth": 4}}, "p.model.depth=4: must be one of 1, 2, 3"),
        ({"prior": {"weight": 0.3}}, "p.prior.weight=0.3: must be a number from 0 to 1 in steps of 0.25"),
    ],
)
def test_what_is_no_point(tree: Any, message: str) -> None:
    with pytest.raises(KnobError) as caught:
        of_tree(tree, SPACE, "p", flat(TrialKnobs()))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": is empty; must have a header of knobs' names, and a line for each point"),
        (b"trial,state\n1,complete\n", ": line 1: no column is a searched knob; there are: " + ", ".join(SPACE)),
        (b"trainer.lrr\n0.1\n", ": line 1: column 'trainer.lrr': no such knob; did you mean 'trainer.lr'?"),
        (b"lr\n0.1\n", ": line 1: column 'lr': no such knob; did you mean 'trainer.lr'?"),
        (
            b"trainer.lr,init.seed\n",
            ": line 1: column 'init.seed': is not in sweep.space, so it is the same in all trials",
        ),
        (b"trainer.lr,trainer.lr\n", ": line 1: column 'trainer.lr': is there twice"),
        (b"trainer.lr\n0.1\n\n7\n", ": line 4: trainer.lr=7.0: must be a number from 0.01 to 0.3"),
        (b"trainer.lr\n0.1,3\n", ": line 2: has 2 cells; must have 1, as the header"),
        (b"trial,trainer.lr\n3,\n", ": line 2: must name at least one searched knob"),
        (b"model.width\n8.0\n", ": line 2: model.width=8.0: must be a whole number from 8 to 32 in steps of 4"),
        (
            b"trainer.lr\n\xff\n",
            ": cannot be read: 'utf-8' codec can't decode byte 0xff in position 11: invalid start byte",
        ),
        (b'trainer.lr\n"0.1\n', ": cannot be read: unexpected end of data"),
        (None, ": cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "points.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KnobError) as caught:
        of_table(str(path), SPACE, "search.enqueue_csv")
    assert str(caught.value) == f"search.enqueue_csv={path}{message}"


def test_a_trial_of_another_space() -> None:
    row = Row(3, "complete", {"trainer.lr": 0.5}, {}, 0.9, 0, "")
    with pytest.raises(KnobError, match=r"^search.warm_start=old: trial 3: trainer.lr=0.5: must be a number from"):
        of_row(row, SPACE, "old", "search.warm_start=old")
