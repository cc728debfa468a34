"""A sweep on a running Ray cluster of several nodes, one of which dies."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sweep_helpers import (
    Run,
    aid,
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
print(json.dumps(cluster.address), flush=True)
for _ in sys.stdin:
    node = cluster.add_node(num_cpus=1)
    print(json.dumps(node.all_processes["raylet"][0].process.pid), flush=True)
cluster.shutdown()
"""


@dataclass(frozen=True)
class Cluster:
    """A head without CPUs, and nodes with one each, which come when they are asked for."""

    address: str
    popen: subprocess.Popen[str]
    raylets: list[int] = field(default_factory=list)

    def grow(self) -> None:
        """One more node."""
        assert self.popen.stdin and self.popen.stdout
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        self.raylets.append(json.loads(self.popen.stdout.readline()))

    def kill(self, node: int) -> None:
        """SIGKILL a node and all that it runs."""
        raylet = process(self.raylets[node])
        assert raylet is not None
        for one in [raylet, *descendants(raylet.pid)]:
            one.kill()

    def training(self) -> list[int]:
        """The nodes that train a pack now."""
        return [
            node
            for node, raylet in enumerate(self.raylets)
            if any("Trainable.train" in one.command for one in descendants(raylet))
        ]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="lca-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env = {"RAY_TMPDIR": folder, "PYTHONPATH": str(Path(__file__).parents[1])}
        with aid(CLUSTER, env=env) as (popen, address):
            yield Cluster(json.loads(address), popen)


def kill_a_node(cluster: Cluster, run: Run, folder: Path) -> None:
    poll(lambda: reported(folder, "nodes") >= 30, "reports")
    cluster.kill(poll(cluster.training, "pack on a node")[0])


def test_a_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    """Its pack goes on elsewhere, from its checkpoint; nothing is lost, nothing counts twice."""
    cluster.grow()
    cluster.grow()
    with running(tmp_path, *WORDS, f"cluster.address={cluster.address}") as run:
        kill_a_node(cluster, run, tmp_path)
        ended = run.end(600)
    assert (ended.code, ended.err) == (0, ""), ended.err
    trials, runs = study(tmp_path, "nodes"), children(tmp_path)
    shared = {"trainer.epochs": EPOCHS, "trainer.batch_size": 100, "model.width": 12}
    expected = retrained(trials, load("digits"), shared)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8 and parent(tmp_path).status == "FINISHED"
    assert {n: run.metrics for n, run in runs.items()} == {n: metrics for n, (metrics, _) in expected.items()}


@pytest.mark.parametrize("packs", ["null", "2"])
def test_machines_join_a_sweep_that_has_begun_without_any(cluster: Cluster, tmp_path: Path, packs: str) -> None:
    """The first pack begins with the first node; a node that joins later gets packs, too."""
    words = (*WORDS, "trainer.epochs=400", f"cluster.address={cluster.address}", f"cluster.packs={packs}")
    with running(tmp_path, *words) as run:
        log = tmp_path / "sweeps" / "nodes" / "study.journal"
        poll(lambda: log.exists() and b'"pack"' in log.read_bytes(), "pack that was asked for")
        assert reported(tmp_path, "nodes") == 0
        cluster.grow()
        poll(lambda: reported(tmp_path, "nodes") >= 10, "reports")
        assert cluster.training() in ([], [0])
        cluster.grow()
        poll(lambda: cluster.training() == [0, 1], "packs on both nodes")
        ended = run.end(600)
    assert (ended.code, ended.err) == (0, ""), ended.err
    asked = 1 if packs == "null" else 2
    waited = f"room for 0 of {asked} packs (1 CPU each) so far; waiting for machines to join the cluster"
    assert ended.out.splitlines().count(waited) == 1
    assert [trial.state.name for trial in study(tmp_path, "nodes")] == ["COMPLETE"] * 8


def test_a_machine_that_joins_gets_packs_that_take_less_time_than_its_first_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    words = (*WORDS, "trainer.epochs=10", "sweep.trials=4000", f"cluster.address={cluster.address}", "analysis=none")
    cluster.grow()
    with running(tmp_path, *words) as run:
        poll(lambda: reported(tmp_path, "nodes") >= 60, "reports")
        cluster.grow()
        poll(lambda: 1 in cluster.training(), "pack on the new node", 60)
        assert not run.over()


def test_too_small_machines_are_refused_unless_larger_ones_are_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    cluster.grow()
    with running(tmp_path, *WORDS, f"cluster.address={cluster.address}", "cluster.cpus_per_pack=2") as run:
        ended = run.end()
    line = "cluster.cpus_per_pack=2: the largest machine has 1 CPUs; must be <= 1 (or cluster.packs=N: then a larger "
    assert ended.code == 2 and ended.err.startswith(f"lca_sweep: {line}")
    assert list(tmp_path.iterdir()) == []
