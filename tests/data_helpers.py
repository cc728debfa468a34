"""What the tests of data share: small data sets in the very formats of the large ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lca_sweep.core import data
from lca_sweep.core.cifar import Archive
from lca_sweep.core.data import DataError, Images
from lca_sweep.core.idx import Known, encode

Member = tuple[str | tarfile.TarInfo, bytes]


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def two_lines(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert message.count("\n") == 1
    return message


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def same(a: Images, b: Images) -> None:
    np.testing.assert_array_equal(a.x, b.x, strict=True)
    np.testing.assert_array_equal(a.y, b.y, strict=True)


# -- a small MNIST ------------------------------------------------------------------------------------------------


def known(array: NDArray[np.uint8], name: str = "file.gz") -> tuple[Known, bytes]:
    content = encode(array)
    return Known(name, array.shape, hashlib.sha256(content).hexdigest()), gzip.compress(content, mtime=0)


RNG = np.random.default_rng(0)
ARRAYS = (  # the first pixel of an image is its index
    np.concatenate([np.arange(30, dtype=np.uint8)[:, None, None].repeat(4, 2), np.ones((30, 3, 4), np.uint8)], 1),
    RNG.integers(0, 10, 30, np.uint8),
    RNG.integers(100, 200, (8, 4, 4), np.uint8),
    RNG.integers(0, 10, 8, np.uint8),
)
SMALL = tuple(known(array, file.name) for array, file in zip(ARRAYS, data.CANONICAL, strict=True))
FILES = tuple(file for file, _ in SMALL)
PACKED = {file.name: packed for file, packed in SMALL}


def check_small(parts: data.Parts) -> None:
    """The small MNIST, its last five training images split off."""
    train, validation, test = parts
    assert train.x[:, 0].tolist() == list(range(25))
    assert validation.x[:, 0].tolist() == list(range(25, 30))
    np.testing.assert_array_equal(np.concatenate([train.y, validation.y]), ARRAYS[1])
    same(test, Images(ARRAYS[2].reshape(8, 16), ARRAYS[3].astype(np.int64)))


# -- a small CIFAR-10 ---------------------------------------------------------------------------------------------

EACH = 4  # images in a member
PICTURES = RNG.integers(0, 256, (6 * EACH, 32, 32, 3), np.uint8)  # (images, row, column, colour), as they are seen
LABELS = RNG.permutation(np.arange(6 * EACH, dtype=np.uint8) % 10)
NAMES = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")]


def record(label: int, picture: NDArray[np.uint8]) -> bytes:
    """An image as the format's page describes it: the label, then the red, green and blue planes, row by row."""
    planes = [bytes(int(pixel[colour]) for row in picture for pixel in row) for colour in range(3)]
    return bytes([label]) + b"".join(planes)


RECORDS = [record(int(label), picture) for label, picture in zip(LABELS, PICTURES, strict=True)]
MEMBERS: list[Member] = [(name, b"".join(RECORDS[i * EACH : (i + 1) * EACH])) for i, name in enumerate(NAMES)]


def tarred(members: Iterable[Member]) -> bytes:
    """A gzipped tar; a member is a file's name, or a header of any kind, and the bytes behind it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for head, content in members:
            info = head if isinstance(head, tarfile.TarInfo) else tarfile.TarInfo(head)
            if not isinstance(head, tarfile.TarInfo):
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def known_archive(packed: bytes, images: int = EACH) -> Archive:
    """What is known beforehand of an archive made here."""
    return Archive("cifar-10-binary.tar.gz", len(packed), hashlib.sha256(packed).hexdigest(), images)


CIFAR = tarred(MEMBERS)
ARCHIVE = known_archive(CIFAR)
