"""The door: what one types becomes a validated Config and a Space, and a wrong word a plain line on stderr.

Nothing heavy is imported here: --help and --version answer at once, and a mistake is refused before torch is loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lca_sweep import __version__
from lca_sweep.checking import Parser, checked_sweep, own_folder
from lca_sweep.commands import COMMANDS
from lca_sweep.compose import compose, config_dir, groups, hydra_words, register
from lca_sweep.config import Config
from lca_sweep.core.errors import UserError
from lca_sweep.core.knobs import flat, nearest
from lca_sweep.manual import manual
from lca_sweep.overrides import UsageError

if TYPE_CHECKING:
    from lca_sweep.search.space import Space

DEBUG = ("debug=true", "debug=false")  # words about how errors are told, whatever else is asked for
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

USAGE = """\
lca_sweep {version}: sweeps over spike-and-slab networks trained by gBP

  python -m lca_sweep                        train the paper's setting once
  python -m lca_sweep trainer.lr=0.05        with a knob changed
  python -m lca_sweep +sweep=mnist           run the sweep conf/sweep/mnist.yaml
  python -m lca_sweep +sweep=mnist sweep.trials=64 pruner=none
  python -m lca_sweep +sweep=mnist sweep.space.trainer.lr.low=1e-3
  python -m lca_sweep +sweep=mnist '~sweep.space.model' model.width=100

  python -m lca_sweep list, status [NAME]    how sweeps stand
  python -m lca_sweep show [NAME] TRIAL      one trial (or best): knobs, metrics
  python -m lca_sweep compare A B            two sweeps side by side
  python -m lca_sweep ui [NAME]              the MLflow UI on its runs
  python -m lca_sweep set NAME trials=64     or concurrency=2, while it runs
  python -m lca_sweep enqueue NAME trainer.lr=0.05  or --csv FILE: trained next
  python -m lca_sweep stop NAME              end a running sweep in order
  python -m lca_sweep resume [NAME]          go on with what was interrupted
  python -m lca_sweep report NAME            make its page of figures anew
  python -m lca_sweep doctor [WORDS]         would a run find what it needs?
  python -m lca_sweep submit +sweep=mnist cluster=kubernetes
                                             run it on a Ray cluster elsewhere
                  --address http://HOST:8265 (or RAY_API_SERVER_ADDRESS); its
                  words are a sweep's; --no-wait; --attach ID, --stop ID

The same command again resumes, too; more trials extend a sweep.
Ctrl-C once finishes the epoch and saves it; twice ends at once.
list, status, show, compare, doctor: --json for programs. More: help COMMAND.
lca-sweep is short for python -m lca_sweep.

Groups of knobs, and their choices (conf/GROUP/CHOICE.yaml)
{groups}

Flags
  --cfg job         show every knob with its value, and run nothing
  --info defaults   show which conf files are used (also: all, config, ...)
  --config-dir DIR  a conf folder of your own beside ours: DIR/sweep/mine.yaml
  --help, --version, --hydra-help; -sc for tab completion, in bash:
                    eval "$(lca-sweep -sc install=bash)"
  debug=true        show the traceback of any error (or LCA_SWEEP_DEBUG=1 in
                    the environment)

Written here: {sweeps}/NAME/ (study, checkpoints, logs), {uri} (see ui)

Exit status: 0 done; 1 no trial is complete, or doctor finds something wrong;
2 refused; 3 something was lost; 130 interrupted; 143 terminated. resume NAME
goes on after 3, 130 and 143.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the words say (those of the process by default); the exit status.

    0: done, or as far as a goal or a time budget goes, or `ui` was ended; 1: a sweep is done and no trial is complete,
    or `doctor` has found something wrong; 2: refused, and nothing was begun; 3: something that a sweep needs was lost
    (`UserError.status`); 130, 143: interrupted, terminated. After 3, 130 and 143 the same command goes on, as `resume`.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _open([word for word in words if word not in DEBUG])
    except KeyboardInterrupt:
        print("lca_sweep: interrupted", file=sys.stderr)
        return 130
    except UserError as error:
        if _wants_traceback(words):
            traceback.print_exc()
        print(f"lca_sweep: {error}", file=sys.stderr)
        return error.status


def start(config: Config, space: Space) -> int:
    """Run the sweep; its exit status."""
    from lca_sweep.sweep import run

    return run(config, space)


def usage(folders: Sequence[Path]) -> str:
    """The page of --help; the groups and choices are those found in the conf folders."""
    choices = groups(folders)
    shown = {("+" if group == "sweep" else " ") + group: names for group, names in choices.items()}
    table = "\n".join(
        textwrap.fill(f" {group:<11} {', '.join(names)}", 80, subsequent_indent=" " * 13)
        for group, names in shown.items()
    )
    uri = Config().tracking.uri.removeprefix("sqlite:///")
    return USAGE.format(version=__version__, groups=table, sweeps=Config().sweep.dir, uri=uri)


def _open(argv: list[str]) -> int:
    argv = _command_first(argv)
    if argv and argv[0] in COMMANDS:
        if {"--help", "-h"} & set(argv[1:]):
            return _show(manual(argv[0]))
        return COMMANDS[argv[0]](argv[1:])
    if argv[:1] == ["help"]:
        return _show(_help(argv[1:]))
    flags = _parser().parse_intermixed_args(argv)
    _refuse_misuse(flags)
    folders = [config_dir(), *own_folder(flags.config_dir)]
    _refuse_no_command(argv, folders)
    if any((flags.version, flags.help, flags.cfg, flags.info, flags.hydra_help, flags.shell_completion)):
        status = _show(_answer_to(flags, folders))
        if flags.cfg in ("job", "all"):
            checked_sweep(flags.overrides, folders)  # what is wrong with it is told, and it is shown all the same
        return status
    return _run(flags.overrides, folders)


