"""Nothing lost, nothing doubled: a sweep is killed over and over, and its books are compared with an undisturbed one's.

`python benchmarks/chaos.py` kills a hundred times in about half an hour on two cores. A round is one sweep in a fresh
folder that is disturbed until its plan is through, and then ends; there are as many rounds as it takes to have all
kills, all of them the same sweep, and each is compared with the same undisturbed one. The driver (SIGKILL, SIGINT or
SIGTERM), a worker, the raylet of the driver's own Ray and the MLflow server are killed at moments drawn from the seed;
what died is started again, the driver by the same command. Every third round records to MLflow's SQLite file itself,
which the driver makes, instead of to a server. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [entry for entry in map(str, (ROOT / "tests", ROOT)) if entry not in sys.path]  # its helpers

from chaos_books import Books, compare, lawless, repeats  # noqa: E402
from chaos_plan import KINDS, Moment, plan  # noqa: E402
from chaos_scene import Scene, Stopped, serving  # noqa: E402

NAME = "chaos"
EVERY = 4  # epochs between checkpoints
DETERMINISTIC = ("search=tpe", "search.deterministic=true", "search.generation=2", "search.startup_trials=8")
ABSURD = 1e30  # a learning rate that gives NaN
SWEEP = (
    "data=digits",
    "trainer.batch_size=100",
    "pack.size=4",
    f"pack.checkpoint_every={EVERY}",
    "pruner=halving",
    "pruner.min_epochs=6",
    "cluster.packs=2",
    f"sweep.name={NAME}",
    f"sweep.space.trainer.lr.choices=[0.005,0.01,0.02,0.05,{ABSURD}]",
    "sweep.space.init.spike={low: 0.0, high: 0.5}",
    "sweep.space.model.width={low: 8, high: 16}",
)
WITHOUT_SERVER = 3  # every so many rounds


@dataclass(frozen=True)
class Size:
    """How large a sweep is."""

    trials: int = 48
    epochs: int = 40

    def words(self, uri: str) -> tuple[str, ...]:
        """Its command."""
        return (
            *SWEEP,
            *DETERMINISTIC,
            f"sweep.trials={self.trials}",
            f"trainer.epochs={self.epochs}",
            f"tracking.uri={uri}",
        )


@dataclass(frozen=True)
class Round:
    """A sweep that was disturbed until it was over, or until it was given up (`findings` say why)."""

    scene: Scene
    books: Books | None

    def verdict(self, expected: Books) -> Mapping[str, Sequence[str]]:
        """Differences by subject."""
        if self.books is None:
            return {"the sweep comes to its end": [str(self.scene.findings[-1:])]}
        return {**compare(expected, self.books), **lawless(self.books, EVERY)}


def play(
    folder: Path,
    size: Size,
    moments: Sequence[Moment] = (),
    seed: str = "",
    server: bool = True,
    stop: threading.Event | None = None,
) -> Round:
    """One sweep in `folder`, which is made; undisturbed without moments."""
    folder.mkdir(parents=True)
    with serving(folder, server) as mlflow:
        scene = Scene(folder, size.words(mlflow.uri), size.trials, mlflow, moments, seed)
        try:
            scene.play(stop or threading.Event())
        except RuntimeError:  # it is in the findings
            return Round(scene, None)
    return Round(scene, Books.read(folder, NAME, scene.trace))


# --- the table -----------------------------------------------------------------------------------------------------


def report(undisturbed: Round, rounds: Sequence[Round]) -> str:
    """All in Markdown."""
    assert undisturbed.books is not None
    verdicts = [one.verdict(undisturbed.books) for one in rounds]
    parts = (_kills(rounds), _ends(rounds), _costs(undisturbed, rounds), _verdicts(verdicts), _findings(rounds))
    return "\n".join("\n".join(part) for part in parts)


def is_clean(undisturbed: Round, rounds: Sequence[Round]) -> bool:
    """Whether nothing differs and nothing was found."""
    assert undisturbed.books is not None
    differ = any(lines for one in rounds for lines in one.verdict(undisturbed.books).values())
    return not differ and not any(one.scene.findings for one in (undisturbed, *rounds))


def _kills(rounds: Sequence[Round]) -> Iterator[str]:
    kills = [kill.moment for one in rounds for kill in one.scene.kills]
    yield f"\n### {len(kills)} kills in {len(rounds)} rounds\n\n| killed | times | after which event |\n|---|---:|---|"
    for kind in KINDS:
        events = Counter(moment.after for moment in kills if moment.kind == kind)
        yield f"| {kind} | {events.total()} | {', '.join(f'{name} {n}' for name, n in events.most_common())} |"
    starts = sum(len(one.scene.lives) for one in rounds)
    servers = sum(one.scene.server.starts for one in rounds)
    yield f"\nThe driver was started {starts} times, the server {servers} times."


def _ends(rounds: Sequence[Round]) -> Iterator[str]:
    lives = [life for one in rounds for life in one.scene.lives]
    yield "\n### How drivers ended\n"
    yield "| exit status | after a kill of | words on stderr | times | at most s later |\n|---:|---|---|---:|---:|"
    ends: dict[tuple[str, str, str], list[float]] = {}
    for life in lives:
        hit = "+".join(sorted(set(life.hits))) or "nothing"
        ends.setdefault((str(life.code), hit, _words(life.said())), []).append(life.survived())
    for (code, hit, words), seconds in sorted(ends.items()):
        yield f"| {code} | {hit} | {words} | {len(seconds)} | {max(seconds):.1f} |"
    outlived = [life.outlived for life in lives if life.outlived]
    yield f"\nSomething outlived {len(outlived)} of {len(lives)} drivers, for {max(outlived, default=0):.0f} s at most."


def _words(said: str) -> str:
    """The one line that tells most, without what differs each time."""
    lines = said.strip().splitlines() or [""]
    line = lines[-1] if "Traceback" in said else lines[0]
    return re.sub(r"\d+", "#", line)[:100].replace("|", "\\|")


def _costs(undisturbed: Round, rounds: Sequence[Round]) -> Iterator[str]:
    yield "\n### What it costs\n\n| | undisturbed | disturbed, a round |\n|---|---:|---:|"
    seconds = [one.scene.seconds for one in rounds]
    yield f"| wall time, s | {undisturbed.scene.seconds:.0f} | {sum(seconds) / len(seconds):.0f} |"
    assert undisturbed.books is not None
    books = [one.books for one in rounds if one.books]
    again = [epochs for one in books for _, epochs in repeats(one)]
    each = max(len(books), 1)
    trained = sum(len(one.trained) for one in books) / each
    yield f"| epochs of packs trained | {len(undisturbed.books.trained)} | {trained:.0f} |"
    yield f"| packs taken up again | 0 | {len(again) / each:.1f} |"
    yield f"| epochs trained again, in all | 0 | {sum(again) / each:.1f} |"
    yield f"| epochs trained again, at most at a time | 0 | {max(again, default=0)} |"


def _verdicts(verdicts: Sequence[Mapping[str, Sequence[str]]]) -> Iterator[str]:
    yield "\n### Against the undisturbed sweep\n\n| what | rounds | result |\n|---|---:|---|"
    for subject in dict.fromkeys(subject for one in verdicts for subject in one):
        found = [one[subject] for one in verdicts if subject in one]
        differ = sum(map(len, found))
        yield f"| {subject} | {len(found)} | {f'{differ} differ' if differ else 'equal'} |"
    for number, one in enumerate(verdicts, 1):
        for subject, lines in one.items():
            yield from (f"- round {number}, {subject}: {line}" for line in lines[:5])
            if len(lines) > 5:
                yield f"- round {number}, {subject}: and {len(lines) - 5} more"


def _findings(rounds: Sequence[Round]) -> Iterator[str]:
    found = [finding for one in rounds for finding in one.scene.findings]
    yield "\n### What drivers must not do\n" if found else ""
    yield from (f"- {finding}" for finding in found)


# --- the command line ----------------------------------------------------------------------------------------------


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 0 if all is equal."""
    args = _arguments(words)
    # a shell that runs us in the background tells us, and so all that we start, to ignore an interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scratch = Path(tempfile.mkdtemp(prefix="chaos-", dir=args.dir))
    size = Size(args.trials, args.epochs)
    undisturbed = play(scratch / "undisturbed", size)
    print(f"undisturbed: {undisturbed.scene.seconds:.0f} s; all is in {scratch}", flush=True)
    rounds = _rounds(scratch, size, args)
    print(report(undisturbed, rounds))
    if is_clean(undisturbed, rounds):
        shutil.rmtree(scratch)
        return 0
    print(f"\nNot equal. All that was left is in {scratch}: kills.log and driver-*.err of each round.")
    return 1


