"""The feature columns a detector may declare, with the type each has when a detector reads it.

Definitions of the columns are in analytics/features.py; a test holds this list against that table's contract.
"""

import polars as pl

from strategy_pipeline.market.symbols import ASSET_CLASS_DTYPE

TREND_STATE_DTYPE = pl.Enum(["volatile", "trending_up", "trending_down", "choppy", "ranging"])
FLOW_BIAS_DTYPE = pl.Enum(["bullish", "bearish", "neutral"])
FLOW_TREND_DTYPE = pl.Enum(["INCREASING", "STABLE", "DECREASING"])
FLOW_AGGRESSIVENESS_DTYPE = pl.Enum(["PASSIVE", "MODERATE", "AGGRESSIVE", "VERY_AGGRESSIVE"])

# Columns made of option prints, and all columns that no market without option data can have.
FLOW_INPUTS = frozenset({
    "flow_bias", "flow_score", "flow_institutional_score", "flow_buy_pressure_pct", "flow_sweeps_bull",
    "flow_sweeps_bear", "flow_blocks_bull", "flow_blocks_bear", "flow_large_pct", "flow_trend", "flow_aggressiveness",
})  # fmt: skip
OPTION_INPUTS = FLOW_INPUTS | {
    "net_gex_ratio", "max_gamma_strike", "gamma_flip", "gamma_flip_slope", "gex_gross_adv_pct", "max_pain_strike",
    "oi_at_pin", "oi_pin_share_pct", "gex_at_pin", "call_volume_share_pct", "opt_rvol", "is_0dte", "minutes_to_expiry",
}  # fmt: skip

# Columns that may be empty because there is nothing to say, and what shows that the data were there all the same: no
# expiry ends on most days of the past, and gamma need not change its sign.
SEEN_BY: dict[str, pl.Expr] = {
    **dict.fromkeys(("max_pain_strike", "oi_at_pin", "oi_pin_share_pct"), ~pl.col("is_0dte")),
    "gamma_flip": pl.col("net_gex_ratio").is_not_null(),
}

_FLAGS = ("is_regular_hours", "patient_candle", "higher_lows", "lower_highs", "is_0dte")
_COUNTS = (
    "minutes_since_open", "minutes_to_close", "minutes_to_expiry",
    "flow_sweeps_bull", "flow_sweeps_bear", "flow_blocks_bull", "flow_blocks_bear",
)  # fmt: skip
_NUMBERS = (
    "close", "prev_close", "prev_bar_close", "session_high", "session_low", "or_high", "or_low",
    "range_high_20", "range_low_20", "swing_high", "swing_low", "ema21", "ema50", "ema200", "atr14",
    "rsi14", "rsi14_delta", "rsi_div_bull", "rsi_div_bear", "rsi14_5m", "rsi14_15m", "rsi14_1h",
    "ema21_15m", "ema50_15m", "ema21_1h", "ema50_1h", "vwap_dist_pct", "session_move_pct", "gap_pct", "mom3_pct",
    "rvol", "mtf_support_long_pct", "mtf_support_short_pct", "flow_score", "flow_institutional_score",
    "flow_buy_pressure_pct", "flow_large_pct", "net_gex_ratio", "max_gamma_strike", "gamma_flip", "gamma_flip_slope",
    "gex_gross_adv_pct", "max_pain_strike", "oi_pin_share_pct", "gex_at_pin", "call_volume_share_pct", "opt_rvol",
)  # fmt: skip

INPUT_DTYPES: dict[str, pl.DataType] = {
    "asset_class": ASSET_CLASS_DTYPE,
    "trend_state": TREND_STATE_DTYPE,
    "flow_bias": FLOW_BIAS_DTYPE,
    "flow_trend": FLOW_TREND_DTYPE,
    "flow_aggressiveness": FLOW_AGGRESSIVENESS_DTYPE,
    "oi_at_pin": pl.Int64(),
    **{name: pl.Boolean() for name in _FLAGS},
    **{name: pl.Int32() for name in _COUNTS},
    **{name: pl.Float64() for name in _NUMBERS},
}
