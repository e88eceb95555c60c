"""The vendor's stock quotes: best bids and offers of one session with the moment of each on the tape.

Whether a quote has two sides, is crossed or too old is judged where it is used (analytics/quoted_spreads.py).
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from strategy_pipeline.ingestion.judged_files import REASONS as SHARED_REASONS
from strategy_pipeline.ingestion.judged_files import (
    FileReading,
    JudgedFile,
    TickerMeaning,
    in_another_unit,
    instant_of_ns,
    of_another_date,
)
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.lake.tables import INSTANT

DATASET = "us_stocks_sip/quotes_v1"
# `quote_at` is the tape time truncated to microseconds, `available_at` the first whole microsecond not before it.
STOCK_QUOTES = pl.Schema(
    {
        "symbol": pl.String(),
        "sip_timestamp_ns": pl.Int64(),
        "sequence": pl.Int64(),
        "bid": pl.Float64(),
        "ask": pl.Float64(),
        "quote_at": INSTANT,
        "available_at": INSTANT,
        "ingested_at": INSTANT,
    }
)
# Wider than the symbols that can be watched: preferred shares carry small letters (BACpL), and are not ours to refuse.
_STOCK = r"^[A-Z][A-Za-z0-9.\-/^]*$"
REASONS = SHARED_REASONS | {"malformed_ticker": "the ticker is not that of a stock"}


def parse_stock_quotes(raw: RawFile, day: date, symbols: Iterable[str] | None = None) -> JudgedFile:
    """Best bids and offers of `day` in STOCK_QUOTES, sorted by symbol and tape time, of `symbols` (None: all).

    Needs the columns ticker, sip_timestamp (nanoseconds UTC), bid_price and ask_price ($); sequence_number may be
    absent, then the line number stands in. An empty side is null and a zero stays zero. Never raises for what the
    file contains.
    """
    number = pl.Int64()
    needed = {"ticker": pl.String(), "sip_timestamp": number, "bid_price": pl.Float64(), "ask_price": pl.Float64()}
    bid, ask = pl.col("bid_price"), pl.col("ask_price")
    checks = {
        "unreadable_value": bid.is_null() & ask.is_null() | pl.col("sip_timestamp").is_null(),
        "timestamp_unit": in_another_unit("sip_timestamp"),
        "other_date": of_another_date("sip_timestamp", day),
        "price_not_finite": ~(bid.is_finite() & ask.is_finite()),
        "price_negative": (bid < 0) | (ask < 0),
    }
    reading = FileReading(
        raw, DATASET, day, needed, {"sequence_number": number}, checks, symbols,
        tickers=TickerMeaning(stocks_of, "symbol", _of_others), reasons=REASONS,
    )  # fmt: skip
    return reading.result(
        ["ticker", "sip_timestamp", "sequence_number"],
        ["bid_price", "ask_price"],
        lambda rows: rows.select(
            symbol="ticker",
            sip_timestamp_ns="sip_timestamp",
            sequence="sequence_number",
            bid="bid_price",
            ask="ask_price",
            quote_at=instant_of_ns("sip_timestamp"),
            available_at=(-(-pl.col("sip_timestamp") // 1_000)).cast(INSTANT),
            ingested_at=pl.lit(raw.last_modified, dtype=INSTANT),
        ).cast(STOCK_QUOTES),
        pl.DataFrame(schema=STOCK_QUOTES),
    )


def stocks_of(tickers: pl.Series) -> pl.DataFrame:
    """Each of distinct tickers with the symbol it means: ticker, symbol; null when it is none of a stock."""
    ticker = pl.col("ticker")
    named = pl.DataFrame({"ticker": tickers}, schema={"ticker": pl.String})
    return named.with_columns(symbol=pl.when(ticker.str.contains(_STOCK)).then(ticker))


def _of_others(symbols: list[str]) -> pl.Expr:
    """Whether a ticker is that of a stock and of none of `symbols`."""
    ticker = pl.col("ticker")
    return (ticker.str.contains(_STOCK) & ~ticker.is_in(symbols)).fill_null(value=False)
