"""The columns of a feature row that say how the market and the symbol's volatility stand: VIX, IV percentile, regime.

Rows and tables in, columns out, each joined to what was known at the row's own `available_at`; null where nothing is.
"""

from dataclasses import dataclass, field
from datetime import date

import polars as pl

from strategy_pipeline.lake.asof import KNOWN_AT, as_of, never_going_back
from strategy_pipeline.lake.tables import (
    FEATURES,
    HISTORICAL_BARS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    VIX_TIERS,
    Table,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.session_clock import session_number

VIX = "VIX"
# Upper bounds of the tiers but the last, index points; a value on a bound belongs to the tier above.
VIX_TIER_CUTS = (15.0, 25.0, 35.0)
MAX_VIX_SESSIONS = 1

MARKET_COLUMNS = ("vix_level", "vix_tier", "iv_percentile_pct", "market_regime")
ROW_COLUMNS = ("symbol", "session", KNOWN_AT)
VIX_COLUMNS = ("session", "bar_end", "close", KNOWN_AT)


def sessions_read(session: date) -> dict[Table, list[date]]:
    """The sessions of each table that may decide a row of `session`, bars of the VIX apart: those before it."""
    before = [calendar.previous_session(session)] if session > calendar.first_session() else []
    return {IV_PERCENTILE_CACHE: before, MARKET_REGIME_HISTORY: before}


@dataclass(frozen=True)
class MarketTables:
    """Bars of the VIX of the sessions and the one before each, and the tables that ``sessions_read`` names."""

    vix_bars: pl.DataFrame = field(default_factory=HISTORICAL_BARS.empty)
    iv_percentiles: pl.DataFrame = field(default_factory=IV_PERCENTILE_CACHE.empty)
    regimes: pl.DataFrame = field(default_factory=MARKET_REGIME_HISTORY.empty)


def market_features(rows: pl.DataFrame, tables: MarketTables) -> pl.DataFrame:
    """MARKET_COLUMNS of the feature schema for each of `rows` (ROW_COLUMNS), in their order.

    The IV percentile and the regime are those of the previous session's close, and of no session before that.
    """
    found = pl.concat(
        [
            vix_columns(rows, tables.vix_bars),
            _of_previous_close(rows, tables.iv_percentiles, "iv_percentile_pct", ["symbol"]),
            _of_previous_close(rows, tables.regimes, "market_regime", []),
        ],
        how="horizontal",
    )
    return found.select(pl.col(name).cast(FEATURES.polars_schema[name]) for name in MARKET_COLUMNS)


def vix_columns(rows: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Close of the newest known VIX bar of this or the previous session, of whatever timeframe, and its tier."""
    known = never_going_back(bars.select(VIX_COLUMNS), by=[], event="bar_end")
    found = as_of(rows.select(ROW_COLUMNS), known, by=[], columns={"close": "vix_level", "session": "of"})
    age = session_number(found["session"]) - session_number(found["of"])
    level = pl.when(age <= MAX_VIX_SESSIONS).then("vix_level")
    return found.select(vix_level=level).with_columns(vix_tier=vix_tier(pl.col("vix_level")))


def vix_tier(level: pl.Expr) -> pl.Expr:
    """The tier of a VIX level, compared at 9 decimals; null for null."""
    compared = level.round(9)
    tier = pl.lit(VIX_TIERS[-1])
    for cut, word in reversed(list(zip(VIX_TIER_CUTS, VIX_TIERS, strict=False))):
        tier = pl.when(compared < cut).then(pl.lit(word)).otherwise(tier)
    return pl.when(compared.is_not_null()).then(tier).cast(pl.Enum(VIX_TIERS))


def _of_previous_close(rows: pl.DataFrame, table: pl.DataFrame, column: str, by: list[str]) -> pl.DataFrame:
    """`column` of the row that `table` has of the session before each row's, once it is known."""
    sessions = calendar.session_frame()["session"]
    # Beyond the calendar's end nothing follows, and nothing is asked for.
    following = (session_number(table["session"]) + 1).clip(upper_bound=len(sessions) - 1)
    lent = table.select(*by, KNOWN_AT, column).with_columns(session=sessions.gather(following))
    return as_of(rows.select(ROW_COLUMNS), lent, by=[*by, "session"], columns={column: column}).select(column)
