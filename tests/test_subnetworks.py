"""Many networks side by side: each is run as if alone, whatever shares its chunk, and drawn by its own generator."""

from __future__ import annotations

import pytest
import torch
from core_strategies import close, made_up, networks, plain_accuracy, random_network, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import Network, subnetworks
from lca_sweep.core.images import load_images
from lca_sweep.core.network import outputs
from lca_sweep.core.spikeslab import moments
from lca_sweep.core.subnetworks import accuracies, chunks, stack

DATA = made_up()


def rngs(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + n) for n in range(count)]


def same(one: list[list[Tensor]], other: list[list[Tensor]]) -> bool:
    """Bit for bit."""
    return all(torch.equal(w, v) for a, b in zip(one, other, strict=True) for w, v in zip(a, b, strict=True))


def draw(members: list[Network], draws: int, generators: list[torch.Generator]) -> list[list[Tensor]]:
    return [list(weights) for weights in subnetworks.subnetworks(members, draws, generators)]


@given(networks(most=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_outputs_of_a_stack_are_those_of_each(members: list[Network], shared: list[bool]) -> None:
    """Whichever layers they have in common."""
    each = [network.mean() for network in members]
    for depth, whether in zip(range(len(each[0])), shared, strict=False):
        if whether:
            for weights in each:
                weights[depth] = each[0][depth]
    x = torch.tensor(DATA.test.x).double().t() / DATA.scale
    z = outputs(stack(each), x).expand(len(each), -1, -1)
    for n, weights in enumerate(each):
        close(z[n], outputs(weights, x), 1e-12)


def test_what_all_share_is_not_copied() -> None:
    one, other = (random_network((12, 4, 3), rng).mean() for rng in rngs(2))
    shared = stack([one, [one[0], other[1]], one])  # the first and the last being alike does not do
    assert shared[0] is one[0] and torch.equal(shared[1], torch.stack([one[1], other[1], one[1]]))


@given(networks(), st.integers(0, 9), st.integers(1, 20_000))
def test_chunks_keep_the_order_and_within_memory(members: list[Network], count: int, memory: int) -> None:
    """One network may be larger than the limit; several are not."""
    each = [members[0].sample(rng) for rng in rngs(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subnetworks, "MEMORY", memory)
        patch.setattr(subnetworks, "BATCH", 7)
        found = list(chunks(each))
    assert same([list(weights) for chunk in found for weights in chunk], each)
    stored = 2 * sum(w.numel() * w.element_size() for w in members[0].mean())
    assert all(len(chunk) == 1 or len(chunk) * stored <= memory for chunk in found)
    assert len({len(chunk) for chunk in found[:-1]}) <= 1


@given(networks(), st.integers(1, 8), st.integers(1, 60), st.sampled_from([1, 10_000, 2**25]))
def test_accuracies_are_those_of_each_alone(members: list[Network], count: int, batch: int, memory: int) -> None:
    """Against numpy, at any size of batches and of chunks."""
    each = [members[0].sample(rng) for rng in rngs(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subnetworks, "MEMORY", memory)
        patch.setattr(subnetworks, "BATCH", batch)
        found = accuracies(iter(each), load_images(DATA.test, DATA.scale, "cpu"))
    assert found.tolist() == pytest.approx([plain_accuracy(weights, DATA.test, DATA.scale) for weights in each])


def test_no_networks_have_no_accuracies() -> None:
    assert accuracies([], load_images(DATA.test, DATA.scale, "cpu")).tolist() == []


@given(networks(most=3), st.integers(0, 4), st.integers(0, 4), seeds)
def test_draws_follow_from_a_network_s_own_generator(members: list[Network], first: int, then: int, seed: int) -> None:
    """Not from the other networks, nor from how many were drawn at once."""
    together = draw(members, first + then, rngs(len(members), seed))
    for n, network in enumerate(members):
        own = rngs(len(members), seed)[n : n + 1]
        in_two = draw([network], first, own) + draw([network], then, own)
        assert same(together[n * (first + then) : (n + 1) * (first + then)], in_two)


@given(seeds)
@settings(max_examples=10)
def test_many_sub_networks_have_the_weights_moments(seed: int) -> None:
    """Mean and variance of each weight, within Bernstein's bound at e^-25 for numbers that hardly exceed `most`."""
    network, draws = random_network((12, 4, 3), torch.Generator().manual_seed(seed)), 2_000
    drawn = draw([network], draws, rngs(1, seed))
    for w, each in zip(network.layers, zip(*drawn, strict=True), strict=True):
        weights, law, most = torch.stack(each), moments(w), w.m.abs() + 5 * w.xi.sqrt()
        squares = (weights - law.mean).square()
        for power, sample, expected in ((1, weights, law.mean), (2, squares, law.variance)):
            variance, b = law.variance * most ** (2 * power - 2), most**power
            bound = (50 * variance / draws).sqrt() + 25 * b / (3 * draws)
            assert ((sample.mean(0) - expected).abs() <= bound + 1e-12).all()
