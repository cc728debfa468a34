"""Interactive figures of a search, drawn by Optuna's own visualisation, and one of ours: who was still in training.

Where there are more trials or epochs than a page can hold, some are taken, evenly from the best to the worst, and the
line below the figure says so. plotly is loaded when first used.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning

from lca_sweep.core.objective import Goal
from lca_sweep.search.shown import EPOCHS, OneObjective, Shown, evenly, keeps, scores, study_of
from lca_sweep.search.space import Space
from lca_sweep.search.study import Row, group_by_pack

if TYPE_CHECKING:
    from optuna.importance import BaseImportanceEvaluator
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

FEWEST = 4  # trials, complete or pruned, from which there is anything to look at
FEW_FOR_SHARES, FEW_FOR_TREES = 8, 20  # trials from which importances are told, by PED-ANOVA and by fANOVA
CURVES, POINTS, OBJECTIVES = 100, 100, 3  # that are drawn at most: trials by epoch, and in a contour; objectives
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#9a9a9a"  # those of the report
LOOKS = {"complete": (BLUE, 1.0), "pruned": (GREY, 1.0), "running": (GREEN, 1.0)}  # colour and width of a curve


@dataclass(frozen=True)
class Picture:
    """A figure as plotly.js takes it (JSON), its title, and a line on what it shows."""

    name: str
    title: str
    caption: str
    figure: str


def script() -> str:
    """plotly.js, whole."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return str(get_plotlyjs())


def pictures(rows: Sequence[Row], space: Space, goal: Goal) -> list[Picture]:
    """All figures that have something to show; none where hardly a trial has ended."""
    shown = Shown.of(rows, space, goal)
    if len(shown.ended) < FEWEST:
        return []
    with _quiet():
        found = [_front(shown), _hypervolume(shown)]
        for place in range(min(OBJECTIVES, len(goal.objectives))):
            one = OneObjective(shown, place)
            found += [draw(one) for draw in (_history, _importances, _parallel, _slices, _contour)]
        found += [_curves(shown), _survival(shown)]
    return [picture for picture in found if picture]


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's remarks on what it leaves out, and on functions that it may change, are not for the user."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    """Laid out as the others, on no ground of its own, so that it suits a light page and a dark one."""
    figure.update_layout(
        title=None,
        width=None,  # as wide as the page
        height=None,
        template="none",
        colorway=[BLUE, VERMILLION, GREEN],
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 70, "r": 30, "t": 30, "b": 60},
        font={"size": 12},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
    )
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)"}
    figure.update_xaxes(**grid, automargin=True)
    figure.update_yaxes(**grid, automargin=True)
    short = json.loads(str(figure.to_json()), parse_float=lambda text: float(f"{float(text):.6g}"))
    return Picture(name, title, caption, json.dumps(short, separators=(",", ":")))


def _of_one(one: OneObjective, name: str, title: str, caption: str, figure: Figure) -> Picture:
    """A figure of one objective, which its title names where there are several."""
    if len(one.shown.goal.objectives) > 1:
        name, title = f"{name}-{one.place + 1}", f"{title}: {one.metric}"
    return _picture(name, title, caption, figure)


def _count(some: Sequence[Row], every: Sequence[Row]) -> str:
    whole = f"{len(every)} trials"
    return f"{len(some)} of {whole}, evenly from the best to the worst" if len(some) < len(every) else whole


def _metric(one: OneObjective) -> str:
    """The objective, and when it is told."""
    return f"{one.metric} after epoch {one.epoch}" if one.epoch else one.metric


# --- of one objective ------------------------------------------------------------------------------------------------


def _history(one: OneObjective) -> Picture | None:
    """Of complete trials, at their end."""
    from optuna.visualization import plot_optimization_history

    shown, place = one.shown, one.place
    if not shown.done:
        return None
    study = study_of(shown.done, shown.space, [one.objective.maximize], lambda row: scores(row)[place : place + 1])
    figure = plot_optimization_history(study, target_name=one.metric)
    figure.update_traces(line_shape="hv", selector={"mode": "lines"})
    caption = f"{one.metric} of {len(shown.done)} complete trials by number, and the best so far."
    if not all(keeps(row) for row in shown.done):
        caption += " Grey: trials that break a constraint, which do not count as the best."
    return _of_one(one, "history", "Optimisation history", caption, figure)


