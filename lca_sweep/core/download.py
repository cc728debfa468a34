"""Files of a data set: found in a folder, or downloaded into it; whole and right, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from lca_sweep.core.errors import DataError

Content = TypeVar("Content")
Read = Callable[[Path, str], Content]  # the content of a file; DataError, naming it as the text says, if it is wrong


def fetch(name: str, read: Read[Content], folder: Path, mirrors: Sequence[str]) -> Content:
    """What `read` finds in the file `name`, which is in `folder` or is downloaded from the first mirror that has it.

    A file that is there but not the right one is left alone: DataError says what was found and, in a second line,
    where to get it. Of a download that fails nothing is left.
    """
    path = folder / name
    try:
        return read(path, str(path))
    except FileNotFoundError:
        return _download(name, read, folder, mirrors)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except DataError as error:
        raise DataError(f"{error}\ndelete it to download it again, or get it from {mirrors[0]}{name}") from error


def unreachable(name: str, mirrors: Sequence[str]) -> str:
    """Why the file `name` can be had from none of the mirrors, which are asked for it; empty where one has it."""
    pooch: Any = import_module("pooch")  # it has no types
    ask, reasons = pooch.HTTPDownloader(timeout=(3, 3)), list[str]()
    for mirror in mirrors:
        try:
            if ask(mirror + name, None, None, check_only=True):
                return ""
            reasons.append(f"{mirror}: not there")
        except OSError as error:
            reasons.append(f"{mirror}: {_reason(error)}")
    return "; ".join(reasons)


def _download(name: str, read: Read[Content], folder: Path, mirrors: Sequence[str]) -> Content:
    failures: list[str] = []
    try:
        with _scratch(folder) as scratch:
            part = scratch / name
            for mirror in mirrors:
                try:
                    _transfer(mirror + name, part)
                    content = read(part, "the file there")
                except (OSError, DataError) as error:  # those of requests are OSErrors
                    failures.append(f"{mirror}: {_reason(error)}")
                    continue
                os.replace(part, folder / name)
                return content
    except OSError as error:
        failures = [f"its folder cannot be written: {error.strerror}"]
    raise DataError(
        f"{folder / name}: missing, and not to be had by download ({'; '.join(failures)})\n"
        f"get it from {mirrors[0]}{name} and set data.dir to the folder it is in"
    )


@contextmanager
def _scratch(folder: Path) -> Generator[Path, None, None]:
    """A passing folder within `folder`, so that a finished file is moved, not copied, into place.

    `folder` is made where it is missing, and is gone again if nothing came to stay in it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            yield Path(scratch)
    finally:
        for path in made:
            with suppress(OSError):  # not empty: something stays
                path.rmdir()


def _transfer(url: str, path: Path) -> None:
    """Download to `path`, with a progress bar on a terminal; requests' exceptions if it fails."""
    pooch: Any = import_module("pooch")  # neither has types
    tqdm: Any = import_module("tqdm").tqdm
    # disable=None: no bar unless on a terminal; total=1: pooch puts the true one, but ignores a bar of total 0
    with tqdm(desc=path.name, total=1, unit="B", unit_scale=True, disable=None) as bar:
        get = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=(10, 30))
        get(url, str(path), None)


def _reason(error: Exception) -> str:
    """Few words for a failed download: requests' own messages are long and of several lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    words = {
        "ConnectionError": "no connection",
        "ProxyError": "no connection",
        "ConnectTimeout": "no answer",
        "ReadTimeout": "no answer",
        "ChunkedEncodingError": "broken off",
    }
    told = str(error) if isinstance(error, DataError) else getattr(error, "strerror", None)
    return told or words.get(type(error).__name__, type(error).__name__)
