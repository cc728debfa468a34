"""Analyses of trained networks, made once and kept beside their weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lca_sweep.config import Analysis as Wanted
from lca_sweep.core.data import Splits
from lca_sweep.core.errors import UserError, first_line
from lca_sweep.core.network import ABOUT, WEIGHTS, Network
from lca_sweep.report.analysis import analyse
from lca_sweep.report.codec import analysis_from, plain
from lca_sweep.report.results import Analysis
from lca_sweep.sweep import layout
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.storage import Storage, StorageError

FORMAT = 1
FILE = "analysis.json"


def analysed(storage: Storage, number: int, data: Splits, wanted: Wanted) -> Analysis:
    """The analysis of a complete trial: the one that is kept, if it has all that is wanted, or a new one.

    Raises SweepError if its weights cannot be read, or were trained on other images.
    """
    folder = layout.trial(number)
    files = {name: storage.read(f"{folder}/{name}") for name in (WEIGHTS, ABOUT)}
    weights, about = files[WEIGHTS], files[ABOUT]
    if weights is None or about is None:
        raise SweepError(f"trial {number}: its weights are gone")
    try:
        network, known = Network.from_files({WEIGHTS: weights, ABOUT: about})
        knobs, digest = known["knobs"], known["data"]["digest"]
    except (UserError, LookupError, TypeError) as error:
        raise SweepError(f"trial {number}: its weights cannot be read: {first_line(error)}") from error
    key = hashlib.sha256(weights).hexdigest()
    if kept := _kept(storage.read(f"{folder}/{FILE}"), key, wanted):
        return kept
    if digest != data.digest:
        raise SweepError(f"trial {number}: was trained on other images than {data.name} has now")
    found = plain(analyse(network, data, {"trainer.algorithm": "gbp", **knobs}, wanted))
    record = {"format": FORMAT, "weights": key, "wanted": dataclasses.asdict(wanted), "analysis": found}
    with suppress(StorageError):  # a full disk, or one that we may only read: then it is made again the next time
        storage.write(f"{folder}/{FILE}", json.dumps(record).encode())
    return analysis_from(found)  # what a later report will have, to the bit


def _kept(content: bytes | None, weights: str, wanted: Wanted) -> Analysis | None:
    """What is kept, if it is of these weights and has all that is wanted."""
    try:
        record = json.loads(content or b"null")
        if record["format"] == FORMAT and record["weights"] == weights and _covers(record["wanted"], wanted):
            return analysis_from(record["analysis"])
    except (ValueError, LookupError, TypeError):
        pass  # not one of ours, or damaged: made anew
    return None


def _covers(had: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether an analysis that was made as `had` says is one as `wanted`, or has more."""
    perturbed = not wanted.perturbation or (had["perturbation"] and had["repeats"] == wanted.repeats)
    return bool(had["subnetworks"] == wanted.subnetworks and perturbed)
