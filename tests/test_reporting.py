"""A report tells what study, checkpoints and weights hold: of a real sweep, and of what was damaged in it."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from sweep_helpers import ROOT, children, contents, parent, study, sweep

from lca_sweep.cli import main
from lca_sweep.config import Analysis as Wanted
from lca_sweep.config import Config
from lca_sweep.core.data import load
from lca_sweep.core.knobs import flat, replace
from lca_sweep.core.network import Network
from lca_sweep.report.codec import analysis_from, plain
from lca_sweep.report.results import Analysis, SweepResult
from lca_sweep.search.reading import FEWEST, importances, read_rows
from lca_sweep.search.rows import Row
from lca_sweep.search.space import Space, parse
from lca_sweep.sweep import layout
from lca_sweep.sweep.analyses import FILE, analysed
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.gather import Source, gather, histories
from lca_sweep.sweep.known import Known, filled, find
from lca_sweep.sweep.stopping import INTERRUPT, TERMINATION, Reason
from lca_sweep.sweep.storage import Storage, StorageError, storage_at, storage_of

pytestmark = pytest.mark.timeout(600)

REACHED = Reason("sweep.target=0.1 reached by trial 0", 0, reached=True)

WORDS = (
    "data=digits",
    "sweep.name=told",
    "sweep.trials=6",
    'sweep.question="Which rate & why?"',
    "sweep.space.trainer.lr={low: 0.01, high: 0.3, log: true}",
    "search=random",
    "pruner=halving",
    "pruner.min_epochs=2",
    "trainer.epochs=8",
    "trainer.batch_size=100",
    "model.widths=[20,10]",
    "pack.size=3",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished sweep, with its report."""
    folder = tmp_path_factory.mktemp("told")
    ended = sweep(folder, *WORDS, "analysis.subnetworks=5", "analysis.trials=2")
    assert (ended.code, ended.err) == (0, ""), ended.err
    assert "report: sweeps/told/report/report.html" in ended.out.splitlines()
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to damage, as the working folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def known(folder: Path) -> Known:
    return find(folder / "sweeps", "told", "report")


def rows_of(folder: Path) -> list[Row]:
    config = known(folder).config
    return read_rows(folder / "sweeps/told", None, "told", parse(config.sweep.space, config))


def storage(folder: Path) -> Storage:
    found = known(folder)
    return storage_of(found.config, found.path, found.uid, found.study)


def best(folder: Path) -> int:
    done = [trial for trial in study(folder, "told") if trial.state.name == "COMPLETE"]
    return max(done, key=lambda trial: (trial.value, -trial.number)).number


def complete(folder: Path) -> list[int]:
    return [trial.number for trial in study(folder, "told") if trial.state.name == "COMPLETE"]


