"""The end of a sweep with all that belongs to it: the report, files of trials, and the best network as a model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_helpers import free_port
from tracking_helpers import (
    FINISHED,
    MOODS,
    UID,
    MemoryStore,
    children,
    client,
    counts,
    fetch,
    new_store,
    on,
    run_of,
    server,
    sweep,
    trained,
    trial,
    wait_for,
)

from lca_sweep.core.classifier import Classifier
from lca_sweep.tracking import BestTrial, SweepEnd, TrackingError, open_tracker
from lca_sweep.tracking.registry import Registry, model_name
from lca_sweep.tracking.writer import Refused

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PIXELS = np.array([[0, 16, 3, 4, 5, 6], [1, 0, 1, 0, 1, 0]], np.uint8)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """URI of a store of the test's own."""
    return new_store(tmp_path)


def best_is(folder: Path, number: int, **more: Any) -> SweepEnd:
    return replace(FINISHED, best=trained(folder / f"best-{number}", number), **more)


def end(
    uri: str, folder: Path, *ends: SweepEnd, patience: float = 20, name: str = "study", uid: str = UID
) -> list[str]:
    """One life of a driver with two trials, and all that it has to say."""
    says: list[str] = []
    tracker = open_tracker(uri, "lca", folder / "outbox")
    tracker.start_sweep(replace(sweep(folder, uid), name=name))
    tracker.start_trials([trial(0), trial(1)])
    for number in (0, 1):
        tracker.end_trial(number, "complete")
    try:
        for one in ends:
            tracker.end_sweep(one, patience=patience, say=says.append)
    finally:
        tracker.close()
    return [line for line in says if not line.startswith("waiting for MLflow")]


def parent_of(uri: str) -> Any:
    experiment = client(uri).get_experiment_by_name("lca").experiment_id
    (run,) = client(uri).search_runs([experiment], "tags.`lca.kind` = 'sweep'")
    return run


def artifacts(folder: Path, run: str) -> dict[str, bytes]:
    """A run's artifacts but for its config and its model, by path."""
    root = folder / "mlruns" / "lca" / run / "artifacts"
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {path: content for path, content in found.items() if not path.startswith(("model/", "config", "space"))}


def versions(uri: str, name: str = "study") -> list[Any]:
    return sorted(client(uri).search_model_versions(f"name = '{name}'"), key=lambda one: int(one.version))


# --- files ---------------------------------------------------------------------------------------------------------


def folders(folder: Path) -> tuple[Path, dict[int, Path]]:
    """A report and files of two trials."""
    made = {"report/report.html": "<p>", "report/figures/a.svg": "<svg>", "0/kept.json": "{}", "1/kept.json": "[]"}
    for path, content in made.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder / "report", {0: folder / "0", 1: folder / "1"}


def test_files(uri: str, tmp_path: Path) -> None:
    """The report goes to the sweep's run, a trial's files to its own; later ones take the place of earlier ones."""
    report, files = folders(tmp_path / "made")
    full = SweepEnd("finished", counts(complete=2), None, report=report, trial_files=files, question="Is it *so*?")
    end(uri, tmp_path, full, full)
    (report / "report.html").write_text("<p>more")
    assert end(uri, tmp_path, full) == []
    parent = parent_of(uri)
    assert parent.data.tags["mlflow.note.content"].startswith("Is it *so*?\n\n### Sweep `study`: finished\n")
    expected = {"report/report.html": b"<p>more", "report/figures/a.svg": b"<svg>"}
    assert artifacts(tmp_path, parent.info.run_id) == expected
    assert artifacts(tmp_path, run_of(uri, 0)) == {"analysis/kept.json": b"{}"}
    assert artifacts(tmp_path, run_of(uri, 1)) == {"analysis/kept.json": b"[]"}
    assert set(client(uri).search_registered_models()) == set()


