"""The usual dollar volume of a symbol, as it was known before a session."""

from datetime import timedelta

import polars as pl
import pytest

from strategy_pipeline.analytics.dollar_volume import average_dollar_volume
from strategy_pipeline.market import calendar

SESSIONS = calendar.sessions_between(calendar.first_session(), calendar.last_session())[1000:1021]
DAY = SESSIONS[-1]


def bars(**changes) -> pl.DataFrame:
    """Closes of 10 and volumes of 1, 2, ... 21 on the 20 sessions before DAY and on DAY itself."""
    rows = [("XYZ", day, 10.0, float(at + 1), calendar.session(day).close) for at, day in enumerate(SESSIONS)]
    frame = pl.DataFrame(rows, schema=["symbol", "session", "close", "volume", "available_at"], orient="row")
    return frame.with_columns(**changes)


def test_it_is_the_mean_of_twenty_sessions_before_and_leaves_the_session_itself_out():
    found = average_dollar_volume(bars(), [DAY])
    # 10 x (1 + ... + 20) / 20
    assert found.row(0)[:3] == ("XYZ", DAY, pytest.approx(105.0))
    assert found["available_at"].to_list() == [calendar.session(SESSIONS[-2]).close]


def test_with_a_missing_bar_or_volume_there_is_none():
    gap = bars().filter(pl.col("session") != SESSIONS[3])
    assert average_dollar_volume(gap, [DAY]).is_empty()
    assert average_dollar_volume(bars(volume=pl.lit(None, dtype=pl.Float64)), [DAY]).is_empty()


def test_each_session_asked_for_has_its_own_window():
    assert average_dollar_volume(bars(), [SESSIONS[-2], DAY])["session"].to_list() == [DAY]
    assert average_dollar_volume(bars(), [DAY + timedelta(days=400)]).is_empty()


def test_an_index_has_that_of_the_fund_whose_volume_it_borrows():
    index = bars(symbol=pl.lit("SPX"), volume=pl.lit(None, dtype=pl.Float64), close=pl.lit(5_000.0))
    fund = bars(symbol=pl.lit("SPY"))
    found = average_dollar_volume(pl.concat([index, fund]), [DAY], proxies={"SPX": "SPY", "NDX": "QQQ"})
    # Price and volume are both those of the fund.
    assert found.select("symbol", "adv20_usd").rows() == [("SPX", pytest.approx(105.0)), ("SPY", pytest.approx(105.0))]
    assert average_dollar_volume(index, [DAY], proxies={"SPX": "SPY"}).is_empty()
