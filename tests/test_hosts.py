"""A sweep over several hosts with a token: links that are cut, hosts that die, and a head that comes back."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hosts_helpers import HEAD_PORTS, PORTS, STRANGERS, Cluster, Host, Sweep, missing
from sweep_helpers import Ended, children, poll, reported, retrained, states, study

from lca_sweep.core.data import load

WHY_NOT = missing()
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

NAME = "hosts"
EPOCHS = 60
WORDS = (
    "data=digits",
    "trainer.batch_size=100",
    "model.width=12",
    f"sweep.name={NAME}",
    "sweep.storage=s3://lca-sweep/sweeps",
    "pack.size=2",
    "pack.checkpoint_every=10",
    f"trainer.epochs={EPOCHS}",
    "search.sampler=random",
    "sweep.space.trainer.lr={low: 0.005, high: 0.05, log: true}",
)
ENDLESS = "sweep.trials=2000"  # `enough` ends it


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("hosts"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """A head without CPUs, two workers with one each, and what lies apart from them; all alive."""
    running.make_whole()
    return running


@pytest.fixture
def folder(cluster: Cluster, request: pytest.FixtureRequest) -> Path:
    """Where a test's sweep is begun: all hosts have it."""
    found = cluster.shared / request.node.name
    found.mkdir()
    return found


def trains(host: Host) -> bool:
    """Whether it trains a pack now."""
    return bool(host.processes("Trainable.train"))


def both_train(cluster: Cluster, folder: Path, reports: int = 1) -> None:
    """Wait for that."""
    poll(lambda: reported(folder, NAME) >= reports, "reports")
    for worker in cluster.workers:
        poll(lambda worker=worker: trains(worker), f"pack on host {worker.name}")


def enough(host: Host, folder: Path, run: Sweep) -> Ended:
    """What was begun is finished, and no more; the end of that."""
    done = host.do(sys.executable, "-m", "lca_sweep", "set", NAME, "trials=1", folder=folder)
    assert done.returncode == 0, done.stderr
    return run.end(400)


def check(folder: Path, ended: Ended, also: Set[int] = frozenset()) -> None:
    """Every trial and every epoch once; those of the first pack, and of these packs, with the numbers that they have
    if nobody disturbs them."""
    assert (ended.code, ended.err) == (0, ""), ended.out[-2000:] + ended.err
    assert "(raylet)" not in ended.out and "Traceback" not in ended.out
    trials, runs = study(folder, NAME), children(folder)
    assert {trial.state.name for trial in trials} == {"COMPLETE"} and sorted(runs) == [one.number for one in trials]
    for trial in trials:
        points = list(trial.intermediate_values.items())
        assert [epoch for epoch, _ in points] == list(range(1, EPOCHS + 1)), trial.number
        assert runs[trial.number].metrics["val/accuracy"] == points, trial.number
    some = [trial for trial in trials if trial.user_attrs["pack"] in {0, *also}]
    shared = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(some, load("digits"), shared)
    assert {one.number: runs[one.number].metrics for one in some} == {n: found for n, (found, _) in expected.items()}


def taken_up(out: str) -> set[int]:
    """The packs that were issued again."""
    return {int(pack) for pack in re.findall(r"pack (\d+) goes on from its checkpoint", out)}


