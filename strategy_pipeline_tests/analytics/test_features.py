"""Feature rows: definitions by hand, point in time, symmetries, and independence of how a backfill is cut."""

import math
from datetime import date, timedelta

import polars as pl
import pytest

from strategy_pipeline.analytics.features import compute_features, substituted_inputs, trend_state
from strategy_pipeline.analytics.lookback import bars_needed, lookback_start, volume_sessions
from strategy_pipeline.errors import PipelineError
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import FEATURES, HISTORICAL_BARS
from strategy_pipeline.market import calendar
from strategy_pipeline.market.symbols import instrument, instruments_frame
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

# 2024-11-04 is the first session after DST ended, 11-29 a half day.
FIRST, LAST = date(2024, 9, 3), date(2024, 12, 6)
HALF_DAY = date(2024, 11, 29)
INSTRUMENTS = instruments_frame([instrument("SPY"), instrument("AAA"), instrument("SPX")])
PRICES = ("open", "high", "low", "close")
# SPY minutes that did not trade, as in real files.
SILENT = (pl.col("symbol") == "SPY") & (pl.col("bar_start").dt.minute() % 17 == 3)


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    minutes = minute_market(["SPY", "AAA", "SPX"], FIRST, LAST).filter(~SILENT)
    index = pl.col("symbol") == "SPX"
    return all_timeframes(minutes.with_columns(volume=pl.when(~index).then("volume")))


def features(bars: pl.DataFrame, timeframe: str, *sessions: date, actions: pl.DataFrame = NO_ACTIONS) -> pl.DataFrame:
    """Feature rows from exactly the bars that are said to be needed."""
    read = []
    for need in bars_needed(timeframe, sessions, INSTRUMENTS):
        part = bars.filter((pl.col("timeframe") == need.timeframe) & pl.col("session").is_in(need.sessions))
        read.append(part if need.symbols is None else part.filter(pl.col("symbol").is_in(need.symbols)))
    return compute_features(pl.concat(read), timeframe, sessions, actions, INSTRUMENTS)


def one(frame: pl.DataFrame, symbol: str, mso: int) -> dict:
    return frame.filter((pl.col("symbol") == symbol) & (pl.col("minutes_since_open") == mso)).row(0, named=True)


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "1h", "4h", "1d"])
def test_rows_meet_the_contract_and_hold_no_nan(market, timeframe):
    rows = features(market, timeframe, date(2024, 12, 5), HALF_DAY)
    assert rows.schema == FEATURES.polars_schema
    assert conform(FEATURES, rows).equals(rows)
    floats = rows.select(pl.col(pl.Float64)).fill_null(0.0)
    assert floats.select(pl.all_horizontal(pl.all().is_finite())).to_series().all()
    assert rows["is_regular_hours"].all()


def test_there_is_one_row_for_each_regular_bar(market):
    counts = {
        name: features(market, name, date(2024, 12, 5), HALF_DAY)
        .filter(pl.col("symbol") == "AAA")
        .group_by("session_type")
        .len()
        .sort("session_type")["len"]
        .to_list()
        for name in ("1m", "5m", "15m", "1h", "4h", "1d")
    }
    # 390 and 210 minutes cut into windows; the half day's fourth hour is half an hour, its only 4h bar is the session.
    assert counts == {"1m": [390, 210], "5m": [78, 42], "15m": [26, 14], "1h": [7, 4], "4h": [2, 1], "1d": [1, 1]}


