"""The closed form: known answers of the books, the reference table, limits and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.errors import DataError
from strategy_pipeline.pricing import black_scholes
from strategy_pipeline.pricing.black_scholes import PricingInputError, price, price_and_greeks
from strategy_pipeline_tests.pricing.reference import calls, numbers, reference_options, terms

spots = st.floats(1.0, 5000.0)
ratios = st.floats(0.5, 2.0)
times = st.floats(1.0 / 365.0, 3.0)
volatilities = st.floats(0.05, 2.0)
rates = st.floats(-0.02, 0.10)
carries = st.floats(0.0, 0.06)
sides = st.booleans()

laws = settings(deadline=None, derandomize=True)


# Hull, Options, Futures and Other Derivatives: chapters on Black-Scholes-Merton, Greeks and stock indices; the standard
# case of every textbook. Digits beyond the book's come from QuantLib 1.44.
@pytest.mark.parametrize(
    ("terms_of_option", "is_call", "expected"),
    [
        ((42, 40, 0.5, 0.10, 0.0, 0.20), True, 4.759422),
        ((42, 40, 0.5, 0.10, 0.0, 0.20), False, 0.808599),
        ((930, 900, 2 / 12, 0.08, 0.03, 0.20), True, 51.832957),
        ((49, 50, 20 / 52, 0.05, 0.0, 0.20), True, 2.400527),
        ((100, 100, 1.0, 0.05, 0.0, 0.20), True, 10.450584),
        ((100, 100, 1.0, 0.05, 0.0, 0.20), False, 5.573526),
        ((100, 105, 0.25, 0.04, 0.01, 0.25), True, 3.247430),
        ((36, 40, 1.0, 0.06, 0.0, 0.20), False, 3.8443),
    ],
)
def test_prices_are_those_of_the_books(terms_of_option, is_call, expected):
    digits = 4 if expected == 3.8443 else 6
    assert price(*terms_of_option, is_call)[0] == pytest.approx(expected, abs=0.51 * 10**-digits)


def test_a_call_on_a_stock_with_escrowed_dividends_is_priced_on_the_spot_less_their_present_value():
    # Hull: S 40, 0.50 in two and five months, r 9 %; PV 0.974153, call 3.671233.
    present_value = 0.5 * np.exp(-0.09 * 2 / 12) + 0.5 * np.exp(-0.09 * 5 / 12)
    assert present_value == pytest.approx(0.974153, abs=5e-7)
    assert price(40 - present_value, 40, 0.5, 0.09, 0.0, 0.30, True)[0] == pytest.approx(3.671233, abs=5e-7)


# Hull's chapter on the Greeks, and the standard case.
@pytest.mark.parametrize(
    ("terms_of_option", "expected"),
    [
        (
            (49, 50, 20 / 52, 0.05, 0.0, 0.20),
            {"delta": 0.521605, "gamma": 0.065544, "vega_1pct": 0.121055, "theta_day": -0.011795, "rho_1pct": 0.089070},
        ),
        (
            (100, 100, 1.0, 0.05, 0.0, 0.20),
            {"delta": 0.636831, "gamma": 0.018762, "vega_1pct": 0.375240, "theta_day": -0.017573},
        ),
        (
            (100, 105, 0.25, 0.04, 0.01, 0.25),
            {"vanna_1pct": 0.006033, "charm_day": -0.001068, "theta_day": -10.648580 / 365},
        ),
    ],
)
def test_greeks_are_those_of_the_books(terms_of_option, expected):
    greeks = price_and_greeks(*terms_of_option, True)
    for name, value in expected.items():
        assert getattr(greeks, name)[0] == pytest.approx(value, abs=5.1e-7), name


def test_vomma_is_dollars_per_squared_volatility():
    # Quantitative methods, section 14: 8.07828.
    assert price_and_greeks(100, 105, 0.25, 0.04, 0.01, 0.25, True).vomma[0] == pytest.approx(8.07828, abs=5e-6)


def test_every_european_reference_price_is_met_to_1e8_of_the_spot(shared_data):
    table = reference_options(shared_data, "european")
    assert table.height == 344
    error = np.abs(price(*terms(table), calls(table)) - numbers(table, "price"))
    assert np.max(error / numbers(table, "spot")) < 1e-8


@pytest.mark.parametrize(
    ("ours", "column", "scale"),
    [
        ("delta", "delta", 1.0),
        ("gamma", "gamma", 1.0),
        ("vega_1pct", "vega", 1.0),
        ("theta_day", "theta", 1.0),
        ("rho_1pct", "rho", 1.0),
        ("vanna_1pct", "vanna", 0.01),  # the table's is per 1.00 of volatility
        ("charm_day", "charm", 1.0),
    ],
)
def test_every_european_reference_greek_is_met_to_1e8(shared_data, ours, column, scale):
    table = reference_options(shared_data, "european")
    expected = scale * numbers(table, column)
    error = np.abs(getattr(price_and_greeks(*terms(table), calls(table)), ours) - expected)
    assert np.all(error <= 1e-8 * np.abs(expected) + 1e-10)


@pytest.mark.parametrize(
    ("spot", "is_call", "value", "delta"),
    [
        (110.0, True, 10.0, 1.0),
        (110.0, False, 0.0, 0.0),
        (90.0, True, 0.0, 0.0),
        (90.0, False, 10.0, -1.0),
        (100.0, True, 0.0, 0.5),
        (100.0, False, 0.0, -0.5),
    ],
)
@pytest.mark.parametrize(("years", "volatility"), [(0.0, 0.2), (1.0, 0.0), (0.0, 0.0)])
def test_without_time_or_volatility_an_option_is_its_intrinsic_value(spot, is_call, value, delta, years, volatility):
    greeks = price_and_greeks(spot, 100.0, years, 0.0, 0.0, volatility, is_call)
    assert greeks.degenerate[0]
    assert greeks.price[0] == pytest.approx(value, abs=1e-12)
    assert greeks.delta[0] == delta
    assert greeks.gamma[0] == 0.0
    assert greeks.vega_1pct[0] == 0.0


def test_the_riskless_limit_is_discounted_at_both_rates():
    greeks = price_and_greeks(100.0, 90.0, 1.0, 0.05, 0.02, 0.0, True)
    # 100 e^-0.02 - 90 e^-0.05 and e^-0.02, by hand.
    assert greeks.price[0] == pytest.approx(12.409219, abs=5e-7)
    assert greeks.delta[0] == pytest.approx(0.980199, abs=5e-7)


def test_a_living_option_is_not_degenerate():
    assert not price_and_greeks(100, 100, 1e-5, 0.0, 0.0, 0.05, True).degenerate[0]


@pytest.mark.parametrize(
    ("position", "value", "name"),
    [
        (0, 0.0, "spot"),
        (0, -1.0, "spot"),
        (0, float("nan"), "spot"),
        (1, 0.0, "strike"),
        (1, float("inf"), "strike"),
        (2, -1e-9, "time to expiry"),
        (3, float("nan"), "rate"),
        (4, float("inf"), "carry"),
        (5, -0.1, "volatility"),
    ],
)
def test_terms_that_no_option_can_have_are_refused_with_the_row(position, value, name):
    arguments = [np.array([100.0, 100.0]) for _ in range(2)] + [np.array([1.0, 1.0]) for _ in range(4)]
    arguments[position][1] = value
    with pytest.raises(PricingInputError, match=f"The {name} of option 1 is"):
        price_and_greeks(*arguments, True)


def test_the_refusal_is_an_error_that_the_command_line_can_show():
    assert issubclass(PricingInputError, DataError)


def test_results_do_not_depend_on_the_position_in_the_block_or_the_number_of_rows():
    rng = np.random.default_rng(3)
    rows = 70_000
    columns = [
        rng.uniform(50, 150, rows),
        rng.uniform(50, 150, rows),
        rng.uniform(0.01, 2, rows),
        rng.uniform(0, 0.05, rows),
        rng.uniform(0, 0.03, rows),
        rng.uniform(0.1, 1, rows),
    ]
    side = rng.random(rows) < 0.5
    whole = price_and_greeks(*columns, side)
    for start, stop in ((0, 1), (511, 514), (32_760, 32_780), (69_999, 70_000)):
        part = price_and_greeks(*(column[start:stop] for column in columns), side[start:stop])
        for name in ("price", *black_scholes.GREEK_COLUMNS):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start:stop])


def test_no_rows_give_no_rows():
    assert len(price_and_greeks(*(np.empty(0) for _ in range(6)), np.empty(0, dtype=bool)).price) == 0


@laws
@given(spots, ratios, times, rates, carries, volatilities)
def test_put_call_parity_holds_to_1e10_of_the_spot(spot, ratio, years, rate, carry, volatility):
    strike = spot * ratio
    call, put = price(spot, strike, years, rate, carry, volatility, np.array([True, False]))
    forward_value = spot * np.exp(-carry * years) - strike * np.exp(-rate * years)
    assert abs(call - put - forward_value) < 1e-10 * max(spot, strike)


@laws
@given(spots, ratios, times, rates, carries, volatilities, sides)
def test_price_rises_with_volatility(spot, ratio, years, rate, carry, volatility, is_call):
    low, high = price(spot, spot * ratio, years, rate, carry, np.array([volatility, volatility * 1.05]), is_call)
    assert high >= low - 1e-12 * spot


@laws
@given(spots, ratios, times, rates, carries, volatilities)
def test_a_call_falls_with_its_strike_and_is_convex_in_it(spot, ratio, years, rate, carry, volatility):
    strikes = spot * ratio * np.array([0.95, 1.0, 1.05])
    low, middle, high = price(spot, strikes, years, rate, carry, volatility, True)
    assert low >= middle >= high
    assert low - 2 * middle + high >= -1e-11 * spot


@laws
@given(spots, ratios, times, rates, carries, volatilities, sides)
def test_gamma_is_never_negative_and_delta_stays_in_its_range(spot, ratio, years, rate, carry, volatility, is_call):
    greeks = price_and_greeks(spot, spot * ratio, years, rate, carry, volatility, is_call)
    assert greeks.gamma[0] >= 0.0
    assert greeks.vega_1pct[0] >= 0.0
    bound = np.exp(-carry * years) * (1 + 1e-14)
    assert (0.0 <= greeks.delta[0] <= bound) if is_call else (-bound <= greeks.delta[0] <= 0.0)


@laws
@given(
    st.floats(50.0, 500.0),
    st.floats(0.85, 1.15),
    st.floats(0.1, 2.0),
    st.floats(0.0, 0.08),
    st.floats(0.0, 0.05),
    st.floats(0.15, 0.8),
    sides,
)
def test_greeks_are_the_central_differences_of_price_and_delta(spot, ratio, years, rate, carry, volatility, is_call):
    strike = spot * ratio
    greeks = price_and_greeks(spot, strike, years, rate, carry, volatility, is_call)

    def slope(position, step, name):
        # Fourth-order central difference: truncation falls below the rounding of the prices.
        shifts = step * np.array([-2.0, -1.0, 1.0, 2.0])
        base = [np.full(4, value) for value in (spot, strike, years, rate, carry, volatility)]
        base[position] = base[position] + shifts
        values = getattr(price_and_greeks(*base, is_call), name)
        return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)

    scale = {"delta": 1.0, "gamma": greeks.gamma[0], "vega": spot * np.sqrt(years), "theta": spot, "rho": spot}
    assert greeks.delta[0] == pytest.approx(slope(0, 1e-3 * spot, "price"), rel=1e-6, abs=1e-7 * scale["delta"])
    assert greeks.gamma[0] == pytest.approx(slope(0, 1e-3 * spot, "delta"), rel=1e-6, abs=1e-9)
    assert 100 * greeks.vega_1pct[0] == pytest.approx(slope(5, 1e-3, "price"), rel=1e-6, abs=1e-8 * scale["vega"])
    assert 365 * greeks.theta_day[0] == pytest.approx(
        -slope(2, 1e-3 * years, "price"), rel=1e-6, abs=1e-7 * scale["theta"]
    )
    assert 100 * greeks.rho_1pct[0] == pytest.approx(slope(3, 1e-3, "price"), rel=1e-6, abs=1e-7 * scale["rho"])
    assert 100 * greeks.vanna_1pct[0] == pytest.approx(slope(5, 1e-3, "delta"), rel=1e-6, abs=1e-7)
    assert 365 * greeks.charm_day[0] == pytest.approx(-slope(2, 1e-3 * years, "delta"), rel=1e-6, abs=1e-6)
    assert greeks.vomma[0] == pytest.approx(100 * slope(5, 1e-3, "vega_1pct"), rel=1e-6, abs=1e-6 * scale["vega"])


@laws
@given(spots, ratios, times, rates, carries, volatilities, st.floats(0.01, 100.0), sides)
def test_price_scales_with_spot_and_strike_together(spot, ratio, years, rate, carry, volatility, factor, is_call):
    one = price_and_greeks(spot, spot * ratio, years, rate, carry, volatility, is_call)
    other = price_and_greeks(spot * factor, spot * factor * ratio, years, rate, carry, volatility, is_call)
    assert other.price[0] == pytest.approx(one.price[0] * factor, rel=1e-9, abs=1e-12 * spot * factor)
    assert other.gamma[0] == pytest.approx(one.gamma[0] / factor, rel=1e-9, abs=1e-300)
