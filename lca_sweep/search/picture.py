"""A figure of plotly's as a page takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lca_sweep.search.rows import Row

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# those of the report
BLUE, VERMILLION, GREEN, PURPLE, GREY, PALE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8a8a8a", "#d0d0d0"


@dataclass(frozen=True)
class Picture:
    """A figure as plotly.js takes it (JSON), its title, and a line on what it shows."""

    name: str
    title: str
    caption: str
    figure: str


def script() -> str:
    """plotly.js, whole."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    """Laid out as the others; the page gives all a white ground, which its colours are made for."""
    figure.update_layout(
        title=None,
        width=None,  # as wide as the page
        height=None,
        template="none",
        colorway=[BLUE, VERMILLION, GREEN],
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 70, "r": 30, "t": 30, "b": 60},
        font={"size": 12, "color": "#1c1c1c"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
    )
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)"}
    figure.update_xaxes(**grid, automargin=True)
    figure.update_yaxes(**grid, automargin=True)
    short = json.loads(str(figure.to_json()), parse_float=lambda text: float(f"{float(text):.6g}"))
    return Picture(name, title, caption, json.dumps(short, separators=(",", ":")))


def told(some: Sequence[Row], every: Sequence[Row]) -> str:
    """How many trials a figure shows, and which where these are not all."""
    whole = f"{len(every)} trials"
    return f"{len(some)} of {whole}, evenly from the best to the worst" if len(some) < len(every) else whole
