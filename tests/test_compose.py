"""docker/compose.yaml: every service is locked up, refers to what there is, and has no secret but by a variable."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_helpers import COMPOSE, ROOT, VARIABLE, compose, filled, make_secrets, secrets_of, strings

from lca_sweep import __version__

PLAIN = {"TORCH", "WORKER_CPUS", "WORKER_MEMORY"}  # variables that are no secret
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
MET: dict[str, Callable[[Any], bool]] = {  # whether a service can ever be so
    "service_healthy": lambda service: "healthcheck" in service,
    "service_completed_successfully": lambda service: service.get("restart") == "no",
}
ADDRESS = re.compile(r"(?:^|[=/@])([a-z][\w-]*):\d{4,5}")

Compose = dict[str, Any]


# --- what must hold, as a list of what does not --------------------------------------------------------------------


def loose(file: Compose) -> Iterator[str]:
    """What is not locked up."""
    for name, service in file["services"].items():
        wanted = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
        yield from (f"{name}: {key}" for key, value in wanted.items() if service.get(key) != value)
        yield from (f"{name}: no {key}" for key in ("mem_limit", "cpus", "pids_limit", "restart") if key not in service)
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user", ""))):
            yield f"{name}: user"
        for key in ("privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode", "volumes_from"):
            if key in service:
                yield f"{name}: {key}"


def open_ports(file: Compose) -> Iterator[str]:
    """Ports that others than this machine can reach."""
    for name, service in file["services"].items():
        yield from (f"{name}: {port}" for port in service.get("ports", []) if not port.startswith("127.0.0.1:"))


def dangling(file: Compose) -> Iterator[str]:
    """What refers to nothing, and what nobody refers to."""
    services = file["services"]
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set()}
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if not MET[how["condition"]](services.get(other, {})):
                yield f"{name}: waits for {other} in vain"
        used["networks"] |= set(service.get("networks", []))
        used["secrets"] |= set(service.get("secrets", []))
        for volume in service.get("volumes", []):
            source, _, *how = volume.split(":")
            if not source.startswith("."):
                used["volumes"].add(source)
            elif not (COMPOSE.parent / source).is_file() or how != ["ro"]:
                yield f"{name}: {volume}"
    for kind, names in used.items():
        yield from (f"{kind}: {name}" for name in names ^ set(file.get(kind, {})))


def unpinned(file: Compose) -> Iterator[str]:
    """Images that may be another one tomorrow; ours have the package's version."""
    for name, service in file["services"].items():
        image, _, tag = service["image"].rpartition(":")
        if image.startswith("lca-sweep"):
            if tag != __version__:
                yield f"{name}: {tag}"
        elif not re.fullmatch(r"docker\.io/[\w/-]+", image) or not re.fullmatch(r"\d+\.\d+(-\w+)?", tag):
            yield f"{name}: {service['image']}"


def careless(file: Compose) -> Iterator[str]:
    """Secrets that are written down, that have a default, or that would be in a command line."""
    for name, service in file["services"].items():
        for variable, value in service.get("environment", {}).items():
            path = str(value).startswith(("/", "http://"))
            if SECRET.search(variable) and not path and not re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)):
                yield f"{name}: {variable}"
        for key in ("command", "entrypoint", "healthcheck", "build", "labels"):
            said = {match[1] for text in strings(service.get(key, [])) for match in VARIABLE.finditer(text)}
            yield from (f"{name}: {variable} in {key}" for variable in said - PLAIN)
    for match in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8")):
        if (match[1] in PLAIN) != (match[2] == "-"):
            yield f"{match[0]}: a default"


def shared(one: Compose, other: Compose) -> set[str]:
    """The networks of both services."""
    return set(one.get("networks", [])) & set(other["networks"])


def unreachable(file: Compose) -> Iterator[str]:
    """Addresses of services that do not exist, or that share no network with who is told of them."""
    services = file["services"]
    for name, service in services.items():
        for value in [*service.get("environment", {}).values(), *service.get("command", [])]:
            told = value in file["x-places"].values()  # also to a worker, who has no use for it
            for host in ADDRESS.findall(str(value)):
                if not told and not shared(services.get(host, {}), service):
                    yield f"{name}: {value}"


CHECKS = (loose, open_ports, dangling, unpinned, careless, unreachable)


@pytest.mark.parametrize("check", CHECKS)
def test_compose(check: Callable[[Compose], Iterator[str]]) -> None:
    assert list(check(compose())) == []


def change(*path: str, value: Any = None) -> Callable[[Compose], None]:
    """Another value there; None takes it away."""

    def spoil(file: Compose) -> None:
        *above, last = path
        for key in above:
            file = file[key]
        if value is None:
            del file[last]
        else:
            file[last] = value

    return spoil


