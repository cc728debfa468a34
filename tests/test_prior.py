"""The sparsity prior: KL divergence and its gradient, also where training clips."""

from __future__ import annotations

import math

import pytest
import torch
from core_strategies import leaves, seeds, slabs
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from lca_sweep.core import SpikeSlab
from lca_sweep.core.prior import PI_FLOOR, XI_FLOOR, SlabPrior, kl, kl_gradient
from lca_sweep.core.spikeslab import sample

DRAWS = 40_000


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def slab(pi: float, m: float, xi: float) -> SpikeSlab:
    return SpikeSlab(number(pi), number(m), number(xi))


spikes = st.floats(PI_FLOOR, 1 - PI_FLOOR)
priors = st.builds(SlabPrior, spikes.map(number), st.floats(1e-3, 1e3).map(number))


def near(floor: float) -> st.SearchStrategy[float]:
    """At a floor, at zero, and on both sides of the floor."""
    return st.one_of(st.sampled_from([0.0, floor, floor / 2, 2 * floor]), st.floats(0, 1))


edge_slabs = st.builds(
    slab,
    st.one_of(near(PI_FLOOR), near(PI_FLOOR).map(lambda pi: 1 - pi)),
    st.floats(-30, 30),
    near(XI_FLOOR),
)
anywhere = st.one_of(edge_slabs, slabs())


def plain_kl(w: SpikeSlab, prior: SlabPrior) -> Tensor:
    """The textbook formula, where it is finite."""
    pi0, xi0 = prior
    ratio = w.xi / xi0
    slabs_kl = 0.5 * (ratio + w.m**2 / xi0 - 1 - ratio.log())
    return w.pi * (w.pi / pi0).log() + (1 - w.pi) * ((1 - w.pi) / (1 - pi0)).log() + (1 - w.pi) * slabs_kl


@given(slabs(interior=True), priors)
def test_kl_is_the_textbooks_between_the_floors(w: SpikeSlab, prior: SlabPrior) -> None:
    w = w._replace(xi=w.xi.clamp_min(XI_FLOOR * prior.slab_variance.item()))
    torch.testing.assert_close(kl(w, prior), plain_kl(w, prior), rtol=1e-12, atol=1e-12)


@given(slabs(interior=True), priors, seeds)
def test_kl_is_the_mean_log_ratio_of_samples(w: SpikeSlab, prior: SlabPrior, seed: int) -> None:
    """Monte Carlo: the ratio of the two spikes' masses where a draw is exactly 0, of the slabs' densities elsewhere."""
    w = w._replace(xi=w.xi.clamp_min(2 * XI_FLOOR * prior.slab_variance.item()))
    drawn = sample(SpikeSlab(*(p.expand(DRAWS, *p.shape).contiguous() for p in w)), torch.Generator().manual_seed(seed))
    pi0, xi0 = prior

    def slab_density(m: Tensor | float, xi: Tensor) -> Tensor:
        return -((drawn - m) ** 2) / (2 * xi) - 0.5 * (2 * math.pi * xi).log()

    slab = ((1 - w.pi) / (1 - pi0)).log() + slab_density(w.m, w.xi) - slab_density(0.0, xi0)
    ratio = torch.where(drawn == 0, (w.pi / pi0).log(), slab)
    error = ratio.std(0) / math.sqrt(DRAWS)
    assert ((ratio.mean(0) - kl(w, prior)).abs() <= 6 * error).all()


@given(anywhere, priors)
def test_kl_is_finite_and_never_negative(w: SpikeSlab, prior: SlabPrior) -> None:
    value = kl(w, prior)
    assert value.isfinite().all()
    assert (value >= -1e-11 * (1 + w.m**2 / prior.slab_variance)).all()  # rounding, of terms that large
    assert all(slope.isfinite().all() for slope in kl_gradient(w, prior))