def test_session_columns_by_hand(market):
    day, before = date(2024, 12, 5), date(2024, 12, 4)
    row = one(features(market, "15m", day), "AAA", 60)
    minutes = market.filter((pl.col("timeframe") == "1m") & (pl.col("symbol") == "AAA"))
    so_far = minutes.filter(pl.col("session") == day)[:60]
    earlier = minutes.filter(pl.col("session") == before)
    previous = earlier["close"][-1]
    assert (row["prev_close"], row["prior_high"], row["prior_low"]) == (
        previous,
        earlier["high"].max(),
        earlier["low"].min(),
    )
    assert row["close"] == so_far["close"][-1]
    assert row["session_open"] == so_far["open"][0]
    assert (row["session_high"], row["session_low"]) == (so_far["high"].max(), so_far["low"].min())
    assert (row["or_high"], row["or_low"]) == (so_far["high"][:15].max(), so_far["low"][:15].min())
    typical = (so_far["high"] + so_far["low"] + so_far["close"]) / 3
    vwap = (typical * so_far["volume"]).sum() / so_far["volume"].sum()
    assert row["vwap"] == pytest.approx(vwap, rel=1e-12)
    assert row["vwap_dist_pct"] == pytest.approx(100 * (row["close"] - vwap) / previous, abs=1e-9)
    assert row["gap_pct"] == pytest.approx(100 * (so_far["open"][0] - previous) / previous, abs=1e-12)
    assert row["session_move_pct"] == pytest.approx(100 * (row["close"] - so_far["open"][0]) / previous, abs=1e-12)
    assert row["mom3_pct"] == pytest.approx(100 * (row["close"] - so_far["close"][14]) / previous, abs=1e-12)
    assert row["prev_bar_close"] == so_far["close"][44]
    assert row["minutes_to_close"] == 330
    assert row["day_range_pos"] == pytest.approx(
        100 * (row["close"] - so_far["low"].min()) / (so_far["high"].max() - so_far["low"].min()), abs=1e-9
    )


@pytest.mark.parametrize(("timeframe", "mso"), [("1m", 45), ("15m", 45), ("1h", 60)])
def test_relative_volume_by_hand(market, timeframe, mso):
    day = date(2024, 12, 5)
    row = one(features(market, timeframe, day), "SPY", mso)
    opened = {one.day: one.open for one in map(calendar.session, calendar.sessions_between(FIRST, LAST))}
    minutes = market.filter((pl.col("timeframe") == "1m") & (pl.col("symbol") == "SPY"))

    def volume(session: date) -> float:
        until = opened[session] + timedelta(minutes=mso)
        return minutes.filter((pl.col("session") == session) & (pl.col("bar_end") <= until))["volume"].sum()

    # The half day of 11-29 is no comparison for a full one: 20 full sessions reach back to 11-05.
    earlier = [d for d in calendar.sessions_between(date(2024, 11, 5), date(2024, 12, 4)) if d != HALF_DAY]
    assert len(earlier) == 20
    assert row["rvol"] == pytest.approx(volume(day) / (sum(map(volume, earlier)) / 20), rel=1e-12)


def test_half_days_are_compared_with_half_days_and_three_must_be_known(market):
    assert features(market, "15m", HALF_DAY)["rvol"].null_count() == 3 * 14
    # The 20 half days before 2024-11-29 by the exchange's calendar begin with 2014-11-28.
    assert volume_sessions(HALF_DAY)[0] == date(2014, 11, 28)
    assert len(volume_sessions(HALF_DAY)) == 20
    days = volume_sessions(HALF_DAY)[-3:]
    past = pl.concat(minute_market(["SPY"], day, day, seed=n) for n, day in enumerate(days))
    rows = features(pl.concat([market, all_timeframes(past)]), "15m", HALF_DAY)
    today = market.filter((pl.col("timeframe") == "1m") & (pl.col("symbol") == "SPY") & (pl.col("session") == HALF_DAY))
    first = calendar.session(HALF_DAY).open + timedelta(minutes=15)
    mean = past.filter(pl.col("bar_start").dt.minute().is_between(30, 44) & (pl.col("bar_start").dt.hour() < 15))
    mean = pl.concat(mean.filter(pl.col("session") == day)[:15] for day in days)["volume"].sum() / 3
    expected = today.filter(pl.col("bar_end") <= first)["volume"].sum() / mean
    assert one(rows, "SPY", 15)["rvol"] == pytest.approx(expected, rel=1e-12)


def test_an_index_borrows_the_volume_of_its_etf(market):
    rows = features(market, "15m", date(2024, 12, 5))
    index, etf = one(rows, "SPX", 60), one(rows, "SPY", 60)
    assert (index["rvol_symbol"], index["volume"]) == ("SPY", None)
    assert (index["rvol"], index["adv20_shares"]) == (etf["rvol"], etf["adv20_shares"])
    minutes = market.filter((pl.col("timeframe") == "1m") & (pl.col("session") == date(2024, 12, 5)))
    until = calendar.session(date(2024, 12, 5)).open + timedelta(minutes=60)
    shares = dict(minutes.filter(pl.col("symbol") == "SPY").select("bar_end", "volume").rows())
    prices = minutes.filter((pl.col("symbol") == "SPX") & (pl.col("bar_end") <= until))
    weight = [shares.get(end, 0.0) for end in prices["bar_end"]]
    typical = ((prices["high"] + prices["low"] + prices["close"]) / 3).to_list()
    expected = sum(p * w for p, w in zip(typical, weight, strict=True)) / sum(weight)
    assert index["vwap"] == pytest.approx(expected, rel=1e-12)


