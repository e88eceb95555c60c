"""Stop, targets and the ratio of reward to risk from the levels around the price (detectors.md section 7.4).

The entry reference is the close of the signal's bar; where an order is filled is the simulator's business.
"""

from dataclasses import dataclass

import polars as pl

from strategy_pipeline.detectors.comparison import rounded
from strategy_pipeline.lake.tables import RISK_BASES

LEVELS = (
    "session_high", "session_low", "prior_high", "prior_low", "prev_close", "vwap", "or_high", "or_low", "call_wall",
    "put_wall",
)  # fmt: skip
PIN_FAMILY = "eod_pin_setup"
BASIS_DTYPE = pl.Enum(RISK_BASES)
# In ATRs: how far ahead a level must lie to count, how far behind, and how far beyond it the stop is put.
AHEAD_FROM, BEHIND_FROM, BEYOND = 0.25, 0.05, 0.1


@dataclass(frozen=True)
class StylePlan:
    """ATR column, stop limit and targets (both in ATRs) of a style."""

    atr: str
    stop: float
    targets: tuple[float, float, float]


PLANS = {
    "scalp": StylePlan("atr14_5m", 0.75, (1.0, 1.5, 2.0)),
    "day": StylePlan("atr14_15m", 1.0, (1.5, 2.5, 3.5)),
    "swing": StylePlan("atr14_1h", 1.5, (2.0, 3.0, 4.0)),
}
RISK_INPUTS = ("close", *LEVELS, *(plan.atr for plan in PLANS.values()), "max_pain_strike")


def risk_and_reward(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with atr_used, entry_ref, stop_price and targets ($), risk_reward (ratio), reward_basis and risk_basis.

    Reads `direction`, `family`, `recommended_style` and RISK_INPUTS. Without a positive ATR of the style everything
    but the entry reference is null; so it is without a style.
    """
    style = pl.col("recommended_style").cast(pl.String)
    atr, k, first, second, third = (_of_style(style, name) for name in ("atr", "stop", "first", "second", "third"))
    sign = pl.when(pl.col("direction").cast(pl.String) == "LONG").then(1.0).otherwise(-1.0)
    entry, a, s = pl.col("entry_ref"), pl.col("atr_used"), pl.col("_s")
    distances = [s * (pl.col(name) - entry) for name in LEVELS]
    ahead = _nearest(distances, beyond=AHEAD_FROM * a)
    behind = _nearest([-distance for distance in distances], beyond=BEHIND_FROM * a)
    pinned = pl.col("family") == PIN_FAMILY
    limit, ahead_atr = pl.col("_k") * a, second * a
    padded = pl.col("_behind") + BEYOND * a
    # A level's distance wins where it is shorter; both bases are decided on what is compared.
    by_level_ahead = (rounded(pl.col("_ahead")) < rounded(ahead_atr)).fill_null(value=False)
    by_level_behind = (rounded(padded) < rounded(limit)).fill_null(value=False)
    reward = (
        pl.when(pinned)
        .then((pl.col("max_pain_strike") - entry).abs())
        .when(by_level_ahead)
        .then("_ahead")
        .otherwise(ahead_atr)
    )
    risk = pl.when(by_level_behind).then(pl.max_horizontal(padded, 0.5 * limit)).otherwise(limit)
    known = a.is_not_null()
    return (
        rows.with_columns(entry_ref=pl.col("close"), atr_used=pl.when(rounded(atr) > 0.0).then(atr), _s=sign, _k=k)
        .with_columns(ahead.alias("_ahead"), behind.alias("_behind"))
        .with_columns(reward.alias("_reward"), risk.alias("_risk"))
        .with_columns(
            risk_reward=pl.when(known).then(pl.col("_reward") / pl.col("_risk")),
            stop_price=entry - s * pl.col("_risk"),
            target_1=entry + s * pl.col("_reward") * (first / second),
            target_2=entry + s * pl.col("_reward"),
            target_3=entry + s * pl.col("_reward") * (third / second),
            reward_basis=pl.when(known & pinned)
            .then(pl.lit("pin"))
            .when(known & by_level_ahead)
            .then(pl.lit("level"))
            .when(known)
            .then(pl.lit("atr"))
            .cast(BASIS_DTYPE),
            risk_basis=pl.when(known & by_level_behind)
            .then(pl.lit("level"))
            .when(known)
            .then(pl.lit("atr"))
            .cast(BASIS_DTYPE),
        )
        .with_columns(
            pl.when(pl.col("risk_reward").is_not_null()).then(pl.col(name)).alias(name)
            for name in ("stop_price", "target_1", "target_2", "target_3")
        )
        .drop("_s", "_k", "_ahead", "_behind", "_reward", "_risk")
    )


def _nearest(distances: list[pl.Expr], beyond: pl.Expr) -> pl.Expr:
    """The smallest of `distances` greater than `beyond`; null when there is none."""
    return pl.min_horizontal(pl.when(rounded(one) > rounded(beyond)).then(one) for one in distances)


def _of_style(style: pl.Expr, name: str) -> pl.Expr:
    """A value of the plan of the row's style."""
    value: pl.Expr = pl.lit(None, dtype=pl.Float64)
    for word, plan in PLANS.items():
        if name == "atr":
            of_plan = pl.col(plan.atr)
        elif name == "stop":
            of_plan = pl.lit(plan.stop)
        else:
            of_plan = pl.lit(plan.targets[("first", "second", "third").index(name)])
        value = pl.when(style == word).then(of_plan).otherwise(value)
    return value
