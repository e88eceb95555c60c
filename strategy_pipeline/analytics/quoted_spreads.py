"""The bid-ask spread at the end of each regular minute, and the column of a feature row that shows it.

Quotes in, rows of ``quoted_spreads`` out. Reading the vendor's file is ingestion's business.
"""

from datetime import date, timedelta

import polars as pl

from strategy_pipeline.lake.asof import KNOWN_AT, as_of
from strategy_pipeline.lake.tables import FEATURES, INSTANT, MAX_QUOTE_AGE_S, QUOTED_SPREADS, Table
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import BAR_LAG

DEFINITION_VERSION = "quoted-spreads-1"
MAX_QUOTE_AGE = timedelta(seconds=MAX_QUOTE_AGE_S)
# Columns of ``quoted_spreads`` that a feature row is made from.
COLUMNS_READ = ("symbol", "minute_end", "spread_pct", KNOWN_AT)


def quoted_spreads(quotes: pl.DataFrame, day: date) -> pl.DataFrame:
    """Rows of ``quoted_spreads`` of a session: per symbol and regular minute the newest sound quote at its end.

    quotes: symbol, bid and ask ($), quote_at, available_at and ingested_at, of one symbol in the order of the tape.
    A quote counts when both sides are there and above zero and the bid is not above the ask; a locked one has the
    spread 0. A minute whose newest such quote is older than MAX_QUOTE_AGE has no row.
    """
    hours = calendar.session(day)
    minutes = pl.datetime_range(hours.open, hours.close, "1m", closed="right", eager=True).cast(INSTANT)
    symbols = quotes.select(pl.col("symbol").unique().sort())
    grid = symbols.with_columns(minute_end=pl.lit(minutes).implode()).explode("minute_end")
    names = ("bid", "ask", "quote_at", "ingested_at")
    found = as_of(
        grid,
        quotes.filter(is_sound()),
        by=["symbol"],
        columns={name: name for name in names},
        at="minute_end",
        max_age=MAX_QUOTE_AGE,
    )
    return (
        found.drop_nulls("quote_at")
        .with_columns(
            session=pl.lit(day),
            spread_pct=spread_pct(),
            source=pl.lit("flat_file"),
            quality=pl.lit("final"),
            quality_flags=pl.lit([], dtype=pl.List(pl.String)),
            available_at=pl.col("minute_end") + BAR_LAG,
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(DEFINITION_VERSION),
        )
        .select(pl.col(name).cast(kind) for name, kind in QUOTED_SPREADS.polars_schema.items())
        .sort(*QUOTED_SPREADS.sort_by)
    )


def is_sound() -> pl.Expr:
    """Whether a quote has two sides above zero that do not cross; locked ones do not."""
    bid, ask = pl.col("bid"), pl.col("ask")
    return ((bid > 0) & (ask > 0) & (bid <= ask) & bid.is_finite() & ask.is_finite()).fill_null(value=False)


def spread_pct() -> pl.Expr:
    """100 (ask - bid) / mid of a sound quote, % of mid (detectors.md section 2)."""
    bid, ask = pl.col("bid"), pl.col("ask")
    return 100.0 * (ask - bid) / (0.5 * (ask + bid))


def sessions_read(session: date) -> dict[Table, list[date]]:
    """The session whose quotes decide a row of `session`: its own."""
    return {QUOTED_SPREADS: [session]}


def spread_features(rows: pl.DataFrame, spreads: pl.DataFrame) -> pl.Series:
    """`spread_pct` of the feature schema for each of `rows` (symbol, bar_end, available_at), in their order.

    It is that of the minute that ends with the bar, so never of a quote after `bar_end` however late the bar became
    known, and null where no quote was in force then.
    """
    ends = spreads.select("symbol", "spread_pct", KNOWN_AT, bar_end="minute_end")
    asked = rows.select("symbol", "bar_end", KNOWN_AT)
    found = as_of(asked, ends, by=["symbol", "bar_end"], columns={"spread_pct": "spread_pct"})
    return found["spread_pct"].cast(FEATURES.polars_schema["spread_pct"])
