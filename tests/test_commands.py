"""Commands on a sweep that is there: what they say, what they refuse, and that they only look where they only look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_helpers import ENDS, SPACE, TREE, begun, said
from sweep_helpers import ROOT, contents

from lca_sweep import cli
from lca_sweep.config import Config, Search
from lca_sweep.search.storage import journal
from lca_sweep.search.study import Study
from lca_sweep.sweep import lock
from lca_sweep.sweep.lock import locked
from lca_sweep.sweep.overview import overviews


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one sweep that was interrupted, and a newer one that is done."""
    monkeypatch.chdir(tmp_path)
    begun(tmp_path, "mine", ENDS)
    begun(tmp_path, "other", [("complete", 0.25)], trials=1)
    yield tmp_path


def test_list_names_all(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    head, *lines = said(capsys, "list").splitlines()
    assert head.split() == ["sweep", "state", "trials", "best", "changed"]
    by_name = {line.split()[0]: line for line in lines}
    assert by_name.keys() == {"mine", "other"}
    assert "interrupted" in by_name["mine"] and "6 (2 complete, 1 pruned, 1 failed, 1 unfinished)" in by_name["mine"]
    assert "0.7500, trial 2" in by_name["mine"] and "done" in by_name["other"]
    assert contents(here) == before


def test_list_as_json_has_its_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["name"]: one for one in json.loads(said(capsys, "list", "--json"))}
    assert {tuple(one) for one in found.values()} == {("name", "state", "owner", "trials", "total", "best", "changed")}
    mine = found["mine"]
    assert (mine["state"], mine["owner"], mine["total"]) == ("interrupted", None, 6)
    assert mine["trials"] == {"complete": 2, "pruned": 1, "failed": 1, "running": 1, "waiting": 0}
    assert mine["best"]["trial"] == 2 and mine["best"]["params"].keys() == SPACE.keys()


def test_status_of_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sweeps" / "mine" / "outbox").mkdir()
    (here / "sweeps" / "mine" / "outbox" / "00000001.jsonl").write_text('{"sweep": "x"}\n{}\n{}\n')
    before = contents(here)
    with locked(here / "sweeps" / "mine", print):
        lines = said(capsys, "status", "mine").splitlines()
        (whole,) = json.loads(said(capsys, "status", "--json"))  # the one that runs
    assert lines[0].startswith("mine: run by process ")
    assert lines[1:4] == [
        "trials: 6 (2 complete, 1 pruned, 1 failed, 1 running)",
        "left early: 1 at epoch 2",
        "MLflow: 2 lines of the outbox to go",
    ]
    assert ["2", "2/100", "4"] in [line.split() for line in lines]  # pack, epoch, trials
    assert any(line.split()[:2] == ["2", "0.7500"] for line in lines)
    assert whole["name"] == "mine" and whole["state"] == "running" and whole["owner"]["pid"] > 0
    assert whole["packs"] == [{"pack": 2, "epoch": 2, "epochs": 100, "trials": [4]}]
    assert (whole["pruned_at"], whole["outbox"], whole["finals"]) == ({"2": 1}, 2, [])
    assert [one["trial"] for one in whole["best_trials"]] == [2, 0]
    after = contents(here)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {
        "sweeps/mine/lock"
    }


def test_status_of_none_is_of_the_newest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "status").startswith("other: done\n")


def test_a_sweep_that_cannot_be_read_is_listed_and_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(here, "away", [], storage="sqlite:///gone.db")
    text = (here / "sweeps" / "away" / "config.yaml").read_text()
    (here / "sweeps" / "away" / "config.yaml").write_text(text.replace("sqlite:///gone.db", "postgresql://me:***@x/db"))
    (here / "sweeps" / "broken").mkdir()
    (here / "sweeps" / "broken" / "sweep.json").write_text("{")
    line = next(line for line in said(capsys, "list").splitlines() if line.startswith("away"))
    assert "unknown" in line and "search.storage=URL, with the password" in line
    assert [one.known.name for one in overviews(here / "sweeps", "list")][:1] == ["away"]
    assert cli.main(["status", "away"]) == 2
    assert "status away: its study is in a database; say search.storage=URL" in capsys.readouterr().err
    assert said(capsys, "status", "away", "search.storage=sqlite:///gone.db").startswith("away: ")


