"""`doctor [WORDS]`: whether a run with these words would find here what it needs.

JSON is an object: `ok` (whether all is), and `checks`, a list of objects with `name` (python, packages, cores, GPU,
memory, /dev/shm, disk, data, MLflow, study, storage, cluster, port, sweeps), `ok`, `told` (what was found, or what is
wrong and how to mend it) and `seconds` (that it took). Keys are only ever added.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lca_sweep.config import Config, without_password
from lca_sweep.core.errors import UserError, first_line
from lca_sweep.sweep.checks import CHECKS, Check
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.printing import print_json

SECONDS = 10.0  # for all checks, which are made at the same time
ALL_WELL, WRONG = 0, 1


@dataclass(frozen=True)
class Finding:
    """What one check has found."""

    name: str
    ok: bool
    told: str
    seconds: float


def doctor(config: Config, as_json: bool) -> int:
    """Look at everything, and say it; exit status 0 if all is well, else 1."""
    found, console = examine(config, CHECKS, SECONDS), wide_console()
    if as_json:
        print_json(console, {"ok": all(one.ok for one in found), "checks": [vars(one) for one in found]})
    else:
        for one in found:
            _print(console, one)
    status = ALL_WELL if all(one.ok for one in found) else WRONG
    if any(thread.name.startswith(PREFIX) for thread in threading.enumerate()):
        sys.stdout.flush()
        os._exit(status)  # a library that hangs, waiting for a server, would keep Python from ending
    return status


PREFIX = "doctor: "


def examine(config: Config, checks: Mapping[str, Check], seconds: float) -> list[Finding]:
    """What each check has found within so many seconds."""
    began, found = time.monotonic(), dict[str, Finding]()

    def look(name: str, check: Check) -> None:
        ok, told = _told(check, config)
        found[name] = Finding(name, ok, told, round(time.monotonic() - began, 3))

    threads = [
        threading.Thread(target=look, args=item, name=f"{PREFIX}{item[0]}", daemon=True) for item in checks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, began + seconds - time.monotonic()))
    silent = f"no answer within {seconds:g} s"
    return [found.get(name) or Finding(name, False, silent, seconds) for name in checks]


def _told(check: Check, config: Config) -> tuple[bool, str]:
    try:
        return True, check(config)
    except UserError as error:
        return False, without_password(" ".join(str(error).split()))
    except Exception as error:  # whatever a library raises is what is wrong
        return False, without_password(f"{type(error).__name__}: {first_line(error)}")


def _print(console: Console, one: Finding) -> None:
    line = f"{'ok' if one.ok else 'WRONG':5}  {one.name:8}  {one.told}"
    console.print(Text(line), soft_wrap=True)
