"""Both sides of every bound of every gate (detectors.md section 4.1), for the long detector and its mirrored twin."""

import pytest

from strategy_pipeline.detectors.evaluate import evaluate
from strategy_pipeline_tests.detectors.known_rows import (
    BREAKOUT,
    DRIVE,
    FIRED,
    INDEX_REVERSION,
    POWER,
    REVERSION,
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


def test_reversals_in_the_power_hour_happen_on_half_days_and_opening_drives_never_late() -> None:
    # A half day has 210 minutes: 30 minutes before its close are 180 after its open.
    half_day = FIRED[POWER] | {"minutes_to_close": 30, "minutes_since_open": 180}
    assert evaluate(detector(POWER), frame(half_day))["fired"].to_list() == [True]
    late = FIRED[DRIVE] | {"minutes_since_open": 180, "minutes_to_close": 30}
    assert evaluate(detector(DRIVE), frame(late))["fired"].to_list() == [False]
