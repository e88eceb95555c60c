"""Both sides of every bound of every gate (detectors.md sections 4.1, 8), for the long detector and its twin."""

import pytest

from strategy_pipeline.detectors.evaluate import evaluate
from strategy_pipeline_tests.detectors.known_rows import (
    BREAKOUT,
    DRIVE,
    FIRED,
    FLIP,
    INDEX_REVERSION,
    INSTITUTIONS,
    PIN,
    POWER,
    REVERSION,
    SQUEEZE,
    SWEEPS,
    T2,
    TREND,
)
from strategy_pipeline_tests.detectors.rows import Row, detector, frame, mirrored, twin_of

# Rows on which each conjunct alone decides. 1e-8 is visible at nine decimals, 1e-10 is not.
BOUNDS: dict[str, list[tuple[Row, bool]]] = {
    BREAKOUT: [
        ({"close": 101.8}, False),
        ({"close": 101.8 + 1e-10}, False),
        ({"close": 101.8 + 1e-8}, True),
        ({"rvol": 1.2}, False),
        ({"rvol": 1.2 + 1e-8}, True),
        ({"vwap_dist_pct": 0.0}, False),
        ({"vwap_dist_pct": 1e-8}, True),
        ({"is_regular_hours": False}, False),
    ],
    REVERSION: [
        ({"rsi14": 30.0}, False),
        ({"rsi14": 30.0 - 1e-10}, False),
        ({"rsi14": 30.0 - 1e-8}, True),
        ({"vwap_dist_pct": -0.5}, False),
        ({"vwap_dist_pct": -0.5 - 1e-8}, True),
        ({"ema21": 98.6}, True),  # 1.6 / 0.8 = 2.0 exactly on paper
        ({"ema21": 98.6 - 1e-8}, False),
        ({"rvol": 1.2}, True),
        ({"rvol": 1.2 - 1e-8}, False),
        ({"trend_state": "trending_down"}, False),
        ({"trend_state": "trending_up"}, True),
        ({"trend_state": None}, False),
        ({"atr14": 0.0}, False),
        ({"is_regular_hours": False}, False),
    ],
    TREND: [
        ({"trend_state": "trending_down"}, False),
        ({"trend_state": "ranging"}, False),
        ({"ema21": 102.0}, True),
        ({"ema21": 102.0 + 1e-8}, False),
        ({"ema21": 101.0}, True),
        ({"ema21": 101.0 - 1e-8}, False),
        ({"ema21": 101.0, "atr14": 0.4}, False),  # 1.0 / 0.4 = 2.5 ATR
        ({"ema21": 101.2, "atr14": 0.4}, True),  # 0.8 / 0.4 = 2 ATR
        ({"ema21": 101.2 - 1e-8, "atr14": 0.4}, False),
        ({"ema50": 101.4}, True),
        ({"ema50": 101.4 + 1e-8}, False),
        ({"rsi14": 45.0}, True),
        ({"rsi14": 45.0 - 1e-8}, False),
        ({"rsi14": 60.0}, True),
        ({"rsi14": 60.0 + 1e-8}, False),
        ({"rvol": 0.8}, True),
        ({"rvol": 0.8 - 1e-8}, False),
        ({"atr14": 0.0}, False),
        ({"is_regular_hours": False}, False),
    ],
    POWER: [
        ({"minutes_to_close": 60}, True),
        ({"minutes_to_close": 61}, False),
        ({"minutes_to_close": 0}, True),
        ({"minutes_to_close": -1}, False),
        ({"close": 98.5}, True),
        ({"close": 98.5 + 1e-8}, False),
        ({"rsi14": 40.0}, True),
        ({"rsi14": 40.0 + 1e-8}, False),
        ({"rvol": 1.2}, True),
        ({"rvol": 1.2 - 1e-8}, False),
        ({"is_regular_hours": False}, False),
    ],
    INDEX_REVERSION: [
        ({"rsi14": 25.0}, False),
        ({"rsi14": 25.0 - 1e-8}, True),
        ({"vwap_dist_pct": -0.4}, False),
        ({"vwap_dist_pct": -0.4 - 1e-8}, True),
        ({"ema21": 99.22}, True),  # 0.72 / 0.4 = 1.8 exactly on paper
        ({"ema21": 99.22 - 1e-8}, False),
        ({"rvol": 1.0}, True),
        ({"rvol": 1.0 - 1e-8}, False),
        ({"trend_state": "trending_down"}, False),
        ({"is_regular_hours": False}, False),
    ],
    DRIVE: [
        ({"minutes_since_open": 30}, True),
        ({"minutes_since_open": 31}, False),
        ({"session_move_pct": 0.3}, True),
        ({"session_move_pct": 0.1 + 0.2}, True),
        ({"session_move_pct": 0.3 - 1e-8}, False),
        ({"rvol": 1.5}, True),
        ({"rvol": 1.5 - 1e-8}, False),
        ({"is_regular_hours": False}, False),
    ],
    SQUEEZE: [
        ({"close": 101.0}, False),  # 0.5 % from the strike
        ({"close": 101.0 - 1e-8}, True),
        ({"close": 100.0}, False),
        ({"close": 100.0 + 1e-8}, True),
        ({"net_gex_ratio": -0.1}, True),
        ({"net_gex_ratio": -0.1 + 1e-8}, False),
        ({"net_gex_ratio": 0.6}, False),
        ({"rvol": 1.3}, True),
        ({"rvol": 1.3 - 1e-8}, False),
        ({"minutes_to_close": 90}, True),
        ({"minutes_to_close": 91}, False),
        ({"vwap_dist_pct": 0.0}, False),
        ({"vwap_dist_pct": 1e-8}, True),
        ({"mom3_pct": 0.0}, False),
        ({"mom3_pct": 1e-8}, True),
        ({"is_regular_hours": False}, False),
    ],
    FLIP: [
        ({"is_0dte": False}, False),
        ({"prev_bar_close": 100.1}, False),
        ({"prev_bar_close": 100.1 - 1e-10}, False),
        ({"prev_bar_close": 100.1 - 1e-8}, True),
        ({"close": 100.1}, False),
        ({"close": 100.1 + 1e-8}, True),
        ({"minutes_to_close": 180}, True),
        ({"minutes_to_close": 181}, False),
        ({"is_regular_hours": False}, False),
    ],
    PIN: [
        ({"is_0dte": False}, False),
        ({"minutes_to_close": 30}, True),
        ({"minutes_to_close": 31}, False),
        ({"close": 100.0}, False),
        ({"close": 100.0 - 1e-10}, False),
        ({"close": 100.0 - 1e-8}, True),
        ({"close": 100.0 + 1e-8}, True),
        ({"close": 99.5}, False),
        ({"close": 99.5 + 1e-8}, True),
        ({"close": 100.5}, False),
        ({"oi_at_pin": 5_000}, True),
        ({"oi_at_pin": 4_999}, False),
        ({"is_regular_hours": False}, False),
    ],
    SWEEPS: [
        ({"flow_bias": "neutral"}, False),
        ({"flow_bias": "bearish"}, False),
        ({"flow_sweeps_bull": 2}, True),
        ({"flow_sweeps_bull": 1}, False),
        ({"flow_score": 70.0}, True),
        ({"flow_score": 70.0 - 1e-8}, False),
        ({"flow_buy_pressure_pct": 60.0}, True),
        ({"flow_buy_pressure_pct": 60.0 - 1e-8}, False),
        ({"rsi14": 80.0}, True),
        ({"rsi14": 80.0 + 1e-8}, False),
        ({"trend_state": None}, False),
        ({"trend_state": "trending_down"}, False),
        ({"trend_state": "trending_down", "rsi_div_bull": 0.0}, False),
        ({"trend_state": "trending_down", "rsi_div_bull": 0.1}, True),
        ({"trend_state": "volatile"}, True),
        ({"is_regular_hours": False}, False),
    ],
    INSTITUTIONS: [
        ({"flow_bias": "neutral"}, False),
        ({"flow_score": 80.0}, True),
        ({"flow_score": 80.0 - 1e-8}, False),
        ({"flow_sweeps_bull": 5}, True),
        ({"flow_sweeps_bull": 4}, False),
        ({"flow_buy_pressure_pct": 70.0}, True),
        ({"flow_buy_pressure_pct": 70.0 - 1e-8}, False),
        ({"flow_large_pct": 40.0}, True),
        ({"flow_large_pct": 40.0 - 1e-8}, False),
        ({"flow_aggressiveness": "VERY_AGGRESSIVE"}, True),
        ({"flow_aggressiveness": "MODERATE"}, False),
        ({"is_regular_hours": False}, False),
    ],
}
CASES = [
    pytest.param(name, changes, fires, id=f"{name}-{number}")
    for name, cases in BOUNDS.items()
    for number, (changes, fires) in enumerate(cases)
]


