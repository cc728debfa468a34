"""Sweeps on PostgreSQL, S3 and MLflow as docker/compose.yaml has them: killed, resumed; and no secret is told."""

from __future__ import annotations

import contextlib
import http.server
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from services_helpers import Server, Services, reported, runs, study
from sweep_helpers import PATIENCE, Ended, Run, contents, free_port, poll, retrained, start

from lca_sweep.core.data import load
from lca_sweep.core.network import ABOUT, WEIGHTS
from lca_sweep.sweep import layout

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

EPOCHS = 30
SHARED = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100}
# as on the head, with a Ray of the driver's own
WORDS = (
    "+sweep=smoke",
    f"trainer.epochs={EPOCHS}",
    "pack.checkpoint_every=3",
    "cluster=kubernetes",
    "cluster.address=local",
)


@contextlib.contextmanager
def running(services: Services, folder: Path, name: str, *words: str, **env: str) -> Iterator[Run]:
    """A sweep that was started as in a cluster; it is over, with all its processes, at the end."""
    run = start(folder, *WORDS, f"sweep.name={name}", *words, env=services.driver(folder / "sweeps") | env)
    try:
        yield run
    finally:
        run.clear()


def sweep(services: Services, folder: Path, name: str, *words: str, **env: str) -> Ended:
    with running(services, folder, name, *words, **env) as run:
        return run.end(PATIENCE)


def until(run: Run, condition: Callable[[], bool], what: str) -> None:
    """Wait for it, looking twice a second, as long as the sweep runs."""

    def met() -> bool:
        assert not run.over(), run.popen.communicate()
        time.sleep(0.5)
        return condition()

    poll(met, what, patience=600)


def stored(services: Services, name: str) -> dict[str, bytes]:
    """What a sweep has in S3, by name within its folder there."""
    keys = {key: value for key, value in services.objects("lca-sweep").items() if key.startswith(f"sweeps/{name}-")}
    assert len({key.split("/")[1] for key in keys}) <= 1
    return {key.split("/", 2)[2]: value for key, value in keys.items()}


def checkpoint(services: Services, name: str) -> int:
    """The epoch of a sweep's newest checkpoint."""
    names = [key for key in services.names("lca-sweep") if f"sweeps/{name}-" in key and "/checkpoints/" in key]
    return max((layout.epoch_of(key) for key in names if not key.endswith("/")), default=0)


def assert_nothing_lost(services: Services, name: str) -> None:
    """Every trial and every epoch once, as if nobody had disturbed it, in all three stores and nowhere else."""
    trials, (top, children), files = study(services, name), runs(services, name), stored(services, name)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    expected = retrained(trials, load("digits"), SHARED)
    assert {number: (run.metrics, run.tags["lca.state"]) for number, run in children.items()} == expected
    for trial in trials:
        assert trial.value == trial.intermediate_values[EPOCHS]
        assert list(trial.intermediate_values.items()) == children[trial.number].metrics["val/accuracy"]
    weights = {f"{layout.trial(number)}/{file}" for number in range(4) for file in (ABOUT, WEIGHTS)}
    assert {file for file in files if not file.startswith("checkpoints/")} == weights
    best = int(top.tags["best.trial"])
    there = {key: value for key, value in services.objects("mlflow").items() if f"/{top.id}/" in key}
    (copied,) = [value for key, value in there.items() if key.endswith(f"/best/{WEIGHTS}")]
    assert copied == files[f"{layout.trial(best)}/{WEIGHTS}"]
    assert top.status == "FINISHED" and all(key.startswith("artifacts/") for key in there)


