"""Deterministic search: which trials to ask for, and when, so that no suggestion depends on which pack was faster.

Trials are asked for in generations of so many packs. All of a generation's are asked for at once, when no trial of an
earlier one is open; so the sampler sees the same trials in the same states, whatever ran beside what. Generations end
at multiples of their length, and with the sweep: one that is extended later goes on with a new generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lca_sweep.search.study import Row


@dataclass(frozen=True)
class Ask:
    """The pack of each trial to ask for; in a generation, also how many trials packs will then have in all."""

    packs: list[int]
    until: int | None = None


def due(rows: Sequence[Row], size: int, packs: int, total: int) -> Ask | None:
    """What to ask for now, for `packs` packs of `size` trials a generation, in a sweep of `total` trials.

    None while a generation is open, and where there are enough trials. A generation that was not asked for to its end,
    because the driver died, is gone on with: none of its trials has been issued.
    """
    taken = [row for row in rows if row.pack is not None]
    begun = [row for row in taken if row.until is not None and row.until > len(taken)]
    if begun:
        begin, first, end = len(taken) - len(begun), begun[0].pack or 0, begun[0].until or 0
    elif any(row.state == "running" for row in taken):
        return None
    else:
        begin, first = len(taken), 1 + max((row.pack or 0 for row in taken), default=-1)
        end = (begin // (size * packs) + 1) * size * packs
    end = min(end, total)
    wanted = [first + (number - begin) // size for number in range(len(taken), end)]
    return Ask(wanted, end) if wanted else None
