"""Commands on a sweep that is there already: a bare word in front, the sweep's name, and what is to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lca_sweep.compose import compose, config_dir
from lca_sweep.config import Config
from lca_sweep.core.knobs import flat, replace
from lca_sweep.overrides import UsageError

LOOKING = ("sweep.dir", "sweep.storage", "search.storage", "data.dir", "analysis")  # knobs that `report` may be told


def stop(words: Sequence[str]) -> int:
    """`stop NAME [sweep.dir=DIR]`."""
    name, values = _named("stop", words, ("sweep.dir",))
    from lca_sweep.sweep.stop import stop

    return stop(_place(values), name)


def report(words: Sequence[str]) -> int:
    """`report NAME [sweep.dir=DIR] [analysis=all] ...`."""
    name, values = _named("report", words, LOOKING)
    from dataclasses import replace as other

    from lca_sweep.sweep.known import find
    from lca_sweep.sweep.reporting import report

    known = find(_place(values), name, "report")
    return report(other(known, config=replace(known.config, values)))


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = MappingProxyType({"stop": stop, "report": report})


def _named(command: str, words: Sequence[str], allowed: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The sweep's name, and the flat knobs that the other words set; UsageError for any other word."""
    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    for word in overrides:
        if not any(_sets(word, knob) for knob in allowed):
            raise UsageError(f"{command}: {word}: may only be {', '.join(f'{knob}=' for knob in allowed)}")
    if len(names) != 1 or names[0].startswith("-"):
        example = "".join(f" or {command} NAME {knob}=..." for knob in allowed[:1])
        raise UsageError(f"{command}: write {command} NAME{example}")
    composed = flat(compose(overrides, [config_dir()])) if overrides else {}
    return names[0], {knob: value for knob, value in composed.items() if any(_meant(word, knob) for word in overrides)}


def _sets(word: str, knob: str) -> bool:
    """Whether an override is of this knob, or of one below it."""
    key = word.partition("=")[0]
    return key == knob or key.startswith(f"{knob}.")


def _meant(word: str, knob: str) -> bool:
    """Whether an override, of a knob or of a group, sets this knob."""
    key = word.partition("=")[0]
    return knob == key or knob.startswith(f"{key}.")


def _place(values: Mapping[str, Any]) -> Path:
    return Path(values.get("sweep.dir", Config().sweep.dir))
