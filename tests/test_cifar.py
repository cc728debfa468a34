"""CIFAR-10's archive: every byte comes to its place, and no other archive is taken for it."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from data_helpers import (
    ARCHIVE,
    CIFAR,
    EACH,
    LABELS,
    MEMBERS,
    NAMES,
    PICTURES,
    RECORDS,
    Member,
    below,
    known_archive,
    one_line,
    tarred,
)
from hypothesis import example, given
from hypothesis import strategies as st

from lca_sweep.core.cifar import CIFAR10, SHAPE, Arrays, read
from lca_sweep.core.data import DataError

SIZE = EACH * 3073  # bytes of a member
GOOD = dict(MEMBERS)
TAR = gzip.decompress(CIFAR)


def unpack(packed: bytes, folder: Path, images: int = EACH) -> Arrays:
    """What is read of an archive whose hash is right."""
    path = folder / "archive"
    path.write_bytes(packed)
    return read(known_archive(packed, images), path, "here")


def head(name: str, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


def check(arrays: Arrays) -> None:
    """All of the small archive: as pictures they are what was painted, in the archive's order."""
    seen = arrays.x.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(seen, PICTURES, strict=True)
    np.testing.assert_array_equal(arrays.y, LABELS, strict=True)
    assert arrays.training == 5 * EACH
    assert arrays.x.flags.c_contiguous and arrays.x.flags.writeable  # torch warns of what it cannot write to


def test_pixels_and_labels_come_to_their_places(tmp_path: Path) -> None:
    check(unpack(CIFAR, tmp_path))


def test_red_comes_before_green_and_blue_and_rows_before_columns(tmp_path: Path) -> None:
    red, green, blue = ([plane] * 1024 for plane in (1, 2, 3))
    red[:32] = range(200, 232)  # the uppermost row
    content = bytes([7, *red, *green, *blue]) * EACH
    x, y, _ = unpack(tarred((name, content) for name in NAMES), tmp_path)
    assert set(y.tolist()) == {7}
    image = x[-1].reshape(SHAPE)
    assert image[0, 0].tolist() == list(range(200, 232))
    assert [set(plane[1:].ravel().tolist()) for plane in image] == [{1}, {2}, {3}]


@given(st.permutations(MEMBERS))
def test_the_order_in_the_archive_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[Member]
) -> None:
    check(unpack(tarred(order), tmp_path_factory.mktemp("order")))


def test_names_may_begin_as_tar_writes_them_of_the_folder_it_is_in(tmp_path: Path) -> None:
    check(unpack(tarred((f"./{name}", content) for name, content in MEMBERS), tmp_path))


HOSTILE: list[Member] = [
    ("../../outside", b"x"),
    ("/tmp/lca_sweep_outside", b"x"),
    ("cifar-10-batches-bin/../../outside", b"x"),
    (f"../{NAMES[0]}", bytes(SIZE)),
    (f"/{NAMES[0]}", bytes(SIZE)),
    (f"{NAMES[0]}/", b""),
    (f"{NAMES[0]}\n", bytes(SIZE)),
    (head("cifar-10-batches-bin", type=tarfile.DIRTYPE), b""),
    (head("outside", type=tarfile.SYMTYPE, linkname="/etc"), b""),
    (head("pipe", type=tarfile.FIFOTYPE), b""),
    (head("disk", type=tarfile.BLKTYPE, devmajor=8), b""),
    ("cifar-10-batches-bin/readme.html", b"<html>"),
    ("cifar-10-batches-bin/batches.meta.txt", b"airplane\n"),
]


def test_members_of_other_names_are_passed_over_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cwd = tmp_path / "a" / "b"
    cwd.mkdir(parents=True)
    monkeypatch.chdir(cwd)
    check(unpack(tarred([*HOSTILE, *MEMBERS, *HOSTILE]), tmp_path))
    assert below(tmp_path) == ["a", "a/b", "archive"] and not Path("/tmp/lca_sweep_outside").exists()


