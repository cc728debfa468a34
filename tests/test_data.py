"""The data sets: what is in them, that their parts are disjoint, and that damage is told in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from lca_sweep.config import Data
from lca_sweep.core import data, idx
from lca_sweep.core.data import DataError, Images, load
from lca_sweep.core.idx import Known, decode, encode, fetch, read
from lca_sweep.core.knobs import walk

MNIST = Path(data.__file__).parent / "mnist"
FULL = os.environ.get("LCA_SWEEP_MNIST")  # a folder with the four canonical files, where there is one
needs_full = pytest.mark.skipif(not FULL, reason="LCA_SWEEP_MNIST names no folder with the whole of MNIST")
SETS = ["mnist", "digits", pytest.param("mnist_full", marks=needs_full)]

bytes_arrays = arrays(np.uint8, array_shapes(max_dims=3, max_side=6))


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def known(array: NDArray[np.uint8], name: str = "file.gz") -> tuple[Known, bytes]:
    content = encode(array)
    return Known(name, array.shape, hashlib.sha256(content).hexdigest()), gzip.compress(content, mtime=0)


# -- the IDX format -----------------------------------------------------------------------------------------------


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
    with pytest.raises(DataError, match=rf"^here: its content has SHA-256 {other.sha256}, must be {file.sha256}$"):
        read(file, packed, "here")
    with pytest.raises(DataError, match=r"^here: has 3 bytes of data, its header says 2 x 2 = 4$"):
        read(file, gzip.compress(encode(np.zeros((2, 2), np.uint8))[:-1]), "here")
    with pytest.raises(DataError, match=r"^here: 9 bytes of broken gzip \(Not a gzipped file \(b'<h'\)\)$"):
        read(file, b"<html>404", "here")


# -- what the data sets hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_no_image_is_in_two_parts(name: str) -> None:
    splits = load(name, dir=FULL)
    parts = (splits.train, splits.validation, splits.test)
    rows = [{row.tobytes() for row in part.x} for part in parts]
    # none of these sets holds an image twice, so that equal images would be the same image
    assert [len(found) for found in rows] == [len(part.x) for part in parts]
    assert len(set.union(*rows)) == sum(map(len, rows))


@pytest.mark.parametrize("name", SETS)
def test_shapes_types_and_scale(name: str) -> None:
    splits = load(name, dir=FULL)
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
    assert splits.inputs == 784 and splits.scale == 255
    assert splits.digest == "0f0751aec54f68aafbd2bf82e2cab6de246db65ecd0f0029a1729447dcc48f93"


def test_digits_are_always_split_alike() -> None:
    splits = load("digits")
    assert [len(part.y) for part in (splits.train, splits.validation, splits.test)] == [1_000, 397, 400]
    assert splits.inputs == 64 and splits.scale == 16
    assert splits.digest == "c402b488e3f7a4b26ca690f8928041317ee7aa5e5b485468cf0903b5d43a6bd5"


@needs_full
def test_mnist_is_cut_from_mnist_full() -> None:
    full, cut = load("mnist_full", dir=FULL), load("mnist")
    same(full.validation, cut.validation)
    same(full.test, cut.test)
    same(full.train.first(10_000), cut.train)


def same(a: Images, b: Images) -> None:
    np.testing.assert_array_equal(a.x, b.x, strict=True)
    np.testing.assert_array_equal(a.y, b.y, strict=True)


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
            parts = data.Source(10, 16.0, lambda dir, changed=changed: changed)
            monkeypatch.setitem(data.SOURCES, "digits", parts)
            digests.add(load("digits").digest)
    assert len(digests) == 7


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mnsit", "data.name=mnsit: must be one of mnist, mnist_full, digits; did you mean 'mnist'?"),
        ("cifar", "data.name=cifar: must be one of mnist, mnist_full, digits"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(name: str, line: str) -> None:
    with pytest.raises(DataError) as error:
        load(name)
    assert str(error.value) == line


def test_the_knob_offers_the_data_sets_there_are() -> None:
    choices = {name: range.choices for name, _, range in walk(Data())}
    assert set(choices["name"]) == set(data.SOURCES)


def test_importing_the_data_sets_loads_neither_their_sources_nor_the_network() -> None:
    code = "import sys, lca_sweep.core.data; print({'pooch', 'sklearn', 'requests', 'tqdm'} & set(sys.modules))"
    root = Path(data.__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


# -- mnist: the files in the package ------------------------------------------------------------------------------


def test_the_readme_beside_the_files_lists_them_truly() -> None:
    readme = (MNIST / "README.md").read_text()
    for file in data.EMBEDDED:
        packed = (MNIST / file.name).read_bytes()
        found = hashlib.sha256(packed).hexdigest()
        assert f"| `{file.name}` | {len(packed)} | `{found}` | `{file.sha256}` |" in readme
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
    data.embedded(folder)
    damage(folder / "train-labels.idx.gz")
    with pytest.raises(DataError) as error:
        data.embedded(folder)
    line = one_line(error)
    assert line.startswith(f"{folder / 'train-labels.idx.gz'}: {found}") and line.endswith("install lca_sweep again")


# -- mnist_full: from a folder, or over the network ---------------------------------------------------------------

RNG = np.random.default_rng(0)
ARRAYS = (  # a small MNIST; the first pixel of an image is its index
    np.concatenate([np.arange(30, dtype=np.uint8)[:, None, None].repeat(4, 2), np.ones((30, 3, 4), np.uint8)], 1),
    RNG.integers(0, 10, 30, np.uint8),
    RNG.integers(100, 200, (8, 4, 4), np.uint8),
    RNG.integers(0, 10, 8, np.uint8),
)
SMALL = tuple(known(array, file.name) for array, file in zip(ARRAYS, data.CANONICAL, strict=True))
FILES = tuple(file for file, _ in SMALL)
PACKED = {file.name: packed for file, packed in SMALL}
FILE, GOOD = SMALL[0]
Mirror = Callable[..., str]


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; a pair is (what is sent, how many bytes are promised)."""

    def do_GET(self) -> None:
        reply = self.server.files.get(self.path.removeprefix("/mnist/"))  # type: ignore[attr-defined]
        if reply is None:
            return self.send_error(404)
        body, promised = reply if isinstance(reply, tuple) else (reply, len(reply))
        self.send_response(200)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Starts web servers on the loopback interface: files by name, to a base URL."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(files: Mapping[str, bytes | tuple[bytes, int]]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.files = files  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/mnist/"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base URL of a mirror where nobody answers: its port is taken, but not listened on."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/mnist/"


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def check_small(parts: data.Parts) -> None:
    train, validation, test = parts
    assert train.x[:, 0].tolist() == list(range(25))
    assert validation.x[:, 0].tolist() == list(range(25, 30))
    np.testing.assert_array_equal(np.concatenate([train.y, validation.y]), ARRAYS[1])
    same(test, Images(ARRAYS[2].reshape(8, 16), ARRAYS[3].astype(np.int64)))


