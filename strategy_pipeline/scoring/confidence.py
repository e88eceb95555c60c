"""How much of what a signal should know was known: data confidence, 0-100 (detectors.md section 7.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from strategy_pipeline.detectors.comparison import rounded
from strategy_pipeline.lake.asof import KNOWN_AT
from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.market.symbols import INDEX

CRITICAL = ("close", "rvol", "atr14_5m")
CRITICAL_PENALTY = 15.0
# Columns that stand and fall together, and what they weigh.
WEIGHTS: dict[tuple[str, ...], float] = {
    ("close",): 20.0,
    ("rvol",): 20.0,
    ("atr14_5m",): 10.0,
    ("vwap",): 10.0,
    ("rsi14",): 8.0,
    ("ema21",): 6.0,
    ("flow_score",): 6.0,
    ("flow_buy_pressure_pct",): 6.0,
    ("prev_close",): 5.0,
    ("adv20_shares",): 5.0,
    ("vwap_dist_pct",): 5.0,
    ("vix_level",): 5.0,
    ("market_regime",): 5.0,
    ("rsi14_5m",): 4.0,
    ("flow_bias",): 4.0,
    ("prior_high", "prior_low"): 4.0,
    ("rsi14_15m",): 3.0,
    ("or_high",): 3.0,
    ("minutes_since_open",): 3.0,
    ("rsi14_1h",): 2.0,
    ("flow_trend",): 2.0,
    ("flow_aggressiveness",): 2.0,
    ("swing_high", "swing_low"): 2.0,
}
CONFIDENCE_INPUTS = tuple(name for names in WEIGHTS for name in names)
_FLOW = tuple(name for name in CONFIDENCE_INPUTS if name.startswith("flow_"))
# What an index without a volume proxy can never have.
_NEEDS_VOLUME = ("rvol", "vwap", "vwap_dist_pct", "adv20_shares")


@dataclass(frozen=True)
class DataProfile:
    """Which optional data there is at all; what is not subscribed, or not listed for a symbol, is not missing.

    `flow_symbols` are the symbols whose options trade; None means all. `quoted_since` is when the first quote of a
    symbol's session came to be known; None means that every symbol is quoted throughout.
    """

    flow_symbols: frozenset[str] | None = None
    vix: bool = True
    regime: bool = True
    quoted_since: Mapping[str, datetime] | None = None

    def covers(self, column: str) -> bool:
        """Whether the profile holds the data a feature column is made of, for any symbol."""
        return {"vix_level": self.vix, "market_regime": self.regime}.get(column, True)

    def applies(self, column: str) -> pl.Expr:
        """Whether a row's symbol can have a value of a covered column."""
        if column in _FLOW and self.flow_symbols is not None:
            return pl.col("symbol").is_in(sorted(self.flow_symbols))
        if column in _NEEDS_VOLUME:
            return (pl.col("asset_class").cast(pl.String) != INDEX) | pl.col("rvol_symbol").is_not_null()
        return pl.lit(value=True)

    def quotes_apply(self) -> pl.Expr:
        """Whether a row's symbol is quoted in its session by then (`available_at`); an index never is."""
        quoted = pl.lit(value=True)
        if self.quoted_since is not None:
            since = pl.Series(self.quoted_since.values(), dtype=INSTANT)
            first = pl.col("symbol").replace_strict(list(self.quoted_since), since, default=None, return_dtype=INSTANT)
            quoted = (pl.col(KNOWN_AT) >= first).fill_null(value=False)
        return quoted & (pl.col("asset_class").cast(pl.String) != INDEX)


EVERYTHING = DataProfile()


def data_confidence(profile: DataProfile) -> list[pl.Expr]:
    """completeness and data_confidence (both 0-100) and confidence_missing, the names of the missing inputs.

    Reads CONFIDENCE_INPUTS, `symbol`, `asset_class` and `rvol_symbol`.
    """
    applicable, available, critical = pl.lit(0.0), pl.lit(0.0), pl.lit(0.0)
    missing = []
    for names, weight in WEIGHTS.items():
        if not all(profile.covers(name) for name in names):
            continue
        applies = profile.applies(names[0])
        known = pl.all_horizontal(pl.col(name).is_not_null() for name in names)
        applicable = applicable + pl.when(applies).then(weight).otherwise(0.0)
        available = available + pl.when(applies & known).then(weight).otherwise(0.0)
        if names[0] in CRITICAL:
            critical = critical + (applies & ~known).cast(pl.Float64)
        missing += [pl.when(applies & pl.col(name).is_null()).then(pl.lit(name)) for name in names]
    completeness = 100.0 * available / applicable
    compared = rounded(completeness)
    bonus = pl.when(compared < 50.0).then(-20.0).when(compared < 70.0).then(-10.0).when(compared >= 90.0).then(5.0)
    confidence = 0.01 * (100.0 - CRITICAL_PENALTY * critical) * completeness + bonus.otherwise(0.0)
    return [
        completeness.alias("completeness"),
        confidence.clip(0.0, 100.0).alias("data_confidence"),
        pl.concat_list(missing).list.drop_nulls().alias("confidence_missing"),
    ]
