"""`list` and `status`: how sweeps stand, as a table, as plain lines, or as JSON.

JSON of `list` is a list of objects, the sweep that changed last first: `name`, `state` (running, interrupted, done,
unknown), `owner` (null, or `user`, `host`, `pid`, `since`), `trials` (a number for each of complete, pruned, failed,
running, waiting), `total` (null where it is not known), `best` (null, or `trial`, `value`, `params`), `changed`.
`status` has an object of these for each sweep, and in it also `began`, `best_trials` (like `best`, at most five),
`packs` (of those in training: `pack`, `epoch`, `epochs`, `trials`), `pruned_at` (trials that left, by epoch), `finals`
(best first: `trial`, `value` in the search, `mean`, `half`, `seeds`), `outbox` (entries that MLflow has not got) and
`trouble` (why trials cannot be read, else empty). Times are local, `2026-11-24 15:40:12`. Keys are only ever added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lca_sweep.search.rows import Row
from lca_sweep.search.space import knobs
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.known import Known
from lca_sweep.sweep.overview import Overview, epoch_of, overview, overviews, stamp
from lca_sweep.sweep.printing import print_json, print_table
from lca_sweep.sweep.words import in_words, params_line, plural

BEST = 5  # trials that are shown


def show_list(place: Path, as_json: bool) -> int:
    """All sweeps in a folder; exit status 0."""
    found = overviews(place, "list")
    console = wide_console()
    if as_json:
        print_json(console, [_brief(one) for one in found])
    elif not found:
        console.print(f"no sweeps in {place}", soft_wrap=True, markup=False)
    else:
        head = ("sweep", "state", "trials", "best", "changed")
        print_table(console, head, [_row(one) for one in found])
    return 0


def show_status(place: Path, known: Known | None, as_json: bool) -> int:
    """One sweep; of none those that are being run, else the one that changed last; exit status 0."""
    if known:
        found = [overview(known, "status")]
    else:
        there = overviews(place, "status")
        found = [one for one in there if one.owner] or there[:1]
        if not found:
            raise SweepError(f"status: no sweeps in {place}")
    console = wide_console()
    if as_json:
        print_json(console, [_whole(one) for one in found])
    else:
        for one in found:
            _print_status(console, one)
    return 0


def _brief(one: Overview) -> dict[str, Any]:
    owner = one.owner
    best = one.best[:1]
    return {
        "name": one.known.name,
        "state": one.state,
        "owner": owner and {"user": owner.user, "host": owner.host, "pid": owner.pid, "since": owner.since},
        "trials": one.counts,
        "total": one.total,
        "best": _trial(best[0]) if best else None,
        "changed": stamp(one.changed),
    }


def _whole(one: Overview) -> dict[str, Any]:
    return _brief(one) | {
        "began": stamp(one.began),
        "best_trials": [_trial(row) for row in one.best[:BEST]],
        "packs": [
            {
                "pack": pack,
                "epoch": epoch_of(rows),
                "epochs": _epochs(one, rows),
                "trials": [row.number for row in rows],
            }
            for pack, rows in one.packs.items()
        ],
        "pruned_at": one.pruned_at,
        "finals": [
            {
                "trial": each.row.number,
                "value": each.row.value,
                "mean": each.result.mean,
                "half": each.result.half if math.isfinite(each.result.half) else None,
                "seeds": each.result.count,
            }
            for each in one.finals
        ],
        "outbox": one.outbox,
        "trouble": one.trouble,
    }


def _trial(row: Row) -> dict[str, Any]:
    return {"trial": row.number, "value": row.value, "params": dict(row.params)}


def _epochs(one: Overview, rows: Sequence[Row]) -> int:
    return knobs(one.config, rows[0].params).trainer.epochs


def _row(one: Overview) -> list[str]:
    """A line of the list."""
    state = f"running, {one.owner}" if one.owner else one.state
    best = one.best[:1]
    value = f"{best[0].value:.4f}, trial {best[0].number}" if best else "-"
    return [one.known.name, state, one.trouble or _counts(one), value, stamp(one.changed)]


def _counts(one: Overview) -> str:
    told = in_words(one.counts, runs=one.owner is not None)
    return f"{one.total if one.total is not None else '?'} ({told or 'none begun'})"


def _print_status(console: Console, one: Overview) -> None:
    """Who runs it, how far it is, what is being trained, what was best."""
    for line in _headlines(one):
        console.print(Text(line), soft_wrap=True)
    packs = [
        (str(pack), f"{epoch_of(rows)}/{_epochs(one, rows)}", " ".join(str(row.number) for row in rows))
        for pack, rows in one.packs.items()
    ]
    if packs:
        print_table(console, ("pack", "epoch", "trials"), packs)
    objective = one.config.search.goal().first.metric
    best = [(str(row.number), f"{row.value:.4f}", params_line(row.params)) for row in one.best[:BEST]]
    if best:
        print_table(console, ("trial", objective, "knobs"), best)
    finals = [
        (str(each.row.number), f"{each.row.value:.4f}", f"{each.result.mean:.4f}", f"{each.result.half:.4f}")
        for each in one.finals
    ]
    if finals:
        print_table(console, ("finalist", "in the search", "new seeds", "±"), finals)


def _headlines(one: Overview) -> list[str]:
    lines = [f"{one.known.name}: {f'run by {one.owner}' if one.owner else one.state}"]
    lines.append(f"trials: {one.trouble or _counts(one)}")
    if one.pruned_at:
        lines.append("left early: " + ", ".join(f"{count} at epoch {epoch}" for epoch, count in one.pruned_at.items()))
    if one.outbox:
        lines.append(f"MLflow: {plural(one.outbox, 'line')} of the outbox to go")
    return [*lines, f"begun {stamp(one.began)}, changed {stamp(one.changed)}"]
