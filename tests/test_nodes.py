"""A sweep on a running Ray cluster of several nodes, one of which dies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sweep_helpers import (
    Process,
    Run,
    children,
    descendants,
    parent,
    poll,
    process,
    reported,
    retrained,
    running,
    study,
)

from lca_sweep.core.data import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EPOCHS = 60
WORDS = (
    "data=digits",
    "trainer.batch_size=100",
    "model.width=12",
    "sweep.name=nodes",
    "sweep.trials=8",
    "pack.size=2",
    "pack.checkpoint_every=10",
    f"trainer.epochs={EPOCHS}",
    "search.sampler=random",
    "sweep.space.trainer.lr={low: 0.005, high: 0.05, log: true}",
)
CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass(frozen=True)
class Cluster:
    """A head without CPUs, and two nodes with one each."""

    address: str
    raylets: list[int]

    def kill(self, node: int) -> None:
        """SIGKILL a node and all that it runs."""
        raylet = process(self.raylets[node])
        assert raylet is not None
        for one in [raylet, *descendants(raylet.pid)]:
            one.kill()

    def trains(self) -> int:
        """A node that trains a pack now; -1 if none does."""
        for node, raylet in enumerate(self.raylets):
            if any("Trainable.train" in one.command for one in descendants(raylet)):
                return node
        return -1


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = tempfile.mkdtemp(prefix="lca-", dir="/tmp")
    env = os.environ | {"RAY_TMPDIR": folder, "PYTHONPATH": str(Path(__file__).parents[1])}
    popen = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    below: list[Process] = []
    try:
        assert popen.stdout and popen.stdin
        found = json.loads(popen.stdout.readline())
        below = descendants(popen.pid)
        yield Cluster(found["address"], found["raylets"])
        below += descendants(popen.pid)
        popen.stdin.close()
        popen.wait(60)
    finally:
        popen.kill()
        popen.wait()
        for pipe in (popen.stdin, popen.stdout):
            assert pipe
            pipe.close()
        for one in below:
            one.kill()
        shutil.rmtree(folder, ignore_errors=True)


def kill_a_node(cluster: Cluster, run: Run, folder: Path) -> None:
    poll(lambda: reported(folder, "nodes") >= 30, "reports")
    cluster.kill(poll(lambda: cluster.trains() + 1, "pack on a node") - 1)


def test_a_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    """Its pack goes on elsewhere, from its checkpoint; nothing is lost, nothing counts twice."""
    with running(tmp_path, *WORDS, f"cluster.address={cluster.address}") as run:
        kill_a_node(cluster, run, tmp_path)
        ended = run.end(600)
    assert (ended.code, ended.err) == (0, ""), ended.err
    trials, runs = study(tmp_path, "nodes"), children(tmp_path)
    shared = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(trials, load("digits"), shared)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8 and parent(tmp_path).status == "FINISHED"
    assert {n: run.metrics for n, run in runs.items()} == {n: metrics for n, (metrics, _) in expected.items()}
