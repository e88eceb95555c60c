"""Every step of every factor, both sides of each bound where it jumps, typed from detectors.md sections 4.2 and 8.

Factor values are read with the gate open or closed: steps outside the gate serve parameter searches.
"""

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
    TREND,
)
from strategy_pipeline_tests.detectors.rows import Row, detector, frame, mirrored, twin_of

Case = tuple[Row, float]


def each(column: str, pairs: list[tuple[object, float]], **fixed: object) -> list[Case]:
    return [(fixed | {column: value}, expected) for value, expected in pairs]


VOLUME_PROFILE = each("rvol", [(2.0, 100), (1.99, 80), (1.5, 80), (1.49, 65), (1.2, 65), (1.1, 55), (0.4, 20)])
RSI_EXTREME = each(
    "rsi14",
    [(20.0, 100), (20.1, 85), (25.0, 85), (25.1, 70), (30.0, 70), (30.1, 55), (35.0, 55), (40.0, 20), (60.0, 0)],
)
SUITABILITY = each(
    "trend_state",
    [("ranging", 100), ("choppy", 90), ("volatile", 70), ("trending_up", 60), ("trending_down", 20), (None, 50)],
)
DIVERGENCE = each("rsi_div_bull", [(None, 50), (0.0, 50), (60.0, 80), (100.0, 100)])
RSI_MOMENTUM = [
    ({"rsi14_delta": None, "rsi14": 20.0}, 50.0),
    ({"rsi14_delta": 0.1, "rsi14": 34.9}, 90.0),
    ({"rsi14_delta": 0.0, "rsi14": 29.9}, 40.0),
    ({"rsi14_delta": 0.0, "rsi14": 30.0}, 50.0),
    ({"rsi14_delta": 4.0, "rsi14": 35.0}, 70.0),
    ({"rsi14_delta": -4.0, "rsi14": 32.0}, 30.0),
    ({"rsi14_delta": 30.0, "rsi14": 50.0}, 100.0),
    ({"rsi14_delta": -30.0, "rsi14": 50.0}, 0.0),
]
RSI_FRAMES = ("rsi14_5m", "rsi14_15m", "rsi14_1h")


def rsi_frames(*values: float | None) -> Row:
    return dict(zip(RSI_FRAMES, values, strict=True))


def emas(fast_15m: float | None, slow_15m: float | None, fast_1h: float | None, slow_1h: float | None) -> Row:
    return {"ema21_15m": fast_15m, "ema50_15m": slow_15m, "ema21_1h": fast_1h, "ema50_1h": slow_1h}


def flow(bias: str | None, score: float | None = None, sweeps: int | None = None, trend: str | None = None) -> Row:
    return {"flow_bias": bias, "flow_score": score, "flow_sweeps_bull": sweeps, "flow_trend": trend}


