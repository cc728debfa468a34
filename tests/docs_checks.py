"""What is looked up at once of a command in the documents: that all that it names is there. AssertionError if not."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from unittest import mock

import yaml
from compose_helpers import compose
from docs_helpers import ROOT
from manifest_helpers import K8S, OTHERS, secrets

from lca_sweep import __version__, cli
from lca_sweep.checking import checked_sweep, own_folder
from lca_sweep.commands import COMMANDS
from lca_sweep.compose import config_dir
from lca_sweep.config import KnobError
from lca_sweep.core.errors import UserError
from lca_sweep.overrides import UsageError

Words = Sequence[str]
Check = Callable[[list[str]], None]

PLACEHOLDER = re.compile(r"[A-Z]+")  # NAME, POD, TRIAL: a word of the reader's own
KINDS = {"rayjob", "raycluster", "pod", "pods", "nodes", "secret"}
SHORT = {"svc": "Service", "job": "RayJob"}  # the Job that hands a RayJob in has its name


# --- our own -------------------------------------------------------------------------------------------------------


def is_accepted(words: Words) -> None:
    """By the code that a start goes through first. A command on a sweep may say that there is none of this name."""
    command, *rest = [*_filled(words[1 if words[0] == "lca-sweep" else 3 :]), ""]
    rest = rest[:-1]
    if command == "doctor":
        return is_a_sweep(rest)
    if command not in COMMANDS:
        with mock.patch.object(cli, "start", return_value=0):
            status = cli.main([word for word in (command, *rest) if word])
        assert status == 0, f"exit status {status}"
        return None
    with mock.patch.dict(os.environ), contextlib.suppress(UserError):
        os.environ.pop("RAY_API_SERVER_ADDRESS", None)
        try:
            assert COMMANDS[command](rest) == 0
        except (UsageError, KnobError) as error:
            raise AssertionError(error) from error


def is_a_sweep(words: Words) -> None:
    """Words for a sweep, or part of them."""
    rest = list(words)
    own = rest.pop(rest.index("--config-dir") + 1) if "--config-dir" in rest else None
    knobs = [word for word in rest if not word.startswith("--")]
    checked_sweep(knobs, [config_dir(), *own_folder(own)])


def _filled(words: Words) -> list[str]:
    """With a word in the place of each that is the reader's own."""
    return [("0" if word == "TRIAL" else word.lower()) if PLACEHOLDER.fullmatch(word) else word for word in words]


# --- what lies in the repository -----------------------------------------------------------------------------------


def is_a_target(words: Words) -> None:
    """`make X`."""
    for word in words[1:]:
        if "=" not in word:
            assert re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no target {word}"


def is_a_script(words: Words) -> None:
    """`python FILE`, or a script by itself."""
    file = words[1] if words[0] == "python" else words[0]
    assert (ROOT / file).is_file(), file


def is_set_up(words: Words) -> None:
    """`. .venv/bin/activate`: the environment that make makes."""
    assert words[1].split("/")[0] in (ROOT / "Makefile").read_text()


def is_declared(words: Words) -> None:
    """`pip install X`: something that pyproject.toml names, or an extra of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    known = {re.split(r"[\[<>=]", need)[0] for needs in (project["dependencies"], *extras.values()) for need in needs}
    for word in words[2:]:
        name, *of = re.findall(r"[\w-]+", word)
        assert set(of) <= extras.keys() if name == project["name"] else name in known, word


def finds(words: Words) -> None:
    """`grep` on files of ours finds something; behind a pipe it takes what it gets."""
    if any((ROOT / word).exists() for word in words[1:]):
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL)
        assert done.returncode == 0, f"{words}: found nothing"


def is_of_the_system(words: Words) -> None:
    """A program that every system has, or a shell itself."""
    assert words[0] == "cd" or shutil.which(words[0]), words[0]


def is_in_an_image(words: Words) -> None:
    """A program that only an image has; nothing here can tell."""


def is_of_ray(words: Words) -> None:
    """A command of Ray's, with options that it has."""
    from ray.scripts.scripts import cli as ray

    assert words[1] in ray.commands, words[1]
    known = {name for option in ray.commands[words[1]].params for name in option.opts}
    given = {word.partition("=")[0] for word in words[2:] if word.startswith("-")}
    assert given <= known, given - known


def names_a_study(words: Words) -> None:
    """A journal where a sweep has it."""
    assert re.fullmatch(r"sweeps/[\w.-]+/study\.journal", words[1])


def is_a_variable(words: Words) -> None:
    """`export NAME=VALUE`: somebody reads it."""
    for word in words[1:]:
        assert any(word.partition("=")[0] in text for text in _texts()), word


def asks_a_port(words: Words) -> None:
    """A URL of a server that is started by our files."""
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", " ".join(words))
    assert any(port in text for text in _texts()), port


@cache
def _texts() -> list[str]:
    files = [*ROOT.glob("lca_sweep/**/*.py"), *ROOT.glob("docker/*"), *ROOT.glob("k8s/**/*.yaml"), ROOT / "Makefile"]
    return [file.read_text() for file in files if file.is_file()]


