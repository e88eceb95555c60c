"""Realised volatility: the specification's numbers, the order of the estimators' inputs and windows with holes."""

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.realised_volatility import (
    realised_variance,
    realised_volatility,
    yang_zhang_weight,
)
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import RV_ESTIMATORS
from strategy_pipeline.market.calendar import session, sessions_between

# Six bars of quant_methods.md section 14; the estimators see the last five.
OPEN = np.array([100, 101, 103, 102, 104.5, 103])
HIGH = np.array([102, 103.5, 104, 104, 105.5, 104])
LOW = np.array([99, 100.5, 101, 101, 102.5, 101.5])
CLOSE = np.array([101.5, 102.5, 101.8, 103.8, 103.2, 102])


def variance(estimator: str, scale: float = 1.0) -> float:
    bars = (scale * values[1:] for values in (OPEN, HIGH, LOW, CLOSE))
    return float(realised_variance(*bars, scale * CLOSE[:-1], estimator))


@pytest.mark.parametrize(
    ("estimator", "annual"),
    [
        ("close_close", 0.208069),
        ("parkinson", 0.269751),
        ("garman_klass", 0.288284),
        ("rogers_satchell", 0.284363),
        ("garman_klass_yang_zhang", 0.296969),
        ("yang_zhang", 0.289574),
    ],
)
def test_each_estimator_gives_the_specified_number(estimator, annual):
    assert np.sqrt(252 * variance(estimator)) == pytest.approx(annual, abs=5e-7)


@pytest.mark.parametrize(
    ("count", "weight"), [(5, 0.119718), (20, 0.139044), (21, 0.139344), (30, 0.141139), (252, 0.144806)]
)
def test_the_weight_of_yang_and_zhang_is_the_specified_one(count, weight):
    assert yang_zhang_weight(count) == pytest.approx(weight, abs=5e-7)


@pytest.mark.parametrize("estimator", RV_ESTIMATORS)
def test_volatility_does_not_depend_on_the_unit_of_price(estimator):
    assert variance(estimator, scale=37.0) == pytest.approx(variance(estimator), rel=1e-12)


def test_an_unknown_estimator_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="close_close"):
        variance("close")


def daily(days: list[date], seed: int = 7) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, len(days))))
    return pl.DataFrame(
        {
            "symbol": "SPY",
            "session": days,
            "open": close * 1.001,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "available_at": [session(day).close for day in days],
        }
    )


def test_the_window_is_the_session_and_the_twenty_before_it():
    days = sessions_between(date(2015, 1, 2), date(2015, 3, 31))
    bars = daily(days)
    found = realised_volatility(bars, [days[30]], "close_close")
    returns = np.diff(np.log(bars["close"].to_numpy()))[9:30]
    assert len(returns) == 21
    assert found["rv"].item() == pytest.approx(np.std(returns, ddof=1) * np.sqrt(252), rel=1e-12)
    assert found["rv_known_at"].item() == session(days[30]).close


def test_a_window_with_a_missing_session_has_no_volatility_and_says_so():
    days = sessions_between(date(2015, 1, 2), date(2015, 3, 31))
    bars = daily(days).filter(pl.col("session") != days[20])
    found = realised_volatility(bars, days, "yang_zhang")
    known = found.filter(pl.col("rv_status") == "ok")["session"].to_list()
    # The close of days[20] is missing up to the window that starts with the session after it.
    assert known == days[42:]
    assert found.filter(pl.col("rv").is_null())["rv_status"].unique().to_list() == ["missing_input"]


def test_bars_of_later_sessions_change_nothing():
    days = sessions_between(date(2015, 1, 2), date(2015, 4, 30))
    bars = daily(days)
    later = pl.col("session") > days[40]
    changed = bars.with_columns(pl.when(later).then(pl.col("close") * 10).otherwise("close").alias("close"))
    for frame in (changed, bars.filter(~later)):
        assert realised_volatility(frame, [days[40]], "yang_zhang").equals(
            realised_volatility(bars, [days[40]], "yang_zhang")
        )


def test_the_time_of_knowledge_is_an_instant_in_utc():
    days = sessions_between(date(2015, 1, 2), date(2015, 3, 31))
    moment = realised_volatility(daily(days), [days[-1]], "parkinson")["rv_known_at"].item()
    assert isinstance(moment, datetime)
    assert moment.utcoffset().total_seconds() == 0
