"""The IDX format: what is written is read again, and damage is told in one line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from data_helpers import known
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from lca_sweep.core.errors import DataError
from lca_sweep.core.idx import decode, encode, read

bytes_arrays = arrays(np.uint8, array_shapes(max_dims=3, max_side=6))


@given(bytes_arrays)
def test_idx_round_trip(array: NDArray[np.uint8]) -> None:
    back = decode(encode(array), "here")
    assert back.dtype == np.uint8 and back.flags.writeable  # torch.from_numpy warns of what it cannot write to
    np.testing.assert_array_equal(back, array, strict=True)


def test_idx_is_the_published_format() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert encode(array) == bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 1, 2, 3, 4, 5])


@given(bytes_arrays, st.data())
def test_a_truncated_idx_is_refused(array: NDArray[np.uint8], draw: st.DataObject) -> None:
    content = encode(array)
    with pytest.raises(DataError, match=r"^here: "):
        decode(content[: draw.draw(st.integers(0, len(content) - 1))], "here")


@given(bytes_arrays, st.integers(1, 255), st.data())
def test_a_flipped_byte_in_the_header_is_refused(array: NDArray[np.uint8], flip: int, draw: st.DataObject) -> None:
    content = bytearray(encode(array))
    content[draw.draw(st.integers(0, 3 + 4 * array.ndim))] ^= flip
    with pytest.raises(DataError, match=r"^here: "):
        decode(bytes(content), "here")


@given(st.binary() | st.binary().map(lambda tail: b"\x00\x00\x08\x01\x00\x00\x00\x05" + tail))
def test_any_bytes_are_refused_or_are_what_encode_would_write(content: bytes) -> None:
    try:
        array = decode(content, "here")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert encode(array) == content


@pytest.mark.parametrize("array", [np.zeros(3), np.uint8(1), np.zeros((2, 0), np.uint8), np.zeros((1,) * 4, np.uint8)])
def test_encode_refuses_what_decode_could_not_read(array: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="IDX takes"):
        encode(np.asarray(array))


@given(bytes_arrays, st.integers(1, 255), st.data())
def test_a_damaged_gzip_never_gives_other_data(array: NDArray[np.uint8], flip: int, draw: st.DataObject) -> None:
    file, packed = known(array)
    place = draw.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(DataError, match=r"^here: "):
        read(file, packed[:place], "here")
    damaged = bytearray(packed)
    damaged[place] ^= flip
    try:
        found = read(file, bytes(damaged), "here")
    except DataError as error:
        assert str(error).startswith("here: ")
    else:  # e.g. the time in gzip's own header
        np.testing.assert_array_equal(found, array, strict=True)


@given(st.binary())
def test_any_file_is_refused_with_data_error(packed: bytes) -> None:
    file, _ = known(np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"^here: "):
        read(file, packed, "here")


def test_the_message_says_what_was_found_and_what_must_be() -> None:
    file, _ = known(np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"^here: holds an array of 3 x 2, must be 2 x 2$"):
        read(file, known(np.zeros((3, 2), np.uint8))[1], "here")
    other, packed = known(np.ones((2, 2), np.uint8))
    with pytest.raises(
        DataError, match=rf"^here: its content has SHA-256 {other.sha256[:16]}\.\.\., must be {file.sha256[:16]}\.\.\.$"
    ):
        read(file, packed, "here")
    with pytest.raises(DataError, match=r"^here: has 3 bytes of data, its header says 2 x 2 = 4$"):
        read(file, gzip.compress(encode(np.zeros((2, 2), np.uint8))[:-1]), "here")
    with pytest.raises(DataError, match=r"^here: 9 bytes of broken gzip \(Not a gzipped file \(b'<h'\)\)$"):
        read(file, b"<html>404", "here")