def as_points(history: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    return {
        name: list(zip(series.epochs.tolist(), series.values.tolist(), strict=True)) for name, series in history.items()
    }


# --- at the end of a sweep -----------------------------------------------------------------------------------------


def test_histories_are_what_mlflow_was_told(made: Path) -> None:
    rows, found = rows_of(made), known(made)
    told = histories(storage(made), rows, found.uid)
    assert {row.state for row in rows} == {"complete", "pruned"}
    assert {number: as_points(history) for number, history in told.items()} == {
        number: run.metrics for number, run in children(made).items()
    }


def test_the_end_of_a_sweep_has_page_figures_and_numbers(made: Path) -> None:
    report = made / "sweeps/told/report"
    page = (report / "report.html").read_text()
    assert "Which rate &amp; why?" in page and f"{best(made)}" in page
    kinds = {file.suffix for file in (report / "figures").iterdir()}
    assert kinds == {".png", ".svg", ".csv"}
    assert {file.name for file in (report / "trials").iterdir()} == {f"{number:04d}" for number in complete(made)}
    assert len(complete(made)) == 2


def test_interactive_plots_lie_beside_the_page_which_links_to_them(made: Path) -> None:
    report = made / "sweeps/told/report"
    assert 'href="search.html"' in (report / "report.html").read_text()
    page = (report / "search.html").read_text()
    found = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    (history,) = [one["data"] for one in found if one["data"][0].get("name") == "val/accuracy"]
    values = {trial.number: trial.value for trial in study(made, "told") if trial.number in complete(made)}
    told = {number: value for number, value in zip(history[0]["x"], history[0]["y"], strict=True) if value is not None}
    assert told == pytest.approx(values, rel=1e-5)


@pytest.mark.slow
def test_no_interactive_plots_cost_no_report(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug in them is told in one line; what an earlier report had is gone, and nothing links to it."""
    report = copy / "sweeps/told/report"
    assert (report / "search.html").exists()
    monkeypatch.setattr("lca_sweep.search.comparing._slices", lambda one: {}["no such knob"])
    assert main(["report", "told", "analysis.subnetworks=5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "plots" in line] == ["no interactive plots: KeyError: 'no such knob'"]
    assert not (report / "search.html").exists() and "search.html" not in (report / "report.html").read_text()


def test_mlflow_has_the_same_files(made: Path) -> None:
    top = parent(made)
    (place,) = (made / "mlruns").glob(f"*/{top.id}/artifacts")
    assert contents(place / "report") == contents(made / "sweeps/told/report")
    (own,) = (made / "mlruns").glob(f"*/{children(made)[best(made)].id}/artifacts")
    assert contents(own / "analysis") == contents(made / f"sweeps/told/report/trials/{best(made):04d}")
    assert top.tags["mlflow.note.content"].index("Which rate") < top.tags["mlflow.note.content"].index("Best")


# --- report NAME ---------------------------------------------------------------------------------------------------


def test_the_command_makes_it_anew_and_the_analysis_once(
    made: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same to the byte, but for the folder that it is in."""
    old = contents(copy / "sweeps/told")
    old["report/report.html"] = old["report/report.html"].replace(bytes(made), bytes(copy))
    shutil.rmtree(copy / "sweeps/told/report")
    assert main(["report", "told"]) == 0
    out = capsys.readouterr()
    assert (out.out.splitlines()[1:], out.err) == (["sweeps/told/report/report.html"], "")
    new = contents(copy / "sweeps/told")
    assert {name for name in old if old[name] != new.get(name)} == set()
    assert old.keys() == new.keys()


def link(page: Path) -> str:
    """Where `Runs in MLflow` leads to."""
    found = re.search(r'<a href="([^"]*)" rel="noreferrer">Runs in MLflow</a>', page.read_text())
    return html.unescape(found[1]) if found else ""


@pytest.mark.slow
def test_the_link_to_the_runs_needs_the_store_alone(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From whatever folder one asks; where the store is gone or damaged, the report has none, and says why."""
    page, store = copy / "sweeps/told/report/report.html", copy / "mlflow.db"
    told = link(page)
    assert told.startswith("http://127.0.0.1:5000/#/experiments/") and known(copy).uid in told
    with contextlib.chdir("/"):
        page.unlink()
        assert main(["report", "told", f"sweep.dir={copy / 'sweeps'}"]) == 0
    assert link(page) == told
    content = store.read_bytes()
    for damaged in (None, b"no database" * 100):
        store.unlink() if damaged is None else store.write_bytes(damaged)
        capsys.readouterr()
        assert main(["report", "told"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no link to the runs: ")]
        assert link(page) == "" and len(lines) == (damaged is not None)
    store.write_bytes(content)


def test_here_it_is_what_it_was_on_ray(copy: Path) -> None:
    """At the end of the sweep both trials were looked into side by side, in other processes."""
    files = [copy / "sweeps/told" / layout.trial(number) / FILE for number in complete(copy)]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    assert main(["report", "told"]) == 0
    assert [file.read_bytes() for file in files] == before


@pytest.mark.slow
def test_another_analysis_is_another(copy: Path) -> None:
    file = copy / "sweeps/told" / layout.trial(best(copy)) / FILE
    before = json.loads(file.read_bytes())
    assert len(before["analysis"]["ensemble"]["subnetworks"]) == 5 and before["analysis"]["perturbation"] is None
    assert main(["report", "told", "analysis=all", "analysis.subnetworks=4", "analysis.repeats=2"]) == 0
    after = json.loads(file.read_bytes())
    assert len(after["analysis"]["ensemble"]["subnetworks"]) == 4
    assert np.shape(after["analysis"]["perturbation"]["accuracy"])[3] == 2
    complete = [trial.number for trial in study(copy, "told") if trial.state.name == "COMPLETE"]
    assert len(complete) > 1
    assert all((copy / "sweeps/told" / layout.trial(number) / FILE).exists() for number in complete)
    kept = analysed(storage(copy), best(copy), load("digits"), Wanted(subnetworks=4))
    assert kept.perturbation and json.loads(file.read_bytes()) == after, "it has more than is wanted now"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "report: write report NAME or report NAME sweep.dir=..."),
        (["a", "b"], "report: write report NAME or report NAME sweep.dir=..."),
        (["tolt"], "report tolt: no sweep of that name in sweeps; did you mean 'told'?"),
        (["told", "sweep.dir=there"], "report told: no sweep of that name in there"),
        (
            ["told", "trainer.lr=1"],
            "report: trainer.lr=1: not for this command, which takes sweep.{dir,storage}=, search.storage=, ",
        ),
        (["told", "analysis.trials=-1"], "analysis.trials=-1: must be >= 0"),
        (["told", "analysis.trials=many"], "analysis.trials=many: must be a whole number, >= 0"),
        (["told", "analysis=al"], "analysis=al: no such choice of analysis; did you mean 'all'?"),
    ],
)
def test_what_cannot_be_told(words: list[str], message: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(copy)
    assert main(["report", *words]) == 2
    assert capsys.readouterr().err.startswith(f"lca_sweep: {message}")
    assert contents(copy) == before


def test_a_study_that_is_gone(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = copy / "sweeps/told/study.journal"
    journal.unlink()
    assert main(["report", "told"]) == 2
    assert "the study told at " in capsys.readouterr().err and not journal.exists()


@pytest.mark.slow
def test_what_is_damaged_is_made_anew_or_told(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, number = copy / "sweeps/told", best(copy)
    before = (folder / layout.trial(number) / FILE).read_bytes()
    (folder / layout.trial(number) / FILE).write_bytes(before[:100])
    shutil.rmtree(folder / "checkpoints")
    assert main(["report", "told", "analysis.subnetworks=5"]) == 0
    assert (folder / layout.trial(number) / FILE).read_bytes() == before, "it follows from the weights"
    rows = rows_of(copy)
    told = histories(storage(copy), rows, known(copy).uid)
    run = children(copy)[number]
    assert as_points(told[number]) == {name: points[-1:] for name, points in run.metrics.items()}
    assert {row.number for row in rows if row.state == "pruned"} == {n for n, history in told.items() if not history}
    weights = folder / layout.trial(number) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["report", "told", "analysis.subnetworks=5"]) == 0
    assert f"trial {number}: its weights cannot be read" in capsys.readouterr().out


@pytest.mark.slow
def test_no_report_costs_no_sweep(copy: Path) -> None:
    """Where the report cannot be written, the sweep is complete all the same, and says how to make one."""
    folder = copy / "sweeps/told/report"
    shutil.rmtree(folder)
    folder.write_text("a file")
    ended = sweep(copy, *WORDS, "sweep.trials=7", "analysis.subnetworks=5")
    assert (ended.code, ended.err) == (0, "")
    (line,) = [line for line in ended.out.splitlines() if line.startswith("no report: ")]
    assert line.endswith("to make it: python -m lca_sweep report told")
    assert parent(copy).status == "FINISHED" and len(children(copy)) == 7


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
@pytest.mark.parametrize(
    ("mishap", "told"),
    [
        (lambda: {}["no such metric"], "KeyError: 'no such metric'"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "interrupted"),
        (lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)], "interrupted"),
    ],
)
def test_what_goes_wrong_in_a_report_costs_no_sweep(
    mishap: Callable[[], object],
    told: str,
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither a bug nor a signal: the sweep is over, in MLflow too, and says how to make a report."""

    def broken(*parts: Any) -> Analysis:
        mishap()
        raise SweepError("trial 0: is the first of several")

    monkeypatch.setattr("lca_sweep.sweep.looking.analysed", broken)
    assert main([*WORDS, "analysis=all"]) == 0
    out = capsys.readouterr()
    assert f"no report: {told}; to make it: python -m lca_sweep report told\n" in out.out and out.err == ""
    assert out.out.count("is the first of several") <= 1, "nothing else is looked into"
    assert parent(copy).status == "FINISHED"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
@pytest.mark.parametrize(
    ("reason", "written"), [(None, True), (REACHED, True), (TERMINATION, False), (INTERRUPT, False)]
)
def test_whoever_asks_for_an_end_does_not_wait_for_figures(
    reason: Reason | None,
    written: bool,
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Asked while the last trial was trained, say."""
    monkeypatch.setattr("lca_sweep.sweep.running.Running.work_left", lambda sweep: bool(sweep.stopping.ask(reason)))
    monkeypatch.setattr("lca_sweep.sweep.reporting.write_report", lambda result, folder: folder / "report.html")
    monkeypatch.setattr(
        "lca_sweep.sweep.reporting.write_trial", lambda trial, data, folder: copy / "sweeps/told/trials"
    )
    assert main(list(WORDS)) == 0
    assert ("no report: interrupted" in capsys.readouterr().out) is not written
    assert parent(copy).status == "FINISHED"


def test_two_reports_at_a_time(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written one after the other."""
    writing = threading.Lock()

    def write(result: SweepResult, folder: Path) -> Path:
        assert writing.acquire(blocking=False), "another one is being written"
        (folder / "report.html").write_text(result.name)
        time.sleep(0.2)
        writing.release()
        return folder / "report.html"

    monkeypatch.setattr("lca_sweep.sweep.reporting.write_report", write)
    monkeypatch.setattr("lca_sweep.sweep.reporting.pictures", lambda rows, space, goal: [])
    monkeypatch.setattr("lca_sweep.sweep.reporting.write_trial", lambda trial, data, folder: folder)
    shutil.rmtree(copy / "sweeps/told/report")
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(main, ["report", "told"]) for _ in range(3)]
        assert [one.result() for one in made] == [0, 0, 0]
    assert contents(copy / "sweeps/told/report") == {"report.html": b"told"}


def test_trials_put_in_by_hand(copy: Path) -> None:
    """What this sweep cannot have spoils no report, whatever its state; what it can have is one of its trials."""
    number = len(study(copy, "told"))
    place = JournalStorage(JournalFileBackend(str(copy / "sweeps/told/study.journal")))
    told, rate = optuna.load_study(study_name="told", storage=place), FloatDistribution(-9.0, 9.0)
    for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED):
        for params in ({"trainer.lr": -1.0}, {"trainer.lr": 0.1, "trainer.nose": 3.0}, {"nose": 3.0}, {}):
            value = 0.1 if state == TrialState.COMPLETE else None
            ranges: dict[str, BaseDistribution] = dict.fromkeys(params, rate)
            told.add_trial(create_trial(state=state, value=value, params=params, distributions=ranges))
    told.add_trial(create_trial(value=0.2, params={"trainer.lr": 0.1}, distributions={"trainer.lr": rate}))
    assert main(["report", "told", "analysis.subnetworks=5"]) == 0
    found = known(copy)
    space = parse(found.config.sweep.space, found.config)
    data = load("digits")
    source = Source("told", found.uid, found.path, found.config, space, rows_of(copy), storage(copy), data, {})
    assert [trial.number for trial in gather(source, {}).trials] == [*range(number), number + 12]


def test_importances_are_those_of_trials_that_belong_here(tmp_path: Path) -> None:
    config = Config()
    rows = [trial(n, 0.1 + n / 100, 1 + n % 3, [n / 10] * 4) for n in range(10)]
    foreign = [trial(10, 7.0, 1, [0.9] * 4), replaced(trial(11, 0.1, 1, [0.1] * 4), params={"trainer.lr": 0.1})]
    source = Source("s", "u", tmp_path, config, SPACE, rows, storage_at(str(tmp_path)), load("digits"), {})
    alone = gather(source, {})
    assert alone.importances and gather(replaced(source, rows=[*rows, *foreign]), {}).importances == alone.importances


@pytest.mark.parametrize("study", ["s", "s-0123abcd", "s.1"])
def test_a_storage_is_found_under_the_name_that_the_sweep_began_with(study: str, tmp_path: Path) -> None:
    """Also when its folder has another since: put aside, or moved by hand."""
    config = replace(Config(), {"sweep.storage": str(tmp_path)})
    place = storage_of(config, tmp_path / "s.1", "0123abcd4567", study)
    assert place == storage_at(str(tmp_path / f"{study.removesuffix('-0123abcd')}-0123abcd"))
    own = replace(Config(), {"sweep.storage": None})
    assert storage_of(own, tmp_path / "s.1", "0123abcd4567", study) == storage_at(str(tmp_path / "s.1"))


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        # by a sweep that starts: what it needs next is loaded while Ray's processes start
        ("driver", ("torch", "ray", "mlflow", "matplotlib", "sklearn")),
        # by one that runs: figures and importances cost seconds, and memory for as long as it runs
        ("running", ("matplotlib", "plotly", "sklearn", "optuna.importance", "optuna.visualization", "ray", "mlflow")),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, heavy: Sequence[str]) -> None:
    code = f"import sys, lca_sweep.sweep.{module}; print(*{{*{heavy}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "\n"


# --- analyses ------------------------------------------------------------------------------------------------------


def test_an_analysis_comes_back_from_json(made: Path) -> None:
    wanted = Wanted(subnetworks=3, perturbation=True, repeats=2)
    found = analysed(storage(made), best(made), load("digits"), wanted)
    back = analysis_from(json.loads(json.dumps(plain(found))))
    assert plain(back) == plain(found) and back.ensemble == found.ensemble
    assert found.perturbation and back.perturbation
    np.testing.assert_array_equal(back.perturbation.accuracy, found.perturbation.accuracy, strict=True)
    np.testing.assert_array_equal(back.kept.subnetworks, found.kept.subnetworks, strict=True)
    assert {name: field.dtype for name, field in back.fields.items()} == dict.fromkeys(("vip", "uip", "var"), float)


def test_an_analysis_that_cannot_be_kept(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a storage that one may only read, costs the next one time, and this one nothing."""
    expected = analysed(storage(copy), best(copy), load("digits"), Wanted(subnetworks=6))

    def full(storage: Storage, name: str, content: bytes) -> None:
        raise StorageError(name, "No space left on device")

    monkeypatch.setattr("lca_sweep.sweep.storage.FolderStorage.write", full)
    assert plain(analysed(storage(copy), best(copy), load("digits"), Wanted(subnetworks=6))) == plain(expected)
    other = analysed(storage(copy), best(copy), load("digits"), Wanted(subnetworks=7))
    assert len(other.ensemble.subnetworks) == 7


def test_an_analysis_is_of_the_images_that_were_trained_on(copy: Path) -> None:
    file = copy / "sweeps/told" / layout.trial(best(copy)) / "trial.json"
    about = json.loads(file.read_bytes())
    about["data"]["digest"] = "0" * 64
    file.write_text(json.dumps(about))
    with pytest.raises(SweepError, match="was trained on other images than digits has now"):
        analysed(storage(copy), best(copy), load("digits"), Wanted(subnetworks=7))


def test_other_weights_have_another_analysis(copy: Path) -> None:
    folder = copy / "sweeps/told" / layout.trial(best(copy))
    network, about = Network.load(folder)
    layers = tuple(layer._replace(m=-layer.m) for layer in network.layers)
    Network(layers).save(folder, about)
    found = analysed(storage(copy), best(copy), load("digits"), Wanted(subnetworks=5))
    assert found.ensemble.mean_network < 0.5, "of a network turned upside down"


# --- the study, read only ------------------------------------------------------------------------------------------


def test_reading_writes_nothing(made: Path) -> None:
    journal = made / "sweeps/told/study.journal"
    before = (journal.read_bytes(), journal.stat().st_mtime_ns)
    rows = rows_of(made)
    assert (journal.read_bytes(), journal.stat().st_mtime_ns) == before
    trials = study(made, "told")
    assert [(row.number, row.params, row.values) for row in rows] == [
        (trial.number, trial.params, trial.intermediate_values) for trial in trials
    ]


def test_half_a_line_that_a_driver_is_writing_is_none(copy: Path) -> None:
    journal = copy / "sweeps/told/study.journal"
    before = rows_of(copy)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    length = journal.stat().st_size
    assert rows_of(copy) == before and journal.stat().st_size == length


SPACE: Space = {"trainer.lr": FloatDistribution(0.0, 1.0), "model.depth": CategoricalDistribution([1, 2, 3])}


def trial(number: int, lr: float, depth: int, values: list[float]) -> Row:
    params = {"trainer.lr": lr, "model.depth": depth}
    by_epoch = dict(enumerate(values, 1))
    return Row(number, "complete" if len(values) == 4 else "pruned", params, by_epoch, values[-1], 0, "")


@given(st.integers(0, 99))
def test_importance_is_the_knobs_that_decides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lr, depth = rng.uniform(size=40), rng.integers(1, 4, size=40)
    rows = [trial(n, float(lr[n]), int(depth[n]), [float(lr[n])] * (4 if n % 2 else 2)) for n in range(40)]
    epoch, shares = importances(rows, SPACE)
    assert epoch == 4 and sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "trainer.lr" and shares["trainer.lr"] > 0.7


def test_importance_is_told_at_an_epoch_that_half_of_the_trials_reach() -> None:
    rows = [trial(n, n / 10, 1 + n % 3, [n / 10] * (2 if n < 6 else 4)) for n in range(10)]
    assert importances(rows, SPACE)[0] == 2
    assert importances(rows[: FEWEST - 1], SPACE) == (0, {})
    assert importances([], SPACE) == (0, {})
    assert importances([trial(n, 0.5, 1, [0.3]) for n in range(10)], SPACE) == (1, {})


def test_importance_is_for_being_among_the_best() -> None:
    """Here lr alone decides which are the best third, and depth alone which are the worst."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(90):
        lr, depth = float(rng.uniform()), int(rng.integers(1, 4))
        rows.append(trial(number, lr, depth, [1 + lr if lr > 2 / 3 else -depth - lr / 100] * 4))
    assert importances(rows, SPACE)[1]["trainer.lr"] > 0.9


def test_importance_of_one_knob_or_of_seeds_is_not_told() -> None:
    rng = np.random.default_rng(0)
    rows = [trial(n, float(rng.uniform()), 1 + n % 3, [float(rng.uniform())]) for n in range(FEWEST)]
    rows = [dataclasses.replace(row, params={**row.params, "init.seed": row.number % 2}) for row in rows]
    seed: Space = {"init.seed": CategoricalDistribution([0, 1])}
    assert importances(rows, {"trainer.lr": SPACE["trainer.lr"], **seed}) == (0, {})
    epoch, shares = importances(rows, SPACE | seed)
    assert epoch == 1 and shares.keys() == SPACE.keys()


# --- what is known of a sweep --------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(flat(Config()))))
def test_a_config_comes_back_from_plain_values(name: str) -> None:
    """Also where it is older than some knobs, or newer than us."""
    tree: dict[str, Any] = {}
    for knob, value in flat(Config()).items():
        node = tree
        for part in knob.split(".")[:-1]:
            node = node.setdefault(part, {})
        node[knob.rpartition(".")[2]] = "changed" if knob == name else value
    tree["unheard_of"] = {"a": 1}
    tree["trainer"].pop("beta1")
    expected = Config() if name == "trainer.beta1" else replace(Config(), {name: "changed"})
    assert filled(Config(), tree) == expected
