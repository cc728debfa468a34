"""The words behind a command: the sweep's name, options, and the knobs that they set; UsageError for any other word."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lca_sweep.compose import compose, config_dir
from lca_sweep.config import Config
from lca_sweep.core.knobs import flat, listed
from lca_sweep.overrides import UsageError


def flag(flag: str, words: Sequence[str]) -> tuple[list[str], bool]:
    """The words without a flag, and whether it is among them."""
    return [word for word in words if word != flag], flag in words


def option(option: str, words: Sequence[str], command: str, what: str = "a file") -> tuple[list[str], str | None]:
    """The words without an option and its value, and that value; UsageError where it has none."""
    if option not in words:
        return list(words), None
    place = list(words).index(option)
    if place + 1 == len(words):
        raise UsageError(f"{command}: {option}: needs {what}")
    return [*words[:place], *words[place + 2 :]], words[place + 1]


def whole(what: str, text: str, least: int = 1, most: int | None = None) -> int:
    """The number that a word names; `what` says where it stands."""
    value = int(text) if text.isdecimal() and len(text) < 19 else -1
    if value < least or (most is not None and value > most):
        limit = "" if most is None else f" and <= {most}"
        raise UsageError(f"{what}{text}: must be a whole number >= {least}{limit}")
    return value


def optional(
    command: str, words: Sequence[str], allowed: Sequence[str], names: int
) -> tuple[list[str], dict[str, Any]]:
    """As `named`, for a command that need not be given a name, or (`names` = 0) cannot."""
    usage = f"{command}{' [NAME]' * names} [--json] [{allowed[0]}=...]"
    return several(command, words, allowed, range(names + 1), usage)


def named(command: str, words: Sequence[str], allowed: Sequence[str], usage: str = "") -> tuple[str, dict[str, Any]]:
    """The sweep's name, and the flat knobs that the other words set."""
    example = "".join(f" or {command} NAME {knob}=..." for knob in allowed[:1])
    names, values = several(command, words, allowed, (1,), usage or f"{command} NAME{example}")
    return names[0], values


def several(
    command: str, words: Sequence[str], allowed: Sequence[str], counts: Collection[int], usage: str
) -> tuple[list[str], dict[str, Any]]:
    """The bare words, of which there may be so many, and the flat knobs that the others set."""
    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    for word in overrides:
        if not any(sets(word, knob) for knob in allowed):
            raise UsageError(f"{command}: {word}: not for this command, which takes {listed(allowed, '=')}")
    if len(names) not in counts or any(name.startswith("-") for name in names):
        raise UsageError(f"{command}: write {usage}")
    composed = flat(compose(overrides, [config_dir()])) if overrides else {}
    return names, {knob: value for knob, value in composed.items() if any(_meant(word, knob) for word in overrides)}


def sets(word: str, knob: str) -> bool:
    """Whether an override is of this knob, or of one below it."""
    key = word.partition("=")[0]
    return key == knob or key.startswith(f"{knob}.")


def _meant(word: str, knob: str) -> bool:
    """Whether an override, of a knob or of a group, sets this knob."""
    key = word.partition("=")[0]
    return knob == key or knob.startswith(f"{key}.")


def place(values: Mapping[str, Any]) -> Path:
    """The folder of all sweeps."""
    return Path(values.get("sweep.dir", Config().sweep.dir))