def _importances(one: OneObjective) -> Picture | None:
    """By two measures; of few trials only by the one that bears it."""
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.visualization import plot_param_importances

    names = one.shared
    if len(names) < 2 or len(one.compared) < FEW_FOR_SHARES or one.flat:
        return None
    figure = plot_param_importances(one.whole_study, _best_third(), names, target_name=one.metric)
    figure.update_traces(name="PED-ANOVA", marker_color=BLUE)
    caption = f"What decides whether a trial is in the best third by {_metric(one)} (PED-ANOVA)"
    if len(one.compared) >= FEW_FOR_TREES:
        trees = FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=0)
        other = plot_param_importances(one.small_study, trees, names, target_name=one.metric)
        figure.add_traces(other.update_traces(name="fANOVA", marker_color=VERMILLION).data)
        caption += f", and what explains its variance (fANOVA, of {_count(one.some, one.compared)})"
    figure.update_layout(barmode="group", showlegend=True)
    left = [name for name in one.knobs if name not in names]
    caption += f". Left out, for not every trial has them: {', '.join(left)}." if left else "."
    return _of_one(one, "importances", "Importance of the knobs", caption, figure)


def _best_third() -> BaseImportanceEvaluator:
    """PED-ANOVA as the report has it."""
    from optuna.importance import PedAnovaImportanceEvaluator

    return PedAnovaImportanceEvaluator(target_quantile=1 / 3)


def _parallel(one: OneObjective) -> Picture | None:
    from optuna.visualization import plot_parallel_coordinate

    if len(one.knobs) < 2 or one.flat:
        return None
    figure = plot_parallel_coordinate(one.small_study, one.knobs, target_name=one.metric)
    caption = f"{_metric(one)}: a line for each of {_count(one.some, one.compared)}; drag along an axis to choose."
    caption += " None: a trial that does not have the knob." if len(one.shared) < len(one.knobs) else ""
    return _of_one(one, "parallel", "Parallel coordinates", caption, figure)


def _slices(one: OneObjective) -> Picture | None:
    from optuna.visualization import plot_slice

    if not one.knobs:
        return None
    figure = plot_slice(one.whole_study, one.knobs, target_name=one.metric)
    caption = f"{_metric(one)} of {len(one.compared)} trials against each knob that they have; darker: later ones."
    return _of_one(one, "slices", "Slices", caption, figure)


def _contour(one: OneObjective) -> Picture | None:
    """Of the two most important knobs that all trials have."""
    from optuna.importance import get_param_importances
    from optuna.visualization import plot_contour

    if len(one.shared) < 2 or len(one.compared) < FEW_FOR_SHARES or one.flat:
        return None
    shares = get_param_importances(one.whole_study, evaluator=_best_third(), params=one.shared)
    pair, some = sorted(shares, key=lambda name: (-shares[name], name))[:2], evenly(one.some, POINTS)
    if any(len({str(row.params[name]) for row in some}) < 2 for name in pair):
        return None
    figure = plot_contour(one.study(some), pair, target_name=one.metric)
    where = "the two most important knobs" if len(one.shared) > 2 else "two knobs"
    caption = f"{_metric(one)} over {where}, interpolated between {_count(some, one.compared)} (points)."
    return _of_one(one, "contour", "Contour", caption, figure)


# --- of several objectives -------------------------------------------------------------------------------------------


def _front(shown: Shown) -> Picture | None:
    from optuna.visualization import plot_pareto_front

    goal = shown.goal
    if len(goal.objectives) not in (2, 3) or not shown.done:
        return None
    study = study_of(shown.done, shown.space, [one.maximize for one in goal.objectives], scores)
    figure = plot_pareto_front(study, target_names=[one.metric for one in goal.objectives])
    caption = f"{len(shown.done)} complete trials by their objectives ({_said(goal.objectives)}); red: the front"
    caption += f"; grey: those that break a constraint ({_said(goal.constraints)})." if goal.constraints else "."
    return _picture("front", "Pareto front", caption, figure)


def _said(parts: Sequence[object]) -> str:
    return ", ".join(map(str, parts))


