"""Mean reversion on shares and funds: an oversold or overbought price stretched from VWAP and ema21, trend not adverse.

The version for indices, with other bounds, is index_mean_reversion.py; pieces they share are in shared_factors.py.
"""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_least, points, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.shared_factors import (
    divergence,
    ema_stretch_atr,
    rsi_extreme,
    rsi_momentum,
    trend_suitability,
    volume_profile,
    vwap_deviation,
    vwap_stretch_pct,
)
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import EQUITY_ETF, STOCK

REVERSION_REQUIRED = ("ema21", "atr14", "rsi14", "vwap_dist_pct", "rvol", "trend_state")


@dataclass(frozen=True)
class ReversionThresholds:
    """Bounds of a reversion gate: R and e open, d and rvol closed."""

    rsi_below: float = 30.0
    vwap_stretch_above_pct: float = 0.5
    ema_stretch_min_atr: float = 2.0
    rvol_min: float = 1.2


def reversion_gate(side: Side, thresholds: ReversionThresholds) -> pl.Expr:
    """R, e, d and rvol beyond their bounds while the trend state is known and not against the trade."""
    return (
        (rounded(side.strength("rsi14")) < thresholds.rsi_below)
        & (rounded(vwap_stretch_pct(side)) > thresholds.vwap_stretch_above_pct)
        & (rounded(ema_stretch_atr(side)) >= thresholds.ema_stretch_min_atr)
        & (rounded(pl.col("rvol")) >= thresholds.rvol_min)
        & ~side.trend_against
    )


def mean_reversion(side: Side, thresholds: ReversionThresholds = ReversionThresholds()) -> Detector:
    """mean_reversion_long or mean_reversion_short (detectors.md section 4)."""
    ema_steps = ((3.0, 100), (2.5, 90), (2.0, 80), (1.5, 70), (1.0, 55))
    return Detector(
        name=side.pick_name("mean_reversion_long", "mean_reversion_short"),
        family="mean_reversion",
        direction=side.direction,
        asset_classes=frozenset({EQUITY_ETF, STOCK}),
        timeframe="15m",
        category="meanReversion",
        momentum=False,
        inputs_required=REVERSION_REQUIRED,
        inputs_optional=(side.pick_name("rsi_div_bull", "rsi_div_bear"), "rsi14_delta", "patient_candle"),
        gate=reversion_gate(side, thresholds),
        factors=(
            Factor("rsi_extreme", 0.20, rsi_extreme(side)),
            Factor("vwap_deviation", 0.15, vwap_deviation(side, slope_below_steps=40.0)),
            Factor("atr_deviation", 0.15, at_least(ema_stretch_atr(side), ema_steps, otherwise=40.0)),
            Factor("volume_profile", 0.10, volume_profile()),
            Factor("trend_suitability", 0.10, trend_suitability(side)),
            Factor("divergence", 0.15, divergence(side)),
            Factor("rsi_momentum", 0.10, rsi_momentum(side)),
            Factor("reversal_confirmation", 0.05, 50.0 + points(pl.col("patient_candle"), 30.0)),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
