"""Storages keep named blobs whole or not at all: one contract, over a folder, a bucket of S3 and the tests' own."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_helpers import BUCKET, Memory, s3_server

from lca_sweep.config import Config, KnobError, Sweep, validate
from lca_sweep.sweep import storage as module
from lca_sweep.sweep.storage import BucketStorage, FolderStorage, Storage, StorageError, fetched, patiently, storage_at

ROOT = Path(__file__).parents[1]
Fresh = Callable[[], Storage]

words = st.from_regex(r"[A-Za-z0-9_ü%&+= -][A-Za-z0-9_ü%&+= .-]{0,6}", fullmatch=True).filter(lambda w: w[-1] != ".")
names = st.lists(words, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".blob")  # no folder ends so
blobs = st.dictionaries(names, st.binary(max_size=200), max_size=4)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module", params=["folder", "s3", "memory"])
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Makes an empty storage."""
    if request.param == "memory":
        return Memory
    folder = tmp_path_factory.mktemp("storage")
    if request.param == "s3":
        request.getfixturevalue("s3")
    place = f"s3://{BUCKET}/some/path" if request.param == "s3" else str(folder)
    return lambda: storage_at(place, uuid.uuid4().hex)


# --- the contract --------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(contents=blobs, others=blobs)
def test_what_is_written_is_read(fresh: Fresh, contents: dict[str, bytes], others: dict[str, bytes]) -> None:
    """A storage is a mapping: the newest content of each name, and no other names."""
    storage = fresh()
    for name, content in [*contents.items(), *others.items(), *others.items()]:
        storage.write(name, content)
    expected = contents | others
    assert {name: storage.read(name) for name in expected} == expected
    assert storage.names("") == sorted(expected)
    for name in contents:
        storage.delete(name)
        assert storage.read(name) is None
    assert storage.names("") == sorted(expected.keys() - contents.keys())


