"""Pages with commands that need a folder of their own, done for real; see docs_rules.py and test_docs_commands.py."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from docs_helpers import PAGES, ROOT, typed
from docs_reader import reading
from sweep_helpers import free_port, poll, reported, running


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["docs/howto.md", "docs/data.md"])
def test_a_page_can_be_followed(page: str) -> None:
    with reading(page) as reader:
        reader.follow(page)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_cluster() -> None:
    """Its head alone, with places and ports of the test."""
    with reading() as reader:
        reader.variables["HOME"] = str(reader.folder)
        reader.replaced = {"6379": str(free_port()), "8265": str(free_port()), "/shared": str(reader.folder / "shared")}
        reader.follow("docs/cluster.md")
        assert {path.name for path in (reader.folder / "shared/sweeps").iterdir()} == {"mnist", "sent"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_running_sweep_does_as_it_is_asked(tmp_path: Path) -> None:
    """All that the pages say to a running sweep, `stop` last."""
    said = {line.text.partition("#")[0].strip() for page in PAGES for line in typed(page)}
    asked = {text for text in said if re.match(r"python -m lca_sweep (stop|set|enqueue) [a-z]", text)}
    assert {text.split()[3] for text in asked} == {"stop", "set", "enqueue"}
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    long = ["+sweep=mnist", "trainer.epochs=100000", "trainer.train_size=500", "pack.size=2", "pruner=none"]
    with running(tmp_path, *long) as sweep:
        poll(lambda: reported(tmp_path, "mnist") or sweep.over(), "report")
        for text in sorted(asked, key=lambda text: " stop " in text):
            line = [sys.executable, *shlex.split(text)[1:]]
            done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, ""), f"{text}\n{done.stdout}{done.stderr}"
        ended = sweep.end()
    assert ended.code == 130 and "asked to stop" in ended.out and "from now on 64 trials" in ended.out, ended.out
