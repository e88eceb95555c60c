"""The branch-free elementary functions against libm and typed values."""

import math

import numba
import numpy as np
import pytest

from strategy_pipeline.pricing import elementary_kernels as kernels


@numba.njit
def _over(function, values):
    out = np.empty(len(values))
    for i in range(len(values)):
        out[i] = function(values[i])
    return out


def test_the_exponential_is_within_two_last_digits_of_libm():
    x = np.concatenate([np.linspace(-707.0, 708.0, 20_001), np.linspace(-1.0, 1.0, 20_001)])
    assert np.max(np.abs(_over(kernels.exp, x) / np.exp(x) - 1.0)) < 4e-16


def test_the_exponential_neither_overflows_nor_turns_negative():
    out = _over(kernels.exp, np.array([-1e9, -709.0, 709.5, 1e9]))
    assert np.all(out > 0.0)
    assert np.all(np.isfinite(out))


def test_the_logarithm_is_within_two_last_digits_of_libm():
    x = np.concatenate([np.geomspace(1e-300, 1e300, 20_001), np.linspace(0.5, 2.0, 20_001)])
    error = np.abs(_over(kernels.log, x) - np.log(x))
    assert np.max(error / np.maximum(np.abs(np.log(x)), 0.5)) < 5e-16


def test_the_logarithm_of_one_is_exactly_zero():
    assert _over(kernels.log, np.array([1.0]))[0] == 0.0


@pytest.mark.parametrize(
    ("z", "expected"),
    # Mpmath 1.3 at 30 digits.
    [
        (0.0, 1.0),
        (0.5, 0.61569034419292587),
        (1.0, 0.42758357615580700),
        (5.0, 0.11070463773306863),
        (50.0, 0.011281536265323772),
        (1e6, 5.6418958354747419e-7),
    ],
)
def test_the_scaled_error_function_has_its_known_values(z, expected):
    assert _over(kernels.erfcx, np.array([z]))[0] == pytest.approx(expected, rel=2e-15)


def test_the_scaled_error_function_agrees_with_libm_where_libm_has_digits():
    z = np.linspace(0.0, 5.0, 5_001)
    expected = np.array([math.exp(v * v) * math.erfc(v) for v in z])
    assert np.max(np.abs(_over(kernels.erfcx, z) / expected - 1.0)) < 2e-14
