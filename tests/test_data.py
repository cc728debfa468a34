"""The data sets: what is in them, that their parts are disjoint, and that damage is told in one line."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import ARCHIVE, CIFAR, FILES, LABELS, PACKED, PICTURES, below, check_small, one_line, same

from lca_sweep import config
from lca_sweep.core import cifar, data
from lca_sweep.core.data import DataError, Images, load
from lca_sweep.core.idx import Known
from lca_sweep.core.knobs import KnobError, walk

NAMES = "mnist, mnist_full, fashion_mnist, cifar10, digits"
MNIST = Path(data.__file__).parent / "mnist"
FULL = os.environ.get("LCA_SWEEP_MNIST")  # a folder with the four canonical files, where there is one
COLOUR = os.environ.get("LCA_SWEEP_CIFAR10")  # a folder with the archive, where there is one
DIRS = {"mnist_full": FULL, "cifar10": COLOUR}
needs_full = pytest.mark.skipif(not FULL, reason="LCA_SWEEP_MNIST names no folder with the whole of MNIST")
needs_fashion = pytest.mark.skipif(not data.DEBIAN.is_dir(), reason="no Debian package dataset-fashion-mnist here")
needs_colour = pytest.mark.skipif(not COLOUR, reason="LCA_SWEEP_CIFAR10 names no folder with CIFAR-10's archive")
UNIQUE = [
    "mnist",
    "digits",
    pytest.param("mnist_full", marks=needs_full),
    pytest.param("fashion_mnist", marks=needs_fashion),
]
SETS = [*UNIQUE, pytest.param("cifar10", marks=needs_colour)]


OFFICIAL = {  # MD5, as https://github.com/zalandoresearch/fashion-mnist has them
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


# -- what the data sets hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNIQUE)
def test_no_image_is_in_two_parts(name: str) -> None:
    splits = load(name, dir=DIRS.get(name))
    parts = (splits.train, splits.validation, splits.test)
    rows = [{row.tobytes() for row in part.x} for part in parts]
    # none of these sets holds an image twice, so that equal images would be the same image
    assert [len(found) for found in rows] == [len(part.x) for part in parts]
    assert len(set.union(*rows)) == sum(map(len, rows))


@pytest.mark.parametrize("name", SETS)
def test_shapes_types_and_scale(name: str) -> None:
    splits = load(name, dir=DIRS.get(name))
    assert math.prod(splits.shape) == splits.inputs
    assert splits.name == name and splits.inputs == splits.train.x.shape[1]
    for part in (splits.train, splits.validation, splits.test):
        assert part.x.dtype == np.uint8 and part.y.dtype == np.int64
        assert part.x.shape == (len(part.y), splits.inputs)
        assert part.x.flags.writeable and part.x.flags.c_contiguous
        assert part.x.min() == 0 and part.x.max() == splits.scale
        assert set(part.y.tolist()) == set(range(splits.classes))


def test_mnist_is_the_first_ten_thousand_the_last_five_thousand_and_all_test_images() -> None:
    splits = load("mnist")
    assert [len(part.y) for part in (splits.train, splits.validation, splits.test)] == [10_000, 5_000, 10_000]
    assert splits.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert splits.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert splits.inputs == 784 and splits.shape == (28, 28) and splits.scale == 255
    assert splits.digest == "0f0751aec54f68aafbd2bf82e2cab6de246db65ecd0f0029a1729447dcc48f93"


def test_digits_are_always_split_alike() -> None:
    splits = load("digits")
    assert [len(part.y) for part in (splits.train, splits.validation, splits.test)] == [1_000, 397, 400]
    assert splits.inputs == 64 and splits.shape == (8, 8) and splits.scale == 16
    assert splits.digest == "c402b488e3f7a4b26ca690f8928041317ee7aa5e5b485468cf0903b5d43a6bd5"


@needs_full
def test_mnist_is_cut_from_mnist_full() -> None:
    full, cut = load("mnist_full", dir=FULL), load("mnist")
    same(full.validation, cut.validation)
    same(full.test, cut.test)
    same(full.train.first(10_000), cut.train)


@needs_fashion
def test_fashion_mnist_is_debians_split_like_mnist_full() -> None:
    splits = load("fashion_mnist")
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part.y) for part in parts] == [55_000, 5_000, 10_000]
    assert splits.train.y[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert splits.test.y[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert np.bincount(np.concatenate([splits.train.y, splits.validation.y])).tolist() == [6_000] * 10
    assert splits.inputs == 784 and splits.shape == (28, 28) and splits.scale == 255
    assert splits.digest == "5c13a0fb4de206afc2b451cfc3b72d4e4f63c5c9e0982b24e6b8cbe8401c2181"


@needs_fashion
def test_the_files_of_debian_are_the_official_ones_less_a_name_and_a_time() -> None:
    times = {"train": 1504176606, "t10k": 1504176627}  # within half a minute of each other, in August 2017
    for file in data.FASHION:
        name = file.name.removesuffix(".gz")
        packed = (data.DEBIAN / file.name).read_bytes()
        head = struct.pack("<4BI2B", 31, 139, 8, 8, times[name.partition("-")[0]], 0, 3) + name.encode() + b"\0"
        assert hashlib.md5(head + packed[10:]).hexdigest() == OFFICIAL[file.name]


@needs_colour
def test_cifar10_is_all_but_the_last_five_thousand_for_training() -> None:
    splits = load("cifar10", dir=COLOUR)
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part.y) for part in parts] == [45_000, 5_000, 10_000]
    # as https://www.cs.toronto.edu/~kriz/cifar.html says
    assert np.bincount(np.concatenate([splits.train.y, splits.validation.y])).tolist() == [5_000] * 10
    assert np.bincount(splits.test.y).tolist() == [1_000] * 10
    assert splits.inputs == 3072 and splits.shape == (3, 32, 32) and splits.scale == 255


def test_the_first_images() -> None:
    whole = load("digits").train
    same(whole.first(100), Images(whole.x[:100], whole.y[:100]))
    same(whole.first(None), whole)


def test_the_digest_feels_every_array(monkeypatch: pytest.MonkeyPatch) -> None:
    source = data.SOURCES["digits"]
    digests = {load("digits").digest}
    for part in range(3):
        for array in ("x", "y"):
            changed = source.parts(None)
            getattr(changed[part], array)[-1] += 1
            parts = data.Source(10, 16.0, (8, 8), lambda dir, changed=changed: changed)
            monkeypatch.setitem(data.SOURCES, "digits", parts)
            digests.add(load("digits").digest)
    assert len(digests) == 7


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mnsit", f"data.name=mnsit: must be one of {NAMES}; did you mean 'mnist'?"),
        ("cifar", f"data.name=cifar: must be one of {NAMES}; did you mean 'cifar10'?"),
        ("imagenet", f"data.name=imagenet: must be one of {NAMES}"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(name: str, line: str) -> None:
    with pytest.raises(DataError) as error:
        load(name)
    assert str(error.value) == line


def test_the_knob_offers_the_data_sets_there_are() -> None:
    choices = {name: range.choices for name, _, range in walk(config.Data())}
    assert choices["name"] == tuple(data.SOURCES)


@pytest.mark.parametrize("name", data.SOURCES)
def test_a_folder_is_refused_by_the_sets_that_need_no_files(name: str) -> None:
    chosen = config.Config(config.Data(name, dir="/data"))
    if name in ("mnist_full", "fashion_mnist", "cifar10"):
        return config.validate(chosen)
    with pytest.raises(KnobError) as error:
        config.validate(chosen)
    others = "mnist_full, fashion_mnist, cifar10"
    assert str(error.value) == (f"data.dir=/data: {name} needs no files; must be null (or data.name one of {others})")


def test_importing_the_data_sets_loads_neither_their_sources_nor_the_network() -> None:
    code = "import sys, lca_sweep.core.data; print({'pooch', 'sklearn', 'requests', 'tqdm'} & set(sys.modules))"
    root = Path(data.__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


# -- mnist, digits: the files in the package ----------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "files"), [("mnist", data.EMBEDDED), ("digits", data.DIGITS)])
def test_the_readme_beside_the_files_lists_them_truly(folder: str, files: Sequence[Known]) -> None:
    there = MNIST.with_name(folder)
    readme = (there / "README.md").read_text()
    for file in files:
        packed = (there / file.name).read_bytes()
        found = hashlib.sha256(packed).hexdigest()
        assert f"| `{file.name}` | {len(packed)} | `{found}` | `{file.sha256}` |" in readme


def test_the_digits_are_those_of_scikit_learn() -> None:
    sklearn: Any = import_module("sklearn.datasets")  # its types are wrong here
    x, y = sklearn.load_digits(return_X_y=True)
    pixels, labels = data.embedded(MNIST.with_name("digits"), data.DIGITS)
    assert np.array_equal(pixels.reshape(-1, 64), x) and np.array_equal(labels, y)


def test_what_mnist_and_the_whole_of_it_share_is_the_same() -> None:
    assert all(file.sha256 in [known.sha256 for known in data.CANONICAL] for file in data.EMBEDDED[4:])


def recompressed(path: Path) -> None:
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(content))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.unlink(), "cannot be read (No such file or directory)"),
        (lambda path: path.write_bytes(b""), "not an IDX file of bytes (starts with nothing;"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "3000 bytes of broken gzip ("),
        (lambda path: shutil.copy(path.with_name("validation-labels.idx.gz"), path), "holds an array of 5000, must be"),
        (lambda path: shutil.copy(path.with_name("test-labels.idx.gz"), path), "its content has SHA-256 ff7bcfd4"),
        (recompressed, "its content has SHA-256 "),
    ],
)
def test_a_damaged_package_says_so(damage: Callable[[Path], object], found: str, tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    shutil.copytree(MNIST, folder)
    data.embedded(folder, data.EMBEDDED)
    damage(folder / "train-labels.idx.gz")
    with pytest.raises(DataError) as error:
        data.embedded(folder, data.EMBEDDED)
    line = one_line(error)
    assert line.startswith(f"{folder / 'train-labels.idx.gz'}: {found}") and line.endswith("install lca_sweep again")


# -- mnist_full, fashion_mnist, cifar10: which folder, and how they are split -------------------------------------


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache, empty."""
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    return tmp_path / "lca_sweep"


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where Debian would put Fashion-MNIST, empty."""
    folder = tmp_path / "usr"
    folder.mkdir()
    monkeypatch.setattr(data, "DEBIAN", folder)
    return folder


def put(folder: Path) -> None:
    """The small MNIST into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, packed in PACKED.items():
        (folder / name).write_bytes(packed)