def test_files_that_cannot_be_uploaded_take_nothing_along(uri: str, tmp_path: Path) -> None:
    """What is in the way is a file where a folder must be; the same command again, without it, uploads the rest."""
    report, files = folders(tmp_path / "made")
    full = best_is(tmp_path, 1, report=report, trial_files={**files, 7: files[0]})
    end(uri, tmp_path)
    there = tmp_path / "mlruns" / "lca"
    in_the_way = [there / parent_of(uri).info.run_id / "artifacts" / "report", there / run_of(uri, 0) / "artifacts"]
    for path in in_the_way:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(TrackingError) as caught:
        end(uri, tmp_path, full, patience=0.3)
    line = str(caught.value)
    assert re.match(
        r"tracking\.uri=sqlite:.*: not uploaded: the report \(.*\); the analysis of trial 0 \(.*\); "
        r"the analysis of trial 7 \(it has no run\): the same command again uploads them$",
        line,
    )
    assert caught.value.status == 3 and "\n" not in line
    run = parent_of(uri)
    assert run.info.status == "FINISHED" and run.data.metrics["best/value"] == 0.5
    assert artifacts(tmp_path, run.info.run_id).keys() == {"best/weights.safetensors", "best/trial.json", "report"}
    assert artifacts(tmp_path, run_of(uri, 1)) == {"analysis/kept.json": b"[]"}
    assert len(versions(uri)) == 1
    for path in in_the_way:
        path.unlink()
    end(uri, tmp_path, replace(full, trial_files=files))
    assert {"report/report.html", "report/figures/a.svg"} < artifacts(tmp_path, run.info.run_id).keys()
    assert artifacts(tmp_path, run_of(uri, 0)) == {"analysis/kept.json": b"{}"}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(MOODS[:3]), max_size=25), st.lists(st.sampled_from([0, 1]), min_size=1, max_size=3))
def test_once_whatever_happens(tmp_path: Path, moods: list[str], winners: list[int]) -> None:
    """Requests and answers get lost: everything is there in the end, and each version of the model once."""
    store, ends = MemoryStore(), {}
    for number in (0, 1):
        report, files = folders(tmp_path / "made")
        ends[number] = best_is(tmp_path, number, report=report, trial_files=files)
    tracker = on(store, tmp_path / "outbox")
    parent = tracker.start_sweep(sweep(tmp_path))
    tracker.start_trials([trial(0), trial(1)])
    tracker.flush(20)
    for number in winners:
        store.moods = list(moods)
        tracker.end_sweep(ends[number], patience=20)
        found = store.registry.versions["study"][int(store.registry.aliases["study", "best"]) - 1]
        assert found[2]["lca.trial"] == str(number)
    tracker.close()
    assert len(store.registry.versions["study"]) == len(set(winners))
    for run, path, tags in store.registry.versions["study"]:
        weights = next(content for (r, p), content in store.files.items() if r == run and re.match(path + ".*wei", p))
        assert run == parent and hashlib.sha256(weights).hexdigest() == tags["lca.weights"]
    assert store.files[parent, "report/report.html"] == b"<p>" and store.runs[parent].status == "FINISHED"
    assert all(store.files[run, "analysis/kept.json"] for run in store.runs if run != parent)


# --- the registry --------------------------------------------------------------------------------------------------


def test_the_best_is_a_version_of_a_model(uri: str, tmp_path: Path) -> None:
    """The same best again makes no other; another one does, and the alias goes with it, also back."""
    first, second = best_is(tmp_path, 0), best_is(tmp_path, 1)
    aliases = []
    for ends in ([first, first], [first], [second], [first]):
        assert end(uri, tmp_path, *ends) == []
        aliases.append(client(uri).get_model_version_by_alias("study", "best").version)
    assert list(map(str, aliases)) == ["1", "1", "2", "1"]
    model = client(uri).get_registered_model("study")
    assert model.tags.items() >= {"lca.kind": "sweep", "lca.sweep": "study", "lca.trial": "0"}.items()
    assert model.tags["val/accuracy"] == versions(uri)[0].tags["val/accuracy"]  # those of the version that is the best
    assert 'load_model("models:/study@best")' in model.description
    for number, version in enumerate(versions(uri)):
        weights = (tmp_path / f"best-{number}" / "weights.safetensors").read_bytes()
        assert version.status == "READY" and version.run_id == parent_of(uri).info.run_id
        assert version.tags == {
            "lca.sweep": "study",
            "lca.sweep_id": UID,
            "lca.trial": str(number),
            "lca.weights": hashlib.sha256(weights).hexdigest(),
            "lca.value": "0.5",
            "val/accuracy": "0.5",
        }
        assert "| trainer.lr | 0.05 |" in version.description
        local = Path(version.source.removeprefix("file://"))
        assert next(local.glob("data/*/weights.safetensors")).read_bytes() == weights


