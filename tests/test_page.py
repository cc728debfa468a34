"""The report's page: whole, alone, safe, the same each time, whatever the sweep is like."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_helpers as made

from lca_sweep.report import tables
from lca_sweep.report.page import render, write_report, write_trial
from lca_sweep.report.results import SweepResult

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>{{ 7*7 }}\U0001f4a9"


class Reader(HTMLParser):
    """Tags, addresses and visible text of a page; it asserts that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of all tags of a name."""
        return [attributes for tag, attributes in self.tags if tag == name]

    def addresses(self) -> list[str]:
        """All that the page refers to."""
        names = ("href", "src", "xlink:href", "srcset", "action", "data")
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name in names]


def read(page: Path) -> Reader:
    return Reader(page.read_text(encoding="utf-8"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the paper's setting."""
    return write_report(made.paper(), tmp_path_factory.mktemp("report"))


def test_the_page_tells_it_all(paper: Path) -> None:
    text = " ".join(read(paper).text.split())
    for part in (
        "Does gBP train an ensemble as accurate as ordinary back-propagation?",
        "Best: trial 4, val/accuracy 0.9588 (10 complete).",
        "Trial 4: test accuracy 0.9548, that of the stochastic pass.",
        "22 reproduced. Beside BP: gBP is better: +1.30 ± 0.48 points.",
        "0.9511 ± 0.0044",  # mean and interval of the five seeds
        "commit are those that made this page",
        "the authors' own program",  # where references come from
        "That the error at least doubles is told by the mean errors over seeds",
        "test error, layer 3, as many VAR deleted",
        "NLL",
        "0.1780",
        "Physical Review Letters 125, 178301",
        "ab" * 32,
        "2.13.0",
        "lr: 0.1",
    ):
        assert part in text, part


def test_the_page_needs_nothing_but_itself(paper: Path) -> None:
    reader = read(paper)
    assert all(re.match(r"data:|#|figures/[\w-]+\.csv$", address) for address in reader.addresses())
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in reader.tags}
    assert not re.search(r"url\((?!#)|@import|https?://", paper.read_text(encoding="utf-8"))
    [policy] = [m["content"] for m in reader.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy.startswith("default-src 'none';") and "script" not in policy and "http" not in policy


def test_pictures_do_not_touch_each_other(paper: Path) -> None:
    reader = read(paper)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', paper.read_text(encoding="utf-8")))
    assert {a or b for a, b in used} <= set(ids)
    assert [tag for tag, _ in reader.tags].count("style") == 1


def test_figures_lie_beside_the_page_and_their_numbers_within(paper: Path) -> None:
    reader = read(paper)
    names = {path.stem for path in (paper.parent / "figures").iterdir()}
    assert names >= {"accuracy", "categories", "layers", "perturbation", "kept", "trial-4-weights", "trial-4-fields"}
    for name in names:
        for kind, begin in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".csv", b"")):
            assert (paper.parent / "figures" / (name + kind)).read_bytes().startswith(begin)
    links = {link["download"]: link["href"] or "" for link in reader.all("a") if "download" in link}
    for name, link in links.items():
        content = base64.b64decode(link.partition("base64,")[2])
        assert content == (paper.parent / "figures" / str(name)).read_bytes()
        width = {len(row) for row in csv.reader(io.StringIO(content.decode(), newline=""))}
        assert len(width) == 1


def test_a_second_report_replaces_the_first_and_is_the_same(tmp_path: Path) -> None:
    result = made.paper(seeds=1, bp=False, analysed=False)
    write_report(result, tmp_path)
    first = files(tmp_path)
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials/mine").write_text("stays")
    (tmp_path / "figures/old.png").write_text("goes")
    (tmp_path / ".figures.new").mkdir()  # of a call that was killed
    write_report(result, tmp_path)
    assert files(tmp_path) == first | {"trials/mine": b"stays"}


def hostile() -> SweepResult:
    """Whatever a user may have typed is HOSTILE."""
    trials = [made.trial(n, 0.9 + n / 100, {f"a.{HOSTILE}": n, f"b.{HOSTILE}": HOSTILE + str(n % 2)}) for n in range(4)]
    trials.append(made.trial(9, None, {}, state="failed", reason=HOSTILE))
    return made.sweep(
        trials,
        name=HOSTILE,
        uid=HOSTILE,
        question=HOSTILE,
        objective=HOSTILE,
        folder=HOSTILE,
        data=dataclasses.replace(made.MNIST, name=HOSTILE, digest=HOSTILE),
        importances={f"a.{HOSTILE}": 1.0},
        config={HOSTILE: [HOSTILE, {"x": HOSTILE}]},
        provenance={HOSTILE: HOSTILE, "git.commit": HOSTILE},
        page=f"javascript:{HOSTILE}",
    )


