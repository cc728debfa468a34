"""A sweep's folder belongs to one set of knobs and to one process at a time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from lca_sweep.config import Config, Pack, Pruner, Search, Sweep, without_password
from lca_sweep.core.knobs import Trainer, replace, walk
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.folder import FREE, IDENTITY, Folder, folder_path, plain_config
from lca_sweep.sweep.folder import opened as opened_by

SPACE = {"trainer": {"lr": {"low": 0.01, "high": 0.3, "log": True}}}


def opened(config: Config, path: Path, said: list[str] | None = None) -> AbstractContextManager[Folder]:
    """The folder; what is said to the user goes into `said`."""
    return opened_by(config, path, [].append if said is None else said.append)


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
    if isinstance(value, list):
        return [*value, "more"]
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
    assert content == {"uid": folder.uid, "study": "s", "config": plain_config(config(tmp_path)), "pack_size": 8}


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
    first, *differing, remedy, free = str(caught.value).splitlines()
    if knob == "sweep.space":
        assert first == "sweep.name=s: this sweep was begun with other knobs:"
        assert "  sweep.space.model.width.high: not set -> 2" in differing
        assert "  sweep.space.trainer.lr.low: 0.01 -> not set" in differing
    else:
        then = 8 if knob == "pack.size" else value  # what null had come to
        assert first == f"sweep.name=s: this sweep was begun with another {knob}: {then} -> {other(value)}"
    assert "sweep.name=..." in remedy and "sweep.resume=never" in remedy
    parts = re.findall(r"(\w+\.)\{?([\w*,]+)", free)
    named = {f"{section}{name}" for section, names in parts for name in names.split(",")}
    assert {"sweep.trials", "sweep.grace", "data.dir", "cluster.*"} <= named and knob not in named
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
    assert len(lines) == 12 and lines[9] == "  and 2 more"


def test_a_second_process_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom lca_sweep.config import Config\n"
        "from lca_sweep.sweep.folder import opened\n"
        "with opened(Config(), Path(sys.argv[1]), print):\n    print('open', flush=True)\n    sys.stdin.read()\n"
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
        advice = f"python -m lca_sweep stop s sweep.dir={tmp_path}"
        message = rf"s: this sweep is being run by process {holder.pid} of .* on .*: {advice}$"
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


@pytest.mark.parametrize("word", ["hush", "hu/sh", "hu@sh", "hu:sh"])
def test_no_part_of_a_password_is_shown(word: str) -> None:
    assert without_password(f"postgresql://me:{word}@host:5432/db") == "postgresql://me:***@host:5432/db"
    assert without_password("http://host:5000/a") == "http://host:5000/a"
    assert without_password("sqlite:////folder/mlflow.db") == "sqlite:////folder/mlflow.db"


@pytest.mark.parametrize("knob", ["tracking.uri", "search.storage"])
def test_passwords_are_not_written_and_may_be_changed(tmp_path: Path, knob: str) -> None:
    old, new = (replace(config(tmp_path), {knob: f"postgresql://me:{word}@host:5432/db"}) for word in ("hush", "psst"))
    with opened(old, folder_path(old, "s")) as folder:
        assert not [file for file in folder.path.iterdir() if "hush" in file.read_text()]
        assert "me:***@host" in (folder.path / "config.yaml").read_text()
    assert folder_path(new, "s") == folder.path


def test_an_older_sweep_lacks_knobs_that_came_later(tmp_path: Path) -> None:
    """They had no other than their default then."""
    config = begun(tmp_path)
    file = tmp_path / "s" / IDENTITY
    content = json.loads(file.read_bytes())
    del content["study"], content["config"]["search"]["deterministic"]
    file.write_text(json.dumps(content))
    with opened(config, folder_path(config, "s")) as folder:
        assert (folder.uid, folder.study) == (content["uid"], "s")
    with pytest.raises(SweepError, match=r"search\.deterministic: False -> True"):
        folder_path(replace(config, {"search.deterministic": True}), "s")


def test_an_older_sweep_has_a_knob_that_went_away(tmp_path: Path) -> None:
    """`data.train_size` is now the trial's own: a sweep that left it alone goes on, one that set it is another one."""
    config = begun(tmp_path)
    file = tmp_path / "s" / IDENTITY
    content = json.loads(file.read_bytes())
    del content["config"]["trainer"]["train_size"], content["config"]["trainer"]["algorithm"]
    content["config"]["data"]["train_size"] = None
    file.write_text(json.dumps(content))
    with opened(config, folder_path(config, "s")) as folder:
        assert folder.uid == content["uid"]
    content["config"]["data"]["train_size"] = 500
    file.write_text(json.dumps(content))
    with pytest.raises(SweepError, match=r"data\.train_size: 500 -> not set"):
        folder_path(config, "s")


def test_put_aside(tmp_path: Path) -> None:
    """`sweep.resume=never`: other knobs or not, a new sweep begins, and the old one is kept whole."""
    old, said = begun(tmp_path), list[str]()
    (tmp_path / "s" / "study.journal").write_text("precious")
    before = {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()}
    new = replace(old, {"sweep.resume": "never", "trainer.lr": 0.5})
    uids = {json.loads(before[IDENTITY])["uid"]}
    for count in (1, 2):
        with opened(new, folder_path(new, "s"), said) as folder:
            assert folder.path == tmp_path / "s" and not (folder.path / "study.journal").exists()
            uids.add(folder.uid)
        assert said == [f"the sweep that had this name is kept in {tmp_path / f's.{n}'}" for n in range(1, count + 1)]
    assert len(uids) == 3
    assert {file.name: file.read_bytes() for file in (tmp_path / "s.1").iterdir()} == before


def test_what_runs_is_not_put_aside(tmp_path: Path) -> None:
    old = begun(tmp_path)
    with opened(old, tmp_path / "s"):
        never = replace(old, {"sweep.resume": "never"})
        with pytest.raises(SweepError, match="is being run by"), opened(never, tmp_path / "s"):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_new_study_in_a_database_that_holds_the_old_one(tmp_path: Path) -> None:
    old = replace(config(tmp_path), {"search.storage": "sqlite:///study.db"})
    with opened(old, folder_path(old, "s")) as folder:
        assert folder.study == "s"
    never = replace(old, {"sweep.resume": "never"})
    with opened(never, folder_path(never, "s")) as folder:
        assert folder.study == f"s-{folder.uid[:8]}"
        name = folder.study
    with opened(old, folder_path(old, "s")) as folder:
        assert folder.study == name


def test_an_error_of_the_sweep_itself_is_not_one_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(Config(), tmp_path / "s"):
        raise FileNotFoundError("elsewhere")
