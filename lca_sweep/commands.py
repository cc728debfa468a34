"""Commands on a sweep that is there already: a bare word in front, the sweep's name, and what is to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lca_sweep.arguments import flag, named, option, optional, place, several, sets, whole
from lca_sweep.core.knobs import replace
from lca_sweep.overrides import UsageError

if TYPE_CHECKING:
    from lca_sweep.sweep.known import Known

NUMBERS = ("trials", "concurrency")  # that a running sweep may be given anew
LOOKING = ("sweep.dir", "sweep.storage", "search.storage", "data.dir", "analysis")  # knobs that `report` may be told


def stop(words: Sequence[str]) -> int:
    """`stop NAME [sweep.dir=DIR]`."""
    name, values = named("stop", words, ("sweep.dir",))
    from lca_sweep.sweep.stop import stop

    return stop(place(values), name)


def report(words: Sequence[str]) -> int:
    """`report NAME [sweep.dir=DIR] [analysis=all] ...`."""
    name, values = named("report", words, LOOKING)
    from dataclasses import replace as other

    from lca_sweep.sweep.known import find
    from lca_sweep.sweep.reporting import report

    known = find(place(values), name, "report")
    return report(other(known, config=replace(known.config, values)))


def list_sweeps(words: Sequence[str]) -> int:
    """`list [--json] [sweep.dir=DIR]`."""
    words, as_json = flag("--json", words)
    values = optional("list", words, ("sweep.dir",), names=0)[1]
    from lca_sweep.sweep.listing import show_list

    return show_list(place(values), as_json)


def status(words: Sequence[str]) -> int:
    """`status [NAME] [--json] [sweep.dir=DIR] [search.storage=URL]`."""
    words, as_json = flag("--json", words)
    names, values = optional("status", words, ("sweep.dir", "search.storage"), names=1)
    from lca_sweep.sweep.listing import show_status

    return show_status(place(values), _known(names[0], values, "status") if names else None, as_json)


def enqueue(words: Sequence[str]) -> int:
    """`enqueue NAME trainer.lr=0.05 ... [--csv FILE] [sweep.dir=DIR] [search.storage=URL]`."""
    words, file = option("--csv", words, "enqueue")
    options = ("sweep.dir", "search.storage")
    texts = dict(word.split("=", 1) for word in words if "=" in word and not any(sets(word, knob) for knob in options))
    rest = [word for word in words if "=" not in word or any(sets(word, knob) for knob in options)]
    name, values = named("enqueue", rest, options, "enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE")
    if bool(texts) == bool(file):
        raise UsageError("enqueue: write enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE")
    from lca_sweep.sweep.enqueuing import enqueue

    return enqueue(_known(name, values, "enqueue"), texts, file)


def set_numbers(words: Sequence[str]) -> int:
    """`set NAME trials=64 concurrency=2 [sweep.dir=DIR]`."""
    numbers = [word for word in words if word.partition("=")[0] in NUMBERS and "=" in word]
    usage = "set NAME trials=64 concurrency=2, or one of the two"
    name, values = named("set", [word for word in words if word not in numbers], ("sweep.dir",), usage)
    wish = {what: whole(f"set: {what}=", text) for what, _, text in (word.partition("=") for word in numbers)}
    if not wish:
        raise UsageError(f"set: write {usage}")
    from lca_sweep.sweep.wishes import ask

    return ask(place(values), name, wish)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = MappingProxyType(
    {
        "stop": stop,
        "report": report,
        "list": list_sweeps,
        "status": status,
        "enqueue": enqueue,
        "set": set_numbers,
    }
)


def _known(name: str, values: Mapping[str, Any], what: str) -> Known:
    """The sweep of this name as it was last started, with the knobs that are told otherwise."""
    from dataclasses import replace as other

    from lca_sweep.sweep.known import find, now

    known = now(find(place(values), name, what))
    told = {knob: value for knob, value in values.items() if knob == "search.storage"}
    return other(known, config=replace(known.config, told))
