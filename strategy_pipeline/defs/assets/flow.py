"""The option tape as assets: the reference of conditions, classified prints, their daily totals, contracts by minute.

A session's prints come from the vendor's file. Whoever has streamed rows hands them to `store_streamed_flow`; the file
replaces them, wholly and at once, when it is there. Percentiles stand on the 20 sessions before, so sessions are
classified in rising order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.option_flow import (
    DEFAULT_RULES,
    HISTORY_COLUMNS,
    classify_flow,
    daily_flow,
    flow_totals,
    premium_of_prints,
    streamed_beside,
)
from strategy_pipeline.analytics.option_volume import DEFINITION_VERSION as VOLUME_DEFINITION
from strategy_pipeline.analytics.option_volume import option_minutes, without_terms
from strategy_pipeline.analytics.trade_conditions import conditions_in_use, conditions_table, with_version
from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.defs.assets.option_reference import OptionsConfig
from strategy_pipeline.defs.option_plots import flow_timeline
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.quarantine import replace_refused
from strategy_pipeline.defs.rebuilding import digest_of, rebuilt, symbols_of
from strategy_pipeline.defs.resources import Clock
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.conditions import CONDITIONS_KEY, parse_trade_conditions
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawMirror, first_failure
from strategy_pipeline.ingestion.option_files import (
    option_contracts,
    option_prints,
    option_symbols_to_roots,
    parse_option_quotes,
)
from strategy_pipeline.ingestion.option_session import MINUTES, QUOTES, pedigree_of, sources_of
from strategy_pipeline.ingestion.option_trades import as_evidence, contracts_refused, parse_option_trades
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.ingestion.rest_reference import trade_conditions as conditions_over_rest
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import (
    HISTORICAL_BARS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_DAILY,
    OPTIONS_FLOW_HISTORY,
    TRADE_CONDITIONS,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.settings import Settings, Watchlist

CONDITIONS_VERSION, FLOW_VERSION, DAILY_VERSION = "trade-conditions-1", "options-flow-1", "options-flow-daily-1"
VOLUME_VERSION = "option-volume-1"
TRADES = DATASETS["us_options_opra/trades_v1"]
FLOW_INPUTS = (
    "option_trade_file", "option_quote_file", "trade_conditions", "option_contracts", "open_interest",
    "historical_greeks", "historical_bars",
)  # fmt: skip


@dg.asset(
    code_version=CONDITIONS_VERSION,
    description=(
        "What the vendor's trade conditions mean for option prints, from its reference beside its files, or over REST "
        "where there is none and a key is set. Every version that was in use is kept; prints name theirs."
    ),
    metadata=describe_table(TRADE_CONDITIONS),
)
def trade_conditions(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    flat_files: dg.ResourceParam[FlatFileStore],
    raw_files: dg.ResourceParam[RawMirror],
    vendor_api_if_any: dg.ResourceParam[VendorApi | None],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    stored = lake.read(TRADE_CONDITIONS, [{}])
    newest = _reference(flat_files, raw_files, vendor_api_if_any, clock)
    if newest is None:
        context.log.warning(f"{flat_files.location} has no {CONDITIONS_KEY}: without it no print can be classified.")
    rows = stored if newest is None else with_version(stored, newest)
    written = lake.write(TRADE_CONDITIONS, {}, rows, {"code_version": CONDITIONS_VERSION})
    unclear = rows.filter(pl.col("meanings").list.contains("unknown"))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.sha256),
        metadata={
            "dagster/row_count": written.rows,
            "version_in_use": conditions_in_use(rows).version if rows.height else "none",
            "versions": rows["version"].n_unique(),
            "without_meaning": dg.MetadataValue.json(sorted(set(unclear["condition_id"]))),
            "sha256": written.sha256,
            "code_version": CONDITIONS_VERSION,
        },
    )


def _reference(
    flat_files: FlatFileStore, raw_files: RawMirror, api: VendorApi | None, clock: Clock
) -> pl.DataFrame | None:
    """The vendor's reference as it is now, in the columns of ``trade_conditions``; None where nobody has it."""
    [result] = results = raw_files.download(flat_files, [CONDITIONS_KEY])
    if error := first_failure(results):
        raise error
    if result.raw is not None:
        return conditions_table(parse_trade_conditions(result.raw), result.raw.last_modified, "flat_file")
    return None if api is None else conditions_table(conditions_over_rest(api.conditions()), clock.now(), "rest")


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(name) for name in FLOW_INPUTS],
    code_version=FLOW_VERSION,
    description=(
        "Every option print of the watched underlyings with the quote in force, who was the aggressor, whether it "
        "swept, was large or part of a package, and what it says about opening positions. A side that cannot be known "
        "is null. "
        "Percentiles stand on the 20 sessions before. A session without a trades file stays unmaterialised."
    ),
    metadata=describe_table(OPTIONS_FLOW_HISTORY),
)
def options_flow_history(
    context: dg.AssetExecutionContext,
    config: OptionsConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    settings: dg.ResourceParam[Settings],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sorted(sessions_of(config.keys(context)))
    source = settings.source_of_files
    tapes = _Tapes(lake, raw_files, watchlist.extended(config.symbols).symbols, source)
    found: dict[str, PartitionInfo] = {}
    with progress.track("options_flow_history", len(sessions)) as advance:
        for day in sessions:
            found |= rebuilt(lake, OPTIONS_FLOW_HISTORY, tapes.pedigree(day), tapes.build)
            advance(1)
    for sentence in dict.fromkeys(tapes.refusals):
        context.log.warning(sentence)
    found |= _streamed_alone(lake, sessions, found)
    context.log.info(f"options_flow_history: {len(found)} of {len(sessions)} sessions have prints.")
    described = {key: _flow_described(found[key]) for key in sorted(found)}
    if described:
        described[max(described)]["timeline"] = _timeline(lake, max(described))
    return publish(context, described)


class _Tapes:
    """Classifies the tapes of sessions, asked for in rising order, each after the 20 before it."""

    def __init__(self, lake: Lake, raw_files: RawMirror, symbols: Sequence[str], source: str) -> None:
        self.lake, self.raw_files, self.symbols, self.source = lake, raw_files, symbols, source
        self.conditions = lake.read(TRADE_CONDITIONS, [{}])
        self.history: dict[date, pl.DataFrame] = {}
        self.refusals: list[str] = []

    def pedigree(self, day: date) -> dict[date, dict[str, str]]:
        """What the session's rows follow from; nothing when it has no trades file."""
        if self.raw_files.get(key_for(TRADES, day)) is None:
            return {}
        sources = sources_of(self.raw_files, day, [key_for(TRADES, day), key_for(QUOTES, day)])
        said = pedigree_of(sources, self._symbols(day))
        tables = (HISTORICAL_BARS, OPTION_CONTRACTS, OPEN_INTEREST, HISTORICAL_GREEKS)
        before = [_what_later_sessions_see(self.lake, one) for one in _sessions_before(day)]
        inputs = digest_of(self.lake, [(table, {"session": day}) for table in tables], repr(before))
        return {
            day: {
                **said,
                "code_version": FLOW_VERSION,
                "definition_version": DEFAULT_RULES.version,
                "conditions_version": self._conditions().version,
                "inputs_sha256": inputs,
            }
        }

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The session's classified prints, and what became of every line of the file."""
        raw = self.raw_files.get(key_for(TRADES, day))
        assert raw is not None
        symbols = self._symbols(day)
        ours = pl.col("symbol").is_in(symbols)
        parsed = parse_option_trades(raw, TRADES, option_symbols_to_roots(symbols), source=self.source)
        self.refusals += [parsed.refusal] if parsed.refusal else []
        contracts = self._contracts(day, parsed.trades, symbols)
        flow = classify_flow(
            parsed.trades,
            self._quotes(day, symbols),
            contracts,
            self.lake.read_sessions(HISTORICAL_BARS, [day], where=ours & (pl.col("timeframe").cast(pl.String) == "1m")),
            self.lake.read_sessions(OPEN_INTEREST, [day], where=ours),
            self.lake.read_sessions(
                HISTORICAL_GREEKS,
                [day],
                columns=["contract_ticker", "snapshot_at", "delta", "available_at"],
                where=ours,
            ),
            self._conditions(),
            self._before(day),
        )
        refused = pl.concat([parsed.quarantine, contracts_refused(raw, TRADES, day, flow.refused)])
        replace_refused(self.lake, {day: refused}, [TRADES.name])
        # A file of which nothing can be used says nothing against what was streamed.
        rows = self._streamed(day) if parsed.refusal and flow.rows.is_empty() else flow.rows
        counts = {
            "read": parsed.counts.read,
            "quarantined": parsed.counts.quarantined,
            "of_other_symbols": parsed.counts.filtered_out,
            "of_refused_contracts": int(flow.refused["prints"].sum()),
            "repeated": flow.repeated,
        }
        return rows, {
            "counts": json.dumps(counts),
            "file_premium_usd": repr(premium_of_prints(parsed.trades, contracts)),
            "unknown_conditions": json.dumps({str(one): times for one, times in flow.unknown_conditions.items()}),
            "classes": json.dumps(_classes(rows)),
        }

    def _symbols(self, day: date) -> list[str]:
        return symbols_of(self.lake, OPTIONS_FLOW_HISTORY, day, self.symbols)

    def _conditions(self) -> Any:
        if self.conditions.is_empty():
            raise MissingDataError(
                f"There is no reference of trade conditions: put {CONDITIONS_KEY} beside the vendor's files or set "
                "MASSIVE_API_KEY, and materialise trade_conditions."
            )
        return conditions_in_use(self.conditions)

    def _contracts(self, day: date, trades: pl.DataFrame, symbols: Sequence[str]) -> pl.DataFrame:
        """The stored terms, and those that a ticker spells out where only the tape names the contract."""
        stored = self.lake.read_sessions(OPTION_CONTRACTS, [day], where=pl.col("symbol").is_in(symbols))
        return option_contracts(day, {"trades": as_evidence(trades)}, stored, symbols=symbols).rows

    def _quotes(self, day: date, symbols: Sequence[str]) -> pl.DataFrame:
        """The session's quotes; without a file of them no side can be known."""
        raw = self.raw_files.get(key_for(QUOTES, day))
        if raw is None:
            return _NO_QUOTES
        parsed = parse_option_quotes(raw, day, symbols)
        self.refusals += [parsed.refusal] if parsed.refusal else []
        return parsed.rows.select("contract_ticker", "sip_timestamp_ns", "bid", "ask", sequence_number="sequence")

    def _before(self, day: date) -> pl.DataFrame:
        """What the 20 sessions before say of sizes, premiums and volumes."""
        window = _sessions_before(day)
        self.history = {one: rows for one, rows in self.history.items() if one in window}
        for one in window:
            if one not in self.history:
                self.history[one] = self.lake.read_sessions(OPTIONS_FLOW_HISTORY, [one], columns=list(HISTORY_COLUMNS))
        return pl.concat(self.history[one] for one in window)

    def _streamed(self, day: date) -> pl.DataFrame:
        return self.lake.read_sessions(OPTIONS_FLOW_HISTORY, [day], where=pl.col("source").cast(pl.String) == "stream")


_NO_QUOTES = pl.DataFrame(
    schema={"contract_ticker": pl.String, "sip_timestamp_ns": pl.Int64, "bid": pl.Float64, "ask": pl.Float64}
)


def _sessions_before(day: date) -> list[date]:
    return calendar.sessions_between(calendar.first_session(), day)[-1 - DEFAULT_RULES.history_sessions : -1]


def _what_later_sessions_see(lake: Lake, day: date) -> list[tuple[str, str]]:
    """The entries of a partition that decide its sizes, premiums and exclusions, which do not look back themselves.

    Without its own look-back among them a revised session reaches the 20 sessions after it and no further.
    """
    said = lake.metadata(OPTIONS_FLOW_HISTORY, {"session": day}) or {}
    return [(name, said[name]) for name in _SEEN_LATER if name in said]


_SEEN_LATER = (
    "sources", "symbols", "code_version", "definition_version", "conditions_version", "counts", "file_premium_usd",
    "streamed",
)  # fmt: skip


def store_streamed_flow(lake: Lake, rows: pl.DataFrame) -> PartitionInfo:
    """Puts streamed rows of ``options_flow_history`` of one session beside what stands in its partition.

    Rows whose key is there already add nothing, nor do rows of symbols that a file has spoken of. `rows` must not be
    empty and have the source stream.
    """
    day: date = rows["session"][0]
    key = {"session": day}
    whole = streamed_beside(lake.read_sessions(OPTIONS_FLOW_HISTORY, [day]), rows)
    said = lake.metadata(OPTIONS_FLOW_HISTORY, key) or {"code_version": FLOW_VERSION}
    symbols = ",".join(symbols_of(lake, OPTIONS_FLOW_HISTORY, day, rows["symbol"].unique()))
    streamed = int((whole["source"].cast(pl.String) == "stream").sum())
    own = {"symbols": symbols, "classes": json.dumps(_classes(whole)), "streamed": f"{streamed}"}
    return lake.write(OPTIONS_FLOW_HISTORY, key, whole, {**said, **own})


def _streamed_alone(lake: Lake, sessions: Iterable[date], found: Mapping[str, object]) -> dict[str, PartitionInfo]:
    """Partitions of sessions without a file, which hold streamed rows."""
    infos = (lake.info(OPTIONS_FLOW_HISTORY, {"session": day}) for day in sessions if day.isoformat() not in found)
    return {info.key["session"]: info for info in infos if info is not None and info.rows}


def _classes(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Prints and premium ($) of each class of print."""
    totals = flow_totals(rows).group_by(pl.col("trade_type").cast(pl.String)).agg(pl.col("prints", "premium_usd").sum())
    return {name: {"prints": count, "premium_usd": usd} for name, count, usd in totals.sort("trade_type").iter_rows()}


def _flow_described(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session's prints."""
    said = info.metadata
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "classes": dg.MetadataValue.json(json.loads(said["classes"])),
        "counts": dg.MetadataValue.json(json.loads(said.get("counts", "{}"))),
        "unknown_conditions": dg.MetadataValue.json(json.loads(said.get("unknown_conditions", "{}"))),
        "conditions_version": said.get("conditions_version", "as streamed"),
        "bytes": info.bytes,
        "sources": said.get("sources", "[]"),
        "code_version": FLOW_VERSION,
    }


def _timeline(lake: Lake, key: str) -> dg.MetadataValue:
    """The picture of the symbol with the largest premium of a session."""
    rows = lake.read(OPTIONS_FLOW_HISTORY, [{"session": key}])
    premium = rows.group_by("symbol").agg(pl.col("premium_usd").sum()).sort("premium_usd", "symbol")
    svg = flow_timeline(rows.filter(pl.col("symbol") == premium["symbol"][-1]))
    return dg.MetadataValue.md(markdown_image(svg, "options flow through the session"))


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep("options_flow_history")],
    code_version=DAILY_VERSION,
    description=(
        "What a session's option prints add up to by symbol and class: prints, contracts, premium by side, net delta. "
        "Kept when the prints themselves have expired."
    ),
    metadata=describe_table(OPTIONS_FLOW_DAILY),
)
def options_flow_daily(
    context: dg.AssetExecutionContext, config: PartitionChoice, lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    held = {day: info for day in sessions if (info := lake.info(OPTIONS_FLOW_HISTORY, {"session": day})) is not None}
    pedigrees = {day: {"inputs_sha256": info.sha256, "code_version": DAILY_VERSION} for day, info in held.items()}

    def build(day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        return daily_flow(lake.read_sessions(OPTIONS_FLOW_HISTORY, [day])), {}

    found = rebuilt(lake, OPTIONS_FLOW_DAILY, pedigrees, build)
    # Sessions whose prints have expired keep their totals.
    kept = {info.key["session"]: info for day in sessions if day not in held
            and (info := lake.info(OPTIONS_FLOW_DAILY, {"session": day})) is not None}  # fmt: skip
    return publish(context, {key: _plainly(info, DAILY_VERSION) for key, info in sorted({**kept, **found}.items())})


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(name) for name in ("option_minute_file", "option_contracts")],
    code_version=VOLUME_VERSION,
    description=(
        "Option contracts traded so far in each minute of regular hours, by underlying: calls and puts with expiries "
        "within 7 days, and all of them. A session without a file of option minutes stays unmaterialised."
    ),
    metadata=describe_table(OPTION_VOLUME_MINUTES),
)
def option_volume_minutes(
    context: dg.AssetExecutionContext,
    config: OptionsConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    volumes = _Volumes(lake, raw_files, watchlist.extended(config.symbols).symbols)
    pedigrees = {day: said for day in sessions if (said := volumes.pedigree(day)) is not None}
    with progress.track("option_volume_minutes", len(pedigrees)) as advance:
        found = rebuilt(lake, OPTION_VOLUME_MINUTES, pedigrees, volumes.build, advance)
    context.log.info(f"option_volume_minutes: {len(found)} of {len(sessions)} sessions have options that traded.")
    return publish(context, {key: _plainly(info, VOLUME_VERSION) for key, info in sorted(found.items())})


class _Volumes:
    """Counts the contracts of sessions minute by minute."""

    def __init__(self, lake: Lake, raw_files: RawMirror, symbols: Sequence[str]) -> None:
        self.lake, self.raw_files, self.symbols = lake, raw_files, symbols

    def pedigree(self, day: date) -> dict[str, str] | None:
        """What the session's counts follow from; None when it has no file of option minutes."""
        sources = sources_of(self.raw_files, day, [key_for(MINUTES, day)])
        if not sources:
            return None
        said = pedigree_of(sources, symbols_of(self.lake, OPTION_VOLUME_MINUTES, day, self.symbols))
        versions = {"code_version": VOLUME_VERSION, "definition_version": VOLUME_DEFINITION}
        return {**said, **versions, "inputs_sha256": digest_of(self.lake, [(OPTION_CONTRACTS, {"session": day})])}

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The session's rows, and how many minutes of prints were of contracts without terms."""
        raw = self.raw_files.get(key_for(MINUTES, day))
        assert raw is not None
        symbols = symbols_of(self.lake, OPTION_VOLUME_MINUTES, day, self.symbols)
        prints = option_prints(parse_aggregates(raw, MINUTES, option_symbols_to_roots(symbols))).rows
        contracts = self.lake.read_sessions(OPTION_CONTRACTS, [day], where=pl.col("symbol").is_in(symbols))
        return option_minutes(prints, contracts), {"without_terms": f"{without_terms(prints, contracts)}"}


def _plainly(info: PartitionInfo, code_version: str) -> dict[str, Any]:
    """What the UI shows of a small table's session."""
    left_out = {"minutes_without_terms": int(said)} if (said := info.metadata.get("without_terms")) is not None else {}
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        **left_out,
        "bytes": info.bytes,
        "code_version": code_version,
    }


conditions_assets = [trade_conditions]
flow_assets = [option_volume_minutes, options_flow_history, options_flow_daily]