def test_what_users_type_is_text(tmp_path: Path) -> None:
    page = write_report(hostile(), tmp_path)
    reader = read(page)
    assert not {"script"} & {tag for tag, _ in reader.tags}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert all(re.match(r"data:(image/png|text/csv)|#|figures/", address) for address in reader.addresses())
    assert reader.text.count(HOSTILE) >= 10  # as typed; nothing computed 49
    for file in (tmp_path / "figures").glob("*.svg"):
        assert b"<script" not in file.read_bytes()


def test_the_runs_are_linked_and_passwords_are_not_shown(tmp_path: Path) -> None:
    result = made.sweep(
        [],
        page="http://user:secret@127.0.0.1:5000/#/experiments/1",
        config={"search": {"storage": "postgresql+psycopg://me:secret@db/optuna"}},
        provenance={"host": "http://me:secret@db"},
    )
    page = write_report(result, tmp_path)
    assert "http://user:***@127.0.0.1:5000/#/experiments/1" in read(page).addresses()
    assert "secret" not in page.read_text(encoding="utf-8")


def test_a_network_of_ordinary_back_propagation_is_one_and_has_no_spread() -> None:
    analysis = made.analysis(0, bp=True)
    one = dataclasses.replace(analysis.ensemble, subnetworks=(0.95,) * 100)
    bp = made.trial(0, 0.95, {"trainer.algorithm": "bp"}, analysis=dataclasses.replace(analysis, ensemble=one))
    gbp = made.trial(1, 0.94, {"trainer.algorithm": "gbp"}, analysis=made.analysis(0))
    table = tables.best_trials(made.sweep([bp, gbp]))
    column = dict(zip(table.head, zip(*table.rows, strict=True), strict=True))["sub-networks"]
    assert column[0] == "0.9500" and re.fullmatch(r"0\.949\d ± 0\.001\d", column[1])
    assert "that of the network." in tables.test_line(made.sweep([bp, gbp]))
    assert "that of the stochastic pass." in tables.test_line(made.sweep([gbp]))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (made.sweep([]), "No trial is complete (no trial)."),
        (made.sweep([made.trial(0, None, {}, state="failed", reason="killed")]), "killed"),
        (made.sweep([made.trial(0, None, {}, state="running")]), "(1 running)"),
        (made.sweep([made.trial(0, 0.9, {}, history={})]), "Best: trial 0"),
        (made.sweep([made.trial(0, 0.9, {"trainer.algorithm": "bp"})]), "Best: trial 0"),
        (made.sweep([made.trial(0, 0.9, {}, analysis=made.analysis(0, perturb=False))]), "sub-networks"),
    ],
    ids=["nothing", "failed", "running", "no history", "BP", "one trial"],
)
def test_small_sweeps(result: SweepResult, expected: str, tmp_path: Path) -> None:
    reader = read(write_report(result, tmp_path))
    assert expected in reader.text
    assert ("Figures" in reader.text) == bool(list((tmp_path / "figures").iterdir()))


def test_wide_tables_scroll_with_their_first_column_in_sight(paper: Path) -> None:
    """By the keyboard, too: each is a region with a name; the sheet of style has the rest."""
    reader = read(paper)
    wide = [div for div in reader.all("div") if div.get("class") == "wide" and "tabindex" in div]
    assert [div["aria-label"] for div in wide] == ["Claims", "Settings", "Best trials"]
    style = re.search(r"<style>(.*?)</style>", paper.read_text(encoding="utf-8"), re.DOTALL)
    assert style and ".wide { overflow-x: auto;" in style[1] and "position: sticky; left: 0;" in style[1]


def test_one_seed_is_no_mean() -> None:
    one, two = (" ".join(Reader(render(made.paper(seeds=seeds), [])).text.split()) for seeds in (1, 2))
    assert "Numbers are of one seed." in one and "Student's t over seeds" not in one
    assert "Numbers are mean ± half the 95 % interval (Student's t over seeds)." in two


@pytest.mark.slow
def test_a_thousand_trials(tmp_path: Path) -> None:
    page = write_report(made.search(1000, epochs=30), tmp_path)
    assert page.stat().st_size < 5_000_000
    reader = read(page)
    assert "figures/accuracy.csv" in reader.addresses()  # too large to be within
    assert any((image["src"] or "").startswith("data:image/png") for image in reader.all("img"))  # instead of its SVG
    assert "more complete trials" in reader.text and "more failed trials" in reader.text


def test_one_trials_figures(tmp_path: Path) -> None:
    trial = made.trial(7, 0.95, {}, analysis=made.analysis(7, layers=1))
    for _ in range(2):
        assert write_trial(trial, made.MNIST, tmp_path / "trials/0007") == tmp_path / "trials/0007"
    assert {path.name for path in (tmp_path / "trials/0007").iterdir()} == {
        f"trial-7-{name}.{kind}" for name in ("weights", "fields") for kind in ("svg", "png", "csv")
    }
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0007"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(OSError):
        write_report(made.sweep([]), tmp_path / "report")
