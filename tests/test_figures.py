"""Figures of a report: their numbers against numpy, what is told apart, when there is nothing to show."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import report_helpers as made
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core.perturbation import ARMS
from lca_sweep.core.short import short_names
from lca_sweep.report import figures
from lca_sweep.report.portraits import image
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.searching import is_log, searched
from lca_sweep.report.seeds import FEW, best_with, curves, floor_of, settings
from lca_sweep.report.style import BLUE, GREEN, STYLE, VERMILLION, Plot, inline, plain, png, svg, table_csv

Draw = Callable[[SweepResult], Plot | None]
PAPER, SEARCH = made.paper(), made.search(40, epochs=8)
SVG = "{http://www.w3.org/2000/svg}"


def rows(plot: Plot | None, **where: Any) -> list[dict[str, Any]]:
    """The table's rows with these values."""
    assert plot is not None
    every = [dict(zip(plot.table, row, strict=True)) for row in zip(*plot.table.values(), strict=True)]
    return [row for row in every if all(row[name] == value for name, value in where.items())]


def texts(plot: Plot | None) -> set[str]:
    """All texts of the figure as SVG."""
    assert plot is not None
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(svg(plot)).iter(f"{SVG}text")}


def lines(plot: Plot | None) -> list[Any]:
    assert plot is not None
    return [line for axes in plot.figure.axes for line in axes.get_lines()]


def gbp(result: SweepResult) -> list[TrialResult]:
    return [trial for trial in result.trials if trial.params["trainer.algorithm"] == "gbp"]


def test_accuracy_of_settings() -> None:
    plot = figures.accuracy(PAPER)
    values = np.array([trial.history["test/accuracy"].values for trial in gbp(PAPER)])
    found = rows(plot, setting="gBP")
    assert [row["epoch"] for row in found] == list(range(1, 101))
    assert [row["mean"] for row in found] == pytest.approx(values.mean(0))
    assert [row["smallest"] for row in found] == pytest.approx(values.min(0))
    assert [row["largest"] for row in found] == pytest.approx(values.max(0))
    assert {row["seeds"] for row in found} == {5}


def test_gbp_and_bp_are_told_apart_without_colour() -> None:
    plot = figures.accuracy(PAPER)
    looks = {line.get_label(): (line.get_linestyle(), line.get_marker()) for line in lines(plot)}
    assert looks == {"gBP": ("-", "o"), "BP": ("--", "s")}
    assert {"gBP", "BP", "epoch", "test accuracy (%)"} <= texts(plot)


def test_a_large_search_shows_every_trial_and_names_the_best() -> None:
    plot = figures.accuracy(SEARCH)
    assert {f"trial {trial.number}" for trial in SEARCH.complete[:3]} <= texts(plot)
    assert {row["trial"] for row in rows(plot)} == {t.number for t in SEARCH.trials if t.state != "failed"}
    first = SEARCH.complete[0]
    series = first.history["val/accuracy"]
    assert [row["val/accuracy"] for row in rows(plot, trial=first.number)] == list(series.values)


def test_the_number_of_settings_decides() -> None:
    def of(count: int) -> Plot | None:
        history = made.history(0.95, 0, 4)
        trials = [made.trial(n, 0.95, {"trainer.lr": 0.01 * (n + 1)}, history=history) for n in range(count)]
        return figures.accuracy(made.sweep(trials))

    few, many = of(FEW), of(FEW + 1)
    assert few and "setting" in few.table and many and "trial" in many.table


def test_categories() -> None:
    plot = figures.categories(PAPER)
    found = rows(plot, layer=3, category="VIP")
    values = np.array([trial.history["layer3/vip_fraction"].values for trial in gbp(PAPER)])
    assert [row["mean"] for row in found] == pytest.approx(values.mean(0))
    assert found[-1]["mean"] == pytest.approx(np.mean(made.VIP[2]))
    assert {"layer 1", "layer 2", "layer 3", "VIP", "UIP", "VAR"} <= texts(plot)
    for epoch in (1, 50, 100):
        assert sum(row["mean"] for row in rows(plot, layer=2, epoch=epoch)) == pytest.approx(1, abs=0.01)


