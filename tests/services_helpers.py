"""The services of a cluster, started on loopback by the very commands, variables and secrets of docker/compose.yaml."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from compose_helpers import COMPOSE, compose, environment, make_secrets, secrets_of
from sweep_helpers import Record, free_port, points, poll

POSTGRES_USER = "postgres"  # PostgreSQL refuses to be run by root
ADDRESS = re.compile(r"\b(postgres:5432|s3:8333|mlflow:5000)\b")


def programs() -> Path | None:
    """Where PostgreSQL's own programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def missing() -> str:
    """What these tests need and this machine lacks."""
    for module in ("psycopg", "boto3", "moto.server", "flask_wtf"):
        with contextlib.suppress(ImportError):
            __import__(module)
            continue
        return f"no {module}: pip install 'lca-sweep[test,cluster,server]'"
    return "" if programs() else "no PostgreSQL: apt-get install postgresql"


# --- processes -----------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server that writes a log, and can go and come back."""

    command: list[str]
    env: Mapping[str, str]
    log: Path
    user: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        own = {"user": self.user, "group": self.user, "extra_groups": []} if self.user and os.getuid() == 0 else {}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd="/" if own else self.log.parent,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **own,
            )  # type: ignore[call-overload]

    def over(self) -> bool:
        """Whether it has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 60) -> None:
        """Send a signal, and wait until it is gone with all that it started."""
        if self.process is None:
            return
        if how == signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        try:
            self.process.wait(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process = None


# --- the services --------------------------------------------------------------------------------------------------


@dataclass
class Services:
    """PostgreSQL, S3 (moto: a mock of the API, which believes any key) and MLflow, on ports of their own."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """MLflow's."""
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    def here(self, text: str) -> str:
        """A text of compose.yaml, with the services' addresses on this machine."""
        text = ADDRESS.sub(lambda match: f"127.0.0.1:{self.ports[match[1].partition(':')[0]]}", text)
        return text.replace("0.0.0.0", "127.0.0.1").replace("--port=5000", f"--port={self.ports['mlflow']}")

    def environment(self, service: str) -> dict[str, str]:
        """What a service's container has, and of this machine's variables what a program needs at all."""
        given = {name: self.here(value) for name, value in environment(service, self.secrets).items()}
        accounts = str(self.folder / "secrets" / "basic_auth.ini")
        given = {name: accounts if value == "/run/secrets/basic_auth.ini" else value for name, value in given.items()}
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "OMP_NUM_THREADS") if name in os.environ}
        return kept | {"HOME": str(self.folder)} | given

    def driver(self, folder: Path) -> dict[str, str]:
        """What a driver on the head has, but for Ray, which is one of its own; its sweeps lie in a folder here."""
        ray = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_JOB_STOP_WAIT_TIME_S"}
        there = {name: value for name, value in self.environment("ray-head").items() if name not in ray | {"PATH"}}
        return there | {"HOME": os.environ["HOME"], "LCA_SWEEP_DIR": str(folder)}

    def command(self, service: str) -> list[str]:
        """A service's command, by this environment's Python."""
        first, *words = [self.here(str(word)) for word in compose()["services"][service]["command"]]
        script = COMPOSE.parent / "../k8s/components/s3/buckets.py"
        words = [str(script) if word == "/etc/buckets/buckets.py" else word for word in words]
        return [sys.executable, *words] if first == "python" else [str(Path(sys.executable).parent / first), *words]

    def once(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run one of those that end by themselves."""
        where = {"cwd": self.folder, "env": self.environment(service)}
        return subprocess.run(self.command(service), capture_output=True, text=True, timeout=240, **where)

    # PostgreSQL

    def make_postgres(self) -> None:
        """What PostgreSQL's image does with an empty volume: a cluster, and then compose's script."""
        home, env = self.folder / "postgres", self.environment("postgres")
        home.mkdir()
        (home / "password").write_text(env["POSTGRES_PASSWORD"])
        for path in (home, home / "password"):
            _give(path)
        words = [f"--pwfile={home / 'password'}", "-U", POSTGRES_USER, *env["POSTGRES_INITDB_ARGS"].split()]
        _as_postgres([str(_program("initdb")), "-D", str(home / "data"), *words], env)
        options = f"-p {self.ports['postgres']} -k {home} -c listen_addresses=127.0.0.1"
        self.servers["postgres"] = Server(
            [str(_program("postgres")), "-D", str(home / "data"), *options.split()],
            env,
            self.folder / "postgres.log",
            POSTGRES_USER,
        )
        self.start_postgres()
        script = (COMPOSE.parent / "../k8s/components/postgres/init.sql").read_text(encoding="utf-8")
        where = ["--host", str(home), "--port", str(self.ports["postgres"]), "--username", POSTGRES_USER]
        flags = ["--set=ON_ERROR_STOP=1", "--no-psqlrc", "--no-password", "--dbname=postgres"]
        _as_postgres([str(_program("psql")), *flags, *where], env, script)

    def start_postgres(self) -> None:
        self.servers["postgres"].start()
        words = ["-q", "-h", "127.0.0.1", "-p", str(self.ports["postgres"])]
        poll(lambda: subprocess.run([str(_program("pg_isready")), *words]).returncode == 0, "PostgreSQL")

    def connect(self, database: str, user: str | None = None, password: str | None = None) -> Any:
        """A connection to a database, as its owner."""
        import psycopg

        password = password or self.secrets[f"{database.upper()}_PASSWORD"]
        where = {"host": "127.0.0.1", "port": self.ports["postgres"], "dbname": database}
        return psycopg.connect(**where, user=user or database, password=password)

    # S3

    def start_s3(self) -> None:
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.ports["s3"])]
        self.servers["s3"] = Server(words, self.environment("s3"), self.folder / "s3.log")
        self.servers["s3"].start()
        poll(lambda: status(f"http://127.0.0.1:{self.ports['s3']}/moto-api/") == 200, "S3")

    def s3(self) -> Any:
        """A client with the keys."""
        import boto3

        keys = {"aws_access_key_id": "S3_ACCESS_KEY", "aws_secret_access_key": "S3_SECRET_KEY"}
        where = {"endpoint_url": f"http://127.0.0.1:{self.ports['s3']}", "region_name": "us-east-1"}
        return boto3.client("s3", **where, **{name: self.secrets[secret] for name, secret in keys.items()})

    def names(self, bucket: str) -> list[str]:
        """Of all that lies in a bucket."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All that lies in a bucket."""
        s3 = self.s3()
        return {name: s3.get_object(Bucket=bucket, Key=name)["Body"].read() for name in self.names(bucket)}

    # MLflow

    def start_mlflow(self) -> None:
        if "mlflow" not in self.servers:
            self.servers["mlflow"] = Server(
                self.command("mlflow"), self.environment("mlflow"), self.folder / "mlflow.log"
            )
        self.servers["mlflow"].start()
        poll(lambda: status(f"{self.url}/health") == 200, "MLflow")

    def ask(self, path: str, **options: Any) -> int:
        """The status of MLflow's answer to the administrator."""
        return status(f"{self.url}{path}", ("admin", self.secrets["MLFLOW_ADMIN_PASSWORD"]), **options)


def _program(name: str) -> Path:
    found = programs()
    assert found is not None
    return found / name


def _give(path: Path) -> None:
    """To whom PostgreSQL runs as."""
    if os.getuid() == 0:
        shutil.chown(path, POSTGRES_USER, POSTGRES_USER)


def _as_postgres(command: list[str], env: Mapping[str, str], text: str = "") -> None:
    own = {"user": POSTGRES_USER, "group": POSTGRES_USER, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(command, env=env, input=text, capture_output=True, text=True, cwd="/", **own)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Services]:
    """All of them, in compose's order: databases, buckets, migrations, MLflow. Gone afterwards."""
    if reason := missing():
        pytest.skip(reason)
    services = Services(folder, ports={name: free_port() for name in ("postgres", "s3", "mlflow")})
    assert make_secrets(folder).returncode == 0
    services.secrets = secrets_of(folder)
    accounts = folder / "secrets" / "basic_auth.ini"
    accounts.chmod(0o600)
    accounts.write_text(services.here(accounts.read_text()))
    folder.chmod(0o711)  # PostgreSQL's lies within
    try:
        services.make_postgres()
        services.start_s3()
        for service in ("buckets", "mlflow-migration", "mlflow-auth-migration"):
            done = services.once(service)
            assert done.returncode == 0, done.stderr
        services.start_mlflow()
        yield services
    finally:
        for server in services.servers.values():
            server.stop(signal.SIGKILL)


# --- asking --------------------------------------------------------------------------------------------------------


def status(
    url: str, login: tuple[str, str] | None = None, host: str | None = None, data: bytes | None = None, method: str = ""
) -> int:
    """The status of a server's answer; 0 if there is none."""
    request = urllib.request.Request(url, data=data, method=method or None)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    if login:
        request.add_header("Authorization", f"Basic {b64encode(':'.join(login).encode()).decode()}")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


# --- the books -----------------------------------------------------------------------------------------------------


def study(services: Services, name: str) -> list[optuna.trial.FrozenTrial]:
    """The trials, as Optuna itself reads them from PostgreSQL."""
    where = f"127.0.0.1:{services.ports['postgres']}"
    url = f"postgresql+psycopg://optuna:{services.secrets['OPTUNA_PASSWORD']}@{where}/optuna"
    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).get_trials()
    finally:
        storage.engine.dispose()


