"""Counter-based noise: the published answers, the normal distribution, and independence of all that does not count."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from core_strategies import seeds
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core.philox import WORD, keys, noise, normals, philox
from lca_sweep.core.rng import Purpose

PI = "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0"
# Random123's published known answers for philox4x32-10: counter (4 words), key (2), result (4)
ANSWERS = (
    f"{'00000000 ' * 6} 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    f"{'ffffffff ' * 6} 408f276d 41c83b0e a20bc7c6 6d5451fd",
    f"{PI} d16cfe09 94fdcceb 5001e420 24126ea1",
)
words = st.integers(0, WORD)


def signed(low: int, high: int) -> Tensor:
    """A key of two words as int64 has it."""
    return torch.from_numpy(np.array([low | high << 32], dtype=np.uint64).view(np.int64))


def step(number: int = 0) -> Tensor:
    return torch.tensor(number)


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_published_answers(answer: str) -> None:
    numbers = [int(word, 16) for word in answer.split()]
    found = philox([torch.tensor([word]) for word in numbers[:4]], signed(*numbers[4:6]))
    assert [int(word) for word in found] == numbers[6:]


@given(st.lists(words, min_size=4, max_size=4), words, words)
def test_it_is_the_published_rounds_in_pythons_own_integers(counter: list[int], low: int, high: int) -> None:
    c, k = list(counter), [low, high]
    for _ in range(10):
        one, two = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [two >> 32 ^ c[1] ^ k[0], two & WORD, one >> 32 ^ c[3] ^ k[1], one & WORD]
        k = [k[0] + 0x9E3779B9 & WORD, k[1] + 0xBB67AE85 & WORD]
    assert [int(word) for word in philox([torch.tensor([w]) for w in counter], signed(low, high))] == c


def test_no_words_give_anything_but_numbers() -> None:
    """Also at both ends of the 32 bits."""
    ends = torch.tensor([0, 1, 2**31 - 1, 2**31, WORD - 1, WORD])
    one, two = torch.meshgrid(ends, ends, indexing="ij")
    for found in normals((one, two, two, one)):
        assert found.isfinite().all() and found.abs().max() < 6.8


def test_the_angle_is_that_of_the_second_word() -> None:
    """Cosine and sine to float32's rounding, all around the circle."""
    word = torch.cat([torch.arange(0, WORD, 9973), torch.arange(8).mul(1 << 29), torch.tensor([WORD])])
    along, across, *_ = normals((torch.zeros_like(word), word, word, word))
    angle, radius = word.double() * (2 * math.pi / 2**32), math.sqrt(-2 * math.log(2.0**-33))
    torch.testing.assert_close(along.double(), radius * angle.cos(), rtol=0, atol=1e-6)
    torch.testing.assert_close(across.double(), radius * angle.sin(), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def sample() -> Tensor:
    """Two million numbers, (trials, units, images)."""
    return noise(keys([0, 1, 2, 3], Purpose.TRAIN, 1), step(), 0, 100, torch.arange(5000)).double()


def test_moments(sample: Tensor) -> None:
    """Within 5 standard errors: E z^k is 0, 1, 0, 3, 0, 15, and the variance of z^k is E z^2k - (E z^k)^2."""
    double_factorial = [math.prod(range(n - 1, 0, -2)) for n in range(0, 14)]
    expected = [0 if power % 2 else double_factorial[power] for power in range(13)]
    for power in range(1, 7):
        error = math.sqrt((expected[2 * power] - expected[power] ** 2) / sample.numel())
        assert abs(sample.pow(power).mean().item() - expected[power]) < 5 * error


def test_the_distribution_as_a_whole(sample: Tensor) -> None:
    """Kolmogorov and Smirnov's distance, whose 1 - 1e-6 quantile is 2.7 / sqrt(n)."""
    values = sample.flatten().sort().values
    below = torch.arange(len(values), dtype=torch.float64) / len(values)
    distance = (torch.special.ndtr(values) - below).abs().max().item()
    assert distance < 2.7 / math.sqrt(len(values))


@pytest.mark.parametrize("limit", [2.0, 3.0, 4.0, 4.5])
def test_tails(sample: Tensor, limit: float) -> None:
    """On either side as many as there should be, within 5 standard deviations of that count."""
    expected = sample.numel() * torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64)).item()
    for count in ((sample > limit).sum().item(), (sample < -limit).sum().item()):
        assert abs(count - expected) < 5 * math.sqrt(expected)


def test_nothing_is_correlated() -> None:
    """Neighbouring trials, purposes, epochs, steps, layers, units and images; also squares, also across Box-Muller."""
    drawn: dict[object, Tensor] = {}
    for seed, purpose, epoch in itertools.product((0, 1), (Purpose.TRAIN, Purpose.TEST), (1, 2)):
        for number, layer in itertools.product((0, 1), (0, 1)):
            found = noise(keys([seed], purpose, epoch), step(number), layer, 8, torch.arange(2500))[0]
            drawn |= {(seed, purpose, epoch, number, layer, unit): z for unit, z in enumerate(found)}
            drawn |= {(seed, purpose, epoch, number, layer, unit, "next"): z.roll(1) for unit, z in enumerate(found)}
    z = torch.stack(list(drawn.values())).double()
    for rows in (z, z.square()):
        found = torch.corrcoef(rows).fill_diagonal_(0)
        # the largest of n^2 / 2 correlations, each normal with deviation 1 / sqrt(images)
        limit = math.sqrt(2 * math.log(found.numel() / 2)) + 2
        assert found.abs().max() * math.sqrt(z.shape[1]) < (limit if rows is z else 2.5 * limit)


@given(
    st.lists(seeds, min_size=1, max_size=4, unique=True),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 9),
    st.data(),
)
def test_a_number_follows_from_its_own_place_alone(
    each: list[int], units: int, images: int, layer: int, data: st.DataObject
) -> None:
    """Whoever its mates are, however wide the padding and the batch, and wherever the batch begins."""
    number = data.draw(st.integers(0, WORD))
    whole = noise(keys(each, Purpose.TRAIN, 3), step(number), layer, units, torch.arange(images))
    trial = data.draw(st.integers(0, len(each) - 1))
    mine = keys(each[trial : trial + 1], Purpose.TRAIN, 3)
    wide = noise(mine, step(number), layer, units + data.draw(st.integers(0, 5)), torch.arange(images + 3))
    assert torch.equal(whole[trial], wide[0, :units, :images])
    first = data.draw(st.integers(0, images - 1))
    assert torch.equal(whole[trial][:, first:], noise(mine, step(number), layer, units, torch.arange(first, images))[0])


def test_keys_of_neighbours_all_differ() -> None:
    found = [keys(range(30), purpose, epoch) for purpose in Purpose for epoch in range(20)]
    assert len(set(torch.cat(found).tolist())) == 30 * len(Purpose) * 20
