"""Spike-and-slab weights: their moments, samples, entropy and categories."""

from __future__ import annotations

import math

import pytest
import torch
from core_strategies import seeds, slabs
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import SpikeSlab
from lca_sweep.core.spikeslab import ENTROPY_FLOOR, categories, counts, entropy, fractions, moments, sample

DRAWS = 40_000


def slab(pi: float, m: float, xi: float, size: int = 1) -> SpikeSlab:
    return SpikeSlab(*(torch.full((1, size), value, dtype=torch.float64) for value in (pi, m, xi)))


def draws(w: SpikeSlab, seed: int) -> Tensor:
    """(DRAWS, out, in)."""
    return sample(SpikeSlab(*(p.expand(DRAWS, *p.shape).contiguous() for p in w)), torch.Generator().manual_seed(seed))


@given(slabs(), seeds)
def test_moments_are_those_of_samples(w: SpikeSlab, seed: int) -> None:
    """Within 6 standard errors, those too taken from the samples."""
    w = w._replace(
        pi=(20 * w.pi).round() / 20
    )  # a spike or a slab too rare to be drawn would leave no error to compare with
    mean, variance, *_ = moments(w)
    deviation = draws(w, seed) - mean
    for moment, expected in ((deviation, 0.0), (deviation**2, variance)):
        error = moment.std(0) / math.sqrt(DRAWS)
        assert ((moment.mean(0) - expected).abs() <= 6 * error + 1e-12).all()


@given(slabs())
def test_moments_are_the_papers(w: SpikeSlab) -> None:
    """The paper's s2 = rho - mu^2 with rho = (1 - pi)(m^2 + xi)."""
    mean, variance, *_ = moments(w)
    torch.testing.assert_close(mean, (1 - w.pi) * w.m)
    torch.testing.assert_close(variance, (1 - w.pi) * (w.m**2 + w.xi) - mean**2, rtol=1e-12, atol=1e-14)
    assert (variance >= 0).all()


@given(slabs())
def test_moments_in_float32_do_not_cancel(w: SpikeSlab) -> None:
    w = w._replace(pi=w.pi * 1e-6)  # rho - mu^2 in float32 would lose all digits here
    narrow = SpikeSlab(*(p.float() for p in w))
    exact = moments(SpikeSlab(*(p.double() for p in narrow)))[1]
    torch.testing.assert_close(moments(narrow)[1].double(), exact, rtol=1e-6, atol=0)


@given(slabs(), seeds)
def test_an_absent_weight_is_sampled_as_zero(w: SpikeSlab, seed: int) -> None:
    w = w._replace(pi=torch.ones_like(w.pi))
    assert (sample(w, torch.Generator().manual_seed(seed)) == 0).all()
    assert all((moment == 0).all() for moment in moments(w)[:2])


@given(slabs(), seeds)
def test_a_deterministic_weight_is_sampled_as_its_mean(w: SpikeSlab, seed: int) -> None:
    w = SpikeSlab(torch.zeros_like(w.pi), w.m, torch.zeros_like(w.xi))
    assert torch.equal(sample(w, torch.Generator().manual_seed(seed)), w.m)
    mean, variance, *_ = moments(w)
    assert torch.equal(mean, w.m) and (variance == 0).all()


@given(slabs(), seeds)
def test_a_weight_without_spike_is_normal(w: SpikeSlab, seed: int) -> None:
    w = w._replace(pi=torch.zeros_like(w.pi))
    mean, variance, *_ = moments(w)
    assert torch.equal(mean, w.m) and torch.equal(variance, w.xi)
    assert (sample(w, torch.Generator().manual_seed(seed)) != 0).all()


