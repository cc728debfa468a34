"""Where checkpoints and weights lie: named blobs that are whole or absent, in a folder or in a bucket of S3.

Of S3, pyarrow takes the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or ~/.aws), the region
(AWS_DEFAULT_REGION, or the bucket's own) and the server (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL) from the environment
of each process, so that no key travels with a storage. The bucket must exist.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lca_sweep.config import Config
from lca_sweep.core.errors import first_line
from lca_sweep.core.files import make_folder, write_atomically
from lca_sweep.sweep.errors import SweepError

T = TypeVar("T")

PAUSES = (0.1, 0.4, 1.5, 3.0)  # seconds between attempts
REASONS = {
    "NO_SUCH_BUCKET": "no such bucket",
    "NETWORK_CONNECTION": "not reachable",
    "ACCESS_DENIED": "access denied",
    "INVALID_ACCESS_KEY_ID": "access denied",
    "SIGNATURE_DOES_NOT_MATCH": "access denied",
}


class StorageError(SweepError):
    """A storage does not do what it is asked; `reason` is the message without the place."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place, self.reason = place, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return StorageError, (self.place, self.reason)  # it comes from workers to the driver


class Storage(Protocol):
    """Blobs by name: words with `/` between them, of which none begins with a dot; no name is another one's folder.

    Every method raises StorageError. A storage can be pickled: it travels to workers.
    """

    def read(self, name: str) -> bytes | None:
        """A blob; None if it is absent."""

    def write(self, name: str, content: bytes) -> None:
        """Put a blob there, in place of an older one, to last: at any time the name has the old or the new, whole."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, sorted."""

    def delete(self, name: str) -> None:
        """Take a blob away, if it is there."""

    def check(self) -> None:
        """Raise if nothing could be read or written here; leaves nothing, but for an empty folder of S3."""


def storage_at(place: str, below: str = "") -> Storage:
    """The storage at a folder, or at a URL (`s3://bucket/path`), or in the folder `below` there; touches nothing."""
    if "://" not in place:
        return FolderStorage(Path(place).expanduser().absolute() / below)
    path, mark, query = place.partition("?")
    return BucketStorage("/".join(filter(None, (path.rstrip("/"), below))) + mark + query)


def storage_of(config: Config, path: Path, uid: str, study: str) -> Storage:
    """Where checkpoints and weights go; a storage that many share may hold another sweep of the same name.

    That name is the one which the sweep was begun with, and which its study has: the folder's may be another since.
    """
    place, mark = config.sweep.storage, f"-{uid[:8]}"
    return storage_at(str(path)) if place is None else storage_at(place, study.removesuffix(mark) + mark)


@dataclass(frozen=True)
class FolderStorage:
    """A folder of this machine, or one that several machines share."""

    path: Path

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(name, error) from error

    def write(self, name: str, content: bytes) -> None:
        file = self.path / name
        try:
            make_folder(file.parent)
            for litter in file.parent.glob(f".{file.name}.*.part"):  # of a process that was killed as it wrote this
                litter.unlink(missing_ok=True)
            write_atomically(file, content)
        except OSError as error:
            raise self._error(name, error) from error

    def names(self, prefix: str) -> list[str]:
        folder = self.path / prefix.rpartition("/")[0]
        try:
            files = [Path(top, file) for top, _, found in os.walk(folder, onerror=_raise) for file in found]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._error(prefix, error) from error
        names = [file.relative_to(self.path).as_posix() for file in files if not file.name.startswith(".")]
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, name: str) -> None:
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._error(name, error) from error

    def check(self) -> None:
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise StorageError(str(self.path), f"{there} must be a folder that one can write to")

    def _error(self, name: str, error: OSError) -> StorageError:
        return StorageError(str(self.path / name), error.strerror or first_line(error))


@dataclass(frozen=True)
class BucketStorage:
    """A path in a bucket, by a URL that pyarrow understands. An object appears when all of it has arrived."""

    url: str

    def __reduce__(self) -> tuple[Any, ...]:
        return BucketStorage, (self.url,)  # each process connects by itself, with its own keys

    def read(self, name: str) -> bytes | None:
        def read() -> bytes | None:
            with self._files.open_input_stream(f"{self._root}/{name}") as stream:
                content: bytes = stream.read()
                return content

        return self._asked(name, read)

    def write(self, name: str, content: bytes) -> None:
        def write() -> None:
            stream = self._files.open_output_stream(f"{self._root}/{name}")
            stream.write(content)
            stream.close()  # not after an error: it would publish what has arrived

        self._asked(name, write)

    def names(self, prefix: str) -> list[str]:
        def names() -> list[str]:
            from pyarrow.fs import FileSelector, FileType

            folder = f"{self._root}/{prefix.rpartition('/')[0]}".rstrip("/")
            infos = self._files.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
            found = [info.path.removeprefix(f"{self._root}/") for info in infos if info.type == FileType.File]
            return sorted(name for name in found if name.startswith(prefix))

        return self._asked(prefix, names) or []

    def delete(self, name: str) -> None:
        self._asked(name, lambda: self._files.delete_file(f"{self._root}/{name}"))

    def check(self) -> None:
        name = f"probe-{uuid.uuid4().hex}"  # for only by writing one learns whether one may
        self.write(name, b"")
        self.read(name)
        self.names(name)
        self.delete(name)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        # small objects in one request, and none before its content is there
        mark = "&" if "?" in self.url else "?"
        files, root = FileSystem.from_uri(f"{self.url}{mark}allow_delayed_open=true")
        return files, root

    @property
    def _files(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    def _asked(self, name: str, action: Callable[[], T]) -> T | None:
        """What S3 answers; None where there is no such object."""
        try:
            return action()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise StorageError(f"{self.url.partition('?')[0]}/{name}", _reason(error)) from error


def fetched(storage: Storage, folder: str, into: Path) -> Path:
    """A local folder with what lies in `folder` of a storage: that one, or copies in `into`. Raises StorageError."""
    if isinstance(storage, FolderStorage):
        return storage.path / folder
    for name in storage.names(f"{folder}/"):
        make_folder((into / name).parent)
        (into / name).write_bytes(storage.read(name) or b"")
    return into / folder


def patiently(action: Callable[[], T]) -> T:
    """Do it; after a StorageError again, for about five seconds in all."""
    end = time.monotonic() + sum(PAUSES)
    for pause in PAUSES:
        try:
            return action()
        except StorageError:
            if time.monotonic() > end:  # a server that does not answer takes its time, and is asked again by pyarrow
                raise
        time.sleep(pause)
    return action()


def _reason(error: Exception) -> str:
    """Plain words for what the AWS SDK says, or its own without the number of the request."""
    said = first_line(error)
    code = re.search(r"AWS Error (\w+)", said)
    if "HTTP status 403" in said:
        return "access denied"
    return REASONS.get(code[1] if code else "", re.sub(r" \(Request ID: .*", "", said))


def _raise(error: OSError) -> None:
    raise error
