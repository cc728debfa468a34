"""The images for real: built from a checkout with secrets lying about, run as a cluster would, and looked into."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from image_helpers import (
    FILES,
    RESTRICTED,
    SECRET,
    Container,
    build,
    context,
    inspect,
    layers,
    make_base,
    started,
    tool,
    why_not,
)
from sweep_helpers import children, poll, reported, states

from lca_sweep import __version__

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(why_not()), reason=f"images: {why_not()}"),
]

SWEEP = ("python", "-m", "lca_sweep", "+sweep=smoke")
MEGABYTES = {"lca-sweep": 2350, "lca-sweep-mlflow": 1250}  # measured, and a tenth more
every_image = pytest.mark.parametrize("image", FILES)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the images are built from, and a base for them."""
    make_base()
    return context(tmp_path_factory.mktemp("checkout") / "lca_sweep")


@pytest.fixture(scope="session", autouse=True)
def images(checkout: Path) -> None:
    """Both images, at the same time: pip takes one core."""
    arguments = (f"--build-arg=VERSION={__version__}", "--build-arg=REVISION=0123abc")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: build(name, checkout, *arguments), FILES))


# --- what they are ---------------------------------------------------------------------------------------------------


def shell(image: str, script: str) -> list[str]:
    """The lines that a script prints, whose root file system is writable to whom it lets."""
    words = ["--network=none", "--no-healthcheck", "--entrypoint=bash", image, "-c", script]
    return tool("podman", "run", "--rm", *words).stdout.splitlines()


@every_image
def test_says_what_it_is(image: str) -> None:
    about = inspect(image)
    labels = {key.rpartition(".")[2]: value for key, value in about["Labels"].items() if "opencontainers" in key}
    assert (labels["title"], labels["version"], labels["revision"]) == (image, __version__, "0123abc")
    assert {"source", "licenses"} <= labels.keys()
    assert (about["User"], about["Config"]["WorkingDir"]) == ("1000:1000", "/home/lca")


@every_image
def test_is_no_larger_than_it_was(image: str) -> None:
    size = inspect(image)["Size"] / 1e6
    print(f"{image}: {size:.0f} MB")
    assert size < MEGABYTES[image]


@every_image
def test_nobody_becomes_root_or_changes_it(image: str) -> None:
    assert shell(image, "id -u; id -g; echo $HOME") == ["1000", "1000", "/home/lca"]
    assert shell(image, "find / -xdev -type f -perm /6000 2>/dev/null || true") == []
    writable = shell(image, "find / -xdev -writable ! -type l ! -path '/home/lca/*' 2>/dev/null | sort")
    allowed = {"/home/lca", "/run/lock", "/sweeps", "/tmp", "/var/tmp", "/dev"}
    assert set(writable) <= allowed


@every_image
def test_has_no_tools_to_build_with(image: str) -> None:
    assert shell(image, "command -v gcc cc g++ make git || true; ls /opt/lca/bin | grep pip || true") == []


@every_image
def test_is_compiled(image: str) -> None:
    """Nobody can write bytecode there, so that every process would compile all that it imports."""
    script = "find /opt/lca/lib/python3*/site-packages -name __init__.py -size +0 -path '*/{}/*' | wc -l"
    cached = "find /opt/lca/lib/python3*/site-packages -name '__init__.*.pyc' -path '*/{}/*' | wc -l"
    (sources,), (compiled,) = (shell(image, line.replace("{}", "mlflow")) for line in (script, cached))
    assert 0 < int(sources) <= int(compiled)


