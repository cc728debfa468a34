"""Downloads from real servers on the loopback interface: whole and right, or one line and nothing left behind."""

from __future__ import annotations

import errno
import gzip
import io
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from data_helpers import (
    ARCHIVE,
    ARRAYS,
    CIFAR,
    FILES,
    LABELS,
    PACKED,
    SMALL,
    below,
    check_small,
    known,
    tarred,
    two_lines,
)
from numpy.typing import NDArray

from lca_sweep.core import cifar, data, download, idx
from lca_sweep.core.data import DataError, load

Reply = bytes | tuple[bytes, int] | int
Mirror = Callable[[Mapping[str, Reply]], str]


class Kind(NamedTuple):
    """A kind of file: a good one, how it is fetched, and what is in it."""

    name: str
    good: bytes
    fetch: Callable[[Path, Sequence[str]], NDArray[np.uint8]]
    content: NDArray[np.uint8]
    bad: dict[str, tuple[dict[str, Reply], str]]  # what a mirror has instead, and how the message begins that says so


def bad(name: str, good: bytes, other: tuple[bytes, str], changed: tuple[bytes, str], short: str) -> dict[str, Reply]:
    page = b"<html>log in</html>"
    return {
        "absent": ({}, "HTTP 404"),
        "broken server": ({name: 500}, "HTTP 500"),
        "another file": ({name: other[0]}, f"the file there: {other[1]}"),
        "wrong checksum": ({name: changed[0]}, f"the file there: {changed[1]}"),
        "truncated": ({name: good[:-9]}, f"the file there: {short.format(len(good) - 9)}"),
        "empty": ({name: b""}, "the file there: "),
        "interrupted": ({name: (good[:-9], len(good))}, "broken off"),
        "cut at once": ({name: (b"", len(good))}, "broken off"),
        "web page": ({name: page}, f"the file there: {short.format(len(page))}"),
    }


