"""European implied volatility: known answers, the reference table, every status, and the round trip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.pricing.black_scholes import GREEK_COLUMNS, price, price_and_greeks
from strategy_pipeline.pricing.implied_volatility import IV_STATUSES, STATUSES_WITH_IV, implied_volatilities
from strategy_pipeline_tests.pricing.reference import calls, numbers, reference_options

laws = settings(deadline=None, derandomize=True)


def solve_one(*arguments, **options):
    found = implied_volatilities(*arguments, **options)
    return found.iv[0], IV_STATUSES[found.status[0]]


def test_the_volatility_of_hulls_example_is_found():
    # Hull: S 21, K 20, r 10 %, T 0.25, call 1.875.
    iv, status = solve_one(1.875, 21, 20, 0.25, 0.10, 0.0, True)
    assert iv == pytest.approx(0.234513, abs=5e-7)
    assert status == "ok"


def test_a_price_without_time_value_identifies_no_volatility():
    # Quantitative methods, section 14: the price of a 30 % volatility, but any other below would do as well.
    iv, status = solve_one(40.0575067, 100, 60, 7 / 365, 0.05, 0.0, True)
    assert np.isnan(iv)
    assert status == "at_intrinsic"


def test_every_recoverable_reference_option_gives_its_volatility_back(shared_data):
    table = reference_options(shared_data, "european")
    terms = [numbers(table, name) for name in ("price", "spot", "strike", "T_years", "rate", "div_yield")]
    found = implied_volatilities(*terms, calls(table), tick=0.0)
    recoverable = numbers(table, "iv_recoverable") == 1
    assert recoverable.sum() == 280
    assert np.all(found.status[recoverable] == IV_STATUSES.index("ok"))
    assert np.max(np.abs(found.iv - numbers(table, "vol"))[recoverable]) < 1e-6


def test_no_other_reference_option_gives_any_volatility(shared_data):
    table = reference_options(shared_data, "european")
    terms = [numbers(table, name) for name in ("price", "spot", "strike", "T_years", "rate", "div_yield")]
    found = implied_volatilities(*terms, calls(table), tick=0.0)
    lost = numbers(table, "iv_recoverable") == 0
    assert lost.sum() == 64
    assert np.all(np.isnan(found.iv[lost]))
    assert np.all(np.isnan(found.greeks[:, lost]))
    assert {IV_STATUSES[code] for code in found.status[lost]} <= {"at_intrinsic", "below_intrinsic"}


NAN, INF = float("nan"), float("inf")


# price, spot, strike, years, rate, carry, call?, tick
@pytest.mark.parametrize(
    ("option", "status"),
    [
        ((5.0, 100, 100, 0.0, 0.01, 0.0, True, 0.01), "expired"),
        ((5.0, 100, 100, -1.0, 0.01, 0.0, True, 0.01), "expired"),
        ((9.99, 110, 100, 0.5, 0.0, 0.0, True, 0.01), "below_intrinsic"),
        ((0.0, 110, 100, 0.5, 0.0, 0.0, True, 0.01), "below_intrinsic"),
        ((9.996, 110, 100, 0.5, 0.0, 0.0, True, 0.01), "at_intrinsic"),
        ((10.0, 110, 100, 0.5, 0.0, 0.0, True, 0.01), "at_intrinsic"),
        ((10.0049, 110, 100, 0.5, 0.0, 0.0, True, 0.01), "at_intrinsic"),
        ((10.0051, 110, 100, 0.5, 0.0, 0.0, True, 0.01), "ok"),
        ((0.0, 90, 100, 0.5, 0.0, 0.0, True, 0.01), "at_intrinsic"),
        ((0.004, 90, 100, 0.5, 0.0, 0.0, True, 0.01), "at_intrinsic"),
        ((100.01, 100, 100, 0.5, 0.0, 0.0, True, 0.01), "above_upper"),
        ((100.01, 100, 100, 0.5, 0.0, 0.0, False, 0.01), "above_upper"),
        ((99.0, 100, 100, 0.5, 0.05, 0.0, False, 0.01), "above_upper"),
        ((100.0, 100, 100, 0.5, 0.0, 0.0, True, 0.01), "no_convergence"),
        ((99.9999, 100, 100, 1 / 365, 0.0, 0.0, True, 0.01), "no_convergence"),
        ((0.03, 100, 103, 1 / 365 / 24 / 60, 0.0, 0.0, True, 1.0), "at_intrinsic"),
        ((-1.0, 100, 100, 0.5, 0.0, 0.0, True, 0.01), "below_intrinsic"),
        ((NAN, 100, 100, 0.5, 0.0, 0.0, True, 0.01), "missing_input"),
        ((INF, 100, 100, 0.5, 0.0, 0.0, True, 0.01), "missing_input"),
        ((5.0, NAN, 100, 0.5, 0.0, 0.0, True, 0.01), "missing_input"),
        ((5.0, 0.0, 100, 0.5, 0.0, 0.0, True, 0.01), "missing_input"),
        ((5.0, -100.0, 100, 0.5, 0.0, 0.0, True, 0.01), "missing_input"),
        ((5.0, 100, 0.0, 0.5, 0.0, 0.0, True, 0.01), "missing_input"),
        ((5.0, 100, 100, NAN, 0.0, 0.0, True, 0.01), "missing_input"),
        ((5.0, 100, 100, 0.5, NAN, 0.0, True, 0.01), "missing_input"),
        ((5.0, 100, 100, 0.5, 0.0, INF, True, 0.01), "missing_input"),
        ((5.0, 100, 100, 0.5, 0.0, 0.0, True, NAN), "missing_input"),
        ((5.0, 100, 100, 0.5, 0.0, 0.0, True, 0.01), "ok"),
    ],
)
def test_every_price_has_the_first_status_that_applies(option, status):
    iv, found = solve_one(*option)
    assert found == status
    assert np.isfinite(iv) == (status in STATUSES_WITH_IV)


def test_a_volatility_that_less_than_a_twentieth_of_a_tick_moves_is_kept_and_marked():
    # Three days at 300 %, 1.7 deviations out: a point of volatility moves the price by 3 % of itself.
    value = price(100, 160, 3 / 365, 0.0, 0.0, 3.0, True)[0]
    vega = price_and_greeks(100, 160, 3 / 365, 0.0, 0.0, 3.0, True).vega_1pct[0]
    tick = 1.9 * value
    assert vega < 0.05 * tick
    iv, status = solve_one(value, 100, 160, 3 / 365, 0.0, 0.0, True, tick=tick)
    assert status == "low_vega"
    assert iv == pytest.approx(3.0, abs=1e-9)


def test_bad_rows_leave_their_neighbours_alone():
    good = (10.450584, 100.0, 100.0, 1.0, 0.05, 0.0)
    columns = [np.full(1025, value) for value in good]
    columns[0][::2] = np.tile([0.0, NAN, 500.0, -3.0, INF], 103)[: len(columns[0][::2])]
    found = implied_volatilities(*columns, True)
    assert np.all(np.isnan(found.iv[::2]))
    assert np.allclose(found.iv[1::2], 0.2, atol=1e-7)
    assert np.all(np.isnan(found.greeks[:, ::2]))


def test_realistic_contracts_are_solved_to_1e9_without_a_failure():
    draw = np.random.default_rng(20)
    rows = 200_000
    spot = draw.choice([5.0, 50.0, 450.0, 4500.0], rows)
    years = np.maximum(draw.choice([1, 7, 30, 90, 365, 730], rows) * 1440 - draw.integers(0, 390, rows), 30) / 525_600
    volatility = np.exp(draw.normal(np.log(0.3), 0.6, rows)).clip(0.03, 3.0)
    rate, carry = draw.uniform(-0.01, 0.06, rows), draw.choice([0.0, 0.02], rows)
    strike = spot * np.exp(draw.normal(0, 1.2, rows) * volatility * np.sqrt(years))
    is_call = draw.random(rows) < 0.5
    value = price(spot, strike, years, rate, carry, volatility, is_call)
    found = implied_volatilities(value, spot, strike, years, rate, carry, is_call, tick=0.0)
    names = {IV_STATUSES[code] for code in np.unique(found.status)}
    assert names <= {"ok", "at_intrinsic"}
    solved = found.status == IV_STATUSES.index("ok")
    assert solved.mean() > 0.98
    assert np.max(np.abs(found.iv - volatility)[solved]) < 1e-9


def test_the_greeks_that_come_with_a_volatility_are_those_of_the_closed_form():
    strikes = np.linspace(60.0, 160.0, 101)
    value = price(100.0, strikes, 0.4, 0.03, 0.01, 0.35, True)
    found = implied_volatilities(value, 100.0, strikes, 0.4, 0.03, 0.01, True, tick=0.0)
    expected = price_and_greeks(100.0, strikes, 0.4, 0.03, 0.01, 0.35, True)
    for row, name in enumerate(GREEK_COLUMNS):
        np.testing.assert_allclose(found.greeks[row], getattr(expected, name), rtol=1e-8, atol=1e-10, err_msg=name)


# The corners of the allowed range, where the fixed steps need the bracketed solver.
@pytest.mark.parametrize("volatility", [0.001, 0.02, 1.0, 3.0, 9.9])
@pytest.mark.parametrize("years", [1 / 525_600, 1 / 365, 1.0, 3.0])
@pytest.mark.parametrize("moneyness", [-4.0, -1.0, -0.01, 0.0, 0.01, 1.0, 4.0])
@pytest.mark.parametrize("is_call", [True, False])
def test_every_identified_volatility_is_recovered_and_no_other_is_invented(volatility, years, moneyness, is_call):
    strike = 100.0 * np.exp(moneyness * volatility * np.sqrt(years))
    value = price(100.0, strike, years, 0.0, 0.0, volatility, is_call)
    vega = 100 * price_and_greeks(100.0, strike, years, 0.0, 0.0, volatility, is_call).vega_1pct[0]
    iv, status = solve_one(value, 100.0, strike, years, 0.0, 0.0, is_call, tick=0.0)
    intrinsic = max((100.0 - strike) * (1 if is_call else -1), 0.0)
    if value[0] - intrinsic < 1e-4:
        assert np.isnan(iv)
        assert status in {"at_intrinsic", "below_intrinsic"}
    elif vega > 1e-6:
        # A price has 16 digits; vega says how many of them are volatility's.
        assert status == "ok"
        assert abs(iv - volatility) < 1e-9 + 1e-13 * (value[0] + strike) / vega


@laws
@given(
    st.floats(1.0, 5000.0),
    st.floats(-2.5, 2.5),
    st.floats(1 / 365, 3.0),
    st.floats(-0.02, 0.1),
    st.floats(0.0, 0.06),
    st.floats(0.03, 2.5),
    st.booleans(),
)
def test_volatility_of_the_price_of_a_volatility_is_that_volatility(
    spot, deviations, years, rate, carry, volatility, is_call
):
    forward = spot * np.exp((rate - carry) * years)
    strike = forward * np.exp(deviations * volatility * np.sqrt(years))
    value = price(spot, strike, years, rate, carry, volatility, is_call)
    iv, status = solve_one(value, spot, strike, years, rate, carry, is_call, tick=0.0)
    if status == "ok":
        vega = 100 * price_and_greeks(spot, strike, years, rate, carry, volatility, is_call).vega_1pct[0]
        assert abs(iv - volatility) < 1e-9 + 1e-13 * (spot + strike) / vega
    else:
        assert np.isnan(iv)
        assert status in {"at_intrinsic", "below_intrinsic", "no_convergence"}


anything = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-10.0, 200.0))


@laws
@given(anything, anything, anything, anything, st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.booleans(), anything)
def test_any_numbers_at_all_give_one_status_and_a_volatility_only_with_it(
    value, spot, strike, years, rate, carry, is_call, tick
):
    found = implied_volatilities(value, spot, strike, years, rate, carry, is_call, tick=tick)
    status = IV_STATUSES[found.status[0]]
    assert np.isfinite(found.iv[0]) == (status in STATUSES_WITH_IV)
    assert np.isfinite(found.greeks[:7, 0]).all() == (status in STATUSES_WITH_IV)
    if np.isfinite(found.iv[0]):
        assert 1e-4 <= found.iv[0] <= 10.0
