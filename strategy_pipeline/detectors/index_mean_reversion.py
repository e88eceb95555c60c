"""Mean reversion on indices: the rules of mean_reversion.py with smaller stretches and the time of session."""

from dataclasses import asdict

import polars as pl

from strategy_pipeline.detectors.comparison import at_least
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.mean_reversion import REVERSION_REQUIRED, ReversionThresholds, reversion_gate
from strategy_pipeline.detectors.shared_factors import (
    divergence,
    ema_stretch_atr,
    rsi_extreme,
    rsi_momentum,
    trend_suitability,
    volume_profile,
    vwap_deviation,
)
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import INDEX

INDEX_THRESHOLDS = ReversionThresholds(
    rsi_below=25.0, vwap_stretch_above_pct=0.4, ema_stretch_min_atr=1.8, rvol_min=1.0
)


def index_mean_reversion(side: Side, thresholds: ReversionThresholds = INDEX_THRESHOLDS) -> Detector:
    """index_mean_reversion_long or index_mean_reversion_short (detectors.md section 4)."""
    ema_steps = ((2.5, 100), (2.0, 90), (1.5, 80), (1.2, 70), (1.0, 55))
    since_open, to_close = pl.col("minutes_since_open"), pl.col("minutes_to_close")
    time_of_session = (
        pl.when((since_open >= 60) & (to_close >= 150))
        .then(100.0)
        .when((since_open >= 30) & (to_close >= 90))
        .then(80.0)
        .otherwise(60.0)
    )
    return Detector(
        name=side.pick_name("index_mean_reversion_long", "index_mean_reversion_short"),
        family="index_mean_reversion",
        direction=side.direction,
        asset_classes=frozenset({INDEX}),
        timeframe="5m",
        category="meanReversion",
        momentum=False,
        inputs_required=(*REVERSION_REQUIRED, "minutes_since_open", "minutes_to_close"),
        inputs_optional=(side.pick_name("rsi_div_bull", "rsi_div_bear"), "rsi14_delta"),
        gate=reversion_gate(side, thresholds),
        factors=(
            Factor("vwap_deviation", 0.15, vwap_deviation(side, slope_below_steps=50.0)),
            Factor("atr_deviation", 0.20, at_least(ema_stretch_atr(side), ema_steps, otherwise=40.0)),
            Factor("rsi_extreme", 0.15, rsi_extreme(side)),
            Factor("volume_profile", 0.10, volume_profile()),
            Factor("trend_suitability", 0.10, trend_suitability(side)),
            Factor("divergence", 0.15, divergence(side)),
            Factor("rsi_momentum", 0.10, rsi_momentum(side)),
            Factor("time_of_session", 0.05, time_of_session),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
