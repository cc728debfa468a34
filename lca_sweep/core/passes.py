"""The passes over memory of a gBP step on a CPU, each one loop that numba compiles; `compiled` calls them.

What they compute is written down a second time in plain torch, in `spikeslab`, `gbp`, `prior` and `adam`; the tests
compare. Importing this needs numba; a pass is compiled when it is first called, and kept on the disk where that can be.

All arrays are float32, contiguous, and (trials, numbers of a trial). NaN must stay NaN, so that a trial that breaks is
seen: comparisons are written so that NaN fails them and is kept. Constants are float32: of others numba makes float64.
What is written must not overlap what is read, or the loop takes one number at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

Array = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
# A running mean below this is 0. Without gradient it would shrink until floats are denormal, which slows processors,
# and stay there; beside Adam's eps (1e-8) it moves no weight.
TINY = f32(1e-30)
# Places in a trial's `rates` for `update`: Adam's 1 - beta1 and 1 - beta2; 1 - lr decay; lr over the first correction
# of bias, 1 over the root of the second; eps. The prior's logit of its spike, slab variance; floors of pi and of xi.
GAIN1, GAIN2, SHRINK, PACE, RISE, EPS, SPIKE, SLAB, PI_FLOOR, XI_FLOOR = range(10)


def compiled(function: Function) -> Function:
    """By numba, on first call; products and sums may become one instruction, nothing else is loosened."""
    options: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}
    try:
        made: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it
        made = numba.njit(**options)(function)
    return made


@compiled
def moments(pi: Array, m: Array, xi: Array, mean: Array, variance: Array) -> None:
    """Of each weight, into `mean` and `variance`; see `spikeslab.moments`."""
    for t in range(pi.shape[0]):
        for i in range(pi.shape[1]):
            keep = ONE - pi[t, i]
            mean[t, i] = keep * m[t, i]
            variance[t, i] = keep * (xi[t, i] + pi[t, i] * m[t, i] * m[t, i])


@compiled
def activate(z: Array, d: Array, a2: Array, eps: Array, scale: Array, hidden: bool) -> None:
    """In place: products `z` = w a become pre-activations, of hidden units activations; `d` = D^2 becomes D.

    Of hidden units `a2` becomes the squared activations.
    """
    for t in range(z.shape[0]):
        for i in range(z.shape[1]):
            deviation = np.sqrt(d[t, i])
            value = (z[t, i] + eps[t, i] * deviation) * scale[t]  # z = G + eps Delta
            d[t, i] = deviation
            if hidden:
                value = ZERO if value < ZERO else value  # ReLU
                a2[t, i] = value * value
            z[t, i] = value


@compiled
def slopes(g: Array, h: Array, a: Array, d: Array, eps: Array, scale: Array, hidden: bool) -> None:
    """In place: `g` becomes dC/dz scale, `h` = g eps / (2 D), and 0 where D = 0.

    `g` is dC/dz of the last layer; of a hidden one mean^T g and `h` variance^T h of the layer above.
    """
    for t in range(g.shape[0]):
        for i in range(g.shape[1]):
            slope = g[t, i]
            if hidden:
                slope += TWO * a[t, i] * h[t, i]  # dC/da
                slope = ZERO if a[t, i] <= ZERO else slope  # ReLU
            slope *= scale[t]
            half = HALF * slope * eps[t, i] / d[t, i]
            g[t, i] = slope
            h[t, i] = ZERO if d[t, i] <= ZERO else half


@compiled
def _gradient(pi: f32, m: f32, xi: f32, big_a: f32, big_b: f32) -> tuple[f32, f32, f32]:
    """dC/dpi, dC/dm, dC/dxi from A = g^T a and B = h^T a^2; see `gbp`."""
    keep, pim = ONE - pi, pi * m
    return ((m - TWO * pim) * big_b - big_a) * m - xi * big_b, (big_a + TWO * pim * big_b) * keep, big_b * keep


@compiled
def _kl_gradient(pi: f32, m: f32, xi: f32, logit: f32, log_ratio: f32, rates: Array) -> tuple[f32, f32, f32]:
    """See `prior.kl_gradient`; `logit` of pi and `log_ratio` of xi to the slab are taken between the floors."""
    low, high, least, slab = rates[PI_FLOOR], ONE - rates[PI_FLOOR], rates[XI_FLOOR], rates[SLAB]
    inside_pi, inside_xi = low if pi < low else (high if pi > high else pi), least if xi < least else xi
    past_pi, past_xi = pi - inside_pi, xi - inside_xi
    bend = HALF * (ONE / slab - ONE / inside_xi)
    d_pi = logit - rates[SPIKE] - HALF * ((inside_xi + m * m) / slab - ONE - log_ratio)
    d_pi -= past_xi * bend if past_pi == ZERO else ZERO
    d_m = (ONE - inside_pi - past_pi) * m / slab
    d_xi = (ONE - inside_pi) * bend - (past_pi * bend if past_xi == ZERO else ZERO)
    return d_pi, d_m, d_xi


@compiled
def _adam(w: f32, slope: f32, first: f32, second: f32, rates: Array) -> tuple[f32, f32, f32]:
    """A weight's number and its running means after one step of AdamW; see `adam`."""
    first += rates[GAIN1] * (slope - first)
    first = ZERO if abs(first) < TINY else first
    second += rates[GAIN2] * (slope * slope - second)
    return w * rates[SHRINK] - rates[PACE] * first / (np.sqrt(second) * rates[RISE] + rates[EPS]), first, second


@compiled
def update(
    w: tuple[Array, Array, Array],
    first: tuple[Array, Array, Array],
    second: tuple[Array, Array, Array],
    products: tuple[Array, Array],
    new: tuple[Array, Array],
    rates: Array,
    logs: tuple[Array, Array],
    share: Array,
    has_prior: bool,
) -> None:
    """In place: gradient, prior, Adam, projection, and the new moments; w, first, second are each (pi, m, xi).

    `products` are A and B, `new` mean and variance; `rates` (trials, 10). With a prior `logs` are logit(pi) and
    log(xi / slab) between the floors, and `share` is how much of its gradient is added; else nobody looks at them.
    """
    for t in range(rates.shape[0]):
        own = rates[t]
        for i in range(w[0].shape[1]):
            pi, m, xi = w[0][t, i], w[1][t, i], w[2][t, i]
            g_pi, g_m, g_xi = _gradient(pi, m, xi, products[0][t, i], products[1][t, i])
            if has_prior:
                k_pi, k_m, k_xi = _kl_gradient(pi, m, xi, logs[0][t, i], logs[1][t, i], own)
                part = share[t, i]
                g_pi, g_m, g_xi = g_pi + part * k_pi, g_m + part * k_m, g_xi + part * k_xi
            pi, first[0][t, i], second[0][t, i] = _adam(pi, g_pi, first[0][t, i], second[0][t, i], own)
            m, first[1][t, i], second[1][t, i] = _adam(m, g_m, first[1][t, i], second[1][t, i], own)
            xi, first[2][t, i], second[2][t, i] = _adam(xi, g_xi, first[2][t, i], second[2][t, i], own)
            pi = ZERO if pi < ZERO else (ONE if pi > ONE else pi)
            xi = ZERO if xi < ZERO else xi
            w[0][t, i], w[1][t, i], w[2][t, i] = pi, m, xi
            keep = ONE - pi
            new[0][t, i], new[1][t, i] = keep * m, keep * (xi + pi * m * m)