BROKEN = [
    (loose, change("services", "s3", "read_only"), "s3: read_only"),
    (loose, change("services", "mlflow", "user", value="0:0"), "mlflow: user"),
    (loose, change("services", "sweep", "mem_limit"), "sweep: no mem_limit"),
    (loose, change("services", "ray-head", "privileged", value=True), "ray-head: privileged"),
    (open_ports, change("services", "postgres", "ports", value=["5432:5432"]), "postgres: 5432:5432"),
    (dangling, change("services", "s3", "healthcheck"), "buckets: waits for s3 in vain"),
    (dangling, change("services", "buckets", "restart", value="always"), "mlflow: waits for buckets in vain"),
    (dangling, change("volumes", "sweeps"), "volumes: sweeps"),
    (dangling, change("services", "s3", "volumes", value=["s3:/data", "./none:/x:ro"]), "s3: ./none:/x:ro"),
    (unpinned, change("services", "s3", "image", value="docker.io/chrislusf/seaweedfs:latest"), "s3: docker.io"),
    (unpinned, change("services", "sweep", "image", value="lca-sweep:0.0.9"), "sweep: 0.0.9"),
    (careless, change("services", "ray-head", "environment", "PGPASSWORD", value="hush"), "ray-head: PGPASSWORD"),
    (careless, change("services", "s3", "command", value=["-key=${S3_SECRET_KEY}"]), "s3: S3_SECRET_KEY in command"),
    (unreachable, change("services", "mlflow", "networks", value=["front"]), "mlflow: http://s3:8333"),
    (unreachable, change("services", "ray-worker", "networks", value=["elsewhere"]), "ray-worker: --address=ray-head"),
]


@pytest.mark.parametrize(("check", "spoil", "found"), BROKEN)
def test_each_check_finds_what_it_looks_for(
    check: Callable[[Compose], Iterator[str]], spoil: Callable[[Compose], None], found: str
) -> None:
    file = copy.deepcopy(compose())
    spoil(file)
    assert any(line.startswith(found) for line in check(file))


# --- the secrets ---------------------------------------------------------------------------------------------------


def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    done = make_secrets(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    made, accounts = secrets_of(tmp_path), tmp_path / "secrets" / "basic_auth.ini"
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert accounts.stat().st_mode & 0o777 == 0o444
    assert len(set(made.values())) == len(made) and min(map(len, made.values())) >= 20
    assert made["MLFLOW_AUTH_PASSWORD"] in accounts.read_text()
    assert not any(value in done.stdout for value in made.values())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = make_secrets(tmp_path)
    assert again.returncode == 2 and len(again.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_secrets_are_what_compose_asks_for(tmp_path: Path) -> None:
    assert make_secrets(tmp_path).returncode == 0
    made = secrets_of(tmp_path)
    asked = {match[1] for match in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8"))}
    assert asked == made.keys() | PLAIN
    for text in strings(compose()["services"]):
        filled(text, made)
    with pytest.raises(KeyError, match="RAY_TOKEN is not set"):
        filled("${RAY_TOKEN:?make}", made | {"RAY_TOKEN": ""})


def test_secrets_stay_out_of_git_and_of_images() -> None:
    for path in ("docker/.env", "docker/secrets/basic_auth.ini"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0


# --- beside k8s/ ---------------------------------------------------------------------------------------------------


def mlflow_pod() -> dict[str, Any]:
    """The pod of MLflow in k8s/."""
    (pod,) = [
        one["spec"]["template"]["spec"]
        for one in yaml.safe_load_all((ROOT / "k8s/base/mlflow.yaml").read_text(encoding="utf-8"))
        if one["kind"] == "Deployment"
    ]
    return dict(pod)


def test_mlflow_is_started_as_in_kubernetes() -> None:
    (container,), migrations = mlflow_pod()["containers"], mlflow_pod()["initContainers"]
    ours = compose()["services"]
    assert ours["mlflow"]["command"] == container["command"] + container["args"]
    named = {"migrate": "mlflow-migration", "migrate-users": "mlflow-auth-migration"}
    for one in migrations:
        assert ours[named[one["name"]]]["command"] == one["command"] + one.get("args", [])
    there = {one["name"]: one.get("value") for one in container["env"]}
    here = ours["mlflow"]["environment"]
    for name in there.keys() & here.keys() - {"MLFLOW_AUTH_CONFIG_PATH", "MLFLOW_SERVER_ALLOWED_HOSTS"}:
        assert there[name] is None or there[name] == here[name], name
    assert there.keys() - here.keys() == set()