def test_files_in_the_folder_need_no_network(down: str, tmp_path: Path) -> None:
    for name, packed in PACKED.items():
        (tmp_path / name).write_bytes(packed)
    check_small(data.canonical(tmp_path, FILES, 5, (down,)))
    assert below(tmp_path) == sorted(PACKED)


def test_missing_files_are_downloaded_once(mirror: Mirror, down: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    check_small(data.canonical(folder, FILES, 5, (mirror(PACKED),)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == PACKED
    check_small(data.canonical(folder, FILES, 5, (down,)))


def test_a_file_packed_otherwise_is_the_same_file(mirror: Mirror, tmp_path: Path) -> None:
    other = gzip.compress(gzip.decompress(GOOD), 1, mtime=1)
    assert other != GOOD
    np.testing.assert_array_equal(fetch(FILE, tmp_path, (mirror({FILE.name: other}),)), ARRAYS[0])


BAD = {
    "absent": ({}, "HTTP 404"),
    "another file": ({FILE.name: PACKED[FILES[2].name]}, "the file there: holds an array of 8 x 4 x 4, must be 30 x"),
    "wrong checksum": ({FILE.name: known(ARRAYS[0] ^ np.uint8(1))[1]}, "the file there: its content has SHA-256 "),
    "truncated": ({FILE.name: GOOD[:-9]}, f"the file there: {len(GOOD) - 9} bytes of broken gzip ("),
    "interrupted": ({FILE.name: (GOOD[:-9], len(GOOD))}, "broken off"),
    "web page": ({FILE.name: b"<html>log in</html>"}, "the file there: 19 bytes of broken gzip ("),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_mirror_leaves_nothing_behind(case: str, mirror: Mirror, tmp_path: Path) -> None:
    files, found = BAD[case]
    url, folder = mirror(files), tmp_path / "new" / "folder"
    with pytest.raises(DataError) as error:
        fetch(FILE, folder, (url,))
    line = one_line(error)
    assert line.startswith(f"{folder / FILE.name}: missing, and not to be had by download ({url}: {found}")
    assert line.endswith(f"get it from {url}{FILE.name} and set data.dir to the folder it is in")
    assert below(tmp_path) == []


@pytest.mark.parametrize("case", BAD)
def test_a_good_mirror_comes_after_a_bad_one(case: str, mirror: Mirror, tmp_path: Path) -> None:
    array = fetch(FILE, tmp_path, (mirror(BAD[case][0]), mirror(PACKED)))
    np.testing.assert_array_equal(array, ARRAYS[0], strict=True)
    assert below(tmp_path) == [FILE.name] and (tmp_path / FILE.name).read_bytes() == GOOD


def test_a_good_mirror_comes_after_one_that_is_down(mirror: Mirror, down: str, tmp_path: Path) -> None:
    fetch(FILE, tmp_path, (down, mirror(PACKED)))
    assert (tmp_path / FILE.name).read_bytes() == GOOD


def test_an_interrupt_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(url: str, path: Path) -> None:
        path.write_bytes(GOOD[:50])
        assert below(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(idx, "_transfer", half)
    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, tmp_path / "new", ("http://mirror/",))
    assert below(tmp_path) == []


def test_many_at_once_get_the_same_file(mirror: Mirror, tmp_path: Path) -> None:
    url = mirror(PACKED)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch(FILE, tmp_path, (url,)), range(8)))
    assert len(found) == 8 and all(np.array_equal(array, ARRAYS[0]) for array in found)
    assert below(tmp_path) == [FILE.name]


def test_a_wrong_file_in_the_folder_is_named_and_left_alone(mirror: Mirror, tmp_path: Path) -> None:
    path, url = tmp_path / FILE.name, mirror(PACKED)
    path.write_bytes(GOOD[:20])
    with pytest.raises(DataError) as error:
        fetch(FILE, tmp_path, (url,))
    line = one_line(error)
    assert line.startswith(f"{path}: 20 bytes of broken gzip (")
    assert line.endswith(f"; delete it to download it again, or get it from {url}{FILE.name}")
    assert path.read_bytes() == GOOD[:20]


def test_a_folder_that_cannot_be_is_named(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/.*: cannot be read \(Not a directory\)$"):
        fetch(FILE, tmp_path / "file", (mirror(PACKED),))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "else")
    with pytest.raises(
        DataError, match=r"link/.*: missing, .*\(its folder cannot be written: File exists\); get it from"
    ):
        fetch(FILE, tmp_path / "link", (mirror(PACKED),))


@pytest.mark.parametrize("given", ["dir", "cache"])
def test_without_a_network_the_line_names_file_folder_and_source(
    given: str, down: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(data, "MIRRORS", (down, down))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    with pytest.raises(DataError) as error:
        load("mnist_full", dir=str(tmp_path / "lca_sweep") if given == "dir" else None)
    name = "train-images-idx3-ubyte.gz"
    assert one_line(error) == (
        f"{tmp_path / 'lca_sweep' / name}: missing, and not to be had by download "
        f"({down}: no connection; {down}: no connection); "
        f"get it from {down}{name} and set data.dir to the folder it is in"
    )
    assert below(tmp_path) == []


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_silence_elsewhere(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = mirror(PACKED)
    fetch(FILE, tmp_path / "quiet", (url,))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", Screen())
    fetch(FILE, tmp_path / "shown", (url,))
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert FILE.name in shown and "100%" in shown
