"""Interactive plots: they show the sweep's own trials, each with its number, and the page is whole, alone and safe."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from test_page import HOSTILE, read

from lca_sweep.core.objective import Constraint, Goal, Objective, Scored, best_first
from lca_sweep.report import style
from lca_sweep.report.hypervolume import growth, normalised
from lca_sweep.report.interactive import Interactive, embedded, write_search
from lca_sweep.search import plots
from lca_sweep.search.picture import BLUE, GREEN, GREY, PALE, VERMILLION
from lca_sweep.search.plots import FEWEST, Picture, pictures, survivors
from lca_sweep.search.rows import Row
from lca_sweep.search.shown import EPOCHS, SOME, OneObjective, Shown, evenly, study_of
from lca_sweep.search.space import Space

ONE = Goal()
TWO = Goal(
    (Objective("val/accuracy"), Objective("val/loss", maximize=False)), (Constraint("val/accuracy", True, 0.91),)
)
SPACE: Space = {
    "trainer.algorithm": CategoricalDistribution(["gbp", "bp"]),
    "trainer.lr": FloatDistribution(1e-3, 0.1, log=True),
    "init.spike": FloatDistribution(0.0, 0.5),
}


def row(number: int, goal: Goal, epochs: int, rng: np.random.Generator) -> Row:
    """Every fourth leaves early; those of BP, every third, have no `init.spike` in a search of two objectives."""
    bp, x = number % 3 == 0, float(rng.uniform())
    params = {"trainer.algorithm": "bp" if bp else "gbp", "trainer.lr": 10 ** (x - 2)}
    if not bp or goal is ONE:
        params["init.spike"] = float(rng.uniform(0, 0.5))
    end = dict(zip(("val/accuracy", "val/loss"), (0.9 + 0.03 * x, 0.3 + x + rng.exponential()), strict=True))
    done = number % 4 != 1
    values = {
        epoch: end["val/accuracy"] - 1 / (epoch + 1) + 1 / (epochs + 1)
        for epoch in range(1, (epochs if done else epochs // 2) + 1)
    }
    scores, violations = (goal.scores(end), goal.violations(end)) if done else ((), ())
    first = scores[0] if done else None
    state = "complete" if done else "pruned"
    return Row(number, state, params, values, first, number // 8, "", scores=scores, violations=violations)


def rows(count: int, goal: Goal = ONE, epochs: int = 8) -> list[Row]:
    rng = np.random.default_rng(0)
    return [row(number, goal, epochs, rng) for number in range(count)]


def data(found: list[Picture], name: str) -> list[dict[str, Any]]:
    """The traces of a figure."""
    (picture,) = [picture for picture in found if picture.name == name]
    return list(json.loads(picture.figure)["data"])


def complete(some: list[Row]) -> dict[int, Row]:
    return {one.number: one for one in some if one.value is not None}


@pytest.fixture(scope="module")
def single() -> list[Picture]:
    return pictures(rows(24), SPACE, ONE)


@pytest.fixture(scope="module")
def double() -> list[Picture]:
    return pictures(rows(40, TWO), SPACE, TWO)


def test_a_search_by_one_objective(single: list[Picture]) -> None:
    names = [picture.name for picture in single]
    assert names == ["history", "importances", "parallel", "slices", "contour", "curves", "survival"]


def test_every_trial_has_its_number_and_value(single: list[Picture]) -> None:
    points, best, _ = data(single, "history")
    done = complete(rows(24))
    there = {number: value for number, value in zip(points["x"], points["y"], strict=True) if value is not None}
    assert there == pytest.approx({number: one.value for number, one in done.items()}, rel=1e-5)
    assert [y for y in best["y"] if y is not None][-1] == pytest.approx(max(there.values()))


def test_what_others_have_put_in_and_the_finals_are_left_out(single: list[Picture]) -> None:
    """Another's point, an unknown knob, a trial of the finals, one that waits: the page stays as it is."""
    own, one = rows(24), rows(24)[0]
    others = [
        replace(one, number=24, pack=None),
        replace(one, number=25, params={**one.params, "trainer.lr": 7.0}),
        replace(one, number=26, params={**one.params, "nose": 1.0}),
        replace(one, number=27, replicate=(0, 7)),
        replace(one, number=28, state="waiting", value=None),
    ]
    assert pictures([*own, *others], SPACE, ONE) == single


def test_numbers_stay_where_trials_are_missing() -> None:
    some = [one for one in rows(30) if one.number not in (0, 5, 6, 7)]
    study = study_of(some, SPACE, [True], lambda one: one.scores)
    numbers = [trial.number for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))]
    assert numbers == [one.number for one in some if one.value is not None]