def test_the_opening_range_appears_at_minute_15_and_needs_80_percent_of_its_minutes(market):
    rows = features(market, "5m", date(2024, 12, 5))
    assert [one(rows, "AAA", mso)["or_high"] is None for mso in (5, 10, 15, 20)] == [True, True, False, False]
    opened = calendar.session(date(2024, 12, 5)).open
    for missing, known in ((3, True), (4, False)):
        gone = pl.col("bar_start").is_between(opened, opened + timedelta(minutes=missing), closed="left")
        minutes = market.filter((pl.col("timeframe") == "1m") & ~gone)
        found = features(pl.concat([minutes, *(resample(minutes, n) for n in ("5m", "15m", "1h", "1d"))]), "5m", LAST)
        assert one(found, "AAA", 30)["or_high"] is not None
        found = features(
            pl.concat([minutes, *(resample(minutes, n) for n in ("5m", "15m", "1h", "1d"))]), "5m", date(2024, 12, 5)
        )
        assert (one(found, "AAA", 30)["or_high"] is not None) is known


def test_suffixed_columns_show_the_newest_closed_bar_of_their_timeframe(market):
    day = date(2024, 12, 5)
    fine, quarter, hour = (features(market, name, day) for name in ("5m", "15m", "1h"))
    for mso, closed in ((35, 30), (40, 30), (45, 45)):
        assert one(fine, "AAA", mso)["rsi14_15m"] == one(quarter, "AAA", closed)["rsi14"]
        assert one(fine, "AAA", mso)["adx14_15m"] == one(quarter, "AAA", closed)["adx14_15m"]
    assert one(quarter, "AAA", 75)["ema21_1h"] == one(hour, "AAA", 60)["ema21"]
    assert one(quarter, "AAA", 45)["atr14_5m"] == one(fine, "AAA", 45)["atr14"]
    before = features(market, "15m", date(2024, 12, 4))
    assert one(fine, "AAA", 5)["close_15m"] == one(before, "AAA", 390)["close"]


def test_coarse_rows_take_finer_columns_from_their_own_bars_and_say_so(market):
    row = one(features(market, "1h", date(2024, 12, 5)), "AAA", 120)
    assert row["inputs_substituted"] == substituted_inputs("1h")
    assert {"rsi14_5m", "atr14_15m", "adx14_15m", "trend_state"} <= set(row["inputs_substituted"])
    assert "rsi14_1h" not in row["inputs_substituted"]
    assert row["rsi14_5m"] == row["rsi14_15m"] == row["rsi14"] == row["rsi14_1h"]
    assert substituted_inputs("15m") == substituted_inputs("5m") == substituted_inputs("1m") == []
    assert "ema21_1h" in substituted_inputs("1d")


def test_a_daily_row_knows_nothing_of_the_inside_of_its_session(market):
    row = features(market, "1d", date(2024, 12, 5)).row(0, named=True)
    inside = (
        "session_high",
        "session_low",
        "session_open",
        "vwap",
        "rvol",
        "or_high",
        "day_range_pos",
        "vwap_dist_pct",
    )
    assert [row[name] for name in inside] == [None] * len(inside)
    assert row["prev_close"] is not None


def test_clock_hours_from_an_hour_file_have_no_opening_range_but_their_own_levels():
    day = date(2024, 12, 5)
    opened = calendar.session(day).open
    ends = [30, 90, 150, 210, 270, 330, 390]
    starts = [0, *ends[:-1]]
    days = [*volume_sessions(day)[-12:], day]
    rows = {
        "symbol": ["SPY"] * 7 * 13,
        "session": [d for d in days for _ in ends],
        "bar_start": [calendar.session(d).open + timedelta(minutes=m) for d in days for m in starts],
        "bar_end": [calendar.session(d).open + timedelta(minutes=m) for d in days for m in ends],
        **{name: [100.0 + n % 5 + {"high": 1, "low": -1}.get(name, 0) for n in range(7 * 13)] for name in PRICES},
        "volume": [100.0] * 84 + [300.0] * 7,
    }
    found = features(contract_bars(rows, "1h"), "1h", day)
    assert found["minutes_since_open"].to_list() == ends
    assert found["rvol"].to_list() == [3.0] * 7
    assert found["or_high"].null_count() == 7
    assert found["session_high"][-1] == 105.0
    assert found["prev_close"][0] == 100.0 + 83 % 5
    assert found["bar_start"][0] == opened


