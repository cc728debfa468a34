"""Who runs a sweep: a lock that the kernel frees with its process, and signs of life for those on other machines."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.words import command
from lca_sweep.tracking.records import user

LOCK, STOP = "lock", "stop"
WISHES = "wish-*.json"  # what else is asked of who runs it, oldest first; gone once they have heard it
BEAT = 2.0  # seconds between two signs of life
SILENCE = 20.0  # seconds without one after which an owner on another machine counts as dead
LOOK = 0.5  # seconds between two looks for a request
SIZE = 512  # bytes; always written in one piece, so that a reader sees a whole owner


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process that runs a sweep, or ran it; `beat` counts its signs of life."""

    id: str
    user: str
    host: str
    boot: str  # of the kernel, which is as far as its locks reach: several containers may share it
    pid: int
    since: str
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host} since {self.since}"


class Lost(SweepError):
    """Another machine took this sweep over while this process gave no sign of life."""

    status = 3


class Lock:
    """A held lock. Those who listen are told, from a thread, when the sweep is to stop: Lost, or None if asked to."""

    def __init__(self, folder: Path, file: int, owner: Owner) -> None:
        self.folder, self.owner = folder, owner
        self._file, self._free = file, threading.Event()
        self._listeners: list[Callable[[Lost | None], None]] = []
        self._told: list[Lost | None] = []
        self._grant: Callable[[Mapping[str, Any]], None] | None = None
        self._hearing = threading.Lock()
        self._thread = threading.Thread(target=self._live, name="lock", daemon=True)
        self._thread.start()

    def on_stop(self, listener: Callable[[Lost | None], None]) -> None:
        """Tell `listener` as soon as this sweep is to stop."""
        self._listeners.append(listener)
        for told in self._told:
            listener(told)

    def on_wish(self, listener: Callable[[Mapping[str, Any]], None] | None) -> None:
        """Tell `listener`, from the same thread, what is asked of this sweep; None: from now on nothing is heard."""
        with self._hearing:
            self._grant = listener

    def check(self) -> None:
        """Raise Lost if the sweep is no longer this process's."""
        found = read(self._file)
        if not _is_there(self.folder, self._file) or found is None or found.id != self.owner.id:
            whom = found or "a process that has ended since"
            raise Lost(f"{self.folder}: taken over by {whom}, for this process had given no sign of life")

    def release(self) -> None:
        """Give the lock back; the file is emptied, so that nobody has to wait for silence."""
        self._free.set()
        self._thread.join()
        with suppress(OSError, Lost):
            self.check()
            os.ftruncate(self._file, 0)
            _clear(self.folder)

    def _live(self) -> None:
        beats, last = 0, time.monotonic()
        while not self._free.wait(LOOK):
            try:
                if not self._told and (self.folder / STOP).exists():
                    self._tell(None)
                self._hear()
                if time.monotonic() - last >= BEAT:
                    self.check()
                    beats, last = beats + 1, time.monotonic()
                    _write(self._file, dataclasses.replace(self.owner, beat=beats))
            except Lost as error:
                self._tell(error)
                return
            except OSError:
                pass  # a full disk, or one that is away: those who write results there will tell

    def _hear(self) -> None:
        with self._hearing:
            for file in sorted(self.folder.glob(WISHES)) if self._grant else ():
                with suppress(ValueError):
                    self._grant(json.loads(file.read_bytes()))  # type: ignore[misc]
                file.unlink(missing_ok=True)

    def _tell(self, what: Lost | None) -> None:
        self._told.append(what)
        for listener in self._listeners:
            listener(what)


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[Lock]:
    """The lock of the sweep in `folder`; SweepError if a living process holds it.

    A dead owner's lock is taken over: at once on the same machine, where the kernel knows that it is dead; after
    SILENCE seconds without a sign of life on another one, whose clock does not matter.
    """
    with _opened(folder, os.O_RDWR | os.O_CREAT) as file:
        _take(folder, file, say)
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = Owner(uuid.uuid4().hex, user(), platform.node(), _boot(), os.getpid(), now)
        before = read(file)
        _write(file, owner)
        _clear(folder)  # was for somebody before us
        lock = Lock(folder, file, owner)
        try:
            if _is_remote(before):
                time.sleep(BEAT)  # two machines may have waited for the same silence: the later one has it
                lock.check()
            yield lock
        finally:
            lock.release()


def _clear(folder: Path) -> None:
    """Forget what was asked."""
    for file in (folder / STOP, *folder.glob(WISHES)):
        file.unlink(missing_ok=True)


def runner(folder: Path) -> Owner | None:
    """Who runs the sweep in `folder` now; None if nobody does."""
    if not (folder / LOCK).exists():
        return None
    with _opened(folder, os.O_RDWR) as file:
        found = read(file)
        if not _flock(file):
            return found or Owner("", "somebody", platform.node(), _boot(), 0, "just now")
        fcntl.flock(file, fcntl.LOCK_UN)
        return found if found and _is_remote(found) and _beats(file, found) else None


def read(file: int) -> Owner | None:
    """The owner that an open lock file names, or None."""
    content = os.pread(file, SIZE, 0)
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):  # given back, or of another version
        return None


def refuse_running(folder: Path) -> None:
    """Raise SweepError if a process of this machine runs the sweep in `folder`; nothing is changed."""
    if (folder / LOCK).exists():
        with _opened(folder, os.O_RDWR) as file:
            _grasp(folder, file)


def _take(folder: Path, file: int, say: Callable[[str], None]) -> None:
    _grasp(folder, file)
    if not _is_there(folder, file):
        raise SweepError(f"{folder}: was put aside by another process just now; try again")
    found = read(file)
    if found and _is_remote(found):  # flock may not reach over this file system
        say(f"last run by {found}; waiting {SILENCE:.0f} s for a sign of life")
        if _beats(file, found):
            raise SweepError(_refusal(folder, found))


def _grasp(folder: Path, file: int) -> None:
    for _ in range(5):  # somebody may just be looking whether the sweep is run
        if _flock(file):
            return
        time.sleep(0.1)
    raise SweepError(_refusal(folder, read(file)))


def _beats(file: int, found: Owner) -> bool:
    """Whether the owner gives a sign of life."""
    end = time.monotonic() + SILENCE
    while time.monotonic() < end:
        if read(file) != found:
            return True
        time.sleep(LOOK)
    return False


def _refusal(folder: Path, found: Owner | None) -> str:
    whom = found or "another process"
    return f"{folder}: this sweep is being run by {whom}; to end that: {command('stop', folder)}"


def _is_remote(owner: Owner | None) -> bool:
    return owner is not None and owner.boot != _boot()


def _is_there(folder: Path, file: int) -> bool:
    """Whether an open lock file is still the folder's: that may have been put aside, and begun anew."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(folder / LOCK))
    except FileNotFoundError:
        return False


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return platform.node()


@contextmanager
def _opened(folder: Path, flags: int) -> Iterator[int]:
    file = os.open(folder / LOCK, flags, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, owner: Owner) -> None:
    os.pwrite(file, json.dumps(dataclasses.asdict(owner)).encode().ljust(SIZE), 0)


def _flock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
