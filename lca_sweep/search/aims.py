"""Whether what a sweep is to come to can be told from what is recorded of its trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from lca_sweep.config import Config, KnobError
from lca_sweep.core.knobs import PLAIN, nearest
from lca_sweep.core.objective import Constraint, Objective
from lca_sweep.core.recorded import ALWAYS, TEST, of_weights
from lca_sweep.search.space import Space, bounds

DEEPEST = 65  # layers that a network may have


def check_goal(config: Config, space: Space) -> None:
    """Raise KnobError for an objective or a constraint whose metric not every trial of this sweep has."""
    goal = config.search.goal()
    _check("search.objectives", goal.objectives, [part.metric for part in goal.objectives], config, space)
    _check("search.constraints", goal.constraints, [(c.metric, c.at_least) for c in goal.constraints], config, space)


def _check(
    knob: str, parts: Sequence[Objective | Constraint], keys: Sequence[Hashable], config: Config, space: Space
) -> None:
    counts = Counter(keys)
    for part, key in zip(parts, keys, strict=True):
        if problem := _problem(part.metric, config, space):
            raise KnobError(f"{knob}={part}: {problem}")
        if counts[key] > 1:
            raise KnobError(f"{knob}={part}: {part.metric} is named twice; name it once")


def _problem(metric: str, config: Config, space: Space) -> str:
    """Why a metric cannot be aimed for, and what could; empty if it can."""
    if metric in TEST:
        return f"test images steer nothing; must be of training or validation, e.g. {metric.replace('test', 'val')}"
    if metric not in (*ALWAYS, *of_weights(DEEPEST)):
        return f"no such metric{nearest(metric, (*ALWAYS, *of_weights(_layers(config, space))))}"
    if metric == "train/prior" and config.prior.weight == 0 and "prior.weight" not in space:
        return "it is 0 while prior.weight=0 (set that, or search it)"
    if metric in ALWAYS:
        return ""
    if "trainer.algorithm" in space or config.trainer.algorithm == "bp":
        searched = ", which is searched too" if "trainer.algorithm" in space else ""
        return f"weights have no distribution with {PLAIN}{searched}; must be one of {', '.join(ALWAYS)}"
    layers = _layers(config, space)
    if metric not in of_weights(layers):
        return f"not every network has that layer; must be one of layer1 to layer{layers}"
    return ""


def _layers(config: Config, space: Space) -> int:
    """Layers that any network of the sweep has, the output's among them."""
    hidden = len(config.model.hidden()) if config.model.widths else int(bounds("model.depth", space, config)[0])
    return hidden + 1