def test_nothing_earlier_changes_when_later_rows_are_cut_multiplied_or_emptied(market):
    day = date(2024, 12, 5)
    now = calendar.session(day).open + timedelta(minutes=120, seconds=2)
    later = pl.col("available_at") > now
    grown = {name: pl.when(later).then(pl.col(name) * 10).otherwise(pl.col(name)) for name in (*PRICES, "volume")}
    unknown = {name: pl.when(~later).then(pl.col(name)) for name in ("volume", "vwap", "coverage_pct")}
    changed = {
        "cut": market.filter(~later),
        "multiplied": market.with_columns(**grown),
        "emptied": market.with_columns(**unknown),
    }
    for timeframe in ("5m", "15m", "1h"):
        known = pl.col("available_at") <= now
        expected = features(market, timeframe, day).filter(known)
        assert expected.height > 0
        for what, bars in changed.items():
            assert features(bars, timeframe, day).filter(known).equals(expected), (timeframe, what)


def test_order_of_rows_and_unrelated_symbols_do_not_matter(market):
    day = date(2024, 12, 5)
    expected = features(market, "15m", day)
    assert features(market.sample(fraction=1.0, shuffle=True, seed=1), "15m", day).equals(expected)
    alone = INSTRUMENTS.filter(pl.col("symbol") == "AAA")
    fewer = compute_features(market.filter(pl.col("symbol") == "AAA"), "15m", [day], NO_ACTIONS, alone)
    assert fewer.equals(expected.filter(pl.col("symbol") == "AAA"))
    unlisted = compute_features(market, "15m", [day], NO_ACTIONS, alone)
    assert unlisted.equals(fewer)


def test_prints_outside_regular_hours_reach_no_row(market):
    day = date(2024, 12, 4)
    after = calendar.session(day).close + timedelta(minutes=9)
    columns = {"symbol": ["AAA"], "session": [day], "bar_start": [after], "bar_end": [after + timedelta(minutes=1)]}
    stale = contract_bars({**columns, **{name: [1.0] for name in PRICES}, "segment": ["post"]}, "1m")
    for timeframe in ("1m", "15m"):
        expected = features(market, timeframe, day, date(2024, 12, 5))
        assert features(pl.concat([market, stale]), timeframe, day, date(2024, 12, 5)).equals(expected)


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h", "1d"])
def test_1_5_and_20_sessions_at_a_time_give_the_same_bytes(market, timeframe):
    days = calendar.sessions_between(date(2024, 11, 7), LAST)
    assert len(days) == 21
    # A split in the look-back makes every share basis matter.
    actions = splits(("AAA", date(2024, 10, 15), 3.0))
    whole = features(market, timeframe, *days, actions=actions)
    for size in (1, 5, 20):
        chunks = [features(market, timeframe, *days[n : n + size], actions=actions) for n in range(0, 21, size)]
        assert pl.concat(chunks).sort("symbol", "bar_end").equals(whole)


def test_minute_rows_do_not_depend_on_the_cut_either(market):
    days = [date(2024, 10, 31), date(2024, 11, 1)]
    whole = features(market, "1m", *days)
    assert pl.concat([features(market, "1m", day) for day in days]).sort("symbol", "bar_end").equals(whole)


def test_bars_that_are_not_needed_change_nothing(market):
    day = date(2024, 12, 5)
    assert compute_features(market, "15m", [day], NO_ACTIONS, INSTRUMENTS).equals(features(market, "15m", day))


def scaled(bars: pl.DataFrame, factor: float) -> pl.DataFrame:
    return bars.with_columns(pl.col(name) * factor for name in (*PRICES, "vwap"))


def assert_same(found: pl.Series, expected: pl.Series, tolerance: float) -> None:
    assert found.is_null().to_list() == expected.is_null().to_list(), found.name
    worst = (found - expected).abs().max()
    assert worst is None or worst <= tolerance, (found.name, worst)


