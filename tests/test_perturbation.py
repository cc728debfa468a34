"""Targeted weight perturbation: what is changed and what is not, against one network at a time, and on digits."""

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
    random_slab,
    seeds,
    slabs,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lca_sweep.core import KnobError, Network, Perturbation, SpikeSlab, load, perturb
from lca_sweep.core import subnetworks as side_by_side
from lca_sweep.core.perturbation import ARMS, perturbed, plans, targets
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import categories, sample

DATA = made_up()
VIP, UIP, VAR, RANDOM = range(4)


def study(network: Network, **arguments: object) -> Perturbation:
    """Of the made-up test images, seed 0 unless said otherwise."""
    found: Perturbation = perturb(network, DATA.test, DATA.scale, **({"seed": 0} | arguments))  # type: ignore[arg-type]
    return found


@given(networks(), seeds, st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 10**5))
def test_accuracies_are_those_of_one_network_at_a_time(
    members: list[Network], seed: int, fractions: list[float], repeats: int, memory: int
) -> None:
    """Each perturbed network in numpy, with the same draws; at any size of chunks."""
    (network,) = members
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "MEMORY", memory)
        found = study(network, seed=seed, fractions=fractions, repeats=repeats)
    for depth, layer in enumerate(network.layers):
        rng = generator(seed, Purpose.PERTURBATION, depth + 1)
        for repeat in range(repeats):
            weights = network.sample(rng)
            each = plans(targets(layer, 0.0), weights[depth], rng)
            for arm, column in np.ndindex(len(ARMS), len(fractions)):
                changed = perturbed(weights[depth], each[arm], int(found.changed[depth, arm, column]))
                alone = plain_accuracy([*weights[:depth], changed, *weights[depth + 1 :]], DATA.test, DATA.scale)
                assert found.accuracy[depth, arm, column, repeat] == pytest.approx(alone)


@given(slabs(), seeds, st.floats(0, 0.3))
def test_only_so_many_weights_of_the_category_change(layer: SpikeSlab, seed: int, tolerance: float) -> None:
    """Deleted weights are 0; what more changes includes what fewer changed, to the same values; all at the end."""
    rng = torch.Generator().manual_seed(seed)
    w = sample(layer, rng) + 10  # none is 0
    masks = categories(layer, tolerance)
    expected = [masks.vip, masks.uip, masks.var, torch.ones_like(masks.vip)]
    for arm, (mask, plan) in enumerate(zip(expected, plans(targets(layer, tolerance), w, rng), strict=True)):
        size, before = int(mask.sum()), w
        for count in range(size + 1):
            after = perturbed(w, plan, count)
            touched = after != w
            assert int(touched.sum()) == count and not (touched & ~mask).any()
            assert ((after == before) | (before == w)).all()
            assert arm == UIP or (after[touched] == 0).all()
            before = after
        assert torch.equal(perturbed(w, plan, size) != w, mask)


@given(networks(), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 0.3))
def test_how_many_weights_are_changed(members: list[Network], fractions: list[float], tolerance: float) -> None:
    """The fraction of VIP and of UIP; of VAR and of all as many as of VIP, as far as there are."""
    found = study(members[0], fractions=fractions, repeats=1, tolerance=tolerance)
    assert found.layers == tuple(range(1, len(members[0].layers) + 1)) and found.fractions == tuple(fractions)
    for changed, layer in zip(found.changed, members[0].layers, strict=True):
        masks = categories(layer, tolerance)
        for column, f in enumerate(fractions):
            vip, uip = round(f * int(masks.vip.sum())), round(f * int(masks.uip.sum()))
            assert changed[:, column].tolist() == [vip, uip, min(vip, int(masks.var.sum())), vip]


@given(networks(), seeds)
def test_where_nothing_changes_all_arms_agree(members: list[Network], seed: int) -> None:
    found = study(members[0], seed=seed, fractions=(0.0, 1.0), repeats=2)
    untouched = found.accuracy[:, VIP, 0]
    for arm, column in np.ndindex(len(ARMS), 2):
        same = found.changed[:, arm, column] == 0
        np.testing.assert_array_equal(found.accuracy[same, arm, column], untouched[same])
    assert (found.changed[:, :, 0] == 0).all()


@given(networks(), seeds)
def test_a_layer_feels_no_other_and_a_repeat_none_after_it(members: list[Network], seed: int) -> None:
    """The rest of the study may be left out, or come in another order."""
    arguments = {"seed": seed, "fractions": (0.5, 1.0)}
    whole = study(members[0], repeats=3, **arguments)
    backwards = study(members[0], repeats=2, layers=whole.layers[::-1], **arguments)
    assert backwards.layers == whole.layers[::-1]
    np.testing.assert_array_equal(backwards.accuracy[::-1], whole.accuracy[..., :2])
    np.testing.assert_array_equal(backwards.changed[::-1], whole.changed)


