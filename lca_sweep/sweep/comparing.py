"""`compare A B`: two sweeps side by side, on a screen or as JSON.

JSON is an object: `unlike` (why values cannot be compared; empty where they can), `knobs` (in which they differ: for
each [of A, of B], null where one has none), `equal_cost` (of the searches, at some budgets: `trial_epochs`, and
`best` and `trials` as [of A, of B]; empty where values cannot be compared), and `sweeps`, for A and B: `name`, `state`,
`objectives`, `trials` (a number for each state), `best` (of the search: null, or `trial`, `value`, `params`), `finals`
(null, or of the winner `trial`, `mean`, `half`, `seeds`), `trial_epochs` (of the search), `finals_trial_epochs`.
Keys are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console

from lca_sweep.core.objective import figure
from lca_sweep.search.rows import best_first
from lca_sweep.sweep.comparison import Way, budgets, cost, differing, unlike, way
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.known import Known
from lca_sweep.sweep.overview import Overview, overview
from lca_sweep.sweep.printing import print_json, print_line, print_table, value_text
from lca_sweep.sweep.words import STATES

MOST = 40  # characters of a knob's value


def compare(a: Known, b: Known, as_json: bool) -> int:
    """Two sweeps; exit status 0. UserError if one of them cannot be read."""
    one, other = overview(a, "compare"), overview(b, "compare")
    console = wide_console()
    if as_json:
        print_json(console, _whole(one, other))
    else:
        _print(console, one, other)
    return 0


def _whole(one: Overview, other: Overview) -> dict[str, Any]:
    apart = unlike(one, other)
    return {
        "unlike": apart,
        "knobs": {name: list(pair) for name, pair in differing(one, other).items()},
        "equal_cost": [] if apart else [_equal(*pair) for pair in _ways(one, other)],
        "sweeps": [_sweep(sweep) for sweep in (one, other)],
    }


def _equal(a: Way, b: Way) -> dict[str, Any]:
    return {"trial_epochs": a.budget, "best": [a.best, b.best], "trials": [a.trials, b.trials]}


def _sweep(sweep: Overview) -> dict[str, Any]:
    best, held = best_first(sweep.search, sweep.config.search.goal())[:1], sweep.finals[:1]
    return {
        "name": sweep.known.name,
        "state": sweep.state,
        "objectives": sweep.config.search.objectives,
        "trials": sweep.counts,
        "best": {"trial": best[0].number, "value": best[0].value, "params": dict(best[0].params)} if best else None,
        "finals": {
            "trial": held[0].row.number,
            "mean": held[0].result.mean,
            "half": held[0].result.half,
            "seeds": held[0].result.count,
        }
        if held
        else None,
        "trial_epochs": cost(sweep.search),
        "finals_trial_epochs": cost(sweep.rows) - cost(sweep.search),
    }


def _ways(one: Overview, other: Overview) -> list[tuple[Way, Way]]:
    goal, points = one.config.search.goal(), budgets(one, other)
    return list(zip(way(one.search, goal, points), way(other.search, goal, points), strict=True))


def _print(console: Console, one: Overview, other: Overview) -> None:
    apart, names = unlike(one, other), (one.known.name, other.known.name)
    for line in apart:
        print_line(console, f"{line}; so their values are not compared")
    print_table(console, ("", *names), list(_results(one, other, bool(apart))))
    ways = [] if apart else _ways(one, other)
    if ways:
        print_line(console, f"best {one.config.search.goal().first.metric} after equal trial-epochs of the search:")
        rows = [(str(a.budget), _told(a.best), _told(b.best)) for a, b in ways]
        print_table(console, ("trial-epochs", *names), rows)
    knobs = [(name, _knob(a), _knob(b)) for name, (a, b) in differing(one, other).items()]
    print_table(console, ("knob", *names), knobs) if knobs else print_line(console, "all knobs are the same")


def _results(one: Overview, other: Overview, apart: bool) -> Iterator[tuple[str, str, str]]:
    """A line for each thing that can be said of both."""
    pair = (one, other)
    yield _line("state", *(sweep.state for sweep in pair))
    for state in STATES:
        if any(sweep.counts[state] for sweep in pair):
            yield _line(state, *(str(sweep.counts[state]) for sweep in pair))
    yield _line("trial-epochs", *(_cost(sweep) for sweep in pair))
    if not apart:
        yield _line("best", *(_best(sweep) for sweep in pair))
        if any(sweep.finals for sweep in pair):
            yield _line("finals", *(_finals(sweep) for sweep in pair))
        yield _line("best knobs", *(f"of trial {sweep.best[0].number}" if sweep.best else "-" for sweep in pair))
        yield from _best_knobs(one, other)


def _best_knobs(one: Overview, other: Overview) -> Iterator[tuple[str, str, str]]:
    params = [sweep.best[0].params if sweep.best else {} for sweep in (one, other)]
    for name in {**params[0], **params[1]}:
        yield _line(name, *(value_text(of[name]) if name in of else "-" for of in params))


def _line(what: str, a: str, b: str) -> tuple[str, str, str]:
    return what, a, b


def _cost(sweep: Overview) -> str:
    search, again = cost(sweep.search), cost(sweep.rows) - cost(sweep.search)
    return f"{search} + {again} finals" if again else str(search)


def _best(sweep: Overview) -> str:
    best = best_first(sweep.search, sweep.config.search.goal())[:1]
    return f"{_told(best[0].value)}, trial {best[0].number}" if best else "-"


def _finals(sweep: Overview) -> str:
    """The winner, the mean of its new seeds, and half the 95 % interval of that."""
    for held in sweep.finals[:1]:
        result = held.result
        return f"{result.mean:.4f} ± {result.half:.4f} ({result.count}), trial {held.row.number}"
    return "-"


def _told(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _knob(value: Any) -> str:
    text = value_text(value)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."
