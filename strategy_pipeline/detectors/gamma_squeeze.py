"""Gamma squeeze: late in the session an index moves at its largest gamma strike while dealers are short gamma."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_least, at_most, clamp, pct_of_prev_close, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import INDEX


@dataclass(frozen=True)
class GammaSqueezeThresholds:
    """Bounds of the gate; `below` is open, `min` and `max` are closed."""

    strike_distance_below_pct: float = 0.5
    net_gex_ratio_max: float = -0.1
    rvol_min: float = 1.3
    minutes_to_close_max: int = 90


def gamma_squeeze(side: Side, thresholds: GammaSqueezeThresholds = GammaSqueezeThresholds()) -> Detector:
    """gamma_squeeze_bullish or gamma_squeeze_bearish (detectors.md section 4).

    Short gamma pushes either way, so both twins need it; which way is the move away from VWAP over the last bars.
    """
    distance_pct = pct_of_prev_close((pl.col("close") - pl.col("max_gamma_strike")).abs())
    net_gex_ratio, rvol = pl.col("net_gex_ratio"), pl.col("rvol")
    minutes = pl.col("minutes_to_expiry").cast(pl.Float64)
    time_decay = at_most(
        minutes, ((30.0, 100.0), (60.0, 85.0), (120.0, 70.0), (240.0, 55.0)), otherwise=clamp(100.0 - 0.2 * minutes)
    )
    share = side.strength("call_volume_share_pct")
    skew = at_least(share, ((60.0, 100.0), (55.0, 75.0), (50.0, 50.0)), otherwise=30.0)
    return Detector(
        name=side.pick_name("gamma_squeeze_bullish", "gamma_squeeze_bearish"),
        family="gamma_squeeze",
        direction=side.direction,
        asset_classes=frozenset({INDEX}),
        timeframe="5m",
        category="gamma",
        momentum=False,
        inputs_required=("max_gamma_strike", "net_gex_ratio", "rvol", "minutes_to_close", "vwap_dist_pct", "mom3_pct"),
        inputs_optional=("call_volume_share_pct", "minutes_to_expiry"),
        gate=(rounded(distance_pct) < thresholds.strike_distance_below_pct)
        & (rounded(net_gex_ratio) <= thresholds.net_gex_ratio_max)
        & (rounded(rvol) >= thresholds.rvol_min)
        & (pl.col("minutes_to_close") <= thresholds.minutes_to_close_max)
        & (rounded(side.signed(pl.col("vwap_dist_pct"))) > 0.0)
        & (rounded(side.signed(pl.col("mom3_pct"))) > 0.0),
        factors=(
            Factor("wall_proximity", 0.30, clamp(100.0 - 200.0 * distance_pct)),
            Factor("dealer_short_gamma", 0.25, clamp(-200.0 * net_gex_ratio)),
            Factor("volume_skew", 0.20, pl.when(share.is_null()).then(50.0).otherwise(skew)),
            Factor("time_decay", 0.15, pl.when(minutes.is_null()).then(50.0).otherwise(time_decay)),
            Factor(
                "volume_surge", 0.10, at_least(rvol, ((3.0, 100.0), (2.0, 80.0), (1.5, 60.0)), otherwise=40.0 * rvol)
            ),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
