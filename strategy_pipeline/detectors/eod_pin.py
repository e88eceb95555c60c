"""End-of-day pin: before the close of an expiry an index is drawn to the max-pain strike, from whichever side."""

from dataclasses import asdict, dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import clamp, pct_of_prev_close, rounded
from strategy_pipeline.detectors.declaration import PER_ROW, Detector, Factor
from strategy_pipeline.market.symbols import INDEX

# 30 % of the expiry's open interest at the strike scores 100.
FULL_SCORE_SHARE_PCT = 30.0


@dataclass(frozen=True)
class EodPinThresholds:
    """Bounds of the gate; `below` is open, `min` and `max` are closed."""

    minutes_to_close_max: int = 30
    pin_distance_below_pct: float = 0.5
    oi_at_pin_min: int = 5_000


def eod_pin_setup(thresholds: EodPinThresholds = EodPinThresholds()) -> Detector:
    """eod_pin_setup, long below the strike and short above it (detectors.md section 4)."""
    to_strike = rounded(pl.col("max_pain_strike") - pl.col("close"))
    distance_pct = pct_of_prev_close((pl.col("close") - pl.col("max_pain_strike")).abs())
    gamma = rounded(pl.col("gex_at_pin"))
    return Detector(
        name="eod_pin_setup",
        family="eod_pin_setup",
        direction=PER_ROW,
        direction_expression=pl.when(to_strike > 0.0)
        .then(pl.lit("LONG"))
        .when(to_strike < 0.0)
        .then(pl.lit("SHORT")),
        asset_classes=frozenset({INDEX}),
        timeframe="5m",
        category="gamma",
        momentum=False,
        inputs_required=(
            "is_0dte", "max_pain_strike", "oi_at_pin", "oi_pin_share_pct", "minutes_to_close", "minutes_to_expiry",
        ),
        inputs_optional=("gex_at_pin",),
        gate=pl.col("is_0dte")
        & (pl.col("minutes_to_close") <= thresholds.minutes_to_close_max)
        & (rounded(distance_pct) > 0.0)
        & (rounded(distance_pct) < thresholds.pin_distance_below_pct)
        & (pl.col("oi_at_pin") >= thresholds.oi_at_pin_min),
        factors=(
            Factor("proximity", 0.40, clamp(100.0 - 200.0 * distance_pct)),
            Factor("oi_concentration", 0.30, clamp(100.0 / FULL_SCORE_SHARE_PCT * pl.col("oi_pin_share_pct"))),
            Factor("time", 0.20, clamp(100.0 - 5.0 / 3.0 * pl.col("minutes_to_expiry"), low=50.0)),
            Factor(
                "dealer_gamma",
                0.10,
                pl.when(gamma.is_null()).then(50.0).when(gamma > 0.0).then(100.0).otherwise(30.0),
            ),
        ),
        thresholds=tuple(asdict(thresholds).items()),
    )  # fmt: skip