def _command_first(argv: list[str]) -> list[str]:
    """`--config-dir DIR doctor ...` as `doctor ... --config-dir DIR`."""
    if len(argv) > 2 and argv[0] in ("--config-dir", "-cd") and argv[2] in COMMANDS:
        return [*argv[2:], "--config-dir", argv[1]]
    return argv


def _help(words: Sequence[str]) -> str:
    """The page of --help, or that of a command."""
    if not words:
        return usage([config_dir()])
    if len(words) > 1 or words[0] not in COMMANDS:
        raise UsageError(f"help {' '.join(words)}: must be help, or help COMMAND{nearest(words[0], COMMANDS)}")
    return manual(words[0])


def _answer_to(flags: argparse.Namespace, folders: list[Path]) -> str:
    """The text that was asked for, where nothing is to be run."""
    if flags.version:
        return f"lca_sweep {__version__}\n"
    if flags.help:
        return usage(folders)
    return _ask_hydra(flags, folders)


def _show(text: str) -> int:
    """Print; a reader that has seen enough (`| head`) is no error."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at exit
    return 0


def _run(words: Sequence[str], folders: Sequence[Path]) -> int:
    """Check everything that can be checked before anything is written, then start."""
    return start(*checked_sweep(words, folders))


def _parser() -> argparse.ArgumentParser:
    """Our flags, named as Hydra's; the others of Hydra's have no meaning here."""
    parser = Parser(prog="lca_sweep", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    for names in (("--help", "-h"), ("--version",), ("--multirun", "-m"), ("--resolve",)):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--config-dir", "-cd")
    commands = parser.add_mutually_exclusive_group()
    commands.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    commands.add_argument("--info", "-i", nargs="?", const="all", choices=INFO)
    commands.add_argument("--hydra-help", action="store_true")
    commands.add_argument("--shell-completion", "-sc", action="store_true")
    return parser


def _refuse_misuse(flags: argparse.Namespace) -> None:
    if flags.multirun:
        raise UsageError("--multirun: not Hydra, lca_sweep itself runs the trials; say what to search in sweep.space")
    for flag in ("resolve", "package"):
        if getattr(flags, flag) and not flags.cfg:
            raise UsageError(f"--{flag}: goes with --cfg only")


def _refuse_no_command(argv: Sequence[str], folders: Sequence[Path]) -> None:
    """A bare word in front that is neither the name of a conf file nor nearly that of a knob was meant as a command."""
    word, choices = argv[0] if argv else "", groups(folders)
    if not re.fullmatch(r"[a-z]+", word) or word in choices or any(word in names for names in choices.values()):
        return
    if hint := nearest(word, COMMANDS):
        raise UsageError(f"{word}: not understood{hint}")
    if not nearest(word, flat(Config())):
        commands = ", ".join((*COMMANDS, "help"))
        raise UsageError(f"{word}: not understood; write NAME=VALUE, or a command in front: {commands}")


def _ask_hydra(flags: argparse.Namespace, folders: list[Path]) -> str:
    """Hydra's answer to a question about the configuration, or to the shell's for completions."""
    words = flags.overrides
    if flags.cfg or flags.info:
        compose(words, folders)  # so that mistakes are told in our words
        words = hydra_words(words, folders)
    elif flags.shell_completion and not re.fullmatch(r"(install|uninstall|query)=(bash|fish|zsh)", " ".join(words)):
        raise UsageError("-sc: needs install=SHELL or uninstall=SHELL, SHELL being bash, fish or zsh")
    ask = [*_hydra_flags(flags), *words]
    if words[:1] and words[0].startswith("query="):
        return _completions(ask, folders[0])
    status, answer, complaint = _hydra(ask, str(folders[0]))
    if status != 0:
        raise UsageError(complaint.strip())
    sys.stderr.write(complaint)
    return answer


def _completions(ask: list[str], folder: Path) -> str:
    """What the shell is told; whatever is wrong: nothing disturbs who is still typing a word."""
    from lca_sweep.completing import completed, typed

    def knobs(line: str) -> str:
        with _environment("COMP_LINE", line):
            return _hydra(ask, str(folder))[1]

    found = completed(typed(), knobs)
    return ("\n".join(found.split()) if ask[-1] == "query=fish" else found) + "\n"


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """With a variable set, for as long as this lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        os.environ.update({} if before is None else {name: before})


def _hydra(words: list[str], folder: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of Hydra's main. It reads sys.argv, where the name to complete stands first."""
    import hydra

    register()
    ask = hydra.main(version_base="1.3", config_path=folder, config_name="config")(lambda tree: None)
    before, status, answer, complaint = sys.argv, 0, io.StringIO(), io.StringIO()
    sys.argv = ["lca-sweep", *words]
    try:
        with contextlib.redirect_stdout(answer), contextlib.redirect_stderr(complaint):
            ask()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv = before
    return status, answer.getvalue(), complaint.getvalue()


def _hydra_flags(flags: argparse.Namespace) -> list[str]:
    values = (("--cfg", flags.cfg), ("--info", flags.info), ("--package", flags.package))
    switches = ("resolve", "hydra_help", "shell_completion")
    words = [word for name, value in values if value for word in (name, value)]
    return words + [f"--{name.replace('_', '-')}" for name in switches if getattr(flags, name)]


def _wants_traceback(words: Sequence[str]) -> bool:
    if said := [word for word in words if word in DEBUG]:
        return said[-1] == DEBUG[0]
    return any(os.environ.get(name, "") not in ("", "0") for name in ("HYDRA_FULL_ERROR", "LCA_SWEEP_DEBUG"))
