"""One HTML page that tells it all and needs nothing but itself; figures and numbers lie beside it as files too."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lca_sweep import __version__
from lca_sweep.config import without_password
from lca_sweep.core.files import make_folder, write_atomically
from lca_sweep.report import tables
from lca_sweep.report.claims import claims, which
from lca_sweep.report.figures import Plot, sweep_figures, trial_figures
from lca_sweep.report.results import DataInfo, SweepResult, TrialResult
from lca_sweep.report.seeds import algorithm
from lca_sweep.report.style import inline, png, svg, table_csv

PAGE, FIGURES = "report.html", "figures"
SEARCH = "search.html"  # page of interactive plots beside it, if there is one
LARGEST_SVG = 300_000  # bytes; a larger figure goes into the page as PNG
LARGEST_CSV = 100_000  # bytes; a larger table is beside the page only


def write_report(result: SweepResult, folder: Path) -> Path:
    """Write `report.html`, and each figure as SVG, PNG and CSV in `figures`, into a folder; the path of the page.

    An earlier report there is replaced; other files stay. The same result gives the same bytes. Raises OSError.
    """
    plots = sweep_figures(result)
    looked = [trial for trial in result.complete if trial.analysis]
    looked.sort(key=lambda trial: algorithm(trial) == "bp")  # the best with categories, if there is one
    plots += [plot for trial in looked[:1] for plot in trial_figures(trial, result.data)]
    files = [_files(plot) for plot in plots]
    shown = [_shown(plot, made) for plot, made in zip(plots, files, strict=True)]
    page = render(result, shown, SEARCH if (folder / SEARCH).exists() else "")
    make_folder(folder)
    _replace(folder / FIGURES, {name: data for made in files for name, data in made.items()})
    write_atomically(folder / PAGE, page.encode(errors="replace"))
    return folder / PAGE


def write_trial(trial: TrialResult, data: DataInfo, folder: Path) -> Path:
    """Write the figures of one trial, as SVG, PNG and CSV, into a folder that has nothing else; the folder."""
    make_folder(folder.parent)
    made = [_files(plot) for plot in trial_figures(trial, data)]
    _replace(folder, {name: content for files in made for name, content in files.items()})
    return folder


def render(result: SweepResult, figures: Sequence[dict[str, Any]], search: str = "") -> str:
    """The page as HTML; whatever a user has typed is text in it. `search`: the page of interactive plots."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("lca_sweep.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    found = claims(result)
    return environment.from_string(source).render(
        sweep=result,
        headline=tables.headline(result, found),
        claims=tables.claim_rows(found),
        which=which(result) if found else "",
        seeds=max((claim.measured.count for claim in found if claim.measured), default=1),
        best=tables.best_trials(result),
        finals=tables.of_finals(result),
        test=tables.test_line(result),
        goal=[str(part) for part in (*result.goal.objectives, *result.goal.constraints)],
        search=search,
        settings=tables.by_setting(result),
        failed=tables.failed(result),
        figures=figures,
        config=tables.config_yaml(result.config),
        provenance={name: without_password(str(value)) for name, value in result.provenance.items()},
        page=without_password(result.page),
        linked=result.page.startswith(("http://", "https://")),  # and never javascript:
        version=__version__,
    )


def _files(plot: Plot) -> dict[str, bytes]:
    return {f"{plot.name}.svg": svg(plot), f"{plot.name}.png": png(plot), f"{plot.name}.csv": table_csv(plot.table)}


def _shown(plot: Plot, made: dict[str, bytes]) -> dict[str, Any]:
    """A figure as the template takes it: SVG, which is markup of our own making, and addresses that hold their data."""
    picture, numbers = made[f"{plot.name}.svg"], made[f"{plot.name}.csv"]
    small = len(picture) <= LARGEST_SVG
    return {
        "plot": plot,
        "svg": inline(plot, picture) if small else "",
        "png": "" if small else _data("image/png", made[f"{plot.name}.png"]),
        "csv": _data("text/csv;charset=utf-8", numbers) if len(numbers) <= LARGEST_CSV else "",
        "file": f"{FIGURES}/{plot.name}.csv",
    }


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    """A folder with just these files, put into place when all are written; what a killed call left is removed."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)
    make_folder(new)
    for name, content in files.items():
        (new / name).write_bytes(content)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
