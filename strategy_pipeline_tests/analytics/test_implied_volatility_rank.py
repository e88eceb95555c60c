"""Rank, percentile and bands of volatility: known answers, windows and gaps, monotony and invariance."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.implied_volatility_rank import (
    history_status,
    iv_percentile_cache,
    iv_regime,
    iv_trend,
    rank_in,
)
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import IV_PERCENTILE_CACHE, IV_REGIMES
from strategy_pipeline.market.calendar import session, session_offset, sessions_between
from strategy_pipeline_tests.analytics.chain_frames import daily_frame, daily_row

DAYS = sessions_between(date(2014, 1, 2), date(2015, 12, 31))
TODAY = DAYS[300]
windows = st.lists(st.integers(100, 900), min_size=2, max_size=60).map(lambda values: np.array(values) / 1000)


def test_rank_and_percentile_are_not_the_same():
    # quant_methods.md section 14: lowest 10, highest 80, now 25.
    window = np.array([10.0, 20.0, 24.0, 25.0, 80.0])
    found = rank_in(window, 25.0)
    assert found.rank_pct == pytest.approx(21.428571, abs=5e-7)
    # Three of five below and one equal: 100 x 3.5 / 5.
    assert found.percentile_pct == 70.0
    assert not found.clipped


# context_engines.md section 2: 252 values from .100 to .351.
@pytest.mark.parametrize(
    ("now", "percentile", "rank", "clipped", "band"),
    [
        (0.200, 39.8810, 39.8406, False, "NORMAL"),
        (0.120, 8.1349, 7.9681, False, "EXTREMELY_LOW"),
        (0.351, 99.8016, 100.0, False, "EXTREMELY_HIGH"),
        (0.360, 100.0, 100.0, True, "EXTREMELY_HIGH"),
    ],
)
def test_a_year_of_rising_values_ranks_today(now, percentile, rank, clipped, band):
    found = rank_in(np.arange(100, 352) / 1000.0, now)
    assert found.percentile_pct == pytest.approx(percentile, abs=5e-5)
    assert found.rank_pct == pytest.approx(rank, abs=5e-5)
    assert found.clipped is clipped
    assert iv_regime(found.percentile_pct) == band


def test_a_value_outside_the_window_is_clipped_and_says_so():
    window = np.array([0.2, 0.3])
    assert (rank_in(window, 0.4).rank_pct, rank_in(window, 0.4).clipped) == (100.0, True)
    assert (rank_in(window, 0.1).rank_pct, rank_in(window, 0.1).clipped) == (0.0, True)
    assert rank_in(window, 0.3).clipped is False


def test_a_window_without_a_range_has_a_percentile_and_no_rank():
    found = rank_in(np.full(5, 0.2), 0.2)
    assert (found.rank_pct, found.zscore, found.percentile_pct) == (None, None, 50.0)


def test_values_that_agree_to_six_decimals_are_equal():
    assert rank_in(np.array([0.2000001, 0.3]), 0.2000004).percentile_pct == 25.0


@settings(max_examples=50, deadline=None)
@given(windows, st.integers(50, 950), st.integers(50, 950))
def test_rank_and_percentile_do_not_fall_when_volatility_rises(window, first, second):
    low, high = (rank_in(window, value / 1000) for value in sorted((first, second)))
    assert low.percentile_pct <= high.percentile_pct
    if low.rank_pct is not None:
        assert low.rank_pct <= high.rank_pct


@settings(max_examples=50, deadline=None)
@given(windows, st.integers(50, 950), st.sampled_from([0.5, 2.0, 10.0]), st.sampled_from([0.0, 0.25]))
def test_rank_survives_affine_maps_and_percentile_every_rising_map(window, now, scale, shift):
    value = now / 1000
    plain, mapped = rank_in(window, value), rank_in(scale * window + shift, scale * value + shift)
    assert mapped.rank_pct == pytest.approx(plain.rank_pct, abs=1e-6)
    assert rank_in(np.exp(3 * window), float(np.exp(3 * value))).percentile_pct == plain.percentile_pct


@pytest.mark.parametrize(
    ("percentile", "band"),
    [(0, "EXTREMELY_LOW"), (9.99, "EXTREMELY_LOW"), (10, "LOW"), (20, "NORMAL"), (59.9, "NORMAL"), (60, "ELEVATED"),
     (80, "HIGH"), (90, "EXTREMELY_HIGH"), (100, "EXTREMELY_HIGH")],
)  # fmt: skip
def test_bands_are_closed_on_the_left(percentile, band):
    assert iv_regime(percentile) == band
    assert band in IV_REGIMES


@pytest.mark.parametrize(
    ("change", "trend"), [(10.0, "STABLE"), (10.01, "EXPANDING"), (-10.0, "STABLE"), (-10.01, "CONTRACTING")]
)
def test_a_trend_is_a_change_beyond_ten_per_cent(change, trend):
    assert iv_trend(change) == trend


@pytest.mark.parametrize(
    ("count", "status"),
    [
        (252, "ok"),
        (202, "ok"),
        (201, "short_history"),
        (126, "short_history"),
        (125, "insufficient"),
        (0, "insufficient"),
    ],
)
def test_the_number_of_sessions_decides_the_status(count, status):
    known = np.zeros(252, dtype=bool)
    known[252 - count :] = True
    assert history_status(known) == status


def test_five_sessions_without_a_value_are_a_gap_and_six_are_too_many():
    known = np.ones(252, dtype=bool)
    known[100:105] = False
    assert history_status(known) == "ok"
    known[105] = False
    assert history_status(known) == "insufficient"
    behind = np.ones(252, dtype=bool)
    behind[-6:] = False
    assert history_status(behind) == "insufficient"


def history(values: dict[date, float | None], **columns: object) -> pl.DataFrame:
    return daily_frame([daily_row(day, iv, **columns) for day, iv in values.items()])


def one(frame: pl.DataFrame, day: date = TODAY) -> dict[str, object]:
    return conform(IV_PERCENTILE_CACHE, iv_percentile_cache(frame, [day])).row(0, named=True)


def wave(days: list[date]) -> dict[date, float | None]:
    return {day: 0.2 + 0.05 * float(np.sin(DAYS.index(day) / 9)) for day in days}


def test_the_window_is_the_252_sessions_before_and_not_the_session_itself():
    values = dict.fromkeys(DAYS[:301], 0.2)
    values[DAYS[47]] = 9.0  # one session too old
    values[DAYS[48]] = 0.1
    values[DAYS[299]] = 0.4
    values[TODAY] = 0.3
    row = one(history(values))
    assert (row["iv_252d_low"], row["iv_252d_high"], row["n_history"]) == (0.1, 0.4, 252)
    assert row["iv_rank_pct"] == pytest.approx(100 * 0.2 / 0.3)
    # 251 of 252 lie below.
    assert row["iv_percentile_pct"] == pytest.approx(100 * 251 / 252)
    assert row["iv_regime"] == "EXTREMELY_HIGH"
    assert row["iv_252d_median"] == 0.2


def test_a_value_that_crosses_in_time_is_ranked_and_never_part_of_a_window():
    values = wave(DAYS[:302])
    rows = [daily_row(day, iv) for day, iv in values.items()]
    rows[300] |= {"cm30_atm_iv": 5.0, "cm30_status": "calendar_arb"}
    daily = daily_frame(rows)
    today, tomorrow = one(daily), one(daily, DAYS[301])
    assert today["iv_percentile_pct"] == 100.0
    assert today["iv_change_20d_pct"] is None
    assert tomorrow["iv_252d_high"] < 1.0
    assert tomorrow["n_history"] == 251


def test_changes_are_taken_against_the_session_five_and_twenty_before():
    values = dict.fromkeys(DAYS[:301], 0.2)
    values[DAYS[295]], values[DAYS[280]], values[TODAY] = 0.25, 0.25, 0.3
    row = one(history(values))
    assert row["iv_change_5d_pct"] == pytest.approx(20.0)
    assert row["iv_change_20d_pct"] == pytest.approx(20.0)
    assert row["iv_trend"] == "EXPANDING"
    del values[DAYS[280]]
    row = one(history(values))
    assert (row["iv_change_20d_pct"], row["iv_trend"]) == (None, None)


def test_a_young_history_has_values_without_ranks():
    row = one(history(wave(DAYS[200:301])))
    assert (row["history_status"], row["n_history"]) == ("insufficient", 100)
    assert [row[name] for name in ("iv_rank_pct", "iv_percentile_pct", "iv_regime", "iv_252d_mean")] == [None] * 4
    assert row["cm30_atm_iv"] is not None
    assert row["iv_trend"] is not None


def test_the_variance_premium_is_in_variance_units():
    rows = [daily_row(day, iv) for day, iv in wave(DAYS[:301]).items()]
    rows[300] |= {"cm30_atm_iv": 0.25, "rv21": 0.2, "rv_status": "ok"}
    assert one(daily_frame(rows))["vrp_var"] == pytest.approx(0.0225)
    assert one(history(wave(DAYS[:301])))["vrp_var"] is None


def test_skew_has_a_percentile_of_its_own():
    rows = [
        daily_row(day, 0.2, rr25=0.001 * (n % 100), fly25=0.0, skew_status="ok") for n, day in enumerate(DAYS[:301])
    ]
    rows[300] |= {"rr25": 0.0495}
    # 252 values from n = 48: 48..99 (2 of them below 49.5), 0..99 (50), 0..99 (50) in thousandths.
    assert one(daily_frame(rows))["skew_percentile_pct"] == pytest.approx(100 * 102 / 252)


def test_later_sessions_change_no_byte_and_neither_does_the_cut_of_a_backfill():
    daily = history(wave(DAYS[:400]))
    days = DAYS[280:330]
    whole = iv_percentile_cache(daily, days)
    known = iv_percentile_cache(daily.filter(pl.col("session") <= DAYS[300]), days[:21])
    assert known.equals(whole.filter(pl.col("session") <= DAYS[300]))
    chunks = [
        iv_percentile_cache(daily.filter(pl.col("session").is_between(session_offset(day, -252), day)), [day])
        for day in days
    ]
    assert pl.concat(chunks).equals(whole)


def test_a_row_is_known_when_the_newest_row_of_its_window_is():
    rows = [daily_row(day, iv) for day, iv in wave(DAYS[:301]).items()]
    assert one(daily_frame(rows))["available_at"] == session(TODAY).close + timedelta(seconds=2)
    late = session(TODAY).close + timedelta(days=3)
    rows[200] |= {"available_at": late}
    assert one(daily_frame(rows))["available_at"] == late


def test_percentiles_are_on_a_scale_to_one_hundred():
    rows = iv_percentile_cache(history(wave(DAYS[:400])), DAYS[260:400])
    for name in ("iv_rank_pct", "iv_percentile_pct"):
        assert rows[name].max() > 1.0
        assert rows[name].is_between(0, 100).all()


def test_every_band_and_every_trend_is_reached():
    generator = np.random.default_rng(11)
    level = 0.2 * np.exp(0.3 * np.sin(np.arange(len(DAYS)) / 15) + generator.normal(0, 0.03, len(DAYS)))
    rows = iv_percentile_cache(history(dict(zip(DAYS, level.tolist(), strict=True))), DAYS[202:])
    assert set(rows["iv_regime"].drop_nulls()) == set(IV_REGIMES)
    assert set(rows["iv_trend"].drop_nulls()) == {"EXPANDING", "CONTRACTING", "STABLE"}
    assert set(rows["history_status"]) == {"ok"}
