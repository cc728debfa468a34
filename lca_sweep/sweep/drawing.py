"""A scene as lines of a terminal: never wider, never more of them than there is room, whatever happens in the sweep."""

from __future__ import annotations

import math
from dataclasses import replace

from rich.cells import cell_len
from rich.text import Text

from lca_sweep.core.objective import figure
from lca_sweep.sweep.pack_table import live, pack_table
from lca_sweep.sweep.printing import spark
from lca_sweep.sweep.scene import Scene
from lca_sweep.sweep.sheet import GAP, Sheet
from lca_sweep.sweep.words import clock, duration, in_words, plural

TABLE = 9  # lines that the table of packs has before anything that can be left out
KNOBS = 3  # lines of them
BAR, SPARK = 60, 40  # cells, at the most
CONTRAST = 1000.0  # how much more a step near the best counts in the spark-line than one far from it


def frame(scene: Scene, sheet: Sheet) -> list[Text]:
    """The lines, top to bottom, for a sheet of at least 20 cells and 5 lines."""
    scene = _clean(scene, sheet)
    trouble = [sheet.fit(scene.trouble, "yellow")] if scene.trouble else []
    room = sheet.height - 3 - len(trouble)
    wanted = len(scene.packs) + 1 if scene.packs else 0
    spare = room - min(wanted, TABLE, room)
    kept: list[list[Text]] = []
    for extra in (_bar, _knobs, _ends_below, _rate_below, _warned):
        lines = extra(scene, sheet)
        kept.append(lines if len(lines) <= spare else [])
        spare -= len(kept[-1])
    bar, knobs, ends, rate, warned = kept
    table = pack_table(scene, sheet, room - sum(map(len, kept)))
    head, time, best = _headline(scene, sheet), _timeline(scene, sheet), _bestline(scene, sheet)
    return [head, *ends, *bar, time, *rate, *table, best, *knobs, *warned, *trouble]


def over_time(scene: Scene, width: int, encoding: str = "utf-8") -> str:
    """The best by time, from the first one to now, as `width` bars; higher where more is better, else lower.

    The first epochs gain more than all others, so a bar goes by the logarithm of what is missing to the present best.
    """
    sign = 1.0 if scene.maximize else -1.0
    gains = [sign * value for value in _history(scene, width)]
    there = [gain for gain in gains if math.isfinite(gain)]
    high, span = max(there, default=0.0), (max(there, default=0.0) - min(there, default=0.0)) or 1.0
    heights = [-sign * math.log1p(CONTRAST * ((high - gain) / span)) for gain in gains]
    return spark(heights, width, encoding)


def pace(rate: float) -> str:
    """Trial-epochs a second: `0.021`, `4.2`, `130`."""
    return f"{rate:.0f}" if rate >= 9.95 else f"{rate:.2g}"


def _history(scene: Scene, width: int) -> list[float]:
    """The best at `width` times, the last of which is now; nan where it is not finite."""
    values, place, last = [], 0, math.nan
    first = scene.history[0][0] if scene.history else 0.0
    for column in range(1, width + 1):
        until = first + (scene.elapsed - first) * (column - 1) / width if column < width else math.inf
        while place < len(scene.history) and scene.history[place][0] <= until:
            value = scene.history[place][1]
            last, place = value if math.isfinite(value) else math.nan, place + 1
        values.append(last)
    return values


def _clean(scene: Scene, sheet: Sheet) -> Scene:
    """With nothing in names and messages that a terminal would obey."""
    best, clean = scene.best, sheet.clean
    return replace(
        scene,
        name=clean(scene.name),
        metric=clean(scene.metric),
        trouble=clean(scene.trouble),
        warned=clean(scene.warned),
        best=replace(best, knobs=[clean(knob) for knob in best.knobs]) if best else None,
        packs=[replace(pack, host=clean(pack.host)) for pack in scene.packs],
    )


