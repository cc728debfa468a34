"""What people read of a sweep in the MLflow UI: names, descriptions, data sets, and addresses that lead there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracking_helpers import FINISHED, UID, MemoryStore, children, client, counts, die, new_store, on, sweep, trial

from lca_sweep.core.objective import Goal, Objective
from lca_sweep.tracking import BestTrial, DataRecord, SweepEnd, SweepRecord, Table, open_tracker
from lca_sweep.tracking.front import Front
from lca_sweep.tracking.naming import LONGEST, run_name
from lca_sweep.tracking.store import LONGEST_TAG

DATA = DataRecord("digits", "0123456789abcdef" * 4, 64, 10, {"training": 1000, "validation": 397, "test": 400})

# MLflow 3.17 says it to SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """URI of a store of the test's own."""
    return new_store(tmp_path)


def note(run: Any) -> str:
    return str(run.data.tags["mlflow.note.content"])


def searched(params: dict[str, str]) -> dict[str, str]:
    return {"lca.searched": ",".join(sorted(params))}


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "tags", "name"),
    [
        ({"trainer.lr": "0.0312345", "model.width": "180"}, {}, "0017 lr=0.0312 w=180"),
        ({"model.widths.0": "180", "model.widths.1": "90", "trainer.lr": "1e-05"}, {}, "0017 lr=1e-05 w=180,90"),
        ({"prior.kind": "kl", "prior.weight": "0.1", "trainer.lr": "0.1"}, {}, "0017 lr=0.1 prior.kind=kl weight=0.1"),
        (
            {"init.spike": "0.5"},
            {},
            "0017 init.spike=0.5",
        ),  # as in the figures: there is a prior.spike, searched or not
        ({"init.spike": "0.5", "prior.spike": "0.25"}, {}, "0017 init.spike=0.5 prior.spike=0.25"),
        ({"trainer.lr": "0.1"}, {"replicate.of": "3", "replicate.seed": "7"}, "0017 of 0003 seed=7 lr=0.1"),
        ({}, {}, "0017"),
    ],
)
def test_a_trials_name(params: dict[str, str], tags: dict[str, str], name: str) -> None:
    assert run_name(17, {**params, "trainer.epochs": "5"}, {**tags, **searched(params)}) == name


@given(st.dictionaries(st.text("abc._", min_size=1), st.text('0123456789.e-[]naN"', max_size=90)), st.integers(0))
def test_a_trials_name_is_never_long(params: dict[str, str], number: int) -> None:
    """Whatever the knobs are; and it begins with the number."""
    name = run_name(number, params, searched(params))
    assert name.startswith(f"{number:04d}") and len(name) <= max(LONGEST, len(str(number)) + 2)
    assert name == name.strip() and "\n" not in name


def test_a_run_is_found_by_its_tags_whatever_it_is_called(uri: str, tmp_path: Path) -> None:
    """As an earlier version named it, or a person who likes another name better."""
    for name in ("0000", "my favourite", None):
        tracker = open_tracker(uri, "lca", tmp_path / "outbox")
        tracker.start_sweep(sweep(tmp_path))
        tracker.start_trials([trial(0)])
        tracker.log(0, 1, {"val/accuracy": 0.5})
        tracker.close()
        (run,) = children(uri).values()
        if name:
            client(uri).update_run(run.info.run_id, name=name)
    assert run.info.run_name == "my favourite"


# --- descriptions --------------------------------------------------------------------------------------------------


def test_the_page_of_a_sweep_while_it_runs_and_at_its_ends(uri: str, tmp_path: Path) -> None:
    """Each start and each end says what is known then; told twice it is the same."""
    record = replace(
        sweep(tmp_path),
        question="Which rate?",
        commands={"how it stands": "python -m lca_sweep status study"},
        places={"folder of the sweep": "/data/sweeps/study"},
    )
    best = BestTrial(1, 0.75, {"val/accuracy": 0.75}, {"trainer.lr": 0.05}, None)
    table = Table("The best", ["val/accuracy", "trainer.lr"], {1: ["0.75", "0.05"], 0: ["0.5", "a|b"]})
    tracker = open_tracker(uri, "lca", tmp_path / "outbox")
    parent = tracker.start_sweep(record)
    running = note(client(uri).get_run(parent))
    assert running.startswith("Which rate?\n\n### Sweep `study`: running\n")
    assert "| objective | maximize val/accuracy |" in running
    assert '| trainer.lr | {"low": 0.001, "high": 1.0, "log": true} |' in running
    tracker.start_trials([trial(0), trial(1)])
    for _ in range(2):
        tracker.end_sweep(SweepEnd("interrupted", counts(complete=2), best, "asked to stop", tables=[table]))
    tracker.close()
    ended, runs = note(client(uri).get_run(parent)), children(uri)
    first, second = (f"[{n:04d}](#/experiments/1/runs/{runs[n].info.run_id}?" for n in (1, 0))
    assert ended.startswith("Which rate?\n\n### Sweep `study`: interrupted\n\nasked to stop\n\n**Best: [trial 0001](")
    assert ended.index(first) < ended.index(second) and "| 0.5 | a\\|b |" in ended
    assert "python -m lca_sweep status study  # how it stands" in ended and "`/data/sweeps/study`" in ended
    again = open_tracker(uri, "lca", tmp_path / "outbox")
    assert again.start_sweep(replace(record, tables=[table])) == parent
    goes_on = note(client(uri).get_run(parent))
    assert goes_on.startswith("Which rate?\n\n### Sweep `study`: running\n") and first in goes_on
    again.end_sweep(FINISHED)
    again.close()
    assert "No trial is complete." in note(client(uri).get_run(parent))


