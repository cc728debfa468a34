"""Real sweeps: real processes, real Ray, and what Optuna and MLflow hold when they are over."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_helpers import (
    ROOT,
    Ended,
    Record,
    children,
    contents,
    parent,
    poll,
    records,
    reported,
    retrained,
    running,
    states,
    study,
    sweep,
)

from lca_sweep.cli import main
from lca_sweep.core.data import Splits, load
from lca_sweep.core.gbp import cross_entropy, forward, prepare
from lca_sweep.core.halving import Halving
from lca_sweep.core.knobs import TrialKnobs, flat, replace
from lca_sweep.core.network import Network
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import SpikeSlab
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.room import Resources
from lca_sweep.tracking.note import text

# Seconds on a machine of one's own; several real sweeps, one after the other, where it is shared.
pytestmark = pytest.mark.timeout(900)

WHOLE = ("train/loss", "val/loss", "val/accuracy", "test/accuracy")
FRACTIONS = ("vip_fraction", "uip_fraction", "var_fraction")
LAYER = (*FRACTIONS, "entropy", "mean_spike", "dead_fraction")
MEASURED = ("seconds_per_epoch", "worker_cpu_utilization_percentage", "worker_memory_usage_megabytes")
WANTED = {
    *WHOLE,
    *(f"weights/{name}" for name in FRACTIONS),
    *(f"layer{depth}/{name}" for depth in (1, 2, 3) for name in LAYER),
}
SEARCHED = {"trainer.lr", "model.width"}
SMALL = ("data=digits", "trainer.batch_size=100", "model.width=12")
SMOKE = ("+sweep=smoke", "trainer.epochs=3", "trainer.batch_size=100", "cluster.packs=1")
ABSURD = 1e30
HALVING = (
    *SMALL,
    "sweep.name=halving",
    "sweep.trials=8",
    "pack.size=4",
    "trainer.epochs=4",
    "pruner=halving",
    "pruner.min_epochs=1",
    "search.sampler=random",
    "search.seed=7",
    f"sweep.space.trainer.lr.choices=[0.02,0.05,0.1,{ABSURD}]",
    "sweep.space.init.spike={low: 0.0, high: 0.5}",
)
GRID = (
    *SMALL,
    "sweep.name=grid",
    "sweep.trials=null",
    "search=grid",
    "trainer.epochs=2",
    "sweep.space.trainer.algorithm.choices=[gbp,bp]",
    "sweep.space.trainer.train_size={low: 200, high: 500, step: 300}",
    "sweep.space.init.seed={low: 0, high: 1}",
)
EPOCHS = 100
KILLED = (
    *SMALL,
    "sweep.name=killed",
    "sweep.trials=4",
    "pack.size=2",
    "pack.checkpoint_every=7",
    f"trainer.epochs={EPOCHS}",
    "search.sampler=random",
    "cluster.packs=1",
    "sweep.space.trainer.lr={low: 0.005, high: 0.05, log: true}",
)


@pytest.fixture(scope="module")
def digits() -> Splits:
    torch.set_num_threads(1)  # as a pack's
    return load("digits")


@dataclass(frozen=True)
class Swept:
    """A sweep that is over."""

    folder: Path
    ended: Ended


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Swept]:
    """Four sweeps, two at the same time: most of each is waiting for Ray."""
    commands = {
        "smoke": SMOKE,
        "halving": HALVING,
        "grid": GRID,
        "single": ("trainer.epochs=2", "data=digits", "trainer.batch_size=100"),
    }

    folders = {name: tmp_path_factory.mktemp(name) for name in commands}  # not in threads: pytest does not bear it

    def one(name: str) -> Swept:
        return Swept(folders[name], sweep(folders[name], *commands[name]))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(one, commands), strict=True))


@pytest.fixture(scope="module")
def smoke(swept: dict[str, Swept]) -> Swept:
    return swept["smoke"]


@pytest.fixture(scope="module")
def halving(swept: dict[str, Swept]) -> Swept:
    return swept["halving"]


# --- a sweep from end to end ---------------------------------------------------------------------------------------


def test_smoke_ends_well(smoke: Swept) -> None:
    assert (smoke.ended.code, smoke.ended.err) == (0, "")
    assert "done after" in smoke.ended.out and "4 complete" in smoke.ended.out
    assert smoke.ended.out.splitlines()[-1] == "MLflow UI: python -m lca_sweep ui smoke"
    assert {entry.name for entry in smoke.folder.iterdir()} == {"sweeps", "mlflow.db", "mlruns"}
    assert not list(smoke.folder.rglob("*.part"))


def test_smokes_page_in_mlflow(smoke: Swept) -> None:
    """Its description leads to the best trials; each trial's name and line say what it is."""
    top, runs = parent(smoke.folder), children(smoke.folder)
    page, best = top.tags["mlflow.note.content"], runs[int(top.tags["best.trial"])]
    assert page.startswith("### Sweep `smoke`: finished\n\n**Best: [trial ") and best.id in page
    assert "### The best\n\n| trial | val/accuracy | test/accuracy | VIP | UIP | lr | width |" in page
    assert "python -m lca_sweep resume smoke  # " in page and f"| where to type it | `{smoke.folder}` |" in page
    assert best.tags["best"] == "true" and sum("best" in run.tags for run in runs.values()) == 1
    for number, run in runs.items():
        lr = f"lr={float(run.params['trainer.lr']):.3g} w={run.params['model.width']}"
        assert run.tags["mlflow.runName"] == f"{number:04d} {lr}"
        epochs, accuracy = run.metrics["val/accuracy"][-1]
        line = f"with `{lr}`: complete after {epochs} epochs: val/accuracy {accuracy:.4g}"
        assert run.tags["mlflow.note.content"].endswith(line)


