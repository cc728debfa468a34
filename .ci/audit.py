"""What is known against this repository: a part of `make audit`, which asks checkov and hadolint first.

Advisories on the pinned packages, and secrets in any version of any file. Each finding is either mended or explained in
docs/security.md. Exit status: 0 nothing found, 1 something found, 3 something could not be looked at.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ("constraints.txt", "constraints-tools.txt")
# What looks like a secret and is none: examples in tests and documents, digests of data sets, commits.
HARMLESS = re.compile(r"(^|/)tests/|^docs/.*\.md$|^README\.md$|^lca_sweep/core/(data|idx|cifar|download)\.py$")
# A line that names where a secret comes from, and has none itself.
NO_SECRET = re.compile(r"\$\{\w+|%s|USER:PASSWORD@|\"RAY_AUTH_TOKEN|: &\w+$|_MODE: \w+$|file: \./secrets/")


class NotLooked(Exception):
    """A part could not be looked at; the message says why."""


def advisories() -> Iterator[str]:
    """Known weaknesses of the packages that are pinned. NotLooked where the index has no advisories for them."""
    for pins in PINS:
        command = ["pip-audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "-r", pins]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not done.stdout.startswith("{"):
            raise NotLooked(f"{pins}: {(done.stderr.strip().splitlines() or ['pip-audit says nothing'])[-1]}")
        packages = json.loads(done.stdout)["dependencies"]
        for package in packages:
            for one in package.get("vulns", []):
                fixed = ", ".join(one["fix_versions"]) or "nowhere yet"
                yield f"{pins}: {package['name']} {package['version']}: {one['id']}, mended in {fixed}"
        # pip-audit itself calls this a success
        if unknown := [package["name"] for package in packages if "skip_reason" in package]:
            there = f"{len(unknown)} of {len(packages)} packages ({unknown[0]}, ...)"
            raise NotLooked(f"{pins}: no answer on {there}; does the package index have advisories?")


def history() -> Iterator[str]:
    """What looks like a secret in any version of any file."""
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    with tempfile.TemporaryDirectory() as folder, default_settings():
        for path, blob in _versions():
            file = Path(folder) / blob
            file.write_bytes(_git("cat-file", "blob", blob))
            lines = file.read_text(errors="replace").splitlines()
            found = SecretsCollection()
            found.scan_file(str(file))
            for _, secret in found:
                if not NO_SECRET.search(lines[secret.line_number - 1]):
                    yield f"{path} ({blob[:8]}), line {secret.line_number}: {secret.type}"
            file.unlink()


def _versions() -> Iterator[tuple[str, str]]:
    """Path and name of every text that was ever committed, once."""
    objects = (line.partition(" ") for line in _git("rev-list", "--objects", "HEAD").decode().splitlines())
    named = {blob: path for blob, _, path in objects if path and not HARMLESS.search(path)}
    for line in _git("cat-file", "--batch-check=%(objectname) %(objecttype)", input="\n".join(named)).splitlines():
        blob, kind = line.decode().split()
        if kind == "blob" and b"\0" not in _git("cat-file", "blob", blob)[:8000]:
            yield named[blob], blob


def _git(*words: str, input: str = "") -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, input=input.encode(), capture_output=True, check=True).stdout


PARTS: tuple[tuple[str, Callable[[], Iterator[str]]], ...] = (
    ("advisories on what is pinned", advisories),
    ("secrets in the history", history),
)


def main() -> int:
    """Look at all of it, and say what was found."""
    worst = 0
    for name, look in PARTS:
        found, why = [], ""
        try:
            found += look()
        except (NotLooked, OSError, subprocess.CalledProcessError) as error:
            why = str(error)
        for line in found:
            print(f"  {line}")
        print(f"{name}: {f'NOT LOOKED AT: {why}' if why else f'{len(found)} found'}")
        worst = max(worst, 1 if found else 0, 3 if why else 0)
    return worst


if __name__ == "__main__":
    sys.exit(main())
