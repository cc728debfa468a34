"""The report's tables and sentences, as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from lca_sweep.config import without_password
from lca_sweep.core.objective import Constraint
from lca_sweep.core.short import short_names
from lca_sweep.report.claims import AGAINST, Claim
from lca_sweep.report.finals import found, of_winner, winner
from lca_sweep.report.intervals import Sample, sample
from lca_sweep.report.results import Final, SweepResult, TrialResult
from lca_sweep.report.seeds import Setting, algorithm, best_first, last, settings

BEST, SETTINGS, FAILED, LETTERS = 10, 30, 50, 300  # so many rows, and letters of a reason, are shown


@dataclass(frozen=True)
class Text:
    """A table as it is shown; `more` says what is left out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: str = ""


def headline(result: SweepResult, claims: Sequence[Claim]) -> str:
    """What came out, in a line or two."""
    states = Counter(trial.state for trial in result.searched)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "no trial"
    again = len(result.trials) - len(result.searched)
    counts += f"; {again} in the finals" if again else ""
    if not result.complete:
        return f"No trial is complete ({counts})."
    verdicts = Counter(claim.told for claim in claims if claim.about != AGAINST)
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    beside = [claim.verdict for claim in claims if claim.about == AGAINST]
    line = f"{_winner(result)} ({counts})." + (f" The paper's claims and numbers: {told}." if told else "")
    return line + (f" Beside BP: {beside[0]}." if len(beside) == 1 else "")


def _winner(result: SweepResult) -> str:
    best, goal = result.complete[0], result.goal
    if result.finals:
        final = result.finals[0]
        return (
            f"Winner of the finals: the setting of trial {final.number}, {goal.first.metric} {_mean(final)} (new seeds)"
        )
    scores = ", ".join(f"{one.metric} {decimal(x)}" for one, x in zip(goal.objectives, best.scored.scores, strict=True))
    line = f"Best: trial {best.number}, {scores}"
    if len(goal.objectives) > 1 and result.front:
        line += f"; {len(result.front)} trials on the Pareto front, of which it has the best {goal.first.metric}"
    return line + ("" if best.feasible else "; no trial keeps all constraints")


def _mean(final: Final) -> str:
    return decimal(final.mean) + (f" ± {decimal(final.half)}" if math.isfinite(final.half) else "")


def best_trials(result: SweepResult) -> Text:
    """The best complete trials: objectives, searched knobs, categories, and the ensemble where it was looked into."""
    trials = result.complete[:BEST]
    knobs = list(dict.fromkeys(name for trial in trials for name in trial.params))
    names = short_names(knobs)
    wanted = {name.upper(): f"weights/{name}_fraction" for name in ("vip", "uip", "var")}
    wanted = {head: name for head, name in wanted.items() if name not in result.goal.metrics}
    metrics = {head: name for head, name in wanted.items() if any(trial.last(name) is not None for trial in trials)}
    metrics = {bound.metric: bound.metric for bound in _others(result)} | metrics
    looked, several = any(trial.analysis for trial in trials), len(result.goal.objectives) > 1
    marks = [*(["front"] if several else []), *(["constraints"] if result.goal.constraints else [])]
    objectives = [objective.metric for objective in result.goal.objectives]
    head = ["trial", *marks, *objectives, *metrics, *(names[knob] for knob in knobs), *(ENSEMBLE if looked else ())]
    front = {trial.number for trial in result.front}
    rows = [
        [
            str(trial.number),
            *(["yes" if trial.number in front else "no"] if several else ()),
            *(["kept" if trial.feasible else "broken"] if result.goal.constraints else ()),
            *map(decimal, trial.scored.scores),
            *(decimal(trial.last(name)) for name in metrics.values()),
            *(value_text(trial.params.get(knob)) for knob in knobs),
            *(_ensemble(trial) if looked else ()),
        ]
        for trial in trials
    ]
    left = len(result.complete) - len(trials)
    return Text(head, rows, f"and {left} more complete trials" if left else "")


def _others(result: SweepResult) -> list[Constraint]:
    """Constraints on metrics that are no objective."""
    metrics = {objective.metric for objective in result.goal.objectives}
    return [bound for bound in result.goal.constraints if bound.metric not in metrics]


def of_finals(result: SweepResult) -> Text | None:
    """The finals: what the search saw of each setting, and what new seeds came to, the winner first."""
    if not result.finals:
        return None
    rows = [
        [
            f"trial {final.number}"
            + (" (winner)" if place == 0 else "")
            + (" (constraints broken)" * bool(final.excess)),
            decimal(found(result, final)),
            str(len(final.values)),
            _mean(final),
            ", ".join(map(decimal, final.values)),
        ]
        for place, final in enumerate(result.finals)
    ]
    metric = result.goal.first.metric
    return Text(["setting", f"{metric} in the search", "new seeds", f"{metric}, mean", "each"], rows)


