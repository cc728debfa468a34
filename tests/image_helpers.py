"""What the tests of the images share: a base made of Debian, images built on it, containers as a cluster runs them.

All of it lies in a storage of its own in the user's cache folder: no image of the user's is touched, and a second run
finds the layers of the first. To begin from nothing, remove that folder.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BASE = "docker.io/library/python:3.11-slim-bookworm"  # what the Dockerfiles' FROM has
FILES = {"lca-sweep": "docker/Dockerfile", "lca-sweep-mlflow": "docker/mlflow.Dockerfile"}
SECRET = "nobody-may-find-this-c0ffee"  # in the builder's environment, its pip configuration and beside the sources
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lca_sweep" / "images"
PLACES = ("index-url", "extra-index-url", "find-links")

# Without systemd, and with the limits of a machine that is itself a guest.
CONTAINERS = """
[containers]
cgroupns = "host"
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
# A pod under the `restricted` rules: no capability, nothing to write but /tmp, HOME and /dev/shm. And no network.
RESTRICTED = (
    "--network=none",
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:rw,mode=1777",
    "--shm-size=1g",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


def why_not() -> str:
    """What is missing to build and run images here; empty if nothing is."""
    if os.geteuid() != 0:
        return "images are built as root"
    return ", ".join(tool for tool in ("buildah", "podman", "runc", "mmdebstrap") if not shutil.which(tool))


def tool(name: str, *words: str, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """buildah or podman, on the storage of these tests."""
    command = [name, "--root", str(CACHE / "storage"), "--runroot", str(CACHE / "run"), *words]
    env = os.environ | {"CONTAINERS_CONF": str(CACHE / "containers.conf"), "PGPASSWORD": SECRET}
    done = subprocess.run(command, env=env, capture_output=True, text=True, **kwargs)
    assert not check or done.returncode == 0, f"{' '.join(words[:2])}: {(done.stdout + done.stderr)[-4000:]}"
    return done


# --- building ------------------------------------------------------------------------------------------------------


def make_base() -> None:
    """Debian with its Python, under the name of the image that it stands for."""
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "containers.conf").write_text(CONTAINERS)
    if tool("podman", "image", "exists", BASE, check=False).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder) / "base.tar"
        hook = 'for name in python python3; do ln -s /usr/bin/python3 "$1/usr/local/bin/$name"; done'
        packages = "ca-certificates,python3,python3-pip,python3-venv"
        command = ["mmdebstrap", "-q", "--variant=minbase", f"--include={packages}", f"--customize-hook={hook}"]
        subprocess.run([*command, "bookworm", str(tar)], check=True, capture_output=True)
        container = tool("buildah", "from", "scratch").stdout.strip()
        tool("buildah", "add", "-q", container, str(tar), "/")
    tool("buildah", "commit", "-q", "--rm", container, BASE)


def pip_configuration() -> dict[str, str]:
    """Where pip of this machine gets packages from, and whom it believes: files first, the environment last."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [line.split("=", 1) for line in sorted(lines, key=lambda line: line.startswith(":env:"))]
    found = {key.rpartition(".")[2]: " ".join(str(ast.literal_eval(value)).split()) for key, value in pairs}
    return {key: found[key] for key in (*PLACES, "cert", "trusted-host", "proxy", "timeout") if key in found}


def mounts(configuration: Mapping[str, str]) -> list[str]:
    """`-v` for each file and folder that a pip configuration names."""
    paths = [word.removeprefix("file://") for value in configuration.values() for word in value.split()]
    paths = [path.removesuffix("/simple") for path in paths]  # packages lie beside their index
    return [f"-v={path}:{path}:ro" for path in paths if path.startswith("/") and Path(path).exists()]


def context(folder: Path) -> Path:
    """A copy of this checkout with things in it that are nobody's business."""
    away = shutil.ignore_patterns(".*", "__pycache__", "sweeps", "mlruns", "mlflow.db*")
    shutil.copytree(ROOT, folder, ignore=away)
    shutil.copy(ROOT / ".dockerignore", folder)
    for name in (".env", ".git/config", "docker/.env", "id_rsa", "lca_sweep/.env", "mlflow.db", "sweeps/a/config.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET)
    return folder


def build(name: str, folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """An image from what lies in `folder`. Mounts and secrets are for its first stage; the last one does without."""
    configuration = pip_configuration()
    pip = folder.parent / f"pip-{name}.conf"
    lines = [f"{key} = {value}" for key, value in configuration.items()]
    pip.write_text("\n".join([f"# {SECRET}", "[global]", *lines]))
    own = ["--build-arg=TORCH_INDEX="] if any(key in configuration for key in PLACES) and name == "lca-sweep" else []
    common = ["bud", "--layers", "--isolation=chroot", "--network=host", "--pull-never", "--format=docker"]
    common += [*own, *arguments, "-f", str(folder / FILES[name])]
    first = [f"--secret=id=pip,src={pip}", *mounts(configuration), "--target=build", str(folder)]
    done = tool("buildah", *common, *first, check=check)
    return done if done.returncode else tool("buildah", *common, "-t", name, str(folder))


def inspect(image: str) -> Any:
    """All that is known of an image."""
    return json.loads(tool("podman", "image", "inspect", image).stdout)[0]


def layers(image: str) -> list[Path]:
    """The folder of each of its layers, the base's (one) left out."""
    data = inspect(image)["GraphDriver"]["Data"]
    return [Path(folder) for folder in [data["UpperDir"], *data.get("LowerDir", "").split(":")[:-1]]]


# --- running -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Container:
    """One that runs, or has ended."""

    name: str

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in it, whatever comes of it."""
        return tool("podman", "exec", self.name, *command, check=False)

    def python(self, code: str) -> str:
        """What a piece of Python in it prints."""
        done = self.run("python", "-c", code)
        return done.stdout.strip() + done.stderr

    def tell(self, signal: str) -> None:
        """A signal for its first process."""
        tool("podman", "kill", "--signal", signal, self.name)

    def wait(self) -> int:
        """Its exit status, in the end."""
        return int(tool("podman", "wait", self.name).stdout)

    def output(self) -> str:
        """What it has printed."""
        done = tool("podman", "logs", self.name)
        return done.stdout + done.stderr


@contextlib.contextmanager
def started(
    image: str, home: Path, *command: str, env: Mapping[str, str] | None = None, options: tuple[str, ...] = RESTRICTED
) -> Iterator[Container]:
    """A container under the restricted rules, gone at the end; `home`, new or an earlier one.s, is its HOME."""
    home.mkdir(exist_ok=True)
    os.chown(home, 1000, 1000)
    given = [f"--env={key}={value}" for key, value in (env or {}).items()]
    words = [*options, "--no-healthcheck", f"-v={home}:/home/lca", *given, image, *command]
    container = Container(tool("podman", "run", "-d", *words).stdout.strip())
    try:
        yield container
    finally:
        tool("podman", "rm", "-f", "-t", "0", container.name)