# --- containers ----------------------------------------------------------------------------------------------------


def composes(words: Words, check: Check) -> None:
    """`docker compose -f FILE VERB ...`: file, services, and what is run in them."""
    rest = list(words[2:])
    if rest[0] == "-f":
        assert (ROOT / rest[1]).samefile(ROOT / "docker/compose.yaml"), rest[1]
        del rest[:2]
    verb, *rest = rest
    assert verb in ("up", "down", "run", "exec", "logs"), verb
    services = compose()["services"]
    for word in rest:
        if service := re.fullmatch(r"([a-z-]+)=\d+", word):
            assert service[1] in services, word
    named = [word for word in rest if not word.startswith("-") and "=" not in word.split("/")[0]]
    if verb in ("run", "exec"):
        assert named[0] in services, named[0]
        behind = rest[rest.index(named[0]) + 1 :]
        entry = services[named[0]].get("entrypoint", []) if verb == "run" else []
        check([*entry[entry.index("python") :], *behind] if "python" in entry else behind)


def builds(words: Words) -> None:
    """`docker build`: file, tag, arguments, folder."""
    file = ROOT / words[words.index("-f") + 1]
    tag = words[words.index("-t") + 1]
    assert re.fullmatch(rf"lca-sweep(-mlflow)?:{re.escape(__version__)}(-cuda)?", tag), tag
    given = [words[place + 1].partition("=")[0] for place, word in enumerate(words) if word == "--build-arg"]
    assert all(re.search(rf"^ARG {name}\b", file.read_text(), re.MULTILINE) for name in given), given
    assert words[-1] == "."


def are_images(words: Words) -> None:
    """`kind load docker-image A B`: those that Compose and Kubernetes run."""
    ours = {service["image"] for service in compose()["services"].values()}
    assert set(words[3:]) <= ours, f"images {words[3:]}; there are {ours}"


def is_the_operator(words: Words) -> None:
    """`helm install`: the KubeRay that the manifests are written for."""
    version = words[words.index("--version") + 1]
    assert f"KubeRay {version.rpartition('.')[0]}" in (ROOT / "tests/manifest_ray.py").read_text()
    assert words[words.index("--namespace") + 1] and words[words.index("--repo") + 1].startswith("https://")


# --- Kubernetes ----------------------------------------------------------------------------------------------------


def is_there(words: Words, check: Check) -> None:
    """`kubectl`: files, folders, objects, containers, ports and secrets that it names; what is run in a pod."""
    rest = list(words[1:])
    behind = rest[rest.index("--") + 1 :] if "--" in rest else []
    rest = rest[: rest.index("--")] if "--" in rest else rest
    _options(rest)
    verb, *named = [word for word in rest if not word.startswith("-")]
    for word in named:
        if "/" in word:
            kind, _, name = word.partition("/")
            assert name in _objects().get(SHORT.get(kind, kind).lower(), set()), word
        elif word.isdecimal():
            assert any(f"port: {word}," in text for text in _texts()), word
    if verb in ("get", "describe", "delete") and named and "/" not in named[0]:
        assert set(named[0].split(",")) <= KINDS, named[0]
        if named[0] == "secret":
            assert set(named[1:]) <= secrets().keys() | OTHERS, named
    if behind:
        check(behind)


def _options(rest: list[str]) -> None:
    """Look at the options that have values, and take them out."""
    looks: dict[str, Callable[[str], bool]] = {
        "-n": lambda name: name in _objects()["namespace"],
        "-f": lambda file: file == "-" or (ROOT / file).is_file(),
        "-k": lambda folder: (ROOT / folder / "kustomization.yaml").is_file(),
        "-l": lambda label: label.replace("=", ": ") in " ".join(_texts()),
        "-c": lambda name: any(f"name: {name}" in text for text in _texts()),
        "-o": lambda form: form == "yaml" or form.startswith("jsonpath="),
    }
    verb = next(
        word for word in rest if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-") and word != "lca-sweep"
    )
    for option, fine in looks.items():
        while option in rest:
            place = rest.index(option)
            if option == "-f" and verb == "logs":  # to follow
                del rest[place]
                continue
            value = rest[place + 1] if place + 1 < len(rest) else ""
            assert not value or fine(value), f"{option} {value}"
            del rest[place : place + 2]


@cache
def _objects() -> dict[str, set[str]]:
    """Names of the objects in k8s/, by kind in lower case; those that a patch gives too."""
    found: dict[str, set[str]] = {}
    for file in K8S.rglob("*.yaml"):
        for item in yaml.safe_load_all(file.read_text()):
            if isinstance(item, dict) and "kind" in item:
                found.setdefault(item["kind"].lower(), set()).add(_name(item))
                for patch in item.get("patches", []):
                    kind, text = patch.get("target", {}).get("kind", ""), patch.get("patch", "")
                    found.setdefault(kind.lower(), set()).update(re.findall(r"/metadata/name, value: ([\w-]+)", text))
    return found


def _name(item: dict[str, Any]) -> str:
    return str(item.get("metadata", {}).get("name", ""))
