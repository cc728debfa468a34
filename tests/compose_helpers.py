"""docker/compose.yaml as the tests read it, without Docker: its services, and its variables filled in."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker" / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")


def compose() -> dict[str, Any]:
    """The file, with its anchors merged."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return read


def strings(tree: Any) -> Iterator[str]:
    """Every text in a tree, of keys and values."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from (str(key), *strings(value))
    elif isinstance(tree, list):
        for item in tree:
            yield from strings(item)
    else:
        yield str(tree)


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its variables' values, as Compose puts them in: `${NAME:?must be set}`, `${NAME:-default}`."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1]) or (match[3] if match[2] == "-" else _missing(match[1]))

    return VARIABLE.sub(value, text)


def _missing(name: str) -> str:
    raise KeyError(f"{name} is not set")


def environment(service: str, values: Mapping[str, str]) -> dict[str, str]:
    """A service's environment."""
    there = compose()["services"][service].get("environment", {})
    return {name: filled(str(value), values) for name, value in there.items()}


def make_secrets(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make compose-secrets` does, in another folder."""
    command = [sys.executable, str(ROOT / "docker" / "make_secrets.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def secrets_of(folder: Path) -> dict[str, str]:
    """What was made there, by name."""
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)
