"""IVPercentileEngine: long premium is worth more when volatility is cheap against its own year (section 2)."""

import polars as pl

from strategy_pipeline.engines.declaration import Age, Engine, by_word, names_where, newest_known
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import IV_REGIMES
from strategy_pipeline.market.session_clock import close_of

MULTIPLIERS = {
    "EXTREMELY_LOW": 1.20,
    "LOW": 1.10,
    "NORMAL": 1.00,
    "ELEVATED": 0.95,
    "HIGH": 0.85,
    "EXTREMELY_HIGH": 0.70,
}
RECOMMENDATIONS = {
    "EXTREMELY_LOW": "BUY_PREMIUM",
    "LOW": "BUY_PREMIUM",
    "NORMAL": "NEUTRAL",
    "ELEVATED": "WAIT_FOR_IV_DROP",
    "HIGH": "WAIT_FOR_IV_DROP",
    "EXTREMELY_HIGH": "SELL_PREMIUM",
}
FAVORABLE_BELOW_PCT = 40.0
FULL_SESSIONS = 202
# Percentiles that are all below 1 over so many rows are shares, not per cent.
UNIT_ROWS = 20

_READ = ("session", "cm30_atm_iv", "cm30_status", "iv_rank_pct", "iv_percentile_pct", "iv_regime", "iv_trend",
         "n_history", "history_status")  # fmt: skip


def _find(moments: pl.DataFrame, cache: pl.DataFrame) -> pl.DataFrame:
    percentiles = cache["iv_percentile_pct"].drop_nulls()
    if len(percentiles) >= UNIT_ROWS and float(percentiles.max()) <= 1.0:  # type: ignore[arg-type]
        raise DataError("iv_percentile_pct never exceeds 1, so it holds shares: percentiles are stored from 0 to 100.")
    right = newest_known(cache, ["symbol"], "session")
    found = as_of(moments, right, by=["symbol"], at="as_of", columns={name: name for name in _READ})
    return found.with_columns(
        described_at=close_of(found["session"]),
        missing=pl.when(pl.col("cm30_atm_iv").is_null())
        .then(pl.lit("no_iv"))
        .when(pl.col("history_status").cast(pl.String) == "insufficient")
        .then(pl.lit("too_little_history"))
        .when(pl.col("iv_percentile_pct").is_null())
        .then(pl.lit("no_percentile")),
        outdated=pl.lit(None, dtype=pl.String),
        inputs_missing=names_where({name: pl.col(name).is_null() for name in ("iv_rank_pct", "iv_trend")}),
        source_key=pl.format("iv_percentile_cache/{}/{}", "symbol", "session"),
    ).drop("session")


def iv_engine(*, credit: bool = False) -> Engine:
    """The engine for strategies that pay premium, or with `credit` for those that take it (1/m)."""
    percentile = pl.col("iv_percentile_pct").round(9)
    worth = by_word("iv_regime", {name: 1.0 / value if credit else value for name, value in MULTIPLIERS.items()})
    recommended = pl.col("iv_regime").cast(pl.String).replace_strict(RECOMMENDATIONS, return_dtype=pl.String)
    low, high = min(MULTIPLIERS.values()), max(MULTIPLIERS.values())
    short = (FULL_SESSIONS - pl.col("n_history")).clip(lower_bound=0) * (0.2 / FULL_SESSIONS)
    extreme = (percentile < 5.0) | (percentile > 95.0)
    single = pl.col("cm30_status").cast(pl.String) == "single_expiry"
    return Engine(
        name="iv",
        title="IVPercentileEngine",
        table="iv_percentile_cache",
        stale_after=Age(1, "sessions"),
        multiplier_range=(1.0 / high, 1.0 / low) if credit else (low, high),
        labels=IV_REGIMES,
        recommendations=("BUY_PREMIUM", "BUY_FAVORABLE", "NEUTRAL", "WAIT_FOR_IV_DROP", "SELL_PREMIUM"),
        find=_find,
        label=pl.col("iv_regime"),
        recommendation=pl.when((pl.col("iv_regime") == "NORMAL") & (percentile < FAVORABLE_BELOW_PCT))
        .then(pl.lit("BUY_FAVORABLE"))
        .otherwise(recommended),
        multiplier=worth,
        confidence=1.0 - short - 0.10 * extreme.cast(pl.Float64) - 0.15 * single.cast(pl.Float64),
        version="1/credit" if credit else "1",
    )
