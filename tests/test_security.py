"""Nobody gets in without the token or the password; and what a plain sweep starts, nobody else can reach at all."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compose_helpers import compose
from services_helpers import Server, Services, status
from sweep_helpers import Process, contents, descendants, free_port, poll, process, reported, running

from lca_sweep.sweep.tuning import environment

pytestmark = pytest.mark.timeout(900)

EVERYTHING = {"00000000", "0" * 32}  # as /proc/net/tcp writes the addresses 0.0.0.0 and ::
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "0" * 24 + "01000000"}  # 127.0.0.1, twice, and ::1
LOOPBACK_TOO = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # else Ray takes 127.0.0.1 for the machine's own address


def sockets(pid: int) -> set[str]:
    """What a process has open, by the kernel's numbers."""
    found = set()
    for file in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(file)))
        except OSError:  # closed meanwhile
            continue
    return found


def listening(processes: list[Process]) -> dict[tuple[str, int], str]:
    """Where these processes listen: address (as the kernel writes it) and port, and who it is."""
    owners = {number: one.command for one in processes for number in sockets(one.pid)}
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in owners:
                address, port = local.split(":")
                found[address, int(port, 16)] = owners[rest[5]]
    return found


def joins(address: str, home: Path, token: str | None) -> str:
    """What Ray tells a process that connects to a cluster; "" if it lets it in."""
    code = f"import ray; ray.init({address!r}, logging_level='ERROR'); print(ray.get(ray.put(1)))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(home)}
    env |= LOOPBACK_TOO
    if token is not None:
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=240)
    return done.stderr if done.returncode else ""


# --- a plain sweep -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_ray_of_our_own_keeps_to_this_machine_and_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith("RAY_AUTH_")]:
        monkeypatch.delenv(name)
    key = secrets.token_hex(32)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    with running(tmp_path, "+sweep=smoke", "trainer.epochs=100000") as run:
        poll(lambda: reported(tmp_path, "smoke") > 0, "report")
        driver = process(run.popen.pid)
        assert driver is not None and run.workers()
        found = listening([driver, *descendants(driver.pid)])
        assert {address for address, _ in found} <= LOOPBACK, found
        assert not (home / ".ray").exists()  # where others might read the token
        (port,) = [port for (_, port), command in found.items() if "gcs_server" in command]
        for token in (None, secrets.token_hex(32)):
            assert "uthenticat" in joins(f"127.0.0.1:{port}", home, token)
        assert not run.over()
        written = contents(run.ray)
        assert any(name.endswith("runtime_env_agent.log") for name in written)
        assert [name for name, content in written.items() if key.encode() in content] == []


