"""Table contracts: columns, types, units, keys and row rules of everything the lake stores, declared once.

The writer checks them, Dagster shows them, the documentation is made from them. No reading or writing here.
"""

from dataclasses import dataclass
from functools import cached_property

import dataframely as dy
import polars as pl

from strategy_pipeline.market.timeframes import TIMEFRAMES

INSTANT = pl.Datetime("us", "UTC")
SOURCES = ("flat_file", "rest", "stream", "derived", "synthetic")
QUALITIES = ("provisional", "final", "suspect")
SEGMENTS = ("pre", "rth", "post")
SOURCE_DTYPE, QUALITY_DTYPE, SEGMENT_DTYPE = pl.Enum(SOURCES), pl.Enum(QUALITIES), pl.Enum(SEGMENTS)


def instant(doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.Datetime:
    """A UTC timestamp with microseconds."""
    return dy.Datetime(
        time_unit="us", time_zone="UTC", nullable=nullable, primary_key=primary_key, metadata={"doc": doc}
    )


def text(doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.String:
    """A text column."""
    return dy.String(nullable=nullable, primary_key=primary_key, metadata={"doc": doc})


def number(doc: str, *, nullable: bool = True, **bounds: float) -> dy.Float64:
    """A double-precision column that never holds NaN or an infinity."""
    return dy.Float64(nullable=nullable, allow_inf=False, allow_nan=False, metadata={"doc": doc}, **bounds)


def one_of(values: tuple[str, ...], doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.Enum:
    """A column with a closed set of words."""
    return dy.Enum(values, nullable=nullable, primary_key=primary_key, metadata={"doc": doc})


@dataclass(frozen=True)
class Table:
    """A lake table: its contract, how it is cut into partitions, and in which order rows lie inside one.

    `partition_by` names the key columns of the path in order (``session=…``, ``timeframe=…/session=…``). A partition key
    may or may not also be a column of the schema.
    """

    name: str
    schema: type[dy.Schema]
    partition_by: tuple[str, ...]
    sort_by: tuple[str, ...]
    description: str
    row_group_rows: int = 8_192

    @cached_property
    def polars_schema(self) -> pl.Schema:
        """Column names and Polars types in contract order."""
        return pl.Schema({name: column.dtype for name, column in self.schema.columns().items()})

    @cached_property
    def column_docs(self) -> dict[str, str]:
        """What each column means, with its unit."""
        return {
            name: str((column.metadata or {}).get("doc", "")) for name, column in self.schema.columns().items()
        }

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Columns that identify a row."""
        return tuple(self.schema.primary_key())

    def empty(self) -> pl.DataFrame:
        """A frame of this shape without rows."""
        return pl.DataFrame(schema=self.polars_schema)


class HistoricalBarsSchema(dy.Schema):
    """quant_methods.md section 16.1 with the columns common to all history tables."""

    symbol = text("Canonical symbol, no vendor prefix", primary_key=True)
    timeframe = one_of(TIMEFRAMES, "Width of the window; 1w exists at read time only", primary_key=True)
    bar_start = instant("Start of the window, inclusive", primary_key=True)
    bar_end = instant("End of the window, exclusive")
    session = dy.Date(nullable=False, metadata={"doc": "Exchange date (XNYS)"})
    segment = one_of(SEGMENTS, "Before, inside or after regular hours")
    open = number("First price, raw, $ or index points", nullable=False, min_exclusive=0)
    high = number("Highest price, raw, $ or index points", nullable=False, min_exclusive=0)
    low = number("Lowest price, raw, $ or index points", nullable=False, min_exclusive=0)
    close = number("Last price, raw, $ or index points", nullable=False, min_exclusive=0)
    volume = number("Shares; null when the feed has none, 0 only if truly zero", min=0)
    vwap = number("Volume-weighted price, $; null without volume", min_exclusive=0)
    trades = dy.Int64(nullable=True, min=0, metadata={"doc": "Number of transactions; null when not counted"})
    coverage_pct = number("Share of the window's minutes that had a bar, 0-100; null for 1m", min=0, max=100.0000001)
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Provisional until the vendor's file is there")
    quality_flags = dy.List(dy.String(nullable=False), nullable=False, metadata={"doc": "What is odd about the row"})
    available_at = instant("First moment a participant could know the row")
    ingested_at = instant("When the vendor's object that holds the row was published (its Last-Modified)")
    revision = dy.Int32(nullable=False, min=0, metadata={"doc": "0 for the first version of the row"})
    definition_version = text("Method and grid that produced the row")

    @dy.rule()
    def prices_ordered(cls) -> pl.Expr:
        return (
            (pl.col("low") <= pl.min_horizontal("open", "close"))
            & (pl.max_horizontal("open", "close") <= pl.col("high"))
        )

    @dy.rule()
    def weekly_is_not_stored(cls) -> pl.Expr:
        return pl.col("timeframe") != "1w"

    @dy.rule()
    def window_has_length(cls) -> pl.Expr:
        return pl.col("bar_end") > pl.col("bar_start")

    @dy.rule()
    def known_after_it_ended(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("bar_end")


HISTORICAL_BARS = Table(
    "historical_bars",
    HistoricalBarsSchema,
    ("session",),
    ("symbol", "timeframe", "bar_start"),
    "Unadjusted bars of every watched symbol: 1m 5m 15m 1h 4h 1d.",
)


class QuarantineSchema(dy.Schema):
    """What a parser refused, and why; nothing is dropped without a row here or a count on the partition."""

    dataset = text("Vendor data set the row came from")
    session = dy.Date(nullable=False, metadata={"doc": "Session whose file held the row"})
    source_key = text("Key of the vendor's object")
    source_etag = text("ETag of the vendor's object")
    line_number = dy.Int64(nullable=False, min=0, metadata={"doc": "Line in the file, header = 1; 0 = the whole file"})
    reason = text("Why the row was refused, one word of a closed list")
    detail = text("The same as a sentence, with the value at fault")
    raw = text("The row as it stood in the file", nullable=True)


QUARANTINE = Table(
    "quarantine",
    QuarantineSchema,
    ("session",),
    ("dataset", "source_key", "line_number", "reason"),
    "Rows and files a parser refused, with the line and the reason.",
)


class CorporateActionsSchema(dy.Schema):
    """Splits and cash dividends; a factor is effective from 00:00 New York of its ex-date."""

    symbol = text("Canonical symbol", primary_key=True)
    action = one_of(("split", "dividend"), "What happened", primary_key=True)
    ex_date = dy.Date(nullable=False, primary_key=True, metadata={"doc": "First session on the new basis"})
    split_ratio = number("New shares for one old share; null for a dividend", min_exclusive=0)
    cash_amount = number("Dividend per share, $; null for a split", min=0)
    available_at = instant("When the action was known: its declaration, else 00:00 New York of the ex-date")
    source = one_of(SOURCES, "Where the row comes from")

    @dy.rule()
    def holds_what_it_says(cls) -> pl.Expr:
        is_split = pl.col("action") == "split"
        return (is_split & pl.col("split_ratio").is_not_null()) | (~is_split & pl.col("cash_amount").is_not_null())


CORPORATE_ACTIONS = Table(
    "corporate_actions",
    CorporateActionsSchema,
    (),
    ("symbol", "ex_date", "action"),
    "Splits and cash dividends of the watched symbols.",
)
