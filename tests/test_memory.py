"""The model of memory against the tensors that there are."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from core_strategies import CLASSES, INPUTS, made_up, trials
from torch.utils._python_dispatch import TorchDispatchMode

from lca_sweep.core import Pack, device, epoch, memory
from lca_sweep.core.engine import Engine
from lca_sweep.core.images import Ordered, load_ordered

BATCH = 25
INTERPRETED = pytest.param(True, 0.5, marks=pytest.mark.slow)  # by Triton's interpreter


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that are made and not yet let go of; `most` there were at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor):
                self._see(one.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if (key := storage._cdata) not in self.known:
            self.known[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self.known.pop(key)


def most(number: int, widths: Sequence[int], train: Ordered, used: Engine, prior: float) -> int:
    """Bytes that a pack of so many trials takes at most: in an epoch, and for a checkpoint after it."""
    members = trials(
        *({"model.widths": list(widths), "init.seed": n, "prior.weight": prior} for n in range(number)),
        batch_size=BATCH,
    )
    with Live() as live:
        pack = Pack.start(members, INPUTS, CLASSES, engine=used)
        epoch.train_epoch(pack, train)
        state = pack.state()
        del state
    return live.most


@pytest.mark.parametrize("widths", [(40,), (60, 50), (20, 30, 20)])
@pytest.mark.parametrize(("kernels", "prior"), [(False, 0.0), (False, 0.5), INTERPRETED])
def test_a_trial_takes_what_the_model_says(widths: tuple[int, ...], kernels: bool, prior: float) -> None:
    """Never more, and not much less: what one trial more in a pack adds, without what all of them share.

    A graph's room is not seen here, which the model adds to the copies that are made outside of it.
    """
    if kernels:
        pytest.importorskip("triton", reason="Triton is not installed")
    train = load_ordered(made_up(train=BATCH).train, 255.0, "cpu", math.inf)
    used = Engine(recorded=True, kernels=kernels)
    two, three = (most(number, widths, train, used, prior) for number in (2, 3))
    model = memory.trial_bytes([INPUTS, *widths, CLASSES], BATCH, kernels)
    assert 0.4 * model < three - two <= model


def test_room() -> None:
    """Whole trials, none where not even the images fit, and more where there is more."""
    widths = [784, 100, 100, 10]
    each = memory.trial_bytes(widths, 500)
    found = [memory.room(free, widths, 500, 25_000) for free in (0, 2**30, 16 * 2**30, 80 * 2**30)]
    assert found[0] == 0 and found == sorted(found)
    assert found[3] - found[2] == pytest.approx(0.9 * 64 * 2**30 / each, abs=1)
    assert each == 4 * (9 * 89_400 + 9 * 78_400 + 2 * 89_400 + 6 * 210 * 500 + 2 * 89_400 + 9 * 89_400)
    assert memory.room(16 * 2**30, widths, 500, 25_000, kernels=False) < found[2]


def test_the_constants_are_those_of_the_device() -> None:
    assert memory.EVALUATION == device.ACTIVATIONS * memory.NUMBER
