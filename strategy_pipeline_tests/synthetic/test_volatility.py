"""VIX and the surface: no arbitrage on any grid that is listed, and a volatility index that falls when prices rise."""

import math
from datetime import date

import numpy as np
import pytest

from strategy_pipeline.pricing import black_scholes
from strategy_pipeline.synthetic.market import PriceProcess
from strategy_pipeline.synthetic.option_plan import CHAINS
from strategy_pipeline.synthetic.plan import plan_market
from strategy_pipeline.synthetic.volatility import Surface, vix_path
from strategy_pipeline.synthetic.volatility_index import VolatilityIndex

SURFACES = [chain.surface for chain in CHAINS]
# A last half hour, a session, a weekend, a week, 30, 90 and 180 days, in years of 525,600 minutes.
TENORS = np.array([30.0, 390.0, 4_320.0, 10_080.0, 43_200.0, 129_600.0, 259_200.0]) / 525_600.0
LEVELS = (10.0, 18.5, 40.0, 85.0)


@pytest.fixture(scope="module")
def index() -> VolatilityIndex:
    return VolatilityIndex(PriceProcess(plan_market(past=200, volatility_indices=True)))


@pytest.mark.parametrize("surface", SURFACES)
def test_the_known_conditions_hold_for_the_surfaces_in_use(surface: Surface) -> None:
    assert surface.admits_no_arbitrage


@pytest.mark.parametrize("broken", [Surface(eta=1.7), Surface(rho=-0.99, eta=1.5), Surface(long_volatility=0.45)])
def test_the_conditions_refuse_surfaces_that_break_them(broken: Surface) -> None:
    # eta^2 (1 + |rho|) = 4.6 and 4.5 exceed 4; a variance that reverts to 0.45^2 within months has to begin below zero
    # for 30 days at VIX 10, so total variance would fall at first.
    assert not broken.admits_no_arbitrage


@pytest.mark.parametrize("vix", LEVELS)
@pytest.mark.parametrize("surface", SURFACES)
def test_calls_on_the_surface_fall_with_the_strike_and_are_convex_in_it(surface: Surface, vix: float) -> None:
    for years in TENORS:
        width = math.sqrt(float(surface.total_variance_atm(years, vix)))
        strikes = 100.0 * np.exp(np.linspace(-6.0 * width, 4.0 * width, 801))
        volatility = surface.volatility(np.log(strikes / 100.0), years, vix)
        calls = black_scholes.price(100.0, strikes, float(years), 0.0, 0.0, volatility, True)
        slopes = np.diff(calls) / np.diff(strikes)
        assert (slopes <= 0.0).all()
        assert (slopes >= -1.0 - 1e-9).all()
        assert (np.diff(slopes) >= -1e-8).all()


@pytest.mark.parametrize("vix", LEVELS)
@pytest.mark.parametrize("surface", SURFACES)
def test_total_variance_rises_with_time_at_every_moneyness(surface: Surface, vix: float) -> None:
    k = np.linspace(-0.6, 0.4, 401)
    by_tenor = np.array([surface.total_variance(k, years, vix) for years in TENORS])
    assert (np.diff(by_tenor, axis=0) > 0.0).all()


def test_puts_cost_more_volatility_than_calls_and_the_skew_flattens_with_time() -> None:
    surface = Surface()
    skews = [
        float(surface.volatility(-0.02, years, 18.5) - surface.volatility(0.02, years, 18.5)) for years in TENORS[3:]
    ]
    assert skews[0] > skews[1] > skews[2] > skews[3] > 0.0


def test_vix_is_the_model_free_volatility_of_the_index_surface() -> None:
    surface, years, vix = Surface(), 30.0 / 365.0, 20.0
    strikes = np.exp(np.linspace(-1.2, 0.6, 4_001))
    volatility = surface.volatility(np.log(strikes), years, vix)
    out = black_scholes.price(1.0, strikes, years, 0.0, 0.0, volatility, strikes >= 1.0)
    variance = 2.0 / years * np.trapezoid(out / strikes**2, strikes)
    assert 100.0 * math.sqrt(variance) == pytest.approx(vix, abs=0.1)


def test_a_vix_above_its_mean_comes_with_a_falling_term_structure() -> None:
    vix3m = Surface().vix3m(np.array([12.0, 18.8, 40.0]))
    assert vix3m[0] > 12.5
    assert vix3m[1] == pytest.approx(18.8, abs=0.1)
    assert vix3m[2] < 36.0


def test_a_shock_to_vix_dies_out() -> None:
    nothing = np.zeros(60)
    shock = nothing.copy()
    shock[0] = -0.05
    path = vix_path(shock, np.ones(60), nothing)
    # 18.5 x (1 + 3.2 x 0.05) = 21.46; four per cent of what is left goes each session: 0.96^59 x 2.96 = 0.27.
    assert path[1] == pytest.approx(21.46)
    assert path[-1] == pytest.approx(18.5 + 0.96**59 * 2.96)


def test_vix_stays_within_its_bounds_whatever_the_market_does() -> None:
    crash = vix_path(np.full(20, -0.3), np.ones(20), np.zeros(20))
    boom = vix_path(np.full(20, 0.3), np.ones(20), np.zeros(20))
    assert (crash.max(), boom.min()) == (85.0, 10.0)


def test_vix_falls_when_the_market_rises(index: VolatilityIndex) -> None:
    prices = PriceProcess(index.plan)
    market = prices.days.filter(prices.days["ticker"] == "I:SPX")["close"].to_numpy()
    vix = index.days.filter(index.days["ticker"] == "I:VIX")["close"].to_numpy()
    moves = np.corrcoef(np.diff(np.log(market)), np.diff(np.log(vix)))[0, 1]
    assert -0.9 < moves < -0.5
    assert 1_400 < vix.mean() < 2_400
    assert len(vix) == len(market) == 350


def test_minutes_and_days_of_vix_agree(index: VolatilityIndex) -> None:
    minutes = index.minutes.filter(
        (index.minutes["ticker"] == "I:VIX") & (index.minutes["session"] == date(2024, 12, 3))
    )
    (day,) = index.days.filter(
        (index.days["ticker"] == "I:VIX") & (index.days["session"] == date(2024, 12, 3))
    ).to_dicts()
    assert (day["open"], day["close"]) == (minutes["open"][0], minutes["close"][-1])
    assert (day["high"], day["low"]) == (minutes["high"].max(), minutes["low"].min())
    assert minutes.height == 390
    assert index.after_minutes(index.plan.sessions.index(date(2024, 12, 3))).shape == (391,)
