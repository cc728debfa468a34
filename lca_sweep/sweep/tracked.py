"""Where the runs of a sweep that was begun are in MLflow."""

from __future__ import annotations

from lca_sweep.sweep.known import Known, home, now
from lca_sweep.tracking.finding import experiment_id
from lca_sweep.tracking.uri import page


def store_of(known: Known) -> str:
    """The tracking URI, whatever folder one is in: a relative SQLite file lies where the sweep was started."""
    uri, start, place = known.config.tracking.uri, "sqlite:///", home(known)
    if place and uri.startswith(start) and not uri.startswith(f"{start}/"):
        return f"{start}{place / uri.removeprefix(start)}"
    return uri


def runs_page(known: Known) -> str:
    """Address of its runs in the UI, the best first, as the end of the sweep tells it; empty where that is not known.

    Raises TrackingError in one line where the store is there and does not answer.
    """
    known = now(known)  # whatever one has said to look at it with, it was tracked as in its last start
    uri = store_of(known)
    number = "" if "***" in uri else experiment_id(uri, known.config.tracking.experiment)
    return page(uri, number, known.uid, known.config.search.goal().first) if number else ""