@pytest.mark.parametrize("local", [True, False])
def test_what_is_sent_along_with_a_worker(local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    with environment(local=local):
        worker = class_cache._ActorClassCache().get(type("Worker", (), {}))
    sent = worker._default_options["runtime_env"].get("env_vars", {})
    # with anything at all a worker is none of the processes that Ray has started beforehand
    assert sent == ({} if local else {"PL_DISABLE_FORK": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"})
    assert before == (class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE)


def test_where_one_listens_is_seen() -> None:
    """By the test above: also at all addresses."""
    import socket

    here = process(os.getpid())
    assert here is not None
    for host, addresses in (("0.0.0.0", EVERYTHING), ("127.0.0.1", LOOPBACK)):
        with socket.create_server((host, 0)) as server:
            found = listening([here])
            assert {address for address, port in found if port == server.getsockname()[1]} <= addresses
            assert server.getsockname()[1] in {port for _, port in found}


# --- the head of docker/compose.yaml ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def head(services: Services) -> Iterator[dict[str, Any]]:
    """A head by compose's own command and variables, on ports of its own: its addresses."""
    ports = {name: free_port() for name in ("gcs", "dashboard", "agent", "client")}
    with tempfile.TemporaryDirectory(prefix="lca-", dir="/tmp") as folder:
        words = [word.replace("0.0.0.0", "127.0.0.1") for word in compose()["services"]["ray-head"]["command"][1:]]
        words = [word.replace("=6379", f"={ports['gcs']}").replace("=8265", f"={ports['dashboard']}") for word in words]
        words += [f"--temp-dir={folder}", f"--dashboard-agent-listen-port={ports['agent']}"]
        words += [f"--ray-client-server-port={ports['client']}", "--node-ip-address=127.0.0.1"]
        env = services.environment("ray-head") | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        server = Server([str(Path(sys.executable).parent / "ray"), *words], env, services.folder / "ray.log")
        server.start()
        seen = set[Process]()
        try:
            url = f"http://127.0.0.1:{ports['dashboard']}"
            poll(lambda: status(f"{url}/api/gcs_healthz") == 200, "head")  # as the health check does, without a token
            assert server.process is not None
            seen = set(descendants(server.process.pid))
            yield {"gcs": f"127.0.0.1:{ports['gcs']}", "url": url, "pid": server.process.pid}
        finally:
            if server.process is not None:
                seen |= set(descendants(server.process.pid))
            server.stop()
            for one in seen:
                one.kill()


def jobs(url: str, token: str | None, data: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """What the Jobs API answers."""
    request = urllib.request.Request(f"{url}/api/jobs/", data=json.dumps(data).encode() if data else None)
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.cluster
def test_the_jobs_api_asks_for_the_token(services: Services, head: dict[str, Any]) -> None:
    right, job = services.secrets["RAY_TOKEN"], {"entrypoint": "echo done"}
    for data in (None, job):
        assert jobs(head["url"], None, data)[0] == 401
        assert jobs(head["url"], secrets.token_hex(32), data)[0] == 403
        assert jobs(head["url"], right, data)[0] == 200

    def ended() -> bool:
        return all(one["status"] == "SUCCEEDED" for one in json.loads(jobs(head["url"], right)[1]))

    poll(ended, "end of the job")
    answer = jobs(head["url"], right)[1]
    assert answer.count(b"echo done") == 1  # those that were refused have left nothing
    assert [name for name, value in services.secrets.items() if value.encode() in answer] == []


@pytest.mark.cluster
def test_drivers_and_workers_need_the_token(services: Services, head: dict[str, Any], tmp_path: Path) -> None:
    for token in (None, secrets.token_hex(32)):
        assert "uthenticat" in joins(head["gcs"], tmp_path, token)
    command = [str(Path(sys.executable).parent / "ray"), "start", f"--address={head['gcs']}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0 and "uthenticat" in done.stdout + done.stderr
    assert joins(head["gcs"], tmp_path, services.secrets["RAY_TOKEN"]) == ""


@pytest.mark.cluster
def test_no_command_line_of_ray_has_a_secret(services: Services, head: dict[str, Any]) -> None:
    seen = " ".join(one.command for one in descendants(head["pid"]))
    assert "gcs_server" in seen
    assert [name for name, value in services.secrets.items() if value in seen] == []


# --- MLflow ----------------------------------------------------------------------------------------------------------

PATHS = (
    "/",
    "/metrics",
    "/api/2.0/mlflow/experiments/get?experiment_id=0",
    "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0",
    "/api/2.0/mlflow/users/get?username=admin",
    "/api/2.0/mlflow-artifacts/artifacts?path=x",
    "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/y",
    "/get-artifact?path=x&run_id=0",
    "/graphql",
)


@pytest.mark.cluster
@pytest.mark.parametrize("path", PATHS)
def test_mlflow_asks_for_the_password(services: Services, path: str) -> None:
    wrong = (("admin", "password1234"), ("admin", "password"), ("admin", ""), ("nobody", secrets.token_hex(32)))
    for login in (None, *wrong):
        assert status(f"{services.url}{path}", login) == 401
    assert services.ask(path) not in (0, 401, 403)


@pytest.mark.cluster
def test_nobody_writes_to_mlflow_without_the_password(services: Services) -> None:
    create, artifact = "/api/2.0/mlflow/experiments/create", "/api/2.0/mlflow-artifacts/artifacts/stray"
    before = services.names("mlflow")
    assert status(f"{services.url}{create}", data=b'{"name": "stray"}') == 401
    assert status(f"{services.url}{artifact}", data=b"stray", method="PUT") == 401
    assert status(f"{services.url}/api/2.0/mlflow/users/create", data=b'{"username": "x", "password": "y"}') == 401
    assert services.ask("/api/2.0/mlflow/experiments/get-by-name?experiment_name=stray") == 404
    assert services.names("mlflow") == before


@pytest.mark.cluster
def test_mlflow_answers_under_its_own_names_only(services: Services) -> None:
    """Else a page that somebody looks at could ask it, by a name that leads here."""
    path, port = "/api/2.0/mlflow/experiments/get?experiment_id=0", services.ports["mlflow"]
    for host in ("evil.example", f"evil.example:{port}", "mlflow.evil.example:5000"):
        assert services.ask(path, host=host) == 403
    for host in (f"mlflow:{port}", f"localhost:{port}", f"127.0.0.1:{port}"):
        assert services.ask(path, host=host) == 200
