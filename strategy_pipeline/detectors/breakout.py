"""Breakout: the close leaves the range of the twenty bars before it, on volume and on the right side of VWAP."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_least, between, clamp, near, points, rounded, share_of_known_pct
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.shared_factors import flow_alignment
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import EQUITY_ETF, STOCK

RSI_COLUMNS = ("rsi14_5m", "rsi14_15m", "rsi14_1h")


@dataclass(frozen=True)
class BreakoutThresholds:
    """Open bounds of the gate."""

    rvol_above: float = 1.2
    vwap_distance_above_pct: float = 0.0


def breakout(side: Side, thresholds: BreakoutThresholds = BreakoutThresholds()) -> Detector:
    """breakout_bullish or breakout_bearish (detectors.md section 4)."""
    level = side.pick("range_high_20", "range_low_20")
    beyond = side.signed(pl.col("close") - level)
    rvol = pl.col("rvol")
    vwap_distance = side.signed(pl.col("vwap_dist_pct"))
    rsi_in_band = [(pl.col(name), between(side.strength(name), 50.0, 70.0)) for name in RSI_COLUMNS]
    opening_range, swing = side.ahead("or"), side.ahead("swing")
    return Detector(
        name=side.pick_name("breakout_bullish", "breakout_bearish"),
        family="breakout",
        direction=side.direction,
        asset_classes=frozenset({EQUITY_ETF, STOCK}),
        timeframe="15m",
        category="breakout",
        momentum=True,
        inputs_required=(side.pick_name("range_high_20", "range_low_20"), "rvol", "vwap_dist_pct"),
        inputs_optional=(
            "flow_bias",
            "flow_score",
            side.pick_name("flow_sweeps_bull", "flow_sweeps_bear"),
            side.pick_name("or_high", "or_low"),
            side.pick_name("swing_high", "swing_low"),
            *RSI_COLUMNS,
        ),
        gate=(rounded(beyond) > 0.0)
        & (rounded(rvol) > thresholds.rvol_above)
        & (rounded(vwap_distance) > thresholds.vwap_distance_above_pct),
        factors=(
            Factor(
                "volume_intensity",
                0.30,
                at_least(rvol, ((4.0, 100), (2.5, 75), (1.5, 50)), otherwise=clamp(33.0 * (rvol - 1.0))),
            ),
            Factor("flow_alignment", 0.25, flow_alignment(side)),
            Factor(
                "vwap_strength",
                0.20,
                at_least(vwap_distance, ((1.5, 100), (1.0, 85), (0.5, 70), (0.2, 60), (0.0, 50)), otherwise=0.0),
            ),
            Factor(
                "level_freshness", 0.15, 50.0 + points(near(opening_range, 0.3), 20.0) + points(near(swing, 0.3), 15.0)
            ),
            Factor("mtf_alignment", 0.10, share_of_known_pct(rsi_in_band, none_known=50.0)),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
