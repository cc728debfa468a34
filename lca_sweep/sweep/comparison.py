"""Two sweeps side by side: in what they differ, and what each has found for how much training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lca_sweep.core.knobs import flat, leaves
from lca_sweep.core.objective import Goal
from lca_sweep.search.rows import Row, best_first
from lca_sweep.sweep.overview import Overview

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the smaller budget
ASIDE = ("sweep.name", "sweep.question", "sweep.dir", "sweep.resume", "sweep.space")  # say nothing of what was searched


@dataclass(frozen=True)
class Way:
    """What a search had found after so many trial-epochs."""

    budget: int
    best: float | None  # first objective of the best complete trial; None before the first
    trials: int  # that had ended


def differing(a: Overview, b: Overview) -> dict[str, tuple[Any, Any]]:
    """Knobs, and leaves of the space, in which two sweeps differ; None where one has no such leaf."""
    one, other = (_settings(sweep) for sweep in (a, b))
    return {name: (one.get(name), other.get(name)) for name in {**one, **other} if one.get(name) != other.get(name)}


def unlike(a: Overview, b: Overview) -> list[str]:
    """Why values of the two cannot be compared; nothing where they can."""
    pairs = {
        "objectives": [sweep.config.search.objectives for sweep in (a, b)],
        "constraints": [sweep.config.search.constraints for sweep in (a, b)],
        "data": [[sweep.config.data.name] for sweep in (a, b)],
    }
    return [
        f"different {what}: {' beside '.join(', '.join(words) or 'none' for words in pair)}"
        for what, pair in pairs.items()
        if pair[0] != pair[1]
    ]


def cost(rows: Sequence[Row]) -> int:
    """Trial-epochs of some trials, that are booked."""
    return sum(max(row.values, default=0) for row in rows)


def way(rows: Sequence[Row], goal: Goal, budgets: Sequence[int]) -> list[Way]:
    """What a search had found at each budget, its trials one after the other in their order.

    Packs run at the same time; but a trial is proposed in the knowledge of earlier ones alone, so this order is the
    same however many run at once.
    """
    return [_at(budget, list(_afforded(rows, budget)), goal) for budget in budgets]


def budgets(a: Overview, b: Overview) -> list[int]:
    """Shares of what the cheaper search has cost."""
    least = min(cost(a.search), cost(b.search))
    return sorted({round(share * least) for share in SHARES} - {0})


def _at(budget: int, rows: Sequence[Row], goal: Goal) -> Way:
    best = best_first(rows, goal)[:1]
    return Way(budget, best[0].value if best else None, len(rows))


def _afforded(rows: Sequence[Row], budget: int) -> Iterator[Row]:
    """Trials, by number, that had ended after so many trial-epochs."""
    spent = 0
    for row in sorted(rows, key=lambda row: row.number):
        spent += cost([row])
        if spent > budget:
            return
        if row.state not in ("running", "waiting"):
            yield row


def _settings(sweep: Overview) -> Mapping[str, Any]:
    config = sweep.config
    space = leaves(config.sweep.space, "sweep.space.")
    return {name: value for name, value in flat(config).items() if name not in ASIDE} | space
