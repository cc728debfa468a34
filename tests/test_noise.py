"""What libraries print while a sweep runs is in a file, and not between the lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """if True:
    import logging, os, sys, warnings
    from pathlib import Path
    from lca_sweep.sweep.console import wide_console
    from lca_sweep.sweep.noise import aside, no_prints

    console = wide_console()
    with aside(Path(sys.argv[1])):
        with no_prints():
            os.write(2, b"C++ says so\\n")
            print("a library prints")
            warnings.warn("a library warns")
            logging.getLogger("ray").error("a library logs")
            os.system("echo a child says so >&2")
            console.print("ours")
        print("ours too")
        print("the user must know", file=sys.__stderr__)
    print("after", file=sys.stderr)
    os.write(2, b"as before\\n")
    assert sys.__stderr__.fileno() == 2 and sys.stderr is sys.__stderr__
    """

ASIDE = "import sys, pathlib; from lca_sweep.sweep.noise import aside\nwith aside(pathlib.Path(sys.argv[1]))"


def noisy(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, str(folder)], capture_output=True, text=True, timeout=120)


def test_it_is_put_aside(tmp_path: Path) -> None:
    done = noisy(tmp_path / "logs")
    assert (done.returncode, done.stdout) == (0, "ours\nours too\n"), done.stderr
    assert done.stderr == "the user must know\nafter\nas before\n"
    said = (tmp_path / "logs" / "messages.log").read_text()
    for words in (
        "C++ says so",
        "a library prints",
        "UserWarning: a library warns",
        "a library logs",
        "a child says so",
    ):
        assert said.count(words) == 1, said


def test_what_an_earlier_start_printed_is_kept(tmp_path: Path) -> None:
    noisy(tmp_path)
    noisy(tmp_path)
    assert (tmp_path / "messages.log").read_text().count("C++ says so") == 2


def test_no_file_is_left_where_nobody_said_anything(tmp_path: Path) -> None:
    code = f"{ASIDE}: pass"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "logs")], check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def test_an_error_goes_where_it_went_before(tmp_path: Path) -> None:
    code = f"{ASIDE}: 1 / 0"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("blocked", ["logs", "logs/messages.log"])
def test_where_no_file_can_be_it_goes_where_it_went_before(tmp_path: Path, blocked: str) -> None:
    """Also on a full disk a sweep has to come to its end."""
    if blocked == "logs":
        (tmp_path / "logs").touch()
    else:
        (tmp_path / blocked).mkdir(parents=True)
    done = noisy(tmp_path / "logs")
    assert done.returncode == 0 and "C++ says so" in done.stderr and "ours" in done.stdout