def test_categories_that_are_not_exact_are_told() -> None:
    slack = [dataclasses.replace(t, knobs={**t.knobs, "trainer.category_tolerance": 0.02}) for t in gbp(PAPER)]
    exact, about = figures.categories(PAPER), figures.categories(made.sweep(slack))
    assert exact and about and "within" not in exact.caption and ", to within 0.02:" in about.caption


def test_entropy_and_sparsity_by_layer() -> None:
    result = made.sizes()
    plot = figures.by_layer(result)
    group = [t for t in result.trials if t.params["trainer.train_size"] == 7500]
    for quantity in ("entropy", "uip_fraction"):
        found = rows(plot, setting="train_size 7500", quantity=quantity)
        assert [row["layer"] for row in found] == [1, 2, 3, 4]
        last = np.array([[t.history[f"layer{n}/{quantity}"].values[-1] for n in (1, 2, 3, 4)] for t in group])
        assert [row["mean"] for row in found] == pytest.approx(last.mean(0))
        assert [row["sd"] for row in found] == pytest.approx(last.std(0, ddof=1))
    assert list(dict.fromkeys(plot.table["setting"] if plot else [])) == [
        "train_size 2500",
        "train_size 5000",
        "train_size 7500",
        "train_size 10000",
    ]


def test_perturbation() -> None:
    plot = figures.perturbation(PAPER)
    studies = [t.analysis.perturbation for t in gbp(PAPER) if t.analysis and t.analysis.perturbation]
    for layer, arm in ((1, "vip_deleted"), (3, "random_deleted")):
        runs = np.concatenate([100 - 100 * s.accuracy[layer - 1, ARMS.index(arm)] for s in studies], axis=1)
        found = rows(plot, layer=layer, arm=arm)
        assert [row["fraction"] for row in found] == list(studies[0].fractions)
        assert [row["error_percent"] for row in found] == pytest.approx(runs.mean(1))
        assert [row["sd"] for row in found] == pytest.approx(runs.std(1, ddof=1))
        assert {row["runs"] for row in found} == {50}
    assert {"VIP deleted", "UIP replaced", "VAR deleted", "random deleted", "layer 2"} <= texts(plot)


def test_perturbation_of_several_settings_is_a_row_each() -> None:
    trials = [
        made.trial(n, 0.95, {"model.width": w, "init.seed": s}, analysis=made.analysis(n))
        for n, (w, s) in enumerate((w, s) for w in (50, 100) for s in range(2))
    ]
    plot = figures.perturbation(made.sweep(trials))
    assert plot and len(plot.figure.axes) == 6
    assert set(plot.table["setting"]) == {"width 50", "width 100"} and set(plot.table["runs"]) == {20}


def test_kept() -> None:
    plot = figures.kept(PAPER)
    curves = [t.analysis.kept for t in gbp(PAPER) if t.analysis]
    found = rows(plot, network="sub-networks")
    means = np.array([curve.subnetworks.mean(1) for curve in curves])
    assert [row["mean"] for row in found] == pytest.approx(means.mean(0))
    assert [row["largest"] for row in found] == pytest.approx(means.max(0))
    assert {row["algorithm"] for row in rows(plot, network="network")} == {"bp"}
    assert rows(plot, network="mean network without UIP")[0]["kept"] == pytest.approx(0.87)


def test_objective_and_its_running_best() -> None:
    plot = figures.objective(SEARCH)
    done = [trial for trial in SEARCH.trials if trial.value is not None]
    values = [trial.value for trial in done if trial.value]
    assert [row["trial"] for row in rows(plot)] == [trial.number for trial in done]
    assert [row["best"] for row in rows(plot)] == pytest.approx(np.maximum.accumulate(values))
    assert {"pruned", "failed", "best so far"} <= texts(plot)


def segments(plot: Plot | None, place: int) -> list[Any]:
    """Lines of a collection, in the order in which they were drawn."""
    assert plot
    return list(plot.figure.axes[0].collections[place].get_segments())  # type: ignore[attr-defined]