def test_smoke_in_the_study(smoke: Swept) -> None:
    trials = study(smoke.folder, "smoke")[:4]
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    for trial in trials:
        assert set(trial.params) == SEARCHED
        assert 0.01 <= trial.params["trainer.lr"] <= 0.3 and 8 <= trial.params["model.width"] <= 32
        assert set(trial.intermediate_values) == {1, 2, 3}
        assert trial.value == trial.intermediate_values[3]
    assert len({trial.params["trainer.lr"] for trial in trials}) == 4


def test_smoke_in_mlflow(smoke: Swept) -> None:
    runs, trials = children(smoke.folder), study(smoke.folder, "smoke")
    assert set(runs) >= set(range(4))
    base = replace(TrialKnobs(), {"trainer.epochs": 3, "trainer.batch_size": 100})
    for trial in trials:
        run = runs[trial.number]
        assert (run.status, run.tags["lca.state"]) == ("FINISHED", "complete")
        assert run.params == {name: text(value) for name, value in flat(replace(base, trial.params)).items()}
        assert set(run.tags["lca.searched"].split(",")) == SEARCHED
        assert run.tags["lca.pack"] == str(trial.user_attrs["pack"])
        assert {"device", "lca.sweep", "lca.sweep_id", "version.torch", "data.digest"} <= set(run.tags)
        assert set(run.metrics) >= WANTED
        for points in run.metrics.values():
            assert [step for step, _ in points] == [1, 2, 3]
        assert run.metrics["val/accuracy"] == sorted(trial.intermediate_values.items())


def test_what_workers_took_is_among_mlflows_system_metrics(smoke: Swept) -> None:
    """At every epoch; one process trains all trials of a pack, on one core, with torch in its memory."""
    packs: dict[str, list[Record]] = {}
    for run in children(smoke.folder).values():
        packs.setdefault(run.tags["lca.pack"], []).append(run)
    for mates in packs.values():
        assert all(run.usage == mates[0].usage for run in mates)
        took = {name.removeprefix("system/"): dict(points) for name, points in mates[0].usage.items()}
        assert all(list(points) == [1, 2, 3] for points in took.values())
        seconds, busy, memory = (took[name].values() for name in MEASURED)
        assert min(seconds) > 0 and sum(seconds) < 60
        assert 0 < max(busy) <= 110 and 50 < min(memory) < 4000


def test_the_numbers_are_those_of_the_core(smoke: Swept, digits: Splits) -> None:
    """Nothing is lost, doubled or rounded between a worker and the books."""
    shared = {"trainer.epochs": 3, "trainer.batch_size": 100}
    expected = retrained(study(smoke.folder, "smoke"), digits, shared)
    for number, run in children(smoke.folder).items():
        assert (run.metrics, run.tags["lca.state"]) == expected[number]


