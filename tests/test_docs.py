"""Documents that follow from the code are as the code has them now."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def test_the_reference_of_knobs_is_as_they_are_declared() -> None:
    assert (ROOT / "docs/knobs.md").read_text() == runpy.run_path(str(ROOT / "docs/knobs.py"))["page"](), (
        "run python docs/knobs.py"
    )


def anchor(title: str) -> str:
    """The fragment that a heading gets: lower case, no punctuation, dashes for spaces."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, fragment in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        there = (page.parent / target).resolve()
        assert there.exists(), f"{page.name}: {target}"
        if fragment:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert fragment in map(anchor, titles), f"{page.name}: {target}#{fragment}"


def test_the_index_has_every_page_once_and_nobody_misses_a_picture() -> None:
    listed = LINK.findall((ROOT / "docs/README.md").read_text())
    pages = sorted(target for target, _ in listed if not target.startswith(".."))
    tools = {"knobs.py", "picture.py", "terminal.py"}  # they write a page and pictures
    files = [path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".py")]
    assert pages == sorted({*files} - {"README.md"} - tools)
    shown = " ".join(page.read_text() for page in PAGES)
    pictures = [path for path in (ROOT / "docs").glob("*.png")]
    assert [path.name for path in pictures if path.name not in shown] == []
    assert [path.name for path in pictures if path.stat().st_size > 200_000] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_ours_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:lca_sweep|conf|tests|docs|benchmarks|docker|k8s)/[\w./-]+\.\w+)`", page.read_text())
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.slow
def test_the_example_runs_and_shows_what_it_says(tmp_path: Path) -> None:
    """With fewer epochs; deleting the VIP weights hurts more than each control."""
    short = (ROOT / "docs/example.py").read_text().replace("EPOCHS = 15", "EPOCHS = 5")
    (tmp_path / "example.py").write_text(short)
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    after = dict(re.findall(r"^ +(\w+ .+|as .+): \S+ -> (\S+)$", done.stdout, re.MULTILINE))
    damage = {arm: float(accuracy) for arm, accuracy in after.items()}
    assert len(damage) == 4 and damage.pop("VIP deleted") < min(damage.values()) - 0.02


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_are_there(page: Path) -> None:
    for file, test in re.findall(r"`(tests/test_\w+\.py)::(test_\w+)`", page.read_text()):
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