def test_parallel_coordinates_span_what_is_searched() -> None:
    """Each trial that is complete or was pruned is where its knobs are in the space, also on a logarithmic scale."""
    plot = figures.parallel(SEARCH)
    assert plot and set(plot.table) == {"trial", "state", *SEARCH.trials[0].params, "val/accuracy"}
    assert plot.table["state"] == ["pruned"] * 5 + ["complete"] * 32
    assert {"lr", "width", "init.spike", "prior.spike", "val/accuracy"} <= {
        label.split("\n")[0] for label in (tick.get_text() for tick in plot.figure.axes[0].get_yticklabels())
    }
    low, high = 0.003, max(0.3, *(row["trainer.lr"] for row in rows(plot)))  # some are put in from outside
    own = [np.log(row["trainer.lr"] / low) / np.log(high / low) for row in rows(plot)]
    assert [line[0][0] for line in segments(plot, 0)] == pytest.approx(own[:5])
    assert [line[0][0] for line in segments(plot, 1)] == pytest.approx(own[5:-3])
    best = {line.get_label(): line.get_xdata()[0] for line in lines(plot) if str(line.get_label()).startswith("trial ")}
    assert best == {f"trial {t.number}": pytest.approx(x) for t, x in zip(SEARCH.complete, own[:-4:-1], strict=False)}
    spike = [row["init.spike"] / 0.5 for row in rows(plot)]
    assert [line[3][0] for line in segments(plot, 0)] == pytest.approx(spike[:5])
    assert {"0.003", "40", "160", "0.5", "1e-05"} <= texts(plot)


def test_the_better_a_trial_is_the_darker_its_line_and_pruned_ones_are_paler() -> None:
    plot = figures.parallel(SEARCH)
    assert plot
    pruned, others = (plot.figure.axes[0].collections[place].get_colors() for place in (0, 1))  # type: ignore[attr-defined]
    greys = others[:, 0].tolist()
    assert greys == sorted(greys, reverse=True) and greys[0] > greys[-1] and max(greys) < pruned[0, 0]
    assert "of 5 pruned ones" in plot.caption and "is at the axis' end" in plot.caption  # accuracy 0.1


def test_choices_have_places_of_their_own() -> None:
    """Also one that the space has and no trial took, and however many there are, their names have room."""
    space = {"sweep": {"space": {"a": {"x": {"choices": ["c", "b", "a", "none"]}}}}}
    trials = [made.trial(n, 0.9 + 0.01 * n, {"a.x": "abc"[n % 3], "a.y": float(n)}) for n in range(6)]
    plot = figures.parallel(made.sweep(trials, config=space))
    assert plot and {"a", "b", "c", "none"} <= texts(plot)
    assert [line[0][0] for line in segments(plot, 1)] == pytest.approx([2 / 3, 1 / 3, 0])  # a, b, c
    many = [made.trial(n, 0.9, {"a.x": f"a long name {n % 8}", "a.y": float(n)}) for n in range(8)]
    crowded = figures.parallel(made.sweep(many))
    assert crowded and not overlapping(crowded)


