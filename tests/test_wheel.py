"""The wheel is whole: unpacked anywhere, with no checkout in sight, it composes its configurations and has its data."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as an installation would lay it out."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(unpacked: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the unpacked wheel first on its path; `-P`: the working folder is not on it."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder by its relative path, less what Python leaves beside modules."""
    found = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


def test_holds_the_package_with_its_conf_and_data_and_nothing_else(unpacked: Path) -> None:
    package = files(ROOT / "lca_sweep") | {f"conf/{name}": data for name, data in files(ROOT / "conf").items()}
    assert files(unpacked / "lca_sweep") == package
    assert {
        "conf/config.yaml",
        "conf/sweep/mnist.yaml",
        "conf/sweep/smoke.yaml",
        "py.typed",
        "report/template.html.j2",
    } <= package.keys()
    assert {path.name.partition("-")[0] for path in unpacked.iterdir()} == {"lca_sweep"}  # and its dist-info


def test_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 8_000_000


def test_has_the_console_script(unpacked: Path) -> None:
    (file,) = unpacked.glob("*.dist-info/entry_points.txt")
    scripts = ConfigParser()
    scripts.read(file)
    assert dict(scripts["console_scripts"]) == {"lca-sweep": "lca_sweep.cli:main"}


def test_loads_its_mnist(unpacked: Path, tmp_path: Path) -> None:
    code = "import lca_sweep.core as c; print(c.__file__); s = c.load('mnist'); print(len(s.train.y), len(s.test.y))"
    done = python(unpacked, tmp_path, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(unpacked / "lca_sweep/core/__init__.py"), "10000 10000"]


def test_composes_from_another_folder(unpacked: Path, tmp_path: Path) -> None:
    done = python(unpacked, tmp_path, "-m", "lca_sweep", "--cfg", "job", "+sweep=smoke")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trainer:" in done.stdout and "space:" in done.stdout
    assert list(tmp_path.iterdir()) == []