def _headline(scene: Scene, sheet: Sheet) -> Text:
    """Which sweep, how many of its trials have ended, and how, if there is room."""
    title, ends = _title(scene, sheet), _ends(scene)
    rest = f" ({ends})" if ends and _fits(f"{title} ({ends})", sheet) else ""
    return Text.assemble((title, "bold"), rest)


def _title(scene: Scene, sheet: Sheet) -> str:
    done = f"{sum(scene.counts.values())} of {plural(scene.total, 'trial')}"
    name = sheet.cut(scene.name, sheet.width - cell_len(done) - 2)
    return f"{name}: {done}" if name else sheet.cut(done, sheet.width)


def _ends_below(scene: Scene, sheet: Sheet) -> list[Text]:
    """How trials have ended, where the headline has no room for it."""
    ends = _ends(scene)
    below = ends and not _fits(f"{_title(scene, sheet)} ({ends})", sheet)
    return [sheet.fit(f"  {ends}")] if below else []


def _ends(scene: Scene) -> str:
    done, finals = scene.finals
    states = in_words({**scene.counts, "running": live(scene.packs)})
    return ", ".join(filter(None, [states, f"finals: {done} of {finals}" if finals else ""]))


def _bar(scene: Scene, sheet: Sheet) -> list[Text]:
    """How much of the work is done, with what early stopping leaves out."""
    width, share = min(sheet.width, BAR) - 6, min(max(scene.share, 0.0), 1.0)
    done, rest = ("━", "─") if sheet.fancy else ("#", "-")
    full = math.floor(share * width)
    percent = f" {math.floor(100 * share):3d} %"
    return [Text.assemble((done * full, "green"), (rest * (width - full), "dim"), percent)]


def _timeline(scene: Scene, sheet: Sheet) -> Text:
    return sheet.fit(sheet.join([*_times(scene), _rate(scene)]))


def _rate_below(scene: Scene, sheet: Sheet) -> list[Text]:
    """The speed, where it has no room beside the times."""
    rate = _rate(scene)
    return [sheet.fit(f"  {rate}")] if rate and rate not in _timeline(scene, sheet).plain else []


def _times(scene: Scene) -> list[str]:
    left = scene.left if scene.share < 1 else None
    return [clock(scene.elapsed).strip(), "" if left is None else f"about {duration(left)} left"]


def _rate(scene: Scene) -> str:
    return "" if scene.rate is None else f"{pace(scene.rate)} trial-epochs/s"


def _bestline(scene: Scene, sheet: Sheet) -> Text:
    """Value, trial, and the way there."""
    best = scene.best
    if best is None:
        return sheet.fit("best: none yet")
    value, keeps = f"best {figure(best.value)}", "" if best.keeps else "breaks a constraint"
    line = sheet.join([value, f"trial {best.number} at epoch {best.epoch}", keeps])
    text, room = sheet.fit(line), min(sheet.width - cell_len(line) - len(GAP), SPARK)
    text.stylize("bold green", 0, len(value))
    if room >= 4 and len(scene.history) > 1:
        text.append(GAP + over_time(scene, room, sheet.encoding), "green")
    return text


def _knobs(scene: Scene, sheet: Sheet) -> list[Text]:
    """The best trial's searched knobs, folded between them; what does not fit into a few lines is cut off."""
    lines: list[str] = []
    for knob in scene.best.knobs if scene.best else ():
        if lines and (len(lines) == KNOBS or _fits(f"{lines[-1]} {knob}", sheet)):
            lines[-1] += f" {knob}"
        else:
            lines.append(f"  {knob}")
    return [sheet.fit(line, "dim") for line in lines]


def _warned(scene: Scene, sheet: Sheet) -> list[Text]:
    """That there were warnings, and the last one; each stands above, where it came first."""
    return [sheet.fit(f"{plural(scene.warnings, 'warning')}: {scene.warned}", "yellow")] if scene.warnings else []


def _fits(line: str, sheet: Sheet) -> bool:
    return cell_len(line) <= sheet.width
