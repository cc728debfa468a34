"""Several things to bring to a store, of which none shall be lost for another's sake."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat

from lca_sweep.core.errors import first_line
from lca_sweep.tracking.writer import DELAYS, Refused

NAMED = 3  # things that are missing for one reason, by name


def deliver(
    things: Mapping[str, Callable[[], None]], patience: float, delays: Sequence[float] = DELAYS
) -> dict[str, Exception]:
    """Do all of them, in order, and again those that failed until none succeeds for so many seconds.

    What is missing in the end, and why; Refused is not tried again.
    """
    left, missing = dict(things), dict[str, Exception]()
    until = time.monotonic() + patience
    for delay in chain(delays, repeat(delays[-1])):
        for name, attempt in list(left.items()):
            try:
                attempt()
            except Refused as error:
                missing[name] = error
            except Exception as error:
                missing[name] = error
                if time.monotonic() > until:  # a store that hangs: the others would hang as long
                    return {name: missing.get(name, error) for name in things if name in left or name in missing}
                continue
            else:
                missing.pop(name, None)
                until = time.monotonic() + patience
            del left[name]
        if not left or time.monotonic() + delay > until:
            return {name: missing[name] for name in things if name in missing}
        time.sleep(delay)
    raise AssertionError("the delays have no end")


def in_words(missing: Mapping[str, Exception]) -> str:
    """What is missing, a few of each reason by name: `the report, the plot and 7 more (full); the model (gone)`."""
    reasons: dict[str, list[str]] = {}
    for name, why in missing.items():
        reasons.setdefault(first_line(why), []).append(name)
    return "; ".join(f"{_listed(names)} ({reason})" for reason, names in reasons.items())


def _listed(names: Sequence[str]) -> str:
    if len(names) <= NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
