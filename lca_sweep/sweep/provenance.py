"""What a result is made from and with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from lca_sweep import __version__
from lca_sweep.config import Config
from lca_sweep.core.data import Splits, load

COMMIT = "COMMIT"  # the file beside the package that says it, where the package was sent
PACKAGES = ("torch", "numpy", "ray", "optuna", "mlflow")


def data_of(config: Config) -> Splits:
    """The data set of a config. Raises DataError."""
    home = os.path.expanduser(config.data.dir) if config.data.dir else None
    return load(config.data.name, dir=home)


def data_tags(data: Splits) -> dict[str, str]:
    """What a result was made from and with."""
    return {"data": data.name, "data.digest": data.digest[:16], **provenance()}


def provenance() -> dict[str, str]:
    """Tags: git commit of the code (where it lies in a checkout), versions, machine."""
    tags = {f"version.{name}": importlib.metadata.version(name) for name in PACKAGES}
    tags |= {"version.lca_sweep": __version__, "version.python": platform.python_version(), "host": platform.node()}
    commit = code_commit()
    return tags | ({"git.commit": commit} if commit else {})


def code_commit() -> str:
    """The commit of the code that runs; of code that was sent here, what was said of it there."""
    package = Path(__file__).parents[1]
    said = package.parent / COMMIT
    return said.read_text() if said.is_file() else git_commit(package)


def git_commit(folder: Path) -> str:
    """The commit of the checkout that holds lca_sweep, with `-dirty` if files differ; empty outside a checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.parent.parent:
            return ""  # installed inside somebody else's repository
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