def test_of_two_members_of_one_name_the_first_counts(tmp_path: Path) -> None:
    check(unpack(tarred([*MEMBERS, (NAMES[2], bytes(SIZE))]), tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_member_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        unpack(tarred(member for member in MEMBERS if member[0] != name), tmp_path)
    assert one_line(error) == f"here: has no {name}"


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ((NAMES[1], GOOD[NAMES[1]][:-1]), f"{SIZE - 1} bytes"),
        ((NAMES[1], GOOD[NAMES[1]] + b"x"), f"{SIZE + 1} bytes"),
        ((NAMES[1], b""), "0 bytes"),
        ((head(NAMES[1], type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""), "no file"),
        ((head(NAMES[1], type=tarfile.LNKTYPE, linkname=NAMES[0]), b""), "no file"),
        ((head(NAMES[1], type=tarfile.DIRTYPE), b""), "no file"),
        ((head(NAMES[1], type=tarfile.FIFOTYPE), b""), "no file"),
        ((head(NAMES[1], type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""), "no file"),
    ],
)
def test_a_member_that_is_not_such_a_file_is_refused(member: Member, found: str, tmp_path: Path) -> None:
    members = [member if name == NAMES[1] else (name, content) for name, content in MEMBERS]
    with pytest.raises(DataError) as error:
        unpack(tarred(members), tmp_path)
    assert one_line(error) == f"here: its {NAMES[1]} is of {found}, must be of {SIZE} bytes"


def test_a_broken_extended_header_is_told_in_one_line(tmp_path: Path) -> None:
    sparse = head(NAMES[0], size=SIZE, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    with pytest.raises(DataError, match=r"^here: a broken archive \(invalid literal for int") as error:
        unpack(tarred([(sparse, b"many\nholes\n" * SIZE)]), tmp_path)
    assert len(one_line(error)) < 400


def test_a_class_there_is_not_is_refused(tmp_path: Path) -> None:
    content = b"\x0a" + GOOD[NAMES[5]][1:]
    with pytest.raises(DataError, match=r"^here: has an image of class 10, must be <= 9$"):
        unpack(tarred([*MEMBERS[:5], (NAMES[5], content)]), tmp_path)


def test_another_file_is_told_by_size_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(CIFAR[:100])
    with pytest.raises(DataError, match=rf"^here: has 100 bytes, must have {len(CIFAR)}$"):
        read(ARCHIVE, path, "here")
    path.write_bytes(CIFAR[:-1] + b"x")
    with pytest.raises(
        DataError, match=rf"^here: has SHA-256 [0-9a-f]{{16}}\.\.\., must have {ARCHIVE.sha256[:16]}\.\.\.$"
    ):
        read(ARCHIVE, path, "here")
    path.write_bytes(CIFAR)
    with pytest.raises(DataError, match=r"^here: has \d+ bytes, must have 170052171$"):
        read(CIFAR10, path, "here")


@given(st.binary())
def test_what_is_no_archive_is_refused(tmp_path_factory: pytest.TempPathFactory, packed: bytes) -> None:
    """Though its hash were the expected one."""
    with pytest.raises(DataError, match=r"^here: ") as error:
        unpack(packed, tmp_path_factory.mktemp("none"))
    one_line(error)


@example(3)  # within gzip's header
@example(len(CIFAR) - 1)  # behind all images
@given(st.integers(0, len(CIFAR) - 1))
def test_an_archive_that_breaks_off_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int
) -> None:
    """Though its hash were the expected one: harmless where only the padding or the checksum at its end is missing."""
    try:
        arrays = unpack(CIFAR[:place], tmp_path_factory.mktemp("cut"))
    except DataError as error:
        assert str(error).startswith("here: ") and "\n" not in str(error)
    else:
        assert place > len(CIFAR) - 100
        check(arrays)


@given(st.integers(1, 255), st.integers(0, len(MEMBERS) - 1), st.integers(0, 511))
def test_a_damaged_header_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, flip: int, member: int, place: int
) -> None:
    """Though its hash were the expected one: there is an answer, and it is that of the right images or one line."""
    content = bytearray(TAR)
    with tarfile.open(fileobj=io.BytesIO(TAR)) as tar:
        content[tar.getmembers()[member].offset + place] ^= flip
    try:
        arrays = unpack(gzip.compress(content, 1), tmp_path_factory.mktemp("flip"))
    except DataError as error:
        assert str(error).startswith("here: ") and "\n" not in str(error)
    else:
        check(arrays)


def test_the_memory_is_that_of_the_images_and_one_member(tmp_path: Path) -> None:
    images = 1_000
    content = (b"".join(RECORDS) * images)[: images * 3073]
    packed = tarred((name, content) for name in NAMES)
    path = tmp_path / "archive"
    path.write_bytes(packed)
    tracemalloc.start()
    try:
        arrays = read(known_archive(packed, images), path, "here")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert arrays.x.nbytes == 6 * images * 3072
    assert peak < 1.7 * arrays.x.nbytes
