"""Institutional flow: large, aggressive option orders of the last hour point one way."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_least, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import ASSET_CLASSES


@dataclass(frozen=True)
class InstitutionalFlowThresholds:
    """Closed bounds of the gate."""

    flow_score_min: float = 80.0
    sweeps_min: int = 5
    pressure_min_pct: float = 70.0
    large_min_pct: float = 40.0


def institutional_flow(side: Side, thresholds: InstitutionalFlowThresholds = InstitutionalFlowThresholds()) -> Detector:
    """institutional_flow_bullish or institutional_flow_bearish (detectors.md section 8)."""
    sweeps = side.pick("flow_sweeps_bull", "flow_sweeps_bear").cast(pl.Float64)
    pressure, large = side.strength("flow_buy_pressure_pct"), pl.col("flow_large_pct")
    aggressiveness, score = pl.col("flow_aggressiveness"), pl.col("flow_institutional_score")
    institutional = at_least(score, ((95.0, 100.0), (90.0, 95.0), (85.0, 90.0), (80.0, 85.0)), otherwise=score)
    return Detector(
        name=side.pick_name("institutional_flow_bullish", "institutional_flow_bearish"),
        family="institutional_flow",
        direction=side.direction,
        asset_classes=frozenset(ASSET_CLASSES),
        timeframe="1m",
        category="flow",
        momentum=False,
        inputs_required=(
            "flow_bias",
            side.pick_name("flow_sweeps_bull", "flow_sweeps_bear"),
            "flow_score",
            "flow_buy_pressure_pct",
            "flow_large_pct",
            "flow_aggressiveness",
        ),
        inputs_optional=("flow_institutional_score",),
        gate=side.flow_aligned
        & (rounded(pl.col("flow_score")) >= thresholds.flow_score_min)
        & (sweeps >= thresholds.sweeps_min)
        & (rounded(pressure) >= thresholds.pressure_min_pct)
        & (rounded(large) >= thresholds.large_min_pct)
        & aggressiveness.is_in(["AGGRESSIVE", "VERY_AGGRESSIVE"]),
        factors=(
            Factor("institutional", 0.35, institutional.fill_null(50.0)),
            Factor(
                "sweeps",
                0.25,
                at_least(sweeps, ((10.0, 100.0), (8.0, 95.0), (6.0, 90.0), (5.0, 85.0)), otherwise=0.0),
            ),
            Factor(
                "pressure",
                0.20,
                at_least(pressure, ((85.0, 100.0), (80.0, 95.0), (75.0, 90.0), (70.0, 85.0)), otherwise=0.0),
            ),
            Factor("large_share", 0.15, at_least(large, ((60.0, 100.0), (50.0, 90.0), (40.0, 80.0)), otherwise=0.0)),
            Factor(
                "aggressiveness",
                0.05,
                pl.when(aggressiveness == "VERY_AGGRESSIVE")
                .then(100.0)
                .when(aggressiveness == "AGGRESSIVE")
                .then(90.0)
                .otherwise(0.0),
            ),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
