"""Alignment of timeframes: known answers, point in time, symmetry and reach."""

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.alignment import (
    ALIGNMENT_LABELS,
    ALIGNMENT_SCHEMA,
    DOMINANT_TRENDS,
    SCORES,
    WEIGHTS,
    alignment,
    bars_needed,
    combined,
    score,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import resample
from strategy_pipeline_tests.analytics.bar_frames import (
    NO_ACTIONS,
    all_timeframes,
    contract_bars,
    minute_market,
    real_bars,
    real_splits,
    splits,
)

FIRST, LAST = date(2024, 9, 3), date(2024, 12, 6)
PRICES = ["open", "high", "low", "close"]


def together(*scores: float | None) -> dict:
    """What six scores (1w, 1d, 4h, 1h, 15m, 5m) say together."""
    frame = pl.DataFrame([scores], schema=dict.fromkeys(SCORES.values(), pl.Float64), orient="row")
    return combined(frame).row(0, named=True)


# context_engines.md section 4, known answers.
@pytest.mark.parametrize(
    ("x", "y", "expected"), [(1, 0.1, 0.7616), (-1, -0.1, -0.7616), (0.2, 0.01, 0.1489), (2, 0.25, 0.9780)]
)
def test_a_score_is_this(x, y, expected):
    assert pl.select(score(pl.lit(float(x)), pl.lit(float(y)))).item() == pytest.approx(expected, abs=5e-5)


# context_engines.md section 4, known answers: A, agreement, label, dominant trend.
@pytest.mark.parametrize(
    ("scores", "mean", "agreement", "label", "trend"),
    [
        ((0.8, 0.7, 0.6, 0.5, 0.4, 0.3), 0.6636, 1.0, "FULLY_ALIGNED", "STRONG_UP"),
        ((0.8, 0.7, 0.6, -0.5, -0.4, -0.3), 0.4758, 0.7879, "MOSTLY_ALIGNED", "UP"),
        ((-0.05, 0.6, -0.05, -0.05, 0.9, 0.9), 0.1939, 0.3333, "DIVERGING", "UP"),
        ((-0.01, -0.01, 0.95, -0.01, -0.01, -0.01), 0.1645, 0.1818, "CONFLICTING", "UP"),
        ((None, -0.9, -0.6, -0.5, -0.4, -0.3), -0.6619, 1.0, "FULLY_ALIGNED", "STRONG_DOWN"),
    ],
)
def test_six_scores_say_this_together(scores, mean, agreement, label, trend):
    found = together(*scores)
    assert found["alignment"] == pytest.approx(mean, abs=5e-5)
    assert found["agreement"] == pytest.approx(agreement, abs=5e-5)
    assert (found["alignment_label"], found["dominant_trend"]) == (label, trend)


def test_support_is_the_weight_that_points_each_way():
    found = together(0.8, 0.7, 0.6, -0.5, -0.4, -0.3)
    assert found["mtf_support_long_pct"] == pytest.approx(78.7879, abs=5e-5)
    assert found["mtf_support_short_pct"] == pytest.approx(21.2121, abs=5e-5)


def test_the_last_bit_of_a_row_does_not_depend_on_the_rows_beside_it():
    # Alone every column is the same in all rows, which is when Polars divides by way of the reciprocal.
    row = dict(zip(SCORES.values(), (None, 0.8, 0.7, -0.6, -0.5, -0.4), strict=True))
    fuller = dict(zip(SCORES.values(), (0.1, 0.2, None, 0.4, 0.5, 0.6), strict=True))
    schema = dict.fromkeys(SCORES.values(), pl.Float64)
    alone, beside = pl.DataFrame([row, row], schema=schema), pl.DataFrame([row, row, fuller], schema=schema)
    assert combined(alone).rows() == combined(beside).head(2).rows()


def test_too_few_timeframes_say_nothing():
    found = together(None, None, 0.5, 0.5, 0.5, 0.5)
    # context_engines.md section 4: 3.25 of 8.25 is .3939.
    assert found.pop("weight_share") == pytest.approx(0.3939, abs=5e-5)
    assert set(found.values()) == {None}


def test_a_balance_of_both_sides_is_no_trend_and_no_agreement():
    found = together(0.0, 0.3, -0.4, 0.0, 0.0, 0.0)
    assert (found["alignment"], found["agreement"]) == (pytest.approx(0.0, abs=1e-12), 0.0)
    assert (found["alignment_label"], found["dominant_trend"]) == ("CONFLICTING", "NEUTRAL")


def test_every_label_and_trend_is_reached():
    rows = [
        (0.8, 0.7, 0.6, 0.5, 0.4, 0.3), (0.8, 0.7, 0.6, -0.5, -0.4, -0.3), (0.9, -0.1, -0.1, 0.5, -0.1, -0.1),
        (-0.05, 0.6, -0.05, -0.05, 0.9, 0.9), (-0.01, -0.01, 0.95, -0.01, -0.01, -0.01),
        (0.1, 0.1, 0.1, 0.1, 0.1, 0.1), (-0.2, -0.2, -0.2, -0.2, -0.2, -0.2), (-0.8, -0.8, -0.8, -0.8, -0.8, -0.8),
    ]  # fmt: skip
    found = [together(*row) for row in rows]
    assert {one["alignment_label"] for one in found} == set(ALIGNMENT_LABELS)
    assert {one["dominant_trend"] for one in found} == set(DOMINANT_TRENDS)


values = st.one_of(st.none(), st.floats(-1, 1, width=32))


@settings(max_examples=150, deadline=None)
@given(scores=st.tuples(*[values] * 6))
def test_negated_scores_give_the_mirror_image(scores):
    one, other = together(*scores), together(*(None if value is None else -value for value in scores))
    assert one["weight_share"] == other["weight_share"]
    assert one["agreement"] == other["agreement"]
    assert one["alignment_label"] == other["alignment_label"]
    assert one["mtf_support_long_pct"] == other["mtf_support_short_pct"]
    if one["alignment"] is not None:
        assert one["alignment"] == -other["alignment"]
        swapped = {
            "STRONG_UP": "STRONG_DOWN",
            "UP": "DOWN",
            "NEUTRAL": "NEUTRAL",
            "DOWN": "UP",
            "STRONG_DOWN": "STRONG_UP",
        }
        assert swapped[one["dominant_trend"]] == other["dominant_trend"]
        assert 0 <= one["mtf_support_long_pct"] + one["mtf_support_short_pct"] <= 100 + 1e-9


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    minutes = minute_market(["SPY", "AAA"], FIRST, LAST)
    return all_timeframes(minutes).filter(pl.col("timeframe") != "1m")


def at(bars: pl.DataFrame, *moments: datetime, symbol: str = "SPY", actions: pl.DataFrame = NO_ACTIONS) -> pl.DataFrame:
    rows = pl.DataFrame({"symbol": symbol, "as_of": moments}, schema_overrides={"as_of": ALIGNMENT_SCHEMA["as_of"]})
    return alignment(bars, rows, actions)


def grid(*days: date) -> list[datetime]:
    """Instants of some sessions at which quarter hours have just become known."""
    return [moment + timedelta(seconds=2) for day in days for moment in calendar.snapshot_instants(day)]


NOON = datetime(2024, 12, 5, 17, 0, 2, tzinfo=UTC)
WARM = [SCORES[name] for name in ("1h", "15m", "5m")]


def test_scores_by_hand(market):
    row = at(market, NOON).row(0, named=True)
    for name in ("5m", "15m", "1h"):
        own = market.filter(
            (pl.col("symbol") == "SPY") & (pl.col("timeframe") == name) & (pl.col("available_at") <= NOON)
        )
        start = {"5m": date(2024, 11, 1), "15m": date(2024, 10, 1), "1h": date(2023, 1, 1)}[name]
        own = own.filter(pl.col("session") >= start).sort("bar_start")
        highs, lows, closes = (own[column].to_list() for column in ("high", "low", "close"))
        ema, averages = sum(closes[:20]) / 20, []
        for close in closes[20:]:
            averages.append(ema)
            ema += 2 / 21 * (close - ema)
        averages.append(ema)
        ranges = [
            max(high, before) - min(low, before) for high, low, before in zip(highs[1:], lows[1:], closes, strict=False)
        ]
        atr = sum(ranges[:14]) / 14
        for width in ranges[14:]:
            atr += (width - atr) / 14
        x, y = (closes[-1] - averages[-1]) / atr, (averages[-1] - averages[-6]) / (5 * atr)
        assert row[SCORES[name]] == pytest.approx(math.tanh(x / 2 + 5 * y), abs=1e-9)
    # Three months are no 109 days, weeks or 4h bars.
    assert row["score_1w"] is None
    assert row["score_1d"] is None
    assert row["weight_share"] == pytest.approx((1.5 + 1.0 + 0.5 + 0.25) / 8.25)
    assert row["newest_bar_end"] == datetime(2024, 12, 5, 17, 0, tzinfo=UTC)
    assert row["newest_timeframe"] == "5m"
    assert row["available_at"] == NOON


def test_a_forming_bar_is_never_read(market):
    before_known = at(market, NOON - timedelta(microseconds=1)).row(0, named=True)
    assert before_known["newest_bar_end"] == datetime(2024, 12, 5, 16, 55, tzinfo=UTC)
    # The hour from 11:30 New York is still forming at noon; its stored row is final, so reading it would be a leak.
    hour = (pl.col("timeframe") == "1h") & (pl.col("bar_start") == datetime(2024, 12, 5, 16, 30, tzinfo=UTC))
    changed = market.with_columns(
        pl.when(hour).then(pl.col(name) * 1.5).otherwise(pl.col(name)).alias(name) for name in PRICES
    )
    assert at(changed, NOON).equals(at(market, NOON))


@pytest.mark.parametrize("change", ["deleted", "times ten", "shuffled"])
def test_nothing_later_changes_a_row(market, change):
    later = pl.col("available_at") > NOON
    if change == "deleted":
        changed = market.filter(~later)
    elif change == "times ten":
        changed = market.with_columns(
            pl.when(later).then(pl.col(name) * 10).otherwise(pl.col(name)).alias(name) for name in PRICES
        )
    else:
        changed = market.sample(fraction=1.0, shuffle=True, seed=5)
    moments = [moment for moment in grid(date(2024, 12, 4), date(2024, 12, 5)) if moment <= NOON]
    assert at(changed, *moments).equals(at(market, *moments))


def test_every_timeframe_of_the_past_matters(market):
    base = at(market, NOON)
    for name in ("1h", "15m", "5m"):
        past = (pl.col("timeframe") == name) & (pl.col("available_at") <= NOON)
        newest = past & (pl.col("bar_start") == market.filter(past & (pl.col("symbol") == "SPY"))["bar_start"].max())
        changed = market.with_columns(
            pl.when(newest).then(pl.col(c) * 1.002).otherwise(pl.col(c)).alias(c) for c in PRICES
        )
        assert at(changed, NOON)[SCORES[name]].item() != base[SCORES[name]].item()


def test_one_row_alone_and_any_cutting_of_sessions_give_the_same_bits(market):
    days = [date(2024, 11, 27), date(2024, 11, 29), date(2024, 12, 2), date(2024, 12, 5)]
    moments = grid(*days)
    whole = at(market, *moments)
    assert whole.height == 26 + 14 + 26 + 26
    assert pl.concat(at(market, *grid(day)) for day in days).equals(whole)
    for place in (0, 30, 60, 91):
        assert at(market, moments[place]).equals(whole[place])


def test_rows_keep_their_order_and_unknown_symbols_have_nothing(market):
    rows = pl.DataFrame(
        {"symbol": ["ZZZ", "SPY", "AAA", "SPY"], "as_of": [NOON, NOON, NOON, NOON - timedelta(days=1)]}
    ).cast({"as_of": ALIGNMENT_SCHEMA["as_of"]})
    found = alignment(market, rows, NO_ACTIONS)
    assert found.select("symbol", "as_of").equals(rows)
    assert found.schema == ALIGNMENT_SCHEMA
    assert set(found.drop("symbol", "as_of", "weight_share").row(0)) == {None}
    assert found["weight_share"][0] == 0.0
    assert found["score_5m"][1:].null_count() == 0


def test_only_the_bars_that_are_said_to_be_needed_are(market):
    days = [date(2024, 12, 5)]
    needed = pl.concat(
        market.filter((pl.col("timeframe") == need.timeframe) & pl.col("session").is_in(need.sessions))
        for need in bars_needed(days)
    )
    assert {need.timeframe for need in bars_needed(days)} == set(WEIGHTS) - {"1w"}
    assert at(needed, *grid(*days)).equals(at(market, *grid(*days)))


def test_multiplying_all_prices_changes_no_score(market):
    scaled = market.with_columns(pl.col(name) * 4.0 for name in PRICES)
    one, other = at(market, *grid(date(2024, 12, 5))), at(scaled, *grid(date(2024, 12, 5)))
    for name in WARM:
        assert other[name].to_list() == pytest.approx(one[name].to_list(), abs=1e-12)


def test_prices_reflected_about_a_level_give_negated_scores(market):
    # Twice a level far above keeps reflected prices positive and bars plausible.
    reflected = market.with_columns(
        open=2000 - pl.col("open"), high=2000 - pl.col("low"), low=2000 - pl.col("high"), close=2000 - pl.col("close")
    )
    shifted = market.with_columns(pl.col(name) + 1000.0 for name in PRICES)
    one, other = at(shifted, NOON).row(0, named=True), at(reflected, NOON).row(0, named=True)
    for name in WARM:
        assert other[name] == pytest.approx(-one[name], abs=1e-7)


def test_a_split_changes_no_score(market):
    ex_date = date(2024, 12, 3)
    spy_before = (pl.col("symbol") == "SPY") & (pl.col("session") < ex_date)
    raw = market.with_columns(
        pl.when(spy_before).then(pl.col(name) * 4.0).otherwise(pl.col(name)).alias(name) for name in PRICES
    )
    plain, split = at(market, NOON), at(raw, NOON, actions=splits(("SPY", ex_date, 4.0)))
    for name in WARM:
        assert split[name].item() == pytest.approx(plain[name].item(), abs=1e-9)


def test_a_ticker_that_stands_for_something_new_has_no_scores_of_the_old(market):
    renamed = (pl.col("symbol") == "SPY") & (pl.col("session") >= date(2024, 12, 5))
    raw = market.with_columns(
        pl.when(renamed).then(pl.col(name) * 3.0).otherwise(pl.col(name)).alias(name) for name in PRICES
    )
    early = at(raw, datetime(2024, 12, 5, 14, 45, 2, tzinfo=UTC)).row(0, named=True)
    assert early["weight_share"] == 0.0
    assert early["newest_bar_end"] == datetime(2024, 12, 5, 14, 45, tzinfo=UTC)


def daily_market(first: date, last: date) -> pl.DataFrame:
    """Daily bars with a steady rise of a tenth a session and a range of one, 4h bars of the same."""
    days = [calendar.session(day) for day in calendar.sessions_between(first, last)]
    close = [100.0 + 0.1 * n for n in range(len(days))]
    columns = {
        "symbol": ["SPY"] * len(days),
        "session": [one.day for one in days],
        "bar_start": [one.open for one in days],
        "bar_end": [one.close for one in days],
        "open": [price - 0.05 for price in close],
        "high": [price + 0.5 for price in close],
        "low": [price - 0.5 for price in close],
        "close": close,
    }
    return contract_bars(columns, "1d")


def test_weeks_are_made_of_days_and_known_when_their_last_session_has_closed():
    bars = daily_market(date(2021, 1, 4), date(2024, 12, 6))
    friday = calendar.session(date(2024, 11, 29))
    during, after = friday.close + timedelta(seconds=1), friday.close + timedelta(seconds=2)
    found = at(bars, during, after)
    assert found["score_1w"].null_count() == 0
    assert found["score_1w"][0] != found["score_1w"][1]
    # A steady rise of 0.1 a day: EMA20 lags by 9.5 bars of it, so x = 0.95/ATR and y = 0.1/ATR with ATR 1.
    assert found["score_1d"][1] == pytest.approx(math.tanh(0.475 + 0.5), abs=1e-3)
    assert found["newest_timeframe"].to_list() == ["1d", "1d"]


def test_constant_prices_score_nothing():
    minutes = minute_market(["SPY"], date(2024, 11, 1), date(2024, 12, 6)).with_columns(
        **dict.fromkeys(PRICES, pl.lit(101.37))
    )
    bars = pl.concat(resample(minutes, name) for name in ("5m", "15m", "1h"))
    row = at(bars, NOON).row(0, named=True)
    assert [row[name] for name in WARM] == [0.0, 0.0, 0.0]


def test_a_real_split_is_a_rise_that_goes_on_and_an_unreported_one_a_new_series(shared_data):
    # AAPL split 7 for 1 on 2014-06-09, in the middle of a rise from 75 to 93 (split-adjusted) since April.
    bars = real_bars(shared_data, "day").filter(pl.col("symbol") == "AAPL")
    moments = bars.filter(pl.col("session").is_between(date(2014, 6, 9), date(2014, 6, 13)))["available_at"]
    found = at(bars, *moments, symbol="AAPL", actions=real_splits(shared_data))
    assert found.height == 5
    assert found["score_1w"].min() > 0.5
    assert found["score_1d"].min() > 0.9
    assert found["dominant_trend"].unique().to_list() == ["STRONG_UP"]
    # Days and weeks alone are 5 of 8.25, just enough.
    assert found["weight_share"].unique().to_list() == [pytest.approx(0.6061, abs=5e-5)]
    assert at(bars, *moments, symbol="AAPL")["weight_share"].unique().to_list() == [0.0]


def test_no_rows_give_no_rows(market):
    assert alignment(market, at(market).select("symbol", "as_of"), NO_ACTIONS).schema == ALIGNMENT_SCHEMA
