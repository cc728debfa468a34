"""Where a study lies: a journal file in the sweep's folder, or a database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from lca_sweep.config import KnobError, without_password
from lca_sweep.core.errors import first_line, why_no_database
from lca_sweep.search.outage import SILENCE, StudyLost

JOURNAL = "study.journal"
TAIL = 2**16  # bytes at the end of a journal, in which its last line is as a rule
EXAMPLE = "sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"

# Of libpq. A server that vanished is noticed within half a minute, and not when the kernel gives up, in 15 minutes.
POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def journal(folder: Path) -> BaseStorage:
    """The default storage: a journal file in the sweep's folder, whose lock the caller holds.

    Raises StudyLost if it cannot be read or written, KnobError if it is damaged.
    """
    file = folder / JOURNAL
    with _told(file):
        # a writer that was killed can leave its lock, for which Optuna would wait half a minute
        file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
        return Journal(file)


def shared_journal(folder: Path) -> BaseStorage:
    """The same for one who adds a row while another process, or nobody, holds that lock.

    Raises StudyLost if it is not there or cannot be read, KnobError if it is damaged.
    """
    file = folder / JOURNAL
    with _told(file):
        return Journal(file, alone=False)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StudyLost(f"{file}: cannot be opened: {first_line(error)}") from error
    except Exception as error:  # whatever Optuna raises at lines that it has not written
        raise KnobError(damaged(file, error)) from error


def refuse_damaged_end(file: Path) -> None:
    """Raise ValueError if the last whole line is none of a journal: Optuna takes it for one that is being written."""
    with file.open("rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - TAIL))
        lines = journal.read().split(b"\n")
        if len(lines) < 3 and size > TAIL:
            journal.seek(0)
            lines = journal.read().split(b"\n")
    if len(lines) > 1:
        json.loads(lines[-2])


def damaged(file: Path, error: Exception) -> str:
    """What is wrong with a journal that can no longer be read, and what to do."""
    remedy = "bring back a copy of the file, or begin anew with sweep.resume=never"
    with suppress(OSError):
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            try:
                json.loads(line)
            except ValueError:
                return f"{file}, line {number}: is damaged; {remedy}"
    return f"{file}: is damaged ({type(error).__name__}: {first_line(error)}); {remedy}"


class Journal(JournalStorage):
    """Optuna's journal, with lines that are whole or absent."""

    def __init__(self, file: Path, alone: bool = True) -> None:
        self.file, self._lines = file, _WholeLines(str(file), alone)
        super().__init__(self._lines)

    def settle(self) -> None:
        """Have the disk hold all that was written. Raises OSError."""
        self._lines.settle()


class _WholeLines(JournalFileBackend):
    """A full disk, or a kill in the middle of a write, leaves half a line; what follows it Optuna can never read."""

    def __init__(self, file: str, alone: bool) -> None:
        if not alone:
            os.stat(file)  # else Optuna would make one
        super().__init__(file)
        self.loose = False  # whether there is more than the disk may hold
        if alone:  # else half a line may be one that is being written
            with open(file, "rb+", buffering=0) as journal:
                _cut(journal)
        refuse_damaged_end(Path(file))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """All of these lines, or none and an OSError; on the disk when it returns, unless they are epochs' values.

        These `settle` takes there, and whatever is written next, such as a trial's end.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with open(self._file_path, "rb+", buffering=0) as journal:  # never makes a file where it was taken away
                end = _cut(journal)
                try:
                    while lines:
                        lines = lines[journal.write(lines) :]
                    self.loose = True
                    if not all("intermediate_value" in log for log in logs):
                        self._settle(journal)
                except BaseException:
                    journal.truncate(end)
                    raise
        finally:
            with suppress(RuntimeError):  # we were held up so long that another process broke the lock
                self._lock.release()

    def settle(self) -> None:
        """See Journal."""
        if self.loose:
            with open(self._file_path, "rb+", buffering=0) as journal:
                self._settle(journal)

    def _settle(self, journal: Any) -> None:
        os.fsync(journal.fileno())
        self.loose = False


def _cut(journal: Any) -> int:
    """Take away half a line at the end of an open file; where the file ends, and where the next write goes."""
    end = journal.seek(0, os.SEEK_END)
    if end:
        journal.seek(end - 1)
        if journal.read(1) != b"\n":
            journal.seek(0)
            end = journal.read().rfind(b"\n") + 1
            journal.truncate(end)
    return int(journal.seek(end))


def database(url: str) -> BaseStorage:
    """The storage at an Optuna URL. Raises KnobError if it cannot be opened."""
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": connect_args(url)})
    except Exception as error:  # whatever the database's driver raises
        why = why_no_database(error, EXAMPLE)
        raise KnobError(f"search.storage={without_password(url)}: cannot be opened: {why}") from error


def connect_args(url: str) -> dict[str, Any]:
    """How soon a connection gives up, where the URL itself does not say."""
    scheme = url.partition(":")[0]
    if scheme in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        return {name: value for name, value in POSTGRESQL.items() if f"{name}=" not in url}
    if scheme.startswith("sqlite") and "timeout=" not in url:
        return {"timeout": SILENCE}  # then the user is told, and we try again
    return {}


def shown(storage: BaseStorage) -> str:
    """A storage's name for people, without its password."""
    if isinstance(storage, RDBStorage):
        return f"search.storage={without_password(storage.url)}"
    return str(storage.file) if isinstance(storage, Journal) else type(storage).__name__
