"""American trees: the books' trees, the reference table, invariants, dividends and implied volatility."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.pricing import american, black_scholes
from strategy_pipeline.pricing.american import Dividends
from strategy_pipeline.pricing.black_scholes import PricingInputError
from strategy_pipeline.pricing.implied_volatility import IV_STATUSES
from strategy_pipeline_tests.pricing.reference import calls, numbers, reference_options, terms

laws = settings(max_examples=40, deadline=None, derandomize=True)


# Hull, chapter on numerical procedures: S 50, K 50, r 10 %, sigma 40 %, five months.
@pytest.mark.parametrize(("steps", "expected"), [(5, 4.4885), (30, 4.2634), (50, 4.2720), (100, 4.2781), (500, 4.2830)])
def test_cox_ross_rubinstein_trees_are_hulls(steps, expected):
    found = american.prices(50, 50, 5 / 12, 0.10, 0.0, 0.40, False, steps=steps, method="crr_tree")
    assert found[0] == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("early", "expected"), [(False, 4.192654), (True, 5.089632)])
def test_hulls_two_step_tree_has_its_european_and_american_value(early, expected):
    # Hull, chapter on binomial trees: a put, S 50, K 52, u 1.2, d 0.8, r 5 %, two steps of a year.
    from strategy_pipeline.pricing import tree_kernels

    chance = (np.exp(0.05) - 0.8) / (1.2 - 0.8)
    scratch = [np.zeros(3) for _ in range(3)]
    value, _ = tree_kernels.roll_back(50.0, 52.0, 1.0, 0.05, -1.0, 2, 1.2, 0.8, chance, early, *scratch)
    assert value == pytest.approx(expected, abs=5e-7)


# Longstaff and Schwartz, Review of Financial Studies 14 (2001), table 1; continuous exercise. K 40, r 6 %.
@pytest.mark.parametrize(
    ("spot", "volatility", "years", "expected"),
    [
        (36, 0.2, 1, 4.48667),
        (36, 0.2, 2, 4.84830),
        (36, 0.4, 1, 7.10898),
        (36, 0.4, 2, 8.51418),
        (40, 0.2, 1, 2.31957),
        (40, 0.4, 2, 6.92345),
        (44, 0.2, 1, 1.11296),
        (44, 0.4, 2, 5.64673),
    ],
)
def test_american_puts_are_priced_to_half_a_thousandth(spot, volatility, years, expected):
    assert american.prices(spot, 40, years, 0.06, 0.0, volatility, False)[0] == pytest.approx(expected, abs=5e-4)


def test_every_american_reference_price_is_met_to_5e4_of_the_spot(shared_data):
    table = reference_options(shared_data, "american")
    assert table.height == 176
    error = np.abs(american.prices(*terms(table), calls(table)) - numbers(table, "price")) / numbers(table, "spot")
    assert np.max(error) < 5e-4
    # What the trees reach, so that a loss of accuracy shows.
    assert np.max(error) < 2e-5


def test_our_cox_ross_rubinstein_trees_agree_with_the_reference_ones(shared_data):
    table = reference_options(shared_data, "american")
    found = american.prices(*terms(table), calls(table), steps=1001, method="crr_tree")
    assert np.max(np.abs(found - numbers(table, "price_crr")) / numbers(table, "spot")) < 2.5e-4


def _at_the_money_peak(table):
    """Largest gamma and vega that an option of the same underlying, life and volatility can have."""
    spot, years, volatility = (numbers(table, name) for name in ("spot", "T_years", "vol"))
    return 0.4 / (spot * volatility * np.sqrt(years)), 0.004 * spot * np.sqrt(years)


def test_american_reference_greeks_are_met(shared_data):
    # Delta 3e-3, gamma 2 %, vega 1 %; an option that is all but exercised has next to none of either, and 201 steps see
    # the boundary only to a step: half a per cent of the largest gamma, a tenth of a per cent of the largest vega.
    table = reference_options(shared_data, "american")
    greeks = american.price_and_greeks(*terms(table), calls(table))
    sound = numbers(table, "iv_recoverable") == 1
    gamma_peak, vega_peak = _at_the_money_peak(table)
    assert np.max(np.abs(greeks.delta - numbers(table, "delta"))) < 3e-3
    for found, name, share, floor in (
        (greeks.gamma, "gamma", 0.02, 0.005 * gamma_peak),
        (greeks.vega_1pct, "vega", 0.01, 0.001 * vega_peak),
    ):
        expected = numbers(table, name)
        error = np.abs(found - expected)
        assert np.all((error <= np.maximum(share * np.abs(expected), floor))[sound]), name
        within = (error <= share * np.abs(expected))[sound]
        assert within.mean() > 0.97, name


def test_american_reference_theta_is_met_for_lives_over_a_month(shared_data):
    # The table's theta is the change of a whole day, ours a rate: over a month or more they agree to 3 %.
    table = reference_options(shared_data, "american")
    expected = numbers(table, "theta")
    found = american.price_and_greeks(*terms(table), calls(table)).theta_day
    long = (numbers(table, "iv_recoverable") == 1) & (numbers(table, "T_years") > 30 / 365)
    assert long.sum() > 60
    floor = 0.001 * numbers(table, "spot") * numbers(table, "vol") / np.sqrt(numbers(table, "T_years")) / 365
    assert np.all((np.abs(found - expected) <= np.maximum(0.03 * np.abs(expected), floor))[long])


def test_a_day_of_reference_theta_is_met_for_short_lives(shared_data):
    # For short lives the same day is taken from two of our prices; outside 0 and 1 day to expiry.
    table = reference_options(shared_data, "american")
    expected = numbers(table, "theta")
    spot, strike, years, rate, carry, volatility = terms(table)
    alive = years > 1.5 / 365
    later = np.where(alive, years - 1 / 365, years)
    change = american.prices(spot, strike, later, rate, carry, volatility, calls(table)) - american.prices(
        spot, strike, years, rate, carry, volatility, calls(table)
    )
    chosen = alive & (numbers(table, "iv_recoverable") == 1) & np.isfinite(expected)
    error = np.abs(change - expected)
    assert np.all((error <= np.maximum(0.03 * np.abs(expected), 2e-5 * spot))[chosen])


def test_an_american_call_without_dividends_or_carry_is_a_european_one():
    strikes = np.linspace(50, 200, 61)
    early = american.prices(100.0, strikes, 0.7, 0.05, 0.0, 0.3, True)
    assert np.max(np.abs(early - black_scholes.price(100.0, strikes, 0.7, 0.05, 0.0, 0.3, True))) < 1e-4


def test_an_option_that_is_exercised_now_is_worth_its_intrinsic_value():
    greeks = american.price_and_greeks(50.0, 100.0, 1.0, 0.08, 0.0, 0.15, False)
    assert greeks.price[0] == pytest.approx(50.0, abs=1e-12)
    assert greeks.delta[0] == pytest.approx(-1.0, abs=1e-12)
    assert greeks.gamma[0] == pytest.approx(0.0, abs=1e-12)
    assert greeks.theta_day[0] == pytest.approx(0.0, abs=1e-12)


def test_an_american_call_is_exercised_just_before_a_large_dividend():
    # Exercise before the ex-date in half a year keeps the 10 $ that a call held to expiry on the escrowed spot loses.
    dividend = Dividends.same_for_all(1, [(0.5, 10.0)])
    early = american.prices(100.0, 90.0, 1.0, 0.02, 0.0, 0.2, True, dividends=dividend)[0]
    escrowed = 100.0 - 10.0 * np.exp(-0.02 * 0.5)
    held = black_scholes.price(escrowed, 90.0, 1.0, 0.02, 0.0, 0.2, True)[0]
    assert early > held + 1.0
    assert early < black_scholes.price(100.0, 90.0, 1.0, 0.02, 0.0, 0.2, True)[0]


def test_trees_with_dividends_agree_with_trees_of_the_other_kind_and_more_steps():
    schedule = [(0.1, 0.8), (0.35, 0.8), (0.6, 0.8)]
    spots = np.array([80.0, 95.0, 100.0, 105.0, 120.0])
    dividends = Dividends.same_for_all(5, schedule)
    for is_call in (True, False):
        ours = american.prices(spots, 100.0, 0.75, 0.03, 0.0, 0.25, is_call, dividends=dividends)
        other = american.prices(
            spots, 100.0, 0.75, 0.03, 0.0, 0.25, is_call, dividends=dividends, steps=3001, method="crr_tree"
        )
        assert np.max(np.abs(ours - other) / spots) < 2e-4


def test_dividends_after_expiry_or_in_the_past_change_nothing():
    plain = american.prices(100.0, 100.0, 0.5, 0.03, 0.0, 0.25, False)
    outside = Dividends.same_for_all(1, [(-0.1, 5.0), (0.0, 5.0), (0.6, 5.0)])
    assert american.prices(100.0, 100.0, 0.5, 0.03, 0.0, 0.25, False, dividends=outside)[0] == plain[0]


def test_european_trees_meet_the_closed_form():
    strikes = np.linspace(70, 140, 15)
    tree = american.prices(100.0, strikes, 0.5, 0.04, 0.01, 0.3, False, exercise="european")
    assert np.max(np.abs(tree - black_scholes.price(100.0, strikes, 0.5, 0.04, 0.01, 0.3, False))) < 1e-3


def test_a_dead_or_riskless_option_gets_no_tree():
    for years, volatility in ((0.0, 0.2), (1.0, 0.0)):
        with pytest.raises(PricingInputError, match="A tree needs time and volatility above zero"):
            american.prices(100.0, 100.0, years, 0.0, 0.0, volatility, True)


def test_each_option_keeps_its_own_dividends():
    offsets, years, amounts = np.array([0, 0, 2, 3]), np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 4.0])
    dividends = Dividends(offsets, years, amounts)
    rates = np.zeros(3)
    np.testing.assert_allclose(dividends.present_values(np.ones(3), rates), [0.0, 3.0, 4.0])
    np.testing.assert_array_equal(dividends.counts(np.array([1.0, 0.15, 0.25])), [0, 1, 0])
    part = dividends.take(np.array([2, 1, 0]))
    np.testing.assert_allclose(part.present_values(np.ones(3), rates), [4.0, 3.0, 0.0])


@laws
@given(
    st.floats(20.0, 500.0),
    st.floats(0.6, 1.6),
    st.floats(5 / 365, 2.0),
    st.floats(0.0, 0.08),
    st.floats(0.0, 0.05),
    st.floats(0.1, 1.0),
    st.booleans(),
)
def test_american_is_worth_at_least_european_and_at_least_intrinsic(
    spot, ratio, years, rate, carry, volatility, is_call
):
    strike = spot * ratio
    early = american.prices(spot, strike, years, rate, carry, volatility, is_call)[0]
    european = black_scholes.price(spot, strike, years, rate, carry, volatility, is_call)[0]
    intrinsic = max((spot - strike) * (1 if is_call else -1), 0.0)
    assert early >= european - 1e-10 * spot
    assert early >= intrinsic - 1e-12 * spot
    assert early <= (spot if is_call else strike)


def test_the_implied_volatility_of_a_tree_price_is_the_trees_volatility():
    draw = np.random.default_rng(5)
    rows = 300
    spot, years = draw.uniform(20, 500, rows), draw.uniform(5 / 365, 2.0, rows)
    volatility, rate, carry = (
        draw.uniform(0.1, 1.0, rows),
        draw.uniform(0.0, 0.06, rows),
        draw.choice([0.0, 0.03], rows),
    )
    strike = spot * np.exp(draw.uniform(-1.0, 1.0, rows) * volatility * np.sqrt(years))
    is_call = draw.random(rows) < 0.5
    value = american.prices(spot, strike, years, rate, carry, volatility, is_call)
    iv, status = american.implied_volatilities(value, spot, strike, years, rate, carry, is_call, 0.0)
    solved = status == IV_STATUSES.index("ok")
    assert solved.mean() > 0.97
    assert np.max(np.abs(iv - volatility)[solved]) < 1e-6
    assert np.all(np.isnan(iv[~solved]))
    assert {IV_STATUSES[code] for code in np.unique(status[~solved])} <= {"at_intrinsic", "below_intrinsic"}


def test_at_equal_price_the_american_volatility_of_a_put_is_not_above_the_european():
    from strategy_pipeline.pricing.implied_volatility import implied_volatilities

    strikes = np.linspace(85.0, 115.0, 13)
    value = american.prices(100.0, strikes, 0.5, 0.05, 0.0, 0.3, False)
    early, _ = american.implied_volatilities(value, 100.0, strikes, 0.5, 0.05, 0.0, False, 0.0)
    european = implied_volatilities(value, 100.0, strikes, 0.5, 0.05, 0.0, False, tick=0.0).iv
    assert np.all(early <= european + 1e-9)


def test_recoverable_reference_options_give_their_volatility_back_as_far_as_their_price_tells(shared_data):
    table = reference_options(shared_data, "american")
    columns = [numbers(table, name) for name in ("price", "spot", "strike", "T_years", "rate", "div_yield")]
    iv, status = american.implied_volatilities(*columns, calls(table), 0.0)
    spot, strike, years, rate, carry = columns[1:]
    sign = np.where(calls(table), 1.0, -1.0)
    european_bound = sign * (spot * np.exp(-carry * years) - strike * np.exp(-rate * years))
    # The table measures time value from the intrinsic value alone; our bound is the higher of that and the
    # European one.
    above = columns[0] - np.maximum(european_bound, 0.0) >= 1e-6 * spot
    recoverable = (numbers(table, "iv_recoverable") == 1) & above
    assert recoverable.sum() >= 148
    assert np.all(status[recoverable] == IV_STATUSES.index("ok"))
    # 2e-5 of the spot is how exact the tree is; vega turns it into volatility.
    allowed = 1e-6 + 2e-5 * spot[recoverable] / (100.0 * numbers(table, "vega")[recoverable])
    assert np.all(np.abs(iv - numbers(table, "vol"))[recoverable] <= allowed)


def test_no_other_american_reference_option_gives_a_volatility(shared_data):
    table = reference_options(shared_data, "american")
    columns = [numbers(table, name) for name in ("price", "spot", "strike", "T_years", "rate", "div_yield")]
    iv, status = american.implied_volatilities(*columns, calls(table), 0.0)
    lost = numbers(table, "iv_recoverable") == 0
    assert lost.sum() == 25
    assert np.all(np.isnan(iv[lost]))
    assert {IV_STATUSES[code] for code in status[lost]} <= {"at_intrinsic", "below_intrinsic"}


NAN = float("nan")


@pytest.mark.parametrize(
    ("option", "status"),
    [
        ((5.0, 100, 100, 0.0, 0.01, 0.0, False), "expired"),
        ((9.9, 90, 100, 0.5, 0.05, 0.0, False), "below_intrinsic"),
        ((10.0, 90, 100, 0.5, 0.05, 0.0, False), "at_intrinsic"),
        ((100.5, 90, 100, 0.5, 0.05, 0.0, False), "above_upper"),
        ((90.5, 90, 100, 0.5, 0.05, 0.0, True), "above_upper"),
        ((NAN, 90, 100, 0.5, 0.05, 0.0, True), "missing_input"),
        ((5.0, 0.0, 100, 0.5, 0.05, 0.0, True), "missing_input"),
        ((5.0, 90, NAN, 0.5, 0.05, 0.0, True), "missing_input"),
        ((12.0, 90, 100, 0.5, 0.05, 0.0, False), "ok"),
    ],
)
def test_every_american_price_has_the_first_status_that_applies(option, status):
    iv, found = american.implied_volatilities(*option)
    assert IV_STATUSES[found[0]] == status
    assert np.isfinite(iv[0]) == (status == "ok")
