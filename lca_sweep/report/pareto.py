"""The Pareto front: what several objectives cost each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.scale import Scale, limits, scales
from lca_sweep.report.seeds import highlighted
from lca_sweep.report.style import BLACK, BLUE, COLOURS, GREY, MARKERS, Plot, legend, panels, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4  # objectives that are drawn against each other


@styled
def pareto(result: SweepResult) -> Plot | None:
    """Complete trials by their objectives, two at a time, and the front; None for a single objective."""
    every = scales(result.goal)[:MOST]
    if len(every) < 2 or len(result.complete) < 2:
        return None
    pairs = list(combinations(range(len(every)), 2))
    columns = 1 if len(pairs) == 1 else min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, axes = panels(rows, columns, 2.7 if len(pairs) == 1 else 0.5 + 1.45 * rows)
    for panel, (x, y) in zip(axes, pairs, strict=True):
        _panel(panel, result, (every[x], every[y]), (x, y), whole=len(result.goal.objectives) == 2)
    legend(figure, axes[0], 2)
    return Plot("pareto", "What the objectives cost each other", _caption(result), figure, _table(result))


def _panel(panel: Axes, result: SweepResult, pair: tuple[Scale, Scale], places: tuple[int, int], whole: bool) -> None:
    """One pair of objectives; `whole`: there are no others, so that the front is a line."""
    front = {trial.number for trial in result.front}
    rest = [trial for trial in result.complete if trial.number not in front]
    many = len(rest) > 100
    size: dict[str, Any] = {"markersize": 1.8 if many else 3, "rasterized": many}
    dominated = _points([trial for trial in rest if trial.feasible], places, pair)
    broken = _points([trial for trial in rest if not trial.feasible], places, pair)
    if broken:
        panel.plot(*_xy(broken), "o", color=GREY, markerfacecolor="none", label="breaks a constraint", **size)
    if dominated:
        panel.plot(*_xy(dominated), "o", color=GREY, label="dominated", **size)
    best = sorted(_points(result.front, places, pair))
    if best and whole:
        panel.step(*_xy(best), where="pre" if pair[0].maximize else "post", color=BLACK, linewidth=0.8)
    if best:
        panel.plot(*_xy(best), "D", color=BLACK, markersize=3, label="Pareto front")
    own = highlighted(result)
    for trial in (trial for trial in result.complete if trial.number in own):
        place, name = own[trial.number]
        look: dict[str, Any] = {"color": COLOURS[place], "label": name, "markersize": 4, "zorder": 3}
        panel.plot(*_xy(_points([trial], places, pair)), MARKERS[place], **look)
    first, second = pair
    panel.set(xlabel=first.label, ylabel=second.label)
    panel.set_xlim(_ends(first, [point[0] for point in [*dominated, *broken]], [point[0] for point in best]))
    panel.set_ylim(_ends(second, [point[1] for point in [*dominated, *broken]], [point[1] for point in best]))
    panel.locator_params(nbins=4)
    _bounds(panel, result, pair)


def _points(
    trials: Iterable[TrialResult], places: tuple[int, int], pair: tuple[Scale, Scale]
) -> list[tuple[float, float]]:
    """Where trials are drawn."""
    x, y = places
    return [(pair[0].factor * t.scored.scores[x], pair[1].factor * t.scored.scores[y]) for t in trials]


def _xy(points: Sequence[tuple[float, float]]) -> Any:
    return zip(*points, strict=True)


def _ends(scale: Scale, rest: Sequence[float], front: Sequence[float]) -> tuple[float, float]:
    """An axis that shows the whole front, and of the others all but a few that are far off."""
    worst, best = scale.window([*rest, *front])
    worst = min(worst, *front) if scale.maximize else max(worst, *front)
    return limits((worst, best))


def _bounds(panel: Axes, result: SweepResult, pair: tuple[Scale, Scale]) -> None:
    """A line for each constraint on one of the two metrics, where it lies within the axes."""
    sides = ((panel.axvline, panel.get_xlim()), (panel.axhline, panel.get_ylim()))
    for bound in result.goal.constraints:
        for scale, (draw, (low, high)) in zip(pair, sides, strict=True):
            at = scale.factor * bound.bound
            if bound.metric == scale.metric and low <= at <= high:
                draw(at, color=BLUE, linestyle="--", linewidth=0.8, label="bound of a constraint")


def _table(result: SweepResult) -> dict[str, Any]:
    trials = sorted(result.complete, key=lambda trial: trial.number)
    front = {trial.number for trial in result.front}
    table: dict[str, Any] = {"trial": [trial.number for trial in trials]}
    for place, objective in enumerate(result.goal.objectives):
        table[objective.metric] = [trial.scored.scores[place] for trial in trials]
    table["front"] = [int(trial.number in front) for trial in trials]
    return table | {"feasible": [int(trial.feasible) for trial in trials]}


def _caption(result: SweepResult) -> str:
    goal = result.goal
    caption = f"{len(result.complete)} complete trials by what they are searched for ({_said(goal.objectives)}), "
    caption += f"{len(result.front)} of them on the Pareto front: none of the others is at least as good by every "
    caption += "objective and better by one. Pruned trials have no objectives; those far off may be outside."
    if goal.constraints:
        broken = sum(not trial.feasible for trial in result.complete)
        caption += f" Constraints: {_said(goal.constraints)}; {broken} trials break one (hollow)."
    return caption


def _said(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts))
