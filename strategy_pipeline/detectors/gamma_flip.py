"""Gamma flip: on a day on which options expire, an index closes a bar across the price where dealer gamma is zero."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_most, clamp, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import INDEX


@dataclass(frozen=True)
class GammaFlipThresholds:
    """Closed bound of the gate; minutes are counted to the close, so half days have a gate too."""

    minutes_to_close_max: int = 180


def gamma_flip(side: Side, thresholds: GammaFlipThresholds = GammaFlipThresholds()) -> Detector:
    """gamma_flip_bullish or gamma_flip_bearish (detectors.md section 4)."""
    flip = pl.col("gamma_flip")
    minutes = pl.col("minutes_to_expiry").cast(pl.Float64)
    time_to_expiry = at_most(minutes, ((120.0, 100.0), (240.0, 75.0), (360.0, 50.0)), otherwise=25.0)
    return Detector(
        name=side.pick_name("gamma_flip_bullish", "gamma_flip_bearish"),
        family="gamma_flip",
        direction=side.direction,
        asset_classes=frozenset({INDEX}),
        timeframe="5m",
        category="gamma",
        momentum=False,
        inputs_required=("is_0dte", "gamma_flip", "prev_bar_close", "minutes_to_close"),
        inputs_optional=("gamma_flip_slope", "minutes_to_expiry", "gex_gross_adv_pct", "opt_rvol", "rvol"),
        gate=pl.col("is_0dte")
        & (rounded(side.signed(pl.col("prev_bar_close") - flip)) < 0.0)
        & (rounded(side.signed(pl.col("close") - flip)) > 0.0)
        & (pl.col("minutes_to_close") <= thresholds.minutes_to_close_max),
        factors=(
            Factor("flip_significance", 0.35, clamp(25.0 + 150.0 * pl.col("gamma_flip_slope")).fill_null(50.0)),
            Factor("time_to_expiry", 0.25, pl.when(minutes.is_null()).then(50.0).otherwise(time_to_expiry)),
            Factor("hedging_intensity", 0.20, clamp(10.0 * pl.col("gex_gross_adv_pct")).fill_null(50.0)),
            Factor("options_volume", 0.15, clamp(100.0 * (pl.col("opt_rvol") - 0.5)).fill_null(50.0)),
            Factor("volume_momentum", 0.05, clamp(50.0 * (pl.col("rvol") - 1.0)).fill_null(50.0)),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