@given(st.floats(2 * PI_FLOOR, 1 - 2 * PI_FLOOR), st.floats(1e-3, 1e3))
def test_kl_is_zero_at_the_prior_and_nowhere_near_it(spike: float, variance: float) -> None:
    prior, w = SlabPrior(number(spike), number(variance)), slab(spike, 0.0, variance)
    torch.testing.assert_close(kl(w, prior), number(0.0), rtol=0, atol=1e-14)
    for slope in kl_gradient(w, prior):
        torch.testing.assert_close(slope, number(0.0), rtol=0, atol=1e-12 / min(variance, 1))
    beside = (
        w._replace(m=number(0.1 * math.sqrt(variance))),
        w._replace(xi=number(0.9 * variance)),
        w._replace(pi=number(spike / 2)),
    )
    for other in beside:
        assert kl(other, prior) > 0


@given(anywhere, priors)
@example(slab(0.0, 1.0, 0.0), SlabPrior(number(0.5), number(1.0)))
@example(slab(1.0, 1.0, 0.0), SlabPrior(number(0.5), number(1.0)))
@example(slab(1 - PI_FLOOR / 2, -2.0, XI_FLOOR / 2), SlabPrior(number(0.1), number(2.0)))
@example(slab(0.5, -2.0, XI_FLOOR / 2), SlabPrior(number(0.1), number(2.0)))
def test_gradient_is_autograds(w: SpikeSlab, prior: SlabPrior) -> None:
    """Past the floors too, where the slopes of the tangents depend on the other variables."""
    (w,) = leaves([w])
    expected = torch.autograd.grad(kl(w, prior).sum(), w)
    for slope, reference in zip(kl_gradient(w, prior), expected, strict=True):
        torch.testing.assert_close(slope, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("m", [0.0, 3.0])
@pytest.mark.parametrize(
    ("start", "step"),
    [
        (slab(PI_FLOOR, 0, 0.3), slab(1, 0, 0)),
        (slab(1 - PI_FLOOR, 0, 0.3), slab(1, 0, 0)),
        (slab(0.4, 0, 2 * XI_FLOOR), slab(0, 0, 1)),
    ],
)
def test_value_and_slope_do_not_jump_at_a_floor(start: SpikeSlab, step: SpikeSlab, m: float) -> None:
    """Just before and just after each floor."""
    prior = SlabPrior(number(0.3), number(2.0))
    before, after = (
        SpikeSlab(start.pi + sign * 1e-9 * step.pi, number(m), start.xi + sign * 1e-9 * step.xi) for sign in (-1, 1)
    )
    torch.testing.assert_close(kl(before, prior), kl(after, prior), rtol=1e-4, atol=1e-6)
    for one, other in zip(kl_gradient(before, prior), kl_gradient(after, prior), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@given(anywhere, priors)
def test_past_the_floors_kl_is_a_straight_line(w: SpikeSlab, prior: SlabPrior) -> None:
    """At pi = 0 and 1 and at xi = 0: the value half-way to the floor is the mean of the two ends."""
    floor = XI_FLOOR * prior.slab_variance
    for name, at, edge in (("pi", 0.0, PI_FLOOR), ("pi", 1.0, 1 - PI_FLOOR), ("xi", 0.0, floor.item())):
        ends = [kl(w._replace(**{name: torch.full_like(w.pi, value)}), prior) for value in (at, edge)]
        middle = kl(w._replace(**{name: torch.full_like(w.pi, (at + edge) / 2)}), prior)
        scale = 1 + w.m**2 / prior.slab_variance
        torch.testing.assert_close(middle / scale, (ends[0] + ends[1]) / 2 / scale, rtol=1e-10, atol=1e-10)


def test_a_prior_tensor_for_each_trial() -> None:
    """Hyperparameters (trials, 1, 1) give each trial its own divergence."""
    rng = torch.Generator().manual_seed(0)
    w = SpikeSlab(*(torch.rand(2, 3, 4, dtype=torch.float64, generator=rng) for _ in range(3)))
    both = SlabPrior(*(torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in ([0.2, 0.7], [0.5, 2.0])))
    for t in range(2):
        alone = SlabPrior(*(p[t] for p in both))
        torch.testing.assert_close(kl(w, both)[t], kl(SpikeSlab(*(p[t] for p in w)), alone), rtol=1e-14, atol=0)
