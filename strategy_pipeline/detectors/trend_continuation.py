"""Trend continuation: in a 15m trend the price has come back to ema21 without breaking ema50."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import (
    between,
    clamp,
    near,
    pct_of_prev_close,
    points,
    ratio,
    rounded,
    share_of_known_pct,
)
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import EQUITY_ETF, STOCK


@dataclass(frozen=True)
class ContinuationThresholds:
    """Closed bounds of the gate."""

    above_ema21_max_pct: float = 1.0
    above_ema21_max_atr: float = 2.0
    rsi_min: float = 45.0
    rsi_max: float = 60.0
    rvol_min: float = 0.8


def trend_continuation(side: Side, thresholds: ContinuationThresholds = ContinuationThresholds()) -> Detector:
    """trend_continuation_long or trend_continuation_short (detectors.md section 4)."""
    close, ema21, ema50 = pl.col("close"), pl.col("ema21"), pl.col("ema50")
    strength = side.strength("rsi14")
    above_ema21 = side.signed(close - ema21)
    above_ema21_pct = pct_of_prev_close(above_ema21)
    emas_apart_pct = pct_of_prev_close(side.signed(ema21 - ema50))
    return Detector(
        name=side.pick_name("trend_continuation_long", "trend_continuation_short"),
        family="trend_continuation",
        direction=side.direction,
        asset_classes=frozenset({EQUITY_ETF, STOCK}),
        timeframe="15m",
        category="trendContinuation",
        momentum=True,
        inputs_required=("ema21", "ema50", "atr14", "rsi14", "vwap_dist_pct", "rvol", "trend_state"),
        inputs_optional=(
            "ema200",
            side.pick_name("higher_lows", "lower_highs"),
            side.pick_name("swing_low", "swing_high"),
            "ema21_15m",
            "ema50_15m",
            "ema21_1h",
            "ema50_1h",
            "flow_bias",
            "flow_score",
            "flow_trend",
            side.pick_name("flow_sweeps_bull", "flow_sweeps_bear"),
        ),
        gate=side.trend_with
        & between(above_ema21_pct, 0.0, thresholds.above_ema21_max_pct)
        & (rounded(side.signed(close - ema50)) >= 0.0)
        & (rounded(emas_apart_pct) >= 0.0)
        & (rounded(ratio(above_ema21, pl.col("atr14"))) <= thresholds.above_ema21_max_atr)
        & between(strength, thresholds.rsi_min, thresholds.rsi_max)
        & (rounded(pl.col("rvol")) >= thresholds.rvol_min),
        factors=(
            Factor("ema_alignment", 0.25, _ema_alignment(side, above_ema21_pct, emas_apart_pct)),
            Factor("pullback_quality", 0.20, _pullback_quality(side)),
            Factor("volume_confirmation", 0.15, _volume_confirmation()),
            Factor("swing_structure", 0.15, _swing_structure(side)),
            Factor("mtf_trend_strength", 0.10, _mtf_trend_strength(side)),
            Factor("flow_alignment", 0.15, _flow_alignment(side)),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )


def _ema_alignment(side: Side, above_ema21_pct: pl.Expr, emas_apart_pct: pl.Expr) -> pl.Expr:
    e1, e2 = rounded(above_ema21_pct), rounded(emas_apart_pct)
    price_part = pl.when(e1 > 0.5).then(20.0).when(e1 > 0.25).then(10.0).otherwise(0.0)
    emas_part = pl.when(e2 > 2.0).then(20.0).when(e2 > 1.0).then(10.0).otherwise(0.0)
    long_trend = rounded(side.signed(pl.col("ema21") - pl.col("ema200"))) > 0.0
    return 50.0 + price_part + emas_part + points(long_trend, 10.0)


def _pullback_quality(side: Side) -> pl.Expr:
    in_sweet_spot = between(side.strength("rsi14"), 50.0, 55.0)
    at_vwap = between(side.signed(pl.col("vwap_dist_pct")), -0.2, 0.5)
    return 50.0 + pl.when(in_sweet_spot).then(30.0).otherwise(15.0) + points(at_vwap, 20.0)


def _volume_confirmation() -> pl.Expr:
    rvol = pl.col("rvol")
    return (
        pl.when(between(rvol, 0.8, 1.5))
        .then(100.0)
        .when(between(rvol, 0.6, 2.0))
        .then(75.0)
        .when(between(rvol, 0.5, 2.5))
        .then(60.0)
        .otherwise(40.0)
    )


def _swing_structure(side: Side) -> pl.Expr:
    stepping = side.pick("higher_lows", "lower_highs")
    return 50.0 + points(stepping, 40.0) + points(near(side.behind("swing"), 0.3), 10.0)


def _mtf_trend_strength(side: Side) -> pl.Expr:
    spreads = [side.signed(pl.col(f"ema21_{frame}") - pl.col(f"ema50_{frame}")) for frame in ("15m", "1h")]
    return share_of_known_pct([(spread, rounded(spread) > 0.0) for spread in spreads], none_known=50.0)


def _flow_alignment(side: Side) -> pl.Expr:
    strong = points(rounded(pl.col("flow_score")) >= 70.0, 15.0)
    aligned = 25.0 + strong + points(pl.col("flow_trend") == "INCREASING", 10.0)
    opposed = -20.0 - strong + points(pl.col("flow_trend") == "DECREASING", 5.0)
    lean = pl.when(side.flow_aligned).then(aligned).when(side.flow_opposed).then(opposed).otherwise(0.0)
    # "at least three sweeps" is "more than two": counts are whole numbers.
    scored = clamp(50.0 + lean + points(side.sweeps_over(2), 10.0))
    return pl.when(pl.col("flow_bias").is_null()).then(50.0).otherwise(scored)
