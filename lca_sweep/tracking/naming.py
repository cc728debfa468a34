"""What a trial's run is called in the MLflow UI, and the line that describes it there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from lca_sweep.core.short import short_names
from lca_sweep.tracking.entries import End

LONGEST = 60  # characters of a name
FIRST = ("trainer.lr", "model.width", "model.widths")  # the most telling knobs
OWN = MappingProxyType({"model.width": "w", "model.widths": "w"})  # MLflow's column has room for some 20 characters
WIDTHS = "model.widths."  # what the knobs of single layers begin with


def run_name(number: int, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None) -> str:
    """A trial by its number and what sets it apart: `0017 lr=0.031 w=180,90`, `0041 of 0017 seed=3 lr=0.031`.

    `params` and `tags` are those of its start; without them, where that is lost, it is the number alone.
    """
    words, last = [f"{number:04d}"], ""
    for word in [*_repeats(tags or {}), *knobs(params or {}, tags or {})]:
        if len(" ".join([*words, word])) > LONGEST - 2:
            last = "…"
            break
        words.append(word)
    return " ".join([*words, last]).rstrip()


def knobs(params: Mapping[str, str], tags: Mapping[str, str]) -> list[str]:
    """The searched knobs in short, the most telling first: `lr=0.031`, `w=180,90`."""
    searched = {knob: params[knob] for knob in tags.get("lca.searched", "").split(",") if knob in params}
    layers = [_short(value) for knob, value in searched.items() if knob.startswith(WIDTHS)]
    values = {knob: _short(value) for knob, value in searched.items() if not knob.startswith(WIDTHS)}
    values |= {"model.widths": ",".join(layers)} if layers else {}
    order = sorted(values, key=lambda knob: (FIRST.index(knob) if knob in FIRST else len(FIRST), knob))
    names = {**short_names(values), **OWN}
    return [f"{names[knob]}={values[knob]}" for knob in order]


def describe_trial(number: int, params: Mapping[str, str], tags: Mapping[str, str], sweep: str) -> str:
    """What a trial is, in Markdown: `Trial 17 of sweep mnist, in pack 2, with lr=0.031 width=180`."""
    what = f"Trial {number} of sweep {sweep}"
    if "replicate.of" in tags:
        what += f": trial {tags['replicate.of']} again, with seed {tags.get('replicate.seed', '?')}"
    what += f", in pack {tags['lca.pack']}" if "lca.pack" in tags else ""
    told = " ".join(knobs(params, tags))
    return what + (f", with `{told}`" if told else "")


def describe_end(end: End, epochs: int, scores: Mapping[str, float]) -> str:
    """How it ended: `complete after 10 epochs: val/accuracy 0.9341`, `pruned ...: rank 6 of 8 at epoch 5`."""
    after = f" after {epochs} epoch{'' if epochs == 1 else 's'}" if epochs else ""
    told = [f"{metric} {score:.4g}" for metric, score in scores.items()]
    return f"{end.state}{after}" + (": " + "; ".join([*told, *([end.reason] if end.reason else [])])).rstrip(": ")


def _repeats(tags: Mapping[str, str]) -> list[str]:
    """Of one of the finals, whom it repeats, and its seed."""
    if "replicate.of" not in tags:
        return []
    return [f"of {int(tags['replicate.of']):04d}", f"seed={tags.get('replicate.seed', '?')}"]


def _short(text: str) -> str:
    """A value in three digits, a list without its brackets."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, list):
        return ",".join(_short(json.dumps(item)) for item in value)
    return f"{value:.3g}" if isinstance(value, float) else text
