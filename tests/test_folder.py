"""A sweep's folder belongs to one set of knobs and to one process at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lca_sweep.config import Config, Pack, Pruner, Search, Sweep
from lca_sweep.core.knobs import Trainer, replace, walk
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.folder import FREE, IDENTITY, folder_path, opened, plain_config

SPACE = {"trainer": {"lr": {"low": 0.01, "high": 0.3, "log": True}}}


def config(folder: Path, **sweep: Any) -> Config:
    values: dict[str, Any] = {"name": "s", "dir": str(folder), "trials": 4, "space": SPACE}
    return Config(sweep=Sweep(**(values | sweep)))


def begun(folder: Path) -> Config:
    """A sweep that was begun in `folder`."""
    with opened(config(folder), folder / "s"):
        pass
    return config(folder)


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, (bool, str)):
        return f"{value}x" if isinstance(value, str) else not value
    if value is None:
        return "7"
    if isinstance(value, dict):
        return {"model": {"width": {"low": 1, "high": 2}}}
    return value + 1


KNOBS = [name for name, _, _ in walk(Config())]


def test_looking_touches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps"
    assert folder_path(config(folder), "s") == folder / "s"
    assert not folder.exists()


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_path(config(Path("sweeps")), "s") == tmp_path / "sweeps" / "s"


def test_what_is_written(tmp_path: Path) -> None:
    with opened(config(tmp_path), tmp_path / "s") as folder:
        assert folder.path == tmp_path / "s"
        assert {entry.name for entry in folder.path.iterdir()} == {"lock", "config.yaml", IDENTITY}
    content = json.loads((tmp_path / "s" / IDENTITY).read_bytes())
    assert content == {"uid": folder.uid, "config": plain_config(config(tmp_path))}


def test_the_same_sweep_for_ever_and_another_in_another_folder(tmp_path: Path) -> None:
    uids = []
    for name in ("s", "s", "t"):
        with opened(config(tmp_path), tmp_path / name) as folder:
            uids.append(folder.uid)
    assert uids[0] == uids[1] != uids[2]


@pytest.mark.parametrize("knob", [name for name in KNOBS if name.startswith(FREE)])
def test_how_much_and_where_may_differ(tmp_path: Path, knob: str) -> None:
    old = begun(tmp_path)
    value = dict((name, value) for name, value, _ in walk(old))[knob]
    changed = replace(old, {knob: other(value)})
    changed.sweep.dir = old.sweep.dir
    assert folder_path(changed, "s") == tmp_path / "s"


@pytest.mark.parametrize("knob", [name for name in KNOBS if not name.startswith(FREE)])
def test_other_knobs_are_refused_by_name(tmp_path: Path, knob: str) -> None:
    old = begun(tmp_path)
    before = {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()}
    value = dict((name, value) for name, value, _ in walk(old))[knob]
    with pytest.raises(SweepError) as caught:
        folder_path(replace(old, {knob: other(value)}), "s")
    first, *differing, last = str(caught.value).splitlines()
    assert first == "sweep.name=s: this sweep was begun with other knobs:"
    if knob == "sweep.space":
        assert "  sweep.space.model.width.high: not set -> 2" in differing
        assert "  sweep.space.trainer.lr.low: 0.01 -> not set" in differing
    else:
        assert differing == [f"  {knob}: {value} -> {other(value)}"]
    assert "sweep.name=..." in last
    assert {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()} == before


def test_many_differences_are_counted(tmp_path: Path) -> None:
    old = begun(tmp_path)
    new = Config(
        sweep=old.sweep,
        pack=Pack(size=2, padding=2.0),
        search=Search(sampler="random", seed=3, startup_trials=1),
        pruner=Pruner(eta=3, min_epochs=2),
        trainer=Trainer(lr=0.5, epochs=2, batch_size=10),
    )
    with pytest.raises(SweepError) as caught:
        folder_path(new, "s")
    lines = str(caught.value).splitlines()
    assert len(lines) == 11 and lines[9] == "  and 2 more"


def test_a_second_process_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom lca_sweep.config import Config\n"
        "from lca_sweep.sweep.folder import opened\n"
        "with opened(Config(), Path(sys.argv[1])):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout and holder.stdout.readline() == "open\n"
        message = f"s: this sweep is being run by process {holder.pid}$"
        with pytest.raises(SweepError, match=message), opened(Config(), tmp_path / "s"):
            pass
        holder.kill()  # the lock goes with its process, however that ends
    with opened(Config(), tmp_path / "s") as folder:
        assert folder.uid


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), opened(Config(), tmp_path / "s"):
        raise ZeroDivisionError
    with opened(Config(), tmp_path / "s"):
        pass


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError) as caught, opened(config(tmp_path / "file"), tmp_path / "file" / "s"):
        pass
    assert str(caught.value).startswith(f"sweep.dir={tmp_path / 'file'}: cannot write {tmp_path / 'file'}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("knob", ["tracking.uri", "search.storage"])
def test_passwords_are_not_written_and_may_be_changed(tmp_path: Path, knob: str) -> None:
    old, new = (replace(config(tmp_path), {knob: f"postgresql://me:{word}@host:5432/db"}) for word in ("hush", "psst"))
    with opened(old, folder_path(old, "s")) as folder:
        assert not [file for file in folder.path.iterdir() if "hush" in file.read_text()]
        assert "me:***@host" in (folder.path / "config.yaml").read_text()
    assert folder_path(new, "s") == folder.path