def reported(services: Services, name: str) -> int:
    """Epochs of trials that the study has been told so far."""
    query = (
        "SELECT count(*) FROM trial_intermediate_values JOIN trials USING (trial_id) JOIN studies USING (study_id) "
        "WHERE study_name = %s"
    )
    with services.connect("optuna") as connection:
        if connection.execute("SELECT to_regclass('trial_intermediate_values')").fetchone() == (None,):
            return 0
        return int(connection.execute(query, (name,)).fetchone()[0])


def runs(services: Services, name: str) -> tuple[Record, dict[int, Record]]:
    """A sweep's run in MLflow, and those of its trials by number, as they are in MLflow's tables."""
    with services.connect("mlflow") as connection:

        def rows(query: str, *values: str) -> list[Any]:
            return list(connection.execute(query, values).fetchall())

        def record(id: str, name: str, status: str) -> Record:
            tags = dict(rows("SELECT key, value FROM tags WHERE run_uuid = %s", id))
            params = dict(rows("SELECT key, value FROM params WHERE run_uuid = %s", id))
            query = "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = %s ORDER BY step"
            return Record(id, name, status, tags, params, *points(rows(query, id)))

        (top,) = rows(
            "SELECT run_uuid, name, status FROM runs JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active' "
            "AND tags.key = 'lca.kind' AND tags.value = 'sweep' AND name = %s",
            name,
        )
        below = rows(
            "SELECT run_uuid, name, status FROM runs JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active' "
            "AND tags.key = 'mlflow.parentRunId' AND tags.value = %s",
            top[0],
        )
        found = [record(*row) for row in below]
        numbers = [int(run.tags["lca.trial"]) for run in found]
        assert len(set(numbers)) == len(numbers), "one run for each trial"
        return record(*top), dict(zip(numbers, found, strict=True))
