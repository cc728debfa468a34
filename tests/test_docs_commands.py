"""Every command in README.md, CONTRIBUTING.md and docs/ is one that works; docs_rules.py says how each is looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import docs_checks as look
import pytest
from docs_helpers import PAGES, Line, blocks, commands, lines, name_of, spans, typed
from docs_reader import Reader, patched, reading, write
from docs_rules import ALONE, ELSEWHERE, FOLLOWED, RULES, look_at, rule

from lca_sweep.checking import checked_sweep
from lca_sweep.compose import config_dir

# --- at once -------------------------------------------------------------------------------------------------------


def named(page: Path) -> list[Line]:
    """What in the text begins as a command does, and is more than a program's name."""
    programs = [one for one in RULES if one.at_once is not look.is_a_sweep]
    found = [line for line in spans(page) if " " in line.text.strip()]
    return [line for line in found if any(re.match(one.begins, line.text + " ") for one in programs)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_what_is_there(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.file:
            write(block, tmp_path)
    other = patched(page, tmp_path / "copy")
    wrong = []
    for line in [*typed(page), *named(page)]:
        try:
            for words in commands(line.text):
                if other and words[:3] == ["python", "-m", "lca_sweep"]:
                    composes_with(other, words)
                else:
                    look_at(words)
        except Exception as error:
            wrong.append(f"{line.id}: {line.text}: {error}")
    assert wrong == []


def composes_with(package: Path, words: Sequence[str]) -> None:
    """The words of a sweep, accepted by another copy of the package."""
    line = [sys.executable, *words[1:], "--cfg", "job"]
    done = subprocess.run(line, env=os.environ | {"PYTHONPATH": str(package)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_kind_that_is_looked_at(page: Path, tmp_path: Path) -> None:
    followed = name_of(page) in (*FOLLOWED, *ALONE)
    for block in blocks(page):
        assert block.language in ("", "text", "python", "yaml", "diff"), f"{block.id}: {block.language}"
        if block.language == "python":
            compile(block.text, block.id, "exec")
            assert followed, f"{block.id}: nobody runs it"
        if block.language == "yaml":
            (tmp_path / "sweep").mkdir(exist_ok=True)
            (tmp_path / "sweep" / "block.yaml").write_text(f"# @package _global_\n{block.text}")
            checked_sweep(["+sweep=block"], [config_dir(), tmp_path])
        if not block.language and not followed and name_of(page) not in ELSEWHERE:
            assert [
                line.id for line in lines(block) if any(rule(words).for_real for words in commands(line.text))
            ] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("frobnicate now", "no rule says how"),
        ("python -m lca_sweep +sweep=mnits", "exit status"),
        ("python -m lca_sweep statsu mnist", "exit status"),
        ("python -m lca_sweep show mnist first", "must be a whole number"),
        ("python -m lca_sweep set mnist width=3", "not understood"),
        ("python -m lca_sweep submit +sweep=mnist sweep.dir=here", "the cluster has no such folder"),
        ("search.objectives='[maximize test/accuracy]'", "test/accuracy"),
        ("make tea", "no target tea"),
        ("pip install lca-sweep[tea]", "tea"),
        ("export TEAPOT=1", "TEAPOT"),
        ("ray brew --head", "brew"),
        ("docker compose -f docker/compose.yaml exec teapot python -m lca_sweep list", "teapot"),
        ("docker compose -f docker/compose.yaml exec ray-head python -m lca_sweep lost", "exit status"),
        ("docker compose -f docker/compose.yaml up -d --scale teapot=4", "teapot"),
        ("docker build -f docker/Dockerfile -t lca-sweep:9.9 .", "9.9"),
        ("docker build -f docker/Dockerfile -t lca-sweep:0.1.0 --build-arg TEA=1 .", "TEA"),
        ("kind load docker-image tea:0.1.0", "images"),
        ("kubectl apply -k k8s/overlays/tea", "-k k8s/overlays/tea"),
        ("kubectl -n tea get pods", "-n tea"),
        ("kubectl -n lca-sweep logs -f job/sweep-tea", "job/sweep-tea"),
        ("kubectl -n lca-sweep get secret mlflow tea", "tea"),
        ("kubectl -n lca-sweep port-forward svc/mlflow 5001", "5001"),
        ("kubectl -n lca-sweep exec POD -c teapot -- ray status", "-c teapot"),
        ("kubectl -n lca-sweep exec POD -c ray-head -- ray brew", "brew"),
        ("export RAY_ADDRESS=$(kubectl -n tea get pods)", "-n tea"),
        ("wget -q http://127.0.0.1:1234/tea", "1234"),
        ("grep -rn no-such-thing-at-all k8s/overlays/production", "found nothing"),
    ],
)
def test_a_wrong_command_is_found(
    line: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as found:
        for words in commands(line):
            look_at(words)
    assert wrong in str(found.value)


# --- for real ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """One who reads page after page in the same folder."""
    with reading() as one:
        yield one


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FOLLOWED)
def test_a_page_can_be_followed(name: str, reader: Reader) -> None:
    reader.follow(name)
