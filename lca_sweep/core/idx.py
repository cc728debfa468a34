"""Files in the IDX format of MNIST: arrays of bytes behind a small header, gzipped; read, checked, downloaded.

Header: two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit integer. The items follow, last dimension fastest.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core import download
from lca_sweep.core.errors import DataError

UBYTE = b"\x00\x00\x08"
MAX_DIMENSIONS = 3


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
        raise DataError(f"{where}: {len(packed)} bytes of broken gzip ({error})") from error


def read(file: Known, packed: bytes, where: str) -> NDArray[np.uint8]:
    """The array of `file` out of its gzipped bytes; DataError, naming the file `where`, if it is anything else."""
    content = unpack(packed, where)
    array = decode(content, where)
    if array.shape != file.shape:
        raise DataError(f"{where}: holds an array of {by(array.shape)}, must be {by(file.shape)}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{where}: its content has SHA-256 {found[:16]}..., must be {file.sha256[:16]}...")
    return array


def by(shape: tuple[int, ...]) -> str:
    """A shape in words, e.g. `60000 x 28 x 28`."""
    return " x ".join(map(str, shape))


def fetch(file: Known, folder: Path, mirrors: Sequence[str]) -> NDArray[np.uint8]:
    """The array of `file`, which is in `folder` or else is downloaded into it; see `download.fetch`."""
    return download.fetch(file.name, lambda path, where: read(file, path.read_bytes(), where), folder, mirrors)
