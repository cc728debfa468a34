"""A report follows what a search was for: several objectives, minimised ones, constraints, conditions, finals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_helpers as made
from hypothesis import given
from hypothesis import strategies as st
from test_figures import lines, rows, texts
from test_page import Reader, read

from lca_sweep.core.objective import Constraint, Goal, Objective, best_first, pareto
from lca_sweep.report import figures, tables
from lca_sweep.report.finals import of_winner, winner
from lca_sweep.report.page import render, write_report
from lca_sweep.report.results import SweepResult
from lca_sweep.report.scale import Scale, limits
from lca_sweep.report.seeds import best_first as best_settings
from lca_sweep.report.seeds import settings

LOSS = Goal((Objective("val/loss", maximize=False),))
THREE = Goal((*made.GOAL.objectives, Objective("weights/uip_fraction")))
TWO, DOWN = made.traded(36, made.GOAL), made.traded(36, LOSS)
FINALS = made.with_finals(made.search(24, epochs=4))


def upside_down(result: SweepResult) -> SweepResult:
    """The same search, of the negative objective, minimised."""
    flipped = [
        dataclasses.replace(trial, value=None if trial.value is None else -trial.value, scores=())
        for trial in result.trials
    ]
    goal = Goal((Objective(result.goal.first.metric, not result.goal.first.maximize),))
    return dataclasses.replace(result, trials=tuple(flipped), goal=goal)


# --- what is best --------------------------------------------------------------------------------------------------


def test_best_first_is_that_of_the_goal() -> None:
    done = {trial.number: trial.scored for trial in TWO.trials if trial.value is not None}
    assert [trial.number for trial in TWO.complete] == best_first(TWO.goal, done)
    assert [trial.number for trial in TWO.front] == pareto(TWO.goal, done)
    broken = [trial.feasible for trial in TWO.complete]
    assert broken == sorted(broken, reverse=True) and not all(broken)


def test_minimised_upside_down_is_maximised() -> None:
    result = made.search(40, epochs=4)
    down = upside_down(result)
    assert [trial.number for trial in down.complete] == [trial.number for trial in result.complete]
    ranks = [[setting.trials[0].number for setting in best_settings(settings(one))] for one in (result, down)]
    assert ranks[0] == ranks[1]
    up, low = figures.objective(result), figures.objective(down)
    assert [row["best"] for row in rows(low)] == [-row["best"] for row in rows(up)]


def test_the_finals_choose_nothing_in_the_search() -> None:
    """Neither order, settings, claims, nor the search's figures feel them."""
    alone = dataclasses.replace(FINALS, trials=FINALS.searched, finals=())
    assert [trial.number for trial in FINALS.complete] == [trial.number for trial in alone.complete]
    assert [setting.label for setting in settings(FINALS)] == [setting.label for setting in settings(alone)]
    for draw in (figures.accuracy, figures.objective):
        assert rows(draw(FINALS)) == rows(draw(alone))
    assert tables.best_trials(FINALS) == tables.best_trials(alone)


@given(st.permutations(range(6)))
def test_a_settings_name_does_not_depend_on_the_order_of_its_knobs(order: list[int]) -> None:
    knobs: list[tuple[str, Any]] = [(f"a.k{place}", place) for place in range(6)]
    shuffled = dict([knobs[place] for place in order])
    trials = [made.trial(0, 0.9, {**dict(knobs), "init.seed": 0}), made.trial(1, 0.9, {**shuffled, "init.seed": 1})]
    (setting,) = settings(made.sweep(trials))
    assert [trial.number for trial in setting.trials] == [0, 1]


def test_settings_with_unlike_knobs() -> None:
    found = settings(TWO)
    assert {tuple(setting.knobs) for setting in found} == {
        ("trainer.algorithm", "trainer.lr"),
        ("trainer.algorithm", "trainer.lr", "init.spike", "prior.weight"),
    }
    rates = [setting.knobs["trainer.lr"] for setting in found if setting.bp]
    assert rates == sorted(rates)


# --- figures -------------------------------------------------------------------------------------------------------