def overlapping(plot: Plot) -> list[tuple[str, str]]:
    """Texts of which one covers a part of another."""
    import itertools

    axes = plot.figure.axes[0]
    written = [text for text in [*axes.texts, *axes.get_yticklabels()] if text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in written]
    return [(one, two) for (one, a), (two, b) in itertools.combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize("result", [SEARCH, made.search(8), made.traded(30, made.GOAL)], ids=["many", "few", "traded"])
def test_labels_do_not_cover_each_other(result: SweepResult) -> None:
    plot = figures.parallel(result)
    assert plot and not overlapping(plot)


def looks(plot: Plot | None) -> dict[str, tuple[Any, Any]]:
    """Colour and marker of each trial or setting that a figure names."""
    assert plot
    named = zip(*plot.figure.axes[0].get_legend_handles_labels(), strict=True)
    known = {str(label): handle[0] if isinstance(handle, tuple) else handle for handle, label in named}
    lines = {label: line for label, line in known.items() if re.match("trial |lr ", label)}
    return {label: (line.get_color(), line.get_marker()) for label, line in lines.items()}  # type: ignore[attr-defined]


def few_of(count: int) -> SweepResult:
    """A search of so many trials, the last the best."""
    rates = [0.01 * (n + 1) for n in range(count)]
    trials = [made.trial(n, 0.9 + rate / 10, {"trainer.lr": rate, "model.width": n}) for n, rate in enumerate(rates)]
    return made.sweep(trials, importances={"trainer.lr": 1.0})


def test_a_trial_has_one_name_and_one_look_everywhere() -> None:
    """Of many the three best, as trials; of few each, by its knobs: the best is blue and round."""
    draws = (figures.accuracy, figures.by_layer, figures.parallel, figures.decisive)
    found = [looks(draw(SEARCH)) for draw in draws]
    first, second, third = (f"trial {trial.number}" for trial in SEARCH.complete[:3])
    assert found == [{first: (BLUE, "o"), second: (VERMILLION, "s"), third: (GREEN, "^")}] * 4
    wide = few_of(4)
    drawn = [looks(draw(wide)) for draw in draws]
    assert drawn[0] == drawn[1] and list(drawn[0])[-1].startswith("lr 0.04") and drawn[0]["lr 0.04, width 3"][0] == BLUE
    for some in drawn[2:]:
        assert len(some) == 3 and some.items() <= drawn[0].items()


def test_the_best_have_their_look_in_all_figures_of_points() -> None:
    traded = made.traded(30, made.GOAL)
    for plot in (figures.objective(SEARCH), figures.slices(SEARCH), figures.pareto(traded), figures.objective(traded)):
        marks = {(line.get_color(), line.get_marker()) for line in lines(plot)}
        assert {(BLUE, "o"), (VERMILLION, "s"), (GREEN, "^")} <= marks
    finals = made.with_finals(SEARCH)
    plot = figures.finals(finals)
    named = (
        dict(zip([t.get_text() for t in plot.figure.axes[0].get_yticklabels()], finals.finals, strict=True))
        if plot
        else {}
    )
    own = {
        number: colour
        for number, colour in zip([t.number for t in SEARCH.complete], (BLUE, VERMILLION, GREEN), strict=False)
    }
    means = [line for line in lines(plot) if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert [line.get_color() for line in means] == [own[final.number] for final in named.values()]


def test_the_most_important_knob_against_the_goal() -> None:
    """Every trial that ended, at its knob and its last value; what is far worse at the edge, and told of."""
    plot = figures.decisive(SEARCH)
    assert plot and plot.title == "What lr does" and plot.table["state"] == ["pruned"] * 5 + ["complete"] * 32
    for row in rows(plot):
        trial = SEARCH.by_number[row["trial"]]
        value = trial.history["val/accuracy"].values[-1] if trial.value is None else trial.value
        assert (row["trainer.lr"], row["val/accuracy"]) == (trial.params["trainer.lr"], value)
    points = {str(line.get_label()): line for line in lines(plot)}
    assert len(points["pruned"].get_xdata()) == 5 and len(points["complete"].get_xdata()) == 29
    assert list(points["pruned"].get_xdata()) == plot.table["trainer.lr"][:5]
    (axes,) = plot.figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlim()[0] < 0.003 and axes.get_xlim()[1] > 0.3
    low, high = axes.get_ylim()
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in points.values()])
    assert low < heights.min() and heights.max() < high
    edge = sum(abs(height - heights.min()) < 1e-9 for height in heights)
    assert f"{edge} far worse than the others are drawn at the edge" in plot.caption and edge >= 4
    assert figures.decisive(dataclasses.replace(SEARCH, importances={})) is None


def test_the_most_important_knob_may_be_a_choice() -> None:
    """One value that nobody took is there, too."""
    space = {"sweep": {"space": {"prior": {"kind": {"choices": ["none", "kl", "other"]}}}}}
    trials = [
        made.trial(n, 0.9 + 0.001 * n, {"prior.kind": ("none", "kl")[n % 2], "trainer.lr": 0.1 + n}) for n in range(9)
    ]
    plot = figures.decisive(made.sweep(trials, importances={"trainer.lr": 0.2, "prior.kind": 0.8}, config=space))
    assert plot and [tick.get_text() for tick in plot.figure.axes[0].get_xticklabels()] == ["none", "kl", "other"]
    assert {x for line in lines(plot) for x in line.get_xdata()} == {0, 1}


