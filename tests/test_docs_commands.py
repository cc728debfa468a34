"""Every command in README.md, CONTRIBUTING.md and docs/ is one that works.

What it begins with says how it is looked at: the first of RULES that fits counts, and a command that none fits is an
error, so that no new kind goes unlooked at. `at once`: all that it names is there, and words of ours are accepted; done
for every command, those between single backticks in the text too. `for real`: those in blocks, in the order of their
page, in one folder, as a reader would, with fewer and shorter trials; a command that several pages have runs once.

Blocks have a language. None: commands. `text`: what is printed. `python`: executed. `yaml`: composes. A word behind the
language is the file that the reader makes of the block, and so does the test; `diff` is applied to a copy of the package.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import docs_checks as look
import pytest
from docs_helpers import PAGES, ROOT, Block, Line, blocks, commands, lines, spans
from sweep_helpers import PATIENCE, free_port, poll, reported, running

from lca_sweep.checking import checked_sweep
from lca_sweep.commands import COMMANDS
from lca_sweep.compose import config_dir


def look_at(words: list[str]) -> None:
    """At once, by the rule that fits."""
    rule(words).at_once(words)


@dataclass(frozen=True)
class Rule:
    begins: str  # a pattern
    at_once: look.Check
    for_real: str | None = None  # how, if at all: a method of Reader


RULES = (
    #    begins with                                  at once                                     for real
    Rule(r"python -m lca_sweep (stop|set|enqueue) ",  look.is_accepted),  # of a sweep that runs: a test of their own
    Rule(r"python -m lca_sweep submit (--attach|--stop) ", look.is_accepted),
    Rule(r"python -m lca_sweep ui\b",                 look.is_accepted,                           "serves"),
    Rule(r"python -m lca_sweep\b",                    look.is_accepted,                           "runs"),
    Rule(r"lca-sweep\b",                              look.is_accepted),
    Rule(r"make sweep\b",                             look.is_a_target,                           "makes"),
    Rule(r"make\b",                                   look.is_a_target),  # .ci/run does
    Rule(r"python [\w/]+\.py",                        look.is_a_script),  # tests of their own, or hours
    Rule(r"pip install ",                             look.is_declared),
    Rule(r"optuna-dashboard ",                        look.names_a_study,                         "serves"),
    Rule(r"ray start --head",                         look.is_installed,                          "leads"),
    Rule(r"ray (start|status|stop|get-auth-token)\b", look.is_installed),  # stop would end all of this machine's
    Rule(r"export ",                                  look.is_a_variable,                         "exports"),
    Rule(r"(tar|cp|mkdir) ",                          look.is_installed,                          "types"),
    Rule(r"cd ",                                      lambda words: None,                         "goes"),
    Rule(r"(rsync|scp) ",                             lambda words: None),  # to a machine of the reader's own
    Rule(r"\. ",                                      look.is_set_up),
    Rule(r"grep ",                                    look.finds),
    Rule(r"(sed|base64) ",                            look.is_installed),
    # no engine and no cluster here: what they name is looked up; tests/test_compose.py and test_manifests.py do more
    Rule(r"docker compose ",                          functools.partial(look.composes, check=look_at)),
    Rule(r"docker build ",                            look.builds),
    Rule(r"kind load docker-image ",                  look.are_images),
    Rule(r"helm install ",                            look.is_the_operator),
    Rule(r"kubectl( -n [\w-]+)? [a-z]+ ",             functools.partial(look.is_there, check=look_at)),
    Rule(r"k8s/secrets\.example/make\.sh\b",          look.is_a_file),
    Rule(r"(psql|pg_dumpall|nvidia-smi)\b",           lambda words: None),  # in a pod
    Rule(r"wget ",                                    look.asks_a_port),
    Rule(r"[a-z_]+\.[a-z_.]+=",                       look.is_a_sweep),  # a block of knobs alone
)  # fmt: skip

SHORTER = ("trainer.epochs=1", "trainer.train_size=500", "analysis.subnetworks=2", "analysis.repeats=2")
FEWER = {  # the same each time, as a sweep of a name has one set of knobs
    "+sweep=smoke": (),
    "+sweep=paper": ("sweep.space.init.seed={choices: [0, 1]}", "pack.size=2"),
    None: ("sweep.trials=4", "pack.size=2"),
}
MORE = "sweep.trials=6"  # for any greater number
REPLACED = (  # in blocks of Python
    ("TrialKnobs()", "__import__('lca_sweep.core.knobs').core.replace_me"),
)
BEFORE = {"search.md": "python -m lca_sweep +sweep=mnist"}  # what a page takes for granted


def rule(words: Sequence[str]) -> Rule:
    """The first that fits a command."""
    text = " ".join(words) + " "
    fitting = [rule for rule in RULES if re.match(rule.begins, text)]
    assert fitting, f"{text}: no rule says how to test this; add one to RULES"
    return fitting[0]