def test_the_front_and_what_it_dominates() -> None:
    plot = figures.pareto(TWO)
    done = [trial for trial in TWO.trials if trial.value is not None]
    table = rows(plot)
    assert [row["trial"] for row in table] == [trial.number for trial in done]
    assert [(row["val/accuracy"], row["val/loss"]) for row in table] == [trial.scores for trial in done]
    assert [bool(row["feasible"]) for row in table] == [row["val/accuracy"] >= 0.91 for row in table]
    kept = [row for row in table if row["feasible"]]
    for row in table:
        better = [
            other
            for other in kept
            if other["val/accuracy"] >= row["val/accuracy"]
            and other["val/loss"] <= row["val/loss"]
            and other["trial"] != row["trial"]
        ]
        assert bool(row["front"]) == (bool(row["feasible"]) and not better)
    assert {"Pareto front", "dominated", "breaks a constraint", "bound of a constraint"} <= texts(plot)
    (bound,) = [line for line in lines(plot) if line.get_label() == "bound of a constraint"]
    assert set(bound.get_xdata()) == {91.0}  # percent


def test_a_bound_that_lies_outside_is_not_spoken_of() -> None:
    goal = dataclasses.replace(TWO.goal, constraints=(Constraint("val/accuracy", True, 0.1),))
    far = dataclasses.replace(TWO, goal=goal)
    assert "bound of a constraint" not in texts(figures.pareto(far))


@pytest.mark.parametrize("maximize", [(True, True), (True, False), (False, True), (False, False)])
def test_the_step_is_the_border_of_what_is_dominated(maximize: tuple[bool, bool]) -> None:
    """Just beyond the line nothing is dominated, just within it all is."""
    scores = [(1.0, 4.0), (2.0, 3.0), (4.0, 1.0), (1.5, 1.5)]
    signs = [1 if up else -1 for up in maximize]
    goal = Goal(tuple(Objective(name, up) for name, up in zip(("x", "y"), maximize, strict=True)))
    trials = [
        made.trial(n, 0.9, {"a.b": n}, value=signs[0] * x, scores=(signs[0] * x, signs[1] * y))
        for n, (x, y) in enumerate(scores)
    ]
    plot = figures.pareto(made.sweep(trials, goal=goal, objective="x"))
    (step,) = [line for line in lines(plot) if line.get_drawstyle().startswith("steps")]
    x, y = (np.asarray(values) * sign for values, sign in zip(step.get_data(), signs, strict=True))
    assert {*zip(x, y, strict=True)} == {(1.0, 4.0), (2.0, 3.0), (4.0, 1.0)}
    # gains between two points of the front in x are those of the point with more of x
    assert step.get_drawstyle() == ("steps-pre" if maximize[0] else "steps-post")


def test_three_objectives_are_drawn_in_pairs() -> None:
    plot = figures.pareto(made.traded(30, THREE))
    assert plot and len(plot.figure.axes) == 3
    assert {"val/accuracy", "val/loss", "weights/uip_fraction"} <= plot.table.keys()


def test_hypervolume_names_its_reference_point() -> None:
    plot = figures.covered(TWO)
    kept = [trial for trial in TWO.trials if trial.value is not None and trial.feasible]
    assert plot and plot.table["trial"] == [trial.number for trial in kept]
    volumes = plot.table["hypervolume"]
    assert list(volumes) == sorted(volumes) and volumes[-1] <= 1
    worst = min(trial.scores[0] for trial in kept), max(trial.scores[1] for trial in kept)
    assert f"val/accuracy {worst[0]:.4g}, val/loss {worst[1]:.4g}" in plot.caption
    assert figures.covered(DOWN) is None


def test_a_front_of_worst_and_best_values_alone_covers_nothing() -> None:
    """Each trial is the worst by one of the objectives: a flat line, and no complaint of a scale without length."""
    ends = [
        dataclasses.replace(one, scores=((0.9, 0.5), (0.95, 0.6))[place % 2]) for place, one in enumerate(TWO.complete)
    ]
    plot = figures.covered(dataclasses.replace(TWO, trials=tuple(ends)))
    assert plot and set(plot.table["hypervolume"]) == {0.0} and plot.figure.axes[0].get_ylim() == (0, 1.08)


