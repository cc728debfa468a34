"""The outbox: what a tracker was told, in files that outlive its process, until MLflow has it."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from lca_sweep.core.files import flush_folder, make_folder
from lca_sweep.tracking.entries import Entry, entry_of
from lca_sweep.tracking.records import TrackingError

SEGMENT = 1 << 20  # bytes, after which a new segment begins


class Outbox:
    """Segments 00000001.jsonl, ... in a folder: a line that names the sweep, then an entry a line, oldest first.

    One thread appends and settles, another takes and drops; one process at a time has the folder. What the disk says no
    to is a TrackingError in one line that names the file.
    """

    def __init__(self, folder: Path, uid: str) -> None:
        self.folder, self._uid = folder, uid
        self.damaged: dict[str, None] = {}  # lines for the user, each once
        with self._for_user():
            numbers = sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdecimal())
        self._lock = threading.Lock()  # guards the rest
        self._untaken = deque(numbers)
        self._last = max(numbers, default=0)
        self._file: FileIO | None = None  # of the segment `_last`, while it is appended to
        self._size = 0  # its bytes
        self._unsynced: dict[int, FileIO] = {}  # segments of which the disk may not have all
        self._named = True  # the disk has the names of all segments

    def left(self) -> Iterator[Entry]:
        """All entries that a former process left; TrackingError where they are another sweep's."""
        for number in self._untaken:
            yield from self._read(number)

    def append(self, line: bytes) -> None:
        """Write a line: it outlives the process from now on, and the machine after `settle`."""
        with self._lock, self._for_user():
            if self._file is None:
                self._begin()
                line = json.dumps({"sweep": self._uid}).encode() + b"\n" + line
            self._write(line)
            if self._size >= SEGMENT:
                self._seal()

    def settle(self) -> None:
        """Return when the disk has all that was appended."""
        with self._lock, self._for_user():
            for number, file in list(self._unsynced.items()):
                os.fsync(file)
                del self._unsynced[number]
                if file is not self._file:
                    file.close()
            if not self._named:
                flush_folder(self.folder)
                self._named = True

    def seal(self) -> None:
        """Make what was appended one or more segments to be taken; later lines go into a new one."""
        with self._lock:
            self._seal()

    def take(self) -> tuple[int, list[Entry]] | None:
        """Number and entries of the oldest sealed segment that was not taken yet; None where there is none.

        A file that is gone has none, and is named in `damaged`.
        """
        with self._lock:
            if not self._untaken:
                return None
            number = self._untaken[0]
        entries = self._read(number)
        with self._lock:
            self._untaken.popleft()
        return number, entries

    @property
    def empty(self) -> bool:
        """Whether all was taken."""
        with self._lock:
            return self._file is None and not self._untaken

    def drop(self, number: int) -> None:
        """Forget a segment that was taken, oldest first, so that what is left is always the end of all that was told.

        A file that cannot be removed is read again by the next process, which changes nothing.
        """
        with self._lock, suppress(OSError):
            if file := self._unsynced.pop(number, None):
                file.close()
            self._path(number).unlink()

    def close(self) -> None:
        """Let go of the files; the folder stays only if there is something in it. One may append again."""
        self.let_go()
        with self._lock, suppress(OSError):
            self.folder.rmdir()

    def let_go(self) -> None:
        """Close the files, and leave the folder as it is."""
        with self._lock, suppress(OSError):
            self._seal()
            for file in self._unsynced.values():
                file.close()
            self._unsynced.clear()

    def _begin(self) -> None:
        make_folder(self.folder)
        self._file = open(self._path(self._last + 1), "xb", buffering=0)  # noqa: SIM115 (until it is sealed)
        self._last, self._size, self._named = self._last + 1, 0, False

    def _write(self, line: bytes) -> None:
        """Where only half a line finds room it is the segment's last one, and no line."""
        assert self._file is not None
        self._unsynced[self._last] = self._file
        written = 0
        try:
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            self._seal()
            raise
        self._size += written

    def _seal(self) -> None:
        if self._file is not None:
            self._untaken.append(self._last)
            if self._last not in self._unsynced:
                self._file.close()
            self._file = None

    def _read(self, number: int) -> list[Entry]:
        path = self._path(number)
        try:
            with self._for_user():
                *lines, _ = path.read_bytes().split(b"\n")  # whoever wrote half a line was never answered
        except TrackingError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            self.damaged[f"{path}: is gone; what MLflow was to get from it is lost"] = None
            return []
        entries: list[Entry] = []
        for place, line in enumerate(lines, 1):
            try:
                uid = _uid_of(line) if place == 1 else self._uid
                entries += [entry_of(line)] if place > 1 else []
            except ValueError:
                self.damaged[f"{path}: line {place} is damaged and was left out"] = None
                continue
            if uid != self._uid:
                raise TrackingError(f"{path}: is of another sweep, {uid}; must be moved away")
        return entries

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.jsonl"

    @contextmanager
    def _for_user(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self._path(self._last)
            raise TrackingError(f"{where}: what MLflow is to get cannot be kept there ({error.strerror})") from error


def _uid_of(line: bytes) -> str:
    """The sweep that a segment's first line names; ValueError if it is none."""
    try:
        return str(json.loads(line)["sweep"])
    except (LookupError, TypeError) as error:
        raise ValueError("no first line of a segment") from error
