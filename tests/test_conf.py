"""Every file in conf/ composes, and says something that the knobs' defaults do not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from optuna.storages import InMemoryStorage

from lca_sweep.compose import compose, config_dir, groups
from lca_sweep.config import Config, Data, validate
from lca_sweep.core.knobs import TrialKnobs, flat
from lca_sweep.overrides import UsageError
from lca_sweep.search.space import knobs, parse
from lca_sweep.search.study import Study
from lca_sweep.sweep.warm import warm_start

CONF = config_dir()
# kubernetes sets knobs of several groups, from the environment: it has tests of its own
GROUPS = {group: [one for one in found if one != "kubernetes"] for group, found in groups([CONF]).items()}
SECTIONS = {field.name for field in dataclasses.fields(Config)}
CHOICES = [(group, choice) for group, choices in GROUPS.items() for choice in choices if group != "sweep"]
PLAIN = (dict, list, str, int, float, bool, type(None))

every_choice = pytest.mark.parametrize(("group", "choice"), CHOICES)
every_sweep = pytest.mark.parametrize("sweep", GROUPS["sweep"])


def content(group: str, choice: str) -> dict[str, Any]:
    """What a conf file says; read as Hydra reads it, for which 1e-4 is a number."""
    loaded = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
    assert isinstance(loaded, dict)
    return loaded


def said(sweep: str) -> dict[str, Any]:
    """What the conf file of a sweep says, over what the sweeps say that it builds on."""
    own = content("sweep", sweep)
    bases = [entry for entry in own.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    merged = OmegaConf.to_container(OmegaConf.merge(*(said(base) for base in bases), own))
    assert isinstance(merged, dict)
    return merged


def alien(value: Any) -> list[Any]:
    """What is neither a dataclass of ours nor plain, anywhere below a value."""
    if dataclasses.is_dataclass(value):
        return [found for field in dataclasses.fields(value) for found in alien(getattr(value, field.name))]
    if type(value) not in PLAIN:
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in alien(item)]


def test_the_conf_folder_is_the_checkouts_and_has_the_groups_of_the_knobs() -> None:
    assert Path(__file__).parents[1] / "conf" == CONF
    assert SECTIONS - {"init"} == GROUPS.keys()
    assert {"mnist", "smoke"} <= set(GROUPS["sweep"])
    assert {path.suffix for path in CONF.rglob("*") if path.is_file()} == {".yaml"}


def test_without_a_word_all_knobs_have_their_defaults() -> None:
    assert compose([], [CONF]) == Config()


@every_choice
def test_a_choice_composes_and_changes_only_its_own_group(group: str, choice: str) -> None:
    config = compose([f"{group}={choice}"], [CONF])
    validate(config)
    assert alien(config) == []
    said = {f"{group}.{name}": value for name, value in content(group, choice).items()}
    default = flat(Config())
    assert {name: value for name, value in flat(config).items() if value != default[name]} == said


SERVICES = {
    "LCA_SWEEP_DIR": "/sweeps",
    "LCA_SWEEP_STORAGE": "s3://lca-sweep/sweeps",
    "LCA_SWEEP_STUDY": "postgresql+psycopg://optuna@postgres:5432/optuna",
    "LCA_SWEEP_TRACKING": "http://mlflow:5000",
}


def test_on_kubernetes_the_environment_says_where_everything_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES.items():
        monkeypatch.setenv(name, value)
    config, default = compose(["+sweep=mnist", "cluster=kubernetes"], [CONF]), compose(["+sweep=mnist"], [CONF])
    validate(config)
    plain = flat(default)
    assert {name: value for name, value in flat(config).items() if value != plain[name]} == {
        "cluster.address": "auto",
        "sweep.dir": SERVICES["LCA_SWEEP_DIR"],
        "sweep.storage": SERVICES["LCA_SWEEP_STORAGE"],
        "search.storage": SERVICES["LCA_SWEEP_STUDY"],
        "tracking.uri": SERVICES["LCA_SWEEP_TRACKING"],
    }
    told = compose(["cluster=kubernetes", "sweep.dir=/mine", "cluster.packs=8"], [CONF])
    assert (told.sweep.dir, told.cluster.packs) == ("/mine", 8)


@pytest.mark.parametrize(
    ("name", "knob"),
    list(zip(SERVICES, ("sweep.dir", "sweep.storage", "search.storage", "tracking.uri"), strict=True)),
)
def test_what_kubernetes_misses_in_the_environment_is_named(
    name: str, knob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, value in SERVICES.items():
        monkeypatch.setenv(other, value)
    monkeypatch.delenv(name)
    with pytest.raises(UsageError) as caught:
        compose(["cluster=kubernetes"], [CONF])
    where, _, what = str(caught.value).partition(": ")
    assert what == f"{knob}: is taken from the environment, where {name} is not set"
    assert re.fullmatch(r"\S*conf/cluster/kubernetes\.yaml, line \d+", where)


def test_the_default_choices_change_nothing_so_that_no_knob_is_declared_twice() -> None:
    listed = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))["defaults"]
    chosen = {group: choice for entry in listed if isinstance(entry, dict) for group, choice in entry.items()}
    chosen = {group: choice for group, choice in chosen.items() if "hydra" not in group}
    assert chosen.keys() == GROUPS.keys() - {"sweep"}
    assert [choice for group, choice in chosen.items() if content(group, choice) != {}] == []


@every_sweep
def test_a_sweep_composes_and_its_space_is_of_real_knobs_in_range(sweep: str) -> None:
    config = compose([f"+sweep={sweep}"], [CONF])
    validate(config)
    assert alien(config) == []
    assert config.sweep.name == sweep
    assert set(parse(config.sweep.space, config)) <= flat(config.trial()).keys()


@every_sweep
@pytest.mark.parametrize("place", [0, -1])
def test_choices_on_the_command_line_win_over_the_sweeps(sweep: str, place: int) -> None:
    chosen = {group: choices[place] for group, choices in GROUPS.items() if group != "sweep"}
    config = compose([f"+sweep={sweep}", *(f"{group}={choice}" for group, choice in chosen.items())], [CONF])
    expected = flat(Config())
    for group, choice in [*chosen.items(), *said(sweep).items()]:  # knobs that the sweep sets stay its own
        knobs = content(group, choice) if isinstance(choice, str) else choice if group in SECTIONS else {}
        expected |= {f"{group}.{name}": value for name, value in knobs.items()}
    assert flat(config) == expected


def test_mnist_searches_what_it_promises() -> None:
    config = compose(["+sweep=mnist"], [CONF])
    assert config.data.name == "mnist"
    assert config.sweep.trials >= 32
    assert {
        "trainer.lr",
        "model.width",
        "model.depth",
        "init.spike",
        "init.slab_variance",
        "prior.kind",
        "prior.spike",
        "prior.slab_variance",
        "prior.weight",
    } <= parse(config.sweep.space, config).keys()


@every_sweep
def test_the_points_of_a_sweep_lie_in_its_space(sweep: str) -> None:
    config = compose([f"+sweep={sweep}"], [CONF])
    warm = warm_start(config, parse(config.sweep.space, config), "new")
    assert len(warm.points) == len(config.search.enqueue)


def test_mnist_begins_with_the_papers_setting() -> None:
    """Which has no prior, so that the others of its knobs do not matter."""
    config = compose(["+sweep=mnist"], [CONF])
    space = parse(config.sweep.space, config)
    (point,) = warm_start(config, space, "new").points
    books = Study.open(config, "new", space, InMemoryStorage())
    books.enqueue([point.params], [point.source])
    trial, paper = knobs(config, books.ask([0])[0].params), TrialKnobs()
    assert trial.prior.strength == paper.prior.strength == 0
    differing = {name for name, value in flat(trial).items() if value != flat(paper)[name]}
    assert differing <= {"trainer.epochs", "prior.kind", "prior.weight", "prior.spike", "prior.slab_variance"}


def test_fashion_mnist_searches_what_mnist_does() -> None:
    mnist, fashion = (flat(compose([f"+sweep={name}"], [CONF])) for name in ("mnist", "fashion_mnist"))
    assert {name for name in mnist if mnist[name] != fashion[name]} == {"data.name", "sweep.name"}


def test_paper_cifar10_is_the_papers_setting_from_three_seeds() -> None:
    config = compose(["+sweep=paper_cifar10"], [CONF])
    trial = config.trial()
    assert config.data == Data("cifar10")
    assert (trial.model.hidden(), trial.trainer.batch_size, trial.trainer.epochs) == ((200, 200), 200, 100)
    assert trial.trainer.lr == 0.006 and trial.prior.weight == 0 and config.pruner.name == "none"
    assert config.sweep.space == {"init": {"seed": {"choices": [0, 1, 2]}}}
    assert config.sweep.trials is None and config.search.sampler == "grid" and config.pack.size == 3


def test_a_folder_of_ones_own_adds_choices_but_hides_none(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "data").mkdir()
    space = "sweep: {name: mine, trials: 3, space: {trainer: {lr: {low: 0.1, high: 0.2}}}}"
    (tmp_path / "sweep/mine.yaml").write_text(f"# @package _global_\n{space}\n")
    (tmp_path / "sweep/smoke.yaml").write_text("# @package _global_\nsweep: {name: hidden}\n")
    folders = [CONF, tmp_path]
    assert groups(folders)["sweep"] == sorted({*GROUPS["sweep"], "mine"})
    assert compose(["+sweep=mine"], folders).sweep.space == {"trainer": {"lr": {"low": 0.1, "high": 0.2}}}
    assert compose(["+sweep=smoke"], folders).sweep.name == "smoke"
