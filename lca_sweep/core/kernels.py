"""Triton kernels of a training step: all of it but the matrix products and the softmax. `fused` launches them.

Each is one pass over memory, for all trials of a bucket. What they compute is written down a second time in plain
torch, in `philox`, `spikeslab`, `gbp`, `prior` and `adam`; the tests compare. Importing this needs Triton.

NaN must stay NaN, so that a trial that breaks is seen: comparisons are written so that NaN fails them and is kept.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from lca_sweep.core import prior

LANES = tl.constexpr(4)  # units of one counter, see `philox`
PI_FLOOR = tl.constexpr(prior.PI_FLOOR)
XI_FLOOR = tl.constexpr(prior.XI_FLOOR)
TO_UNIFORM = tl.constexpr(2.0**-32)
TO_ANGLE = tl.constexpr(2 * math.pi * 2.0**-32)
RATES = tl.constexpr(5)  # floats of a trial for `update`: lr, shrink, share, spike, slab variance
SIZES = tl.constexpr(2)  # its own outputs and inputs of a layer, without padding


@triton.jit
def _cosine_and_sine(word):
    """Of the angle 2 pi word / 2^32; see `philox`."""
    turned = word + 0x20000000
    quarter, rest = turned >> 30, (turned & 0x3FFFFFFF).to(tl.int32) - 0x20000000
    x = rest.to(tl.float32) * TO_ANGLE
    x2 = x * x
    sine = x * (1 + x2 * (-1 / 6 + x2 * (1 / 120 + x2 * (-1 / 5040 + x2 * (1 / 362880)))))
    cosine = 1 + x2 * (-1 / 2 + x2 * (1 / 24 + x2 * (-1 / 720 + x2 * (1 / 40320 - x2 * (1 / 3628800)))))
    odd = (quarter & 1) == 1
    along, across = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    back = ((quarter + 1) & 2) == 2
    return tl.where(back, -along, along), tl.where(quarter >= 2, -across, across)


@triton.jit
def _box_muller(one, other):
    """Two standard normals from two words of 32 bits."""
    radius = tl.sqrt(tl.log((one.to(tl.float32) + 0.5) * TO_UNIFORM) * -2)
    cosine, sine = _cosine_and_sine(other)
    return radius * cosine, radius * sine


@triton.jit
def _normals(keys, clock, trial, layer, group, image):
    """Standard normals (4, images): those of units 4 group to 4 group + 3."""
    step = tl.load(clock).to(tl.int32)
    w0, w1, w2, w3 = tl.philox(tl.load(keys + trial), image, group, layer, step)
    n0, n1 = _box_muller(w0, w1)
    n2, n3 = _box_muller(w2, w3)
    return n0, n1, n2, n3


@triton.jit
def _place(trial, group, lane, units, batch, column):
    """Offsets of some images of one unit in (trials, units, batch), and which of them exist."""
    unit = group * LANES + lane
    return (trial.to(tl.int64) * units + unit) * batch + column, (column < batch) & (unit < units)


@triton.jit
def noise(out, keys, clock, first, layer, units, batch, BLOCK: tl.constexpr):
    """Standard normals (trials, units, batch) of images `first` and on."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    group, trial = tl.program_id(1), tl.program_id(2)
    eps = _normals(keys, clock, trial, layer, group, first + column)
    for lane in tl.static_range(LANES):
        at, here = _place(trial, group, lane, units, batch, column)
        tl.store(out + at, eps[lane], mask=here)


@triton.jit
def _activate(z, d, a2, scale, eps, at, here, HIDDEN: tl.constexpr):
    deviation = tl.sqrt(tl.load(d + at, mask=here))
    value = (tl.load(z + at, mask=here) + eps * deviation) * scale  # z = G + eps Delta
    tl.store(d + at, deviation, mask=here)
    if HIDDEN:
        value = tl.where(value < 0, 0.0, value)  # ReLU
        tl.store(a2 + at, value * value, mask=here)
    tl.store(z + at, value, mask=here)