def test_enqueue_says_what_will_happen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "enqueue", "mine", "trainer.lr=0.05", "model.width=9").splitlines()
    assert lines == [
        "trial 5: put in, to be trained next",
        "nobody runs it: the command that began it does that",
    ]
    assert said(capsys, "enqueue", "mine", "trainer.lr=5e-2", "model.width=9") == "1 point: there before\n"
    (here / "points.csv").write_text("trial,trainer.lr\n1,0.06\n2,0.07\n2,0.07\n")
    lines = said(capsys, "enqueue", "mine", "--csv", "points.csv").splitlines()
    assert lines[:2] == ["1 point: there before", "trials 6 to 7: put in, to be trained next"]
    assert lines[3] == "it has but 1 trial to go; for all that wait: sweep.trials=8 with it"
    with locked(here / "sweeps" / "mine", print):
        lines = said(capsys, "enqueue", "mine", "model.width=8").splitlines()
    assert lines[1].endswith("for all that wait: python -m lca_sweep set mine trials=9")
    books = Study.open(Config(search=Search(sampler="random")), "mine", SPACE, journal(here / "sweeps" / "mine"))
    rows = books.ask([3] * 4)
    assert [row.params["trainer.lr"] for row in rows[:3]] == [0.05, 0.06, 0.07]
    assert [row.source for row in rows] == ["enqueue", "csv", "csv", "enqueue"]


def test_set_is_heard_by_who_runs_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[Any] = []
    with locked(here / "sweeps" / "mine", print) as held:
        held.on_wish(heard.append)
        out = said(capsys, "set", "mine", "trials=3", "concurrency=2")
    assert heard == [{"trials": 3, "concurrency": 2}]
    assert out.splitlines() == [
        "mine: from now on 3 trials in all: 5 were begun already, and are finished",
        "mine: from now on 2 packs at a time, if the resources allow",
    ]
    assert list((here / "sweeps" / "mine").glob("wish*")) == []