@pytest.mark.parametrize("draw", [figures.accuracy, figures.categories, figures.by_layer, figures.kept])
def test_means_over_seeds_are_told_only_where_there_are_some(draw: Draw) -> None:
    one, several = draw(made.paper(seeds=1)), draw(PAPER)
    assert one and several
    assert "seeds" not in one.caption and "band" not in one.caption and "error bars" not in one.caption
    assert ": mean over seeds; " in several.caption
    assert not one.caption.endswith("..") and one.caption.endswith(".")


def test_perturbation_of_one_seed_is_a_mean_over_repeats() -> None:
    one, several = (figures.perturbation(made.paper(seeds=seeds)) for seeds in (1, 3))
    assert one and "mean over repeats; band" in one.caption
    assert several and "mean over repeats and seeds (3); band" in several.caption


def test_importances() -> None:
    plot = figures.importances(SEARCH)
    assert plot and dict(zip(plot.table["knob"], plot.table["importance"], strict=True)) == SEARCH.importances
    assert "epoch 15" in plot.caption and "55 %" in texts(plot)


def test_dependence_on_two_knobs_of_a_grid() -> None:
    result = made.priors()
    plot = figures.dependence(result)
    for metric in ("val/accuracy", "weights/uip_fraction"):
        for spike in (0.1, 0.9):
            found = rows(plot, metric=metric, **{"prior.spike": spike})
            assert [row["prior.weight"] for row in found] == [0.0, 1e-4, 1e-3, 1e-2]
            for row in found:
                group = [
                    trial
                    for trial in result.trials
                    if (trial.params["prior.weight"], trial.params["prior.spike"]) == (row["prior.weight"], spike)
                ]
                seeds = [t.value if metric == "val/accuracy" else t.last(metric) for t in group]
                assert row["mean"] == pytest.approx(np.mean(np.array(seeds, float)))
                assert row["sd"] == pytest.approx(np.std(np.array(seeds, float), ddof=1))
    assert figures.slices(result) is None and figures.dependence(SEARCH) is None


def test_slices_show_each_complete_trial() -> None:
    plot = figures.slices(SEARCH)
    assert plot and plot.table["trial"] == [trial.number for trial in SEARCH.complete]
    assert plot.table["val/accuracy"] == [trial.value for trial in SEARCH.complete]
    assert {"trainer.lr", "prior.weight", "model.width"} <= plot.table.keys()  # the most important ones


def test_histograms_count_every_weight() -> None:
    trial = PAPER.trials[2]
    plot = figures.histograms(trial)
    assert trial.analysis
    for layer, bars in enumerate(trial.analysis.histograms, 1):
        for name, bar in bars.items():
            found = rows(plot, layer=layer, number=name)
            assert [row["weights"] for row in found] == list(bar.counts)
            assert [row["to"] for row in found[:-1]] == [row["from"] for row in found[1:]]


@given(st.sampled_from([(4, 6), (3, 4, 6), (1, 4, 6)]), st.integers(0, 99))
def test_receptive_fields_lie_where_the_pixels_are(shape: tuple[int, ...], seed: int) -> None:
    field = np.random.default_rng(seed).random(math.prod(shape))
    found = image(field, shape)
    assert found is not None and found.shape == shape[-2:]
    planes = field.size // 24
    for y, x in ((0, 0), (1, 5), (3, 2)):
        assert found[y, x] == pytest.approx(np.mean([field[p * 24 + y * 6 + x] for p in range(planes)]))


def test_no_image_no_receptive_fields() -> None:
    trial = PAPER.trials[0]
    assert figures.receptive_fields(trial, made.MNIST) is not None
    for shape in (None, (28, 27), (784,)):
        assert figures.receptive_fields(trial, dataclasses.replace(made.MNIST, shape=shape)) is None


def without_weights(result: SweepResult) -> SweepResult:
    """Ordinary back-propagation only."""
    trials = tuple(t for t in result.trials if t.params["trainer.algorithm"] == "bp")
    return dataclasses.replace(result, trials=trials)


