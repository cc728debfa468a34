"""A sweep over several hosts whose head dies and comes back."""

from __future__ import annotations

from pathlib import Path

from host_sweep_helpers import ENDLESS, EPOCHS, MARKS, NAME, WORDS, both_train, check, enough, seconds, taken_up
from hosts_helpers import Cluster
from sweep_helpers import poll, reported, states

pytestmark = MARKS


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
