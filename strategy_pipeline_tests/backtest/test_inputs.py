"""What a backtest takes in: flagged bars as far as the next open confirms them, and the reasons the catalogue states.

Real bars are judged in test_real_hours.py, whole runs in test_engine.py.
"""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from strategy_pipeline.backtest.inputs import tradable_bars
from strategy_pipeline.backtest.statistics import DetectorSummary, Settings, summarise
from strategy_pipeline.backtest.verdicts import Coverage
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline_tests.analytics.bar_frames import NO_ACTIONS, contract_bars
from strategy_pipeline_tests.backtest.trade_frames import (
    coverage_of,
    daily_profit_of,
    dispositions_of,
    session_axis,
    trades_of,
)

FIRST, LAST = date(2024, 1, 2), date(2024, 2, 2)
CALM = (100.0, 100.1, 99.9, 100.0)
AT = 100  # of the 23 sessions' 138 bars, so 64 bars of calm lie before


def bars_with(*odd: tuple[float, float, float, float], symbol: str = "SPY") -> pl.DataFrame:
    """Calm hours around 100 (six a session), the rows `odd` from number `AT` on, the hours after them like the last."""
    starts = [session(day).open + timedelta(hours=hour) for day in sessions_between(FIRST, LAST) for hour in range(6)]
    prices = [CALM] * AT + list(odd)
    last = odd[-1][3]
    prices += [(last, last * 1.001, last * 0.999, last)] * (len(starts) - len(prices))
    return contract_bars(
        {
            "symbol": [symbol] * len(starts),
            "session": [start.date() for start in starts],
            "bar_start": starts,
            "bar_end": [start + timedelta(hours=1) for start in starts],
            **{name: [row[at] for row in prices] for at, name in enumerate(("open", "high", "low", "close"))},
        },
        "1h",
    )


def traded(bars: pl.DataFrame, number: int = AT) -> tuple[float, ...]:
    return tradable_bars(bars, NO_ACTIONS, FIRST).select("open", "high", "low", "close").row(number)


def mirrored(row: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    o, h, low, c = row
    return 200.0 - o, 200.0 - low, 200.0 - h, 200.0 - c


FALL = (100.0, 100.1, 84.5, 85.0)
AFTER_FALL = (85.2, 85.4, 84.8, 85.1)


@pytest.mark.parametrize(("row", "after"), [(FALL, AFTER_FALL), (mirrored(FALL), mirrored(AFTER_FALL))])
def test_a_move_that_the_next_open_confirms_is_kept(row, after):
    assert traded(bars_with(row, after)) == row


@pytest.mark.parametrize("side", [lambda row: row, mirrored])
def test_a_close_that_the_next_open_denies_stays_replaced_by_the_open(side):
    # The filter's own answer: the close becomes the open, and nothing of the fall is left.
    expected = (100.0, 100.1, 100.0, 100.0) if side(FALL) == FALL else (100.0, 100.0, 99.9, 100.0)
    assert traded(bars_with(side(FALL), CALM)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("side", [lambda row: row, mirrored])
def test_a_wick_longer_than_the_confirmed_move_ends_at_the_close(side):
    wild, expected = (100.0, 100.1, 10.0, 85.0), (100.0, 100.1, 85.0, 85.0)
    assert traded(bars_with(side(wild), side(AFTER_FALL))) == pytest.approx(side(expected), abs=1e-12)


def test_a_wick_alone_stays_clipped_whatever_the_next_bar_does():
    assert traded(bars_with((100.0, 100.1, 84.0, 100.05), (100.0, 100.1, 84.0, 100.0))) == (100.0, 100.1, 100.0, 100.05)


def test_the_last_bar_of_a_series_is_not_confirmed_by_another_symbol():
    bars = bars_with(FALL, AFTER_FALL).filter(pl.col("bar_start") <= bars_with(FALL)["bar_start"][AT])
    cheap = bars_with((85.0, 85.1, 84.9, 85.0), symbol="ZZZ").with_columns(
        pl.lit(85.0).alias(name) for name in ("open", "high", "low", "close")
    )
    assert traded(pl.concat([bars, cheap]))[3] == 100.0


def test_the_sessions_of_these_tests_are_long_enough_for_the_filter():
    frame = bars_with(CALM)
    assert frame.height == 138
    assert frame["bar_start"][0] == datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def summaries_of(trades: pl.DataFrame, *coverage: tuple[str, int, int, list[str]]) -> list[DetectorSummary]:
    settings = Settings(draws=2_000, group_draws=500)
    tables = (dispositions_of(trades), coverage_of(*coverage), daily_profit_of(trades), session_axis(60))
    return summarise(trades, *tables, settings=settings)


@pytest.mark.parametrize("eligible", [0, 40])
def test_the_reason_of_the_catalogue_goes_before_any_count_of_sessions(eligible):
    pin, reversion = summaries_of(
        trades_of([]),
        ("eod_pin_setup", eligible, 0, ["no option data"]),
        ("index_mean_reversion_long", 0, 0, ["close", "rsi"]),
    )
    assert (pin.verdict, pin.verdict_because) == ("not testable", "no option data")
    assert (pin.recommendation, pin.recommendation_because) == ("get data", "no option data")
    # A detector that has a declaration lists every input when no symbol is of its classes; the class is the reason.
    assert reversion.recommendation_because.startswith("No symbol of the classes")


def test_coverage_without_a_reason_of_the_catalogue_has_none():
    assert Coverage(10, 0, ("rvol",)).catalogue_reason is None


def test_a_group_of_all_trades_has_the_interval_of_the_headline():
    (one,) = summaries_of(trades_of([1.0, -1.0, 0.5, -0.25] * 10), ("breakout_long", 60, 60, []))
    (spy,) = one.breakdowns["symbol"]
    assert one.expectancy.low is not None
    assert spy.expectancy == one.expectancy
