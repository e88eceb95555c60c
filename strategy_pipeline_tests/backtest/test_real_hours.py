"""Twenty-one years of real hour bars: no trade owes anything to a bad print or to a split."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from strategy_pipeline.analytics.features import compute_features
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.inputs import run_detectors, tradable_bars
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS
from strategy_pipeline.market.calendar import session_frame
from strategy_pipeline.market.symbols import instrument, instruments_frame
from strategy_pipeline_tests.analytics.bar_frames import real_splits

SYMBOLS = ("SPY", "AAPL", "IBM", "BAC")
FIRST, LAST = date(1998, 1, 2), date(2018, 12, 31)
# What a trade is, apart from identifiers that hash the input.
IDENTITY = ["detector", "symbol", "signal_bar_end", "entry_at", "exit_at", "exit_reason", "bars_held"]

# The bad prints of the real data's README that lie in regular hours of these symbols: session, price at fault.
BAD_LOWS = {
    "AAPL": {date(2009, 9, 21): 10.59, date(2010, 8, 31): 25.30, date(2011, 1, 3): 32.65},
    "BAC": {date(2001, 11, 12): 40.0, date(2009, 2, 20): 2.53},
}


@pytest.fixture(scope="module")
def bars(shared_data, tmp_path_factory) -> pl.DataFrame:
    """Regular-hours bars of the hour files, read by the product's own parser."""
    data_set = DATASETS["us_stocks_sip/hour_aggs_v1"]
    mirror, store = RawMirror(tmp_path_factory.mktemp("raw")), LocalFlatFileStore(shared_data)
    keys = sorted({key_for(data_set, day) for day in session_frame(FIRST, LAST)["session"]})
    mirror.download(store, keys)
    parsed = [parse_aggregates(mirror.require(key), data_set, SYMBOLS).bars for key in keys]
    return pl.concat(parsed).filter(pl.col("segment") == "rth")


def trades_of(bars: pl.DataFrame, actions: pl.DataFrame, tick: float = 0.01) -> pl.DataFrame:
    """Every trade of every detector on 1h bars."""
    sessions = session_frame(FIRST, LAST)["session"].to_list()
    instruments = instruments_frame([instrument(symbol) for symbol in SYMBOLS])
    features = compute_features(bars, "1h", sessions, actions, instruments)
    tradable = tradable_bars(bars.filter(pl.col("timeframe") == "1h"), actions, FIRST)
    names = [detector.name for detector in CATALOGUE]
    tables = run_detectors(features, tradable, actions, BacktestConfig(timeframe="1h", tick=tick), names)
    return pl.concat([one.trades for one in tables.values()]).sort("detector", "symbol", "entry_at")


@pytest.fixture(scope="module")
def trades(bars, shared_data) -> pl.DataFrame:
    return trades_of(bars, real_splits(shared_data))


def test_twenty_one_years_hold_thousands_of_trades(trades):
    assert trades.height > 5_000
    assert set(trades["symbol"]) == set(SYMBOLS)


def test_mending_the_bad_prints_by_hand_changes_no_trade(bars, trades, shared_data):
    mended = bars
    for symbol, lows in BAD_LOWS.items():
        for day, low in lows.items():
            at_fault = (pl.col("symbol") == symbol) & (pl.col("session") == day) & (pl.col("low") == low)
            assert mended.filter(at_fault).height == 1
            mended = mended.with_columns(
                low=pl.when(at_fault).then(pl.min_horizontal("open", "close")).otherwise(pl.col("low"))
            )
    again = trades_of(mended, real_splits(shared_data))
    assert again.select(*IDENTITY, "r_net").equals(trades.select(*IDENTITY, "r_net"))


def test_the_same_prices_quoted_without_splits_give_the_same_trades(bars, shared_data):
    """Prices before each split are divided, volumes multiplied, by its ratio, and no split is reported."""
    flat = bars
    splits = real_splits(shared_data).filter(pl.col("symbol").is_in(SYMBOLS) & (pl.col("action") == "split"))
    assert splits.height == 5  # AAPL 2000, 2005 and 2014, IBM 1999, BAC 2004: splits.csv of the real data
    for symbol, ex_date, ratio in splits.select("symbol", "ex_date", "split_ratio").iter_rows():
        before = (pl.col("symbol") == symbol) & (pl.col("session") < ex_date)
        flat = flat.with_columns(
            *(pl.when(before).then(pl.col(name) / ratio).otherwise(pl.col(name)).alias(name)
              for name in ("open", "high", "low", "close")),
            volume=pl.when(before).then(pl.col("volume") * ratio).otherwise(pl.col("volume")),
        )  # fmt: skip
    # A cent is a larger share of a divided price, so both runs trade through a target by next to nothing.
    again = trades_of(flat, CORPORATE_ACTIONS.empty(), tick=1e-6)
    quoted = trades_of(bars, real_splits(shared_data), tick=1e-6)
    assert again.select(IDENTITY).equals(quoted.select(IDENTITY))
    assert again["r_net"].to_list() == pytest.approx(quoted["r_net"].to_list(), abs=1e-9)


def test_a_flagged_close_that_the_next_open_confirms_is_traded_as_the_vendor_sent_it(bars, shared_data):
    hours = bars.filter((pl.col("symbol") == "BAC") & (pl.col("timeframe") == "1h"))
    tradable = tradable_bars(hours, real_splits(shared_data), FIRST)
    prices = {
        start: tuple(rest) for start, *rest in tradable.select("bar_start", "open", "high", "low", "close").iter_rows()
    }
    # The rows of the hour files 2009-01 and 2011-08; the hours after them open at 8.11 and 7.58.
    assert prices[datetime(2009, 1, 15, 14, 30, tzinfo=UTC)] == (9.70, 9.72, 8.00, 8.11)
    assert prices[datetime(2011, 8, 9, 19, 0, tzinfo=UTC)] == (6.84, 7.65, 6.78, 7.60)
    # A low of 2.53 between 3.06 and 3.20 that no other price comes near (a bad print of the README) stays out.
    assert prices[datetime(2009, 2, 20, 18, 0, tzinfo=UTC)] == (3.06, 3.25, 3.06, 3.20)


def test_trades_fill_in_the_real_hours_that_the_filter_flagged(trades):
    """At the stop and the target inside the hour, not at the open after it (8.11 and 7.58)."""
    exits = ["exit_at", "exit_reason", "exit_ref_price", "r_gross"]
    bac = trades.filter((pl.col("symbol") == "BAC") & (pl.col("detector") == "mean_reversion_long"))
    stopped = bac.filter(pl.col("entry_at") == datetime(2009, 1, 15, 14, 30, tzinfo=UTC)).select(exits).rows()
    aimed = bac.filter(pl.col("entry_at") == datetime(2011, 8, 8, 19, 0, tzinfo=UTC)).select(exits).rows()
    # Entered at 9.70 and 6.70: the stop lies at 9.4852, the target 2.667 stop distances (2 / .75 ATR) away at 7.2819.
    assert stopped == [
        (datetime(2009, 1, 15, 15, 0, tzinfo=UTC), "STOP", pytest.approx(9.4852, abs=1e-4), pytest.approx(-1.0))
    ]
    assert aimed == [
        (datetime(2011, 8, 9, 20, 0, tzinfo=UTC), "TARGET", pytest.approx(7.2819, abs=1e-4), pytest.approx(8 / 3))
    ]
