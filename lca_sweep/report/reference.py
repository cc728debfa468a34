"""What Li & Huang, Phys. Rev. Lett. 125, 178301 (2020) found on MNIST, and which trials ran their setting.

The numbers are those that the authors' own program gives at that setting: of five seeds, or of one network.
"""

from __future__ import annotations

import math
from typing import Any

from lca_sweep.core.knobs import Model, TrialKnobs, flat
from lca_sweep.core.perturbation import ARMS
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.seeds import once

IMAGES = 10_000  # to train on
ACCURACY = (0.9487, 0.9461, 0.9531, 0.9527, 0.9548)  # of the stochastic pass on the test images, five seeds
UIP = (  # fraction by layer, five seeds
    (0.127, 0.102, 0.124, 0.141, 0.139),
    (0.126, 0.094, 0.125, 0.148, 0.138),
    (0.078, 0.071, 0.074, 0.059, 0.075),
)
VIP = (
    (0.054, 0.102, 0.065, 0.046, 0.065),
    (0.061, 0.107, 0.081, 0.058, 0.062),
    (0.181, 0.183, 0.146, 0.195, 0.232),
)
SUBNETWORKS, MEAN_NETWORK = 5.08, 4.63  # test error in percent, one network
DAMAGE = {  # test error in percent where all weights of a category are changed, by layer, one network
    1: dict(zip(ARMS, (12.3, 5.3, 5.4, 5.4), strict=True)),
    3: dict(zip(ARMS, (14.7, 5.1, 5.5, 5.8), strict=True)),
}
ENTROPY = (-0.01, 0.39, 0.09)  # nats per weight by layer, one network

# Knobs that may differ: seeds; those without effect at prior.weight=0; those that are looked at in another way.
ASIDE = {"init.seed", "trainer.batch_seed", "prior.kind", "prior.spike", "prior.slab_variance", "trainer.train_size"}
ASIDE |= {"model.width", "model.depth", "model.widths"}


def paper_trials(result: SweepResult) -> tuple[TrialResult, ...]:
    """Complete trials on the first 10,000 images of MNIST, 784-100-100-10, all knobs as in the paper but the seeds.

    No two of them have the same seeds.
    """
    return once([trial for trial in result.searched if trial.value is not None and is_paper(result, trial)])


def is_paper(result: SweepResult, trial: TrialResult) -> bool:
    """Whether a trial ran the paper's setting."""
    images = trial.knobs.get("trainer.train_size") or result.data.images[0]
    shape = Model(**{name: trial.knobs.get(f"model.{name}", value) for name, value in vars(Model()).items()})
    return (
        result.data.name in ("mnist", "mnist_full")  # whose first images are the same
        and min(images, result.data.images[0]) == IMAGES
        and shape.hidden() == (100, 100)
        and all(
            _same(trial.knobs.get(name, value), value)
            for name, value in flat(TrialKnobs()).items()
            if name not in ASIDE
        )
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)