def test_the_databases_are_made_before_the_server_starts(services: Services) -> None:
    """By the migrations; and no role sees another's."""
    for database, table in (("mlflow", "runs"), ("mlflow_auth", "users")):
        with services.connect(database) as connection:
            owner = "SELECT tableowner FROM pg_tables WHERE tablename = %s"
            assert connection.execute(owner, (table,)).fetchone() == (database,)
    import psycopg

    for user, database in (("optuna", "mlflow"), ("mlflow", "mlflow_auth"), ("mlflow_auth", "optuna")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            services.connect(database, user, services.secrets[f"{user.upper()}_PASSWORD"])
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        services.connect("optuna", password="wrong")
    assert sorted(bucket["Name"] for bucket in services.s3().list_buckets()["Buckets"]) == ["lca-sweep", "mlflow"]


def test_killed_and_resumed(services: Services, tmp_path: Path) -> None:
    with running(services, tmp_path, "killed", "cluster.packs=1") as run:
        until(run, lambda: checkpoint(services, "killed") >= 9, "checkpoint")
        run.workers()[0].kill()
        until(run, lambda: checkpoint(services, "killed") >= 18, "checkpoint")
        run.kill()
    ended = sweep(services, tmp_path, "killed")
    assert (ended.code, ended.err) == (0, "")
    assert_nothing_lost(services, "killed")


def test_postgres_crashes_and_mlflow_is_killed_meanwhile(services: Services, tmp_path: Path) -> None:
    with running(services, tmp_path, "restarted", "cluster.packs=1") as run:
        until(run, lambda: reported(services, "restarted") >= 8, "report")
        services.servers["mlflow"].stop(signal.SIGKILL)
        services.servers["postgres"].stop(signal.SIGQUIT)  # at once, without a word to anybody
        time.sleep(3)
        assert not run.over()
        services.start_postgres()
        before = reported(services, "restarted")
        until(run, lambda: reported(services, "restarted") > before, "report after the crash")
        services.start_mlflow()
        ended = run.end(PATIENCE)
    assert (ended.code, ended.err) == (0, "")
    assert_nothing_lost(services, "restarted")


# --- secrets -------------------------------------------------------------------------------------------------------


def found_in(secrets: Iterable[str], texts: dict[str, bytes]) -> list[str]:
    """Names of the texts that hold one."""
    return [name for name, text in texts.items() if any(secret.encode() in text for secret in secrets)]


def command_lines(into: dict[str, bytes], over: threading.Event) -> None:
    """All that anybody on this machine can see of processes, until it is over."""
    while not over.wait(0.1):
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                into[str(file)] = into.get(str(file), b"") + file.read_bytes()


def dump(services: Services, database: str) -> bytes:
    """All rows of a database, as text."""
    with services.connect(database) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return repr([connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names]).encode()


def test_secrets_are_written_nowhere(services: Services, tmp_path: Path) -> None:
    token = "0123456789abcdef" * 4
    secrets = {*services.secrets.values(), token}
    seen, over = dict[str, bytes](), threading.Event()
    watch = threading.Thread(target=command_lines, args=(seen, over))
    watch.start()
    try:
        with running(services, tmp_path, "quiet", "analysis=best", RAY_AUTH_TOKEN=token) as run:
            out, err = run.popen.communicate(timeout=400)
            told = {"stdout": out.encode(), "stderr": err.encode()}
            files = contents(tmp_path) | contents(run.ray)
        assert run.popen.returncode == 0, err
    finally:
        over.set()
        watch.join()
    logs = {file.name: file.read_bytes() for file in services.folder.glob("*.log")}
    rows = {database: dump(services, database) for database in ("optuna", "mlflow")}
    objects = services.objects("lca-sweep") | services.objects("mlflow")
    assert any("raylet" in name for name in files) and "postgres.log" in logs and objects and seen
    for texts in (told, files, logs, rows, objects, seen):
        assert found_in(secrets, texts) == []
    assert found_in(["quiet"], rows) == ["optuna", "mlflow"]  # one finds what is there


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A server that forbids everything."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LCA_SWEEP_STUDY": "postgresql+psycopg://optuna@127.0.0.1:9/optuna"}, "search.storage=.*refused"),
        ({"PGPASSWORD": "wrong"}, "search.storage=.*password authentication failed"),
        ({"AWS_ENDPOINT_URL_S3": "refusing"}, "sweep.storage=s3://lca-sweep/sweeps: access denied"),
        ({"LCA_SWEEP_STORAGE": "s3://elsewhere/sweeps"}, "sweep.storage=s3://elsewhere/sweeps: no such bucket"),
        ({"LCA_SWEEP_TRACKING": "http://127.0.0.1:9"}, "tracking.uri=http://127.0.0.1:9: no answer"),
        ({"MLFLOW_TRACKING_PASSWORD": "wrong"}, "tracking.uri=.*"),
    ],
)
def test_what_is_refused_is_told_without_a_secret(
    services: Services, tmp_path: Path, env: dict[str, str], said: str
) -> None:
    with refusing() as address:
        env = {name: address if value == "refusing" else value for name, value in env.items()}
        ended = sweep(services, tmp_path, "refused", **env)
    (line,) = ended.err.splitlines()
    assert ended.code == 2 and re.match(f"lca_sweep: {said}", line), line
    assert found_in([*services.secrets.values(), "wrong"], {"out": ended.out.encode(), "err": line.encode()}) == []
    assert contents(tmp_path) == {}


def test_a_server_that_does_not_find_its_database_tells_no_password(services: Services, tmp_path: Path) -> None:
    """The URL of MLflow's accounts has one."""
    accounts = tmp_path / "basic_auth.ini"
    accounts.write_text(re.sub(r":\d+/", ":9/", (services.folder / "secrets" / "basic_auth.ini").read_text()))
    env = services.environment("mlflow") | {"MLFLOW_AUTH_CONFIG_PATH": str(accounts)}
    command = [re.sub("^--port=.*", f"--port={free_port()}", word) for word in services.command("mlflow")]
    lost = Server(command, env, tmp_path / "lost.log")
    lost.start()
    try:
        poll(lambda: b"refused" in lost.log.read_bytes() or lost.over(), "error")
    finally:
        lost.stop(signal.SIGKILL)
    told = {"log": lost.log.read_bytes()}
    assert found_in(["refused"], told) == ["log"] and found_in(services.secrets.values(), told) == []