def test_a_knob_that_only_some_trials_have(double: list[Picture]) -> None:
    """It is left out of importances, and says so; at its slice are those that have it; elsewhere they are absent."""
    (bars,) = [picture for picture in double if picture.name == "importances-1"]
    assert "Left out, for not every trial has them: init.spike." in bars.caption
    assert all("init.spike" not in trace["y"] for trace in data(double, "importances-1"))
    done = complete(rows(40, TWO))
    having = [one.params["init.spike"] for one in done.values() if "init.spike" in one.params]
    lines = [dict(trace["customdata"]) for trace in data(double, "parallel-1") if "customdata" in trace]
    assert len(lines) == len(done)
    assert [line["init.spike"] == "None" for line in lines] == [line["algorithm"] == "bp" for line in lines]
    slices = sorted(x for trace in data(double, "slices-1") if trace.get("xaxis") == "x2" for x in trace["x"])
    assert slices == pytest.approx(sorted(having), rel=1e-5)  # the second of algorithm, init.spike, lr


def test_a_search_by_two_objectives(double: list[Picture]) -> None:
    names = [picture.name for picture in double]
    parts = ("history", "importances", "parallel", "slices", "contour")
    of_each = [f"{name}-{place}" for place in (1, 2) for name in parts]
    assert names == ["front", "hypervolume", *of_each, "curves", "survival"]


def test_the_front_is_that_of_the_rules(double: list[Picture]) -> None:
    done = complete(rows(40, TWO))
    broken, dominated, best = ({*zip(trace["x"], trace["y"], strict=True)} for trace in data(double, "front"))
    assert (len(broken), len(dominated) + len(best)) == (
        sum(max(one.violations) > 0 for one in done.values()),
        sum(max(one.violations) <= 0 for one in done.values()),
    )
    for x, y in best:
        assert not any(a >= x and b <= y and (a, b) != (x, y) for a, b in dominated | best)
    for x, y in dominated:
        assert any(a >= x and b <= y for a, b in best)


def test_hypervolume_is_that_of_the_report(double: list[Picture]) -> None:
    """Optuna's own computation agrees with ours."""
    kept = [one for one in complete(rows(40, TWO)).values() if max(one.violations) <= 0]
    (line,) = data(double, "hypervolume")
    assert line["x"] == [one.number for one in kept]
    assert line["y"] == pytest.approx(growth(normalised([TWO.gains(one.scores) for one in kept])), rel=1e-4)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_survivors(lengths: list[int]) -> None:
    epochs, counts = survivors(lengths)
    assert (epochs[0], counts[0], epochs[-1]) == (0, len(lengths), max(lengths))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == lengths.count(max(lengths))
    gone = {after: before - left for after, before, left in zip(epochs[1:], counts, counts[1:], strict=False)}
    assert {epoch: count for epoch, count in gone.items() if count} == {
        epoch: lengths.count(epoch) for epoch in set(lengths) - {max(lengths)}
    }


@given(st.integers(1, 60), st.integers(2, 30))
def test_some_are_the_first_the_last_and_evenly_between(count: int, most: int) -> None:
    some = evenly([replace(rows(1)[0], number=number) for number in range(count)], most)
    numbers = [one.number for one in some]
    assert len(numbers) == min(count, most) and numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    gaps = np.diff(numbers)
    assert not gaps.size or gaps.max() - gaps.min() <= 1


def test_trials_that_left_early_count_where_half_of_all_had_come() -> None:
    """As halving leaves it: 2 of 16 complete. Compared are those that were there after epoch 4, by its objective."""
    every = []
    for one in rows(16):
        last = 16 if one.number < 2 else 8 if one.number < 4 else 4 if one.number < 8 else 2
        curve = {epoch: one.number + epoch / 100 for epoch in range(1, last + 1)}
        end = {"value": curve[16], "scores": (curve[16],)} if last == 16 else {"value": None, "scores": ()}
        every.append(replace(one, state="complete" if last == 16 else "pruned", values=curve, **end))
    one = OneObjective(Shown.of(every, SPACE, ONE), 0)
    assert (one.epoch, one.values) == (4, {number: number + 0.04 for number in range(8)})
    assert [row.number for row in one.compared] == [7, 6, 5, 4, 3, 2, 1, 0]
    (slices,) = [picture for picture in pictures(every, SPACE, ONE) if picture.name == "slices"]
    assert "after epoch 4 of 8 trials" in slices.caption


def test_few_trials_have_no_plots() -> None:
    few = rows(24)[: FEWEST - 1]
    assert pictures(few, SPACE, ONE) == []
    assert pictures([], SPACE, TWO) == []


def test_odd_searches_are_drawn_too() -> None:
    """All alike, one knob, none, a value that is no number, a trial that runs."""
    some = rows(12)
    same = [replace(one, value=0.5, scores=(0.5,)) if one.value else one for one in some]
    assert {"history", "slices"} <= {picture.name for picture in pictures(same, SPACE, ONE)}
    rate: Space = {"trainer.lr": SPACE["trainer.lr"]}
    alone = [replace(one, params={"trainer.lr": one.params["trainer.lr"]}) for one in some]
    assert "slices" in {picture.name for picture in pictures(alone, rate, ONE)}
    bare = [replace(one, params={}) for one in some]
    assert {"history", "curves"} <= {picture.name for picture in pictures(bare, {}, ONE)}
    odd = [
        *some,
        replace(some[1], number=12, values={1: math.nan, 2: 0.5}),
        replace(some[1], number=13, state="running"),
    ]
    lines = data(pictures(odd, SPACE, ONE), "curves")
    assert {"trial 12, pruned", "trial 13, running"} <= {line["name"] for line in lines}


