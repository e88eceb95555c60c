"""`historical_bars` as an asset: the raw files of its sessions become unadjusted bars in every stored timeframe."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.plots import coverage_strip
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.quarantine import replace_refused
from strategy_pipeline.defs.table_metadata import describe_table, lineage_of
from strategy_pipeline.errors import DataError, MissingDataError
from strategy_pipeline.ingestion.hybrid import IS_LIVE, beside_files
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.session_bars import (
    FEEDING,
    SessionSources,
    build_bars,
    context_only,
    sources_of,
    stretches,
    summaries,
    with_proxies,
)
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline.settings import Settings, Watchlist

CODE_VERSION = "historical-bars-1"
BARS_DATASETS = tuple(one.name for one in FEEDING)
# What a bars file says about itself besides its pedigree, so that an unchanged one need not be read.
_COUNTS = ("coverage_pct", "null_pct", "suspect_pct", "quarantined", "symbol_count")

# On the last partition of a run: the sentences about files of which nothing could be used.
REFUSALS = "refused_files"
_NAMED_REFUSALS = 3
_READABLE_CHARACTERS = 300


class BarsConfig(PartitionChoice):
    """`symbols` are built besides the watchlist; symbols a partition holds already stay in it."""

    symbols: list[str] = []


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(name) for name in FLAT_FILE_DATASETS],
    code_version=CODE_VERSION,
    description=(
        "Unadjusted bars of every watched symbol at 1m 5m 15m 1h 4h 1d, built from the minute, hour and day files "
        "of the session, and daily bars of the symbols kept as the market's context. What a file holds and cannot be "
        "used stands in the table quarantine, with line and reason."
    ),
    metadata=describe_table(HISTORICAL_BARS),
)
def historical_bars(
    context: dg.AssetExecutionContext,
    config: BarsConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    settings: dg.ResourceParam[Settings],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    sources = sources_of(raw_files, sessions)
    writer = _Writer(lake, watchlist.extended(config.symbols), settings)
    with progress.track("historical_bars", len(sources)) as advance:
        for piece in stretches(sources):
            writer.bring_up_to_date(piece)
            advance(len(piece))
    # A month's hour file is refused once for each of its sessions.
    refusals = list(dict.fromkeys(readable(sentence) for sentence in writer.refusals))
    for sentence in refusals:
        context.log.warning(sentence)
    if sessions and not writer.described:
        raise _nothing_made(sessions, refusals)
    missing = len(sessions) - len(writer.described)
    noun = "session" if len(writer.described) == 1 else "sessions"
    context.log.info(f"historical_bars: {len(writer.described)} {noun}, {missing} without a usable file.")
    if writer.described:
        last = writer.described[max(writer.described)]
        last["coverage"] = coverage_strip(writer.described)
        if refusals:
            last[REFUSALS] = dg.MetadataValue.json(refusals)
    return publish(context, writer.described)


def _nothing_made(sessions: Sequence[date], refusals: Sequence[str]) -> DataError | MissingDataError:
    """Why no session has bars: what was wrong with the files, or that there are none."""
    if refusals:
        more = f" {len(refusals) - _NAMED_REFUSALS} more files were refused." if len(refusals) > _NAMED_REFUSALS else ""
        return DataError(" ".join(refusals[:_NAMED_REFUSALS]) + more)
    return MissingDataError(
        f"No file of {sessions[0]} to {sessions[-1]} with a watched symbol is here: materialise the flat files of "
        "those sessions first, or name the symbols they hold."
    )


def readable(sentence: str) -> str:
    """`sentence` on one line of at most 300 characters; what it quotes of a damaged file may be anything."""
    plain = "".join(letter if letter.isprintable() and letter != "\ufffd" else "?" for letter in sentence)
    return plain if len(plain) <= _READABLE_CHARACTERS else f"{plain[: _READABLE_CHARACTERS - 4]} ..."


class _Writer:
    """Writes the bars of sessions whose sources changed and describes all of them."""

    def __init__(self, lake: Lake, watchlist: Watchlist, settings: Settings) -> None:
        self.lake = lake
        self.instruments = with_proxies(watchlist.instruments)
        self.context = context_only(watchlist.context, self.instruments)
        self.source = settings.source_of_files
        self.described: dict[str, dict[str, Any]] = {}
        self.refusals: list[str] = []

    def bring_up_to_date(self, piece: Sequence[SessionSources]) -> None:
        """Builds the sessions of `piece` whose pedigree differs from that of the stored partition."""
        stored = {one.day: self.lake.metadata(HISTORICAL_BARS, {"session": one.day}) or {} for one in piece}
        held = {day: said["symbols"].split(",") for day, said in stored.items() if said.get("symbols")}
        pedigree = {one.day: self._pedigree(one, held.get(one.day, ())) for one in piece}
        stale = [one for one in piece if not pedigree[one.day].items() <= stored[one.day].items()]
        written = {info.key["session"]: info for info in self._rebuild(stale, held, pedigree)}
        for one in piece:
            key = one.day.isoformat()
            info = written.get(key) or self.lake.info(HISTORICAL_BARS, {"session": one.day})
            if info is not None and info.rows:
                self.described[key] = _described(info, one)

    def _pedigree(self, sources: SessionSources, held: Sequence[str]) -> dict[str, str]:
        symbols = {*(one.symbol for one in self.instruments), *held}
        context = [one.symbol for one in self.context if one.symbol not in symbols]
        return {**sources.pedigree(sorted(symbols), context), "code_version": CODE_VERSION}

    def _rebuild(
        self, stale: Sequence[SessionSources], held: dict[date, list[str]], pedigree: dict[date, dict[str, str]]
    ) -> list[PartitionInfo]:
        if not stale:
            return []
        built = build_bars(stale, self.instruments, held, daily_only=self.context, source=self.source)
        counted = summaries(pl.concat([one.bars for one in built]))
        self.refusals += [sentence for one in built for sentence in one.refusals]
        replace_refused(self.lake, {one.day: one.quarantine for one in built}, BARS_DATASETS)
        parts = []
        for one in built:
            if one.bars.height:
                said = counts_of(counted[one.day], one.quarantine.height)
                live = self.lake.read_sessions(HISTORICAL_BARS, [one.day], where=IS_LIVE)
                parts.append(({"session": one.day}, beside_files(one.bars, live), {**pedigree[one.day], **said}))
        return self.lake.write_many(HISTORICAL_BARS, parts)


def counts_of(counted: Mapping[str, float | int | None], quarantined: int) -> dict[str, str]:
    """What a file of bars says about its rows; `counted` is the session's entry of ``summaries``."""
    counts = {**counted, "quarantined": quarantined}
    return {name: f"{counts[name]}" for name in _COUNTS if counts.get(name) is not None}


def _described(info: PartitionInfo, sources: SessionSources) -> dict[str, Any]:
    """What the UI shows of a session's bars."""
    said = info.metadata
    numbers = {name: float(said[name]) for name in ("coverage_pct", "null_pct", "suspect_pct") if name in said}
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "symbols": int(said["symbol_count"]),
        "quarantined": int(said["quarantined"]),
        **numbers,
        "bytes": info.bytes,
        "sources": lineage_of(sources.files),
        "code_version": CODE_VERSION,
    }


bars_assets = [historical_bars]