DOLLARS = [
    name
    for name, doc in FEATURES.column_docs.items()
    if doc.split(";")[0].endswith("$") and FEATURES.polars_schema[name] == pl.Float64 and name != "adv20_usd"
]  # fmt: skip


@pytest.mark.parametrize("factor", [0.01, 64.0])
def test_scaling_prices_scales_prices_and_nothing_else(market, factor):
    day = date(2024, 12, 5)
    expected, found = features(market, "15m", day), features(scaled(market, factor), "15m", day)
    assert len(DOLLARS) >= 25
    for name, kind in FEATURES.polars_schema.items():
        if name in DOLLARS:
            assert_same(found[name] / factor, expected[name], 1e-9)
        elif name == "adv20_usd":
            assert (found[name] / factor).to_list() == pytest.approx(expected[name].to_list(), rel=1e-12)
        elif kind == pl.Float64:
            assert_same(found[name], expected[name], 1e-7)
        else:
            assert found[name].to_list() == expected[name].to_list(), name


# Column "Mirror" of detectors.md section 2, for what this stage computes. The rest stays as it is.
SWAPPED = [
    ("high", "low"), ("session_high", "session_low"), ("prior_high", "prior_low"), ("or_high", "or_low"),
    ("range_high_20", "range_low_20"), ("swing_high", "swing_low"),
]  # fmt: skip
REFLECTED = (
    "open", "close", "prev_bar_close", "session_open", "prev_close", "vwap", "ema21", "ema50", "ema200", "close_15m",
    "ema21_15m", "ema50_15m", "ema21_1h", "ema50_1h",
)  # fmt: skip
NEGATED = ("mom3_pct", "gap_pct", "session_move_pct", "vwap_dist_pct", "rsi14_delta")
COMPLEMENT = ("day_range_pos", "rsi14", "rsi14_5m", "rsi14_15m", "rsi14_1h")
EXCHANGED = [("higher_lows", "lower_highs"), ("rsi_div_bull", "rsi_div_bear")]
UNCHANGED = (
    "volume", "atr14", "atr14_5m", "atr14_15m", "atr14_1h", "atr14_1d", "atr_1d_pct", "atr_pct_15m", "atr_ratio_15m",
    "adx14_15m", "rvol", "adv20_shares",
)  # fmt: skip
OPPOSITE = {"trending_up": "trending_down", "trending_down": "trending_up"}


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h"])
def test_a_market_reflected_about_the_previous_close_gives_the_mirrored_row(market, timeframe):
    day = date(2024, 12, 5)
    expected = features(market, timeframe, day).filter(pl.col("symbol") == "AAA")
    pivot = expected["prev_close"][0]
    reflected = market.with_columns(
        open=2 * pivot - pl.col("open"),
        high=2 * pivot - pl.col("low"),
        low=2 * pivot - pl.col("high"),
        close=2 * pivot - pl.col("close"),
        vwap=2 * pivot - pl.col("vwap"),
    )
    found = features(reflected, timeframe, day).filter(pl.col("symbol") == "AAA")
    for left, right in (*SWAPPED, *(pair[::-1] for pair in SWAPPED)):
        assert_same(2 * pivot - found[left], expected[right], 1e-9)
    for left, right in (*EXCHANGED, *(pair[::-1] for pair in EXCHANGED)):
        if found[left].dtype == pl.Boolean:
            assert found[left].to_list() == expected[right].to_list()
        else:
            assert_same(found[left], expected[right], 1e-7)
    for name in REFLECTED:
        assert_same(2 * pivot - found[name], expected[name], 1e-9)
    for name in NEGATED:
        assert_same(-found[name], expected[name], 1e-7)
    for name in COMPLEMENT:
        assert_same(100 - found[name], expected[name], 1e-7)
    for name in UNCHANGED:
        assert_same(found[name], expected[name], 1e-7)
    states = [OPPOSITE.get(state, state) for state in found["trend_state"]]
    assert states == expected["trend_state"].to_list()
    assert found["patient_candle"].to_list() == expected["patient_candle"].to_list()


