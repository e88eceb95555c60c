"""Feature rows for detector tests: one row from a few values, and its reflection about prev_close.

The mirror rules are typed from the "Mirror" column of detectors.md section 2, not taken from the code under test.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.detectors.catalogue import entry
from strategy_pipeline.detectors.declaration import PER_ROW, Detector
from strategy_pipeline.detectors.inputs import INPUT_DTYPES

SCHEMA = {
    "symbol": pl.String(),
    "timeframe": pl.String(),
    "session": pl.Date(),
    "bar_end": pl.Datetime("us", "UTC"),
    "available_at": pl.Datetime("us", "UTC"),
    **INPUT_DTYPES,
}

REFLECTED = {  # 2c - x; a pair is exchanged after its reflection
    "close": "close", "ema21": "ema21", "ema50": "ema50", "ema200": "ema200",
    "ema21_15m": "ema21_15m", "ema50_15m": "ema50_15m", "ema21_1h": "ema21_1h", "ema50_1h": "ema50_1h",
    "session_high": "session_low", "session_low": "session_high", "or_high": "or_low", "or_low": "or_high",
    "range_high_20": "range_low_20", "range_low_20": "range_high_20",
    "swing_high": "swing_low", "swing_low": "swing_high", "prev_bar_close": "prev_bar_close",
    "max_gamma_strike": "max_gamma_strike", "gamma_flip": "gamma_flip", "max_pain_strike": "max_pain_strike",
}  # fmt: skip
NEGATED = ("vwap_dist_pct", "session_move_pct", "gap_pct", "rsi14_delta", "mom3_pct")
HUNDRED_MINUS = (
    "rsi14", "rsi14_5m", "rsi14_15m", "rsi14_1h", "flow_buy_pressure_pct", "call_volume_share_pct",
)  # fmt: skip
EXCHANGED = {
    "higher_lows": "lower_highs", "lower_highs": "higher_lows",
    "rsi_div_bull": "rsi_div_bear", "rsi_div_bear": "rsi_div_bull",
    "mtf_support_long_pct": "mtf_support_short_pct", "mtf_support_short_pct": "mtf_support_long_pct",
    "flow_sweeps_bull": "flow_sweeps_bear", "flow_sweeps_bear": "flow_sweeps_bull",
    "flow_blocks_bull": "flow_blocks_bear", "flow_blocks_bear": "flow_blocks_bull",
}  # fmt: skip
WORDS = {
    "trending_up": "trending_down", "trending_down": "trending_up", "bullish": "bearish", "bearish": "bullish",
}  # fmt: skip
TWIN = {"bullish": "bearish", "long": "short"}

Row = dict[str, Any]


def row(asset_class: str, **values: object) -> Row:
    """A regular-hours row with prev_close 100 and close 100 unless told otherwise; all else null."""
    return {"asset_class": asset_class, "is_regular_hours": True, "prev_close": 100.0, "close": 100.0, **values}


def frame(*rows: Row) -> pl.DataFrame:
    """Feature rows as a frame, one 15m bar after the other."""
    start = datetime(2024, 3, 4, 14, 45, tzinfo=UTC)
    keyed = []
    for number, values in enumerate(rows):
        bar_end = start + timedelta(minutes=15 * number)
        key = {
            "symbol": "XYZ",
            "timeframe": "15m",
            "session": date(2024, 3, 4),
            "bar_end": bar_end,
            "available_at": bar_end + timedelta(seconds=2),
        }
        keyed.append({name: (key | values).get(name) for name in SCHEMA})
    return pl.DataFrame(keyed, schema=SCHEMA)


def mirrored(values: Row) -> Row:
    """The row of the price history reflected as P' = 2 x prev_close - P."""
    centre = values["prev_close"]
    result: Row = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in REFLECTED:
            result[REFLECTED[name]] = 2.0 * centre - value
        elif name in NEGATED:
            result[name] = -value
        elif name in HUNDRED_MINUS:
            result[name] = 100.0 - value
        elif name in EXCHANGED:
            result[EXCHANGED[name]] = value
        elif isinstance(value, str):
            result[name] = WORDS.get(value, value)
        else:
            result[name] = value
    return result


def detector(name: str) -> Detector:
    """The declaration of that name."""
    return entry(name)


def twin_of(long_detector: Detector) -> Detector:
    """The short twin of a long detector; one that takes its direction from the row is its own."""
    if long_detector.direction == PER_ROW:
        return long_detector
    stem, _, ending = long_detector.name.rpartition("_")
    return detector(f"{stem}_{TWIN[ending]}")
