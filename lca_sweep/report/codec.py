"""An analysis as plain JSON, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from lca_sweep.core.ensemble import EnsembleScore
from lca_sweep.core.perturbation import Perturbation
from lca_sweep.core.portrait import Histogram
from lca_sweep.core.sparsification import KeptCurve
from lca_sweep.report.results import Analysis


def plain(value: Any) -> Any:
    """Dataclasses and mappings as dicts, arrays and tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def analysis_from(tree: Mapping[str, Any]) -> Analysis:
    """What `plain` made of an analysis. Raises KeyError, TypeError or ValueError if it is something else."""
    ensemble, kept, perturbation = tree["ensemble"], tree["kept"], tree["perturbation"]
    return Analysis(
        ensemble=EnsembleScore(**{**ensemble, "subnetworks": tuple(ensemble["subnetworks"])}),
        histograms=tuple(
            {name: Histogram(_floats(h["edges"]), _whole(h["counts"])) for name, h in layer.items()}
            for layer in tree["histograms"]
        ),
        fields={category: _floats(field) for category, field in tree["fields"].items()},
        kept=KeptCurve(
            kept=tuple(kept["kept"]),
            mean_network=tuple(kept["mean_network"]),
            subnetworks=_floats(kept["subnetworks"]),
            without_uip=(kept["without_uip"][0], kept["without_uip"][1]),
        ),
        perturbation=perturbation and _perturbation(perturbation),
    )


def _perturbation(tree: Mapping[str, Any]) -> Perturbation:
    return Perturbation(
        tuple(tree["layers"]), tuple(tree["fractions"]), _floats(tree["accuracy"]), _whole(tree["changed"])
    )


def _floats(values: Any) -> Any:
    return np.array(values, dtype=np.float64)


def _whole(values: Any) -> Any:
    return np.array(values, dtype=np.int64)
