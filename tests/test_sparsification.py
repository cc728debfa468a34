"""What is left of a network when weights are removed: the order, the accuracies, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core_strategies import (
    CLASSES,
    INPUTS,
    certain,
    digits_networks,
    made_up,
    networks,
    plain_accuracy,
    random_network,
    seeds,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import KeptCurve, KnobError, Network, SpikeSlab, kept_curve, load, score_ensemble
from lca_sweep.core import subnetworks as side_by_side
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.sparsification import removal

DATA = made_up()
SHARES = (1.0, 0.7, 0.4, 0.1, 0.0)


def curve(network: Network, **arguments: object) -> KeptCurve:
    """Of the made-up test images, a few draws, seed 0 unless said otherwise."""
    given_ = {"seed": 0, "draws": 3, "kept": SHARES} | arguments
    found: KeptCurve = kept_curve(network, DATA.test, DATA.scale, **given_)  # type: ignore[arg-type]
    return found


def flat(layers: list[Tensor]) -> np.ndarray:
    return torch.cat([w.flatten() for w in layers]).numpy()


@given(networks())
def test_the_order_of_removal(members: list[Network]) -> None:
    """Python's own sort by two keys: the surest absent first, then the smallest mean; each place is taken once."""
    (network,) = members
    pi, mean = flat([w.pi for w in network.layers]), flat(network.mean())
    order = sorted(range(len(pi)), key=lambda n: (-pi[n], abs(mean[n])))
    place = flat(removal(network))
    assert place[order].tolist() == list(range(len(pi)))


@given(networks(), seeds, st.integers(1, 10**5))
def test_accuracies_are_those_of_one_network_at_a_time(members: list[Network], seed: int, memory: int) -> None:
    """Of each share, with the rest of the weights set to 0 one by one; at any size of chunks."""
    (network,) = members
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "MEMORY", memory)
        found = curve(network, seed=seed)
    rng = generator(seed, Purpose.ENSEMBLE)
    drawn, place = [network.sample(rng) for _ in range(3)], removal(network)
    size = len(flat(place))

    def left(weights: list[Tensor], share: float) -> float:
        gone = size - round(share * size)
        pruned = [torch.where(p < gone, 0.0, w) for w, p in zip(weights, place, strict=True)]
        return plain_accuracy(pruned, DATA.test, DATA.scale)

    assert found.kept == SHARES
    assert found.mean_network == pytest.approx([left(network.mean(), share) for share in SHARES])
    np.testing.assert_allclose(found.subnetworks, [[left(w, share) for w in drawn] for share in SHARES])


@given(networks(), seeds)
def test_nothing_removed_is_the_ensemble_and_all_removed_is_no_network(members: list[Network], seed: int) -> None:
    found = curve(members[0], seed=seed)
    (whole,) = score_ensemble(members, DATA.test, DATA.scale, draws=3, seeds=[seed])
    assert found.mean_network[0] == pytest.approx(whole.mean_network)
    assert found.subnetworks[0].tolist() == pytest.approx(list(whole.subnetworks))
    assert found.mean_network[-1] == (DATA.test.y == 0).mean()
    assert (found.subnetworks[-1] == found.mean_network[-1]).all()


@given(networks())
def test_without_spikes_it_is_magnitude_pruning(members: list[Network]) -> None:
    """pi = 0 and xi = 0: what is above the quantile of |w| over the whole network stays; there is nothing to draw."""
    plain = Network(tuple(SpikeSlab(torch.zeros_like(w.pi), w.m, torch.zeros_like(w.xi)) for w in members[0].layers))
    found, size = curve(plain), np.sort(np.abs(flat(plain.mean())))
    for share, accuracy, of_drawn in zip(SHARES, found.mean_network, found.subnetworks, strict=True):
        gone = len(size) - round(share * len(size))
        limit = size[gone] if gone < len(size) else np.inf
        pruned = [torch.where(w.abs() < limit, 0.0, w) for w in plain.mean()]
        assert accuracy == pytest.approx(plain_accuracy(pruned, DATA.test, DATA.scale))
        assert (of_drawn == of_drawn[0]).all() and of_drawn[0] == pytest.approx(accuracy)
    assert found.without_uip == (1.0, found.mean_network[0])


@given(networks(), st.floats(0, 0.4))
def test_without_uip(members: list[Network], tolerance: float) -> None:
    """With no tolerance they have no weight in the mean network anyway."""
    (network,) = members
    share, accuracy = curve(network, tolerance=tolerance).without_uip
    kept = [w.pi < 1 - tolerance for w in network.layers]
    assert share == pytest.approx(flat(kept).mean())
    pruned = [mean * mask for mean, mask in zip(network.mean(), kept, strict=True)]
    assert accuracy == pytest.approx(plain_accuracy(pruned, DATA.test, DATA.scale))
    exact = curve(network)
    assert exact.without_uip[1] == pytest.approx(exact.mean_network[0])


def test_a_certain_network_loses_nothing_with_its_absent_weights() -> None:
    network = certain(random_network((INPUTS, 8, CLASSES), torch.Generator().manual_seed(1)))
    share = curve(network).without_uip[0]
    assert 0.2 < share < 0.8
    found = curve(network, kept=(1.0, share))
    assert found.mean_network[0] == found.mean_network[1] and (found.subnetworks == found.mean_network[0]).all()


def test_on_digits_the_surest_half_does_the_work() -> None:
    """By pi it does as well as the whole; a tenth of the weights no longer does, nor does the other half.

    On the average of four networks: by the rounding of one processor or another a single one loses up to 0.03.
    """
    data, four = load("digits"), digits_networks(*range(4))
    found = [kept_curve(one, data.test, data.scale, seed=0, kept=(1.0, 0.6, 0.1)) for one in four]
    whole, half, tenth = np.mean([one.mean_network for one in found], 0)
    assert half > whole - 0.02 and tenth < whole - 0.2
    members = np.mean([one.subnetworks.mean(1) for one in found], 0)
    assert members[1] > members[0] - 0.02 and members[2] < members[0] - 0.2
    network = four[0]
    place = removal(network)
    size = len(flat(place))
    other = [torch.where(p < 0.4 * size, w, 0.0) for w, p in zip(network.mean(), place, strict=True)]
    assert plain_accuracy(other, data.test, data.scale) < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draws": 0}, "draws=0: must be >= 1"),
        ({"kept": (1.0, -0.1)}, "kept=[1.0, -0.1]: must be >= 0 and <= 1"),
        ({"tolerance": -0.1}, "tolerance=-0.1: must be >= 0 and < 0.5"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    network = random_network((INPUTS, 4, CLASSES), torch.Generator().manual_seed(0))
    with pytest.raises(KnobError) as refusal:
        curve(network, **arguments)
    assert str(refusal.value) == message
