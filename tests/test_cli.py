"""The door: right words reach the sweep as a Config and a Space, wrong ones end in a plain line and leave nothing."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep import __version__, cli
from lca_sweep.commands import COMMANDS
from lca_sweep.completing import OPTIONS
from lca_sweep.compose import compose, config_dir, groups
from lca_sweep.config import Config
from lca_sweep.core.errors import UserError
from lca_sweep.core.knobs import flat
from lca_sweep.manual import MANUAL
from lca_sweep.search.space import Space

SWEEPS = groups([config_dir()])["sweep"]
ROOT = Path(__file__).parents[1]


@dataclass
class Door:
    """What the door let through, and how it is asked."""

    started: list[tuple[Config, Space]] = field(default_factory=list)
    status: int = 0

    def start(self, config: Config, space: Space) -> int:
        self.started.append((config, space))
        return self.status

    def opened(self, *words: str) -> tuple[Config, Space]:
        """Config and Space that these words lead to."""
        assert cli.main(words) == self.status
        return self.started.pop()


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The door in an empty working folder, with nothing behind it."""
    found, root = Door(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "start", found.start)
    yield found
    root.handlers[:] = handlers  # Hydra's --info and --hydra-help set up the logging of their process
    root.setLevel(level)


# --- right words ---


def test_alone_it_trains_the_papers_setting_once(door: Door) -> None:
    assert door.opened() == (Config(), {})


def test_the_exit_status_is_the_sweeps(door: Door) -> None:
    door.status = 7
    assert cli.main(["trainer.lr=0.3"]) == 7