def names(result: SweepResult) -> set[str]:
    return {plot.name for plot in figures.sweep_figures(result)}


def test_nothing_to_show() -> None:
    assert names(made.sweep([])) == set()
    failed = made.trial(0, None, {}, state="failed", reason="out of memory")
    assert names(made.sweep([failed])) == set()
    assert figures.trial_figures(failed, made.MNIST) == []


def test_one_trial_one_epoch() -> None:
    one = made.trial(0, 0.9, {}, history=made.history(0.9, 0, 1))
    assert names(made.sweep([one])) == {"accuracy", "categories", "layers"}


def test_back_propagation_has_no_categories() -> None:
    assert names(without_weights(PAPER)) == {"accuracy", "kept"}


def test_a_sweep_that_runs_is_shown() -> None:
    running = [dataclasses.replace(trial, state="running", value=None, analysis=None) for trial in PAPER.trials]
    assert names(dataclasses.replace(PAPER, trials=tuple(running))) == {"accuracy", "categories", "layers"}


def test_a_setting_is_its_complete_trials_or_else_those_that_may_become_so() -> None:
    setting: dict[str, Any] = {"trainer.lr": 0.1}
    states = ("complete", "running", "pruned", "failed")
    trials = [
        made.trial(n, 0.9, {**setting, "init.seed": n}, state=state, **({} if n == 0 else {"value": None}))
        for n, state in enumerate(states)
    ]
    found = [settings(made.sweep(some)) for some in (trials, trials[1:], trials[3:])]
    assert [[t.number for one in each for t in one.trials] for each in found] == [[0], [1, 2], []]


def test_the_setting_that_is_best_on_average_is_best() -> None:
    """Not the one with the best trial."""
    values = [(0.1, 0.90), (0.1, 0.98), (0.2, 0.95), (0.2, 0.96)]
    trials = [made.trial(n, v, {"trainer.lr": lr, "init.seed": n}) for n, (lr, v) in enumerate(values)]
    found = best_with(settings(made.sweep(trials)), lambda trial: True)
    assert found and found.knobs == {"trainer.lr": 0.2}
    assert found.mean.scores == pytest.approx((0.955 + 0.004,))
    other = best_with(settings(made.sweep(trials)), lambda trial: trial.number == 1)
    assert other and (other.knobs, [t.number for t in other.trials]) == ({"trainer.lr": 0.1}, [1])


def test_seeds_of_unlike_length_meet_where_all_are_known() -> None:
    long, short, stub = (made.series(np.arange(1.0, n + 1)) for n in (10, 8, 1))
    trials = [made.trial(n, 0.9, {}, history={"m": series}) for n, series in enumerate((long, short, stub))]
    bad = made.trial(3, 0.9, {}, history={"m": made.series([math.nan] * 10)})
    epochs, values = curves([*trials, bad], "m")
    assert list(epochs) == list(range(1, 9)) and values.shape == (2, 8)
    assert curves(trials, "other")[1].size == 0


def test_labels() -> None:
    """A knob's is the same whatever else is searched, also where no other of the section is."""
    layers = ["model.depth", "model.widths.0", "model.widths.1"]
    assert list(short_names(layers).values()) == ["depth", "widths.0", "widths.1"]
    assert short_names(["trainer.lr", "prior.spike", "init.spike"]) == {
        "trainer.lr": "lr",
        "prior.spike": "prior.spike",
        "init.spike": "init.spike",
    }
    assert short_names(["prior.spike"]) == {"prior.spike": "prior.spike"} and short_names(["a.b"]) == {"a.b": "b"}
    assert list(short_names(["prior.kind", "prior.weight"]).values()) == ["prior.kind", "weight"]
    assert [setting.label for setting in settings(PAPER)] == ["gBP", "BP"]
    assert [setting.label for setting in settings(made.sizes())][-1] == "train_size 10000"  # by size, not by letter
    assert all(setting.label.startswith("trial ") for setting in settings(SEARCH))


@given(st.text(st.characters(max_codepoint=0x2000), max_size=40), st.integers(4, 30))
def test_plain_text_fits_and_any_font_has_it(text: str, longest: int) -> None:
    shown = plain(text, longest)
    assert len(shown) <= longest and all(c.isprintable() and ord(c) < 0x400 for c in shown)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_floor_leaves_most_values_above(values: list[float]) -> None:
    assert min(values) <= floor_of(values) <= np.quantile(values, 0.25)


