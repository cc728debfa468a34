"""One HTML page of interactive plots, with plotly.js in it, so that it needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lca_sweep import __version__
from lca_sweep.core.files import make_folder, write_atomically
from lca_sweep.report.page import PAGE, SEARCH


@dataclass(frozen=True)
class Interactive:
    """A figure as plotly.js takes it (JSON), its title, and a line on what it shows."""

    name: str
    title: str
    caption: str
    figure: str


def write_search(name: str, plots: Sequence[Interactive], script: str, folder: Path) -> Path | None:
    """Write `search.html` of the sweep `name` into a folder, with plotly.js (`script`); None where there is no plot.

    An earlier one there is replaced, or removed. Raises OSError.
    """
    page = folder / SEARCH
    if not plots:
        page.unlink(missing_ok=True)
        return None
    make_folder(folder)
    write_atomically(page, render(name, plots, script).encode(errors="replace"))
    return page


def render(name: str, plots: Sequence[Interactive], script: str) -> str:
    """The page as HTML; whatever a user has typed is text in it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("lca_sweep.report").joinpath("search.html.j2").read_text(encoding="utf-8")
    figures = [(plot, embedded(plot.figure)) for plot in plots]
    return environment.from_string(source).render(
        name=name, figures=figures, script=script, report=PAGE, version=__version__
    )


def embedded(json: str) -> str:
    """JSON that no HTML can begin or end in."""
    return json.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
