"""Power-hour reversal: in the last hour an index sits at its session extreme with RSI stretched, on volume."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_most, clamp, pct_of_prev_close, points, ratio, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import INDEX


@dataclass(frozen=True)
class PowerHourThresholds:
    """Closed bounds of the gate; minutes are counted to the close, so half days have a power hour too."""

    minutes_to_close_max: int = 60
    from_extreme_max_pct: float = 0.5
    rsi_max: float = 40.0
    rvol_min: float = 1.2


def power_hour_reversal(side: Side, thresholds: PowerHourThresholds = PowerHourThresholds()) -> Detector:
    """power_hour_reversal_bullish or power_hour_reversal_bearish (detectors.md section 4)."""
    to_close = pl.col("minutes_to_close")
    strength = side.strength("rsi14")
    from_extreme = side.signed(pl.col("close") - side.behind("session"))
    session_range = pl.col("session_high") - pl.col("session_low")
    share_of_range_pct = ratio(100.0 * from_extreme, session_range)
    extreme_proximity = (
        pl.when(rounded(session_range) == 0.0)
        .then(50.0)
        .otherwise(
            at_most(
                share_of_range_pct,
                ((5.0, 100), (10.0, 85), (20.0, 70)),
                otherwise=clamp(100.0 - 3.0 * share_of_range_pct),
            )
        )
    )
    flow = (
        50.0 + points(side.flow_aligned, 30.0) + points(side.blocks_over(2), 10.0) + points(side.sweeps_over(2), 10.0)
    )
    fallen_pct = side.signed(-pl.col("session_move_pct")).clip(lower_bound=0.0)
    return Detector(
        name=side.pick_name("power_hour_reversal_bullish", "power_hour_reversal_bearish"),
        family="power_hour_reversal",
        direction=side.direction,
        asset_classes=frozenset({INDEX}),
        timeframe="5m",
        category="reversal",
        momentum=False,
        inputs_required=("session_high", "session_low", "rsi14", "rvol", "minutes_to_close", "session_move_pct"),
        inputs_optional=(
            "flow_bias",
            side.pick_name("flow_blocks_bull", "flow_blocks_bear"),
            side.pick_name("flow_sweeps_bull", "flow_sweeps_bear"),
        ),
        gate=(to_close >= 0)
        & (to_close <= thresholds.minutes_to_close_max)
        & (rounded(pct_of_prev_close(from_extreme)) <= thresholds.from_extreme_max_pct)
        & (rounded(strength) <= thresholds.rsi_max)
        & (rounded(pl.col("rvol")) >= thresholds.rvol_min),
        factors=(
            Factor("extreme_proximity", 0.25, extreme_proximity),
            Factor("timing", 0.20, at_most(to_close.cast(pl.Float64), ((30, 100), (45, 85)), otherwise=70.0)),
            Factor(
                "reversal_confirmation",
                0.25,
                at_most(strength, ((25.0, 100), (30.0, 85), (35.0, 70), (40.0, 55)), otherwise=40.0),
            ),
            Factor("institutional_flow", 0.20, pl.when(pl.col("flow_bias").is_null()).then(50.0).otherwise(flow)),
            Factor("session_move", 0.10, clamp(50.0 + 40.0 * fallen_pct)),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