def test_floor_leaves_out_what_is_far_below() -> None:
    """Quartiles 0 and 2: three times 2 below 0."""
    assert [floor_of([low, 0, 1, 2, 3]) for low in (-100, -7, -5, math.nan)] == [-6, -6, -5, 0]


def test_searched_and_logarithmic() -> None:
    assert searched(PAPER) == ["trainer.algorithm"]
    assert is_log(SEARCH, "trainer.lr") and not is_log(SEARCH, "model.width") and not is_log(PAPER, "trainer.lr")
    assert not is_log(dataclasses.replace(SEARCH, config={"sweep": 3}), "trainer.lr")


each_kind = pytest.mark.parametrize(
    ("draw", "result"),
    [(draw, SEARCH) for draw in (figures.accuracy, figures.parallel)]
    + [(draw, PAPER) for draw in (figures.perturbation, figures.kept)]
    + [(lambda result: figures.receptive_fields(result.trials[0], result.data), PAPER)],
)


@each_kind
def test_drawn_twice_the_bytes_are_the_same(draw: Draw, result: SweepResult) -> None:
    once, again = draw(result), draw(result)
    assert once and again
    picture = svg(once)
    assert picture == svg(again) and png(once) == png(again) and table_csv(once.table) == table_csv(again.table)
    assert b"<text" in picture and b"<metadata" not in picture  # where a date would be


@pytest.mark.parametrize("draw", [figures.slices, figures.categories, figures.by_layer])
def test_is_a_columns_width_and_readable(draw: Draw) -> None:
    plot = draw(SEARCH)
    assert plot
    root = ElementTree.fromstring(svg(plot))
    assert root.get("width") == f"{3.4 * 72:g}pt"
    sizes = [float(part.split("px")[0].split()[-1]) for part in styles(root) if "px" in part]
    assert sizes and min(sizes) >= 7
    assert np.frombuffer(png(plot)[16:20], ">u4")[0] == 680  # 3.4 inches at 200 dots


def styles(root: ElementTree.Element) -> list[str]:
    """`font: 7px ...` of each text."""
    found = [node.get("style", "") for node in root.iter(f"{SVG}text")]
    return [part for style in found for part in style.split(";") if part.strip().startswith("font")]


def test_the_users_own_matplotlib_settings_neither_matter_nor_change() -> None:
    plot = figures.importances(SEARCH)
    assert plot
    usual = svg(plot)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        again = figures.importances(SEARCH)
        assert again and svg(again) == usual
        assert dict(matplotlib.rcParams) == before
    assert STYLE["svg.fonttype"] == "none"


def test_hostile_names_are_drawn_as_text() -> None:
    bad = ("<script>alert(1)</script>", "$\\frac", "\U0001f4a9\x00", "]]>&amp;", "--><style>")
    trials = [made.trial(n, 0.9 + n / 100, {"a.b": bad[n % 5], "<i>.$x$": n}) for n in range(8)]
    result = made.sweep(trials, objective="<b>$val$")
    for draw in (figures.parallel, figures.objective):
        plot = draw(result)
        assert plot is not None
        tree = ElementTree.fromstring(svg(plot))
        assert not [node for node in tree.iter() if node.tag.lower().endswith("script")]
        assert "<script" not in inline(plot, svg(plot))


def test_csv() -> None:
    table: Mapping[str, Any] = {
        'a "b", c': ["x\ny", "z"],
        "n": np.array([1, 2]),
        "f": np.array([0.1, math.nan]),
        "o": [None, 3],
    }
    parsed = list(csv.reader(io.StringIO(table_csv(table).decode(), newline="")))
    assert parsed == [['a "b", c', "n", "f", "o"], ["x\ny", "1", "0.1", ""], ["z", "2", "", "3"]]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_csv_keeps_every_digit(values: list[float]) -> None:
    lines = table_csv({"x": values}).decode().split("\r\n")[1:-1]
    assert [float(line) for line in lines] == values
