"""Opening drive: within half an hour an index has moved decisively from its open, on volume."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import clamp, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import INDEX

# 0.3 % of prev_close scores 50 and 1 % scores 100.
HALF_SCORE_MOVE_PCT = 0.3
FULL_SCORE_MOVE_PCT = 1.0


@dataclass(frozen=True)
class OpeningDriveThresholds:
    """Closed bounds of the gate."""

    minutes_since_open_max: int = 30
    move_min_pct: float = 0.3
    rvol_min: float = 1.5


def opening_drive(side: Side, thresholds: OpeningDriveThresholds = OpeningDriveThresholds()) -> Detector:
    """opening_drive_bullish or opening_drive_bearish (detectors.md section 4)."""
    move = side.signed(pl.col("session_move_pct"))
    rvol = pl.col("rvol")
    aligned_flow = (
        pl.when(rounded(pl.col("flow_score")) > 60.0).then(100.0).when(side.sweeps_over(3)).then(90.0).otherwise(75.0)
    )
    flow = pl.when(side.flow_aligned).then(aligned_flow).when(side.flow_opposed).then(30.0).otherwise(50.0)
    support = side.pick("mtf_support_long_pct", "mtf_support_short_pct")
    slope = 50.0 / (FULL_SCORE_MOVE_PCT - HALF_SCORE_MOVE_PCT)
    return Detector(
        name=side.pick_name("opening_drive_bullish", "opening_drive_bearish"),
        family="opening_drive",
        direction=side.direction,
        asset_classes=frozenset({INDEX}),
        timeframe="5m",
        category="breakout",
        momentum=True,
        inputs_required=("minutes_since_open", "session_move_pct", "rvol"),
        inputs_optional=(
            "flow_bias",
            "flow_score",
            side.pick_name("flow_sweeps_bull", "flow_sweeps_bear"),
            "gap_pct",
            side.pick_name("mtf_support_long_pct", "mtf_support_short_pct"),
        ),
        gate=(pl.col("minutes_since_open") <= thresholds.minutes_since_open_max)
        & (rounded(move) >= thresholds.move_min_pct)
        & (rounded(rvol) >= thresholds.rvol_min),
        factors=(
            Factor("momentum", 0.30, clamp(50.0 + (move - HALF_SCORE_MOVE_PCT) * slope)),
            Factor("volume_intensity", 0.25, clamp(50.0 + 25.0 * (rvol - 2.0))),
            Factor("flow_alignment", 0.20, flow),
            Factor("overnight_gap", 0.15, clamp(50.0 + 50.0 * side.signed(pl.col("gap_pct"))).fill_null(50.0)),
            Factor("mtf_alignment", 0.10, pl.when(rounded(support) >= 65.0).then(100.0).otherwise(50.0)),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