def test_set_that_nobody_hears(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sweep ends before it has listened; nothing is left for the next."""
    over = threading.Event()
    began = threading.Event()

    def run() -> None:
        with locked(here / "sweeps" / "mine", print):
            began.set()
            over.wait(60)

    thread = threading.Thread(target=run)
    thread.start()
    began.wait(60)
    threading.Timer(0.7, over.set).start()
    assert cli.main(["set", "mine", "trials=9"]) == 2
    thread.join()
    assert "set mine: not heard: it has ended" in capsys.readouterr().err
    assert list((here / "sweeps" / "mine").glob("wish*")) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "mine"], "list: write list [--json] [sweep.dir=...]"),
        (["list", "--long"], "list: write list [--json] [sweep.dir=...]"),
        (["list", "sweep.trials=3"], "list: sweep.trials=3: not for this command, which takes sweep.dir="),
        (["status", "a", "b"], "status: write status [NAME] [--json] [sweep.dir=...]"),
        (["status", "mina"], "status mina: no sweep of that name in sweeps; did you mean 'mine'?"),
        (["status", "sweep.dir=nowhere"], "status: no sweeps in nowhere"),
        (["enqueue"], "enqueue: write enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE"),
        (["enqueue", "mine"], "enqueue: write enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE"),
        (["enqueue", "mine", "--csv"], "enqueue: --csv: needs a file"),
        (
            ["enqueue", "mine", "trainer.lr=0.1", "--csv", "a"],
            "enqueue: write enqueue NAME trainer.lr=0.05 ... or enqueue NAME --csv FILE",
        ),
        (["enqueue", "mine", "trainer.lr=7"], "enqueue mine: trainer.lr=7.0: must be a number from 0.01 to 0.3"),
        (
            ["enqueue", "mine", "trainer.lrr=7"],
            "enqueue mine: trainer.lrr=7: no such knob; did you mean 'trainer.lr'?",
        ),
        (
            ["enqueue", "mine", "--csv", "no.csv"],
            "enqueue mine: --csv=no.csv: cannot be read: No such file or directory",
        ),
        (["set", "mine"], "set: write set NAME trials=64 concurrency=2, or one of the two"),
        (["set", "trials=3"], "set: write set NAME trials=64 concurrency=2, or one of the two"),
        (
            ["set", "mine", "trails=9"],
            "set: trails=9: not understood; did you mean 'trials'?; write set NAME trials=64 concurrency=2, "
            "or one of the two",
        ),
        (["set", "mine", "trials=0"], "set: trials=0: must be a whole number >= 1"),
        (["set", "mine", "concurrency=many"], "set: concurrency=many: must be a whole number >= 1"),
        (
            ["set", "mine", "pack.size=3"],
            "set: pack.size=3: not understood; write set NAME trials=64 concurrency=2, or one of the two",
        ),
        (
            ["set", "mine", "trials=64", "concurrency=2"],
            "set mine: nobody runs it; the command that began it does that, with sweep.trials=64 cluster.packs=2 added",
        ),
    ],
)
def test_what_is_refused(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    before = contents(here)
    assert cli.main(words) == 2
    assert capsys.readouterr().err == f"lca_sweep: {message}\n"
    assert contents(here) == before


def test_numbers_that_a_sweep_cannot_have(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(here, "fixed", ENDS, deterministic=True)
    with locked(here / "sweeps" / "fixed", print):
        assert cli.main(["set", "fixed", "trials=9"]) == 2
    assert "search.deterministic=true; extend it after its end" in capsys.readouterr().err


def test_no_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "list") == "no sweeps in sweeps\n"
    assert json.loads(said(capsys, "list", "--json")) == []


def test_looking_loads_nothing_heavy(here: Path) -> None:
    code = (
        "import sys; from lca_sweep import cli\n"
        "for words in (['list'], ['status', 'mine'], ['enqueue', 'mine', 'trainer.lr=0.05']): cli.main(words)\n"
        "print(*{name.split('.')[0] for name in sys.modules} & {'torch', 'ray', 'mlflow', 'matplotlib', 'pandas'})"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, capture_output=True, text=True, check=True)
    assert "trial 5: put in" in done.stdout and done.stderr == ""
    assert done.stdout.splitlines()[-1] == ""


def test_status_has_the_epochs_that_the_space_sets(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    epochs = {"value": 7, "when": {"model": {"width": {"low": 8}}}}
    tree: dict[str, Any] = {**TREE, "trainer": {"lr": TREE["trainer"]["lr"], "epochs": epochs}}
    for file in ("sweep.json", "config.yaml"):
        path = here / "sweeps" / "mine" / file
        known = yaml.safe_load(path.read_text())
        known.get("config", known)["sweep"]["space"] = tree
        path.write_text(json.dumps(known))
    (told,) = json.loads(said(capsys, "status", "mine", "--json"))
    assert [pack["epochs"] for pack in told["packs"]] == [7]


def test_machines_that_are_gone_are_waited_for_together(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a reboot: the sweeps that ran then are listed after one silence, however many they are."""
    monkeypatch.setattr(lock, "SILENCE", 2.0)
    monkeypatch.setattr(lock, "LOOK", 0.1)
    for name in ("mine", "other"):
        gone = lock.Owner(name, "ada", "here", "an earlier boot", 7, "2026-01-01 00:00:00")
        (here / "sweeps" / name / "lock").write_bytes(json.dumps(vars(gone)).encode().ljust(lock.SIZE))
    began = time.monotonic()
    assert [one.owner for one in overviews(Path("sweeps"), "list")] == [None, None]
    assert 2.0 <= time.monotonic() - began < 3.9