CASES: dict[tuple[str, str], list[Case]] = {
    (BREAKOUT, "volume_intensity"): each(
        "rvol", [(4.0, 100), (3.99, 75), (2.5, 75), (2.49, 50), (1.5, 50), (1.4, 13.2), (0.5, 0)]
    ),
    (BREAKOUT, "flow_alignment"): [
        (flow(None), 50),
        (flow("bearish", 99.0, 9), 30),
        (flow("bullish", 70.1), 100),
        (flow("bullish", 70.0), 85),
        (flow("bullish", 60.0), 75),
        (flow("bullish"), 75),
        (flow("neutral", 90.0, 4), 70),
        (flow("neutral", 90.0, 3), 60),
        (flow("neutral"), 60),
    ],
    (BREAKOUT, "vwap_strength"): each(
        "vwap_dist_pct",
        [
            (1.5, 100),
            (1.49, 85),
            (1.0, 85),
            (0.99, 70),
            (0.5, 70),
            (0.49, 60),
            (0.2, 60),
            (0.19, 50),
            (0.0, 50),
            (-0.1, 0),
        ],
    ),
    # Close 102 and prev_close 100: a level 0.3 away is 0.3 %, still near.
    (BREAKOUT, "level_freshness"): [
        ({"or_high": 101.7, "swing_high": 102.3}, 85),
        ({"or_high": 101.7, "swing_high": 101.69}, 70),
        ({"or_high": 102.31, "swing_high": 102.0}, 65),
        ({"or_high": None, "swing_high": None}, 50),
    ],
    (BREAKOUT, "mtf_alignment"): [
        (rsi_frames(50.0, 60.0, 70.0), 100),
        (rsi_frames(49.9, 70.1, 60.0), 100 / 3),
        (rsi_frames(None, 65.0, 80.0), 50),
        (rsi_frames(None, None, 65.0), 100),
        (rsi_frames(20.0, None, None), 0),
        (rsi_frames(None, None, None), 50),
    ],
    (REVERSION, "rsi_extreme"): RSI_EXTREME,
    (REVERSION, "vwap_deviation"): each(
        "vwap_dist_pct",
        [(-1.5, 100), (-1.49, 85), (-1.0, 85), (-0.99, 70), (-0.5, 70), (-0.49, 55), (-0.3, 55), (-0.2, 8), (0.2, 0)],
    ),
    # Close 97, ATR 1: d = ema21 - 97.
    (REVERSION, "atr_deviation"): each(
        "ema21",
        [
            (100.0, 100),
            (99.99, 90),
            (99.5, 90),
            (99.49, 80),
            (99.0, 80),
            (98.99, 70),
            (98.5, 70),
            (98.49, 55),
            (98.0, 55),
            (97.99, 40),
            (90.0, 40),
        ],
        atr14=1.0,
    ),
    (REVERSION, "volume_profile"): VOLUME_PROFILE,
    (REVERSION, "trend_suitability"): SUITABILITY,
    (REVERSION, "divergence"): DIVERGENCE,
    (REVERSION, "rsi_momentum"): RSI_MOMENTUM,
    (REVERSION, "reversal_confirmation"): each("patient_candle", [(True, 80), (False, 50), (None, 50)]),
    # Close 102, ema21 102 - e1, ema50 ema21 - e2 (prev_close 100).
    (TREND, "ema_alignment"): [
        ({"ema21": 101.49, "ema50": 99.48, "ema200": 99.0}, 100),
        ({"ema21": 101.5, "ema50": 99.5, "ema200": 102.0}, 70),
        ({"ema21": 101.74, "ema50": 100.73, "ema200": 102.0}, 70),
        ({"ema21": 101.75, "ema50": 100.75, "ema200": 101.75}, 50),
        ({"ema21": 101.75, "ema50": 100.75, "ema200": None}, 50),
        ({"ema21": 101.75, "ema50": 100.75, "ema200": 101.74}, 60),
    ],
    (TREND, "pullback_quality"): [
        ({"rsi14": 50.0, "vwap_dist_pct": -0.2}, 100),
        ({"rsi14": 55.0, "vwap_dist_pct": 0.5}, 100),
        ({"rsi14": 49.9, "vwap_dist_pct": 0.0}, 85),
        ({"rsi14": 55.1, "vwap_dist_pct": 0.51}, 65),
        ({"rsi14": 52.0, "vwap_dist_pct": -0.21}, 80),
    ],
    (TREND, "volume_confirmation"): each(
        "rvol",
        [
            (0.8, 100),
            (1.5, 100),
            (1.51, 75),
            (2.0, 75),
            (0.79, 75),
            (0.6, 75),
            (2.01, 60),
            (2.5, 60),
            (0.59, 60),
            (0.5, 60),
            (0.49, 40),
            (2.51, 40),
        ],
    ),
    (TREND, "swing_structure"): [
        ({"higher_lows": True, "swing_low": 101.7}, 100),
        ({"higher_lows": True, "swing_low": 101.69}, 90),
        ({"higher_lows": False, "swing_low": 101.8}, 60),
        ({"higher_lows": None, "swing_low": None}, 50),
    ],
    (TREND, "mtf_trend_strength"): [
        (emas(101.0, 100.0, 101.0, 100.0), 100),
        (emas(101.0, 100.0, 100.0, 100.0), 50),
        (emas(99.0, 100.0, 99.0, 100.0), 0),
        (emas(None, 100.0, 101.0, 100.0), 100),
        (emas(None, None, 99.0, 100.0), 0),
        (emas(None, None, 99.0, None), 50),
    ],
    (TREND, "flow_alignment"): [
        (flow(None, 90.0, 9, "INCREASING"), 50),
        (flow("bullish", 70.0, 3, "INCREASING"), 100),
        (flow("bullish", 70.0, 2, "STABLE"), 90),
        (flow("bullish", 69.9, 2, "INCREASING"), 85),
        (flow("bullish", 69.9, 0, "DECREASING"), 75),
        (flow("bullish"), 75),
        (flow("bearish", 70.0, 0, "STABLE"), 15),
        (flow("bearish", 70.0, 3, "DECREASING"), 30),
        (flow("bearish", 69.9, 0, "INCREASING"), 30),
        (flow("neutral", 90.0, 2, "INCREASING"), 50),
        (flow("neutral", 90.0, 3, "INCREASING"), 60),
    ],
    # Low 98, range 10: p = 10 x (close - 98) percent.
    (POWER, "extreme_proximity"): [
        *each(
            "close",
            [
                (98.0, 100),
                (98.5, 100),
                (98.51, 85),
                (99.0, 85),
                (99.01, 70),
                (100.0, 70),
                (100.1, 37),
                (101.0, 10),
                (104.0, 0),
            ],
            session_low=98.0,
            session_high=108.0,
        ),
        ({"close": 98.0, "session_low": 98.0, "session_high": 98.0}, 50),
    ],
    (POWER, "timing"): each("minutes_to_close", [(0, 100), (30, 100), (31, 85), (45, 85), (46, 70), (60, 70)]),
    (POWER, "reversal_confirmation"): each(
        "rsi14", [(25.0, 100), (25.1, 85), (30.0, 85), (30.1, 70), (35.0, 70), (35.1, 55), (40.0, 55), (40.1, 40)]
    ),
    (POWER, "institutional_flow"): [
        ({"flow_bias": None, "flow_blocks_bull": 9, "flow_sweeps_bull": 9}, 50),
        ({"flow_bias": "bullish", "flow_blocks_bull": 3, "flow_sweeps_bull": 3}, 100),
        ({"flow_bias": "bullish", "flow_blocks_bull": 2, "flow_sweeps_bull": 2}, 80),
        ({"flow_bias": "bearish", "flow_blocks_bull": 3, "flow_sweeps_bull": 2}, 60),
        ({"flow_bias": "neutral", "flow_blocks_bull": None, "flow_sweeps_bull": 3}, 60),
        ({"flow_bias": "bearish", "flow_blocks_bull": None, "flow_sweeps_bull": None}, 50),
    ],
    (POWER, "session_move"): each("session_move_pct", [(0.5, 50), (0.0, 50), (-0.5, 70), (-1.25, 100), (-3.0, 100)]),
    (INDEX_REVERSION, "vwap_deviation"): each(
        "vwap_dist_pct", [(-1.5, 100), (-1.0, 85), (-0.5, 70), (-0.3, 55), (-0.2, 10), (0.1, 0)]
    ),
    # Close 98.5, ATR 1: d = ema21 - 98.5.
    (INDEX_REVERSION, "atr_deviation"): each(
        "ema21",
        [
            (101.0, 100),
            (100.99, 90),
            (100.5, 90),
            (100.49, 80),
            (100.0, 80),
            (99.99, 70),
            (99.7, 70),
            (99.69, 55),
            (99.5, 55),
            (99.49, 40),
        ],
        atr14=1.0,
    ),
    (INDEX_REVERSION, "rsi_extreme"): RSI_EXTREME,
    (INDEX_REVERSION, "volume_profile"): VOLUME_PROFILE,
    (INDEX_REVERSION, "trend_suitability"): SUITABILITY,
    (INDEX_REVERSION, "divergence"): DIVERGENCE,
    (INDEX_REVERSION, "rsi_momentum"): RSI_MOMENTUM,
    (INDEX_REVERSION, "time_of_session"): [
        ({"minutes_since_open": 60, "minutes_to_close": 150}, 100),
        ({"minutes_since_open": 59, "minutes_to_close": 331}, 80),
        ({"minutes_since_open": 241, "minutes_to_close": 149}, 80),
        ({"minutes_since_open": 300, "minutes_to_close": 90}, 80),
        ({"minutes_since_open": 29, "minutes_to_close": 361}, 60),
        ({"minutes_since_open": 301, "minutes_to_close": 89}, 60),
    ],
    (DRIVE, "momentum"): each("session_move_pct", [(0.3, 50), (0.65, 75), (1.0, 100), (2.0, 100), (-1.0, 0)]),
    (DRIVE, "volume_intensity"): each("rvol", [(0.0, 0), (1.5, 37.5), (2.0, 50), (4.0, 100), (6.0, 100)]),
    (DRIVE, "flow_alignment"): [
        (flow(None), 50),
        (flow("neutral", 90.0, 9), 50),
        (flow("bearish", 90.0, 9), 30),
        (flow("bullish", 60.1), 100),
        (flow("bullish", 60.0, 4), 90),
        (flow("bullish", 60.0, 3), 75),
        (flow("bullish"), 75),
    ],
    (DRIVE, "overnight_gap"): each(
        "gap_pct", [(None, 50), (0.0, 50), (0.4, 70), (1.0, 100), (3.0, 100), (-0.6, 20), (-2.0, 0)]
    ),
    (DRIVE, "mtf_alignment"): each("mtf_support_long_pct", [(65.0, 100), (64.9, 50), (None, 50)]),
    # Strike 100.5, prev_close 100: 0.1 is 0.1 %.
    (SQUEEZE, "wall_proximity"): each("close", [(100.5, 100), (100.6, 80), (100.4, 80), (100.75, 50), (101.1, 0)]),
    (SQUEEZE, "dealer_short_gamma"): each(
        "net_gex_ratio", [(-1.0, 100), (-0.5, 100), (-0.35, 70), (-0.1, 20), (0.2, 0)]
    ),
    (SQUEEZE, "volume_skew"): each(
        "call_volume_share_pct",
        [(60.0, 100), (59.9, 75), (55.0, 75), (54.9, 50), (50.0, 50), (49.9, 30), (0.0, 30), (None, 50)],
    ),
    (SQUEEZE, "time_decay"): each(
        "minutes_to_expiry",
        [(30, 100), (31, 85), (60, 85), (61, 70), (120, 70), (121, 55), (240, 55), (250, 50), (600, 0), (None, 50)],
    ),
    (SQUEEZE, "volume_surge"): each(
        "rvol", [(3.0, 100), (2.9, 80), (2.0, 80), (1.9, 60), (1.5, 60), (1.4, 56), (0.5, 20)]
    ),
    (FLIP, "flip_significance"): each("gamma_flip_slope", [(0.0, 25), (0.3, 70), (0.5, 100), (0.9, 100), (None, 50)]),
    (FLIP, "time_to_expiry"): each(
        "minutes_to_expiry", [(0, 100), (120, 100), (121, 75), (240, 75), (241, 50), (360, 50), (361, 25), (None, 50)]
    ),
    (FLIP, "hedging_intensity"): each("gex_gross_adv_pct", [(0.0, 0), (6.0, 60), (12.0, 100), (None, 50)]),
    (FLIP, "options_volume"): each("opt_rvol", [(0.4, 0), (0.5, 0), (1.2, 70), (1.5, 100), (4.0, 100), (None, 50)]),
    (FLIP, "volume_momentum"): each("rvol", [(0.5, 0), (1.0, 0), (1.5, 25), (3.0, 100), (5.0, 100), (None, 50)]),
    # Strike 100, prev_close 100.
    (PIN, "proximity"): each("close", [(99.9, 80), (100.1, 80), (99.75, 50), (99.51, 2), (99.4, 0)]),
    (PIN, "oi_concentration"): each("oi_pin_share_pct", [(0.0, 0), (6.0, 20), (18.0, 60), (30.0, 100), (40.0, 100)]),
    (PIN, "time"): each("minutes_to_expiry", [(0, 100), (6, 90), (15, 75), (30, 50), (200, 50)]),
    (PIN, "dealer_gamma"): each("gex_at_pin", [(1e6, 100), (0.0, 30), (-1e6, 30), (None, 50)]),
    (SWEEPS, "sweep_intensity"): each("flow_sweeps_bull", [(9, 100), (5, 100), (4, 90), (3, 80), (2, 70), (1, 0)]),
    (SWEEPS, "flow_score"): each(
        "flow_score", [(90.0, 100), (89.9, 90), (80.0, 90), (79.9, 80), (70.0, 80), (69.9, 0)]
    ),
    (SWEEPS, "pressure"): each(
        "flow_buy_pressure_pct", [(80.0, 100), (79.9, 90), (70.0, 90), (69.9, 80), (60.0, 80), (59.9, 0)]
    ),
    (SWEEPS, "technical"): [
        ({"rsi14": 39.9, "vwap_dist_pct": -0.31}, 100),
        ({"rsi14": 39.9, "vwap_dist_pct": -0.3}, 85),
        ({"rsi14": 40.0, "vwap_dist_pct": -0.1}, 75),
        ({"rsi14": 49.9, "vwap_dist_pct": 0.0}, 65),
        ({"rsi14": 50.0, "vwap_dist_pct": -0.4}, 75),
        ({"rsi14": 50.0, "vwap_dist_pct": 0.4}, 50),
        ({"rsi14": 44.0, "vwap_dist_pct": None}, 65),
    ],
    (INSTITUTIONS, "institutional"): each(
        "flow_institutional_score",
        [
            (95.0, 100),
            (94.9, 95),
            (90.0, 95),
            (89.9, 90),
            (85.0, 90),
            (84.9, 85),
            (80.0, 85),
            (79.9, 79.9),
            (0.0, 0),
            (None, 50),
        ],
    ),
    (INSTITUTIONS, "sweeps"): each(
        "flow_sweeps_bull", [(12, 100), (10, 100), (9, 95), (8, 95), (7, 90), (6, 90), (5, 85), (4, 0)]
    ),
    (INSTITUTIONS, "pressure"): each(
        "flow_buy_pressure_pct",
        [(85.0, 100), (84.9, 95), (80.0, 95), (79.9, 90), (75.0, 90), (74.9, 85), (70.0, 85), (69.9, 0)],
    ),
    (INSTITUTIONS, "large_share"): each(
        "flow_large_pct", [(60.0, 100), (59.9, 90), (50.0, 90), (49.9, 80), (40.0, 80), (39.9, 0)]
    ),
    (INSTITUTIONS, "aggressiveness"): each(
        "flow_aggressiveness", [("VERY_AGGRESSIVE", 100), ("AGGRESSIVE", 90), ("MODERATE", 0), ("PASSIVE", 0)]
    ),
}
IDS = [
    pytest.param(name, factor, changes, expected, id=f"{name}-{factor}-{number}")
    for (name, factor), cases in CASES.items()
    for number, (changes, expected) in enumerate(cases)
]


@pytest.mark.parametrize(("name", "factor", "changes", "expected"), IDS)
def test_a_factor_has_the_score_of_its_step(name: str, factor: str, changes: Row, expected: float) -> None:
    values = FIRED[name] | changes
    long_side = evaluate(detector(name), frame(values))["factors"].struct.field(factor)[0]
    short_side = evaluate(twin_of(detector(name)), frame(mirrored(values)))["factors"].struct.field(factor)[0]
    assert long_side == pytest.approx(expected, abs=1e-9)
    assert short_side == pytest.approx(expected, abs=1e-9)


def test_every_factor_of_every_family_is_held_to_the_table() -> None:
    declared = {(name, factor.name) for name in FIRED for factor in detector(name).factors}
    assert declared == set(CASES)
