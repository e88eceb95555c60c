"""`provisional_bars` as an asset: sessions that are not published as files yet, over REST, into `historical_bars`.

They have the quality provisional and go when the session's files come. Which sessions those are and what their bars
look like is ``ingestion``'s work.
"""

from collections.abc import Collection
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.defs.assets.bars import BarsConfig, counts_of
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, sessions_of
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.quarantine import replace_refused
from strategy_pipeline.errors import SourceError
from strategy_pipeline.ingestion.hybrid import IS_LIVE, RecentBars, beside_files, fetch_recent, unpublished
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.rest_bars import DATASET
from strategy_pipeline.ingestion.session_bars import context_only, summaries, with_proxies
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import HISTORICAL_BARS, QUARANTINE
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "provisional-bars-1"


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=["historical_bars"],
    code_version=CODE_VERSION,
    description=(
        "Bars of the sessions of a range that are not published as files, over REST, into historical_bars with the "
        "quality provisional. A symbol whose answer does not come is named, and rows from files are never replaced."
    ),
)
def provisional_bars(
    context: dg.AssetExecutionContext,
    config: BarsConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    vendor_api: dg.ResourceParam[VendorApi],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    instruments = with_proxies(watchlist.extended(config.symbols).instruments)
    kept = context_only(watchlist.context, instruments)
    if config.symbols:
        instruments, kept = [one for one in instruments if one.symbol in config.symbols], []
    wanted = unpublished(raw_files, sessions_of(config.keys(context)), [*instruments, *kept])
    daily_only = {one.symbol for one in kept}
    with progress.track("provisional_bars", len(wanted)) as advance:
        found = fetch_recent(vendor_api, wanted, advance, daily_only=daily_only)
    _keep_refused(lake, found)
    failures = [one.failure for one in found if one.failure is not None]
    if failures and len(failures) == len(found):
        raise SourceError(" ".join(dict.fromkeys(failures[:3])))
    for sentence in failures:
        context.log.warning(sentence)
    written = _store(lake, found, daily_only)
    return publish(context, {info.key["session"]: _described(info) for info in written})


def _keep_refused(lake: Lake, found: list[RecentBars]) -> None:
    """Stores what was refused of each answer, in place of what was refused of it before."""
    refused = pl.concat([QUARANTINE.empty(), *(one.quarantine for one in found)])
    for (day,), rows in refused.partition_by("session", as_dict=True).items():
        held = lake.read_sessions(QUARANTINE, [day], where=pl.col("dataset") == DATASET)
        kept = held.filter(~pl.col("source_key").is_in(rows["source_key"].unique().implode()))
        replace_refused(lake, {day: pl.concat([kept, rows])}, [DATASET])


def _store(lake: Lake, found: list[RecentBars], daily_only: Collection[str]) -> list[PartitionInfo]:
    """Puts bars into the partitions of their sessions, each beside what stands there from files or of other symbols.

    A partition does not count the symbols of `daily_only` among those it is built for.
    """
    if not found:
        return []
    bars = pl.concat([one.bars for one in found])
    parts = []
    for day in bars["session"].unique().sort():
        fresh = bars.filter(pl.col("session") == day)
        held = lake.read_sessions(HISTORICAL_BARS, [day])
        others = held.filter(IS_LIVE & ~pl.col("symbol").is_in(fresh["symbol"].unique().implode()))
        whole = beside_files(held.filter(~IS_LIVE), pl.concat([others, fresh]))
        said = lake.metadata(HISTORICAL_BARS, {"session": day}) or {}
        whole_symbols = set(fresh["symbol"].unique()) - set(daily_only)
        symbols = sorted({*filter(None, said.get("symbols", "").split(",")), *whole_symbols})
        counts = counts_of(summaries(whole)[day], int(said.get("quarantined", 0)))
        parts.append(({"session": day}, whole, {**said, "symbols": ",".join(symbols), **counts}))
    return lake.write_many(HISTORICAL_BARS, parts)


def _described(info: PartitionInfo) -> dict[str, Any]:
    return {"sha256": info.sha256, "dagster/row_count": info.rows, "bytes": info.bytes, "code_version": CODE_VERSION}


provisional_bars_assets = [provisional_bars]
