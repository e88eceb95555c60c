"""GammaExposureEngine: short dealers carry moves on, long dealers and walls hold them up (section 3)."""

from itertools import product

import polars as pl

from strategy_pipeline.engines.declaration import SIDE, Age, Engine, by_word, instant_text, names_where, newest_known
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import POSITIONING_STRENGTHS

NEUTRAL = "NEUTRAL"
MULTIPLIERS = {
    **dict(zip(product(["SHORT_GAMMA"], POSITIONING_STRENGTHS), (1.05, 1.10, 1.15, 1.20), strict=True)),
    **dict(zip(product(["LONG_GAMMA"], POSITIONING_STRENGTHS), (0.95, 0.90, 0.85, 0.80), strict=True)),
}
LABELS = (*(f"{positioning}_{strength}" for positioning, strength in MULTIPLIERS), NEUTRAL)
OPPOSING_WALL = 0.85
WALL_REACH = 0.01
FEW_CONTRACTS, SOME_CONTRACTS = 50_000, 100_000

_READ = ("snapshot_at", "status", "underlying_price", "dealer_positioning", "positioning_strength",
         "expected_behavior", "call_wall", "put_wall", "total_call_oi", "total_put_oi", "agreement",
         "oi_coverage_pct")  # fmt: skip


def _find(moments: pl.DataFrame, snapshots: pl.DataFrame) -> pl.DataFrame:
    headline = snapshots.filter(pl.col("sign_convention").cast(pl.String) == "A")
    right = newest_known(headline, ["symbol"], "snapshot_at")
    found = as_of(moments, right, by=["symbol"], at="as_of", columns={name: name for name in _READ})
    status = pl.col("status").cast(pl.String)
    return found.with_columns(
        described_at=pl.col("snapshot_at"),
        missing=pl.when(status == "missing_input")
        .then(pl.lit("missing_input"))
        .when(status == "insufficient")
        .then(pl.lit("insufficient_coverage"))
        .when(pl.col("dealer_positioning").is_null())
        .then(pl.lit("no_gamma")),
        outdated=pl.when(status == "stale").then(pl.lit("stale_open_interest")),
        inputs_missing=names_where({"agreement": pl.col("agreement").is_null()}),
        source_key=pl.format("gamma_exposure_snapshots/{}/{}/A", "symbol", instant_text("snapshot_at")),
        gamma_label=pl.when(pl.col("dealer_positioning") == NEUTRAL)
        .then(pl.lit(NEUTRAL))
        .otherwise(pl.concat_str("dealer_positioning", "positioning_strength", separator="_")),
        total_oi=pl.sum_horizontal("total_call_oi", "total_put_oi"),
    ).drop("status", "snapshot_at")


def gamma_engine(*, reversion_inverts: bool = False) -> Engine:
    """The engine; with `reversion_inverts`, ln m is negated for requests whose column `reversion` is true."""
    label, positioning, strength = pl.col("gamma_label"), pl.col("dealer_positioning"), pl.col("positioning_strength")
    wall = pl.when(pl.col("direction") == "LONG").then("call_wall").otherwise("put_wall")
    distance = (SIDE * (wall - pl.col("underlying_price")) / pl.col("underlying_price")).round(9)
    opposed = distance.is_between(0.0, WALL_REACH).fill_null(False)
    base = by_word("gamma_label", dict(zip(LABELS, (*MULTIPLIERS.values(), 1.0), strict=True)))
    worth = base * pl.when(opposed).then(OPPOSING_WALL).otherwise(1.0)
    lowest, highest = min(MULTIPLIERS.values()) * OPPOSING_WALL, max(MULTIPLIERS.values())
    if reversion_inverts:
        worth = pl.when("reversion").then(1.0 / worth).otherwise(worth)
        lowest, highest = min(lowest, 1.0 / highest), max(highest, 1.0 / lowest)
    few = pl.when(pl.col("total_oi") < FEW_CONTRACTS).then(0.20).when(pl.col("total_oi") < SOME_CONTRACTS).then(0.10)
    weak = pl.when(strength == "WEAK").then(0.15).when(strength == "MODERATE").then(0.05)
    ambiguous = pl.when(pl.col("agreement").eq(False)).then(0.20)
    behavior = pl.col("expected_behavior")
    short = positioning == "SHORT_GAMMA"
    return Engine(
        name="gamma",
        title="GammaExposureEngine",
        table="gamma_exposure_snapshots",
        stale_after=Age(30, "minutes"),
        multiplier_range=(lowest, highest),
        labels=LABELS,
        recommendations=("AVOID_PINNING", "TREND_CONTINUATION", "BREAKOUT_SETUP", "RANGE_TRADE", NEUTRAL),
        find=_find,
        label=label,
        recommendation=pl.when(opposed & (behavior == "PINNING"))
        .then(pl.lit("AVOID_PINNING"))
        .when(short & strength.cast(pl.String).is_in(["WEAK", "MODERATE"]))
        .then(pl.lit("TREND_CONTINUATION"))
        .when(short)
        .then(pl.lit("BREAKOUT_SETUP"))
        .when(behavior == "RANGE_BOUND")
        .then(pl.lit("RANGE_TRADE"))
        .otherwise(pl.lit(NEUTRAL)),
        multiplier=worth,
        confidence=(1.0 - few.otherwise(0.0) - weak.otherwise(0.0) - ambiguous.otherwise(0.0))
        * (0.01 * pl.col("oi_coverage_pct")),
        request_columns=("reversion",) if reversion_inverts else (),
        version="1/reversion_inverts" if reversion_inverts else "1",
    )