@given(networks())
def test_without_vip_weights_nothing_is_left_of_a_certain_network(members: list[Network]) -> None:
    """All its weights are VIP or UIP: a layer without its VIP weights has no signal, and the first class wins."""
    network = certain(members[0])
    found = study(network, fractions=(0.0, 1.0), repeats=1)
    assert (found.accuracy[:, VIP, 1] == (DATA.test.y == 0).mean()).all()
    assert (found.changed[:, VAR] == 0).all()
    mean = plain_accuracy(network.mean(), DATA.test, DATA.scale)
    np.testing.assert_allclose(found.accuracy[:, VIP, 0], mean)


def test_uip_weights_become_standard_normal_draws() -> None:
    """Kolmogorov and Smirnov's distance, at odds of a million."""
    rng = torch.Generator().manual_seed(0)
    layer = random_slab((100, 300), rng)
    plan = plans(targets(layer, 0.0), sample(layer, rng), rng)[UIP]
    mask = categories(layer).uip
    drawn = perturbed(torch.zeros_like(layer.m), plan, int(mask.sum()))[mask].sort().values
    steps = torch.arange(len(drawn) + 1, dtype=torch.float64) / len(drawn)
    law = torch.special.ndtr(drawn)
    assert torch.maximum(steps[1:] - law, law - steps[:-1]).max() < 2.7 / len(drawn) ** 0.5


def test_every_weight_of_a_category_is_as_likely_to_change() -> None:
    """A third of them, 3,000 times: how often each did is binomial, within 5 deviations."""
    rng = torch.Generator().manual_seed(0)
    layer, draws = random_slab((6, 9), rng), 3_000
    masks = targets(layer, 0.0)
    often = torch.zeros(len(ARMS), 6, 9)
    for _ in range(draws):
        for arm, plan in enumerate(plans(masks, layer.m, rng)):
            often[arm] += plan.order < int(masks[arm].sum()) // 3
    for mask, count in zip(masks, often, strict=True):
        p = (int(mask.sum()) // 3) / int(mask.sum())
        assert ((count[mask] / draws - p).abs() < 5 * (p * (1 - p) / draws) ** 0.5).all()
        assert (count[~mask] == 0).all()


def test_on_digits_vip_weights_matter_and_uip_weights_do_not() -> None:
    """The claim of Li & Huang 2020, in every layer: deleting VIP weights hurts, more than as many others.

    Of the mean over six networks: in a narrow layer of a single one, luck is as large as the effect.
    """
    data = load("digits")
    losses = []
    for network in digits_networks(*range(6)):
        found = perturb(network, data.test, data.scale, seed=0, fractions=(0.0, 1.0))
        assert (found.changed[:, :, 1] > 20).all()
        accuracy = found.accuracy.mean(-1)  # (layers, arms, fractions)
        losses.append(accuracy[..., 0] - accuracy[..., 1])
    for loss in np.mean(losses, axis=0):
        assert loss[VIP] > 0.03 and loss[VIP] > 1.5 * max(loss[VAR], loss[RANDOM])
        assert abs(loss[UIP]) < 0.02


@settings(max_examples=10)
@given(networks(), seeds)
def test_the_same_seed_gives_the_same_study(members: list[Network], seed: int) -> None:
    one, other = (study(members[0], seed=seed, fractions=(0.3, 1.0), repeats=2) for _ in range(2))
    np.testing.assert_array_equal(one.accuracy, other.accuracy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": (1, 3)}, "layers=[1, 3]: must be >= 1 and <= 2"),
        ({"layers": (0,)}, "layers=[0]: must be >= 1 and <= 2"),
        ({"fractions": (0.5, 1.5)}, "fractions=[0.5, 1.5]: must be >= 0 and <= 1"),
        ({"repeats": 0}, "repeats=0: must be >= 1"),
        ({"tolerance": 0.5}, "tolerance=0.5: must be >= 0 and < 0.5"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    network = random_network((INPUTS, 4, CLASSES), torch.Generator().manual_seed(0))
    with pytest.raises(KnobError) as refusal:
        study(network, **arguments)
    assert str(refusal.value) == message


@pytest.mark.gpu
def test_a_study_on_a_gpu() -> None:
    """Other draws than a CPU's; where nothing changes and nothing is drawn the accuracy is the same."""
    network = certain(random_network((INPUTS, 6, CLASSES), torch.Generator().manual_seed(0)))
    there = Network(tuple(SpikeSlab(*(p.cuda() for p in w)) for w in network.layers))
    one, other = study(network, repeats=2), study(there, repeats=2)
    np.testing.assert_array_equal(one.changed, other.changed)
    np.testing.assert_array_equal(one.accuracy[:, VIP][:, [0, -1]], other.accuracy[:, VIP][:, [0, -1]])
