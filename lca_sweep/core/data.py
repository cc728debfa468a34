"""The data sets: images to train on, to validate on and to test on, no image in two of the three."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core import cifar
from lca_sweep.core.download import unreachable as unreachable_file
from lca_sweep.core.errors import DataError
from lca_sweep.core.idx import Known, fetch, read
from lca_sweep.core.knobs import nearest

__all__ = ["SOURCES", "DataError", "Images", "Source", "Splits", "load", "missing", "unreachable"]


@dataclass(frozen=True)
class Images:
    """Images as rows, with their classes."""

    x: NDArray[np.uint8]  # (images, inputs)
    y: NDArray[np.int64]  # (images,)

    def first(self, size: int | None) -> Images:
        """Only the first so many; None: all. Views."""
        return Images(self.x[:size], self.y[:size])


Parts = tuple[Images, Images, Images]  # train, validation, test


@dataclass(frozen=True)
class Splits:
    """A data set as it is used; `x / scale` lies in [0, 1]."""

    name: str
    classes: int
    scale: float
    train: Images
    validation: Images
    test: Images
    digest: str  # SHA-256, hex, over the arrays above
    shape: tuple[int, ...] = ()  # of a row of x as a picture: (height, width) or (planes, height, width)

    @property
    def inputs(self) -> int:
        """Number of inputs (pixels) of an image."""
        return int(self.train.x.shape[1])


def load(name: str, *, dir: str | None = None) -> Splits:
    """The data set `name`.

    `dir` is where a data set that does not come with the package has its files (None: the user's cache); missing ones
    are downloaded into it. DataError, in a line or two, for an unknown name, or files that are missing or not the right
    ones.
    """
    if name not in SOURCES:
        raise DataError(f"data.name={name}: must be one of {', '.join(SOURCES)}{nearest(name, SOURCES)}")
    source = SOURCES[name]
    train, validation, test = source.parts(dir)
    digest = _digest((train, validation, test))
    return Splits(name, source.classes, source.scale, train, validation, test, digest, source.shape)


def missing(name: str, dir: str | None = None) -> list[Path]:
    """The files of a data set that are not there, and would be downloaded; nothing is read."""
    download = SOURCES[name].download
    return download.missing(dir) if download else []


def unreachable(name: str, dir: str | None = None) -> str:
    """Why the first missing file of a data set cannot be downloaded, in a line; empty if it can, or none is missing.

    Asks its mirrors, and takes nothing.
    """
    download = SOURCES[name].download
    absent = download.missing(dir) if download else []
    return unreachable_file(absent[0].name, download.mirrors) if download and absent else ""


def _digest(parts: Parts) -> str:
    """SHA-256 over shapes and numbers, the same on every machine (labels as little-endian 64-bit integers)."""
    total = hashlib.sha256()
    for part in parts:
        total.update(repr(part.x.shape).encode())
        total.update(np.ascontiguousarray(part.x).data)
        total.update(np.ascontiguousarray(part.y, dtype="<i8").data)
    return total.hexdigest()


# -- mnist: within the package ------------------------------------------------------------------------------------

EMBEDDED = (  # images and labels of train, validation, test; mnist/README.md says how they were cut
    Known(
        "train-images.idx.gz",
        (10_000, 28, 28),
        "2889698e6bc3614913e76901316712919d1998fc2b44512451bfe65bc1e668b1",
    ),
    Known("train-labels.idx.gz", (10_000,), "651e38e2ac0632f5113ec18f1df4977117f953197819034009971a6675a0df78"),
    Known(
        "validation-images.idx.gz",
        (5_000, 28, 28),
        "3ab2d32f9b03724074549053fe6989f384d6d07a0332eb6e387445e7b974460f",
    ),
    Known("validation-labels.idx.gz", (5_000,), "b9eb74c902323c6b5906440f1679b83076f6c1ccf714a6246b1db71c90ae75cc"),
    Known(
        "test-images.idx.gz",
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    Known("test-labels.idx.gz", (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


def _mnist(dir: str | None) -> Parts:
    """10,000 + 5,000 + 10,000 images."""
    arrays = embedded(resources.files("lca_sweep.core").joinpath("mnist"), EMBEDDED)
    return _images(*arrays[0:2]), _images(*arrays[2:4]), _images(*arrays[4:6])


def embedded(folder: Traversable, files: Sequence[Known]) -> list[NDArray[np.uint8]]:
    """The arrays that the package keeps in `folder`; DataError if a file is missing or damaged."""
    return [_embedded_array(file, folder.joinpath(file.name)) for file in files]


def _embedded_array(file: Known, path: Traversable) -> NDArray[np.uint8]:
    try:
        return read(file, path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); install lca_sweep again") from error
    except DataError as error:
        raise DataError(f"{error}; install lca_sweep again") from error


def _images(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Images:
    return Images(pixels.reshape(len(pixels), -1), labels.astype(np.int64))


# -- mnist_full: the four canonical files, found or downloaded ----------------------------------------------------

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
VALIDATION = 5_000  # the last training images, so that the paper's 10,000, the first, can all be trained on
CANONICAL = (  # training images and labels, test images and labels
    Known(
        "train-images-idx3-ubyte.gz",
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    Known("train-labels-idx1-ubyte.gz", (60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    Known(
        "t10k-images-idx3-ubyte.gz",
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    Known("t10k-labels-idx1-ubyte.gz", (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


def _mnist_full(dir: str | None) -> Parts:
    return canonical(_folder(dir), CANONICAL, VALIDATION, MIRRORS)


def _folder(dir: str | None) -> Path:
    if dir:
        folder = Path(dir).expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise DataError(f"data.dir={dir}: is no folder; must be the one with the data set's files")
        return folder
    pooch: Any = import_module("pooch")  # it has no types
    return Path(pooch.os_cache("lca_sweep"))


def canonical(folder: Path, files: Sequence[Known], validation: int, mirrors: Sequence[str]) -> Parts:
    """Training, validation and test images out of four files like MNIST's in `folder`; see `fetch` and `split`."""
    x, y, test_x, test_y = (fetch(file, folder, mirrors) for file in files)
    return split(_images(x, y), _images(test_x, test_y), validation)


def split(train: Images, test: Images, validation: int) -> Parts:
    """The last `validation` training images are split off, and never trained on; no pixel is copied."""
    cut = len(train.y) - validation
    return Images(train.x[:cut], train.y[:cut]), Images(train.x[cut:], train.y[cut:]), test


# -- fashion_mnist: clothes in files like MNIST's, found, installed by Debian, or downloaded ----------------------

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # the official one knows no https
)
# Debian's files are the official ones without name and time in gzip's header: with these put back they have the MD5s
# that https://github.com/zalandoresearch/fashion-mnist publishes. The hashes are of what is packed in them.
FASHION = tuple(
    Known(file.name, file.shape, sha256)
    for file, sha256 in zip(
        CANONICAL,
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        strict=True,
    )
)


