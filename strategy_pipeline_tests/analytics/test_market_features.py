"""VIX, IV percentile and regime on feature rows: which value is known when, and for how long."""

from datetime import date

import polars as pl
import pytest

from strategy_pipeline.analytics.market_features import (
    MARKET_COLUMNS,
    MarketTables,
    market_features,
    sessions_read,
    vix_tier,
)
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import FEATURES, IV_PERCENTILE_CACHE, MARKET_REGIME_HISTORY
from strategy_pipeline.market import calendar
from strategy_pipeline_tests.analytics.bar_frames import contract_bars
from strategy_pipeline_tests.analytics.context_rows import asked, at, percentile_rows, regime_rows

# Thursday, Friday, Monday.
DAY, NEXT, MONDAY = date(2024, 11, 14), date(2024, 11, 15), date(2024, 11, 18)


def vix(*bars: tuple[date, float, float, float], timeframe: str = "1m") -> pl.DataFrame:
    """Bars of the VIX from (session, minute of its start, minute of its end, close)."""
    closes = [close for *_, close in bars]
    columns = {
        "symbol": ["VIX"] * len(bars), "session": [day for day, *_ in bars],
        "bar_start": [at(day, start) for day, start, _, _ in bars],
        "bar_end": [at(day, end) for day, _, end, _ in bars],
        "open": closes, "high": closes, "low": closes, "close": closes,
    }  # fmt: skip
    return contract_bars(columns, timeframe)


def found(rows: pl.DataFrame, **tables: pl.DataFrame) -> pl.DataFrame:
    return market_features(rows, MarketTables(**tables))


def test_crafted_rows_meet_the_contracts_of_their_tables():
    conform(IV_PERCENTILE_CACHE, percentile_rows({"session": DAY, "iv_percentile_pct": 40.0}))
    conform(MARKET_REGIME_HISTORY, regime_rows({"session": DAY, "market_regime": "RANGE_BOUND"}))


def test_without_tables_every_column_is_null_and_has_its_type():
    nothing = found(asked(("SPX", DAY, 15)))
    assert nothing.schema == {name: FEATURES.polars_schema[name] for name in MARKET_COLUMNS}
    assert nothing.null_count().row(0) == (1,) * len(MARKET_COLUMNS)


def test_the_vix_is_that_of_the_newest_bar_that_has_ended():
    bars = vix((DAY, 0, 1, 14.0), (DAY, 1, 2, 16.0), (DAY, 389, 390, 26.0))
    rows = asked(("SPX", DAY, 1), ("AAA", DAY, 2), ("SPX", DAY, 120), ("SPX", NEXT, 5))
    levels = found(rows, vix_bars=bars)
    assert levels["vix_level"].to_list() == [14.0, 16.0, 16.0, 26.0]
    assert levels["vix_tier"].to_list() == ["low", "medium", "medium", "high"]


def test_a_vix_older_than_the_previous_session_is_unknown():
    assert found(asked(("SPX", MONDAY, 5)), vix_bars=vix((DAY, 0, 1, 14.0)))["vix_level"].to_list() == [None]


def test_daily_bars_alone_give_yesterdays_close_and_never_go_before_minutes():
    daily = vix((DAY, 0, 390, 20.0), timeframe="1d").with_columns(available_at=pl.lit(at(DAY, 405)))
    rows = asked(("SPX", DAY, 390), ("SPX", NEXT, 1))
    assert found(rows, vix_bars=daily)["vix_level"].to_list() == [None, 20.0]
    late = daily.with_columns(available_at=pl.lit(at(NEXT, 30)))
    both = pl.concat([late, vix((NEXT, 0, 1, 21.0))])
    assert found(asked(("SPX", NEXT, 60)), vix_bars=both)["vix_level"].to_list() == [21.0]


@pytest.mark.parametrize(
    ("level", "tier"),
    [(14.99, "low"), (15.0, "medium"), (24.99, "medium"), (25.0, "high"), (34.99, "high"), (35.0, "extreme"),
     (80.0, "extreme"), (None, None)],
)  # fmt: skip
def test_tiers_of_the_specification(level, tier):
    assert pl.select(vix_tier(pl.lit(level, dtype=pl.Float64))).item() == tier


def test_the_label_of_a_close_is_used_on_the_next_session_and_on_no_other():
    regimes = regime_rows({"session": DAY, "market_regime": "BREAKOUT"})
    rows = asked(("SPX", DAY, 390), ("SPX", NEXT, 1), ("AAA", NEXT, 390), ("SPX", MONDAY, 1))
    assert found(rows, regimes=regimes)["market_regime"].to_list() == [None, "BREAKOUT", "BREAKOUT", None]


def test_a_label_that_is_published_late_counts_from_then_and_a_revision_after_it():
    late = regime_rows(
        {"session": DAY, "market_regime": "BREAKOUT", "available_at": at(NEXT, 30)},
        {"session": DAY, "market_regime": "RANGE_BOUND", "available_at": at(NEXT, 60)},
    )
    rows = asked(("SPX", NEXT, 29), ("SPX", NEXT, 30), ("SPX", NEXT, 60))
    assert found(rows, regimes=late)["market_regime"].to_list() == [None, "BREAKOUT", "RANGE_BOUND"]


def test_the_percentile_is_the_symbols_own_of_the_previous_close():
    percentiles = percentile_rows(
        {"session": DAY, "iv_percentile_pct": 40.0}, {"session": DAY, "iv_percentile_pct": 90.0, "symbol": "SPY"}
    )
    rows = asked(("SPX", DAY, 390), ("SPX", NEXT, 1), ("SPY", NEXT, 1), ("AAA", NEXT, 1), ("SPX", MONDAY, 1))
    assert found(rows, iv_percentiles=percentiles)["iv_percentile_pct"].to_list() == [None, 40.0, 90.0, None, None]


def test_only_the_session_before_is_read():
    assert all(days == [DAY] for days in sessions_read(NEXT).values())
    assert all(days == [] for days in sessions_read(calendar.first_session()).values())
