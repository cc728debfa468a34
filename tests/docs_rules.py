"""Every command in README.md, CONTRIBUTING.md and docs/ is one that works: how each is looked at.

What it begins with says how it is looked at: the first of RULES that fits counts, and a command that none fits is an
error, so that no new kind goes unlooked at. `at once`: all that it names is there, and words of ours are accepted; done
for every command, those between single backticks in the text too. `for real`: those in blocks, in the order of their
page, in one folder, as a reader would, with fewer and shorter trials; a command that several pages have runs once.

Blocks have a language. None: commands. `text`: what is printed. `python`: executed. `yaml`: composes. A word behind the
language is the file that the reader makes of the block, and so does the test. `diff` is applied to a copy of the
package.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import docs_checks as look

from lca_sweep.commands import COMMANDS


@dataclass(frozen=True)
class Rule:
    begins: str  # a pattern
    at_once: look.Check
    for_real: str = ""  # how, if at all: a method of Reader


def look_at(words: list[str]) -> None:
    """At once, by the rule that fits."""
    rule(words).at_once(words)


RULES = (
    #    begins with                                           at once                                 for real
    Rule(r"python -m lca_sweep (stop|set|enqueue) ",           look.is_accepted),  # test_docs_guides.py
    Rule(r"python -m lca_sweep submit (--attach|--stop) ",     look.is_accepted),
    Rule(r"python -m lca_sweep submit .*cluster=kubernetes",   look.is_accepted),  # there is none
    Rule(r"python -m lca_sweep ui\b",                          look.is_accepted,                       "serve"),
    Rule(r"python -m lca_sweep\b",                             look.is_accepted,                       "run"),
    Rule(r"lca-sweep\b",                                       look.is_accepted),
    Rule(r"make sweep\b",                                      look.is_a_target,                       "make"),
    Rule(r"make\b",                                            look.is_a_target),  # .ci/run does
    Rule(r"python [\w/]+\.py\b",                               look.is_a_script),  # tests of their own, or hours
    Rule(r"pip install ",                                      look.is_declared),
    Rule(r"optuna-dashboard ",                                 look.names_a_study,                     "serve"),
    Rule(r"ray get-auth-token ",                               look.is_of_ray,                         "type"),
    Rule(r"ray start --head ",                                 look.is_of_ray,                         "lead"),
    Rule(r"ray [a-z-]+ ",                                      look.is_of_ray),  # stop would end all of a machine's
    Rule(r"export \w+=INNER",                                  look.is_a_variable),
    Rule(r"export ",                                           look.is_a_variable,                     "export"),
    Rule(r"(tar|mkdir) ",                                      look.is_of_the_system,                  "type"),
    Rule(r"cd \w",                                             look.is_of_the_system,                  "go"),
    Rule(r"(sed|base64|ssh) ",                                 look.is_of_the_system),
    Rule(r"\. ",                                               look.is_set_up),
    Rule(r"grep ",                                             look.finds),
    # no engine and no cluster here: what they name is looked up; test_compose.py, test_manifests.py and others do more
    Rule(r"docker compose ",                                   functools.partial(look.composes, check=look_at)),
    Rule(r"docker build ",                                     look.builds),
    Rule(r"kind load docker-image ",                           look.are_images),
    Rule(r"helm install ",                                     look.is_the_operator),
    Rule(r"kubectl ",                                          functools.partial(look.is_there, check=look_at)),
    Rule(r"k8s/\S+\.sh ",                                      look.is_a_script),
    Rule(r"(psql|pg_dumpall|nvidia-smi) ",                     look.is_in_an_image),
    Rule(r"wget ",                                             look.asks_a_port),
    Rule(r"[a-z_]+\.[a-z_.]+=",                                look.is_a_sweep),  # knobs alone
)  # fmt: skip

# How trials are made fewer and shorter; always the same, for the knobs of a sweep of one name are.
# Reports are made where a page says `report`, and once beside; where a page says a GPU, the cores are taken.
IMAGES = "trainer.train_size=500"  # unless a page's data are so few that it says how large a mini-batch may be
SHORTER = ("trainer.epochs=1", IMAGES, "analysis=none", "cluster.gpus_per_pack=0")
FEWER: dict[str, tuple[str, ...]] = {
    "": ("sweep.trials=4", "pack.size=2"),  # any sweep but these
    "+sweep=smoke": ("analysis=best", "analysis.subnetworks=2"),
    "+sweep=paper": ("sweep.space.init.seed={choices: [0, 1]}", "pack.size=2"),
}
LOOKS = ("analysis=all", "analysis.subnetworks=2", "analysis.repeats=2")  # of `report`
MORE = "sweep.trials=6"  # where a page says a number
QUICKER = (("TrialKnobs()", "TrialKnobs(trainer=core.Trainer(epochs=1))"), ("epochs=30", "epochs=2"))  # Python's
PRELUDE = 'from lca_sweep import core\nimages = core.load("mnist").test.x[:2]\n'  # what a reader has: images
FOLLOWED = {  # pages that are done for real, one after the other in a folder, and what they take for granted
    "README.md": "",
    "docs/tutorial.md": "",
    "docs/categories.md": "python -m lca_sweep +sweep=paper",
    "docs/search.md": "python -m lca_sweep +sweep=mnist",
}
ALONE = {  # the same, each in a folder of its own
    "docs/howto.md": "python -m lca_sweep +sweep=mnist",
    "docs/data.md": "",
    "docs/cluster.md": "",
}
ELSEWHERE = ("docs/compose.md", "docs/kubernetes.md")  # pages of what there is no engine for


def rule(words: Sequence[str]) -> Rule:
    """The first that fits a command."""
    text = " ".join(words) + " "
    for one in RULES:
        if re.match(one.begins, text):
            return one
    raise AssertionError(f"{text}: no rule says how to test this; add one to RULES")


def shortened(words: Sequence[str]) -> list[str]:
    """The words of a sweep with those that make it short; others as they are."""
    if words[:1] == ["report"]:
        return [*words, *LOOKS]
    if {"--help", "--cfg"} & set(words) or (words and words[0] in COMMANDS and words[0] not in ("submit", "doctor")):
        return list(words)
    sweeps = [word for word in words if word.startswith("+sweep=")]
    fewer = FEWER.get(sweeps[0], FEWER[""]) if sweeps else ()
    if any(word.startswith("sweep.trials=") for word in words):
        fewer = (*(word for word in fewer if not word.startswith("sweep.trials=")), MORE)
    few = any(word.startswith("trainer.batch_size=") for word in words)
    less = [word for word in SHORTER if word != IMAGES or not few]
    return [*words, *less, *fewer]