@given(st.lists(st.lists(st.text(max_size=200), max_size=12), max_size=40))
def test_a_page_is_never_cut_in_the_middle(rows: list[list[str]]) -> None:
    """MLflow keeps so many characters: a table that does not fit is left out as a whole."""
    table = Table("The best", [f"c{place}" for place in range(12)], dict(enumerate(rows)))
    end = SweepEnd("finished", counts(complete=1), BestTrial(0, 0.5, {}, {}, None), tables=[table])
    page = Front(sweep(Path("x")), "1", lambda number: f"run{number}").ended(end)
    assert len(page) <= LONGEST_TAG and "**Best: [trial 0000](" in page
    assert page.count("### The best\n\n| trial |") in (0, 1)
    assert all(line.endswith("|") for line in page.splitlines() if line.startswith("| "))


def test_the_line_of_a_trial_follows_its_life(tmp_path: Path) -> None:
    """What it is while it runs, and at its end how that went, also where its driver died meanwhile."""
    store = MemoryStore()
    lr = "Trial 0 of sweep study, in pack 0, with `lr=0.05`"
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0)])
    tracker.log(0, 1, {"val/accuracy": 0.25, "train/loss": 1.0})
    tracker.log(0, 2, {"val/accuracy": 0.123456, "train/loss": 1.0})
    assert tracker.flush() and store.trials()[0].tags["mlflow.note.content"] == lr
    die(tracker)
    tracker = on(store, tmp_path / "outbox")
    tracker.start_sweep(sweep(tmp_path))
    tracker.end_trial(0, "pruned", "rank 6 of 8 at epoch 2")
    assert tracker.flush()
    assert store.trials()[0].tags["mlflow.note.content"] == (
        f"{lr}: pruned after 2 epochs: val/accuracy 0.1235; rank 6 of 8 at epoch 2"
    )
    tracker.close()


def test_the_best_trial_is_marked_and_only_the_last_best(uri: str, tmp_path: Path) -> None:
    for number in (0, 1, 1, None):
        tracker = open_tracker(uri, "lca", tmp_path / "outbox")
        tracker.start_sweep(sweep(tmp_path))
        tracker.start_trials([trial(n) for n in range(2) if number == 0])
        best = None if number is None else BestTrial(number, 0.5, {}, {}, None)
        tracker.end_sweep(SweepEnd("finished", counts(complete=2), best))
        tracker.close()
        marked = {n for n, run in children(uri).items() if run.data.tags.get("best") == "true"}
        assert marked == ({number} - {None})


# --- data sets -----------------------------------------------------------------------------------------------------


def test_every_run_names_the_images(uri: str, tmp_path: Path) -> None:
    """Once, however often it is told; of two sweeps they are the same data sets."""
    for uid in (UID, UID, "f" * 32):
        tracker = open_tracker(uri, "lca", tmp_path / uid)
        parent = tracker.start_sweep(replace(sweep(tmp_path, uid), data=DATA))
        tracker.start_trials([trial(0)])
        tracker.start_trials([trial(0)])
        tracker.end_sweep(FINISHED)
        tracker.close()
        told = [client(uri).get_run(parent), *_children_of(uri, parent)]
        assert len(told) == 2
        for run in told:
            inputs = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
            assert list(inputs) == list(DATA.images) and len(run.inputs.dataset_inputs) == 3
            assert {one.digest for one in inputs.values()} == {DATA.digest[:16]}
            assert '"images": 397' in inputs["validation"].profile and inputs["test"].name == "digits test"


def _children_of(uri: str, parent: str) -> list[Any]:
    return list(client(uri).search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'"))


def test_images_that_could_not_be_told_are_told_at_the_next_start(tmp_path: Path) -> None:
    """The driver died between the run and its data sets."""
    store = MemoryStore()
    for data in (None, DATA):
        tracker = on(store, tmp_path / "outbox")
        tracker.start_sweep(replace(sweep(tmp_path), data=data))
        tracker.start_trials([trial(0)])
        tracker.flush()
        die(tracker)
    assert store.trials()[0].inputs == ["digits training", "digits validation", "digits test"]


# --- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "best"), [(Goal(), 1), (Goal((Objective("val/loss", maximize=False), Objective("val/accuracy"))), 0)]
)
def test_the_address_leads_to_this_sweeps_runs_the_best_first(goal: Goal, best: int, uri: str, tmp_path: Path) -> None:
    """What the UI is asked for by it is what MLflow finds; the other sweep's runs are not there."""
    pages = {}
    for uid in (UID, "f" * 32):
        tracker = open_tracker(uri, "lca", tmp_path / uid)
        record: SweepRecord = replace(sweep(tmp_path, uid), goal=goal)
        parent = tracker.start_sweep(record)
        tracker.start_trials([trial(0), trial(1)])
        for number in range(2):
            tracker.log(number, 1, {"val/accuracy": 0.5 + number / 4, "val/loss": 0.5 + number / 4})
        tracker.end_sweep(FINISHED)
        tracker.close()
        pages[parent] = tracker.page
        assert tracker.front.partition("?")[0].endswith(f"#/experiments/1/runs/{parent}")
    for parent, page in pages.items():
        place = urlsplit(page.partition("#")[2])
        asked = {key: values[0] for key, values in parse_qs(place.query).items()}
        order = f"{asked['orderByKey']} {'ASC' if asked['orderByAsc'] == 'true' else 'DESC'}"
        found = client(uri).search_runs(["1"], asked["searchFilter"], order_by=[order])
        assert asked["workflowType"] == "machine_learning" and place.path == "/experiments/1/runs"
        assert [run.data.tags.get("lca.trial") for run in found] == [str(best), str(1 - best), None]
        assert found[2].info.run_id == parent