def _rounds(scratch: Path, size: Size, args: argparse.Namespace) -> list[Round]:
    """As many as it takes to have all kills, so many at a time; all are over at the end, also at an interrupt."""
    stop, rounds = threading.Event(), list[Round]()

    def one(number: int) -> Round:
        moments = plan(f"{args.seed} {number}", args.kills_per_round)
        server = number % WITHOUT_SERVER > 0
        if not server:
            moments = [moment for moment in moments if moment.kind != "server"]
        done = play(scratch / f"round-{number:02d}", size, moments, f"{args.seed} {number}", server, stop)
        print(f"round {number}: {len(done.scene.kills)} kills, {done.scene.seconds:.0f} s", flush=True)
        return done

    def kills() -> int:
        return sum(len(done.scene.kills) for done in rounds)

    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            while kills() < args.kills:
                more = -(-(args.kills - kills()) // args.kills_per_round)
                rounds += pool.map(one, range(len(rounds) + 1, len(rounds) + 1 + more))
        except BaseException:
            stop.set()
            raise
    return rounds


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in all; there may be a few more")
    parser.add_argument("--kills-per-round", type=int, default=13, help="in one sweep, at most")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time")
    parser.add_argument("--trials", type=int, default=Size.trials)
    parser.add_argument("--epochs", type=int, default=Size.epochs)
    parser.add_argument("--dir", help="where the scratch folder is made")
    return parser.parse_args(words)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, Stopped):
        sys.exit("chaos: interrupted")
