"""Student's intervals, against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lca_sweep.report.intervals import Sample, difference, pooled_error, sample, t95

values = st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda each: np.ptp(each) > 1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 10, 30, 1000])
def test_quantile(freedom: int) -> None:
    assert t95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


@given(st.floats(1, 200))
def test_a_quantile_between_whole_degrees_is_never_too_small(freedom: float) -> None:
    assert t95(freedom) >= stats.t.ppf(0.975, freedom) - 1e-3


@given(values)
def test_interval_of_a_mean(each: list[float]) -> None:
    low, high = stats.t.interval(0.95, len(each) - 1, np.mean(each), stats.sem(each))
    found = sample(each)
    assert found.mean == pytest.approx(np.mean(each))
    assert found.half == pytest.approx((high - low) / 2, rel=1e-3)


@given(values, values)
def test_difference_is_welch(a: list[float], b: list[float]) -> None:
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    step, half = difference(sample(a), sample(b))
    assert step == pytest.approx((interval.high + interval.low) / 2, abs=1e-9)
    assert half >= (interval.high - interval.low) / 2 * (1 - 1e-3)  # degrees of freedom below 5 are rounded down


@given(values, values)
def test_pooled_error_is_that_of_students_test(a: list[float], b: list[float]) -> None:
    t = stats.ttest_ind(a, b).statistic
    assert abs(t) * pooled_error(sample(a), sample(b)) == pytest.approx(abs(np.mean(a) - np.mean(b)), abs=1e-9)


def test_single_values() -> None:
    one = sample([0.5])
    assert math.isnan(one.half) and math.isnan(difference(one, sample([1, 2]))[1])
    assert math.isnan(difference(one, one)[1]) and math.isnan(pooled_error(one, one))
    assert pooled_error(one, Sample(1.0, 0.3, 1, borrowed=4)) == pytest.approx(0.3 * math.sqrt(2))
    step, half = difference(sample([1, 1]), sample([3, 3]))
    assert step == -2 and math.isnan(half), "without any spread nothing is known of it"
