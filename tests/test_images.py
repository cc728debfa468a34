"""Images ordered by how many of them have each pixel: the same images, the same products, fewer of them by zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch
from core_strategies import close, random_slab, seeds, trials
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import Images, Pack, Splits, fit, train
from lca_sweep.core.algorithm import ALGORITHMS
from lca_sweep.core.gbp import cross_entropy
from lca_sweep.core.images import SAVED, Batch, load_images, load_ordered

SCALE = 255.0
INPUTS, CLASSES = 200, 3


def sparse(images: int, inputs: int, seed: int) -> Images:
    """A third of the pixels is in every image, a third in three of a thousand, a third in none."""
    rng = np.random.default_rng(seed)
    share = np.array([1.0, 0.003, 0.0])[rng.integers(0, 3, inputs)]
    x = rng.integers(1, 256, (images, inputs)) * (rng.uniform(size=(images, inputs)) < share)
    return Images(x.astype(np.uint8), rng.integers(0, CLASSES, images))


def whole(batch: Batch, heard: Tensor, inputs: int) -> Tensor:
    """The images of a batch as they were, (inputs, batch)."""
    rare = batch.common.new_zeros(len(batch.rare), batch.common.shape[1])
    rare[:, batch.few] = batch.rare
    return batch.common.new_zeros(inputs, rare.shape[1]).index_copy_(0, heard, torch.cat([batch.common, rare]))


@given(st.integers(1, 60), st.integers(1, 250), seeds, st.data())
def test_a_batch_is_its_images(images: int, inputs: int, seed: int, data: st.DataObject) -> None:
    """To the bit, whatever was set apart; heard and silent pixels are all there are, and the silent ones are zero."""
    given_images = sparse(images, inputs, seed)
    ordered = load_ordered(given_images, SCALE, "cpu", saved=0)
    assert sorted([*ordered.heard.tolist(), *ordered.silent.tolist()]) == list(range(inputs))
    x = torch.tensor(given_images.x, dtype=torch.float64)
    assert torch.equal(ordered.nonzero, (x > 0).any(0)) and not ordered.nonzero[ordered.silent].any()
    rows = torch.tensor(data.draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=20)))
    batch = ordered.batch(rows, ordered.box(20, x))
    assert torch.equal(whole(batch, ordered.heard, inputs), x[rows].t())
    assert torch.equal(whole(batch.squared, ordered.heard, inputs), x[rows].square().t())


def test_rare_pixels_are_set_apart_where_that_saves_products() -> None:
    """In images like those above, as MNIST's are; not where all pixels are common, nor where it saves little."""
    ordered = load_ordered(sparse(1000, 600, 0), SCALE, "cpu")
    columns, images = ordered.rare.shape[1], len(ordered.y)
    share = ordered.few.float().mean().item()
    assert columns >= 64 and columns * (1 - share) > SAVED
    assert torch.equal(ordered.few, (ordered.rare > 0).any(1)) and share < 1
    full = Images(np.full((images, 600), 7, np.uint8), np.zeros(images, np.int64))
    for common in (full, sparse(1000, 60, 0)):
        assert load_ordered(common, SCALE, "cpu").rare.shape[1] == 0


@pytest.mark.parametrize("name", ALGORITHMS)
@given(seed=seeds, few=st.integers(0, 6), rare=st.integers(0, 4))
def test_products_with_blocks_are_those_with_whole_images(name: str, seed: int, few: int, rare: int) -> None:
    """Forward and backward pass of several trials, also where no image, or every one, has a rare pixel."""
    algorithm, rng, common, size = ALGORITHMS[name], torch.Generator().manual_seed(seed), 5, 6
    layers = [random_slab((2, 4, common + rare), rng), random_slab((2, CLASSES, 4), rng)]
    batch = Batch(
        torch.rand(common, size, dtype=torch.float64, generator=rng),
        torch.rand(rare, few, dtype=torch.float64, generator=rng),
        torch.randperm(size, generator=rng)[:few],
    )
    fan_in = [torch.full((2, 1, 1), float(w.m.shape[-1]), dtype=torch.float64) for w in layers]
    noise = [torch.randn(2, w.m.shape[1], size, dtype=torch.float64, generator=rng) for w in layers]
    y = torch.randint(CLASSES, (size,), generator=rng)
    found = []
    for x in (batch, whole(batch, torch.arange(common + rare), common + rare)):
        trace = algorithm.forward(algorithm.prepare(layers), fan_in, x, noise)
        dz = cross_entropy(trace[-1].z, y)[1]
        found.append([layer.z for layer in trace] + [g for w in algorithm.backward(layers, trace, dz) for g in w])
    for blocks, dense in zip(*found, strict=True):
        close(blocks, dense, 1e-11)


def metrics(data: Splits) -> list[Mapping[str, float]]:
    """A pack of unlike trials, trained for two epochs."""
    members = trials({}, {"trainer.algorithm": "bp"}, {"model.widths": [9], "prior.weight": 0.2}, epochs=2)
    pack = Pack.start(members, INPUTS, CLASSES, padding=math.inf, dtype=torch.float64)
    return [trial.metrics for report in fit(pack, data) for trial in report.trials]


def test_setting_pixels_apart_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and evaluation, each set of images with its own rare pixels, or none set apart: to rounding."""
    parts = [sparse(200, INPUTS, seed) for seed in range(3)]
    data = Splits("sparse", CLASSES, SCALE, *parts, digest="")
    found = []
    for saved in (0, math.inf):
        assert all((load_ordered(part, SCALE, "cpu", saved).rare.shape[1] > 0) == (saved == 0) for part in parts)
        monkeypatch.setattr(train, "load_ordered", partial(load_ordered, saved=saved))
        found.append(metrics(data))
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(dict(other), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("blank", range(3))
def test_images_that_are_all_zero_are_trained_on_and_evaluated(blank: int) -> None:
    """They say nothing of the first layer; the noise of later ones is left."""
    parts = [sparse(200, INPUTS, seed) for seed in range(3)]
    parts[blank] = Images(np.zeros_like(parts[blank].x), parts[blank].y)
    found = metrics(Splits("blank", CLASSES, SCALE, *parts, digest=""))
    assert all(math.isfinite(value) for one in found for value in one.values())
    plain = found[1]  # without noise: one and the same answer for all blank images
    assert plain[f"{('train', 'val', 'test')[blank]}/loss"] == pytest.approx(math.log(CLASSES))


def test_images_are_not_copied_on_a_cpu_and_may_be_read_only() -> None:
    """So Ray's copy in shared memory serves all processes; of photographs, which have no silent pixel, wholly."""
    rng = np.random.default_rng(0)
    images = Images(rng.integers(1, 256, (40, 96), dtype=np.uint8), rng.integers(0, 10, 40))
    for array in (images.x, images.y):
        array.flags.writeable = False
    loaded, ordered = load_images(images, 255.0, "cpu"), load_ordered(images, 255.0, "cpu")
    assert loaded.pixels.data_ptr() == ordered.common.data_ptr() == images.x.ctypes.data
    assert loaded.y.data_ptr() == ordered.y.data_ptr() == images.y.ctypes.data
    assert ordered.rare.shape == (40, 0) and ordered.silent.shape == (0,)
    assert torch.equal(ordered.common, torch.tensor(images.x))
