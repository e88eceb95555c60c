"""Sweep momentum: option sweeps of the last hour lean one way, strongly, and the trend does not contradict them."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import at_least, points, rounded
from strategy_pipeline.detectors.declaration import Detector, Factor
from strategy_pipeline.detectors.shared_factors import vwap_stretch_pct
from strategy_pipeline.detectors.side import Side
from strategy_pipeline.market.symbols import EQUITY_ETF, INDEX


@dataclass(frozen=True)
class SweepMomentumThresholds:
    """Closed bounds of the gate."""

    sweeps_min: int = 2
    flow_score_min: float = 70.0
    pressure_min_pct: float = 60.0
    rsi_max: float = 80.0


def sweep_momentum(side: Side, thresholds: SweepMomentumThresholds = SweepMomentumThresholds()) -> Detector:
    """sweep_momentum_long or sweep_momentum_short (detectors.md section 8).

    Against the trend only a confirmed RSI divergence of the trade's direction lets it fire; an unknown one does not.
    """
    sweeps = side.pick("flow_sweeps_bull", "flow_sweeps_bear").cast(pl.Float64)
    pressure, strength = side.strength("flow_buy_pressure_pct"), rounded(side.strength("rsi14"))
    diverges = (rounded(side.pick("rsi_div_bull", "rsi_div_bear")) > 0.0).fill_null(value=False)
    stretch = rounded(vwap_stretch_pct(side))
    technical = (
        50.0
        + pl.when(strength < 40.0).then(25.0).when(strength < 50.0).then(15.0).otherwise(0.0)
        + pl.when(stretch > 0.3).then(25.0).otherwise(points(stretch > 0.0, 10.0))
    )
    return Detector(
        name=side.pick_name("sweep_momentum_long", "sweep_momentum_short"),
        family="sweep_momentum",
        direction=side.direction,
        asset_classes=frozenset({INDEX, EQUITY_ETF}),
        timeframe="1m",
        category="flow",
        momentum=False,
        inputs_required=(
            "flow_bias",
            side.pick_name("flow_sweeps_bull", "flow_sweeps_bear"),
            "flow_score",
            "flow_buy_pressure_pct",
            "rsi14",
            "trend_state",
        ),
        inputs_optional=(side.pick_name("rsi_div_bull", "rsi_div_bear"), "vwap_dist_pct"),
        gate=side.flow_aligned
        & (sweeps >= thresholds.sweeps_min)
        & (rounded(pl.col("flow_score")) >= thresholds.flow_score_min)
        & (rounded(pressure) >= thresholds.pressure_min_pct)
        & (strength <= thresholds.rsi_max)
        & (~side.trend_against | diverges),
        factors=(
            Factor(
                "sweep_intensity",
                0.35,
                at_least(sweeps, ((5.0, 100.0), (4.0, 90.0), (3.0, 80.0), (2.0, 70.0)), otherwise=0.0),
            ),
            Factor(
                "flow_score",
                0.30,
                at_least(pl.col("flow_score"), ((90.0, 100.0), (80.0, 90.0), (70.0, 80.0)), otherwise=0.0),
            ),
            Factor("pressure", 0.20, at_least(pressure, ((80.0, 100.0), (70.0, 90.0), (60.0, 80.0)), otherwise=0.0)),
            Factor("technical", 0.15, technical),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )
