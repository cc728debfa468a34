"""Files in the IDX format of MNIST: arrays of bytes behind a small header, gzipped; read, checked, downloaded.

Header: two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit integer. The items follow, last dimension fastest.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core.errors import UserError

UBYTE = b"\x00\x00\x08"
MAX_DIMENSIONS = 3


class DataError(UserError):
    """A data set cannot be had as asked; the message is one line for the user."""


@dataclass(frozen=True)
class Known:
    """A gzipped IDX file whose content is known beforehand.

    The hash is of the unpacked content: the same content can be packed into many different gzip files.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str


def encode(array: NDArray[np.uint8]) -> bytes:
    """IDX content of a uint8 array with 1 to 3 dimensions, none of them 0; DataError for any other array."""
    if array.dtype != np.uint8 or not 1 <= array.ndim <= MAX_DIMENSIONS or array.size == 0:
        raise DataError(f"a {array.dtype} array of shape {array.shape}: IDX takes non-empty uint8 of 1 to 3 dimensions")
    header = UBYTE + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape)
    return header + array.tobytes()


def decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """The array, writable, in IDX `content`; DataError, naming the file `where`, if it is not whole uint8 IDX.

    An empty dimension is refused too: with it a damaged header could not be told from a sound one.
    """
    if len(content) < 4 or content[:3] != UBYTE or not 1 <= content[3] <= MAX_DIMENSIONS:
        magic = content[:4].hex(" ") or "nothing"
        raise DataError(f"{where}: not an IDX file of bytes (starts with {magic}; must be 00 00 08 and 01, 02 or 03)")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{where}: its content breaks off in the header, after {len(content)} bytes")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    items = len(content) - start
    if items != math.prod(shape) or items == 0:
        raise DataError(f"{where}: has {items} bytes of data, its header says {by(shape)} = {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # torch wants it writable


def unpack(packed: bytes, where: str) -> bytes:
    """What was gzipped into `packed`; DataError, naming the file `where`, if that is broken."""
    try:
        return gzip.decompress(packed)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: {len(packed)} bytes of broken gzip ({error})") from None


def read(file: Known, packed: bytes, where: str) -> NDArray[np.uint8]:
    """The array of `file` out of its gzipped bytes; DataError, naming the file `where`, if it is anything else."""
    content = unpack(packed, where)
    array = decode(content, where)
    if array.shape != file.shape:
        raise DataError(f"{where}: holds an array of {by(array.shape)}, must be {by(file.shape)}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{where}: its content has SHA-256 {found}, must be {file.sha256}")
    return array


def by(shape: tuple[int, ...]) -> str:
    """A shape in words, e.g. `60000 x 28 x 28`."""
    return " x ".join(map(str, shape))


def fetch(file: Known, folder: Path, mirrors: Sequence[str]) -> NDArray[np.uint8]:
    """The array of `file`, which is in `folder` or else is downloaded into it from the first mirror that has it whole.

    A file that is there but not the right one is left alone: DataError says what was found and where to get it.
    """
    path = folder / file.name
    try:
        return read(file, path.read_bytes(), str(path))
    except FileNotFoundError:
        return _download(file, folder, mirrors)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except DataError as error:
        raise DataError(f"{error}; delete it to download it again, or get it from {mirrors[0]}{file.name}") from None


def _download(file: Known, folder: Path, mirrors: Sequence[str]) -> NDArray[np.uint8]:
    failures: list[str] = []
    try:
        with _scratch(folder) as scratch:
            part = scratch / file.name
            for mirror in mirrors:
                try:
                    _transfer(mirror + file.name, part)
                    array = read(file, part.read_bytes(), "the file there")
                except (OSError, DataError) as error:  # those of requests are OSErrors
                    failures.append(f"{mirror}: {_reason(error)}")
                    continue
                os.replace(part, folder / file.name)
                return array
    except OSError as error:
        failures = [f"its folder cannot be written: {error.strerror}"]
    raise DataError(
        f"{folder / file.name}: missing, and not to be had by download ({'; '.join(failures)}); "
        f"get it from {mirrors[0]}{file.name} and set data.dir to the folder it is in"
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
        "ConnectTimeout": "no answer",
        "ReadTimeout": "no answer",
        "ChunkedEncodingError": "broken off",
    }
    told = str(error) if isinstance(error, DataError) else getattr(error, "strerror", None)
    return told or words.get(type(error).__name__, type(error).__name__)
