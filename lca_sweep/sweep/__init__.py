"""The shell around the core: Ray Tune runs packs, Optuna is the ledger, MLflow the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lca_sweep.config import Config
    from lca_sweep.search.space import Space


def run(config: Config, space: Space) -> int:
    """Run, resume or extend the sweep that `config` describes; the exit status (see `lca_sweep.sweep.driver.run`)."""
    from lca_sweep.sweep.driver import run as drive  # workers import this package, but nothing of the driver

    return drive(config, space)