def test_who_left_early() -> None:
    plot = figures.survival(DOWN)
    table = rows(plot)
    pruned = [trial for trial in DOWN.trials if trial.state == "pruned"]
    done = [trial for trial in DOWN.trials if trial.state == "complete"]
    assert [row["trials in training"] for row in table] == [len(DOWN.trials)] * 10 + [len(done)] * 20
    (rung,) = [row for row in table if row["left"]]
    left = [float(trial.history["val/loss"].values[-1]) for trial in pruned]
    stayed = [float(trial.history["val/loss"].values[9]) for trial in done]
    assert (rung["epoch"], rung["left"], rung["stayed"]) == (10, len(pruned), len(done))
    expected = [max(left), np.median(left), min(left), max(stayed), np.median(stayed), min(stayed)]  # minimised
    names = [f"{part} {group}" for group in ("left", "stayed") for part in ("worst", "median", "best")]
    assert [rung[name] for name in names] == pytest.approx(expected)
    assert figures.survival(made.paper()) is None, "nobody left"


def test_the_best_so_far_keeps_the_constraints() -> None:
    table = rows(figures.objective(TWO))
    for place, name in enumerate(("val/accuracy", "val/loss")):
        best = -math.inf
        for row in table:
            trial = TWO.by_number[row["trial"]]
            gain = TWO.goal.gains(trial.scores)[place]
            best = max(best, gain) if trial.feasible else best
            told = TWO.goal.objectives[place].sign * row[f"best {name}"]
            assert math.isnan(told) if best == -math.inf else told == best


def test_absent_knobs_have_a_place_of_their_own() -> None:
    plot = figures.parallel(TWO)
    table = rows(plot)
    assert {row["trial"] for row in table} == {
        trial.number for trial in TWO.trials if trial.state in ("complete", "pruned")
    }, "none is left out"
    without = [row["init.spike"] is None for row in table]
    assert without == [row["trainer.algorithm"] == "bp" for row in table] and any(without)
    assert plot and "absent" in texts(plot)
    labels = [tick.get_text() for tick in plot.figure.axes[0].get_yticklabels()]
    row, axes = labels.index("init.spike"), plot.figure.axes[0]
    drawn = [line for group in axes.collections for line in group.get_segments()]  # type: ignore[attr-defined]
    drawn += [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == len(labels)]  # the best
    places = [line[row][0] for line in drawn]
    assert len(places) == len(table) and sum(place < 0 for place in places) == sum(without)
    assert all(0 <= place <= 1 for place in places if place >= 0)


def test_slices_leave_out_who_does_not_have_the_knob() -> None:
    plot = figures.slices(TWO)
    assert plot and {"val/accuracy", "val/loss"} <= plot.table.keys()
    table = rows(plot)
    having = [row for row in table if row["init.spike"] is not None]
    points = [line for line in lines(plot) if len(line.get_xdata()) == len(having)]
    assert len(having) < len(table) and points


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_windows_of_opposite_goals_mirror_each_other(values: list[float]) -> None:
    up, down = Scale("m"), Scale("m", maximize=False)
    worst, best = up.window(values)
    assert down.window([-value for value in values]) == (-worst, -best)
    assert best == max(values) and min(values) <= worst <= best
    low, high = limits((worst, best))
    assert low < worst <= best < high or best == worst == 0 or high - low < 1e-9 or low < high
    assert limits((best, worst)) == (low, high)


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("val/accuracy", "val/accuracy (%)"),
        ("val/loss", "val/loss"),
        ("weights/uip_fraction", "UIP fraction (%)"),
        ("time/seconds", "time/seconds"),
    ],
)
def test_only_shares_are_percent(metric: str, label: str) -> None:
    assert (Scale(metric).label, Scale(metric).factor) == (label, 100.0 if "%" in label else 1.0)


def test_a_loss_is_no_percentage() -> None:
    for draw in (figures.accuracy, figures.objective, figures.survival):
        plot = draw(DOWN)
        assert {"val/loss"} <= texts(plot) and not [text for text in texts(plot) if "loss" in text and "%" in text]
    plot = figures.accuracy(DOWN)
    assert plot
    low, high = plot.figure.axes[0].get_ylim()
    assert low < min(trial.value or 9 for trial in DOWN.complete) < high < 2


# --- the finals ----------------------------------------------------------------------------------------------------