def accuracy(network: Network, data: Splits, seed: int, epoch: int) -> float:
    """Validation accuracy of the stochastic pass, as it was measured at the end of `epoch`."""
    assert len(data.validation.y) <= 1000, "one batch"
    layers = [SpikeSlab(*(tensor.unsqueeze(0) for tensor in layer)) for layer in network.layers]
    rng = generator(seed, Purpose.VALIDATION, epoch)
    images = torch.tensor(data.validation.x).float().mul(1 / data.scale).t()
    noise = [torch.empty(1, width, images.shape[1]).normal_(generator=rng) for width in network.widths[1:]]
    fan_in = [torch.full((1, 1, 1), float(width)) for width in network.widths[:-1]]
    z, y = forward(prepare(layers), fan_in, images, noise)[-1].z, torch.tensor(data.validation.y)
    assert cross_entropy(z, y)[0].isfinite()
    return float((z.argmax(1) == y).sum(1).double() / len(y))


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_the_best_trial_comes_back_from_mlflow(smoke: Swept, digits: Splits, tmp_path: Path) -> None:
    from lca_sweep.tracking.quiet import behave

    behave()
    from mlflow.tracking import MlflowClient

    run = parent(smoke.folder)
    trials = study(smoke.folder, "smoke")
    best = max(trials, key=lambda trial: (trial.value, -trial.number))
    assert (run.status, run.tags["best.trial"]) == ("FINISHED", str(best.number))
    assert run.tags["best.run_id"] == children(smoke.folder)[best.number].id
    assert run.tags["best.trainer.lr"] == json.dumps(best.params["trainer.lr"])
    client = MlflowClient(tracking_uri=f"sqlite:///{smoke.folder / 'mlflow.db'}")
    assert {item.path for item in client.list_artifacts(run.id)} == {"best", "config.yaml", "model", "space.yaml"}
    network, about = Network.load(Path(client.download_artifacts(run.id, "best", str(tmp_path))))
    assert (about["trial"], about["metrics"]["val/accuracy"]) == (best.number, best.value)
    assert about["data"]["digest"] == digits.digest
    assert accuracy(network, digits, about["knobs"]["init.seed"], about["epoch"]) == best.value
    version = client.get_model_version_by_alias("smoke", "best")
    assert (version.run_id, version.tags["lca.trial"]) == (run.id, str(best.number))
    assert version.tags["val/accuracy"] == json.dumps(best.value)


@pytest.mark.slow
def test_again_and_with_other_knobs_and_more(smoke: Swept) -> None:
    """A finished sweep is left alone, refused to other knobs, and extended by more trials."""
    folder, books = smoke.folder / "sweeps" / "smoke", records(smoke.folder)
    assert len(books) == 5
    before, trials = contents(folder), study(smoke.folder, "smoke")

    again = sweep(smoke.folder, *SMOKE)
    assert (again.code, again.err) == (0, "") and "4 complete" in again.out and "pack" not in again.out
    after = contents(folder)  # no new log of Ray's: it was not started
    # `lock` names the newest process, and Optuna writes into the journal that somebody asked for the study
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"lock", "study.journal"}
    assert study(smoke.folder, "smoke") == trials
    assert [(run.id, run.status, run.metrics) for run in records(smoke.folder)] == [
        (run.id, run.status, run.metrics) for run in books
    ]

    other = sweep(smoke.folder, *SMOKE, "trainer.weight_decay=0.5", "sweep.space.trainer.lr.low=0.02")
    lines = other.err.splitlines()
    assert (other.code, other.out) == (2, "")
    assert lines[0].startswith("lca_sweep: sweep.name=smoke:")
    assert lines[1:3] == ["  sweep.space.trainer.lr.low: 0.01 -> 0.02", "  trainer.weight_decay: 0.0001 -> 0.5"]
    assert contents(folder) == after
    assert records(smoke.folder)[1:] == books[1:]

    more = sweep(smoke.folder, *SMOKE, "sweep.trials=6")
    assert (more.code, more.err) == (0, "") and "6 complete" in more.out
    assert states(smoke.folder, "smoke") == ["COMPLETE"] * 6
    extended = records(smoke.folder)
    assert extended[1:5] == books[1:5] and len(extended) == 7  # the old trials as they were
    assert (extended[0].id, extended[0].status) == (books[0].id, "FINISHED")
    assert extended[0].metrics["trials/complete"] == [(4, 4.0), (6, 6.0)]
    unchanged = {name for name in before if name.startswith(("trials/", "checkpoints/", "sweep.json"))}
    assert unchanged and {name: contents(folder)[name] for name in unchanged} == {n: before[n] for n in unchanged}
    assert len({trial.params["trainer.lr"] for trial in study(smoke.folder, "smoke")}) == 6