def test_fashion_mnist_is_where_data_dir_says_then_where_debian_has_it_then_in_the_cache(
    cache: Path, debian: Path, tmp_path: Path
) -> None:
    assert data.fashion_folder(None) == data.fashion_folder("") == cache / "fashion_mnist"
    put(debian)
    assert data.fashion_folder(None) == debian
    assert data.fashion_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    (debian / data.FASHION[3].name).unlink()  # not whole: as if it were not there
    assert data.fashion_folder(None) == cache / "fashion_mnist"


def test_fashion_mnist_is_read_from_debians_folder(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(debian)
    monkeypatch.setattr(data, "FASHION", FILES)
    monkeypatch.setattr(data, "VALIDATION", 5)
    check_small(data.SOURCES["fashion_mnist"].parts(None))


def test_the_other_mnist_in_the_folder_is_told_apart(tmp_path: Path, debian: Path) -> None:
    put(debian)
    with pytest.raises(DataError, match=rf"^{debian}/train-images.*: holds an array of 30 x 4 x 4, must be 60000 x 28"):
        load("fashion_mnist")
    assert below(debian) == sorted(PACKED)


@pytest.mark.parametrize("given", ["dir", "cache"])
def test_cifar10_is_split_at_its_end(given: str, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "mine" if given == "dir" else cache
    folder.mkdir()
    (folder / ARCHIVE.name).write_bytes(CIFAR)
    monkeypatch.setattr(cifar, "CIFAR10", ARCHIVE)
    monkeypatch.setattr(data, "VALIDATION", 3)
    splits = load("cifar10", dir=str(folder) if given == "dir" else None)
    x = PICTURES.transpose(0, 3, 1, 2).reshape(-1, 3072)
    y = LABELS.astype(np.int64)
    same(splits.train, Images(x[:17], y[:17]))
    same(splits.validation, Images(x[17:20], y[17:20]))
    same(splits.test, Images(x[20:], y[20:]))
    assert (splits.classes, splits.inputs, splits.shape, splits.scale) == (10, 3072, (3, 32, 32), 255.0)
    assert all(part.x.flags.c_contiguous and part.x.flags.writeable for part in (splits.train, splits.validation))
