"""How figures look, and how they become files; the only module that knows matplotlib, loaded when first used."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

WIDTH = 3.4  # inches: one column of a journal
# Okabe & Ito's palette, which people with any colour vision tell apart; its yellow is too light for lines.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # what differs in colour differs in its marker too
GREY, PALE = "#8a8a8a", "#d0d0d0"  # of trials that are none of the best, and of those that left early
CATEGORIES = {"vip": (VERMILLION, "-"), "uip": (BLUE, "--"), "var": (GREEN, ":")}
STYLE: Mapping[str, Any] = {
    "figure.facecolor": "white",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "errorbar.capsize": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,  # a dollar sign in a knob's value is a dollar sign
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lca_sweep",
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows, and the numbers behind it as columns of one length."""

    name: str  # of its files
    title: str
    caption: str
    figure: Figure
    table: Mapping[str, Sequence[Any]]

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(next(iter(self.table.values()), ()))


class Columns(dict[str, list[Any]]):
    """A table that grows by some rows at a time."""

    def __init__(self, *names: str) -> None:
        super().__init__({name: [] for name in names})

    def add(self, *columns: Any) -> None:
        """For each column a sequence, or a single value that all the rows have."""
        whole = [not isinstance(column, str) and hasattr(column, "__len__") for column in columns]
        count = max((len(column) for column, many in zip(columns, whole, strict=True) if many), default=1)
        for name, column, many in zip(self, columns, whole, strict=True):
            self[name] += list(column) if many else [column] * count


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """`draw` with matplotlib's defaults and STYLE, whatever the user's own settings; they are left as they were."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib.style

        with matplotlib.style.context(["default", dict(STYLE)]):
            drawn = draw(*args, **kwargs)
            if isinstance(drawn, Plot):  # laid out once, not again for each file
                drawn.figure.draw_without_rendering()
                drawn.figure.set_layout_engine("none")
            return drawn

    return in_style


def panels(rows: int, columns: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of one column's width, `height` inches high, with its axes row by row; `shared` as in subplots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend above all panels, of what `axes` shows; none for a single thing without a name."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def log_axis(axes: Axes, which: str, ticks: int = 4) -> None:
    """A logarithmic x or y axis with at most so many ticks, in plain digits."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(numticks=ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


def line_set(axes: Axes, lines: Iterable[Any], **how: Any) -> None:
    """Many thin lines, each (points, 2); as pixels, also in an SVG, so that its size does not grow with them."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(list(lines), rasterized=True, **how), autolim=True)
    axes.autoscale_view()


def shades(axes: Axes, low: float, high: float, label: str, extend: str = "min") -> Callable[[float], Any]:
    """Colours of values between low and high, lighter for larger, with their bar beside `axes`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(low, high if high > low else low + 1e-9, clip=True), "viridis")
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.colorbar(scale, ax=axes, label=label, aspect=30, pad=0.02, extend=extend)
    return lambda value: scale.to_rgba(np.asarray(value))


def plain(text: Any, longest: int = 24) -> str:
    """Text that any font can show, cut to a length: what is neither Latin nor Greek becomes a question mark."""
    shown = "".join(c if c.isprintable() and ord(c) < 0x400 else "?" for c in str(text))
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


@styled
def svg(plot: Plot) -> bytes:
    """The figure as SVG, the same bytes each time."""
    out = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    plot.figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue()


@styled
def png(plot: Plot) -> bytes:
    """The figure as PNG at 200 dots per inch, the same bytes each time."""
    out = io.BytesIO()
    plot.figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def inline(plot: Plot, picture: bytes) -> str:
    """The SVG as part of an HTML page: no prologue, ids of its own, nothing that touches its neighbours."""
    text = picture.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>|<metadata.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| version="[^"]*"', "", text, count=3)
    text = re.sub(r'( id="|url\(#|xlink:href="#)', rf"\g<1>{plot.name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-labelledby="{plot.name}"', 1)


def table_csv(table: Mapping[str, Sequence[Any]]) -> bytes:
    """Columns as CSV (RFC 4180): a header, floats in full, nothing where there is no number."""
    out = io.StringIO()
    csv.writer(out).writerows(chain([table.keys()], zip(*map(_cells, table.values()), strict=True)))
    return out.getvalue().encode()


def _cells(column: Sequence[Any]) -> list[Any]:
    values = (value.item() if hasattr(value, "item") else value for value in column)
    return ["" if value is None or value != value else value for value in values]