def test_a_split_moves_no_ratio_and_puts_yesterday_on_todays_basis(market):
    day = date(2024, 12, 5)
    expected = features(market, "15m", day).filter(pl.col("symbol") == "AAA")
    after = (pl.col("symbol") == "AAA") & (pl.col("session") >= day)
    divided = market.with_columns(
        *(pl.when(after).then(pl.col(name) / 4).otherwise(pl.col(name)).alias(name) for name in (*PRICES, "vwap")),
        volume=pl.when(after).then(pl.col("volume") * 4).otherwise("volume"),
    )
    found = features(divided, "15m", day, actions=splits(("AAA", day, 4.0))).filter(pl.col("symbol") == "AAA")
    for name, kind in FEATURES.polars_schema.items():
        if name in DOLLARS:
            assert_same(found[name] * 4, expected[name], 1e-9)
        elif name in ("volume", "adv20_shares"):
            assert (found[name] / 4).to_list() == pytest.approx(expected[name].to_list(), rel=1e-12)
        elif kind == pl.Float64:
            assert_same(found[name], expected[name], 1e-5 if name == "adv20_usd" else 1e-7)


def test_a_future_split_is_invisible_and_an_unannounced_one_only_silences(market):
    day = date(2024, 12, 4)
    expected = features(market, "15m", day)
    assert features(market, "15m", day, actions=splits(("AAA", date(2024, 12, 5), 4.0))).equals(expected)
    # Effective on the day, but known only on the next: the row must not use it.
    late = splits(("AAA", day, 4.0)).with_columns(available_at=pl.lit(calendar.session(LAST).open))
    assert features(market, "15m", day, actions=late).equals(expected)


def test_a_ticker_that_jumps_without_a_split_has_no_previous_close_that_day(market):
    day = date(2024, 12, 5)
    after = (pl.col("symbol") == "AAA") & (pl.col("session") >= day)
    halved = market.with_columns(
        pl.when(after).then(pl.col(name) / 2).otherwise(pl.col(name)).alias(name) for name in (*PRICES, "vwap")
    )
    rows = features(halved, "15m", day, LAST).filter(pl.col("symbol") == "AAA")
    first, second = rows.filter(pl.col("session") == day), rows.filter(pl.col("session") == LAST)
    for name in ("prev_close", "gap_pct", "vwap_dist_pct", "ema21", "rsi14_1h", "trend_state", "range_high_20"):
        assert first[name].null_count() >= 20, name
    assert second["prev_close"].null_count() == 0
    assert second["ema50"].null_count() == 26


def test_a_bad_print_is_flagged_and_moves_no_level(market):
    day = date(2024, 12, 5)
    opened = calendar.session(day).open
    struck = (pl.col("symbol") == "AAA") & (pl.col("bar_start") == opened + timedelta(minutes=60))
    spoiled = market.with_columns(low=pl.when(struck & (pl.col("timeframe") == "15m")).then(0.01).otherwise("low"))
    expected, found = (features(bars, "15m", day) for bars in (market, spoiled))
    assert one(found, "AAA", 75)["bar_flags"] == ["bad_low"]
    assert one(expected, "AAA", 75)["bar_flags"] == []
    for mso in (75, 120):
        assert one(found, "AAA", mso)["session_low"] >= one(expected, "AAA", mso)["session_low"]
        assert one(found, "AAA", mso)["session_low"] > one(found, "AAA", mso)["prev_close"] * 0.9


TREND_ANSWERS = [  # detectors.md section 2.1: adx, close, ema21, ema50, ratio, atr% -> state
    ((30, 101, 100.5, 100, 1.1, 0.3), "trending_up"),
    ((30, 99, 99.5, 100, 1.1, 0.3), "trending_down"),
    ((30, 101, 100.5, 100, 2.0, 0.3), "volatile"),
    ((18, 100, 100, 100, 1.2, 0.2), "choppy"),
    ((18, 100, 100, 100, 1.1, 0.49), "ranging"),
    ((30, 100.2, 100.5, 100, 1, 0.3), "ranging"),
    ((None, 101, 100.5, 100, 1.1, 0.3), None),
]


@pytest.mark.parametrize(("values", "state"), TREND_ANSWERS)
def test_trend_states_of_the_specification(values, state):
    names = ("adx14_15m", "close_15m", "ema21_15m", "ema50_15m", "atr_ratio_15m", "atr_pct_15m")
    row = pl.DataFrame({name: [value] for name, value in zip(names, values, strict=True)}, schema_overrides={
        name: pl.Float64 for name in names
    })  # fmt: skip
    assert row.select(trend_state()).item() == state