def test_line(result: SweepResult) -> str:
    """Test accuracy of the winner, in a sentence; empty where it is not known."""
    best, measured = winner(result), of_winner(result)
    if best is None or measured is None:
        return ""
    of = "of the network" if algorithm(best) == "bp" else "of the stochastic pass"
    seeds = "one new seed" if measured.count == 1 else f"{measured.count} new seeds"
    which = f"Setting of trial {best.number}, {seeds}" if result.finals else f"Trial {best.number}"
    return f"{which}: test accuracy {amount(measured)}, that {of}."


ENSEMBLE = ("mean field", "mean network", "sub-networks", "averaged", "NLL", "ECE")


def _ensemble(trial: TrialResult) -> list[str]:
    if trial.analysis is None:
        return [decimal(None)] * len(ENSEMBLE)
    score = trial.analysis.ensemble
    subnetworks = np.array(score.subnetworks)
    singles = decimal(float(subnetworks.mean()) if subnetworks.size else None)
    if subnetworks.size and algorithm(trial) != "bp":  # there all sub-networks are the one network
        singles += f" ± {subnetworks.std():.4f}"
    return [
        decimal(score.mean_field),
        decimal(score.mean_network),
        singles,
        *map(decimal, (score.averaged, score.nll, score.ece)),
    ]


def by_setting(result: SweepResult) -> Text | None:
    """Mean and 95 % interval over seeds, best first; nothing where no setting has two complete seeds."""
    found = [setting for setting in best_first(settings(result)) if setting.complete]
    if max((len(setting.trials) for setting in found), default=0) < 2:
        return None
    metrics = {"test accuracy": "test/accuracy", "VIP": "weights/vip_fraction", "UIP": "weights/uip_fraction"}
    known = {name for setting in found for trial in setting.trials for name in trial.history}
    metrics = {head: name for head, name in metrics.items() if name in known and name not in result.goal.metrics}
    rows = [_setting(setting, list(metrics.values())) for setting in found[:SETTINGS]]
    left = len(found) - len(rows)
    objectives = [objective.metric for objective in result.goal.objectives]
    return Text(["setting", "seeds", *objectives, *metrics], rows, f"and {left} more settings" if left else "")


def _setting(setting: Setting, metrics: Sequence[str]) -> list[str]:
    points = [trial.scored.scores for trial in setting.trials if trial.value is not None]
    cells = [last(setting.trials, metric) for metric in metrics]
    columns = [*zip(*points, strict=True), *cells]
    return [setting.label, str(len(points)), *(amount(sample(one)) if one else decimal(None) for one in columns)]


def claim_rows(claims: Sequence[Claim]) -> list[dict[str, str]]:
    """Claims as text, with a class for the colour of each verdict."""
    return [
        {
            "about": claim.about,
            "text": claim.text,
            "measured": amount(claim.measured, claim.unit),
            "reference": amount(claim.reference, claim.unit),
            "verdict": claim.verdict,
            "note": claim.note,
            "kind": {"reproduced": "yes", "seen": "yes", "not reproduced": "no", "not seen": "no"}.get(
                claim.told, "open"
            ),
        }
        for claim in claims
    ]


def failed(result: SweepResult) -> Text | None:
    """Failed trials with their reasons."""
    trials = [trial for trial in result.trials if trial.state == "failed"]
    if not trials:
        return None
    rows = [[str(trial.number), trial.reason[:LETTERS] or "no reason is known"] for trial in trials[:FAILED]]
    left = len(trials) - len(rows)
    return Text(["trial", "reason"], rows, f"and {left} more failed trials" if left else "")


def config_yaml(config: Mapping[str, Any]) -> str:
    """The config as YAML, without passwords in its URLs."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    """What YAML has words for."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return without_password(str(value))


def amount(measured: Sample | None, unit: str = "") -> str:
    """`0.9511 ± 0.0044` (half the 95 % interval), `5.08 %` of a single value, nothing of none."""
    if measured is None:
        return ""
    digits = 2 if unit else 4
    spread = f" ± {measured.half:.{digits}f}" if math.isfinite(measured.half) else ""
    return f"{measured.mean:.{digits}f}{spread}" + (f" {unit}" if unit else "")


def decimal(value: float | None) -> str:
    """Four decimals, of what is small three digits; a dash where there is no number."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.3g}"


def value_text(value: Any) -> str:
    """A knob's value."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