def _fashion_mnist(dir: str | None) -> Parts:
    return canonical(fashion_folder(dir), FASHION, VALIDATION, FASHION_MIRRORS)


def fashion_folder(dir: str | None) -> Path:
    """Where Fashion-MNIST is: in `dir`; else where Debian installs it, if it did; else in the user's cache."""
    if not dir and all((DEBIAN / file.name).is_file() for file in FASHION):
        return DEBIAN
    return _folder(dir) if dir else _folder(None) / "fashion_mnist"  # its files are named like MNIST's


# -- cifar10: one archive, found or downloaded --------------------------------------------------------------------


def _cifar10(dir: str | None) -> Parts:
    """45,000 + 5,000 + 10,000 coloured images.

    The paper trains on all 50,000 training images. Here the last 5,000 validate, as what chooses among trials must not
    be trained on.
    """
    return archived(_folder(dir), cifar.CIFAR10, VALIDATION, cifar.MIRRORS)


def archived(folder: Path, archive: cifar.Archive, validation: int, mirrors: Sequence[str]) -> Parts:
    """Training, validation and test images out of an archive of CIFAR-10 in `folder`; see `cifar.fetch` and `split`."""
    x, y, training = cifar.fetch(archive, folder, mirrors)
    return split(_images(x[:training], y[:training]), _images(x[training:], y[training:]), validation)


# -- digits: small images, within the package ---------------------------------------------------------------------

DIGITS = (  # digits/README.md says whence they are
    Known("images.idx.gz", (1_797, 8, 8), "359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96"),
    Known("labels.idx.gz", (1_797,), "ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad"),
)


def _digits(dir: str | None) -> Parts:
    """1,000 + 397 + 400 images, shuffled, as they come in the order they were written in."""
    whole = _images(*embedded(resources.files("lca_sweep.core").joinpath("digits"), DIGITS))
    order = np.random.RandomState(0).permutation(len(whole.y))  # RandomState: its numbers never change with numpy's
    train, validation, test = (Images(whole.x[rows], whole.y[rows]) for rows in np.split(order, (1_000, 1_397)))
    return train, validation, test


# -- which there are ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Download:
    """Files that are not in the package: where they are looked for, given data.dir, and whence they come if missing."""

    folder: Callable[[str | None], Path]
    files: Sequence[str]
    mirrors: Sequence[str]

    def missing(self, dir: str | None) -> list[Path]:
        """The files that are not there."""
        folder = self.folder(dir)
        return [folder / file for file in self.files if not (folder / file).exists()]


@dataclass(frozen=True)
class Source:
    """How a data set is had: `parts` takes data.dir. The shape is that of an image; see Splits."""

    classes: int
    scale: float
    shape: tuple[int, ...]
    parts: Callable[[str | None], Parts]
    download: Download | None = None  # None: its images come with lca_sweep


FILES = tuple(file.name for file in CANONICAL)
SOURCES = {  # a new data set is one more line here, and its name among the choices of data.name
    "mnist": Source(10, 255.0, (28, 28), _mnist),
    "mnist_full": Source(10, 255.0, (28, 28), _mnist_full, Download(_folder, FILES, MIRRORS)),
    "fashion_mnist": Source(10, 255.0, (28, 28), _fashion_mnist, Download(fashion_folder, FILES, FASHION_MIRRORS)),
    "cifar10": Source(
        cifar.CLASSES, 255.0, cifar.SHAPE, _cifar10, Download(_folder, (cifar.CIFAR10.name,), cifar.MIRRORS)
    ),
    "digits": Source(10, 16.0, (8, 8), _digits),
}
