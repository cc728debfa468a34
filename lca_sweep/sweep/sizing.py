"""How many trials make a pack, where nobody has said."""

from __future__ import annotations

from lca_sweep.config import USUAL_SIZE, Config
from lca_sweep.core.data import Splits
from lca_sweep.search.space import Space, bounds
from lca_sweep.sweep.machine import free_gpu_memory

MOST = 256  # then a GPU is busy, and more trials at a time take longer
SHARE = 4  # packs of a sweep at least, so that later ones are proposed by what earlier ones came to


def pack_size(config: Config, space: Space, data: Splits) -> int:
    """As the config says; else the usual size, or with GPUs of this machine's as many trials as they hold.

    A pack that does not fit after all is halved. Of a running cluster nobody knows yet which machine a pack will get;
    and a deterministic search must not depend on the machine.
    """
    size, cluster = config.pack.size, config.cluster
    elsewhere = cluster.address != "local" or cluster.gpus_per_pack == 0
    if size is not None or elsewhere or config.search.deterministic:
        return config.pack.trials
    free = free_gpu_memory()
    if not free:
        return USUAL_SIZE
    share = min(1.0, cluster.gpus_per_pack or 1.0)
    most = min(_room(int(share * min(free)), config, space, data), MOST, config.sweep.total() // SHARE)
    return max(most, USUAL_SIZE)


def _room(free: int, config: Config, space: Space, data: Splits) -> int:
    """How many of the largest trials fit, in plain torch: whether there are kernels only their worker knows."""
    from lca_sweep.core.memory import room  # loads torch

    images = sum(len(part.y) for part in (data.train, data.validation, data.test))
    batch = bounds("trainer.batch_size", space, config)[1]
    return room(free, [data.inputs, *_widest(config, space), data.classes], batch, images, kernels=False)


def _widest(config: Config, space: Space) -> list[int]:
    """The hidden layers of a network that is as wide and as deep as any trial's of the sweep."""
    layers = [name for name in space if name.startswith("model.widths.")]
    depth = max(len(layers), bounds("model.depth", space, config)[1], len(config.model.hidden()))
    widths = [bounds(name, space, config)[1] for name in layers]
    return [max([*widths, *config.model.hidden(), bounds("model.width", space, config)[1]])] * depth