@triton.jit
def activate(z, d, a2, scales, keys, clock, first, layer, units, batch, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
    """In place, all (trials, units, batch): products `z` = w a become pre-activations, of hidden units activations.

    `d` = D^2 becomes D; of hidden units `a2` becomes the squared activations.
    """
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    group, trial = tl.program_id(1), tl.program_id(2)
    scale = tl.load(scales + trial)
    eps = _normals(keys, clock, trial, layer, group, first + column)
    for lane in tl.static_range(LANES):
        at, here = _place(trial, group, lane, units, batch, column)
        _activate(z, d, a2, scale, eps[lane], at, here, HIDDEN)


@triton.jit
def _slopes(g, h, a, d, scale, eps, at, here, HIDDEN: tl.constexpr):
    slope, deviation = tl.load(g + at, mask=here), tl.load(d + at, mask=here)
    if HIDDEN:
        value = tl.load(a + at, mask=here)
        slope += 2 * value * tl.load(h + at, mask=here)  # dC/da
        slope = tl.where(value <= 0, 0.0, slope)  # ReLU
    slope *= scale
    tl.store(g + at, slope, mask=here)
    half = 0.5 * slope * eps / tl.where(deviation <= 0, 1.0, deviation)
    tl.store(h + at, tl.where(deviation <= 0, 0.0, half), mask=here)


@triton.jit
def slopes(g, h, a, d, scales, keys, clock, layer, units, batch, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
    """In place, all (trials, units, batch): `g` becomes dC/dz scale, `h` = g eps / (2 D); the noise is made anew.

    `g` is dC/dz of the last layer; of a hidden one mean^T g and `h` variance^T h of the layer above.
    """
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    group, trial = tl.program_id(1), tl.program_id(2)
    scale = tl.load(scales + trial)
    eps = _normals(keys, clock, trial, layer, group, column)
    for lane in tl.static_range(LANES):
        at, here = _place(trial, group, lane, units, batch, column)
        _slopes(g, h, a, d, scale, eps[lane], at, here, HIDDEN)


@triton.jit
def _moments(pi, m, xi):
    """Mean and variance of a weight."""
    keep = 1 - pi
    return keep * m, (xi + pi * m * m) * keep


@triton.jit
def moments(pi, m, xi, mean, variance, size, BLOCK: tl.constexpr):
    """Of `size` weights in a row."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = at < size
    first, second = _moments(tl.load(pi + at, mask=here), tl.load(m + at, mask=here), tl.load(xi + at, mask=here))
    tl.store(mean + at, first, mask=here)
    tl.store(variance + at, second, mask=here)


@triton.jit
def _gbp_gradient(pi, m, xi, a, b):
    """Of pi, m and xi from A = g^T a and B = h^T a^2."""
    keep, pim = 1 - pi, pi * m
    return ((m - 2 * pim) * b - a) * m - xi * b, (a + 2 * pim * b) * keep, b * keep


@triton.jit
def _kl_gradient(pi, m, xi, spike, slab):
    """Of pi, m and xi: `prior.kl_gradient`."""
    inside = tl.where(pi < PI_FLOOR, PI_FLOOR, pi)
    inside = tl.where(inside > 1 - PI_FLOOR, 1 - PI_FLOOR, inside)
    floor = slab * XI_FLOOR
    width = tl.where(xi < floor, floor, xi)
    past_pi, past_xi = pi - inside, xi - width
    ratio, bend = width / slab, 0.5 * (1 / slab - 1 / width)
    divergence = 0.5 * (ratio + m * m / slab - 1 - tl.log(ratio))  # between the slabs
    d_pi = tl.log(inside / (1 - inside)) - tl.log(spike / (1 - spike)) - divergence
    d_pi -= tl.where(past_pi == 0, past_xi * bend, 0.0)
    d_xi = (1 - inside) * bend - tl.where(past_xi == 0, past_pi * bend, 0.0)
    return d_pi, (1 - inside - past_pi) * m / slab, d_xi


@triton.jit
def _adam(p, first, second, at, here, gradient, lr, shrink, gain1, gain2, rise1, rise2, eps):
    """The new value, not stored yet; running means in place. `gain` is 1 - beta, `rise` is 1 - beta^step."""
    mean, square = tl.load(first + at, mask=here), tl.load(second + at, mask=here)
    mean += gain1 * (gradient - mean)
    square += gain2 * (gradient * gradient - square)
    tl.store(first + at, mean, mask=here)
    tl.store(second + at, square, mask=here)
    return p * shrink - lr / rise1 * mean / (tl.sqrt(square / rise2) + eps)


@triton.jit
def update(
    pi,
    m,
    xi,
    first_pi,
    first_m,
    first_xi,
    second_pi,
    second_m,
    second_xi,
    big_a,
    big_b,
    mean,
    variance,
    rates,
    sizes,
    rises,
    clock,
    gain1,
    gain2,
    eps,
    size,
    inputs,
    DATA: tl.constexpr,
    PRIOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One step of projected Adam in place, weights (trials, out, in) of `size` each; also their new mean and variance.

    The gradient comes from the products A and B if there are DATA (of silent inputs there are none, nor moments), and
    from the PRIOR. `rates` (trials, RATES) and `sizes` (trials, SIZES) are each trial's own, `rises` (steps, 2) what
    Adam's running means are divided by at each step, `clock` the step.
    """
    trial = tl.program_id(1)
    within = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here, at = within < size, trial.to(tl.int64) * size + within
    lr, shrink = tl.load(rates + trial * RATES), tl.load(rates + trial * RATES + 1)
    step = tl.load(clock)
    rise1, rise2 = tl.load(rises + 2 * step), tl.load(rises + 2 * step + 1)
    p, q, r = tl.load(pi + at, mask=here), tl.load(m + at, mask=here), tl.load(xi + at, mask=here)
    if DATA:
        d_pi, d_m, d_xi = _gbp_gradient(p, q, r, tl.load(big_a + at, mask=here), tl.load(big_b + at, mask=here))
    else:
        d_pi, d_m, d_xi = tl.zeros_like(p), tl.zeros_like(p), tl.zeros_like(p)
    if PRIOR:
        spike, slab = tl.load(rates + trial * RATES + 3), tl.load(rates + trial * RATES + 4)
        out, ins = tl.load(sizes + trial * SIZES), tl.load(sizes + trial * SIZES + 1)
        real = (within // inputs < out) & (within % inputs < ins)  # padding has no prior
        share = tl.where(real, tl.load(rates + trial * RATES + 2), 0.0)
        k_pi, k_m, k_xi = _kl_gradient(p, q, r, spike, slab)
        d_pi, d_m, d_xi = d_pi + share * k_pi, d_m + share * k_m, d_xi + share * k_xi
    p = _adam(p, first_pi, second_pi, at, here, d_pi, lr, shrink, gain1, gain2, rise1, rise2, eps)
    q = _adam(q, first_m, second_m, at, here, d_m, lr, shrink, gain1, gain2, rise1, rise2, eps)
    r = _adam(r, first_xi, second_xi, at, here, d_xi, lr, shrink, gain1, gain2, rise1, rise2, eps)
    p = tl.where(p < 0, 0.0, p)  # the projection
    p = tl.where(p > 1, 1.0, p)
    r = tl.where(r < 0, 0.0, r)
    tl.store(pi + at, p, mask=here)
    tl.store(m + at, q, mask=here)
    tl.store(xi + at, r, mask=here)
    if DATA:
        new_mean, new_variance = _moments(p, q, r)
        tl.store(mean + at, new_mean, mask=here)
        tl.store(variance + at, new_variance, mask=here)