@pytest.mark.parametrize(("name", "changes", "fires"), CASES)
def test_a_gate_is_closed_exactly_where_its_bound_says(name: str, changes: Row, fires: bool) -> None:
    values = FIRED[name] | changes
    assert evaluate(detector(name), frame(values))["fired"].to_list() == [fires]
    assert evaluate(twin_of(detector(name)), frame(mirrored(values)))["fired"].to_list() == [fires]


def test_a_close_under_ema50_is_no_pullback_in_a_trend() -> None:
    # e1 >= 0 and e2 >= 0 together already say close >= ema50: the third conjunct can never decide alone.
    on_the_lines = T2 | {"close": 102.0, "ema21": 102.0, "ema50": 102.0}
    assert evaluate(detector(TREND), frame(on_the_lines))["fired"].to_list() == [True]
    under = T2 | {"close": 102.0, "ema21": 102.0, "ema50": 102.0 + 1e-8}
    assert evaluate(detector(TREND), frame(under))["fired"].to_list() == [False]


@pytest.mark.parametrize("name", [POWER, SQUEEZE, FLIP, PIN])
def test_what_happens_before_the_close_happens_on_half_days(name: str) -> None:
    # A half day has 210 minutes: 30 minutes before its close are 180 after its open.
    half_day = FIRED[name] | {"minutes_to_close": 30, "minutes_since_open": 180}
    assert evaluate(detector(name), frame(half_day))["fired"].to_list() == [True]


def test_an_opening_drive_is_never_late() -> None:
    late = FIRED[DRIVE] | {"minutes_since_open": 180, "minutes_to_close": 30}
    assert evaluate(detector(DRIVE), frame(late))["fired"].to_list() == [False]