def test_finals() -> None:
    plot = figures.finals(FINALS)
    table = rows(plot)
    assert [row["trial"] for row in table] == [final.number for final in FINALS.finals]
    for row, final in zip(table, FINALS.finals, strict=True):
        values = [FINALS.by_number[number].value for number in final.replicates]
        assert row["mean"] == pytest.approx(np.mean(np.array(values, float)))
        assert row["search"] == FINALS.by_number[final.number].value
        assert row["seeds"] == len(values) == 4
    assert [row["winner"] for row in table] == [1, 0, 0]
    assert f"trial {FINALS.finals[0].number}" in " ".join(texts(plot)) and plot and "unbiased" in plot.caption
    assert figures.finals(TWO) is None


def test_a_final_of_one_seed_has_no_interval() -> None:
    one = made.with_finals(made.search(24, epochs=4), finalists=1, seeds=1)
    (row,) = rows(figures.finals(one))
    assert math.isnan(row["half"])
    text = tables.of_finals(one)
    assert text and "±" not in text.rows[0][3]


def test_the_winner_is_tested_by_its_new_seeds() -> None:
    best = winner(FINALS)
    assert best and best.number == FINALS.finals[0].number != FINALS.complete[0].number
    measured = of_winner(FINALS)
    tests = [FINALS.by_number[number].last("test/accuracy") for number in FINALS.finals[0].replicates]
    assert measured and measured.mean == pytest.approx(np.mean(np.array(tests, float))) and measured.count == 4
    alone = dataclasses.replace(FINALS, finals=())
    single = of_winner(alone)
    assert single and (single.count, single.mean) == (1, alone.complete[0].last("test/accuracy"))


# --- the page ------------------------------------------------------------------------------------------------------


def test_a_page_of_two_objectives_with_finals() -> None:
    result = made.with_finals(TWO)
    text = " ".join(Reader(render(result, [])).text.split())
    best = result.finals[0]
    for part in (
        "Objective: maximize val/accuracy; minimize val/loss; val/accuracy >= 0.91.",
        f"Winner of the finals: the setting of trial {best.number}, val/accuracy {best.mean:.4f} ± {best.half:.4f}",
        "12 in the finals",
        f"trial {best.number} (winner)",
        f"Setting of trial {best.number}, 4 new seeds: test accuracy",
    ):
        assert part in text, part
    assert text.count("Test accuracy of the winner") == 1


@pytest.mark.slow
@pytest.mark.parametrize("goal", [made.GOAL, LOSS, THREE], ids=["two", "minimised", "three"])
def test_all_figures_of_a_goal(goal: Goal, tmp_path: Path) -> None:
    write_report(made.with_finals(made.traded(24, goal, 12)), tmp_path)
    there = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert there >= {"accuracy", "finals", "knobs", "objective", "survival"}
    assert there & {"pareto", "hypervolume"} == ({"pareto", "hypervolume"} if goal is not LOSS else set())


def test_all_objectives_are_in_the_table() -> None:
    table = tables.best_trials(TWO)
    assert list(table.head[:5]) == ["trial", "front", "constraints", "val/accuracy", "val/loss"]
    first = TWO.complete[0]
    assert table.rows[0][:5] == [str(first.number), "yes", "kept", *(f"{score:.4f}" for score in first.scores)]
    bounded = dataclasses.replace(DOWN, goal=Goal(LOSS.objectives, (Constraint("test/loss", False, 0.1),)))
    assert list(tables.best_trials(bounded).head[:4]) == ["trial", "constraints", "val/loss", "test/loss"]


def test_what_came_out() -> None:
    assert tables.headline(TWO, []).startswith(f"Best: trial {TWO.complete[0].number}, val/accuracy ")
    assert f"{len(TWO.front)} trials on the Pareto front" in tables.headline(TWO, [])
    broken = [dataclasses.replace(trial, violations=(0.1,)) for trial in TWO.trials]
    assert "no trial keeps all constraints" in tables.headline(dataclasses.replace(TWO, trials=tuple(broken)), [])


def test_the_page_links_to_the_plots_beside_it_and_only_then(tmp_path: Path) -> None:
    result = made.sweep([made.trial(0, 0.9, {}, history={})])
    assert "search.html" not in read(write_report(result, tmp_path)).addresses()
    (tmp_path / "search.html").write_text("plots")
    assert "search.html" in read(write_report(result, tmp_path)).addresses()


def test_small_numbers_keep_their_digits() -> None:
    assert [tables.decimal(x) for x in (0.5, 0.0, 1.234e-5, None, math.nan)] == [
        "0.5000",
        "0.0000",
        "1.23e-05",
        "-",
        "-",
    ]
