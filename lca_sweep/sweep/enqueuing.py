"""`enqueue NAME knob=value ...`: points for a sweep that was begun, be it running or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lca_sweep.core.errors import first_line
from lca_sweep.search.given import put_in
from lca_sweep.search.points import Point, of_table, of_texts
from lca_sweep.search.storage import database, shared_journal
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.known import Known, space_of
from lca_sweep.sweep.overview import Overview, overview
from lca_sweep.sweep.words import command, plural, trials


def enqueue(known: Known, texts: Mapping[str, str], file: str | None) -> int:
    """Put in the point that was typed, or those of a CSV file; exit status 0.

    Raises KnobError where this sweep cannot train one of them, SweepError where its study cannot be written.
    """
    space, what = space_of(known), f"enqueue {known.name}"
    points = of_table(file, space, f"{what}: --csv") if file else [of_texts(texts, space, what)]
    stands = overview(known, "enqueue")  # also: that it can be read
    numbers = _put_in(known, points, what)
    console = wide_console()
    for line in _told(stands, numbers):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def _put_in(known: Known, points: Sequence[Point], what: str) -> list[int | None]:
    url = known.config.search.storage
    try:
        storage = database(url) if url else shared_journal(known.path)
        return put_in(storage, known.study, [(point.params, point.source) for point in points])
    except KeyError as error:
        raise SweepError(f"{what}: has no study yet; try again when its first trial runs") from error
    except OSError as error:
        raise SweepError(f"{what}: {error.filename or known.path}: {error.strerror or first_line(error)}") from error


def _told(stands: Overview, numbers: Sequence[int | None]) -> list[str]:
    """What was done, and when the points will be trained."""
    new = [number for number in numbers if number is not None]
    lines = [f"{plural(len(numbers) - len(new), 'point')}: there before"] if len(new) < len(numbers) else []
    if not new:
        return lines
    waiting, left = stands.counts["waiting"] + len(new), (stands.total or 0) - stands.asked
    lines.append(f"{trials(new)}: put in, to be trained next")
    if not stands.owner:
        lines.append("nobody runs it: the command that began it does that")
    if stands.total is not None and waiting > left:
        more = stands.asked + waiting
        how = f"{command('set', stands.known.path)} trials={more}" if stands.owner else f"sweep.trials={more} with it"
        lines.append(f"it has but {plural(max(left, 0), 'trial')} to go; for all that wait: {how}")
    return lines
