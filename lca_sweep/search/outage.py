"""A storage that goes away for a while: a full disk, a locked file, a database server that starts again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from optuna.exceptions import StorageInternalError

from lca_sweep.core.errors import UserError, first_line

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
DATABASE_AWAY = ("OperationalError", "InterfaceError", "TimeoutError", "DisconnectionError")  # SQLAlchemy's
SILENCE = 2.0  # seconds of an outage that nobody need hear of


class StudyLost(UserError):
    """The study's storage has not answered for too long; the message is one line for the user."""

    status = 3


def silent(line: str) -> None:
    """Say nothing."""


def always() -> bool:
    """Yes."""
    return True


@dataclass
class Patience:
    """Repeats what a storage refuses until it is done, or until `seconds` have passed: then StudyLost.

    What is repeated must bear it: a write may have been done although the storage gave no answer.
    """

    name: str  # of the storage, for people
    seconds: float
    say: Callable[[str], None] = silent
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    exists: Callable[[], bool] = always  # whether the study is still there, asked when something of it is not

    def __call__(self, act: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """What `act` returns; `again` takes its place after it has failed once."""
        began, pause, told = self.clock(), FIRST_PAUSE, False
        while True:
            try:
                return act()
            except KeyError as error:
                if self(self.exists):
                    raise
                raise StudyLost(f"{self.name}: somebody has deleted the study") from error
            except Exception as error:
                if not is_outage(error):
                    raise
                waited = self.clock() - began
                if waited >= self.seconds:
                    raise StudyLost(self._last_words(error)) from error
                if waited >= SILENCE and not told:
                    self.say(f"waiting for {self.name}: {reason(error)}")
                    told = True
            self.sleep(min(pause, self.seconds - waited))
            act, pause = again or act, min(2 * pause, LONGEST_PAUSE)

    def _last_words(self, error: Exception) -> str:
        return f"{self.name}: no answer for {self.seconds:g} s: {reason(error)}; the same command again goes on"


def is_outage(error: Exception) -> bool:
    """Whether a storage may get over this error. Optuna lets some of SQLAlchemy's through as they are."""
    if isinstance(error, StorageInternalError) and isinstance(error.__cause__, Exception):
        return is_outage(error.__cause__)
    if isinstance(error, (OSError, StorageInternalError)):
        return True
    passing = type(error).__name__ in DATABASE_AWAY or getattr(error, "connection_invalidated", False)
    return type(error).__module__.startswith("sqlalchemy.") and passing


def reason(error: BaseException) -> str:
    """Why, in one line: Optuna's own message is the same for all that can happen to a database."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else None
    return first_line(cause or error)
