"""One process runs a sweep; a dead one's lock is taken over, a living one's is not, on this machine or another."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import Any

import pytest

from lca_sweep.core.files import write_atomically
from lca_sweep.sweep import lock
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.lock import LOCK, SIZE, STOP, Lost, Owner, locked, runner
from lca_sweep.sweep.stop import stop

THERE = Owner("1" * 32, "ada", "another-machine", "another-boot", 77, "2026-01-01 00:00:00")
HOLDER = """
import sys, time
from pathlib import Path
from typing import Any
from lca_sweep.sweep.lock import locked
with locked(Path(sys.argv[1]), print) as held:
    held.on_stop(lambda lost: print(lost or "asked to stop", flush=True))
    print(held.owner.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds as tenths."""
    monkeypatch.setattr(lock, "BEAT", 0.2)
    monkeypatch.setattr(lock, "SILENCE", 1.5)
    monkeypatch.setattr(lock, "LOOK", 0.05)


def write(folder: Path, owner: Owner) -> None:
    """As that owner's own process would."""
    (folder / LOCK).write_bytes(dumps(asdict(owner)).encode().ljust(SIZE))


def beating(folder: Path, owner: Owner, over: threading.Event) -> None:
    """An owner on another machine, which a lock of the kernel does not reach."""
    beat = 0
    while not over.wait(0.1):
        beat += 1
        write(folder, replace(owner, beat=beat))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[threading.Event]:
    """Somebody on another machine runs the sweep until this is set."""
    write(tmp_path, THERE)
    over = threading.Event()
    thread = threading.Thread(target=beating, args=(tmp_path, THERE, over))
    thread.start()
    yield over
    over.set()
    thread.join()


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_nobody_runs_it(tmp_path: Path) -> None:
    assert runner(tmp_path) is None
    with locked(tmp_path, print) as held:
        found = runner(tmp_path)
        assert found is not None and (found.pid, found.id) == (os.getpid(), held.owner.id)
    assert runner(tmp_path) is None and (tmp_path / LOCK).read_bytes() == b""


def test_the_kernel_frees_the_lock_of_a_dead_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdout
        id = process.stdout.readline().strip()
        assert (found := runner(tmp_path)) is not None and (found.id, found.pid) == (id, process.pid)
        with pytest.raises(SweepError, match=f"is being run by process {process.pid} "), locked(tmp_path, print):
            pass
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).read_bytes().strip(), "it had no time to clean up"
    said: list[str] = []
    with locked(tmp_path, said.append) as held:
        assert held.owner.id != id
    assert said == [], "nothing to wait for on the same machine"


def test_a_sign_of_life_from_another_machine(tmp_path: Path, there: threading.Event) -> None:
    said: list[str] = []
    assert (found := runner(tmp_path)) is not None and found.host == "another-machine"
    with pytest.raises(SweepError, match="process 77 of ada on another-machine"), locked(tmp_path, said.append):
        pass
    assert len(said) == 1 and "waiting" in said[0]


def test_silence_on_another_machine(tmp_path: Path) -> None:
    write(tmp_path, THERE)
    began = time.monotonic()
    with locked(tmp_path, lambda line: None) as held:
        assert time.monotonic() - began >= 1.5
        found = runner(tmp_path)
        assert found is not None and found.id == held.owner.id


def test_taken_over(tmp_path: Path) -> None:
    """Whoever was silent for too long learns it, and leaves the other's lock alone."""
    told: list[Lost | None] = []
    with locked(tmp_path, print) as held:
        held.on_stop(told.append)
        write(tmp_path, THERE)
        wait_for(lambda: told)
        assert "taken over by process 77 of ada" in str(told[0])
        with pytest.raises(Lost):
            held.check()
        before = (tmp_path / LOCK).read_bytes()
    assert (tmp_path / LOCK).read_bytes() == before


def test_taken_over_and_given_back_by_another(tmp_path: Path) -> None:
    """Whoever slept through another's whole run learns that, too."""
    told: list[Lost | None] = []
    with locked(tmp_path, print) as held:
        held.on_stop(told.append)
        (tmp_path / LOCK).write_bytes(b"")
        wait_for(lambda: told)
        assert isinstance(told[0], Lost)


def test_a_folder_that_is_put_aside_takes_its_lock_along(tmp_path: Path) -> None:
    """It is not the lock of the folder that has its name now."""
    folder = tmp_path / "mine"
    folder.mkdir()
    with locked(folder, print) as held:
        folder.rename(tmp_path / "mine.1")
        folder.mkdir()
        with pytest.raises(Lost):
            held.check()
        with locked(folder, print):
            pass


def test_another_machine_of_the_same_name(tmp_path: Path) -> None:
    """Not the name counts, but how far the kernel's locks reach."""
    write(tmp_path, replace(THERE, host=platform.node()))
    said: list[str] = []
    with locked(tmp_path, said.append):
        assert len(said) == 1 and "waiting" in said[0]


def test_signs_of_life(tmp_path: Path) -> None:
    with locked(tmp_path, print):
        seen: set[int] = set()

        def three() -> bool:
            found = runner(tmp_path)
            seen.add(found.beat if found else -1)
            return len(seen) >= 3

        wait_for(three)
        assert -1 not in seen


def test_a_request_to_stop(tmp_path: Path) -> None:
    (tmp_path / STOP).touch()  # to somebody before
    told: list[Lost | None] = []
    with locked(tmp_path, print) as held:
        held.on_stop(told.append)
        time.sleep(0.3)
        assert told == []
        (tmp_path / STOP).touch()
        wait_for(lambda: told)
        late: list[Lost | None] = []
        held.on_stop(late.append)
        assert told == late == [None]
    assert not (tmp_path / STOP).exists()


def test_stop_waits_for_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "sweep.json").write_text("{}")
    with holder(folder) as process:
        assert process.stdout and process.stdin
        process.stdout.readline()
        ended: list[int] = []
        thread = threading.Thread(target=lambda: ended.append(stop(tmp_path, "mine")))
        thread.start()
        assert process.stdout.readline() == "asked to stop\n"
        assert ended == []
        process.stdin.close()
        thread.join(60)
    assert ended == [0]
    first, last = capsys.readouterr().out.splitlines()
    assert f"process {process.pid}" in first and last.startswith("mine is stopped")


def test_stop_what_nobody_runs(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sweep.json").write_text("{}")
    with locked(tmp_path / "mine", print):
        pass
    with pytest.raises(SweepError, match=r"^stop mine: nobody runs it$"):
        stop(tmp_path, "mine")
    assert not (tmp_path / "mine" / STOP).exists()
    with pytest.raises(SweepError, match=r"^stop mina: no sweep of that name in .*; did you mean 'mine'"):
        stop(tmp_path, "mina")


def test_whoever_listens_no_more_has_done_what_was_asked(tmp_path: Path) -> None:
    """A wish that is being granted is granted before `on_wish(None)` returns, and the next one is not heard."""
    began, heard = threading.Event(), list[str]()

    def grant(wish: Mapping[str, Any]) -> None:
        began.set()
        time.sleep(0.3)
        heard.append(wish["what"])

    with locked(tmp_path, print) as held:
        held.on_wish(grant)
        write_atomically(tmp_path / "wish-1.json", b'{"what": "first"}')
        assert began.wait(10)
        held.on_wish(None)
        assert heard == ["first"]
        write_atomically(tmp_path / "wish-2.json", b'{"what": "second"}')
        time.sleep(0.3)
        assert heard == ["first"] and held._thread.is_alive()
