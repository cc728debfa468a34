"""The best network of a sweep in the model registry: a version for each best that there was, an alias for the last."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lca_sweep.core.errors import first_line
from lca_sweep.tracking.note import KINDS, describe_model, describe_version, text
from lca_sweep.tracking.records import BestTrial, SweepRecord
from lca_sweep.tracking.registry import model_name
from lca_sweep.tracking.store import Store
from lca_sweep.tracking.uri import run_place
from lca_sweep.tracking.writer import Refused

ALIAS = "best"


def publish(store: Store, sweep: SweepRecord, parent: str, best: BestTrial, artifacts: Path, run: str = "") -> None:
    """Have the sweep's model, with the weights in `artifacts` as the version that the alias stands for.

    `run` is the trial's own. Repeating it changes nothing: a version is known by the sweep, the trial and the weights.
    The files of each lie in a folder of their own among the artifacts of the sweep's run. Refused where the registry
    does not take it, or where there is no network.
    """
    name = model_name(sweep.name)
    digest = _digest(artifacts)
    same = {"lca.sweep_id": sweep.uid, "lca.trial": str(best.number), "lca.weights": digest}
    ours = {algorithm: describe_model(name, sweep.name, algorithm) for algorithm in KINDS}
    store.registry.model(name, ours[best.algorithm])
    version = store.registry.version(name, same)
    if not version:
        path = f"model/{best.number:04d}-{digest[:12]}"
        _upload(store, artifacts, parent, path)
        tags = {**same, "lca.sweep": sweep.name, **_scores(best)}
        place = run_place(store.experiment_id, run) if run else ""
        version = store.registry.add(name, parent, path, tags, describe_version(sweep.name, best, place))
    store.registry.alias(name, ALIAS, version)
    store.registry.describe(name, ours[best.algorithm], instead_of=set(ours.values()))
    store.registry.tag(name, {"lca.sweep": sweep.name, "lca.trial": str(best.number), **_scores(best)})


def _upload(store: Store, artifacts: Path, run: str, path: str) -> None:
    from lca_sweep.tracking.packing import pack_model  # torch, which whoever has a network has loaded

    with tempfile.TemporaryDirectory(prefix="lca-") as scratch:
        folder = Path(scratch) / "model"
        try:
            pack_model(artifacts, folder, run, path)
        except Exception as error:  # no network, a full disk, a package that is missing: no matter of the store's
            raise Refused(first_line(error)) from error
        store.folder(run, folder, path)


def _digest(artifacts: Path) -> str:
    """SHA-256 of the weights, hex."""
    from lca_sweep.core.network import WEIGHTS  # torch, as below

    try:
        return hashlib.sha256((artifacts / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise Refused(f"{artifacts / WEIGHTS}: cannot be read ({error.strerror})") from error


def _scores(best: BestTrial) -> Mapping[str, str]:
    accuracies = {key: text(value) for key, value in best.metrics.items() if key in ("val/accuracy", "test/accuracy")}
    return {"lca.value": text(best.value), **accuracies}