def test_a_model_says_what_network_it_is(uri: str, tmp_path: Path) -> None:
    """The model as `best` is now, each version for good; what somebody wrote in place of ours stays."""
    gbp, bp = best_is(tmp_path, 0), best_is(tmp_path, 1)
    assert bp.best
    bp = replace(bp, best=replace(bp.best, algorithm="bp"))
    said = []
    for one in (gbp, bp, gbp, bp):
        assert end(uri, tmp_path, one) == []
        said.append(client(uri).get_registered_model("study").description)
    assert said[0] == said[2] != said[1] == said[3] and "spike-and-slab" in said[0] and "spike" not in said[1]
    assert "one network" in said[1] and "`std` is 0" in said[1] and "draws" not in said[1]
    first, second = (version.description for version in versions(uri))
    assert "spike-and-slab" in first and "spike" not in second and "ordinary back-propagation" in second
    client(uri).update_registered_model("study", "mine")
    end(uri, tmp_path, gbp)
    assert client(uri).get_registered_model("study").description == "mine"


def test_what_a_model_is_made_of(uri: str, tmp_path: Path) -> None:
    """Code, weights and JSON; nothing pickled, no images; and what pip needs to know."""
    end(uri, tmp_path, best_is(tmp_path, 0))
    (version,) = versions(uri)
    root = Path(version.source.removeprefix("file://"))
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {"", ".txt", ".yaml", ".json", ".safetensors", ".py"}
    about = yaml.safe_load((root / "MLmodel").read_text())
    (package,) = (path.name for path in (root / "code").iterdir())
    flavor = about["flavors"]["python_function"]
    assert about["flavors"].keys() == {"python_function"} and about["run_id"] == version.run_id
    assert (flavor["loader_module"], flavor["code"]) == (f"{package}.served", "code") and "python_model" not in flavor
    required = [line.partition("==") for line in (root / "requirements.txt").read_text().split()]
    assert [name for name, _, _ in required] == ["mlflow", "torch", "numpy", "safetensors"]
    assert all(re.fullmatch(r"[0-9.]+", version) for _, _, version in required)
    assert {param["name"]: param["default"] for param in json.loads(about["signature"]["params"])} == {
        "draws": 100,
        "seed": 0,
    }
    assert json.loads((root / "serving_input_example.json").read_text()) == {"inputs": [[0, 3, 6, 10, 13, 16]]}


def test_sweeps_of_one_name_share_a_model(uri: str, tmp_path: Path) -> None:
    """As when a sweep begins anew: the alias is the newer one's."""
    for uid in (UID, UID[::-1]):
        end(uri, tmp_path / uid, best_is(tmp_path, 0), uid=uid)
    assert [version.tags["lca.sweep_id"] for version in versions(uri)] == [UID, UID[::-1]]
    assert str(client(uri).get_model_version_by_alias("study", "best").version) == "2"


def test_somebody_elses_model_is_left_alone(uri: str, tmp_path: Path) -> None:
    client(uri).create_registered_model("study", {"owner": "me"})
    (line,) = end(uri, tmp_path, best_is(tmp_path, 0))
    assert line.endswith("is not registered: there is a model study already, which is not a sweep's")
    assert versions(uri) == [] and client(uri).get_registered_model("study").tags == {"owner": "me"}
    assert parent_of(uri).info.status == "FINISHED"


