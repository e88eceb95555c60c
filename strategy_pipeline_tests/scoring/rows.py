"""Rows for scoring tests: a firing with everything scoring reads, made from a few values."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.detectors import catalogue
from strategy_pipeline.detectors.declaration import PER_ROW
from strategy_pipeline.detectors.evaluate import FACTOR_DTYPE
from strategy_pipeline.lake.tables import FEATURES
from strategy_pipeline.scoring.composite import CARRIED

SCHEMA: dict[str, Any] = {
    **FEATURES.polars_schema,
    "direction": pl.Enum(["LONG", "SHORT"]),
    "detector": pl.String(),
    "family": pl.String(),
    "detector_version": pl.String(),
    "score": pl.Float64(),
    "factors": FACTOR_DTYPE,
    "inputs_missing": pl.List(pl.String()),
}
# Monday 4 March 2024, New York 10:30 (mid_morning), winter time.
SESSION, OPEN = date(2024, 3, 4), datetime(2024, 3, 4, 14, 30, tzinfo=UTC)
DETECTION = (
    "symbol", "asset_class", "timeframe", "session", "bar_end", "available_at", "detector", "detector_version",
    "family", "direction", "score", "factors", "inputs_missing",
)  # fmt: skip

Row = dict[str, Any]

# An ETF breakout in the middle of a trending morning with every input that counts: accepted.
GOOD: Row = {
    "symbol": "SPY", "asset_class": "EQUITY_ETF", "timeframe": "15m", "detector": "breakout_bullish", "score": 80.0,
    "close": 102.0, "prev_close": 100.0, "rvol": 2.6, "rvol_symbol": "SPY", "atr14_5m": 0.4, "atr14_15m": 0.8,
    "atr14_1h": 1.2, "vwap": 101.8, "rsi14": 62.0, "ema21": 101.5, "flow_score": 75.0, "flow_buy_pressure_pct": 70.0,
    "adv20_shares": 1_000_000.0, "vwap_dist_pct": 0.2, "vix_level": 18.0, "vix_tier": "medium",
    "market_regime": "WEAK_UPTREND", "rsi14_5m": 60.0, "flow_bias": "bullish", "prior_high": 101.0, "prior_low": 99.0,
    "rsi14_15m": 61.0, "or_high": 101.6, "or_low": 100.4, "rsi14_1h": 58.0, "flow_trend": "STABLE",
    "flow_aggressiveness": "MODERATE", "swing_high": 101.7, "swing_low": 100.9, "session_high": 102.0,
    "session_low": 100.2, "atr_1d_pct": 1.2, "trend_state": "trending_up", "is_regular_hours": True,
    "minutes_since_open": 60, "mtf_support_long_pct": 70.0, "spread_pct": 0.02,
}  # fmt: skip


def detection(**values: object) -> Row:
    """GOOD with changes; minutes, the end of the bar and the direction follow from each other and from the detector."""
    row = GOOD | values
    listed = catalogue.entry(row["detector"])
    row.setdefault("family", listed.family)
    row.setdefault("direction", listed.direction if listed.direction != PER_ROW else "LONG")
    minutes = row["minutes_since_open"]
    row.setdefault("minutes_to_close", 390 - minutes)
    row.setdefault("bar_end", OPEN + timedelta(minutes=minutes))
    row.setdefault("available_at", row["bar_end"] + timedelta(seconds=2))
    row.setdefault("session", SESSION)
    row.setdefault("detector_version", "1-test")
    row.setdefault("factors", [{"name": "all", "weight": 1.0, "value": row["score"]}])
    row.setdefault("inputs_missing", [])
    return row


def detections(*rows: Row) -> pl.DataFrame:
    """Firings as `detectors.evaluate.signals` returns them with everything scoring wants carried along."""
    names = list(dict.fromkeys((*DETECTION, *CARRIED)))
    schema = {name: SCHEMA[name] for name in names}
    return pl.DataFrame([{name: row.get(name) for name in names} for row in rows], schema=schema)