FILE, GOOD = SMALL[0]
IDX = Kind(
    FILE.name,
    GOOD,
    lambda folder, mirrors: idx.fetch(FILE, folder, mirrors),
    ARRAYS[0],
    bad(
        FILE.name,
        GOOD,
        (PACKED[FILES[2].name], "holds an array of 8 x 4 x 4, must be 30 x"),
        (known(ARRAYS[0] ^ np.uint8(1))[1], "its content has SHA-256 "),
        "{} bytes of broken gzip (",
    ),
)
CHANGED = CIFAR[:-1] + bytes([CIFAR[-1] ^ 1])
TAR = Kind(
    ARCHIVE.name,
    CIFAR,
    lambda folder, mirrors: cifar.fetch(ARCHIVE, folder, mirrors).y,
    LABELS,
    bad(
        ARCHIVE.name,
        CIFAR,
        (tarred([]), f"has {len(tarred([]))} bytes, must have {len(CIFAR)}"),
        (CHANGED, "has SHA-256 "),
        "has {} bytes, must have ",
    ),
)
KINDS = {"idx": IDX, "tar": TAR}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
every_bad = pytest.mark.parametrize("case", IDX.bad)


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; a pair is (what is sent, how many bytes are promised), a number is an HTTP error."""

    def do_GET(self) -> None:
        reply = self.server.files.get(self.path.removeprefix("/data/"))  # type: ignore[attr-defined]
        if reply is None or isinstance(reply, int):
            return self.send_error(reply or 404)
        body, promised = reply if isinstance(reply, tuple) else (reply, len(reply))
        self.send_response(200)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Starts web servers on the loopback interface: files by name, to a base URL."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(files: Mapping[str, Reply]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.files = files  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/data/"

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
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/data/"


@every_kind
def test_what_is_missing_is_downloaded_once(kind: Kind, mirror: Mirror, down: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for url in (mirror({kind.name: kind.good}), down):
        np.testing.assert_array_equal(kind.fetch(folder, (url,)), kind.content, strict=True)
        assert below(folder) == [kind.name] and (folder / kind.name).read_bytes() == kind.good


def test_the_four_files_are_downloaded_once(mirror: Mirror, down: str, tmp_path: Path) -> None:
    for url in (mirror(PACKED), down):
        check_small(data.canonical(tmp_path, FILES, 5, (url,)))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == PACKED


def test_a_file_packed_otherwise_is_the_same_file(mirror: Mirror, tmp_path: Path) -> None:
    other = gzip.compress(gzip.decompress(GOOD), 1, mtime=1)
    assert other != GOOD
    np.testing.assert_array_equal(IDX.fetch(tmp_path, (mirror({FILE.name: other}),)), ARRAYS[0])


@every_kind
@every_bad
def test_a_bad_mirror_leaves_nothing_behind(kind: Kind, case: str, mirror: Mirror, tmp_path: Path) -> None:
    files, found = kind.bad[case]
    url, folder = mirror(files), tmp_path / "new" / "folder"
    with pytest.raises(DataError) as error:
        kind.fetch(folder, (url,))
    line = two_lines(error)
    assert line.startswith(f"{folder / kind.name}: missing, and not to be had by download ({url}: {found}")
    assert line.endswith(f"get it from {url}{kind.name} and set data.dir to the folder it is in")
    assert below(tmp_path) == []


@every_kind
@every_bad
def test_a_good_mirror_comes_after_a_bad_one(kind: Kind, case: str, mirror: Mirror, tmp_path: Path) -> None:
    array = kind.fetch(tmp_path, (mirror(kind.bad[case][0]), mirror({kind.name: kind.good})))
    np.testing.assert_array_equal(array, kind.content, strict=True)
    assert below(tmp_path) == [kind.name] and (tmp_path / kind.name).read_bytes() == kind.good


@every_kind
def test_a_good_mirror_comes_after_one_that_is_down(kind: Kind, mirror: Mirror, down: str, tmp_path: Path) -> None:
    kind.fetch(tmp_path, (down, mirror({kind.name: kind.good})))
    assert (tmp_path / kind.name).read_bytes() == kind.good


def test_whether_a_file_can_be_had_is_asked_and_nothing_taken(mirror: Mirror, down: str) -> None:
    there = mirror({"file": b"content"})
    assert download.unreachable("file", (down, there)) == ""
    reasons = download.unreachable("other", (down, there))
    assert reasons == f"{down}: no connection; {there}: not there"


@every_kind
def test_an_interrupt_leaves_nothing_behind(kind: Kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(url: str, path: Path) -> None:
        path.write_bytes(kind.good[:50])
        assert below(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_transfer", half)
    with pytest.raises(KeyboardInterrupt):
        kind.fetch(tmp_path / "new", ("http://mirror/",))
    assert below(tmp_path) == []


@every_kind
def test_a_full_disk_leaves_nothing_behind(kind: Kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(url: str, path: Path) -> None:
        path.write_bytes(kind.good[:50])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_transfer", half)
    with pytest.raises(DataError, match=r"\(http://mirror/: No space left on device\)\nget it from") as error:
        kind.fetch(tmp_path / "new", ("http://mirror/",))
    two_lines(error)
    assert below(tmp_path) == []


@every_kind
def test_many_at_once_get_the_same_file(kind: Kind, mirror: Mirror, tmp_path: Path) -> None:
    url = mirror({kind.name: kind.good})
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: kind.fetch(tmp_path, (url,)), range(8)))
    assert len(found) == 8 and all(np.array_equal(array, kind.content) for array in found)
    assert below(tmp_path) == [kind.name]


@every_kind
@pytest.mark.parametrize("case", ["wrong checksum", "truncated", "empty", "web page"])
def test_a_wrong_file_in_the_folder_is_named_and_left_alone(
    kind: Kind, case: str, mirror: Mirror, tmp_path: Path
) -> None:
    path, url = tmp_path / kind.name, mirror({kind.name: kind.good})
    files, found = kind.bad[case]
    content = files[kind.name]
    assert isinstance(content, bytes)
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        kind.fetch(tmp_path, (url,))
    line = two_lines(error)
    assert line.startswith(f"{path}: {found.removeprefix('the file there: ')}")
    assert line.endswith(f"\ndelete it to download it again, or get it from {url}{kind.name}")
    assert path.read_bytes() == content and below(tmp_path) == [kind.name]


@every_kind
def test_a_folder_that_cannot_be_is_named(kind: Kind, mirror: Mirror, tmp_path: Path) -> None:
    url = mirror({kind.name: kind.good})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/.*: cannot be read \(Not a directory\)$"):
        kind.fetch(tmp_path / "file", (url,))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "else")
    with pytest.raises(
        DataError, match=r"link/.*: missing, .*\(its folder cannot be written: File exists\)\nget it from"
    ):
        kind.fetch(tmp_path / "link", (url,))


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that may be read, not written; root, who may write anywhere, is nobody for as long."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o555)
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o755)


@every_kind
def test_a_folder_that_may_not_be_written_is_named(kind: Kind, locked: Path) -> None:
    for folder in (locked, locked / "new" / "folder"):
        with pytest.raises(DataError) as error:
            kind.fetch(folder, ("http://mirror/",))
        assert two_lines(error) == (
            f"{folder / kind.name}: missing, and not to be had by download (its folder cannot be written: Permission "
            f"denied)\nget it from http://mirror/{kind.name} and set data.dir to the folder it is in"
        )
    assert below(locked) == []


@pytest.mark.parametrize("given", ["dir", "cache"])
@pytest.mark.parametrize(
    ("name", "file", "mirrors", "cached"),
    [
        ("mnist_full", "train-images-idx3-ubyte.gz", (data, "MIRRORS"), "lca_sweep"),
        ("fashion_mnist", "train-images-idx3-ubyte.gz", (data, "FASHION_MIRRORS"), "lca_sweep/fashion_mnist"),
        ("cifar10", "cifar-10-binary.tar.gz", (cifar, "MIRRORS"), "lca_sweep"),
    ],
)
def test_without_a_network_the_line_names_file_folder_and_source(
    name: str,
    file: str,
    mirrors: tuple[object, str],
    cached: str,
    given: str,
    down: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(*mirrors, (down, down))
    monkeypatch.setattr(data, "DEBIAN", tmp_path / "usr")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    folder = tmp_path / ("mine" if given == "dir" else cached)
    with pytest.raises(DataError) as error:
        load(name, dir=str(folder) if given == "dir" else None)
    assert two_lines(error) == (
        f"{folder / file}: missing, and not to be had by download "
        f"({down}: no connection; {down}: no connection)\n"
        f"get it from {down}{file} and set data.dir to the folder it is in"
    )
    assert below(tmp_path) == []


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_silence_elsewhere(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = mirror(PACKED)
    IDX.fetch(tmp_path / "quiet", (url,))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", Screen())
    IDX.fetch(tmp_path / "shown", (url,))
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert FILE.name in shown and "100%" in shown