@every_image
def test_no_layer_holds_what_is_not_its_business(image: str) -> None:
    above = layers(image)
    assert len(above) >= 2
    found = subprocess.run(["grep", "-rlF", SECRET, *map(str, above)], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
    assert SECRET not in json.dumps(inspect(image))
    files = [Path("/", file.relative_to(layer)) for layer in above for file in layer.rglob("*") if file.is_file()]
    unwanted = {".env", ".git", "id_rsa", "pip.conf", "mlflow.db", "config.toml", ".netrc", ".pypirc"}
    assert [file for file in files if unwanted & set(file.parts)] == []
    assert [file for file in files if file.parts[1] in ("root", "tmp", "build", "run")] == []
    places = ("/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")
    assert [file for file in files if str(file).startswith(places)] == []


def test_a_torch_that_there_is_not_is_refused(checkout: Path) -> None:
    done = build("lca-sweep", checkout, "--build-arg=TORCH=rocm", check=False)
    assert done.returncode != 0
    assert "TORCH=rocm: must be cpu or cuda" in done.stdout + done.stderr


# --- a sweep -------------------------------------------------------------------------------------------------------


def test_a_sweep_runs_under_the_restricted_rules(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started("lca-sweep", home, *SWEEP) as container:
        assert container.wait() == 0, container.output()
        assert "done after" in container.output()
    assert states(home, "smoke") == ["COMPLETE"] * 4
    assert [len(run.metrics["val/accuracy"]) for run in children(home).values()] == [10] * 4
    assert (home / "sweeps/smoke/report/report.html").exists()
    assert {file.stat().st_uid for file in home.rglob("*")} == {1000}


def test_sigterm_ends_it_in_order_and_the_same_command_goes_on(tmp_path: Path) -> None:
    home, words = tmp_path / "home", (*SWEEP, "trainer.epochs=200", "cluster.packs=1", "analysis=none")
    with started("lca-sweep", home, *words) as container:
        poll(lambda: reported(home, "smoke") >= 20, "epoch")
        container.tell("TERM")
        assert container.wait() == 128 + 15, container.output()
    assert "COMPLETE" not in states(home, "smoke")
    with started("lca-sweep", home, *words) as container:
        assert container.wait() == 0, container.output()
    assert states(home, "smoke") == ["COMPLETE"] * 4
    steps = [[step for step, _ in run.metrics["val/accuracy"]] for run in children(home).values()]
    assert steps == [list(range(1, 201))] * 4


# --- Ray as KubeRay starts it ----------------------------------------------------------------------------------------

HEAD = "ulimit -n 10000; ray start --head --block --num-cpus=1 --port=6379 --dashboard-host=0.0.0.0"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A Ray head that wants a token."""
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}
    options = (*RESTRICTED, "--entrypoint=/bin/bash")
    home = tmp_path_factory.mktemp("head")
    with started("lca-sweep", home, "-lc", "--", HEAD, env=env, options=options) as container:
        poll(lambda: container.run("bash", "-c", probe("52365/api/healthz")).returncode == 0, "healthy head")
        poll(lambda: container.run("bash", "-c", probe("8265/api/gcs_healthz")).returncode == 0, "dashboard")
        yield container


def probe(place: str) -> str:
    """How KubeRay asks, and a healthcheck of compose may."""
    return f"wget --tries 1 -T 5 -q -O- http://localhost:{place} | grep success"


def test_the_head_is_healthy(head: Container) -> None:
    done = head.run("bash", "-lc", "ray health-check --address 127.0.0.1:6379")
    assert done.returncode == 0, done.stderr


def test_the_head_runs_a_job_and_asks_for_its_token(head: Container) -> None:
    submit = "ray job submit --address http://127.0.0.1:8265 -- python -m lca_sweep --cfg job +sweep=smoke"
    done = head.run("bash", "-lc", submit)
    assert done.returncode == 0 and "succeeded" in done.stdout, done.stdout + done.stderr
    done = head.run("bash", "-lc", f"env -u RAY_AUTH_TOKEN RAY_AUTH_MODE=disabled {submit}")
    assert done.returncode != 0
    assert "wget" in head.run("bash", "-lc", "command -v wget").stdout


def test_the_head_stops_when_told(head: Container) -> None:
    """The last test of it: with --block it takes its processes down, well within the 30 s that a pod has."""
    tool("podman", "stop", "-t", "25", head.name)
    assert json.loads(tool("podman", "inspect", head.name).stdout)[0]["State"]["ExitCode"] != 137


# --- MLflow --------------------------------------------------------------------------------------------------------

AUTH = """
[mlflow]
default_permission = READ
database_uri = sqlite:////home/lca/auth.db
admin_username = admin
admin_password = a-password-of-this-test
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
SERVER = (
    *("mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", "5000", "--workers", "2"),
    "--uvicorn-opts=--timeout-worker-healthcheck=60",  # else a worker that is busy for 5 s is killed
    *("--backend-store-uri", "sqlite:////home/lca/mlflow.db", "--artifacts-destination", "/home/lca/artifacts"),
)
ASK = """
import base64, sys, urllib.error, urllib.request
headers = {"Authorization": "Basic " + base64.b64encode(b"%s").decode()} if "%s" else {}
try: print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:5000/%s", headers=headers)).status)
except urllib.error.HTTPError as error: print(error.code)
"""


def test_the_mlflow_server_is_healthy_and_wants_a_password(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "auth.ini").write_text(AUTH)
    os.chown(home / "auth.ini", 1000, 1000)
    env = {"MLFLOW_AUTH_CONFIG_PATH": "/home/lca/auth.ini", "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-this-test"}
    healthcheck = inspect("lca-sweep-mlflow")["Healthcheck"]["Test"][1:]
    with started("lca-sweep-mlflow", home, *SERVER, env=env) as server:
        poll(lambda: server.run(*healthcheck).returncode == 0, "healthy server")
        search = "api/2.0/mlflow/registered-models/search"
        passwords = ("", "admin:wrong", "admin:a-password-of-this-test")
        assert [server.python(ASK % (word, word, search)) for word in passwords] == ["401", "401", "200"]
        server.tell("TERM")
        assert server.wait() != 137
        assert "Traceback" not in server.output()
