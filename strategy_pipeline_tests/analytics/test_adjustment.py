"""Split adjustment: point in time, reversible, and without effect on returns."""

from datetime import date

import polars as pl
import pytest

from strategy_pipeline.analytics.adjustment import adjust, split_factor, unadjust
from strategy_pipeline_tests.analytics.bar_frames import NO_ACTIONS, splits

DAYS = [date(2024, 6, 6), date(2024, 6, 7), date(2024, 6, 10), date(2024, 6, 11)]
# 10:1 with ex-date 2024-06-10: 1208.88 on the old basis is 120.888 on the new one.
BARS = pl.DataFrame(
    {
        "symbol": ["NVDA"] * 4 + ["SPY"] * 4,
        "session": DAYS * 2,
        "open": [1200.0, 1208.88, 120.0, 121.0] + [500.0] * 4,
        "high": [1210.0, 1220.0, 123.0, 122.0] + [501.0] * 4,
        "low": [1190.0, 1200.0, 119.0, 120.5] + [499.0] * 4,
        "close": [1205.0, 1208.0, 121.0, 121.5] + [500.5] * 4,
        "volume": [100.0, 200.0, 3000.0, 4000.0] + [10.0] * 4,
        "vwap": [1204.0, 1207.0, 120.5, 121.2] + [None] * 4,
    }
)
TEN_FOR_ONE = splits(("NVDA", date(2024, 6, 10), 10.0))


def test_a_split_counts_from_its_ex_date_and_not_a_day_earlier():
    assert split_factor(BARS, TEN_FOR_ONE).to_list() == [1, 1, 10, 10, 1, 1, 1, 1]
    assert split_factor(BARS, NO_ACTIONS).to_list() == [1.0] * 8


def test_before_its_ex_date_nobody_sees_a_split():
    seen = adjust(BARS, TEN_FOR_ONE, date(2024, 6, 7))
    assert seen.filter(pl.col("session") <= date(2024, 6, 7)).equals(BARS.filter(pl.col("session") <= date(2024, 6, 7)))


def test_from_its_ex_date_on_the_past_is_seen_on_the_new_basis():
    seen = adjust(BARS, TEN_FOR_ONE, date(2024, 6, 10)).row(1, named=True)
    assert seen["open"] == pytest.approx(120.888, abs=1e-12)
    assert seen["volume"] == pytest.approx(2000.0, abs=1e-9)
    assert seen["vwap"] == pytest.approx(120.7, abs=1e-12)


def test_taking_an_adjustment_back_gives_the_raw_bars():
    for basis in DAYS:
        back = unadjust(adjust(BARS, TEN_FOR_ONE, basis), TEN_FOR_ONE, basis)
        for name in ("open", "high", "low", "close", "volume"):
            assert back[name].to_list() == pytest.approx(BARS[name].to_list(), rel=1e-14)


def test_returns_are_the_same_from_every_later_perspective():
    expected = [1205.0, 1208.0, 1210.0, 1215.0]
    for basis in (date(2024, 6, 10), date(2024, 6, 11)):
        closes = adjust(BARS, TEN_FOR_ONE, basis).filter(pl.col("symbol") == "NVDA")["close"].to_list()
        assert [close / closes[0] for close in closes] == pytest.approx([c / expected[0] for c in expected], rel=1e-14)


def test_turnover_is_what_was_paid_on_any_basis():
    seen = adjust(BARS, TEN_FOR_ONE, date(2024, 6, 11))
    paid = (seen["close"] * seen["volume"]).to_list()
    assert paid == pytest.approx((BARS["close"] * BARS["volume"]).to_list(), rel=1e-14)


def test_only_splits_after_a_start_count_when_one_is_given():
    begun = BARS.with_columns(start=pl.Series([DAYS[0], DAYS[0], DAYS[0], DAYS[2]] * 2))
    assert split_factor(begun, TEN_FOR_ONE, since="start").to_list() == [1, 1, 10, 1, 1, 1, 1, 1]
