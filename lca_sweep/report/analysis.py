"""What is found out about one trained network when it is looked into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lca_sweep.config import Analysis as Wanted
from lca_sweep.core.data import Splits
from lca_sweep.core.ensemble import score_ensemble
from lca_sweep.core.network import Network
from lca_sweep.core.perturbation import perturb
from lca_sweep.core.portrait import histograms, receptive_fields
from lca_sweep.core.sparsification import kept_curve
from lca_sweep.report.results import Analysis


def analyse(network: Network, data: Splits, knobs: Mapping[str, Any], wanted: Wanted) -> Analysis:
    """Of a trial with these flat knobs, on the test images; it follows from the weights, `init.seed` and `wanted`.

    Weights of ordinary back-propagation have one value and no categories: nothing is perturbed.
    """
    seed, tolerance = knobs["init.seed"], knobs["trainer.category_tolerance"]
    ordinary = knobs["trainer.algorithm"] == "bp"
    numbers = ("m",) if ordinary else ("pi", "m", "xi")
    perturbed = wanted.perturbation and not ordinary
    [ensemble] = score_ensemble([network], data.test, data.scale, draws=wanted.subnetworks, seeds=[seed])
    return Analysis(
        ensemble=ensemble,
        histograms=tuple({name: layer[name] for name in numbers} for layer in histograms(network)),
        fields={} if ordinary else receptive_fields(network, tolerance),
        kept=kept_curve(network, data.test, data.scale, seed=seed, tolerance=tolerance),
        perturbation=perturb(network, data.test, data.scale, seed=seed, repeats=wanted.repeats, tolerance=tolerance)
        if perturbed
        else None,
    )
