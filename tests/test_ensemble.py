"""The ensemble's score and predictions: against plain numpy, and what must hold of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from core_strategies import (
    CLASSES,
    INPUTS,
    certain,
    made_up,
    networks,
    random_network,
    seeds,
    trained_digits,
    votes,
)
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core import EnsembleScore, KnobError, Network, SpikeSlab, load, predict, score, score_ensemble
from lca_sweep.core import subnetworks as side_by_side
from lca_sweep.core.ensemble import calibration_error, negative_log_likelihood
from lca_sweep.core.rng import Purpose, generator

DATA = made_up()
X = torch.tensor(DATA.test.x).double() / DATA.scale


def scored(members: list[Network], draws: int, own: list[int]) -> list[EnsembleScore]:
    return score_ensemble(members, DATA.test, DATA.scale, draws=draws, seeds=own)


def near(one: EnsembleScore, other: EnsembleScore) -> bool:
    """To float64's tolerance."""
    pairs = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
    return all(a == pytest.approx(b, rel=1e-9, abs=1e-12) for a, b in pairs)


def plain_ece(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, bin by bin; p is (images, classes)."""
    confidence, right = p.max(1), p.argmax(1) == y
    total = 0.0
    for b in range(bins):
        held = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if held.any():
            total += held.mean() * abs(right[held].mean() - confidence[held].mean())
    return total


@given(networks(), st.integers(1, 5), seeds)
def test_the_score_is_that_of_each_sub_network_one_by_one(members: list[Network], draws: int, seed: int) -> None:
    (network,), y = members, DATA.test.y
    (found,) = scored(members, draws, [seed])
    rng = generator(seed, Purpose.ENSEMBLE)
    each = np.stack([votes(network.sample(rng), DATA.test, DATA.scale) for _ in range(draws)])
    p = each.mean(0)
    assert found.subnetworks == pytest.approx([(one.argmax(1) == y).mean() for one in each])
    assert found.averaged == pytest.approx((p.argmax(1) == y).mean())
    assert found.nll == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-9)
    assert found.ece == pytest.approx(plain_ece(p, y), rel=1e-9, abs=1e-12)
    mean = votes(network.mean(), DATA.test, DATA.scale)
    assert found.mean_network == pytest.approx((mean.argmax(1) == y).mean())
    assert found.mean_field == score(network, DATA.test, DATA.scale, seed=seed, epoch=0)[1]


@given(networks(most=4), st.integers(1, 4), seeds, st.integers(1, 60), st.sampled_from([1, 30_000, 2**25]))
def test_a_network_feels_neither_its_neighbours_nor_the_chunks(
    members: list[Network], draws: int, seed: int, batch: int, memory: int
) -> None:
    own = [(seed + n) % 2**32 for n in range(len(members))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "MEMORY", memory)
        patch.setattr(side_by_side, "BATCH", batch)
        together = scored(members, draws, own)
    alone = [scored([network], draws, [n])[0] for network, n in zip(members, own, strict=True)]
    assert all(near(one, other) for one, other in zip(together, alone, strict=True))


@given(networks(), st.integers(1, 6), seeds)
def test_predictions_are_those_of_each_sub_network_one_by_one(members: list[Network], draws: int, seed: int) -> None:
    p, deviation = predict(members[0], X, draws, torch.Generator().manual_seed(seed))
    rng = torch.Generator().manual_seed(seed)
    each = np.stack([votes(members[0].sample(rng), DATA.test, DATA.scale) for _ in range(draws)])
    np.testing.assert_allclose(p.numpy(), each.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(deviation.numpy(), each.std(0), rtol=1e-6, atol=1e-8)


@given(networks(), st.integers(1, 6), seeds)
def test_probabilities_sum_to_one(members: list[Network], draws: int, seed: int) -> None:
    """And no deviation of numbers between 0 and 1 is larger than a half."""
    p, deviation = predict(members[0], X, draws, torch.Generator().manual_seed(seed))
    assert p.shape == deviation.shape == (len(X), CLASSES)
    torch.testing.assert_close(p.sum(1), torch.ones(len(X), dtype=torch.float64))
    assert ((p >= 0) & (p <= 1) & (deviation >= 0) & (deviation <= 0.5)).all()


@given(networks(), st.integers(1, 5), seeds)
def test_without_chance_all_are_the_mean_network(members: list[Network], draws: int, seed: int) -> None:
    """pi is 0 or 1 and xi is 0: one network, however often it is drawn, and no deviation at all."""
    network = certain(members[0])
    (found,) = scored([network], draws, [seed])
    assert found.subnetworks == (found.mean_network,) * draws
    assert found.averaged == found.mean_field == found.mean_network
    p, deviation = predict(network, X, draws, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(p.numpy(), votes(network.mean(), DATA.test, DATA.scale), check_stride=False)
    assert (deviation <= 1e-12).all()


def test_predictions_take_images_of_any_type_and_leave_gradients_alone() -> None:
    """A float32 network, float64 images; the results are ordinary tensors."""
    network = trained_digits()
    data = load("digits")
    x = torch.tensor(data.test.x[:30]) / data.scale
    p, deviation = predict(network, x, 20, torch.Generator().manual_seed(0))
    other, _ = predict(network, x.double(), 20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(p, other)
    assert not p.is_inference() and deviation.max() > 0
    assert torch.ones(3, requires_grad=True).mul(p[0, :3]).sum().requires_grad


probabilities = st.integers(1, 40).flatmap(
    lambda images: st.tuples(st.just(images), st.integers(2, 12), st.floats(0.1, 30), seeds)
)


@given(probabilities)
def test_calibration_and_likelihood_against_numpy(case: tuple[int, int, float, int]) -> None:
    """For two networks at once, from hardly to very sure."""
    images, classes, sharp, seed = case
    rng = np.random.default_rng(seed)
    z = rng.normal(0, sharp, (2, images, classes))
    p = np.exp(z - z.max(2, keepdims=True))
    p /= p.sum(2, keepdims=True)
    y = rng.integers(0, classes, images)
    tensor, labels = torch.tensor(p).transpose(1, 2), torch.tensor(y)
    assert calibration_error(tensor, labels).tolist() == pytest.approx([plain_ece(one, y) for one in p], abs=1e-12)
    own = p[:, np.arange(images), y]
    assert negative_log_likelihood(tensor, labels).tolist() == pytest.approx(-np.log(own).mean(1))


def test_sure_and_right_sure_and_wrong() -> None:
    p, y = torch.eye(2, dtype=torch.float64).expand(2, 2, 2), torch.tensor([0, 1])
    assert calibration_error(p, y).tolist() == [0, 0] and calibration_error(p, 1 - y).tolist() == [1, 1]
    assert negative_log_likelihood(p, y).tolist() == [0, 0]
    assert negative_log_likelihood(p, 1 - y).tolist() == pytest.approx([708.4, 708.4], abs=0.1)


def test_on_digits_the_ensemble_beats_its_members() -> None:
    """Averaging helps both in accuracy and in likelihood; the mean field is about as good as a sub-network."""
    data = load("digits")
    few, many = (
        score_ensemble([trained_digits()], data.test, data.scale, draws=draws, seeds=[0])[0] for draws in (1, 40)
    )
    members = np.array(many.subnetworks)
    assert few.subnetworks == many.subnetworks[:1]
    assert many.averaged > members.mean() + members.std() / np.sqrt(len(members)) and many.nll < few.nll
    assert many.mean_field == pytest.approx(members.mean(), abs=0.03)
    assert 0 < many.ece < 0.1 and members.std() > 0


def test_nothing_to_score() -> None:
    assert scored([], 3, []) == []


@pytest.mark.parametrize(
    ("widths", "draws", "own", "message"),
    [
        ((INPUTS, 4, CLASSES), 0, [0, 1], "draws=0: must be >= 1"),
        ((INPUTS, 4, CLASSES), 1, [0], "seeds=[0]: must be 2, one for each network"),
        ((INPUTS, 5, CLASSES), 1, [0, 1], "widths=(12, 5, 3): must be (12, 4, 3), the first network's"),
    ],
)
def test_refusals(widths: tuple[int, ...], draws: int, own: list[int], message: str) -> None:
    rng = torch.Generator().manual_seed(0)
    members = [random_network((INPUTS, 4, CLASSES), rng), random_network(widths, rng)]
    with pytest.raises(KnobError) as refusal:
        scored(members, draws, own)
    assert str(refusal.value) == message
    if draws < 1:
        with pytest.raises(KnobError, match="draws=0: must be >= 1"):
            predict(members[0], X, draws, rng)


@pytest.mark.gpu
def test_a_network_without_chance_scores_on_a_gpu_as_on_a_cpu() -> None:
    network = certain(random_network((INPUTS, 6, CLASSES), torch.Generator().manual_seed(0)))
    there = Network(tuple(SpikeSlab(*(p.cuda() for p in w)) for w in network.layers))
    assert near(scored([there], 3, [0])[0], scored([network], 3, [0])[0])
