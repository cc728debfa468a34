"""What every test shares: one thread a process, no telemetry, nothing taken from the user's environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from lca_sweep.tracking.quiet import behave

if TYPE_CHECKING:
    from hosts_helpers import Cluster
    from services_helpers import Services

# Before torch, ray or mlflow are imported, and for the processes that tests start.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    DO_NOT_TRACK="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    RAY_USAGE_STATS_ENABLED="0",
)
if not list(Path("/dev").glob("nvidia[0-9]*")):  # Triton's kernels on CPU tensors, before anybody imports Triton
    os.environ["TRITON_INTERPRET"] = "1"
behave()
for name in [n for n in os.environ if n.startswith(("MLFLOW_TRACKING_", "MLFLOW_EXPERIMENT_", "MLFLOW_RUN_"))]:
    del os.environ[name]
for name in ("RAY_ADDRESS", "HYDRA_FULL_ERROR", "LCA_SWEEP_DEBUG"):
    os.environ.pop(name, None)

# No deadline and no complaint about slow data: the machine may be shared. In CI the examples are the same each time.
settings.register_profile("local", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real sweeps first, so that no core idles at the end; tests marked `gpu` skip where there is none."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("timeout")}
    items.sort(key=lambda item: item.path not in long)
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """PostgreSQL, S3 and MLflow as docker/compose.yaml has them, for the tests marked `cluster`."""
    from services_helpers import started

    # not in pytest's own folder, which nobody but its owner may enter: PostgreSQL is not run by root
    with tempfile.TemporaryDirectory(prefix="lca-services-") as folder, started(Path(folder)) as running:
        yield running


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Ray on several hosts, for `cluster`."""
    from hosts_helpers import Cluster

    made = Cluster(tmp_path_factory.mktemp("hosts"))
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(hosts: Cluster) -> Cluster:
    """A head without CPUs, two workers with one each, and what lies apart from them; all alive."""
    hosts.make_whole()
    return hosts


@pytest.fixture
def folder(cluster: Cluster, request: pytest.FixtureRequest) -> Path:
    """Where a test's sweep over hosts is begun: all of them have it."""
    found = cluster.shared / request.node.name
    found.mkdir()
    return found
