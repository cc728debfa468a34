"""The table of packs: all of them, or the best one and the newest, and how many there are besides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from lca_sweep.core.objective import figure
from lca_sweep.sweep.scene import PackScene, Scene
from lca_sweep.sweep.sheet import GAP, Sheet
from lca_sweep.sweep.words import plural

NARROW = 60  # columns, below which titles are short
HOST = 20  # cells of a host's name


def pack_table(scene: Scene, sheet: Sheet, room: int) -> list[Text]:
    """At most `room` lines; where not all packs fit, the others are counted."""
    there = sorted(scene.packs, key=lambda pack: pack.number)
    if room <= 0 or not there:
        return []
    if room >= len(there) + 1:
        return _table(scene, there, sheet)
    if room < 3:
        return [sheet.fit(_counted(there, "pack"))]
    shown = chosen(scene, room - 2)
    rest = [pack for pack in there if pack not in shown]
    return [*_table(scene, shown, sheet), sheet.fit(f"and {_counted(rest, 'more pack')}", "dim")]


def chosen(scene: Scene, count: int) -> list[PackScene]:
    """So many packs: the one with the best trial, and the newest; by number."""
    first = _leader(scene)
    newest = sorted((pack for pack in scene.packs if pack != first), key=lambda pack: -pack.number)
    return sorted(([first] if first else []) + newest[: count - bool(first)], key=lambda pack: pack.number)


def live(there: Sequence[PackScene]) -> int:
    """How many trials are being trained."""
    return sum(pack.live for pack in there)


def _leader(scene: Scene) -> PackScene | None:
    sign = 1 if scene.maximize else -1
    begun = [pack for pack in scene.packs if pack.epoch and not math.isnan(pack.best)]
    return max(begun, key=lambda pack: (sign * pack.best, -pack.number), default=None)


def _counted(there: Sequence[PackScene], noun: str) -> str:
    hosts = len({pack.host for pack in there if pack.host})
    where = f" on {hosts} hosts" if hosts > 1 else ""
    return f"{plural(len(there), noun)}, {plural(live(there), 'trial')}{where}"


def _table(scene: Scene, shown: Sequence[PackScene], sheet: Sheet) -> list[Text]:
    columns = _fitting(_columns(scene, shown, sheet), sheet)
    leader = _leader(scene)
    lines = [_line(columns, list(columns), sheet, "dim")]
    for place, pack in enumerate(shown):
        style = "green" if pack == leader else "" if pack.epoch else "dim"
        lines.append(_line(columns, [cells[place] for cells in columns.values()], sheet, style))
    return lines


def _columns(scene: Scene, shown: Sequence[PackScene], sheet: Sheet) -> dict[str, list[str]]:
    """Cells by title. Where all packs are in one place, that need not be said."""
    columns = {
        "pack": [str(pack.number) for pack in shown],
        "epoch": [f"{pack.epoch}/{pack.epochs}" for pack in shown],
        "trials": [f"{pack.live}/{pack.size}" for pack in shown],
        _end(scene.metric, 30 if sheet.width >= NARROW else 14, sheet): [
            figure(pack.best) if pack.epoch else "starting" for pack in shown
        ],
    }
    if len({pack.host for pack in scene.packs if pack.host}) > 1:
        columns["where"] = [_end(pack.host.split(".")[0], HOST, sheet) for pack in shown]
    return columns


def _fitting(columns: Mapping[str, list[str]], sheet: Sheet) -> dict[str, list[str]]:
    """Those that fit beside each other; the objective is worth more than the epoch, and that more than the rest."""
    pack, epoch, trials, metric, *where = columns
    kept: list[str] = []
    for title in (pack, metric, epoch, trials, *where):
        if sum(_width(one, columns[one]) + len(GAP) for one in kept) + _width(title, columns[title]) <= sheet.width:
            kept.append(title)
    return {title: cells for title, cells in columns.items() if title in kept}


def _line(columns: Mapping[str, list[str]], cells: Sequence[str], sheet: Sheet, style: str) -> Text:
    """Numbers to the right, places to the left."""
    padded = [
        cell if title == "where" else " " * (_width(title, columns[title]) - cell_len(cell)) + cell
        for title, cell in zip(columns, cells, strict=True)
    ]
    return sheet.fit(GAP.join(padded).rstrip(), style)


def _width(title: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, (title, *cells)))


def _end(text: str, width: int, sheet: Sheet) -> str:
    """The end of a long name tells more than its beginning."""
    if cell_len(text) <= width:
        return text
    mark = "…" if sheet.fancy else "..."
    while cell_len(text) > width - len(mark):
        text = text[1:]
    return mark + text
