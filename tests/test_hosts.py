"""A sweep over several hosts with a token: who gets in, where they listen, and a host that dies."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from host_sweep_helpers import ENDLESS, MARKS, WORDS, both_train, check, enough, seconds, taken_up
from hosts_helpers import HEAD_PORTS, PORTS, STRANGERS, Cluster
from sweep_helpers import poll

pytestmark = MARKS


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


def test_a_host_dies(cluster: Cluster, folder: Path) -> None:
    """Its pack goes on elsewhere, from its checkpoint."""
    with cluster.sweep(cluster.head, folder, *WORDS, ENDLESS) as run:
        both_train(cluster, folder, reports=60)
        cluster.workers[1].kill()
        lost = seconds(lambda: poll(lambda: taken_up(run.out), "word of a lost host", 150))
        ended = enough(cluster.head, folder, run)
    check(folder, ended, taken_up(ended.out))
    print(f"its pack was given up after {lost:.0f} s")