def test_the_words_are_the_processs_by_default(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lca-sweep", "trainer.lr=0.3"])
    assert cli.main() == 0
    assert door.started[0][0].trainer.lr == 0.3


@settings(max_examples=10)  # of six knobs each; Hydra takes its time
@given(
    st.fixed_dictionaries(
        {
            "trainer.lr": st.floats(1e-300, 1e300),
            "trainer.epochs": st.integers(1, 10**9),
            "init.spike": st.floats(0, 1),
            "model.widths": st.none() | st.lists(st.integers(1, 9), min_size=1),
            "cluster.gpus_per_pack": st.none() | st.floats(0, 8),
            "sweep.name": st.none() | st.from_regex(r"[a-z][a-z0-9_.-]*", fullmatch=True).filter(lambda s: s != "null"),
        }
    )
)
def test_what_is_typed_arrives_unchanged(knobs: dict[str, object]) -> None:
    words = [f"{name}={'null' if value is None else value}" for name, value in knobs.items()]
    config = flat(compose(words, [config_dir()]))
    assert {name: config[name] for name in knobs} == knobs
    assert all(type(config[name]) is type(value) for name, value in knobs.items())


def test_a_sweeps_space_can_be_changed_from_the_command_line(door: Door) -> None:
    _, before = door.opened("+sweep=mnist")
    _, after = door.opened("+sweep=mnist", "sweep.space.trainer.lr.low=1e-3", "~sweep.space.model")
    assert after["trainer.lr"] == FloatDistribution(1e-3, before["trainer.lr"].high, log=True)
    assert after.keys() == before.keys() - {"model.width", "model.depth"}


def test_a_grid_need_not_be_counted(door: Door) -> None:
    words = ("search=grid", "sweep.space.init.seed={low: 0, high: 4}", "sweep.space.trainer.algorithm.choices=[gbp,bp]")
    config, space = door.opened(*words, "sweep.trials=null")
    assert (config.sweep.trials, list(space)) == (10, ["init.seed", "trainer.algorithm"])
    assert door.opened(*words, "sweep.trials=7")[0].sweep.trials == 7


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_a_range_can_be_added_with_or_without_plus(door: Door, plus: str) -> None:
    _, space = door.opened("sweep.trials=4", plus + "sweep.space.init.seed={low: 0, high: 9}")
    assert space == {"init.seed": IntDistribution(0, 9)}
    _, space = door.opened(
        "+sweep=smoke", plus + "sweep.space.init.spike.low=0", plus + "sweep.space.init.spike.high=1"
    )
    assert space["init.spike"] == FloatDistribution(0, 1)


def test_a_range_can_give_way_to_choices(door: Door) -> None:
    _, space = door.opened("+sweep=mnist", "~sweep.space.model.depth", "sweep.space.model.depth.choices=[1,3]")
    assert space["model.depth"] == CategoricalDistribution((1, 3))


def test_a_mapping_sets_several_knobs_of_a_group(door: Door) -> None:
    config, _ = door.opened("model={width: 30, depth: 3}", "init={spike: 0.5}")
    assert (config.model.width, config.model.depth, config.init.spike) == (30, 3, 0.5)


def test_a_conf_folder_of_ones_own(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "my own conf"
    (folder / "sweep").mkdir(parents=True)
    (folder / "sweep/mine.yaml").write_text("# @package _global_\ntrainer: {lr: 0.7}\n")
    config, _ = door.opened("--config-dir", "my own conf", "+sweep=mine")
    assert config.trainer.lr == 0.7


# --- wrong words ---

WRONG: list[tuple[list[str], list[str]]] = [
    # unknown knobs
    (["trainer.l=1"], ["trainer.l: no such knob", "'trainer.lr'"]),
    (["trianer.lr=1"], ["trianer.lr: no such knob", "'trainer.lr'"]),
    (["lr=1"], ["lr: no such knob", "'trainer.lr'"]),
    (["xyzzy=1"], ["xyzzy: no such knob", "--cfg job"]),
    (["sweeps=mnist"], ["sweeps: no such knob", "'sweep'"]),
    (["+trainer.foo=1"], ["trainer.foo: no such knob"]),
    (["+foo=1"], ["foo: no such knob"]),
    (["model={widht: 3}"], ["model.widht: no such knob", "'model.width'"]),
    (["init={spkie: 0.3}"], ["init.spkie: no such knob", "'init.spike'"]),
    (["+init={spkie: 0.3}"], ["spkie"]),
    (["trainer.lr.x=1"], ["trainer.lr.x: no such knob", "'trainer.lr'"]),
    (["schema=1"], ["schema: no such knob"]),
    # wrong types
    (["trainer.epochs=abc"], ["trainer.epochs=abc: must be a whole number, >= 1"]),
    (["trainer.epochs=2.5"], ["trainer.epochs=2.5: must be a whole number, >= 1"]),
    (["trainer.epochs=true"], ["trainer.epochs=true: must be a whole number, >= 1"]),
    (["trainer.epochs=null"], ["trainer.epochs=null: must not be null"]),
    (["trainer.lr="], ["trainer.lr=: must be a number, > 0"]),
    (["trainer.lr=[1]"], ["trainer.lr"]),
    (["trainer.lr=???"], ["trainer.lr=???: must be set"]),
    (["trainer.lr=${foo}"], ["trainer.lr", "foo"]),
    (["model.widths=3"], ["model.widths=3: must be a list"]),
    (["model.widths=[1,a]"], ["model.widths[1]=a: must be a whole number"]),
    (["init=3"], ["init=3", "init is a group of knobs", "init.spike"]),
    (["sweep.space=3"], ["sweep.space=3: must be a tree"]),
    # out of range
    (["trainer.lr=-1"], ["trainer.lr=-1.0: must be > 0"]),
    (["trainer.lr=nan"], ["trainer.lr=nan"]),
    (["trainer.epochs=0"], ["trainer.epochs=0: must be >= 1"]),
    (["init.spike=1.5"], ["init.spike=1.5: must be >= 0 and <= 1"]),
    (["data.name=mnits"], ["data.name=mnits: must be one of mnist, mnist_full, fashion_mnist, cifar10, digits"]),
    (["model.widths=[]"], ["model.widths=[]"]),
    (["pruner=halving", "pack.size=1"], ["pack.size=1", "pruner"]),
    # groups and sweeps
    (["model=papr"], ["model=papr: no such choice of model", "'paper'", "there are: paper"]),
    (["data=foo"], ["data=foo: no such choice of data", "cifar10, digits, fashion_mnist, mnist, mnist_full"]),
    (["data=[mnist,digits]"], ["no such choice of data"]),
    (["+sweep=mnsit"], ["+sweep=mnsit: no such sweep", "'mnist'", "smoke"]),
    (["+sweep=null"], ["+sweep=null: no such sweep", ", ".join(SWEEPS)]),
    (["sweep=mnist"], ["write +sweep=mnist"]),
    (["++sweep=mnist"], ["write +sweep=mnist"]),
    (["+model=paper"], ["write model=paper"]),
    (["model@x=paper"], ["model@x"]),
    (["~sweep"], ["sweep"]),
    # no overrides at all
    (["mnist"], ["mnist: not understood", "data=mnist", "+sweep=mnist"]),
    (["smoke"], ["smoke: not understood", "+sweep=smoke"]),
    (["+sweep"], ["+sweep: not understood", "+sweep=CHOICE", ", ".join(SWEEPS)]),
    (["frobnicate"], ["frobnicate: not understood", "NAME=VALUE"]),
    (["trainer.lr"], ["trainer.lr: not understood", "NAME=VALUE"]),
    (["trainer.lr=="], ["trainer.lr==: not understood"]),
    (["foo["], ["foo[: not understood", "quote"]),
    (["data.dir=~/x"], ["data.dir=~/x: not understood", "quote"]),
    (["=3"], ["=3: not understood"]),
    ([""], ["'': not understood"]),
    # what Hydra can and we cannot
    (["trainer.lr=0.1,0.2"], ["must be one value", "sweep.space.trainer.lr"]),
    (["pack.size=1,2"], ["pack.size=1,2: must be one value"]),
    (["~trainer.lr"], ["~trainer.lr", "cannot be taken out"]),
    (["~sweep.space"], ["~sweep.space", "cannot be taken out"]),
    (["~sweep.space.trainer"], ["sweep.space.trainer"]),
    (["+trainer.lr=0.1"], ["trainer.lr", "remove +"]),
    (["hydra.run.dir=x"], ["hydra.run.dir=x", "nothing of Hydra's"]),
    (["hydra/launcher=basic"], ["hydra/launcher=basic", "nothing of Hydra's"]),
    # the space
    (["sweep.trials=8"], ["sweep.trials=8", "nothing is searched"]),
    (["+sweep=mnist", "sweep.space.trainer.l.low=1"], ["sweep.space.trainer.l: no such knob", "'trainer.lr'"]),
    (["+sweep=mnist", "sweep.space.trainer.lr.lo=1"], ["sweep.space.trainer.lr.lo", "'low'"]),
    (["+sweep=mnist", "sweep.space.trainer.lr.low=9"], ["sweep.space.trainer.lr: low=9.0 is above high"]),
    (["+sweep=mnist", "sweep.space.trainer.lr.low=0"], ["sweep.space.trainer.lr.low=0.0: must be > 0"]),
    (["+sweep=mnist", "sweep.space.model.width=3"], ["sweep.space.model.width=3: must be {low"]),
    (["+sweep=mnist", "sweep.space.model.depth.choices=[1,2]"], ["sweep.space.model.depth", "remove"]),
    (["+sweep=mnist", "model.widths=[20]"], ["sweep.space.model.width", "no effect"]),
    (["sweep.space.pack.size={low: 1, high: 9}"], ["sweep.space.pack.size", "belongs to the sweep"]),
    (["+sweep=mnist", "trainer=bp"], ["sweep.space.init.spike", "no effect", "trainer.algorithm=bp"]),
    (["trainer=bp", "prior=sparse"], ["prior.weight=1.0", "trainer.algorithm=bp; must be 0"]),
    (["sweep.trials=null"], ["sweep.trials=null: must be a whole number", "search=grid"]),
    (["+sweep=mnist", "search=grid"], ["sweep.space.trainer.lr: needs choices or step for search=grid"]),
    (
        ["search=grid", "sweep.trials=9", "sweep.space.init.seed={low: 0, high: 4}"],
        ["sweep.trials=9: the grid has 5 points"],
    ),
    # flags
    (["--frobnicate"], ["--frobnicate", "--help"]),
    (["-m", "trainer.lr=1,2"], ["--multirun", "sweep.space"]),
    (["--multirun"], ["--multirun", "sweep.space"]),
    (["--run"], ["--run"]),
    (["--cfg"], ["--cfg"]),
    (["--cfg", "foo"], ["foo", "job"]),
    (["--cfg", "job", "--info"], ["--info", "--cfg"]),
    (["--cfg", "job", "trainer.l=1"], ["trainer.l: no such knob", "'trainer.lr'"]),
    (["--cfg", "job", "--package", "frobnicate"], ["frobnicate"]),
    (["--info", "all", "+sweep=foo"], ["+sweep=foo: no such sweep"]),
    (["--info", "foo"], ["foo", "defaults"]),
    (["--resolve"], ["--resolve", "--cfg"]),
    (["-sc"], ["-sc", "install=SHELL"]),
    (["-sc", "install=foo"], ["-sc", "bash"]),
    (["--config-dir", "nowhere"], ["--config-dir nowhere: no such folder"]),
]


@pytest.mark.parametrize(("words", "pieces"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_word_ends_in_a_plain_line_and_leaves_nothing(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], pieces: list[str]
) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("lca_sweep: ") and err.endswith("\n")
    assert len(err.splitlines()) <= 3
    assert [piece for piece in pieces if piece not in err] == [], err
    assert (out, door.started, list(tmp_path.iterdir())) == ("", [], [])


GLOBAL = "# @package _global_\n"
WRONG_FILES: list[tuple[str, list[str]]] = [
    (GLOBAL + "trainer: {l: 3}", ["sweep/mine.yaml, line 2: trainer.l: no such knob", "'trainer.lr'"]),
    (GLOBAL + "frobnicate: 3", ["sweep/mine.yaml: frobnicate: no such knob"]),
    (GLOBAL + "trainer: {lr: abc}", ["sweep/mine.yaml, line 2: trainer.lr=abc: must be a number, > 0"]),
    (GLOBAL + "trainer: {lr: -1}", ["sweep/mine.yaml, line 2: trainer.lr=-1.0: must be > 0"]),
    (GLOBAL + "trainer: 3", ["sweep/mine.yaml"]),
    (GLOBAL + "- 3", ["sweep/mine.yaml"]),
    (GLOBAL + "sweep: {trials: [3", ["sweep/mine.yaml, line 2"]),
    (GLOBAL + "sweep: {space: {trainer: {l: {low: 1, high: 2}}}}", ["sweep.space.trainer.l: no such knob"]),
    (GLOBAL + "defaults: [override /model: foo]", ["model/foo.yaml", "paper"]),
    (GLOBAL + "defaults: [override /foo: bar]", ["sweep/mine.yaml", "foo"]),
    ("trails: 3", ["sweep/mine.yaml, line 1: sweep.trails: no such knob", "'sweep.trials'"]),
]


@pytest.mark.parametrize(("text", "pieces"), WRONG_FILES, ids=[text for text, _ in WRONG_FILES])
def test_a_wrong_conf_file_is_named(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, pieces: list[str]
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/mine.yaml").write_text(text)
    assert cli.main(["--config-dir", ".", "+sweep=mine"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("lca_sweep: ") and len(err.splitlines()) <= 3
    assert [piece for piece in pieces if piece not in err] == [], err
    assert (out, door.started) == ("", [])


def raising(error: Exception) -> Callable[[Config, Space], int]:
    def start(config: Config, space: Space) -> int:
        raise error

    return start


def test_an_error_for_the_user_from_behind_the_door_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "start", raising(UserError("train-images.idx.gz: is too short")))
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "lca_sweep: train-images.idx.gz: is too short\n"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), RuntimeError("a bug")])
def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(cli, "start", raising(error))
    with pytest.raises(type(error), match="a bug"):
        cli.main([])


@pytest.mark.parametrize("name", ["HYDRA_FULL_ERROR", "LCA_SWEEP_DEBUG"])
def test_tracebacks_can_be_asked_for(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert cli.main(["trainer.epochs=abc"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("\nlca_sweep: trainer.epochs=abc: must be a whole number, >= 1\n")
    monkeypatch.setenv(name, "0")
    assert cli.main(["trainer.epochs=abc"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_word_asks_for_tracebacks_too(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["trainer.epochs=abc", "debug=true"], ["debug=true", "status", "nobody"]):
        assert cli.main(words) == 2
        assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("LCA_SWEEP_DEBUG", "1")
    assert cli.main(["trainer.epochs=abc", "debug=false"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert door.opened("trainer.lr=0.3", "debug=true")[0].trainer.lr == 0.3


# --- flags ---


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert MANUAL.keys() == COMMANDS.keys()
    for command in COMMANDS:
        pages = []
        for words in (["help", command], [command, "--help"], [command, "x", "-h"]):
            assert cli.main(words) == 0
            pages.append(capsys.readouterr().out)
        assert len(set(pages)) == 1 and pages[0].startswith(f"python -m lca_sweep {command} ")
        assert max(map(len, pages[0].splitlines())) <= 80
        assert all(option in pages[0] for option in OPTIONS.get(command, ()))
    assert cli.main(["help"]) == 0 and capsys.readouterr().out == cli.usage([cli.config_dir()])


def test_a_conf_folder_may_stand_before_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "own.yaml").write_text("# @package _global_\ntrainer: {epochs: 0}\n")
    for words in (["--config-dir", str(tmp_path), "doctor"], ["doctor", "--config-dir", str(tmp_path)]):
        assert cli.main([*words, "+sweep=own"]) == 2
        assert "own.yaml, line 2: trainer.epochs=0: must be >= 1" in capsys.readouterr().err


def test_a_config_that_cannot_be_run_is_shown_and_refused(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--cfg", "job", "trainer.epochs=0"]) == 2
    out, err = capsys.readouterr()
    assert "epochs: 0" in out and err == "lca_sweep: trainer.epochs=0: must be >= 1\n" and not door.started


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["model.width=50"], "model.width"),
        (["trainer={lr: 0.2, epochs: 3}"], "trainer.lr"),
        (["sweep.space.trainer.batch_seed.value=3", "trainer.batch_seed=4"], "trainer.batch_seed"),
    ],
)
def test_a_knob_that_every_trial_has_otherwise_is_refused(
    door: Door, capsys: pytest.CaptureFixture[str], words: list[str], name: str
) -> None:
    assert cli.main(["+sweep=mnist", *words]) == 2
    err = capsys.readouterr().err
    assert f": {name} is searched, so that this would change nothing; " in err and f"'~sweep.space.{name}'" in err
    assert cli.main(["+sweep=mnist", *words, f"~sweep.space.{name}"]) == 0 and len(door.started) == 1


def test_a_knob_that_only_some_trials_search_may_be_set(door: Door) -> None:
    """In mnist.yaml the prior's weight is searched where there is a prior."""
    assert cli.main(["+sweep=mnist", "prior.weight=0.5"]) == 0
    assert door.started[0][0].prior.weight == 0.5


def test_help_is_one_screen_with_every_group_and_choice(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        assert cli.main([flag, "trainer.lr=0.3"]) == 0
        page = capsys.readouterr().out
        assert len(page.splitlines()) <= 58
        assert max(map(len, page.splitlines())) <= 80
        for group, choices in groups([config_dir()]).items():
            assert f" {group} {', '.join(choices)} " in " ".join(page.replace("+", " ").split())
        assert "+sweep=mnist" in page and "MLflow UI" in page
    assert door.started == []


def test_the_examples_of_the_help_page_are_right(door: Door) -> None:
    page = cli.usage([config_dir()])
    examples = [
        line.partition("python -m lca_sweep")[2].split("  ")[0] for line in page.splitlines() if "  python" in line
    ]
    assert len(examples) >= 4
    for example in examples:
        first = example.lstrip().partition(" ")[0].strip(",")
        if first not in COMMANDS:  # which have tests of their own
            door.opened(*(word.strip("'") for word in example.split()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "stop: write stop NAME or stop NAME sweep.dir=..."),
        (["a", "b"], "stop: write stop NAME or stop NAME sweep.dir=..."),
        (["--now"], "stop: write stop NAME or stop NAME sweep.dir=..."),
        (["mine"], "stop mine: no sweep of that name in sweeps"),
        (["mine", "sweep.dir=there"], "stop mine: no sweep of that name in there"),
    ],
)
def test_stop_what_is_not_there(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["stop", *words]) == 2
    assert capsys.readouterr().err == f"lca_sweep: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lca_sweep {__version__}\n"


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (["--cfg", "job", "+sweep=smoke", "trainer.epochs=3"], ["epochs: 3", "name: digits", "space:"]),
        (["trainer.lr=0.25", "-c", "job", "-p", "trainer", "sweep.space.init.seed={low: 0, high: 2}"], ["lr: 0.25"]),
        (["--cfg", "job", "--resolve", "prior.spike=${trainer.beta1}"], ["spike: 0.9"]),
        (["--info", "defaults", "+sweep=smoke"], ["sweep/smoke", "data/digits"]),
        (["--info"], ["Defaults List"]),
        (["--hydra-help"], ["Hydra"]),
        (["-sc", "install=bash"], ["complete", "lca-sweep"]),
    ],
)
def test_the_flags_left_to_hydra_answer_and_leave_nothing(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], pieces: list[str]
) -> None:
    before = list(sys.argv)
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert [piece for piece in pieces if piece not in out] == [], out
    assert (err, door.started, list(tmp_path.iterdir()), sys.argv) == ("", [], [], before)


def test_cfg_shows_what_a_run_would_use(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    words = ["+sweep=mnist", "trainer.epochs=3", "sweep.space.init.mean_variance={low: 0.1, high: 0.2}"]
    assert cli.main(["--cfg", "job", *words]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    config, _ = door.opened(*words)
    assert {group: set(knobs) for group, knobs in shown.items()} == {
        group: set(vars(getattr(config, group))) for group in vars(config)
    }
    assert shown["sweep"]["space"] == config.sweep.space
    assert shown["trainer"]["epochs"] == config.trainer.epochs == 3


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("lca-sweep +sweep=", {f"+sweep={name}" for name in SWEEPS}),
        ("lca-sweep +sweep=sm", {"+sweep=smoke"}),
        ("lca-sweep pruner=h", {"pruner=halving", "pruner=hyperband"}),
        ("lca-sweep trainer.l", {"trainer.lr="}),
        ("lca-sweep +sweep=mnist sweep.space.tr", {"sweep.space.trainer."}),
        ("lca-sweep --frob", set()),
    ],
)
def test_what_the_shell_is_told(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, completions: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert cli.main(["-sc", "query=bash"]) == 0
    out, err = capsys.readouterr()
    assert (set(out.split()), err) == (completions, "")


# --- as a program of its own ---


def program(cwd: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lca_sweep", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(("words", "piece"), [(["trainer.l=1"], "'trainer.lr'"), (["+sweep=mnsit"], "'mnist'")])
def test_the_program_refuses_with_status_2(tmp_path: Path, words: list[str], piece: str) -> None:
    done = program(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lca_sweep: {words[0].partition('=')[0]}") and piece in done.stderr
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []
    assert "Traceback" in program(tmp_path, *words, LCA_SWEEP_DEBUG="1").stderr


def test_help_loads_nothing_heavy_and_a_refusal_no_trainer(tmp_path: Path) -> None:
    code = """
import sys
from lca_sweep.cli import main
main(["--help"])
assert not {"hydra", "omegaconf", "yaml", "optuna", "torch", "numpy", "ray", "mlflow"} & set(sys.modules), "help"
main(["sweep.space.trainer.lr={low: 3, high: 2}"])
assert not {"torch", "ray", "mlflow"} & set(sys.modules), "refusal"
"""
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "lca_sweep: sweep.space.trainer.lr: low=3.0 is above high=2.0\n"


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "lca_sweep", *words]
        done = subprocess.run(command, cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, "", [])


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_the_console_script(tmp_path: Path) -> None:
    script = tmp_path / "lca-sweep"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom lca_sweep.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    lines = """
eval "$(lca-sweep -sc install=bash)"
COMP_LINE="lca-sweep +sweep=m"; COMP_POINT=18; COMP_CWORD=1
hydra_bash_completion
echo "${COMPREPLY[@]}"
complete -p lca-sweep
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", lines], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == "+sweep=mnist"
    assert "hydra_bash_completion lca-sweep" in second
