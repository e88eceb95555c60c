"""Real and hand-made option sessions as frames, for the tests of chains; no test lives here."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from strategy_pipeline.ingestion.corporate_actions import merged, parse_corporate_actions
from strategy_pipeline.ingestion.layout import DATASETS
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.option_files import (
    option_contracts,
    option_prints,
    option_symbols_to_roots,
    parse_open_interest,
    parse_option_quotes,
)
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.lake.tables import HISTORICAL_BARS, INSTANT, OPEN_INTEREST

PUBLISHED_AT = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def raw_of(root: Path, key: str) -> RawFile:
    path = root / key
    return RawFile(key, path, path.stat().st_size, "etag-1", PUBLISHED_AT, "sha")


def actions_of(root: Path) -> pl.DataFrame:
    return merged(
        parse_corporate_actions(root / f"extra/corporate_actions/{name}.csv") for name in ("splits", "dividends")
    )


def flat_curve(rate: float) -> pl.DataFrame:
    schema = {"tenor_years": pl.Float64, "rate": pl.Float64, "available_at": INSTANT}
    return pl.DataFrame([(1 / 365, rate, datetime(2000, 1, 1, tzinfo=UTC))], schema=schema, orient="row")


def real_session(root: Path, day: date, symbol: str, *, index: bool = False) -> dict[str, Any]:
    """What chain_snapshots takes, from the files that there are of a symbol's session."""
    path = f"{day:%Y/%m}/{day}.csv.gz"
    found: dict[str, Any] = {}
    key = f"us_options_opra/quotes_v1/{path}"
    if (root / key).exists():
        quotes = parse_option_quotes(raw_of(root, key), day, [symbol]).rows
        found |= {"quotes": quotes} if quotes.height else {}
    key = f"us_options_opra/minute_aggs_v1/{path}"
    roots = option_symbols_to_roots([symbol])
    found["prints"] = option_prints(
        parse_aggregates(raw_of(root, key), DATASETS["us_options_opra/minute_aggs_v1"], roots)
    ).rows
    key = f"extra/option_open_interest/{path}"
    if (root / key).exists():
        found["open_interest"] = parse_open_interest(raw_of(root, key), day, [symbol]).rows
    dataset = DATASETS["us_indices/minute_aggs_v1" if index else "us_stocks_sip/minute_aggs_v1"]
    bars = parse_aggregates(raw_of(root, f"{dataset.name}/{path}"), dataset, [symbol]).bars
    contracts = option_contracts(day, found, actions=actions_of(root), symbols=[symbol]).rows
    return {"day": day, "contracts": contracts, "underlying_bars": bars, **found}


# A hand-made Monday: 2021-01-04, of which 09:45 New York is 14:45 UTC.
DAY = date(2021, 1, 4)
FIRST = datetime(2021, 1, 4, 14, 45, tzinfo=UTC)
_EVENT = {"event_at": INSTANT, "available_at": INSTANT, "ingested_at": INSTANT}


def quote(ticker: str, at: datetime, bid: float | None, ask: float | None) -> dict[str, Any]:
    return {"contract_ticker": ticker, "bid": bid, "ask": ask, "event_at": at, "available_at": at}


def quotes_frame(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {"contract_ticker": pl.String, "bid": pl.Float64, "ask": pl.Float64, **_EVENT}
    return pl.DataFrame([{"ingested_at": PUBLISHED_AT, **row} for row in rows], schema=schema)


def prints_frame(*rows: tuple[str, datetime, float, float]) -> pl.DataFrame:
    schema = {"contract_ticker": pl.String, "price": pl.Float64, "size": pl.Float64, **_EVENT}
    return pl.DataFrame(
        [(ticker, price, size, at, at, PUBLISHED_AT) for ticker, at, price, size in rows], schema=schema, orient="row"
    )


def minute_bars(*rows: tuple[str, datetime, float]) -> pl.DataFrame:
    """1m bars from symbol, end of the bar and close."""
    end = pl.col("bar_end")
    frame = pl.DataFrame(rows, schema={"symbol": pl.String, "bar_end": INSTANT, "close": pl.Float64}, orient="row")
    return frame.select(
        "symbol", pl.lit("1m").alias("timeframe"), (end - pl.duration(minutes=1)).alias("bar_start"), "bar_end",
        end.dt.date().alias("session"), pl.lit("rth").alias("segment"),
        *(pl.col("close").alias(name) for name in ("open", "high", "low", "close")),
        pl.lit(1.0).alias("volume"), pl.lit(None).alias("vwap"), pl.lit(None).alias("trades"),
        pl.lit(None).alias("coverage_pct"), pl.lit("flat_file").alias("source"), pl.lit("final").alias("quality"),
        pl.lit([], dtype=pl.List(pl.String)).alias("quality_flags"),
        (end + pl.duration(seconds=2)).alias("available_at"), pl.lit(PUBLISHED_AT).alias("ingested_at"),
        pl.lit(0).alias("revision"), pl.lit("bars-1/session").alias("definition_version"),
    ).cast(HISTORICAL_BARS.polars_schema)  # fmt: skip


def interest_frame(*rows: tuple[str, int], day: date, oi_session: date, available_at: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (day, ticker, "XYZ", count, oi_session, "flat_file", "final", [], available_at, PUBLISHED_AT, 0, "test")
            for ticker, count in rows
        ],
        schema=OPEN_INTEREST.polars_schema,
        orient="row",
    )
