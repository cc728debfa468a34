"""Commands on a sweep that is there already: a bare word in front, the sweep's name, and what is to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lca_sweep.arguments import flag, named, option, optional, place, sets, several, whole
from lca_sweep.checking import checked_sweep, own_folder
from lca_sweep.compose import config_dir
from lca_sweep.core.knobs import nearest, replace
from lca_sweep.overrides import UsageError

if TYPE_CHECKING:
    from lca_sweep.sweep.known import Known

NUMBERS = ("trials", "concurrency")  # that a running sweep may be given anew
LOOKING = ("sweep.dir", "sweep.storage", "search.storage", "data.dir", "analysis")  # knobs that `report` may be told

SHOWING = ("sweep.dir", "sweep.storage", "search.storage", "tracking.uri")  # knobs that `show` may be told


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

    known = find(place(values), name, "report")
    from lca_sweep.sweep.reporting import report  # torch and all figures: after a wrong name was refused

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
    refused = [word for word in words if word.partition("=")[0] not in (*NUMBERS, "sweep.dir") and "=" in word]
    if refused:
        key = refused[0].partition("=")[0]
        raise UsageError(f"set: {refused[0]}: not understood{nearest(key, NUMBERS)}; write {usage}")
    name, values = named("set", [word for word in words if word not in numbers], ("sweep.dir",), usage)
    wish = {what: whole(f"set: {what}=", text) for what, _, text in (word.partition("=") for word in numbers)}
    if not wish:
        raise UsageError(f"set: write {usage}")
    from lca_sweep.sweep.wishes import ask

    return ask(place(values), name, wish)


def ui(words: Sequence[str]) -> int:
    """`ui [NAME] [--port N] [sweep.dir=DIR] [tracking.uri=URI]`."""
    words, text = option("--port", words, "ui", "a number")
    port = None if text is None else whole("ui: --port ", text, most=65535)
    usage = "ui [NAME] [--port N] [sweep.dir=DIR] [tracking.uri=URI]"
    names, values = several("ui", words, ("sweep.dir", "tracking.uri"), (0, 1), usage)
    from lca_sweep.sweep.known import find, now
    from lca_sweep.sweep.overview import latest, there_are
    from lca_sweep.sweep.ui import ui

    where, known = place(values), None
    if names:
        known = now(find(where, names[0], "ui"))
    elif there_are(where):
        known = latest(where, "ui")
    return ui(known, values.get("tracking.uri"), port)


def show(words: Sequence[str]) -> int:
    """`show [NAME] TRIAL|best [--json] [sweep.dir=DIR] ...`, and where its study and runs are."""
    words, as_json = flag("--json", words)
    usage = "show [NAME] TRIAL|best [--json] [sweep.dir=DIR]"
    names, values = several("show", words, SHOWING, (1, 2), usage)
    number = None if names[-1] == "best" else whole("show: ", names[-1], least=0)
    from lca_sweep.sweep.overview import best_of, latest
    from lca_sweep.sweep.showing import show

    name = names[0] if len(names) == 2 else latest(place(values), "show").name
    known = _known(name, values, "show")
    return show(known, best_of(known, "show") if number is None else number, as_json)


def resume(words: Sequence[str]) -> int:
    """`resume [NAME] [sweep.trials=64] ...`: all knobs that may change, and URLs with their passwords."""
    from lca_sweep.sweep.resuming import CHANGES, resume

    names, values = several("resume", words, CHANGES, (0, 1), "resume [NAME] [sweep.trials=N] [sweep.dir=DIR]")
    from lca_sweep.sweep import run

    return run(*resume(place(values), names[0] if names else None, values))


def doctor(words: Sequence[str]) -> int:
    """`doctor [WORDS as for a run] [--config-dir DIR] [--json]`."""
    words, as_json = flag("--json", words)
    words, folder = option("--config-dir", words, "doctor", "a folder")
    if unknown := [word for word in words if word.startswith("-")]:
        raise UsageError(f"doctor: {unknown[0]}: write doctor [WORDS as for a run] [--config-dir DIR] [--json]")
    config, _ = checked_sweep(words, [config_dir(), *own_folder(folder)])
    from lca_sweep.sweep.doctor import doctor

    return doctor(config, as_json)


def compare(words: Sequence[str]) -> int:
    """`compare A B [--json] [sweep.dir=DIR]`."""
    words, as_json = flag("--json", words)
    names, values = several("compare", words, ("sweep.dir",), (2,), "compare A B [--json] [sweep.dir=DIR]")
    from lca_sweep.sweep.comparing import compare

    a, b = (_known(name, values, "compare") for name in names)
    return compare(a, b, as_json)


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
        "ui": ui,
        "show": show,
        "resume": resume,
        "doctor": doctor,
        "compare": compare,
    }
)
NAMED = ("stop", "report", "status", "enqueue", "set", "ui", "show", "resume", "compare")  # that take a sweep's name


def _known(name: str, values: Mapping[str, Any], what: str) -> Known:
    """The sweep of this name as it was last started, with the knobs that are told otherwise."""
    from dataclasses import replace as other

    from lca_sweep.sweep.known import find, now

    known = now(find(place(values), name, what))
    told = {knob: value for knob, value in values.items() if knob in SHOWING and knob != "sweep.dir"}
    return other(known, config=replace(known.config, told))