def test_a_single_trial(swept: dict[str, Swept]) -> None:
    single = swept["single"]
    assert (single.ended.code, single.ended.err) == (0, "")
    ((number, run),) = children(single.folder).items()
    assert (number, run.status, run.tags["lca.searched"]) == (0, "FINISHED", "")
    assert run.params["trainer.epochs"] == "2" and run.params["model.width"] == "100"
    assert [step for step, _ in run.metrics["val/accuracy"]] == [1, 2]


# --- all points of a grid ------------------------------------------------------------------------------------------


def test_a_grid_of_both_algorithms_and_of_data_sizes(swept: dict[str, Swept], digits: Splits) -> None:
    """All its points, in order; one pack was asked for, and those of unlike sizes were trained apart."""
    grid = swept["grid"]
    assert (grid.ended.code, grid.ended.err) == (0, "") and "8 complete" in grid.ended.out
    trials, runs = study(grid.folder, "grid"), children(grid.folder)
    names = ("trainer.algorithm", "trainer.train_size", "init.seed")
    points = [tuple(trial.params[name] for name in names) for trial in trials]
    assert points == list(itertools.product(("gbp", "bp"), (200, 500), (0, 1)))
    assert [trial.user_attrs["pack"] for trial in trials] == [0, 0, 1, 1] * 2
    expected = retrained(trials, digits, {"trainer.epochs": 2, "trainer.batch_size": 100, "model.width": 12})
    assert {number: (run.metrics, run.tags["lca.state"]) for number, run in runs.items()} == expected
    for trial in trials:
        run, (_, about) = runs[trial.number], Network.load(grid.folder / f"sweeps/grid/trials/{trial.number:04d}")
        algorithm, size, _ = points[trial.number]
        assert (run.params["trainer.algorithm"], run.params["trainer.train_size"]) == (algorithm, str(size))
        assert (about["knobs"]["trainer.algorithm"], about["knobs"]["trainer.train_size"]) == (algorithm, size)
        assert ("weights/vip_fraction" in run.metrics) == (algorithm == "gbp")


# --- trials that leave ---------------------------------------------------------------------------------------------