def test_the_users_optuna_is_left_as_it_was(single: list[Picture]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        pictures(rows(24), SPACE, ONE)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)


@pytest.mark.slow
def test_a_thousand_trials_fit_on_a_page(tmp_path: Path) -> None:
    three = Goal((*TWO.objectives, Objective("weights/uip_fraction")), TWO.constraints)
    rng = np.random.default_rng(1)
    many = [
        replace(one, scores=(*one.scores, float(rng.uniform()))) if one.scores else one for one in rows(1000, TWO, 100)
    ]
    found = pictures(many, SPACE, three)
    page = write_search("many", [Interactive(**vars(one)) for one in found], plots.script(), tmp_path)
    assert page and page.stat().st_size < 6_000_000
    (lines,) = [picture for picture in found if picture.name == "curves"]
    assert f"100 of 1000 trials, evenly from the best to the worst, at {EPOCHS} epochs" in lines.caption
    (shown,) = [picture for picture in found if picture.name == "parallel-1"]
    assert f"{SOME} of {len(complete(many))} trials" in shown.caption


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(single: list[Picture], tmp_path: Path) -> None:
    page = write_search("paper", [Interactive(**vars(one)) for one in single], plots.script(), tmp_path)
    assert page
    text = page.read_text(encoding="utf-8").replace(plots.script(), "")
    assert "plotly.js" in page.read_text(encoding="utf-8")[:2_500]
    assert not re.search(r"https?://|@import|url\(", text)
    found = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert [json.loads(one) for one in found] == [json.loads(picture.figure) for picture in single]
    for picture in single:
        assert picture.title in text and f'id="{picture.name}"' in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'") and "http" not in policy and "*" not in policy
    assert 'href="report.html"' in text


def test_what_users_type_is_text(tmp_path: Path) -> None:
    plot = Interactive("history", HOSTILE, HOSTILE, json.dumps({"data": [{"name": HOSTILE}], "layout": {}}))
    page = write_search(HOSTILE, [plot], "'a script of ours'", tmp_path)
    assert page
    reader = read(page)
    assert [tag for tag, _ in reader.tags].count("script") == 3  # plotly.js, the figure, what draws it
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert reader.text.count(HOSTILE) >= 3


@settings(max_examples=30)
@given(
    st.recursive(st.text() | st.floats(allow_nan=False), lambda part: st.lists(part) | st.dictionaries(st.text(), part))
)
def test_embedded_json_says_the_same_and_ends_no_script(value: Any) -> None:
    text = embedded(json.dumps(value))
    assert json.loads(text) == value and not {*"<>&"} & {*text}


def test_without_plots_there_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "search.html").write_text("an earlier one")
    assert write_search("paper", [], "", tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_shown_is_best_first() -> None:
    shown = Shown.of(rows(40, TWO), SPACE, TWO)
    one = OneObjective(shown, 0)
    assert one.knobs == ["algorithm", "lr", "init.spike"] and one.shared == ["algorithm", "lr"]  # in short
    assert [one.number for one in shown.done] == best_first(
        TWO, {number: Scored(one.scores, one.violations) for number, one in complete(rows(40, TWO)).items()}
    )


def test_slices_say_what_is_grey(single: list[Picture]) -> None:
    def caption(found: list[Picture], name: str) -> str:
        return next(picture.caption for picture in found if picture.name == name)

    assert "Grey" not in caption(single, "slices")
    some = [one for one in rows(24, TWO) if one.value is not None]
    broken = [replace(one, violations=(0.1,)) if one.number == 2 else one for one in some]
    assert caption(pictures(broken, SPACE, TWO), "slices-1").endswith(" Grey: trials that break a constraint.")


def test_curves_have_the_looks_of_the_report() -> None:
    """The three best in its colours and thick, the complete ones grey, the pruned ones paler."""
    some = rows(24)
    best = Shown.of(some, SPACE, ONE).done
    looks = {
        int(line["name"].split()[1].rstrip(",")): (line["line"]["color"], line["line"]["width"])
        for line in data(pictures(some, SPACE, ONE), "curves")
    }
    assert [looks[one.number] for one in best[:3]] == [(BLUE, 2.5), (VERMILLION, 2.5), (GREEN, 2.5)]
    assert {looks[one.number] for one in best[3:]} == {(GREY, 1.0)}
    assert {looks[one.number] for one in some if one.state == "pruned"} == {(PALE, 1.0)}
    assert (BLUE, VERMILLION, GREEN, GREY, PALE) == (style.BLUE, style.VERMILLION, style.GREEN, style.GREY, style.PALE)
