"""What `help COMMAND` and `COMMAND --help` say: how the command is written, and what it does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MANUAL: Mapping[str, str] = MappingProxyType(
    {
        "stop": """stop NAME [sweep.dir=DIR]

End a running sweep in order: its trials finish their epoch and are saved, and
`resume NAME` goes on. From any shell that sees the sweep's folder.""",
        "report": """report NAME [analysis=all|best] [sweep.dir=DIR]
[data.dir=DIR] [sweep.storage=PLACE] [search.storage=URL]

Make the page of figures and its PNGs anew, from what the sweep has kept.
analysis=all looks into all complete trials, not only into the best one.""",
        "list": """list [--json] [sweep.dir=DIR]

All sweeps in a folder: how many of their trials have ended, and the best one.""",
        "status": """status [NAME] [--json] [sweep.dir=DIR] [search.storage=URL]

One sweep: who runs it, what is being trained, the best trials. Without a name:
those that run, else the one that changed last.""",
        "enqueue": """enqueue NAME KNOB=VALUE ... [sweep.dir=DIR]
[search.storage=URL]
enqueue NAME --csv FILE

Points to be trained next, whether the sweep runs or not: those named here, or
one a line of a CSV file. The sampler chooses the knobs that are not named.""",
        "set": """set NAME trials=N [concurrency=N] [sweep.dir=DIR]

Another number of trials, or of packs at a time, for a sweep that runs.""",
        "submit": """submit WORDS [--address http://HOST:8265] [--no-wait]
[--config-dir DIR]
submit --attach ID | --stop ID [--address http://HOST:8265]

Run a sweep on a Ray cluster elsewhere; the words are those of a sweep. Without
--address: RAY_API_SERVER_ADDRESS. See docs/cluster.md.""",
        "ui": """ui [NAME] [--port N] [sweep.dir=DIR] [tracking.uri=URI]

The MLflow UI on a sweep's runs, on this machine alone, until Ctrl-C. Without a
name: on those of the sweep that changed last; the others are a click away.""",
        "show": """show [NAME] TRIAL|best [--json] [sweep.dir=DIR]
[search.storage=URL] [sweep.storage=PLACE]
[tracking.uri=URI]

One trial: its knobs, its course, its metrics, where its weights and its MLflow
run are. Without a name: of the sweep that changed last.""",
        "resume": """resume [NAME] [sweep.trials=N] [sweep.dir=DIR] ...

Go on with a sweep that was interrupted, as the command that began it would.
Without a name: with the only one that was.""",
        "doctor": """doctor [WORDS as for a run] [--config-dir DIR] [--json]

Whether a run with these words would find here what it needs: versions, GPU,
memory, disk, data, stores, ports. Each line is ok, or says how to mend it.""",
        "compare": """compare A B [--json] [sweep.dir=DIR]

Two sweeps side by side: in what they differ, how far they are, their best.""",
    }
)


def manual(command: str) -> str:
    """The page of one command."""
    ways, told = MANUAL[command].split("\n\n", 1)
    program = "python -m lca_sweep "
    lines = [(program if line.startswith(command) else " " * len(program)) + line for line in ways.splitlines()]
    return "\n".join([*lines, "", told, ""])