def _hypervolume(shown: Shown) -> Picture | None:
    """Of objectives scaled so that the worst value is 0 and the best 1, as the report has it."""
    from optuna.visualization import plot_hypervolume_history

    kept = [row for row in shown.done if keeps(row)]
    if len(shown.goal.objectives) < 2 or len(kept) < 3:
        return None
    gains = {row.number: shown.goal.gains(scores(row)) for row in kept}
    ends = [(min(column), max(column)) for column in zip(*gains.values(), strict=True)]

    def scaled(row: Row) -> list[float]:
        pairs = zip(gains[row.number], ends, strict=True)
        return [(gain - low) / (high - low) if high > low else 1.0 for gain, (low, high) in pairs]

    study = study_of(kept, shown.space, [True] * len(ends), scaled)
    figure = plot_hypervolume_history(study, [0.0] * len(ends)).update_traces(line_shape="hv")
    caption = (
        "Share of the box from the worst to the best value of each objective, of the "
        f"{len(kept)} complete trials that count, that the front so far dominates."
    )
    return _picture("hypervolume", "Growth of the Pareto front", caption, figure)


# --- of all epochs ---------------------------------------------------------------------------------------------------


def _curves(shown: Shown) -> Picture | None:
    """The first objective by epoch, in the colour of each trial's state."""
    from optuna.visualization import plot_intermediate_values

    first = shown.goal.first
    rows = [row for row in shown.rows if row.values and row.state in LOOKS]
    some = evenly(sorted(rows, key=lambda row: (-_last_gain(row, first.sign), row.number)), CURVES)
    longest = max((len(row.values) for row in some), default=0)
    if longest < 2:
        return None
    study = study_of(some, shown.space, [first.maximize], lambda row: scores(row)[:1], curves=True)
    figure, best = plot_intermediate_values(study), {row.number for row in shown.done[:3]}
    for trace, row in zip(figure.data, sorted(some, key=lambda row: row.number), strict=True):
        colour, width = (VERMILLION, 2.5) if row.number in best else LOOKS[row.state]
        trace.update(mode="lines" if len(row.values) > 1 else "markers", name=f"trial {row.number}, {row.state}")
        trace.update(line={"color": colour, "width": width}, marker={"color": colour})
    figure.update_layout(xaxis_title="epoch", yaxis_title=first.metric)
    caption = f"{first.metric} by epoch of {_count(some, rows)}"
    caption += f", at {EPOCHS} epochs of each." if longest > EPOCHS else "."
    caption += " Red: the three best; blue: complete; grey: pruned; green: still in training."
    return _picture("curves", "Intermediate values", caption, figure)


def _last_gain(row: Row, sign: int) -> float:
    last = row.values[max(row.values)]
    return sign * last if math.isfinite(last) else -math.inf


def _survival(shown: Shown) -> Picture | None:
    """The share of trials in training by epoch: of all, and of each pack."""
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    ended = shown.ended
    if not any(row.state == "pruned" for row in ended):
        return None
    packs, figure = group_by_pack(ended), go.Figure()
    for pack, rows in packs.items():
        figure.add_trace(go.Scatter(**_stairs(rows, f"pack {pack}", GREY, 0.8)))
    figure.add_trace(go.Scatter(**_stairs(ended, "all trials", VERMILLION, 2.5)))
    figure.update_layout(xaxis_title="epochs", yaxis_title="still in training (%)", showlegend=False)
    caption = f"Share of {len(ended)} trials, complete or pruned, that were trained for more than so many epochs: "
    caption += f"red, of all; grey, of each of {len(packs)} packs."
    return _picture("survival", "Who is still in training", caption, figure)


def _stairs(rows: Sequence[Row], name: str, colour: str, width: float) -> dict[str, Any]:
    """One line of the survival figure."""
    epochs, counts = survivors([max(row.values) for row in rows])
    return {
        "x": epochs,
        "y": [100 * count / len(rows) for count in counts],
        "text": [f"{count} of {len(rows)}" for count in counts],
        "name": name,
        "mode": "lines",
        "line": {"shape": "hv", "color": colour, "width": width},
        "hoverinfo": "name+x+text",
    }


def survivors(lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """After how many epochs somebody left (0 first, the end last), and how many were then still in training.

    `lengths`: how many epochs each was trained; those trained to the end are in training there.
    """
    end = max(lengths)
    epochs = [0, *sorted(set(lengths))]
    return epochs, [sum(length > epoch or length == end for length in lengths) for epoch in epochs]