@given(seeds)
def test_samples_follow_from_the_generator_alone(seed: int) -> None:
    w = slab(0.5, 1.0, 1.0, size=40)
    first, second, other = (sample(w, torch.Generator().manual_seed(s)) for s in (seed, seed, seed + 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@given(slabs(interior=True))
def test_entropy_is_the_integral_of_minus_q_ln_q(w: SpikeSlab) -> None:
    """With respect to counting measure at 0 plus Lebesgue measure elsewhere."""
    deviation = torch.linspace(-12, 12, 4001, dtype=torch.float64).view(-1, 1, 1)  # in units of sqrt(xi)
    q = (1 - w.pi) * torch.exp(-(deviation**2) / 2) / (2 * math.pi * w.xi).sqrt()
    lebesgue = torch.trapezoid(-torch.xlogy(q, q), deviation, dim=0) * w.xi.sqrt()
    torch.testing.assert_close(entropy(w), lebesgue - w.pi * w.pi.log(), rtol=1e-9, atol=1e-9)


@given(slabs())
def test_entropy_at_the_limits(w: SpikeSlab) -> None:
    """Finite everywhere; absent and deterministic weights have none; a point slab leaves the coin's."""
    assert entropy(w).isfinite().all()
    absent = entropy(w._replace(pi=torch.ones_like(w.pi)))
    deterministic = entropy(SpikeSlab(torch.zeros_like(w.pi), w.m, torch.zeros_like(w.xi)))
    assert (absent == 0).all() and (deterministic == 0).all()
    coin = -torch.xlogy(w.pi, w.pi) - torch.xlogy(1 - w.pi, 1 - w.pi)
    torch.testing.assert_close(entropy(w._replace(xi=torch.full_like(w.xi, ENTROPY_FLOOR))), coin)
    wide = entropy(SpikeSlab(torch.zeros_like(w.pi), w.m, torch.full_like(w.xi, 1 / (2 * math.pi * math.e))))
    torch.testing.assert_close(wide, torch.zeros_like(wide), rtol=0, atol=1e-15)


tolerances = st.one_of(st.just(0.0), st.floats(0, 2))  # absurdly large ones too
small_tolerances = st.one_of(st.just(0.0), st.floats(0, 0.49))  # those that a knob may have


@given(slabs(), tolerances)
def test_every_weight_is_in_one_category(w: SpikeSlab, tolerance: float) -> None:
    masks = torch.stack(list(categories(w, tolerance)))
    assert (masks.sum(0) == 1).all()


@pytest.mark.parametrize(
    ("pi", "xi", "name"),
    [
        (0.0, 0.0, "vip"),
        (1.0, 0.0, "uip"),
        (1.0, 0.3, "uip"),
        (0.0, 0.3, "var"),
        (0.5, 0.0, "var"),
        (1e-30, 0.0, "var"),
        (0.0, 1e-30, "var"),
        (1 - 1e-15, 0.0, "var"),
    ],
)
def test_categories_are_exact_without_tolerance(pi: float, xi: float, name: str) -> None:
    assert [key for key, mask in categories(slab(pi, 1.0, xi))._asdict().items() if mask] == [name]


@given(slabs(), small_tolerances, small_tolerances)
def test_a_larger_tolerance_only_moves_weights_out_of_var(w: SpikeSlab, first: float, second: float) -> None:
    small, large = (categories(w, tolerance) for tolerance in sorted((first, second)))
    assert (large.vip | ~small.vip).all() and (large.uip | ~small.uip).all() and (small.var | ~large.var).all()


@given(slabs(), tolerances, seeds)
def test_fractions_over_any_part_of_the_weights_sum_to_one(w: SpikeSlab, tolerance: float, seed: int) -> None:
    where = torch.rand(w.pi.shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    by_input = counts(w, where, tolerance)
    total = sum(fractions([{name: count.sum(-1) for name, count in by_input.items()}]).values())
    expected = float(where.any())  # there is no fraction of nothing
    torch.testing.assert_close(total, torch.tensor(expected))


VALUES = [(0.0, 1.0, 0.0), (1.0, -1.0, 0.5), (0.3, 0.2, 0.1)]


def test_a_leading_trial_axis_changes_nothing() -> None:
    each = [slab(*values) for values in VALUES]
    together = SpikeSlab(*(torch.stack(parts) for parts in zip(*each, strict=True)))
    for function in (entropy, lambda w: moments(w)[0], lambda w: moments(w)[1]):
        torch.testing.assert_close(function(together), torch.stack([function(w) for w in each]))
