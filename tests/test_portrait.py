"""Histograms that count every weight once, and receptive fields that share out every input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core_strategies import networks, trained_digits
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import Histogram, KnobError, Network, SpikeSlab, histograms, receptive_fields
from lca_sweep.core.spikeslab import categories


def one_layer(pi: Tensor, m: Tensor, xi: Tensor) -> Network:
    return Network((SpikeSlab(pi, m, xi),))


def recount(values: Tensor, edges: np.ndarray) -> list[int]:
    """Value by value: the bin whose lower edge is the last not above it; the last edge belongs to the last bin."""
    found = [0] * (len(edges) - 1)
    for value in values.flatten().tolist():
        found[min(int((edges <= value).sum()), len(found)) - 1] += 1
    return found


def sound(histogram: Histogram, values: Tensor, bins: int) -> None:
    assert len(histogram.edges) == bins + 1 and (np.diff(histogram.edges) > 0).all()
    assert histogram.counts.sum() == values.numel() and histogram.counts.dtype == np.int64
    assert histogram.counts.tolist() == recount(values, histogram.edges)


@given(networks(), st.integers(1, 70), st.sampled_from([torch.float32, torch.float64]))
def test_every_weight_is_counted_once(members: list[Network], bins: int, dtype: torch.dtype) -> None:
    network = Network(tuple(SpikeSlab(*(p.to(dtype) for p in w)) for w in members[0].layers))
    found = histograms(network, bins)
    for layer, each in zip(network.layers, found, strict=True):
        assert list(each) == ["pi", "m", "xi"]
        for name, values in layer._asdict().items():
            sound(each[name], values, bins)
        assert (each["pi"].edges[0], each["pi"].edges[-1]) == (0, 1)


finite = st.floats(-1e6, 1e6, width=32)


@given(st.lists(finite, min_size=1, max_size=8), st.integers(1, 60))
def test_whatever_the_values_are(values: list[float], bins: int) -> None:
    """Also if all are one, or hardly differ, or are hardly more than 0."""
    m = torch.tensor([values])
    (found,) = histograms(one_layer(torch.ones_like(m), m, m.abs()), bins)
    for name, part in (("pi", torch.ones_like(m)), ("m", m), ("xi", m.abs())):
        sound(found[name], part, bins)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-45, 3e38])
def test_one_value_alone(value: float) -> None:
    m = torch.full((2, 3), value)
    (found,) = histograms(one_layer(torch.zeros_like(m), m, m))
    for name, part in (("pi", torch.zeros_like(m)), ("m", m), ("xi", m)):
        sound(found[name], part, 60)


@given(networks(), st.floats(0, 0.4))
def test_fields_share_out_every_input(members: list[Network], tolerance: float) -> None:
    (network,) = members
    fields, masks = receptive_fields(network, tolerance), categories(network.layers[0], tolerance)
    assert list(fields) == ["vip", "uip", "var"]
    np.testing.assert_allclose(sum(fields.values()), np.ones(network.widths[0]))
    for name, mask in masks._asdict().items():
        assert fields[name].tolist() == pytest.approx([column.sum() / len(column) for column in mask.t().numpy()])


def test_on_digits_the_dark_pixels_are_no_unimportant_ones() -> None:
    """Pixels that are 0 in every image get no gradient, so nothing ever drives their pi to 1."""
    network = trained_digits()
    fields = receptive_fields(network)
    dark = [0, 32, 39]
    assert (fields["uip"][dark] == 0).all() and fields["uip"].mean() > 0.05
    pi = histograms(network)[0]["pi"]
    assert pi.counts[-1] >= (network.layers[0].pi == 1).sum() and pi.counts[0] >= (network.layers[0].pi == 0).sum()


def test_refusals() -> None:
    network = trained_digits()
    with pytest.raises(KnobError, match="bins=0: must be >= 1"):
        histograms(network, 0)
    with pytest.raises(KnobError, match=r"tolerance=0\.5: must be >= 0 and < 0\.5"):
        receptive_fields(network, 0.5)