def test_a_store_without_a_registry(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, at once; all else is recorded."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "nosuch://registry")
    report, files = folders(tmp_path / "made")
    (line,) = end(uri, tmp_path, best_is(tmp_path, 0, report=report, trial_files=files))
    assert line.startswith(f"tracking.uri={uri}: the model of the best trial is not registered: ") and "\n" not in line
    assert "not supported by the store with URI: 'nosuch://registry'" in line
    run = parent_of(uri)
    assert run.info.status == "FINISHED" and "report/report.html" in artifacts(tmp_path, run.info.run_id)


@pytest.mark.parametrize(
    ("code", "final"),
    [
        ("PERMISSION_DENIED", True),
        ("ENDPOINT_NOT_FOUND", True),
        ("FEATURE_DISABLED", True),
        ("UNAUTHENTICATED", True),
        ("INTERNAL_ERROR", False),
        ("TEMPORARILY_UNAVAILABLE", False),
    ],
)
def test_a_no_and_an_accident(code: str, final: bool) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2

    class Client:
        def get_registered_model(self, name: str) -> None:
            raise MlflowException("what it says", databricks_pb2.ErrorCode.Value(code))

    with pytest.raises(Refused if final else MlflowException, match="what it says"):
        Registry(Client()).model("study", "")  # type: ignore[arg-type]


def test_a_best_trial_without_a_sound_network(uri: str, tmp_path: Path) -> None:
    broken, empty = (tmp_path / name for name in ("broken", "empty"))
    for folder in (broken, empty):
        folder.mkdir()
    (broken / "weights.safetensors").write_bytes(b"\0")
    for folder, says in ((broken, "no network can be read there"), (empty, "cannot be read")):
        (line,) = end(uri, tmp_path, replace(FINISHED, best=BestTrial(0, 0.5, {}, {}, folder)))
        assert says in line and versions(uri) == []


def test_a_model_that_cannot_be_made(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no matter of the store's, which is not asked again: one line, at once, and all else is recorded."""

    def full(*parts: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lca_sweep.tracking.packing.pack_model", full)
    began = time.monotonic()
    (line,) = end(uri, tmp_path, best_is(tmp_path, 0), patience=60)
    assert line.endswith("is not registered: [Errno 28] No space left on device") and versions(uri) == []
    assert parent_of(uri).info.status == "FINISHED" and time.monotonic() - began < 30


@given(st.text(min_size=0, max_size=12) | st.text(alphabet="ab./:@ ..#?%", max_size=8))
def test_names_that_mlflow_takes(name: str) -> None:
    from mlflow.store.artifact.utils.models import _parse_model_uri
    from mlflow.utils.validation import _validate_model_name

    model = model_name(name)
    _validate_model_name(model)
    parsed = _parse_model_uri(f"models:/{model}@best")
    assert (parsed.name, parsed.alias, parsed.version) == (model, "best", None)
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):  # what sweep.name may be
        assert model == name


def test_a_sweep_whose_name_is_no_models(uri: str, tmp_path: Path) -> None:
    assert end(uri, tmp_path, best_is(tmp_path, 0), name="../my: sweep") == []
    assert [version.tags["lca.sweep"] for version in versions(uri, "__my__sweep")] == ["../my: sweep"]


# --- the model in use ----------------------------------------------------------------------------------------------

USER = """
import json, sys, warnings
assert not any("lca_sweep" in name for name in sys.modules)
{before}
import mlflow, numpy, pandas
def no_pickle(event, args):
    assert event != "pickle.find_class", args
sys.addaudithook(no_pickle)
model = mlflow.pyfunc.load_model("models:/study@best")
pixels = numpy.array({pixels}, numpy.uint8)
answers = [model.predict(kind) for kind in (pixels, pixels.tolist(), pandas.DataFrame(pixels))]
answers.append(model.predict(pixels, params={{"draws": 20, "seed": 1}}))
try:
    model.predict(pixels[:, 1:])
except mlflow.exceptions.MlflowException as error:
    print(error)
{after}
print(json.dumps([{{key: value.tolist() for key, value in answer.items()}} for answer in answers]))
"""
HIDDEN = """
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "lca_sweep":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
"""
NEWER = """
sys.path.insert(0, "newer")
import lca_sweep
assert lca_sweep.__version__ == "99"
"""
STILL_NEWER = """
from lca_sweep import core
assert core.__file__.endswith("newer/lca_sweep/core.py")
"""


def user(uri: str, folder: Path, before: str, after: str = "") -> Any:
    """What somebody gets of the model in a fresh Python in another folder, where nothing may be unpickled."""
    folder.mkdir(exist_ok=True)
    (folder / "newer" / "lca_sweep").mkdir(parents=True, exist_ok=True)
    (folder / "newer" / "lca_sweep" / "__init__.py").write_text("__version__ = '99'")
    (folder / "newer" / "lca_sweep" / "core.py").write_text("")  # a module now
    done = subprocess.run(
        [sys.executable, "-I", "-c", USER.format(before=before, after=after, pixels=PIXELS.tolist())],
        cwd=folder,
        env=os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    line, answers = done.stdout.splitlines()
    assert line == "pixels: of shape (2, 5); must be (images, 6)"
    return json.loads(answers)


def check(answers: Any, artifacts: Path) -> None:
    """They are those of the classifier itself."""
    classifier = Classifier.load(artifacts)
    plain, other = classifier.probabilities(PIXELS), classifier.probabilities(PIXELS, draws=20, seed=1)
    for answer, expected in zip(answers, [plain, plain, plain, other], strict=True):
        assert answer == {key: value.tolist() for key, value in expected.items()}


def test_somebody_with_another_lca_sweep_uses_the_model(uri: str, tmp_path: Path) -> None:
    """One of which the model could take nothing, and which it does not touch."""
    end(uri, tmp_path, best_is(tmp_path, 0), best_is(tmp_path, 1))
    check(user(uri, tmp_path / "elsewhere", NEWER, STILL_NEWER), tmp_path / "best-1")


@pytest.fixture
def served(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The model as MLflow's scoring server holds it."""
    end(uri, tmp_path, best_is(tmp_path, 0))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own type hints
        import mlflow.pyfunc
        import mlflow.pyfunc.scoring_server
    yield mlflow.pyfunc.load_model(versions(uri)[0].source)


def test_scaled_pixels_are_told_of(served: Any) -> None:
    """Once, however often the model is asked; the answer is one all the same."""
    with pytest.warns(UserWarning, match="pixels: none is above 1, but they are meant to be from 0 to 16") as caught:
        answers = [served.predict(PIXELS / 16) for _ in range(3)]
    assert len(caught) == 1 and answers[2]["probability"].shape == (2, 3)


def ask(served: Any, question: dict[str, Any]) -> Any:
    from mlflow.pyfunc.scoring_server import invocations

    schema = served.metadata.get_input_schema()
    answer = invocations(json.dumps(question), "application/json", served, schema)
    assert answer.status == 200
    return json.loads(answer.response)["predictions"]


def test_questions_in_json(served: Any, tmp_path: Path) -> None:
    classifier, rows = Classifier.load(tmp_path / "best-0"), PIXELS.tolist()
    for question in ({"inputs": rows}, {"instances": rows}, {"dataframe_split": {"data": rows}}):
        assert ask(served, question) == {k: v.tolist() for k, v in classifier.probabilities(PIXELS).items()}
    drawn = ask(served, {"inputs": rows, "params": {"draws": 3, "seed": 9}})
    assert drawn == {k: v.tolist() for k, v in classifier.probabilities(PIXELS, draws=3, seed=9).items()}
    floats = ask(served, {"inputs": (PIXELS / 2).tolist()})
    assert floats == {k: v.tolist() for k, v in classifier.probabilities(PIXELS / 2).items()}


def test_wrong_questions_in_json(served: Any) -> None:
    from mlflow.exceptions import MlflowException

    for question, says in (
        ({"inputs": [[1, 2]]}, r"pixels: of shape \(1, 2\); must be \(images, 6\)$"),
        ({"inputs": [[17] * 6]}, "pixels: 17 is among them; must be from 0 to 16$"),
        ({"inputs": [[2] * 6], "params": {"draws": 0}}, "draws=0: must be >= 1$"),
    ):
        with pytest.raises(MlflowException, match=says) as caught:
            ask(served, question)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.slow
def test_server(tmp_path: Path, capfd: Any) -> None:
    """Registered once, loaded by somebody who has no lca_sweep, and answered by a scoring server."""
    new_store(tmp_path)
    report, files = folders(tmp_path / "made")
    with server(tmp_path) as running:
        full = best_is(tmp_path, 1, report=report, trial_files=files)
        assert end(running.url, tmp_path, best_is(tmp_path, 0), full, full) == []
        assert "".join(capfd.readouterr()) == ""
        assert [version.status for version in versions(running.url)] == ["READY"] * 2
        parent = parent_of(running.url).info.run_id
        for run, path, content in (
            (parent, "report/figures/a.svg", b"<svg>"),
            (children(running.url)[1].info.run_id, "analysis/kept.json", b"[]"),
        ):
            assert fetch(f"{running.url}/get-artifact?run_uuid={run}&path={path}") == content
        check(user(running.url, tmp_path / "elsewhere", HIDDEN), tmp_path / "best-1")
        serve(running.url, tmp_path)


def serve(uri: str, folder: Path) -> None:
    """`mlflow models serve`, and a question to it."""
    port, path = free_port(), f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # uvicorn is there
    command = ["models", "serve", "-m", "models:/study@best", "--env-manager", "local", "--port", str(port)]
    with (folder / "serving.log").open("w") as log:
        serving = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            cwd=folder,
            env=os.environ | {"MLFLOW_TRACKING_URI": uri, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(lambda: fetch(f"http://127.0.0.1:{port}/version"), serving)
        question = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": PIXELS.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(question, timeout=60) as answer:
            found = json.loads(answer.read())["predictions"]
        expected = Classifier.load(folder / "best-1").probabilities(PIXELS)
        assert found == {key: value.tolist() for key, value in expected.items()}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(serving.pid, signal.SIGKILL)
        serving.wait()
