"""The spike-and-slab trainer as a library of its own, on torch and numpy: no framework.

    from lca_sweep.core import Pack, Trial, TrialKnobs, fit, load

    data = load("mnist")
    pack = Pack.start([Trial(0, TrialKnobs())], data.inputs, data.classes)
    for report in fit(pack, data):
        print(report.epoch, report.trials[0].metrics["val/accuracy"])

Names are imported when first used, so that reading the knobs does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lca_sweep.core.data import DataError, Images, Splits, load
    from lca_sweep.core.ensemble import EnsembleScore, predict, score_ensemble
    from lca_sweep.core.halving import Halving, Hyperband
    from lca_sweep.core.knobs import Init, KnobError, Model, Prior, Trainer, TrialKnobs
    from lca_sweep.core.network import Network
    from lca_sweep.core.objective import Constraint, Goal, Objective
    from lca_sweep.core.pack import Pack, Trial
    from lca_sweep.core.perturbation import Perturbation, perturb
    from lca_sweep.core.portrait import Histogram, histograms, receptive_fields
    from lca_sweep.core.sparsification import KeptCurve, kept_curve
    from lca_sweep.core.spikeslab import SpikeSlab
    from lca_sweep.core.train import EpochReport, TrialReport, fit, score

_HOME = {
    "data": ("DataError", "Images", "Splits", "load"),
    "ensemble": ("EnsembleScore", "predict", "score_ensemble"),
    "halving": ("Halving", "Hyperband"),
    "knobs": ("Init", "KnobError", "Model", "Prior", "Trainer", "TrialKnobs"),
    "network": ("Network",),
    "objective": ("Constraint", "Goal", "Objective"),
    "pack": ("Pack", "Trial"),
    "perturbation": ("Perturbation", "perturb"),
    "portrait": ("Histogram", "histograms", "receptive_fields"),
    "sparsification": ("KeptCurve", "kept_curve"),
    "spikeslab": ("SpikeSlab",),
    "train": ("EpochReport", "TrialReport", "fit", "score"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Constraint",
    "DataError",
    "EnsembleScore",
    "EpochReport",
    "Goal",
    "Halving",
    "Histogram",
    "Hyperband",
    "Images",
    "Init",
    "KeptCurve",
    "KnobError",
    "Model",
    "Network",
    "Objective",
    "Pack",
    "Perturbation",
    "Prior",
    "SpikeSlab",
    "Splits",
    "Trainer",
    "Trial",
    "TrialKnobs",
    "TrialReport",
    "fit",
    "histograms",
    "kept_curve",
    "load",
    "perturb",
    "predict",
    "receptive_fields",
    "score",
    "score_ensemble",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'lca_sweep.core' has no attribute '{name}'")
    return getattr(importlib.import_module(f"lca_sweep.core.{_MODULE[name]}"), name)
