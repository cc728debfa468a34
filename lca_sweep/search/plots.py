"""Interactive figures of a search, drawn by Optuna's own visualisation, and one of ours: who was still in training.

Where there are more trials or epochs than a page can hold, some are taken, evenly from the best to the worst, and the
line below the figure says so. plotly is loaded when first used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lca_sweep.core.objective import Goal
from lca_sweep.search.comparing import compared
from lca_sweep.search.picture import BLUE, GREEN, GREY, PALE, PURPLE, VERMILLION, Picture, picture, script, told
from lca_sweep.search.quiet import quiet
from lca_sweep.search.rows import Row, group_by_pack
from lca_sweep.search.shown import EPOCHS, OneObjective, Shown, evenly, keeps, scores, study_of
from lca_sweep.search.space import Space

__all__ = ["Picture", "pictures", "script"]

FEWEST = 4  # trials, complete or pruned, from which there is anything to look at
CURVES, OBJECTIVES = 100, 3  # that are drawn at most
LOOKS = {"complete": GREY, "pruned": PALE, "running": PURPLE}  # colours of curves
BEST = (BLUE, VERMILLION, GREEN)  # of the three best, as in the report


def pictures(rows: Sequence[Row], space: Space, goal: Goal) -> list[Picture]:
    """All figures that have something to show; none where hardly a trial has ended."""
    shown = Shown.of(rows, space, goal)
    if len(shown.ended) < FEWEST:
        return []
    with quiet():
        found = [_front(shown), _hypervolume(shown)]
        for place in range(min(OBJECTIVES, len(goal.objectives))):
            found += compared(OneObjective(shown, place))
        found += [_curves(shown), _survival(shown)]
    return [one for one in found if one]


# --- of several objectives -------------------------------------------------------------------------------------------


def _front(shown: Shown) -> Picture | None:
    from optuna.visualization import plot_pareto_front

    goal = shown.goal
    if len(goal.objectives) not in (2, 3) or not shown.done:
        return None
    study = study_of(shown.done, shown.space, [one.maximize for one in goal.objectives], scores)
    figure = plot_pareto_front(study, target_names=[one.metric for one in goal.objectives])
    caption = f"{len(shown.done)} complete trials by their objectives ({_said(goal.objectives)}); red: the front"
    caption += f"; grey: those that break a constraint ({_said(goal.constraints)})." if goal.constraints else "."
    return picture("front", "Pareto front", caption, figure)


def _said(parts: Sequence[object]) -> str:
    return ", ".join(map(str, parts))


def _hypervolume(shown: Shown) -> Picture | None:
    """Of objectives scaled so that the worst value is 0 and the best 1, as the report has it."""
    from optuna.visualization import plot_hypervolume_history

    kept = [row for row in shown.done if keeps(row)]
    if len(shown.goal.objectives) < 2 or len(kept) < 3:
        return None
    gains = {row.number: shown.goal.gains(scores(row)) for row in kept}
    ends = [(min(column), max(column)) for column in zip(*gains.values(), strict=True)]

    def scaled(row: Row) -> list[float]:
        pairs = zip(gains[row.number], ends, strict=True)
        return [(gain - low) / (high - low) if high > low else 1.0 for gain, (low, high) in pairs]

    study = study_of(kept, shown.space, [True] * len(ends), scaled)
    figure = plot_hypervolume_history(study, [0.0] * len(ends)).update_traces(line_shape="hv")
    caption = (
        "Share of the box from the worst to the best value of each objective, of the "
        f"{len(kept)} complete trials that count, that the front so far dominates."
    )
    return picture("hypervolume", "Growth of the Pareto front", caption, figure)


# --- of all epochs ---------------------------------------------------------------------------------------------------


def _curves(shown: Shown) -> Picture | None:
    """The first objective by epoch, in the colour of each trial's state."""
    from optuna.visualization import plot_intermediate_values

    first = shown.goal.first
    rows = [row for row in shown.rows if row.values and row.state in LOOKS]
    some = evenly(sorted(rows, key=lambda row: (-_last_gain(row, first.sign), row.number)), CURVES)
    longest = max((len(row.values) for row in some), default=0)
    if longest < 2:
        return None
    study = study_of(some, shown.space, [first.maximize], lambda row: scores(row)[:1], curves=True)
    figure, best = plot_intermediate_values(study), [row.number for row in shown.done[: len(BEST)]]
    for trace, row in zip(figure.data, sorted(some, key=lambda row: row.number), strict=True):
        own = row.number in best
        colour, width = (BEST[best.index(row.number)], 2.5) if own else (LOOKS[row.state], 1.0)
        trace.update(mode="lines" if len(row.values) > 1 else "markers", name=f"trial {row.number}, {row.state}")
        trace.update(line={"color": colour, "width": width}, marker={"color": colour})
    figure.update_layout(xaxis_title="epoch", yaxis_title=first.metric)
    caption = f"{first.metric} by epoch of {told(some, rows)}"
    caption += f", at {EPOCHS} epochs of each." if longest > EPOCHS else "."
    caption += " Thick: the three best (blue, vermillion, green); grey: complete; pale: pruned; purple: in training."
    return picture("curves", "Intermediate values", caption, figure)


def _last_gain(row: Row, sign: int) -> float:
    last = row.values[max(row.values)]
    return sign * last if math.isfinite(last) else -math.inf


def _survival(shown: Shown) -> Picture | None:
    """The share of trials in training by epoch: of all, and of each pack."""
    import plotly.graph_objects as go

    ended = shown.ended
    if not any(row.state == "pruned" for row in ended):
        return None
    packs, figure = group_by_pack(ended), go.Figure()
    for pack, rows in packs.items():
        figure.add_trace(go.Scatter(**_stairs(rows, f"pack {pack}", GREY, 0.8)))
    figure.add_trace(go.Scatter(**_stairs(ended, "all trials", VERMILLION, 2.5)))
    figure.update_layout(xaxis_title="epochs", yaxis_title="still in training (%)", showlegend=False)
    caption = f"Share of {len(ended)} trials, complete or pruned, that were trained for more than so many epochs: "
    caption += f"red, of all; grey, of each of {len(packs)} packs."
    return picture("survival", "Who is still in training", caption, figure)


def _stairs(rows: Sequence[Row], name: str, colour: str, width: float) -> dict[str, Any]:
    """One line of the survival figure."""
    epochs, counts = survivors([max(row.values) for row in rows])
    return {
        "x": epochs,
        "y": [100 * count / len(rows) for count in counts],
        "text": [f"{count} of {len(rows)}" for count in counts],
        "name": name,
        "mode": "lines",
        "line": {"shape": "hv", "color": colour, "width": width},
        "hoverinfo": "name+x+text",
    }


def survivors(lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """After how many epochs somebody left (0 first, the end last), and how many were then still in training.

    `lengths`: how many epochs each was trained; those trained to the end are in training there.
    """
    end = max(lengths)
    epochs = [0, *sorted(set(lengths))]
    return epochs, [sum(length > epoch or length == end for length in lengths) for epoch in epochs]
