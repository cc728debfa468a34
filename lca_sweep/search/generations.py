"""Which trials to ask for next: the rest of what a driver had begun to ask for, or a generation.

Deterministic search asks for trials in generations of so many packs. All of a generation's are asked for at once, when
no trial of an earlier one is open; so the sampler sees the same trials in the same states, whatever ran beside what.
Generations end at multiples of their length, and with the sweep: one that is extended after its end begins a new one.
(A sweep that is stopped in the middle and then asked for more trials has other generations than one that was not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lca_sweep.search.rows import Row


@dataclass(frozen=True)
class Ask:
    """The pack of each trial to ask for, and how many trials packs will then have in all."""

    packs: list[int]
    until: int


def rest(rows: Sequence[Row], size: int, total: int) -> Ask | None:
    """What a driver that died in the middle had still to ask for, in packs of `size` and a sweep of `total` trials.

    Nothing of it has been issued, so that its packs become what they would have been.
    """
    taken = {row.number: row.pack for row in rows if row.begun and row.pack is not None}
    fresh = [row for row in rows if row.number in taken and not _issued(row)]
    short = [(taken[row.number], row.until) for row in fresh if row.until is not None and row.until > len(taken)]
    if not short:
        return None
    first, until = min(pack for pack, _ in short), max(until for _, until in short)
    begun = {number: pack for number, pack in taken.items() if pack >= first}  # an ask's packs are new ones
    if not begun.keys() <= {row.number for row in fresh}:
        return None
    last = max(begun.values())
    # where the sweep was made smaller meanwhile, rows of one ask differ in `until`: hence the largest
    return _ask(last, list(begun.values()).count(last), len(taken), min(until, total), size)


def generation(rows: Sequence[Row], size: int, packs: int, total: int) -> Ask | None:
    """The next generation, of `packs` packs; None where there are enough trials. All trials so far have ended."""
    taken = [row.pack for row in rows if row.pack is not None]
    now, length = sum(row.begun for row in rows), size * packs
    end = (now // length + 1) * length
    return _ask(1 + max(taken, default=-1), 0, now, min(end, total), size)


def _issued(row: Row) -> bool:
    return bool(row.values or row.origins) or row.state != "running"


def _ask(pack: int, has: int, now: int, end: int, size: int) -> Ask | None:
    """The trials from `now` to `end`: first into `pack`, which has some already, then into new ones."""
    wanted = [pack + (min(has, size) + place) // size for place in range(end - now)]
    return Ask(wanted, end) if wanted else None
