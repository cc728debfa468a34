"""All figures of a report, in the order in which it shows them."""

from __future__ import annotations

from lca_sweep.report.damage import kept, perturbation
from lca_sweep.report.deciding import decisive, importances
from lca_sweep.report.finals import finals
from lca_sweep.report.learning import accuracy, by_layer, categories
from lca_sweep.report.parallel import parallel
from lca_sweep.report.pareto import pareto
from lca_sweep.report.portraits import histograms, receptive_fields
from lca_sweep.report.progress import covered, objective
from lca_sweep.report.results import DataInfo, SweepResult, TrialResult
from lca_sweep.report.searching import dependence, slices
from lca_sweep.report.style import Plot
from lca_sweep.report.survival import survival

__all__ = [
    "Plot",
    "accuracy",
    "by_layer",
    "categories",
    "covered",
    "decisive",
    "dependence",
    "finals",
    "histograms",
    "importances",
    "kept",
    "objective",
    "parallel",
    "pareto",
    "perturbation",
    "receptive_fields",
    "slices",
    "survival",
    "sweep_figures",
    "trial_figures",
]

OF_SWEEP = (
    finals,
    pareto,
    accuracy,
    categories,
    by_layer,
    perturbation,
    kept,
    dependence,
    slices,
    importances,
    decisive,
    parallel,
    objective,
    covered,
    survival,
)


def sweep_figures(result: SweepResult) -> list[Plot]:
    """Those that have something to show."""
    return [plot for draw in OF_SWEEP if (plot := draw(result))]


def trial_figures(trial: TrialResult, data: DataInfo) -> list[Plot]:
    """Those of one trial; none where it was not looked into."""
    return [plot for plot in (histograms(trial), receptive_fields(trial, data)) if plot]
