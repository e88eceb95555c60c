"""Coarser bars from finer ones: grid, additivity, coverage and what is known when."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import BAR_LAG, resample, weekly


def minute_bars(day: date, minutes: list[int], prices: list[float] | None = None, symbol: str = "SPY") -> pl.DataFrame:
    """Regular-hours minute bars of one session at the given minutes since the open."""
    opened = calendar.session(day).open
    closes = prices or [100.0 + n * 0.01 for n in minutes]
    frame = pl.DataFrame(
        {
            "symbol": [symbol] * len(minutes),
            "timeframe": ["1m"] * len(minutes),
            "bar_start": [opened + timedelta(minutes=n) for n in minutes],
            "bar_end": [opened + timedelta(minutes=n + 1) for n in minutes],
            "session": [day] * len(minutes),
            "segment": ["rth"] * len(minutes),
            "open": closes,
            "high": [price + 0.05 for price in closes],
            "low": [price - 0.05 for price in closes],
            "close": closes,
            "volume": [100.0 + n for n in minutes],
            "vwap": [None] * len(minutes),
            "trades": [n for n in minutes],
            "coverage_pct": [None] * len(minutes),
            "source": ["flat_file"] * len(minutes),
            "quality": ["final"] * len(minutes),
            "quality_flags": [[] for _ in minutes],
            "available_at": [opened + timedelta(minutes=n + 1) + BAR_LAG for n in minutes],
            "ingested_at": [datetime(2030, 1, 1, tzinfo=UTC)] * len(minutes),
            "revision": [0] * len(minutes),
            "definition_version": ["bars-1/session"] * len(minutes),
        },
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in HISTORICAL_BARS.polars_schema.items())


def clock(frame: pl.DataFrame, column: str) -> list[str]:
    return frame[column].dt.convert_time_zone("America/New_York").dt.strftime("%H:%M").to_list()


FULL, HALF = date(2024, 11, 27), date(2024, 11, 29)


def test_hours_are_anchored_at_the_open_and_the_last_is_half_an_hour():
    hours = resample(minute_bars(FULL, list(range(390))), "1h")
    assert clock(hours, "bar_start") == ["09:30", "10:30", "11:30", "12:30", "13:30", "14:30", "15:30"]
    assert clock(hours, "bar_end")[-1] == "16:00"
    assert hours["coverage_pct"].to_list() == [100.0] * 7


def test_four_hour_bars_split_at_half_past_one_and_a_half_day_has_one():
    assert clock(resample(minute_bars(FULL, list(range(390))), "4h"), "bar_start") == ["09:30", "13:30"]
    half = resample(minute_bars(HALF, list(range(210))), "4h")
    assert clock(half, "bar_end") == ["13:00"]


@pytest.mark.parametrize("day", [date(2024, 3, 8), date(2024, 3, 11), date(2024, 11, 1), date(2024, 11, 4)])
def test_the_grid_keeps_new_york_time_across_daylight_saving(day):
    assert clock(resample(minute_bars(day, list(range(390))), "15m"), "bar_start")[0] == "09:30"


def test_a_window_without_a_print_has_no_row_and_a_thin_one_says_so():
    bars = resample(minute_bars(FULL, [0, 1, 2, 31]), "15m")
    assert clock(bars, "bar_start") == ["09:30", "10:00"]
    assert bars["coverage_pct"].to_list() == pytest.approx([20.0, 100 / 15])


def test_a_bar_is_known_two_seconds_after_its_window_even_when_the_last_minutes_are_empty():
    bars = resample(minute_bars(FULL, [0, 1, 2]), "15m")
    assert bars["available_at"].to_list() == [calendar.session(FULL).open + timedelta(minutes=15, seconds=2)]


def test_volume_of_an_index_stays_null():
    index = minute_bars(FULL, [0, 1, 2]).with_columns(volume=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64))
    bars = resample(index, "5m")
    assert bars["volume"].to_list() == [None]
    assert bars["trades"].to_list() == [None]
    assert bars["vwap"].to_list() == [None]


@settings(max_examples=40, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 389), min_size=1, max_size=120, unique=True).map(sorted),
    seed=st.integers(0, 1000),
)
def test_minutes_to_quarter_hours_to_hours_equals_minutes_to_hours(minutes, seed):
    prices = [100.0 + ((n * 7919 + seed) % 400) / 100 for n in minutes]
    bars = minute_bars(FULL, minutes, prices)
    direct, through = resample(bars, "1h"), resample(resample(bars, "15m"), "1h")
    exact = ["symbol", "bar_start", "bar_end", "open", "high", "low", "close", "volume", "trades", "available_at"]
    assert direct.select(exact).equals(through.select(exact))
    assert direct["vwap"].to_list() == pytest.approx(through["vwap"].to_list(), rel=1e-12)
    assert direct["coverage_pct"].to_list() == pytest.approx(through["coverage_pct"].to_list(), rel=1e-12)
    assert bars["volume"].sum() == direct["volume"].sum()


def test_row_order_and_other_symbols_change_nothing():
    one = minute_bars(FULL, list(range(0, 390, 3)))
    other = minute_bars(FULL, list(range(0, 390, 7)), symbol="QQQ")
    alone = resample(one, "15m")
    mixed = resample(pl.concat([other, one]).sample(fraction=1.0, shuffle=True, seed=3), "15m")
    assert mixed.filter(pl.col("symbol") == "SPY").equals(alone)


def test_a_week_is_known_after_its_last_session_and_an_unfinished_one_does_not_exist():
    days = calendar.sessions_between(date(2024, 11, 18), date(2024, 12, 3))
    daily = pl.concat([resample(minute_bars(day, [0, 10, 100]), "1d") for day in days])
    weeks = weekly(daily)
    # Thanksgiving week ends on Friday's half day at 13:00 New York; the week of 2 December is not over.
    assert weeks["session"].to_list() == [date(2024, 11, 22), date(2024, 11, 29)]
    assert weeks["available_at"].to_list()[1] == datetime(2024, 11, 29, 18, 0, 2, tzinfo=UTC)
    assert weeks["coverage_pct"].to_list() == [100.0, 100.0]
