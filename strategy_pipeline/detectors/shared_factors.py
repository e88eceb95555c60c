"""Score pieces that more than one family uses, named as in detectors.md section 4.

A piece that only one family uses stays in that family's module.
"""

import polars as pl

from strategy_pipeline.detectors.comparison import at_least, at_most, clamp, more_than, ratio, rounded
from strategy_pipeline.detectors.side import Side


def flow_alignment(side: Side) -> pl.Expr:
    """flow_std: 100 for strong aligned flow down to 30 for opposed; 50 where flow is unknown."""
    aligned = more_than(pl.col("flow_score"), ((70.0, 100.0), (60.0, 85.0)), otherwise=75.0)
    neutral = pl.when(side.sweeps_over(3)).then(70.0).otherwise(60.0)
    return (
        pl.when(pl.col("flow_bias").is_null())
        .then(50.0)
        .when(side.flow_opposed)
        .then(30.0)
        .when(side.flow_aligned)
        .then(aligned)
        .otherwise(neutral)
    )


def volume_profile() -> pl.Expr:
    """volprof: 100 from twice the usual volume, falling to 50 x rvol below 1.2."""
    rvol = pl.col("rvol")
    return at_least(rvol, ((2.0, 100.0), (1.5, 80.0), (1.2, 65.0)), otherwise=50.0 * rvol)


def rsi_extreme(side: Side) -> pl.Expr:
    """rsi_ext: 100 at R <= 20 down to max(0, 100 - 2R) above 35."""
    strength = side.strength("rsi14")
    otherwise = (100.0 - 2.0 * strength).clip(lower_bound=0.0)
    return at_most(strength, ((20.0, 100.0), (25.0, 85.0), (30.0, 70.0), (35.0, 55.0)), otherwise=otherwise)


def trend_suitability(side: Side) -> pl.Expr:
    """suit: how well the intraday trend state suits a reversion; 50 where it is unknown."""
    state = pl.col("trend_state")
    return (
        pl.when(state == "ranging")
        .then(100.0)
        .when(state == "choppy")
        .then(90.0)
        .when(state == "volatile")
        .then(70.0)
        .when(side.trend_with)
        .then(60.0)
        .when(side.trend_against)
        .then(20.0)
        .otherwise(50.0)
    )


def divergence(side: Side) -> pl.Expr:
    """50 + half the RSI divergence in the trade's direction; 50 where it is unknown."""
    return (50.0 + 0.5 * side.pick("rsi_div_bull", "rsi_div_bear")).fill_null(50.0)


def rsi_momentum(side: Side) -> pl.Expr:
    """rsi_mom: 90 when an extreme RSI turns the trade's way, 40 when it does not; 50 where the change is unknown."""
    strength = rounded(side.strength("rsi14"))
    turn = side.signed(pl.col("rsi14_delta"))
    return (
        pl.when(turn.is_null())
        .then(50.0)
        .when((strength < 35.0) & (rounded(turn) > 0.0))
        .then(90.0)
        .when(strength < 30.0)
        .then(40.0)
        .otherwise(clamp(50.0 + 5.0 * turn))
    )


def vwap_stretch_pct(side: Side) -> pl.Expr:
    """e: distance from the session VWAP against the trade's direction, in percent of prev_close."""
    return side.signed(-pl.col("vwap_dist_pct"))


def ema_stretch_atr(side: Side) -> pl.Expr:
    """d: distance from ema21 against the trade's direction in ATRs of the row's timeframe; null where ATR is 0."""
    return ratio(side.signed(pl.col("ema21") - pl.col("close")), pl.col("atr14"))


def vwap_deviation(side: Side, slope_below_steps: float) -> pl.Expr:
    """Score of e: 100 from 1.5 %, `slope_below_steps` x e under 0.3 %."""
    e = vwap_stretch_pct(side)
    return at_least(e, ((1.5, 100.0), (1.0, 85.0), (0.5, 70.0), (0.3, 55.0)), otherwise=slope_below_steps * e)
