"""Figures that compare trials by one objective: history, importances, parallel coordinates, slices, contour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lca_sweep.search.picture import BLUE, VERMILLION, Picture, picture, told
from lca_sweep.search.shown import OneObjective, evenly, keeps, scores, study_of

if TYPE_CHECKING:
    from optuna.importance import BaseImportanceEvaluator
    from plotly.graph_objects import Figure

FEW_FOR_SHARES, FEW_FOR_TREES = 8, 20  # trials from which importances are told, by PED-ANOVA and by fANOVA
POINTS = 100  # of a contour, at most


def compared(one: OneObjective) -> list[Picture]:
    """All that have something to show."""
    return [found for draw in (_history, _importances, _parallel, _slices, _contour) if (found := draw(one))]


def _of_one(one: OneObjective, name: str, title: str, caption: str, figure: Figure) -> Picture:
    """A figure of one objective, which its title names where there are several."""
    if len(one.shown.goal.objectives) > 1:
        name, title = f"{name}-{one.place + 1}", f"{title}: {one.metric}"
    return picture(name, title, caption, figure)


def _metric(one: OneObjective) -> str:
    """The objective, and when it is told."""
    return f"{one.metric} after epoch {one.epoch}" if one.epoch else one.metric


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
        caption += f", and what explains its variance (fANOVA, of {told(one.some, one.compared)})"
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
    caption = f"{_metric(one)}: a line for each of {told(one.some, one.compared)}; drag along an axis to choose."
    caption += " None: a trial that does not have the knob." if len(one.shared) < len(one.knobs) else ""
    return _of_one(one, "parallel", "Parallel coordinates", caption, figure)


def _slices(one: OneObjective) -> Picture | None:
    from optuna.visualization import plot_slice

    if not one.knobs:
        return None
    figure = plot_slice(one.whole_study, one.knobs, target_name=one.metric)
    caption = f"{_metric(one)} of {len(one.compared)} trials against each knob that they have; darker: later ones."
    caption += "" if all(keeps(row) for row in one.compared) else " Grey: trials that break a constraint."
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
    caption = f"{_metric(one)} over {where}, interpolated between {told(some, one.compared)} (points)."
    return _of_one(one, "contour", "Contour", caption, figure)
