"""Win rates, profit factors, ratios and drawdowns of one series: known answers, null policies and properties."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_pipeline.backtest import estimates
from strategy_pipeline.backtest.estimates import NOTHING
from strategy_pipeline_tests.backtest.trade_frames import weekdays

reals = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 3))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I and quant_methods.md section 14.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (13, 20, 0.4329, 0.8188),
        (650, 1000, 0.6199, 0.6789),
    ],
)
def test_wilsons_interval_gives_newcombes_numbers(successes: int, trials: int, low: float, high: float) -> None:
    estimate = estimates.wilson_interval(successes, trials)
    assert estimate.value == successes / trials
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


def test_a_win_rate_without_trades_is_nothing() -> None:
    assert estimates.wilson_interval(0, 0) == NOTHING


@pytest.mark.parametrize(
    ("r", "exact", "status", "in_files"),
    [
        # backtesting.md section 14 row 15.
        ([1.0, 0.5, 0.25], None, "no_losses", 999.0),
        ([-1.0, -0.5], 0.0, "ok", 0.0),
        ([], None, "no_trades", 0.0),
        # The cap of section 10, and trades that all break even: nothing was won, so nothing is claimed.
        ([5000.0, -1.0], 5000.0, "ok", 999.0),
        ([0.0, 0.0], 0.0, "ok", 0.0),
    ],
)
def test_profit_factor_has_a_status_where_it_has_no_value(
    r: list[float], exact: float | None, status: str, in_files: float
) -> None:
    found = estimates.profit_factor(np.array(r))
    assert (found.exact, found.status, found.for_files) == (exact, status, in_files)


def test_daily_equity_gives_the_ratios_of_the_specification() -> None:
    # backtesting.md section 14 row 17: returns .01, 0, -.005, .002 on $100 000, no compounding, cash 0.
    returns = np.array([0.01, 0.0, -0.005, 0.002])
    assert estimates.sharpe_ratio(returns, minimum_sessions=0) == pytest.approx(4.453183, abs=5e-7)
    assert estimates.sortino_ratio(returns) == pytest.approx(11.112155, abs=1e-6)
    drawdown = estimates.max_drawdown(returns * 100_000.0, 100_000.0, weekdays(4))
    assert drawdown.percent == pytest.approx(-0.495050, abs=5e-7)
    # The book stands highest after the first two sessions alike; the first of them is the peak.
    assert (drawdown.peak, drawdown.valley, drawdown.recovery) == (date(2024, 1, 2), date(2024, 1, 4), None)


def test_a_drawdown_can_begin_at_the_initial_equity_and_names_its_recovery() -> None:
    drawdown = estimates.max_drawdown(np.array([-1000.0, -500.0, 2000.0]), 100_000.0, weekdays(3))
    assert drawdown.percent == pytest.approx(-1.5)
    assert (drawdown.peak, drawdown.valley, drawdown.recovery) == (None, date(2024, 1, 3), date(2024, 1, 4))


def test_a_book_that_never_falls_has_no_drawdown_dates() -> None:
    assert estimates.max_drawdown(np.array([0.0, 5.0]), 100.0, weekdays(2)) == estimates.Drawdown(0.0, None, None, None)


def test_sharpe_needs_twenty_sessions_and_some_spread() -> None:
    returns = np.tile([0.001, -0.0005], 10)
    assert estimates.sharpe_ratio(returns) is not None
    assert estimates.sharpe_ratio(returns[:19]) is None
    assert estimates.sharpe_ratio(np.zeros(50)) is None
    assert estimates.sharpe_ratio(np.full(50, 0.001)) is None


def test_sortino_is_missing_when_nothing_was_lost() -> None:
    assert estimates.sortino_ratio(np.array([0.01, 0.0, 0.02])) is None


def test_ratios_are_in_excess_of_cash() -> None:
    returns = np.array([0.01, 0.0, -0.005, 0.002])
    assert estimates.sharpe_ratio(returns + 0.0001, cash_rate=0.0252, minimum_sessions=0) == pytest.approx(
        4.453183, abs=5e-7
    )


@given(st.lists(reals, max_size=40), st.floats(0.01, 100))
def test_profit_factor_does_not_depend_on_the_unit(values: list[float], scale: float) -> None:
    plain, scaled = estimates.profit_factor(np.array(values)), estimates.profit_factor(np.array(values) * scale)
    assert plain.status == scaled.status
    assert (plain.exact is None) == (scaled.exact is None)
    if plain.exact is not None:
        assert scaled.exact == pytest.approx(plain.exact, rel=1e-9)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilsons_interval_lies_in_the_unit_interval_around_the_share(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    estimate = estimates.wilson_interval(successes, trials)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.0 <= estimate.low <= successes / trials <= estimate.high <= 1.0