def test_look_back_starts_are_calendar_dates_that_leave_room_for_every_warm_up():
    day = date(2024, 3, 1)
    starts = {name: lookback_start(name, day) for name in ("1m", "5m", "15m", "1h", "4h", "1d")}
    assert starts == {
        "1m": date(2024, 2, 1),
        "5m": date(2024, 2, 1),
        "15m": date(2024, 1, 1),
        "1h": date(2023, 1, 1),
        "4h": date(2022, 1, 1),
        "1d": date(2020, 1, 1),
    }
    # EMA200 needs 891 bars: the shortest look-back of any session must hold them.
    bars_a_session = {"1m": 390, "5m": 78, "15m": 26, "1h": 7, "4h": 2, "1d": 1}
    firsts = [date(year, month, 1) for year in range(2003, 2028) for month in range(1, 13)]
    for name, count in bars_a_session.items():
        shortest = min(
            len(calendar.sessions_between(lookback_start(name, first), calendar.next_session(first)))
            for first in firsts
        )
        assert (shortest - 2) * count >= 891, name
    with pytest.raises(PipelineError, match="1w"):
        lookback_start("1w", day)


def test_no_session_and_no_bar_give_an_empty_frame_of_the_contract(market):
    assert compute_features(market, "15m", [], NO_ACTIONS, INSTRUMENTS).equals(FEATURES.empty())
    nothing = compute_features(HISTORICAL_BARS.empty(), "15m", [date(2024, 12, 5)], NO_ACTIONS, INSTRUMENTS)
    assert nothing.equals(FEATURES.empty())


def test_real_minutes_of_shy_keep_their_place_in_the_session_across_the_dst_change(shared_data):
    days = [date(2008, 3, 7), date(2008, 3, 10)]
    files = [shared_data / f"us_stocks_sip/minute_aggs_v1/2008/03/{day}.csv.gz" for day in days]
    table = pl.concat(pl.read_csv(file, schema_overrides={"volume": pl.Float64}) for file in files)
    stamp = pl.from_epoch("window_start", "ns").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    table = table.filter(pl.col("ticker") == "SHY").with_columns(bar_start=stamp)
    table = table.with_columns(
        session=pl.col("bar_start").dt.convert_time_zone("America/New_York").dt.date(),
        bar_end=pl.col("bar_start") + timedelta(minutes=1),
        symbol="ticker",
    )
    inside = pl.any_horizontal(
        (pl.col("bar_start") >= calendar.session(day).open) & (pl.col("bar_end") <= calendar.session(day).close)
        for day in days
    )
    minutes = contract_bars(table.filter(inside).drop("ticker", "window_start", "transactions").to_dict(), "1m")
    bars = pl.concat([minutes, *(resample(minutes, name) for name in ("5m", "15m", "1h", "1d"))])
    rows = compute_features(bars, "15m", days, NO_ACTIONS, instruments_frame([instrument("SHY")]))
    assert rows["is_regular_hours"].all()
    for day in days:
        found = rows.filter(pl.col("session") == day)["minutes_since_open"].to_list()
        assert set(found) <= set(range(15, 391, 15))
        assert (min(found), max(found)) == (15, 390)
    # 14:30 UTC before the change, 13:30 UTC after it.
    assert [hour for hour in rows.group_by("session").agg(pl.col("bar_start").min()).sort("session")[
        "bar_start"
    ].dt.hour()] == [14, 13]  # fmt: skip


def test_real_hours_hold_no_trace_of_the_bad_prints(shared_data):
    raw = pl.concat([real_bars(shared_data, "hour"), real_bars(shared_data, "day")])
    listed = instruments_frame([instrument("AAPL")])
    day = date(2011, 1, 3)
    days = calendar.sessions_between(day, date(2011, 1, 7))
    rows = compute_features(raw, "1h", days, real_splits(shared_data), listed)
    # AAPL traded between 322.56 and 337 that week; the file has a low of 32.65 at 13:00 on the 3rd.
    lows = ("low", "session_low", "range_low_20", "swing_low", "prior_low")
    assert min(rows[name].min() for name in lows) > 317.0
    assert rows.filter(pl.col("bar_flags").list.len() > 0).select("session", "minutes_since_open").rows() == [
        (day, 270)
    ]
    assert math.isclose(rows["prev_close"][0], 322.56)
    assert rows["atr14_1d"].max() < 8.0
    assert rows["ema200"].null_count() == 0