@settings(max_examples=15)
@given(contents=blobs, prefix=st.one_of(words, st.tuples(words, words).map("/".join), st.just("")))
def test_names_begin_with_the_prefix(fresh: Fresh, contents: dict[str, bytes], prefix: str) -> None:
    storage = fresh()
    for name, content in contents.items():
        storage.write(name, content)
    for start in (prefix, *(name[: len(name) // 2] for name in contents)):
        assert storage.names(start) == sorted(name for name in contents if name.startswith(start))


def test_of_what_is_absent(fresh: Fresh) -> None:
    storage = fresh()
    storage.delete("a/b")
    assert (storage.read("a/b"), storage.names("a/"), storage.names("")) == (None, [], [])


def test_a_large_blob_and_an_empty_one(fresh: Fresh) -> None:
    """Larger than one request of S3 carries."""
    storage, content = fresh(), os.urandom(13_000_000)
    storage.write("a", content)
    assert storage.read("a") == content
    storage.write("a", b"")
    assert (storage.read("a"), storage.names("")) == (b"", ["a"])


def test_it_travels(fresh: Fresh) -> None:
    storage = fresh()
    storage.write("a/b", b"here")
    assert pickle.loads(pickle.dumps(storage)).read("a/b") == b"here"


def test_a_good_one_passes_the_check_and_stays_empty(fresh: Fresh) -> None:
    storage = fresh()
    storage.check()
    assert storage.names("") == []


def test_fetched_is_a_local_folder(fresh: Fresh, tmp_path: Path) -> None:
    storage = fresh()
    for name in ("trials/0001/a", "trials/0001/b", "trials/00010/c"):
        storage.write(name, name.encode())
    if isinstance(storage, Memory):
        assert fetched(storage, "trials/0001", tmp_path) == tmp_path / "trials/0001"
    folder = fetched(storage, "trials/0001", tmp_path)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"a": b"trials/0001/a", "b": b"trials/0001/b"}


# --- a folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_kill_before_the_rename_leaves_the_old_one(tmp_path: Path, step: str) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("c", b"old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom lca_sweep.sweep.storage import FolderStorage\n"
        f"os.{step} = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "FolderStorage(Path(sys.argv[1])).write('c', b'new' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, timeout=240)
    assert done.returncode == -9
    assert (storage.read("c"), storage.names("")) == (b"old", ["c"])
    assert len(list(tmp_path.iterdir())) == 2
    storage.write("c", b"newer")  # and what the dead one left goes
    assert storage.read("c") == b"newer" and len(list(tmp_path.iterdir())) == 1


def test_killed_at_any_time_it_is_whole(tmp_path: Path) -> None:
    """A writer that alternates between two contents, killed a few times, whenever."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom lca_sweep.sweep.storage import FolderStorage\n"
        "storage = FolderStorage(Path(sys.argv[1]))\n"
        "while True:\n    for letter in (b'a', b'b'):\n        storage.write('c', letter * 3_000_000)\n"
    )
    for delay in (0.0, 0.013, 0.031):
        writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
        end = time.monotonic() + 240
        (tmp_path / "c").unlink(missing_ok=True)
        while not (tmp_path / "c").exists():
            assert time.monotonic() < end
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        content = FolderStorage(tmp_path).read("c")
        assert content in (b"a" * 3_000_000, b"b" * 3_000_000)


def test_a_full_disk_leaves_the_old_one_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("c", b"old")

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StorageError) as caught:
        patched.setattr("lca_sweep.core.files.os.fsync", full)
        storage.write("c", b"new")
    assert str(caught.value) == f"{tmp_path / 'c'}: No space left on device"
    assert caught.value.reason == "No space left on device"
    assert storage.read("c") == b"old" and [file.name for file in tmp_path.iterdir()] == ["c"]


def test_a_file_system_that_cannot_flush_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def only_files(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(file)

    monkeypatch.setattr("lca_sweep.core.files.os.fsync", only_files)
    FolderStorage(tmp_path).write("a/c", b"new")
    assert FolderStorage(tmp_path).read("a/c") == b"new"


def test_names_and_folders_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new folders, and the one with the new name in it: else a crash of the machine takes the file away."""
    flushed, flush = [], os.fsync

    def seen(file: int) -> None:
        flushed.append(os.path.realpath(f"/proc/self/fd/{file}"))
        flush(file)

    monkeypatch.setattr("lca_sweep.core.files.os.fsync", seen)
    FolderStorage(tmp_path / "new").write("a/c", b"new")
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new/a")} <= set(flushed)
    assert flushed[-1] == str(tmp_path / "new/a")


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = FolderStorage(tmp_path / "file" / "below")
    for action in (
        storage.check,
        lambda: storage.write("a", b""),
        lambda: storage.read("a"),
        lambda: storage.names(""),
    ):
        with pytest.raises(StorageError) as caught:
            action()
        assert str(tmp_path / "file") in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_folder_is_absolute_and_knows_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers have other working folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert storage_at("here", "s") == FolderStorage(tmp_path / "here" / "s")
    assert storage_at("~/here", "s") == FolderStorage(Path("/home/me/here/s"))
    assert list(tmp_path.iterdir()) == []


# --- S3 ------------------------------------------------------------------------------------------------------------


def test_a_url_and_what_lies_below() -> None:
    assert storage_at("s3://b/p/", "s") == BucketStorage("s3://b/p/s")
    assert storage_at("s3://b?scheme=http", "s") == BucketStorage("s3://b/s?scheme=http")
    assert storage_at("s3://b") == BucketStorage("s3://b")


def test_no_key_travels(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    storage = storage_at(f"s3://{BUCKET}", "keys")
    storage.check()
    assert b"hush" not in pickle.dumps(storage)


def test_the_server_in_the_url(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    host = s3.removeprefix("http://")
    storage_at(f"s3://{BUCKET}?endpoint_override={host}&scheme=http", "other").check()


def told(action: Callable[[], Any]) -> str:
    with pytest.raises(StorageError) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).startswith("s3://")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value.reason


def test_no_such_bucket(s3: str) -> None:
    assert told(storage_at("s3://nowhere", "s").check) == "no such bucket"


def test_no_access(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)  # from now on the server looks at the keys
    assert told(storage_at(f"s3://{BUCKET}", "s").check) == "access denied"
    assert told(lambda: storage_at(f"s3://{BUCKET}", "s").names("")) == "access denied"


@pytest.mark.slow
def test_no_server(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert told(storage_at(f"s3://{BUCKET}", "s").check) == "not reachable"


def test_an_unknown_option(s3: str) -> None:
    assert "foo" in told(storage_at(f"s3://{BUCKET}?foo=1").check)


# --- the knob ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["folder", "/abs/folder", "~/x", "a@b", "s3://b", "s3://b/p", "s3://b/p?region=x"])
def test_places_that_may_be(place: str) -> None:
    validate(Config(sweep=Sweep(storage=place)))


@pytest.mark.parametrize("place", ["s3://", "s3:///p", "gs://b/p", "file:///tmp", "http://host/b"])
def test_places_that_may_not_be(place: str) -> None:
    with pytest.raises(KnobError) as caught:
        validate(Config(sweep=Sweep(storage=place)))
    assert str(caught.value) == f"sweep.storage={place}: must be a folder or s3://bucket/path"


@pytest.mark.parametrize(
    "place", ["s3://key:hush@b/p", "s3://key:hu/sh@b/p", "s3://hush@b", "s3://b/p?secret_key=hush", "gs://k:hush@b"]
)
def test_keys_in_the_url_are_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(KnobError, match=r"^sweep\.storage: [^\n]*$") as caught:
        validate(Config(sweep=Sweep(storage=place)))
    assert "hush" not in str(caught.value) and "hu/sh" not in str(caught.value)


# --- patience ------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(failures=st.integers(0, 7))
def test_a_few_attempts(failures: int) -> None:
    left = [failures]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise StorageError("here", "busy")
        return "done"

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module.time, "sleep", lambda seconds: None)
        if failures <= len(module.PAUSES):
            assert patiently(action) == "done"
        else:
            with pytest.raises(StorageError, match="busy"):
                patiently(action)
            assert left[0] == failures - len(module.PAUSES) - 1


def test_no_more_attempts_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes long to fail is not asked five times."""
    clock, tries = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def slow() -> None:
        tries.append(1)
        clock[0] += 6
        raise StorageError("here", "not reachable")

    with pytest.raises(StorageError):
        patiently(slow)
    assert len(tries) == 1


def test_other_errors_are_not_tried_again() -> None:
    tries = []

    def broken() -> None:
        tries.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        patiently(broken)
    assert len(tries) == 1
