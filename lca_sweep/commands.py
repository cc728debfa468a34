"""Commands on a sweep that is there already: a bare word in front, the sweep's name, and what is to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lca_sweep.compose import compose, config_dir
from lca_sweep.config import Config
from lca_sweep.core.knobs import flat, replace
from lca_sweep.overrides import UsageError

if TYPE_CHECKING:
    from lca_sweep.sweep.known import Known

NUMBERS = ("trials", "concurrency")  # that a running sweep may be given anew
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


def list_sweeps(words: Sequence[str]) -> int:
    """`list [--json] [sweep.dir=DIR]`."""
    words, as_json = _flag("--json", words)
    values = _optional("list", words, ("sweep.dir",), names=0)[1]
    from lca_sweep.sweep.listing import show_list

    return show_list(_place(values), as_json)


def status(words: Sequence[str]) -> int:
    """`status [NAME] [--json] [sweep.dir=DIR] [search.storage=URL]`."""
    words, as_json = _flag("--json", words)
    names, values = _optional("status", words, ("sweep.dir", "search.storage"), names=1)
    from lca_sweep.sweep.listing import show_status

    return show_status(_place(values), _known(names[0], values, "status") if names else None, as_json)


def enqueue(words: Sequence[str]) -> int:
    """`enqueue NAME trainer.lr=0.05 ... [--csv FILE] [sweep.dir=DIR] [search.storage=URL]`."""
    words, file = _option("--csv", words, "enqueue")
    options = ("sweep.dir", "search.storage")
    texts = dict(word.split("=", 1) for word in words if "=" in word and not any(_sets(word, knob) for knob in options))
    rest = [word for word in words if "=" not in word or any(_sets(word, knob) for knob in options)]
    name, values = _named("enqueue", rest, options, "enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE")
    if bool(texts) == bool(file):
        raise UsageError("enqueue: write enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE")
    from lca_sweep.sweep.enqueuing import enqueue

    return enqueue(_known(name, values, "enqueue"), texts, file)


def set_numbers(words: Sequence[str]) -> int:
    """`set NAME trials=64 concurrency=2 [sweep.dir=DIR]`."""
    numbers = [word for word in words if word.partition("=")[0] in NUMBERS and "=" in word]
    usage = "set NAME trials=64 concurrency=2, or one of the two"
    name, values = _named("set", [word for word in words if word not in numbers], ("sweep.dir",), usage)
    wish = {what: _whole(what, text) for what, _, text in (word.partition("=") for word in numbers)}
    if not wish:
        raise UsageError(f"set: write {usage}")
    from lca_sweep.sweep.wishes import ask

    return ask(_place(values), name, wish)


def submit(words: Sequence[str]) -> int:
    """`submit WORDS [--address URL] [--no-wait] [--config-dir DIR]`, `submit --attach ID`, `submit --stop ID`."""
    from lca_sweep.submission import submit

    return submit(words)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = MappingProxyType(
    {
        "stop": stop,
        "report": report,
        "list": list_sweeps,
        "status": status,
        "enqueue": enqueue,
        "set": set_numbers,
        "submit": submit,
    }
)


def _known(name: str, values: Mapping[str, Any], what: str) -> Known:
    """The sweep of this name as it was last started, with the knobs that are told otherwise."""
    from dataclasses import replace as other

    from lca_sweep.sweep.known import find, now

    known = now(find(_place(values), name, what))
    told = {knob: value for knob, value in values.items() if knob == "search.storage"}
    return other(known, config=replace(known.config, told))


def _flag(flag: str, words: Sequence[str]) -> tuple[list[str], bool]:
    """The words without a flag, and whether it is among them."""
    return [word for word in words if word != flag], flag in words


def _option(option: str, words: Sequence[str], command: str) -> tuple[list[str], str | None]:
    """The words without an option and its value, and that value; UsageError where it has none."""
    if option not in words:
        return list(words), None
    place = list(words).index(option)
    if place + 1 == len(words):
        raise UsageError(f"{command}: {option}: needs a file")
    return [*words[:place], *words[place + 2 :]], words[place + 1]


def _whole(what: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"set: {what}={text}: must be a whole number >= 1")
    return int(text)


def _optional(
    command: str, words: Sequence[str], allowed: Sequence[str], names: int
) -> tuple[list[str], dict[str, Any]]:
    """As `_named`, for a command that need not be given a name, or (`names` = 0) cannot."""
    found = [word for word in words if "=" not in word]
    if len(found) > names or any(word.startswith("-") for word in found):
        raise UsageError(f"{command}: write {command}{' [NAME]' * names} [--json] [{allowed[0]}=...]")
    values = _named(command, ["NAME", *(word for word in words if "=" in word)], allowed)[1]
    return found, values


def _named(command: str, words: Sequence[str], allowed: Sequence[str], usage: str = "") -> tuple[str, dict[str, Any]]:
    """The sweep's name, and the flat knobs that the other words set; UsageError for any other word."""
    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    for word in overrides:
        if not any(_sets(word, knob) for knob in allowed):
            raise UsageError(f"{command}: {word}: may only be {', '.join(f'{knob}=' for knob in allowed)}")
    if len(names) != 1 or names[0].startswith("-"):
        example = "".join(f" or {command} NAME {knob}=..." for knob in allowed[:1])
        raise UsageError(f"{command}: write {usage or f'{command} NAME{example}'}")
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
