"""Make the secrets of compose.yaml, once: `python docker/make_secrets.py [FOLDER]`; the folder is this file's own.

.env has those that are variables, and is its owner's alone. secrets/ has those that are files: there any account of a
container may read a file, and on this machine nobody but the owner may enter the folder.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from pathlib import Path

NAMES = (
    "POSTGRES_PASSWORD",
    "OPTUNA_PASSWORD",
    "MLFLOW_PASSWORD",
    "MLFLOW_AUTH_PASSWORD",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "RAY_TOKEN",
)
# MLflow's accounts: who has none is told nothing. The cache spares 0.2 s of hashing a request, for a minute each time.
ACCOUNTS = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = postgresql+psycopg://mlflow_auth:{password}@postgres:5432/mlflow_auth
auth_cache_ttl_seconds = 60
"""


def main(folder: Path) -> int:
    """Make both, or neither; 2 if there are some already."""
    places = (folder / "secrets", folder / ".env")
    for place in places:
        if place.exists():
            print(f"{place}: is there already, and what was made with it needs it; move it away first", file=sys.stderr)
            return 2
    made = {name: secrets.token_hex(10 if name == "S3_ACCESS_KEY" else 32) for name in NAMES}
    with tempfile.TemporaryDirectory(prefix=".secrets-", dir=folder) as scratch:
        _write(Path(scratch), made)
        for place in places:
            os.rename(Path(scratch) / place.name, place)
    print(f"secrets made: {places[1]}, {places[0]}")
    return 0


def _write(folder: Path, made: dict[str, str]) -> None:
    """All of it in a folder that nobody else can enter."""
    (folder / "secrets").mkdir(mode=0o700)
    accounts = folder / "secrets" / "basic_auth.ini"
    accounts.write_text(ACCOUNTS.format(password=made["MLFLOW_AUTH_PASSWORD"]))
    accounts.chmod(0o444)
    (folder / ".env").touch(mode=0o600)
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in made.items()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parent))