def seconds(action: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


@pytest.mark.parametrize("env", STRANGERS.values(), ids=STRANGERS)
def test_without_the_token_nobody_gets_in(cluster: Cluster, folder: Path, env: dict[str, str]) -> None:
    """Neither as one who runs sweeps, in one line and with nothing written, nor as a machine that joins."""
    stranger = cluster.store
    with ThreadPoolExecutor(2) as pool:
        words = ("-m", "lca_sweep", *WORDS, f"cluster.address={cluster.address}")
        client = pool.submit(stranger.do, sys.executable, *words, folder=folder, **env)
        worker = pool.submit(
            stranger.do, sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", **env
        )
    assert client.result().returncode == 2 and list(folder.iterdir()) == []
    (line,) = client.result().stderr.splitlines()
    assert line.startswith(f"lca_sweep: cluster.address={cluster.address}: Ray does not connect: ") and "token" in line
    assert worker.result().returncode != 0 and not stranger.processes("raylet/raylet")
    assert len(cluster.alive()) == 3


def test_a_sweep_over_two_hosts(cluster: Cluster, folder: Path) -> None:
    """Both train, and listen where they were told to and nowhere else."""
    with cluster.sweep(cluster.head, folder, *WORDS, "sweep.trials=8") as run:
        both_train(cluster, folder)
        for host in (cluster.head, *cluster.workers):
            expected = {*PORTS.values(), *range(7000, 7100), *(HEAD_PORTS if host is cluster.head else ())}
            assert host.listens().keys() <= expected, host.name
        assert cluster.head.listens()[8265] == {"127.0.0.1"}
        check(folder, run.end(400))


def test_a_link_is_cut(cluster: Cluster, folder: Path) -> None:
    """Ten seconds cost time only. After 90 s the host has been given up: its pack goes on elsewhere, and what is left
    of it there does no harm when the link is back; Ray started there again, it trains again."""
    away, other = cluster.workers
    with cluster.sweep(cluster.head, folder, *WORDS, ENDLESS) as run:
        both_train(cluster, folder)
        cluster.network.cut(away)
        time.sleep(10)
        cluster.network.mend(away)
        poll(lambda: trains(away), "pack on the host that was away for a moment", 60)
        time.sleep(5)
        assert not taken_up(run.out) and len(cluster.alive()) == 3
        both_train(cluster, folder)
        cluster.network.cut(away)
        cut = time.monotonic()
        lost = seconds(lambda: poll(lambda: taken_up(run.out), "word of a lost host", 150))
        assert away.processes("PackTrainable") + away.processes("ResourceTrainable")
        poll(lambda: trains(other), "pack on the host that is left")  # not between two packs
        time.sleep(max(0, 90 - (time.monotonic() - cut)))
        cluster.network.mend(away)
        left = seconds(lambda: poll(lambda: not away.processes("raylet/raylet"), "end of what was given up", 150))
        # before the head tries an address again that did not answer, it waits; and loses the pack that it sends there
        cluster.join(away, PORTS | {"node-manager-port": 6710})
        back = seconds(lambda: poll(lambda: trains(away), "pack on the host that is back", 150))
        ended = enough(cluster.head, folder, run)
    check(folder, ended, taken_up(ended.out))
    print(
        f"given up after {lost:.0f} s, gone {left:.0f} s after the link was back, training {back:.0f} s after joining"
    )


def test_a_host_dies(cluster: Cluster, folder: Path) -> None:
    """Its pack goes on elsewhere, from its checkpoint."""
    with cluster.sweep(cluster.head, folder, *WORDS, ENDLESS) as run:
        both_train(cluster, folder, reports=60)
        cluster.workers[1].kill()
        lost = seconds(lambda: poll(lambda: taken_up(run.out), "word of a lost host", 150))
        ended = enough(cluster.head, folder, run)
    check(folder, ended, taken_up(ended.out))
    print(f"its pack was given up after {lost:.0f} s")


def test_the_head_dies_with_the_driver(cluster: Cluster, folder: Path) -> None:
    """Ray's state is in Redis, and the sweep's in its own stores: the workers stay, and the same command goes on."""
    words = (*WORDS, "sweep.trials=8")
    with cluster.sweep(cluster.head, folder, *words) as run:
        both_train(cluster, folder, reports=60)
        before = {worker.name: worker.processes("raylet/raylet")[0] for worker in cluster.workers}
        cluster.head.kill()
        run.end()
    assert "RUNNING" in states(folder, NAME)
    cluster.start_head()
    with cluster.sweep(cluster.head, folder, *words) as run:
        ended = run.end(400)
    check(folder, ended, {1})
    assert {worker.name: worker.processes("raylet/raylet")[0] for worker in cluster.workers} == before


def test_the_head_dies_and_the_driver_is_elsewhere(cluster: Cluster, folder: Path) -> None:
    """Back within a minute, it is missed by nobody; after that the driver ends, and the same command goes on."""
    driver, words = cluster.workers[0], (*WORDS, ENDLESS)
    with cluster.sweep(driver, folder, *words) as run:
        both_train(cluster, folder, reports=60)
        cluster.head.kill()
        cluster.start_head()
        before = reported(folder, NAME)
        poll(lambda: reported(folder, NAME) > before + 4 * EPOCHS, "reports with the new head", 60)
        both_train(cluster, folder)
        cluster.head.kill()
        lost = seconds(lambda: run.end(120))
    ended = run.end()
    silent = "its head has not answered for 45 s; the same command again goes on from here"
    assert (ended.code, ended.err) == (3, f"lca_sweep: cluster.address={cluster.address}: {silent}\n")
    assert not taken_up(ended.out)
    for worker in cluster.workers:
        poll(lambda worker=worker: not worker.processes("raylet/raylet"), "end of a worker without a head")
    cluster.make_whole()
    with cluster.sweep(driver, folder, *words) as run:
        both_train(cluster, folder)
        ended = enough(driver, folder, run)
    check(folder, ended)
    print(f"ended {lost:.0f} s after the head")
