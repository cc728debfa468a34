"""Files that are whole or absent, also after a crash."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

PROBE = 2**16  # bytes; the smallest things that are kept are about as large


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, flush to disk, and rename over it; the folder is flushed too, so that the name lasts."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    flush_folder(path.parent)


def try_to_write(folder: Path) -> None:
    """OSError where no file can be kept: a full disk, or a file system for reading only. Leaves nothing."""
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE))
    except OSError as error:
        error.filename = str(folder)  # else that of the passing file
        raise


def make_folder(path: Path) -> None:
    """Make a folder and whatever is missing above it, to last."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Have the disk keep the names in a folder, where its file system can."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(folder)
