"""The report of a sweep: at its end, or whenever somebody asks for one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lca_sweep.config import validate
from lca_sweep.core.errors import first_line
from lca_sweep.core.files import make_folder
from lca_sweep.report.interactive import Interactive, write_search
from lca_sweep.report.page import SEARCH, write_report, write_trial
from lca_sweep.report.results import Analysis
from lca_sweep.search.plots import pictures, script
from lca_sweep.search.rows import best_first
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.finals import standings
from lca_sweep.sweep.gather import Source, gather
from lca_sweep.sweep.known import Known, rows_of, space_of
from lca_sweep.sweep.looking import Look, Wish, one_by_one
from lca_sweep.sweep.provenance import data_of, data_tags
from lca_sweep.sweep.storage import storage_of
from lca_sweep.sweep.tracked import runs_page
from lca_sweep.sweep.words import plural
from lca_sweep.tracking.records import TrackingError

FOLDER = "report"  # in the sweep's


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path  # the HTML page
    trials: Mapping[int, Path]  # folders with what belongs to single trials

    @property
    def folder(self) -> Path:
        """Page, figures and numbers."""
        return self.page.parent


def make_report(
    source: Source, say: Callable[[str], None], enough: Callable[[], bool] = bool, look: Look = one_by_one
) -> Report:
    """Look into the best trials, as `analysis` has it, and write the report into the sweep's folder.

    What is wrong with a single trial is said, and the others go on. Between two trials `enough` may break off, with
    SweepError. Raises UserError if the report cannot be written.
    """
    analyses = _analyses(source, say, enough, look)
    result = gather(source, analyses)
    folder = source.path / FOLDER
    try:
        with wide_console().status("drawing figures"), _alone(folder):
            _write_plots(source, folder, say)
            page = write_report(result, folder)
            trials = {
                trial.number: write_trial(trial, result.data, folder / "trials" / f"{trial.number:04d}")
                for trial in result.trials
                if trial.analysis
            }
    except OSError as error:
        raise SweepError(f"{error.filename or folder}: {error.strerror or first_line(error)}") from error
    return Report(page, trials)


def _write_plots(source: Source, folder: Path, say: Callable[[str], None]) -> None:
    """The page of interactive plots; the report is written whatever goes wrong with it."""
    try:
        drawn = pictures(source.rows, source.space, source.config.search.goal())
        write_search(source.name, [Interactive(**vars(one)) for one in drawn], script() if drawn else "", folder)
    except Exception as error:  # also a bug, in Optuna's figures too
        with suppress(OSError):
            (folder / SEARCH).unlink(missing_ok=True)  # what is there is an earlier one's
        say(f"no interactive plots: {type(error).__name__}: {first_line(error)}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of several who write a report into `folder`, made if need be, at the same time, one after the other."""
    make_folder(folder)
    file = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def report(known: Known) -> int:
    """`report NAME`: of a sweep that may be over or running; exit status 0."""
    console = wide_console()

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    made = make_report(_read(known, say), say)
    say(f"{os.path.relpath(made.page)}")
    return 0


def _read(known: Known, say: Callable[[str], None]) -> Source:
    config = known.config
    validate(config)
    space, rows = space_of(known), rows_of(known, "report")
    data = data_of(config)
    storage = storage_of(config, known.path, known.uid, known.study)
    page = ""
    try:
        page = runs_page(known)
    except TrackingError as error:
        say(f"no link to the runs: {error}")
    return Source(known.name, known.uid, known.path, config, space, rows, storage, data, data_tags(data), page)


def _analyses(
    source: Source, say: Callable[[str], None], enough: Callable[[], bool], look: Look
) -> dict[int, Analysis]:
    chosen = _chosen(source)
    found: dict[int, Analysis] = {}
    console, what = wide_console(), f"looking into {plural(len(chosen), 'trial')}"
    if chosen and not console.is_terminal:
        say(what)
    wish = Wish(source.storage, source.data, source.config.analysis)
    with console.status(what) as status:
        for done, (number, analysis) in enumerate(look(wish, chosen, enough), 1):
            status.update(f"{what}, {done} done")
            if isinstance(analysis, Analysis):
                found[number] = analysis
            else:
                say(str(analysis))
    return found


def _chosen(source: Source) -> list[int]:
    """Numbers of the best complete trials, best first; if all are wanted, of all.

    Where there are finals, of their winner alone, for it is test images that they are looked into with.
    """
    goal, wanted = source.config.search.goal(), source.config.analysis.trials
    held = standings(source.rows, goal)
    if held or source.config.sweep.replicates:
        return [one.row.number for one in held[:1]][:wanted]
    return [row.number for row in best_first(source.rows, goal)][:wanted]
