"""`show`, `compare`, `resume`, `doctor` and `ui`: what they say, what they refuse, and that looking leaves no trace."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from command_helpers import ENDS, SPACE, begun, said
from hypothesis import given
from hypothesis import strategies as st
from sweep_helpers import contents

import lca_sweep.sweep
from lca_sweep import cli
from lca_sweep.completing import completed
from lca_sweep.config import Config
from lca_sweep.core.errors import UserError
from lca_sweep.core.knobs import replace
from lca_sweep.search.reaching import reach
from lca_sweep.search.space import Space
from lca_sweep.sweep import doctor, running, stopping
from lca_sweep.sweep.checks import CHECKS
from lca_sweep.sweep.lock import locked
from lca_sweep.sweep.machine import wrong_packages
from lca_sweep.sweep.printing import spark
from lca_sweep.tracking.finding import check_store, experiment_id
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.serving import free_port


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one sweep that was interrupted, and a newer one that is done."""
    monkeypatch.chdir(tmp_path)
    begun(tmp_path, "mine", ENDS)
    begun(tmp_path, "other", [("complete", 0.25)], trials=1)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("lca_sweep: ") and err.count("\n") == 1
    return err.removeprefix("lca_sweep: ").rstrip("\n")


# --- show ---


def test_show_tells_all_of_a_trial(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    lines = said(capsys, "show", "mine", "3").splitlines()
    assert lines[:2] == ["mine, trial 3: failed (bad luck)", "from search.sampler=random"]
    assert [line.split()[0] for line in lines if " *" in line] == list(SPACE)  # those that are searched, first
    assert ["trainer.epochs", "100"] in [line.split() for line in lines]
    assert "pack 1, trials 2 to 3" in lines and "seeds: init.seed=0, trainer.batch_seed=0, search.seed=0" in lines
    lines = said(capsys, "show", "mine", "2").splitlines()
    assert "val/accuracy, epochs 1 to 2:" in lines and "first 0.3750, last 0.7500, best 0.7500 at 2" in lines
    assert "▁█" in lines
    assert said(capsys, "show", "0").startswith("other, trial 0: complete\n")  # of the sweep that changed last
    assert contents(here) == before


def test_show_of_the_best(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "show", "mine", "best") == said(capsys, "show", "mine", "2")
    assert said(capsys, "show", "best").startswith("other, trial 0: complete\n")
    begun(here, "none", [("failed", 0.5)])
    assert refused(capsys, "show", "none", "best") == "show none: no trial is complete, so that none is the best"


def test_show_of_one_that_waits_tells_what_it_was_put_in_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not what is the default of a knob that the sampler will choose."""
    said(capsys, "enqueue", "mine", "trainer.lr=0.0125")
    lines = [line.split() for line in said(capsys, "show", "mine", "5").splitlines()]
    assert ["trainer.lr", "*", "0.0125"] in lines and ["model.width", "*", "up", "to", "the", "sampler"] in lines
    assert ["trainer.epochs", "100"] in lines
    told = json.loads(said(capsys, "show", "mine", "5", "--json"))
    assert told["state"] == "waiting" and told["params"] == {"trainer.lr": 0.0125}
    assert told["knobs"]["trainer.lr"] == 0.0125 and told["knobs"].keys() & SPACE.keys() == {"trainer.lr"}


def test_show_as_json_has_its_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "show", "mine", "4", "--json"))
    assert " ".join(told) == (
        "name trial state why origin value scores violations params knobs objective values epoch metrics pack "
        "pack_trials replicate seeds weights page trouble"
    )
    assert (told["state"], told["why"]) == ("running", "epoch 2 of 100 is booked")
    assert (told["value"], told["values"], told["metrics"]) == (None, {"1": 0.0, "2": 0.0}, {})
    assert (told["pack"], told["weights"], told["page"], told["trouble"]) == (2, None, None, [])


@pytest.mark.parametrize("words", [["show", "mine", "2"], ["compare", "mine", "other"], ["doctor"]])
def test_tables_fit_a_narrow_terminal(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    cli.main(words)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    long = [line for line in text.splitlines() if len(line) > 40]
    assert [line for line in long if re.search(r"\S {2,}\S", line)] == ([] if words != ["doctor"] else long)


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=200), st.integers(1, 60))
def test_a_line_of_bars_has_its_width_and_ends_with_the_last(values: list[float], width: int) -> None:
    line = spark(values, width)
    assert 1 <= len(line) <= width
    assert len(spark(values, width, "ascii").encode("ascii")) == len(line)
    assert line[-1] != " " or values[-1] != values[-1] or abs(values[-1]) == float("inf")


# --- compare ---


def test_compare_says_what_differs_and_what_was_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(here, "twin", [("complete", 0.5), ("complete", 0.9)], seed=7)
    before = contents(here)
    told = json.loads(said(capsys, "compare", "mine", "twin", "--json"))
    assert " ".join(told) == "unlike knobs equal_cost sweeps"
    assert (told["unlike"], told["knobs"]) == ([], {"search.seed": [0, 7]})
    mine, twin = told["sweeps"]
    assert " ".join(mine) == "name state objectives trials best finals trial_epochs finals_trial_epochs"
    assert (mine["trial_epochs"], twin["trial_epochs"], mine["finals"]) == (10, 4, None)
    assert (mine["best"]["value"], twin["best"]["value"]) == (0.75, 0.9)
    assert [(row["trial_epochs"], row["best"], row["trials"]) for row in told["equal_cost"]] == [
        (1, [None, None], [0, 0]),
        (2, [0.5, 0.5], [1, 1]),
        (3, [0.5, 0.5], [1, 1]),
        (4, [0.5, 0.9], [2, 2]),  # mine's best of all came later, and does not count
    ]
    lines = [line.split() for line in said(capsys, "compare", "mine", "twin").splitlines()]
    assert ["search.seed", "0", "7"] in lines and ["4", "0.5000", "0.9000"] in lines
    assert contents(here) == before


def test_compare_does_not_compare_what_cannot_be(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(here, "loss", [("complete", 0.5)], trials=1, objectives=["minimize val/loss"])
    lines = said(capsys, "compare", "mine", "loss").splitlines()
    assert lines[0] == (
        "different objectives: maximize val/accuracy beside minimize val/loss; so their values are not compared"
    )
    assert not any(line.startswith(("best", "trial-epochs ")) and "0." in line for line in lines)
    told = json.loads(said(capsys, "compare", "mine", "loss", "--json"))
    assert told["equal_cost"] == [] and len(told["unlike"]) == 1


# --- resume ---


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Config, Space]]]:
    """What would be run."""
    found: list[tuple[Config, Space]] = []

    def run(config: Config, space: Space) -> int:
        found.append((config, space))
        return 7

    monkeypatch.setattr(lca_sweep.sweep, "run", run)
    yield found


def test_resume_is_the_same_command(here: Path, runs: list[tuple[Config, Space]]) -> None:
    assert cli.main(["resume", "mine", "sweep.trials=9", "analysis=none"]) == 7  # the sweep's own exit status
    (config, space), wanted = runs.pop(), begun(here, "mine", [])
    assert space == SPACE
    assert config == replace(wanted, {"sweep.trials": 9, "analysis.report": False, "analysis.trials": 0})
    assert cli.main(["resume"]) == 7  # the only one that was interrupted
    assert runs.pop()[0].sweep.name == "mine"


def test_resume_goes_on_with_what_was_begun_anew(here: Path, runs: list[tuple[Config, Space]]) -> None:
    file = here / "sweeps" / "mine" / "config.yaml"
    file.write_text(file.read_text().replace("resume: auto", "resume: never"))
    assert cli.main(["resume", "mine"]) == 7
    assert runs.pop()[0].sweep.resume == "auto"


def test_resume_which(here: Path, runs: list[tuple[Config, Space]], capsys: pytest.CaptureFixture[str]) -> None:
    begun(here, "more", ENDS)
    assert refused(capsys, "resume") == "resume: which one? interrupted: mine, more"
    assert refused(capsys, "resume", "sweep.dir=nowhere") == "resume: no sweep in nowhere was interrupted"
    assert runs == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine", "trainer.lr=0.1"], "resume: trainer.lr=0.1: not for this command, which takes sweep.{trials,target,"),
        (
            ["mine", "sweep.resume=never"],
            "resume: sweep.resume=never: not for this command, which takes sweep.{trials,target,",
        ),
        (["mine", "sweep.trials=0"], "sweep.trials=0: must be >= 1"),
        (["mina"], "resume mina: no sweep of that name in sweeps; did you mean 'mine'?"),
        (["a", "b"], "resume: write resume [NAME] [sweep.trials=N] [sweep.dir=DIR]"),
        (
            ["mine", "tracking.uri=sqlite:///else.db"],
            "resume mine: tracking.uri=sqlite:///else.db: must be sqlite:///mlflow.db, as the sweep was begun with",
        ),
    ],
)
def test_what_resume_refuses(
    here: Path, runs: list[Any], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = contents(here)
    assert refused(capsys, "resume", *words).startswith(message)
    assert (runs, contents(here)) == ([], before)


def test_resume_asks_for_a_password(here: Path, runs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    file = here / "sweeps" / "mine" / "config.yaml"
    file.write_text(file.read_text().replace("uri: sqlite:///mlflow.db", "uri: postgresql://me:***@db/x"))
    assert refused(capsys, "resume", "mine") == (
        "resume mine: tracking.uri=postgresql://me:***@db/x: say tracking.uri=URL, with the password"
    )
    assert cli.main(["resume", "mine", "tracking.uri=postgresql://me:secret@db/x"]) == 7
    assert runs.pop()[0].tracking.uri == "postgresql://me:secret@db/x"


def test_resume_knows_where_a_sweep_was_begun(
    here: Path, runs: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert refused(capsys, "resume", "mine", "sweep.dir=../sweeps").endswith(f"means a place in {here}: go there first")
    monkeypatch.chdir(here)
    (here / "sweeps" / "mine").rename(here / "sweeps" / "mine.1")
    assert "is the folder of mine, put aside or renamed" in refused(capsys, "resume", "mine.1")
    assert runs == []


# --- doctor ---


def test_doctor_finds_all_well_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(said(capsys, "doctor", "+sweep=smoke", "--json"))
    assert [tuple(one) for one in told["checks"]] == [("name", "ok", "told", "seconds")] * len(CHECKS)
    assert " ".join(one["name"] for one in told["checks"]) == (
        "python packages cores GPU memory /dev/shm disk data MLflow study storage cluster port sweeps"
    )
    assert told["ok"] is True and list(tmp_path.iterdir()) == []


def test_doctor_leaves_a_sweeps_folder_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    lines = said(capsys, "doctor").splitlines()
    assert contents(here) == before
    assert lines[-1] == "ok     sweeps    2 sweeps in sweeps; to go on (resume NAME): mine"


def wrong(name: str, knobs: Mapping[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        CHECKS[name](replace(Config(), knobs))
    return str(error.value)


def test_doctor_looks_at_the_sweep_of_that_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(status: int, *words: str) -> str:
        assert cli.main(["doctor", *words, "--json"]) == status
        (sweeps,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["name"] == "sweeps"]
        assert sweeps["ok"] is (status == 0)
        return str(sweeps["told"])

    space = ["sweep.space.trainer.lr={low: 0.01, high: 0.3, log: true}", "sweep.space.model.width={low: 8, high: 32}"]
    mine = ["sweep.name=mine", "sweep.trials=6", "search=random", *space, "pack.size=2"]
    assert told(0, *mine).endswith("; mine would go on")
    assert "begun with another pack.size: 2 -> 3" in told(1, *mine, "pack.size=3")
    assert "mine" not in told(0, *mine, "pack.size=3", "sweep.resume=never").partition(": ")[0]
    with locked(here / "sweeps" / "mine", print):
        assert re.search(r"sweep mine is being run by .*; stop it \(python -m lca_sweep stop mine\)", told(1, *mine))


def test_doctor_tells_whether_a_gpu_has_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.sweep.checks.gpus", lambda: iter(["H100, 80 GB"]))
    monkeypatch.setattr("lca_sweep.core.engine.why_no_kernels", lambda device: "")
    assert CHECKS["GPU"](Config()) == "H100, 80 GB; Triton's kernels work"
    monkeypatch.setattr("lca_sweep.core.engine.why_no_kernels", lambda device: "no compiler")
    assert CHECKS["GPU"](Config()) == "H100, 80 GB; no kernels, so training is slower: no compiler"


def test_what_doctor_finds_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no database, and no folder")
    assert "file must be" in wrong("storage", {"sweep.storage": "file/x"})
    assert "cannot be written to; name another" in wrong("disk", {"sweep.dir": "file/sweeps"})
    assert "is missing, and" in wrong("data", {"data.name": "mnist_full", "data.dir": "file/x"})
    assert "this machine has" in wrong("cores", {"cluster.cpus_per_pack": 10_000})
    assert "none here that torch can use" in wrong("GPU", {"cluster.gpus_per_pack": 1.0})
    assert "RAY_ADDRESS is not set" in wrong("cluster", {"cluster.address": "auto"})
    assert "must be the cluster itself" in wrong("cluster", {"cluster.address": "ray://head:10001"})
    assert "file is not a database" in wrong("MLflow", {"tracking.uri": "sqlite:///file"})
    assert "must be like sqlite:///mlflow.db" in wrong("MLflow", {"tracking.uri": "runs"})
    assert "file is not a database" in wrong("study", {"search.storage": "sqlite:///file"})
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]  # nobody listens there
        assert "no Ray cluster answers" in wrong("cluster", {"cluster.address": f"127.0.0.1:{port}"})
        assert "no answer of an MLflow server" in wrong("MLflow", {"tracking.uri": f"http://127.0.0.1:{port}"})
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{port}/x"
        assert "secret" not in wrong("study", {"search.storage": url})
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'study.db'}"
    assert reach(url, "search.storage") == check_store(url) == "made by the first sweep"
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_hangs_is_told_and_holds_nobody_up() -> None:
    over = threading.Event()
    checks = {"slow": lambda config: str(over.wait(30)), "quick": lambda config: "well"}
    began = time.monotonic()
    slow, quick = doctor.examine(Config(), checks, 0.2)
    over.set()
    assert time.monotonic() - began < 5
    assert (slow.ok, slow.told, quick.ok, quick.told) == (False, "no answer within 0.2 s", True, "well")


def test_doctor_refuses_wrong_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "doctor", "trainer.lr=-1") == "trainer.lr=-1.0: must be > 0"
    assert refused(capsys, "doctor", "--config-dir") == "doctor: --config-dir: needs a folder"
    assert refused(capsys, "doctor", "--long").startswith("doctor: --long: write doctor [WORDS as for a run]")


def test_packages_that_are_wrong_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["optuna[x]>=5,<6", "ray[tune]<2.60", "surely-missing>=1", "not-needed; extra == 'test'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: needs)
    right, told = wrong_packages()
    assert right == 1 and re.fullmatch(r"ray 2\.\d+\.\d+, must be <2\.60", told[0])
    assert told[1:] == ["surely-missing is missing, must be >=1"]


# --- ui ---


class Server(BaseHTTPRequestHandler):
    """Answers as an MLflow server with one experiment, to who knows the password."""

    def do_GET(self) -> None:
        knows = self.headers.get("Authorization") == "Basic bWU6c2VjcmV0"  # me:secret
        self.send_response(200 if knows else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"experiment": {"experiment_id": "42"}}).encode() if knows else b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_servers_ui_is_its_own(
    here: Path, server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(capsys, "ui", f"tracking.uri={server}") == f"{server}\n"
    assert "asks for a user and a password; set MLFLOW_TRACKING_USERNAME" in wrong("MLflow", {"tracking.uri": server})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert said(capsys, "ui", f"tracking.uri={server}").startswith(f"{server}/#/experiments/42/runs")
    assert CHECKS["MLflow"](replace(Config(), {"tracking.uri": server})) == "answers"
    assert "is a server, which has its UI" in refused(capsys, "ui", f"tracking.uri={server}", "--port", "7000")


def test_a_store_that_is_not_there_is_not_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    where = here / "mlflow.db"
    assert refused(capsys, "ui", "mine").endswith(f"no store at {where}; the first sweep makes it")
    assert "no store at" in refused(capsys, "ui") and "plain folders" in refused(capsys, "ui", "tracking.uri=runs")
    assert refused(capsys, "ui", "--port", "0") == "ui: --port 0: must be a whole number >= 1 and <= 65535"
    assert "say tracking.uri=URL, with the password" in refused(capsys, "ui", "tracking.uri='postgresql://a:***@b/c'")
    assert contents(here) == before


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=f"--port {port}: cannot be had"):
            free_port(port)
    assert free_port() >= 5000


def test_looking_into_a_store_leaves_nothing(tmp_path: Path) -> None:
    """Also in one that is set up for a reader beside a writer, which SQLite itself would leave two files beside."""
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as made:
        made.execute("PRAGMA journal_mode=wal")
        made.execute("CREATE TABLE experiments (experiment_id, name, lifecycle_stage)")
        made.execute("INSERT INTO experiments VALUES (3, 'lca_sweep', 'active')")
    made.close()
    before = contents(tmp_path)
    assert experiment_id(f"sqlite:///{file}", "lca_sweep") == "3"
    assert experiment_id(f"sqlite:///{file}", "nobody's") == ""
    assert contents(tmp_path) == before


# --- completion and exit statuses ---


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("lca-sweep ", "stop report list status enqueue set submit ui show resume doctor compare KNOBS(lca-sweep )"),
        ("lca-sweep re", "report resume KNOBS(lca-sweep re)"),
        ("lca-sweep show ", "mine other best --json sweep.dir="),
        ("lca-sweep show mi", "mine"),
        ("lca-sweep compare mine ot", "other"),
        ("lca-sweep stop sweep.dir=nowhere ", "sweep.dir="),
        ("lca-sweep resume mine sweep.tr", "KNOBS(lca-sweep sweep.tr)"),
        ("lca-sweep list m", ""),
        ("lca-sweep +sweep=mnist trainer.l", "KNOBS(lca-sweep +sweep=mnist trainer.l)"),
    ],
)
def test_the_shell_is_told_commands_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, completions: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "other"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / name / "sweep.json").touch()
    found = completed(line, lambda rest: f"KNOBS({rest})\n")
    assert found.rstrip("\n") == completions


def test_the_door_completes_commands_and_knobs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, wanted in (("lca-sweep resume mine sweep.tria", "sweep.trials="), ("lca-sweep sho", "show")):
        monkeypatch.setenv("COMP_LINE", line)
        assert said(capsys, "-sc", "query=bash").split() == [wanted]
        assert os.environ["COMP_LINE"] == line


def test_exit_statuses_are_as_they_are_told() -> None:
    page = " ".join(cli.usage([]).split())
    assert "0 done; 1 no trial is complete, or doctor finds something wrong; 2 refused; 3 something was lost" in page
    assert (running.DONE, running.NONE_COMPLETE, doctor.ALL_WELL, doctor.WRONG) == (0, 1, 0, 1)
    assert (UserError.status, stopping.STUCK.status) == (2, 3)
    assert (stopping.INTERRUPT.status, stopping.TERMINATION.status) == (130, 143)
