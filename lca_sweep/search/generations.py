"""Which trials to ask for next: the rest of what a driver had begun to ask for, or a generation.

Deterministic search asks for trials in generations of so many packs. All of a generation's are asked for at once, when
no trial of an earlier one is open; so the sampler sees the same trials in the same states, whatever ran beside what.
Generations end at multiples of their length, and with the sweep: one that is extended after its end begins a new one.
(A sweep that is stopped in the middle and then asked for more trials has other generations than one that was not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lca_sweep.search.study import Row


@dataclass(frozen=True)
class Ask:
    """The pack of each trial to ask for, and how many trials packs will then have in all."""

    packs: list[int]
    until: int


def rest(rows: Sequence[Row], size: int, total: int) -> Ask | None:
    """What a driver that died in the middle had still to ask for, in packs of `size` and a sweep of `total` trials.

    Nothing of it has been issued, so that its packs become what they would have been.
    """
    taken = [row for row in rows if row.pack is not None]
    begun = [row for row in taken if row.until is not None and row.until > len(taken)]
    if not begun or any(row.values or row.state != "running" for row in begun):
        return None
    begin = taken.index(begun[0])  # all that follow are of the same ask, also where a smaller sweep cut it short
    return _ask(begun[0].pack or 0, begin, len(taken), min(begun[0].until or 0, total), size)


def generation(rows: Sequence[Row], size: int, packs: int, total: int) -> Ask | None:
    """The next generation, of `packs` packs; None where there are enough trials. All trials so far have ended."""
    taken = [row.pack for row in rows if row.pack is not None]
    begin, length = len(taken), size * packs
    end = (begin // length + 1) * length
    return _ask(1 + max(taken, default=-1), begin, begin, min(end, total), size)


def _ask(pack: int, begin: int, now: int, end: int, size: int) -> Ask | None:
    """The trials from `now` to `end`, where the packs from `pack` on begin with trial `begin`."""
    wanted = [pack + (number - begin) // size for number in range(now, end)]
    return Ask(wanted, end) if wanted else None
