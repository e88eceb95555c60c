"""Brent's method, the rules by which a zero counts as a flip, and the convexity of max pain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.gamma_flip import Contracts, GammaCurve, brent, flip_roots, price_grid
from strategy_pipeline.analytics.strike_levels import largest, max_pain, payouts


@pytest.mark.parametrize(
    ("function", "low", "high", "root"),
    [
        # The fixed point of the cosine, the real root of Wallis's cubic, and ln 2.
        (lambda x: math.cos(x) - x, 0.0, 1.0, 0.7390851332151607),
        (lambda x: x**3 - 2.0 * x - 5.0, 2.0, 3.0, 2.0945514815423265),
        (lambda x: math.exp(x) - 2.0, -5.0, 5.0, 0.6931471805599453),
        (lambda x: x - 1.0, 1.0, 2.0, 1.0),
        (lambda x: x**9, -1.0, 4.0, 0.0),
    ],
)
def test_brent_finds_known_roots(function, low, high, root) -> None:
    assert brent(function, low, high) == pytest.approx(root, abs=1e-14 if root else 1e-30 ** (1 / 9))


def test_brent_needs_a_change_of_sign() -> None:
    with pytest.raises(ValueError, match="No change of sign"):
        brent(lambda x: x * x + 1.0, -1.0, 1.0)


def test_the_grid_has_161_prices_around_the_underlying() -> None:
    prices = price_grid(200.0)
    assert len(prices) == 161
    assert prices[[0, 80, -1]] == pytest.approx([160.0, 200.0, 240.0])
    assert np.diff(prices) == pytest.approx(0.5)


def test_a_touch_of_zero_is_not_a_root_and_a_plateau_has_one() -> None:
    contracts = Contracts(*(np.array([value]) for value in (100.0, 0.1, 0.0, 0.0, 0.2)))
    curve = GammaCurve(contracts, np.array([[1.0]]), 100.0)
    prices, gross = np.array([90.0, 95.0, 100.0, 105.0]), np.ones(4)
    assert flip_roots(curve, 0, prices, np.array([1.0, 0.0, 1.0, 2.0]), gross) == []
    assert flip_roots(curve, 0, prices, np.array([1.0, -1e-15, 1.0, 2.0]), gross) == []
    assert flip_roots(curve, 0, prices, np.zeros(4), gross) == []


def test_minutes_before_expiry_the_curve_stays_finite() -> None:
    contracts = Contracts(
        *(np.array(value) for value in ([100.0, 100.5], [1 / 525_600] * 2, [0.0] * 2, [0.0] * 2, [0.2] * 2))
    )
    curve = GammaCurve(contracts, np.array([[1e5, -1e5], [-1e5, -1e5]]), 100.0)
    prices = price_grid(100.0)
    values = curve(prices)
    assert np.isfinite(values).all()
    roots = flip_roots(curve, 0, prices, values[0], -values[1])
    assert roots == pytest.approx([math.sqrt(100.0 * 100.5)], rel=1e-6)


def test_nothing_above_zero_has_no_largest() -> None:
    assert largest(np.array([90.0, 100.0]), np.array([0.0, -1.0]), 95.0) is None
    assert largest(np.array([]), np.array([]), 95.0) is None
    assert largest(np.array([90.0, 100.0]), np.array([3.0, 3.0]), 95.0) == (90.0, 3.0)


def test_a_flat_bottom_of_pain_goes_to_the_strike_nearer_to_the_underlying() -> None:
    strikes = np.array([90.0, 100.0, 110.0])
    calls, puts = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    # Between the put's and the call's strike nobody is paid.
    assert max_pain(strikes, calls, puts, 92.0) == 90.0
    assert max_pain(strikes, calls, puts, 111.0) == 110.0
    assert max_pain(strikes, calls * 0.0, puts * 0.0, 100.0) is None


WEIGHTS = st.lists(st.integers(0, 1000), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, WEIGHTS)
def test_pain_is_convex_and_its_minimum_is_at_a_strike(calls: list[int], puts: list[int]) -> None:
    strikes = np.array([80.0, 85.0, 95.0, 100.0, 112.5, 130.0])
    call, put = np.array(calls, dtype=float), np.array(puts, dtype=float)
    pain = payouts(strikes, call, put)
    slopes = np.diff(pain) / np.diff(strikes)
    assert (np.diff(slopes) >= -1e-9).all()
    if (found := max_pain(strikes, call, put, 100.0)) is not None:
        anywhere = np.linspace(70.0, 140.0, 701)
        everywhere = (
            np.maximum(anywhere[:, None] - strikes, 0.0) @ call + np.maximum(strikes - anywhere[:, None], 0.0) @ put
        )
        assert pain[strikes == found][0] <= everywhere.min() + 1e-6