def test_halving_and_nan_in_the_study(halving: Swept, digits: Splits) -> None:
    assert (halving.ended.code, halving.ended.err) == (0, "")
    trials = study(halving.folder, "halving")
    shared = {"trainer.epochs": 4, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(trials, digits, shared, Halving(2, 1))
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    assert {trial.number: names[trial.state.name] for trial in trials} == {n: end for n, (_, end) in expected.items()}
    for trial in trials:
        points = dict(expected[trial.number][0]["val/accuracy"])
        assert trial.intermediate_values == points
        if trial.state.name == "FAIL":
            assert trial.params["trainer.lr"] == ABSURD
            assert "loss is " in trial.user_attrs["reason"] and f"at epoch {max(points)}" in trial.user_attrs["reason"]
        else:
            assert trial.value == points[max(points)]


def test_halving_and_nan_count(halving: Swept) -> None:
    """From n finite trials ceil(n/2) stay after epochs 1 and 2; 4 is the last epoch, no rung."""
    trials = study(halving.folder, "halving")
    assert Counter(trial.params["trainer.lr"] == ABSURD for trial in trials)[True] > 0, "the seed must give one"
    for pack in (0, 1):
        members = [trial for trial in trials if trial.user_attrs["pack"] == pack]
        counts = Counter(trial.state.name for trial in members)
        assert len(members) == 4
        first = sum(trial.params["trainer.lr"] != ABSURD for trial in members)
        left = math.ceil(math.ceil(first / 2) / 2)
        assert counts == Counter(COMPLETE=left, PRUNED=first - left, FAIL=4 - first)
        assert {max(t.intermediate_values) for t in members if t.state.name == "COMPLETE"} <= {4}
        assert {max(t.intermediate_values) for t in members if t.state.name == "PRUNED"} <= {1, 2}


def test_halving_and_nan_in_mlflow(halving: Swept) -> None:
    ends = {"COMPLETE": ("FINISHED", "complete"), "PRUNED": ("KILLED", "pruned"), "FAIL": ("FAILED", "failed")}
    runs, trials = children(halving.folder), study(halving.folder, "halving")
    assert len(runs) == len(trials) == 8
    for trial in trials:
        run = runs[trial.number]
        assert (run.status, run.tags["lca.state"]) == ends[trial.state.name]
        assert run.tags.get("lca.reason", "") == trial.user_attrs.get("reason", "")
        assert [step for step, _ in run.metrics["val/accuracy"]] == sorted(trial.intermediate_values)
    counts, top = Counter(trial.state.name for trial in trials), parent(halving.folder)
    for name, state in (("complete", "COMPLETE"), ("pruned", "PRUNED"), ("failed", "FAIL")):
        assert top.metrics[f"trials/{name}"] == [(8, counts[state])]
    assert top.status == "FINISHED"


def test_only_complete_trials_keep_weights(halving: Swept) -> None:
    kept = {int(folder.name) for folder in (halving.folder / "sweeps/halving/trials").iterdir()}
    assert kept == {trial.number for trial in study(halving.folder, "halving") if trial.state.name == "COMPLETE"}


# --- processes that die --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """What was seen of one start of the sweep that is disturbed again and again."""

    folder: Path
    seen: Mapping[str, Any]


def more_reports(folder: Path, count: int) -> None:
    """Wait until the study has been told `count` epochs more than now."""
    goal = reported(folder, "killed") + count
    poll(lambda: reported(folder, "killed") >= goal, "report")


@pytest.fixture(scope="module")
def first_life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A worker is killed, then a second driver comes, then the driver is killed."""
    folder = tmp_path_factory.mktemp("killed")
    with running(folder, *KILLED) as run:
        more_reports(folder, 20)
        (worker,) = run.workers()
        worker.kill()
        more_reports(folder, 20)
        (other,) = run.workers()
        run.popen.send_signal(signal.SIGSTOP)  # so that it cannot finish meanwhile
        second = sweep(folder, *KILLED)
        run.kill()
        return Life(folder, {"pid": run.popen.pid, "workers": (worker, other), "second": second})


@pytest.fixture(scope="module")
def second_life(first_life: Life) -> Life:
    """It goes on, and is interrupted as by Ctrl-C in a terminal: the whole process group is told."""
    folder = first_life.folder
    dead = states(folder, "killed")
    with running(folder, *KILLED) as run:
        more_reports(folder, 20)
        before = children(folder)
        os.killpg(run.popen.pid, signal.SIGINT)
        ended = run.end()
    return Life(folder, {"dead": dead, "ended": ended, "resumed": before, "states": states(folder, "killed")})


@pytest.fixture(scope="module")
def third_life(second_life: Life) -> Life:
    """It goes on to its end."""
    interrupted = records(second_life.folder)
    ended = sweep(second_life.folder, *KILLED)
    return Life(second_life.folder, {"interrupted": interrupted, "ended": ended})


def test_a_second_driver_is_refused(first_life: Life) -> None:
    second = first_life.seen["second"]
    assert (second.code, second.out) == (2, "")
    (line,) = second.err.splitlines()
    assert f"this sweep is being run by process {first_life.seen['pid']}" in line


def test_a_killed_worker_is_replaced(first_life: Life) -> None:
    worker, other = first_life.seen["workers"]
    assert worker.pid != other.pid


def test_a_killed_driver_leaves_what_can_go_on(second_life: Life) -> None:
    assert "RUNNING" in second_life.seen["dead"]
    assert "FAIL" not in second_life.seen["states"]


def test_an_interrupt_ends_in_order(second_life: Life, third_life: Life) -> None:
    ended = second_life.seen["ended"]
    assert (ended.code, ended.err) == (130, "")
    assert "interrupted after" in ended.out
    goes_on = "the same command again goes on from here; or: python -m lca_sweep resume killed"
    assert ended.out.splitlines()[-1] == goes_on
    runs = third_life.seen["interrupted"]
    assert "RUNNING" not in {run.status for run in runs}
    (top,) = [run for run in runs if run.tags["lca.kind"] == "sweep"]
    assert (top.status, top.tags["lca.state"]) == ("KILLED", "interrupted")


def test_the_end_is_that_of_an_undisturbed_sweep(third_life: Life, digits: Splits) -> None:
    """Killed twice and interrupted once: every trial, every epoch, once, and to the bit what the core gives."""
    ended, folder = third_life.seen["ended"], third_life.folder
    assert (ended.code, ended.err) == (0, "")
    trials = study(folder, "killed")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    shared = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(trials, digits, shared)
    runs = children(folder)
    assert set(runs) == {0, 1, 2, 3} and parent(folder).status == "FINISHED"
    for trial in trials:
        run = runs[trial.number]
        assert (run.status, run.tags["lca.state"]) == ("FINISHED", "complete")
        assert run.metrics == expected[trial.number][0]
        assert trial.intermediate_values == dict(expected[trial.number][0]["val/accuracy"])
        assert trial.value == trial.intermediate_values[EPOCHS]


# --- what is refused, and what is not loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer.batch_size=5000",), "trainer.batch_size=5000: digits has 1000 training images; must be <= 1000"),
        (("trainer.train_size=5000",), "trainer.train_size=5000: digits has 1000 training images; must be <= 1000"),
        (("trainer.train_size=50",), "trainer.batch_size=100: must be <= trainer.train_size=50"),
        (
            ("sweep.space.trainer.batch_size={low: 50, high: 200}", "sweep.space.trainer.train_size.choices=[100,300]"),
            "sweep.space.trainer.batch_size: 200: must be <= sweep.space.trainer.train_size: 100",
        ),
        (
            ("sweep.space.trainer.train_size.choices=[500,2000]",),
            "sweep.space.trainer.train_size: 2000: digits has 1000 training images; must be <= 1000",
        ),
        (("search.storage=nonsense://x",), "search.storage=nonsense://x: cannot be opened"),
        (("tracking.uri=./runs",), "tracking.uri=./runs: "),
    ],
)
def test_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lca_sweep.sweep.driver.connected", ray_of_one_core)
    assert main(["+sweep=smoke", *words]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out in ("", "starting Ray\n") and line.startswith(f"lca_sweep: {message}")
    assert list(tmp_path.iterdir()) == []


class NoRay:
    """Ray that does not come."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, cluster: Any, meanwhile: Any) -> Any:
        raise self.error


def ray_of_one_core(cluster: Any, meanwhile: Any) -> Any:
    """In place of a Ray that takes seconds."""
    return contextlib.nullcontext(Resources(cpus=1, gpus=0.0, packs=1))


def test_ray_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lca_sweep.sweep.driver.connected", NoRay(SweepError("cluster.cpus_per_pack=9: too many")))
    assert main(["+sweep=smoke"]) == 2
    assert capsys.readouterr().err == "lca_sweep: cluster.cpus_per_pack=9: too many\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_sweep_that_stops_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stopped it: nothing is left RUNNING, and it can go on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lca_sweep.sweep.driver.connected", ray_of_one_core)

    def broken(*parts: Any) -> None:
        raise SweepError("search: lost")

    monkeypatch.setattr("lca_sweep.sweep.running.tune_packs", broken)
    assert main(["+sweep=smoke"]) == 3
    assert capsys.readouterr().err == "lca_sweep: search: lost\n"
    first = parent(tmp_path)
    assert (first.status, first.tags["lca.message"]) == ("FAILED", "search: lost")

    monkeypatch.setattr("lca_sweep.sweep.driver.connected", NoRay(KeyboardInterrupt()))
    assert main(["+sweep=smoke"]) == 130
    assert capsys.readouterr().err == "lca_sweep: interrupted\n"
    assert parent(tmp_path) == first

    def interrupted(*parts: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lca_sweep.sweep.driver.connected", ray_of_one_core)
    monkeypatch.setattr("lca_sweep.sweep.running.tune_packs", interrupted)
    assert main(["+sweep=smoke"]) == 130
    goes_on = "the same command again goes on from here; or: python -m lca_sweep resume smoke"
    assert capsys.readouterr().out.splitlines()[-1] == goes_on
    second = parent(tmp_path)
    assert (second.id, second.status, second.tags["lca.message"]) == (first.id, "KILLED", "interrupted")
    assert states(tmp_path, "smoke") == [] and children(tmp_path) == {}


def test_workers_load_neither_mlflow_nor_optuna_nor_hydra() -> None:
    code = (
        "import sys, lca_sweep.sweep.trainable\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'mlflow', 'optuna', 'hydra', 'omegaconf'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
