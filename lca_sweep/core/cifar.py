"""CIFAR-10 in its binary version: a gzipped tar of six files of 10,000 images each; read, checked, downloaded.

An image is a record of 3,073 bytes: its class, then 32 x 32 pixels of red, as many of green, as many of blue, each
plane row by row. Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core import download
from lca_sweep.core.errors import DataError, first_line

__all__ = ["CIFAR10", "CLASSES", "MIRRORS", "SHAPE", "Archive", "Arrays", "fetch", "read"]

CLASSES = 10
SHAPE = (3, 32, 32)  # planes of red, green and blue; rows; columns
PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS
FOLDER = "cifar-10-batches-bin/"
TRAINING = tuple(f"{FOLDER}data_batch_{number}.bin" for number in range(1, 6))
MEMBERS = (*TRAINING, f"{FOLDER}test_batch.bin")
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
CHUNK = 2**20


@dataclass(frozen=True)
class Archive:
    """An archive that is known beforehand, as it is packed: who trusts its hash trusts all that is in it."""

    name: str
    size: int  # bytes
    sha256: str
    images: int  # in each of MEMBERS


# The page above gives the MD5, c32a1d4ab5d03f1284b67883e8d87530, and 162 MB. The SHA-256 is as in the sources of
# ankane/torchvision-ruby and gomlx/gomlx; further projects give it together with that MD5 and the size in bytes.
CIFAR10 = Archive(
    "cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 10_000
)


class Arrays(NamedTuple):
    """The images of an archive in its order, batches 1 to 5 before the test batch."""

    x: NDArray[np.uint8]  # (images, 3072) red, green, blue
    y: NDArray[np.uint8]  # (images,)
    training: int  # so many come first, the others are for testing


def fetch(archive: Archive, folder: Path, mirrors: Sequence[str]) -> Arrays:
    """The images of `archive`, which is in `folder` or else is downloaded into it; see `download.fetch`."""
    return download.fetch(archive.name, lambda path, where: read(archive, path, where), folder, mirrors)


def read(archive: Archive, path: Path, where: str) -> Arrays:
    """The images in the file `path`, nothing of it unpacked to disk; DataError, naming it `where`, for any other file.

    OSError if it cannot be read. The memory is that of the images and of one of the six files.
    """
    with open(path, "rb") as packed:
        _check(archive, packed, where)
        packed.seek(0)
        try:
            arrays = _unpack(archive, packed, where)
        except DataError:
            raise
        except (tarfile.TarError, EOFError, ValueError, TypeError, zlib.error) as error:
            # ValueError: of broken extended headers; TypeError: of tarfile, where gzip's own header breaks off
            raise DataError(f"{where}: a broken archive ({first_line(error)})") from error
    if arrays.y.max() >= CLASSES:
        raise DataError(f"{where}: has an image of class {arrays.y.max()}, must be <= {CLASSES - 1}")
    return arrays


def _check(archive: Archive, packed: BufferedReader, where: str) -> None:
    """DataError unless the file is the known one; its size first, which tells best what was broken off."""
    size = packed.seek(0, 2)
    if size != archive.size:
        raise DataError(f"{where}: has {size} bytes, must have {archive.size}")
    packed.seek(0)
    found = hashlib.file_digest(packed, "sha256").hexdigest()
    if found != archive.sha256:
        raise DataError(f"{where}: has SHA-256 {found[:16]}..., must have {archive.sha256[:16]}...")


def _unpack(archive: Archive, packed: BufferedReader, where: str) -> Arrays:
    """One pass over the archive, which looks at the members of the right names and passes over any other."""
    images = archive.images
    x = np.empty((len(MEMBERS) * images, PIXELS), np.uint8)
    y = np.empty(len(x), np.uint8)
    missing = set(MEMBERS)
    with tarfile.open(fileobj=packed, mode="r|gz", bufsize=CHUNK) as tar:
        for member in tar:
            name = member.name.removeprefix("./")  # so tar begins the names of what it packs of the folder it is in
            if name in missing:
                missing.remove(name)
                first = MEMBERS.index(name) * images
                records = _records(tar, member, images, where)
                x[first : first + images] = records[:, 1:]
                y[first : first + images] = records[:, 0]
    if missing:
        raise DataError(f"{where}: has no {min(missing)}")
    return Arrays(x, y, len(TRAINING) * images)


def _records(tar: tarfile.TarFile, member: tarfile.TarInfo, images: int, where: str) -> NDArray[np.uint8]:
    """The records in a member of the archive; (images, 3073)."""
    file = tar.extractfile(member) if member.isreg() else None  # of a link it would read what the link names
    if file is None or member.size != images * RECORD:
        size = "no file" if file is None else f"{member.size} bytes"
        raise DataError(f"{where}: its {member.name} is of {size}, must be of {images * RECORD} bytes")
    with file:
        content = file.read()
    if len(content) != member.size:
        raise tarfile.ReadError(f"{member.name} breaks off")
    return np.frombuffer(content, np.uint8).reshape(images, RECORD)
