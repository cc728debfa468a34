"""Documents that follow from the code are as the code has them now."""

from __future__ import annotations

import re
import runpy
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_ours_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:lca_sweep|conf|tests|docs|benchmarks|docker|k8s)/[\w./-]+\.\w+)`", page.read_text())
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
