"""FlowAnalysisEngine: which way the option flow of the last 240 minutes leans, with or against a trade (section 5)."""

from math import log

import polars as pl

from strategy_pipeline.analytics.flow_window import ENGINE_MINUTES, WINDOW_SCHEMA, flow_windows
from strategy_pipeline.engines.declaration import SIDE, Age, Engine, by_step, instant_text

# Above each cut; 1.05 and 1.00 below all.
STRENGTH_STEPS = ((80.0, 1.20), (60.0, 1.15), (40.0, 1.10))
INSTITUTIONAL_STEPS = ((80.0, 1.15), (60.0, 1.10), (30.0, 1.05))
LIMIT = 1.25
FEW_TRADES, LITTLE_PREMIUM_USD, LITTLE_INSTITUTIONAL = 20, 100_000.0, 30.0


def _find(moments: pl.DataFrame, flow: pl.DataFrame) -> pl.DataFrame:
    found = flow_windows(flow, moments, ENGINE_MINUTES)
    return found.with_columns(
        described_at=pl.col("newest_trade_at"),
        missing=pl.when(~pl.col("enough")).then(pl.lit("too_little_flow")),
        outdated=pl.lit(None, dtype=pl.String),
        inputs_missing=pl.lit([], dtype=pl.List(pl.String)),
        source_key=pl.format("options_flow_history/{}/{}", "symbol", instant_text("newest_trade_at")),
    ).select(*moments.columns, *_FOUND)


_FOUND = (
    "described_at", "missing", "outdated", "inputs_missing", "source_key",
    *(name for name in WINDOW_SCHEMA if name not in ("symbol", "as_of", "newest_trade_at")),
)  # fmt: skip
_STRENGTH, _INSTITUTIONAL = pl.col("strength").round(9), pl.col("institutional_score").round(9)
_NEUTRAL = pl.col("bias") == "neutral"
_WORTH = by_step(_STRENGTH, STRENGTH_STEPS, 1.05) * by_step(_INSTITUTIONAL, INSTITUTIONAL_STEPS, 1.00)
_LOG = (
    pl.when(_NEUTRAL)
    .then(0.0)
    .otherwise(SIDE * pl.col("sentiment").sign() * pl.min_horizontal(_WORTH.log(), pl.lit(log(LIMIT))))
)

FLOW_ENGINE = Engine(
    name="flow",
    title="FlowAnalysisEngine",
    table="options_flow_history",
    stale_after=Age(120, "minutes"),
    multiplier_range=(1.0 / LIMIT, LIMIT),
    labels=("BULLISH", "BEARISH", "NEUTRAL"),
    recommendations=("WAIT", "NEUTRAL", "FOLLOW_FLOW", "CONFIRM_FLOW", "FADE_FLOW"),
    find=_find,
    label=pl.col("bias").cast(pl.String).str.to_uppercase(),
    recommendation=pl.when(_NEUTRAL)
    .then(pl.lit("NEUTRAL"))
    .when((_STRENGTH > 70) & (_INSTITUTIONAL > 70))
    .then(pl.lit("FOLLOW_FLOW"))
    .when((_STRENGTH > 50) & (_INSTITUTIONAL > 50))
    .then(pl.lit("CONFIRM_FLOW"))
    .when((_STRENGTH > 60) & (_INSTITUTIONAL < 20))
    .then(pl.lit("FADE_FLOW"))
    .otherwise(pl.lit("NEUTRAL")),
    multiplier=_LOG.exp(),
    ln_multiplier=_LOG,
    confidence=pl.col("known_premium_usd") / pl.col("premium_usd")
    - 0.20 * (pl.col("trades") < FEW_TRADES).cast(pl.Float64)
    - 0.15 * (pl.col("known_premium_usd") < LITTLE_PREMIUM_USD).cast(pl.Float64)
    - 0.15 * (_INSTITUTIONAL < LITTLE_INSTITUTIONAL).cast(pl.Float64),
    neutral_recommendation="WAIT",
)
