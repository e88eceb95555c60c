"""Option chains on the 15-minute grid as assets: `historical_greeks` from files, and dealer gamma from their rows.

Files and the vendor's live snapshots share the partitions of `historical_greeks`, told apart by the column `source`.
Whoever has rows of a live snapshot hands them to `store_live_snapshot`, which keeps the session's earlier ones; the
asset keeps live chains (a symbol at an instant) that the files say nothing about, and files win where both speak.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.chains import DEFINITION as CHAINS_DEFINITION
from strategy_pipeline.analytics.chains import beside_stored, chain_snapshots
from strategy_pipeline.analytics.dollar_volume import ADV_SESSIONS, average_dollar_volume
from strategy_pipeline.analytics.gamma_exposure import (
    CHAIN_COLUMNS,
    FLOW_COLUMNS,
    FLOW_WINDOW_SESSIONS,
    PERCENTILE_SESSIONS,
    closing_exposure,
    daily_opening_flow,
    gamma_exposure,
)
from strategy_pipeline.analytics.gamma_exposure import (
    DEFINITION_VERSION as GAMMA_DEFINITION,
)
from strategy_pipeline.defs.assets.option_reference import OptionsConfig
from strategy_pipeline.defs.option_pictures import chain_pictures, gamma_pictures
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import (
    SESSIONS,
    PartitionChoice,
    sessions_before,
    sessions_of,
    sessions_only_before,
)
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.rebuilding import digest_of, rebuilt, symbols_of
from strategy_pipeline.defs.stored_chains import last_chains
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.option_session import pedigree_of, read_tape, sources_of, tape_keys
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import (
    CORPORATE_ACTIONS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_BARS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTIONS_FLOW_HISTORY,
    RATE_CURVE,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.symbols import volume_lenders
from strategy_pipeline.settings import Settings, Watchlist

GREEKS_VERSION, GAMMA_VERSION = "historical-greeks-1", "gamma-exposure-1"
GREEKS_INPUTS = (
    "option_quote_file", "option_minute_file", "option_contracts", "open_interest", "rate_curve", "historical_bars",
    "corporate_actions",
)  # fmt: skip


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(name) for name in GREEKS_INPUTS],
    code_version=GREEKS_VERSION,
    description=(
        "Every option contract on the watched underlyings at each quarter of an hour: quote, last print, morning's "
        "open interest, implied volatility with a status that says why there is none, Greeks. A row of an instant "
        "holds what had happened by then. Live snapshots (source rest) stay where no file speaks of the chain."
    ),
    metadata=describe_table(HISTORICAL_GREEKS),
)
def historical_greeks(
    context: dg.AssetExecutionContext,
    config: OptionsConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    settings: dg.ResourceParam[Settings],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    source = settings.source_of_files
    chains = _Chains(lake, raw_files, watchlist.extended(config.symbols).symbols, source)
    pedigrees = chains.pedigrees(sessions)
    with progress.track("historical_greeks", len(pedigrees)) as advance:
        found = rebuilt(lake, HISTORICAL_GREEKS, pedigrees, chains.build, advance)
    for sentence in dict.fromkeys(chains.refusals):
        context.log.warning(sentence)
    found |= _stored_elsewhere(lake, sessions, found)
    if sessions and not found:
        raise MissingDataError(
            f"There are no options on watched symbols from {sessions[0]} to {sessions[-1]}: materialise the option "
            "files and option_contracts of those sessions first, or name the symbols they hold."
        )
    context.log.info(f"historical_greeks: {len(found)} of {len(sessions)} sessions have chains.")
    described = {key: _chains_described(found[key]) for key in sorted(found)}
    if described:
        described[max(described)] |= chain_pictures(last_chains(lake, date.fromisoformat(max(described))))
    return publish(context, described)


class _Chains:
    """Values the chains of sessions from their files and from what stands in the lake."""

    def __init__(self, lake: Lake, raw_files: RawMirror, symbols: Sequence[str], source: str) -> None:
        self.lake, self.raw_files, self.symbols, self.source = lake, raw_files, symbols, source
        self.rates, self.actions = lake.read(RATE_CURVE, [{}]), lake.read(CORPORATE_ACTIONS, [{}])
        self.refusals: list[str] = []

    def pedigrees(self, sessions: Iterable[date]) -> dict[date, dict[str, str]]:
        """What the chains of each session that has a file of quotes or prints follow from."""
        found = {}
        for day in sessions:
            sources = sources_of(self.raw_files, day, tape_keys(day))
            if sources:
                said = pedigree_of(sources, self._symbols(day))
                versions = {"code_version": GREEKS_VERSION, "definition_version": CHAINS_DEFINITION}
                found[day] = {**said, **versions, "inputs_sha256": self._inputs(day)}
        return found

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The session's rows, live chains that no file speaks of among them."""
        symbols = self._symbols(day)
        tape = read_tape(self.raw_files, day, symbols)
        self.refusals += tape.refusals
        ours = pl.col("symbol").is_in(symbols)
        rows = chain_snapshots(
            day,
            self.lake.read_sessions(OPTION_CONTRACTS, [day], where=ours),
            self.lake.read_sessions(HISTORICAL_BARS, [day], where=ours & (pl.col("timeframe").cast(pl.String) == "1m")),
            quotes=tape.quotes,
            prints=tape.prints,
            open_interest=self.lake.read_sessions(OPEN_INTEREST, [day]),
            rates=self.rates,
            actions=self.actions,
            source=self.source,
        )
        live = self.lake.read_sessions(HISTORICAL_GREEKS, [day], where=pl.col("source").cast(pl.String) == "rest")
        rows = beside_stored(rows, live) if live.height else rows
        return rows, _counts_of(rows)

    def _symbols(self, day: date) -> list[str]:
        return symbols_of(self.lake, HISTORICAL_GREEKS, day, self.symbols)

    def _inputs(self, day: date) -> str:
        """A digest of the tables that the session reads, of what is not cut by session only as far as it was known."""
        hours = calendar.session(day)
        known = pl.col("available_at") <= hours.close
        of_symbols = self.actions.filter(known & pl.col("symbol").is_in(self._symbols(day)))
        rates = self.rates.filter(known).sort("available_at", "tenor_years")
        # Of what was known before the session only the newest point of a tenor can count.
        before = rates.filter(pl.col("available_at") <= hours.open).unique(
            "tenor_years", keep="last", maintain_order=True
        )
        during = rates.filter(pl.col("available_at") > hours.open)
        tables = [(table, {"session": day}) for table in (HISTORICAL_BARS, OPTION_CONTRACTS, OPEN_INTEREST)]
        curve = pl.concat([before.sort("tenor_years"), during])
        return digest_of(self.lake, tables, repr(curve.rows()), repr(of_symbols.rows()))


def store_live_snapshot(lake: Lake, rows: pl.DataFrame) -> PartitionInfo:
    """Puts rows of ``historical_greeks`` of one session with the source rest beside what stands in its partition.

    A chain (a symbol at an instant) that is stored from files stays as it is, one that is stored live is replaced. The
    pedigree of what came from files stays with the partition. `rows` must not be empty.
    """
    day: date = rows["session"][0]
    key = {"session": day}
    whole = beside_stored(rows, lake.read_sessions(HISTORICAL_GREEKS, [day]))
    said = lake.metadata(HISTORICAL_GREEKS, key) or {"code_version": GREEKS_VERSION}
    symbols = ",".join(symbols_of(lake, HISTORICAL_GREEKS, day, rows["symbol"].unique()))
    return lake.write(HISTORICAL_GREEKS, key, whole, {**said, "symbols": symbols, **_counts_of(whole)})


def _counts_of(rows: pl.DataFrame) -> dict[str, str]:
    """What a file of chains says about its rows, so that they need not be read to be described."""
    statuses = rows["iv_status"].cast(pl.String).value_counts().sort("iv_status")
    return {
        "statuses": json.dumps(dict(statuses.iter_rows())),
        "contracts": f"{rows['contract_ticker'].n_unique()}",
        "snapshots": f"{rows['snapshot_at'].n_unique()}",
        "held_symbols": ",".join(rows["symbol"].unique().sort()),
    }


def _chains_described(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session's chains."""
    said = info.metadata
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "symbols": said["held_symbols"],
        "contracts": int(said["contracts"]),
        "snapshots": int(said["snapshots"]),
        "statuses": dg.MetadataValue.json(json.loads(said["statuses"])),
        "bytes": info.bytes,
        "sources": said.get("sources", "[]"),
        "code_version": said["code_version"],
    }


def _stored_elsewhere(lake: Lake, sessions: Iterable[date], found: Mapping[str, object]) -> dict[str, PartitionInfo]:
    """Partitions of sessions without files, which hold live snapshots alone."""
    infos = (lake.info(HISTORICAL_GREEKS, {"session": day}) for day in sessions if day.isoformat() not in found)
    return {info.key["session"]: info for info in infos if info is not None and info.rows}


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep("historical_greeks"),
        dg.AssetDep("historical_bars", partition_mapping=sessions_before(ADV_SESSIONS)),
        dg.AssetDep("options_flow_history", partition_mapping=sessions_only_before(FLOW_WINDOW_SESSIONS)),
    ],
    code_version=GAMMA_VERSION,
    description=(
        "Per symbol and quarter of an hour the dealers' gamma, $ of delta per 1 % move, under three sign conventions: "
        "net, gross and by strike, walls, every flip and the nearest, max pain, positioning. Percentiles stand on the "
        "closing values of the 252 sessions before, convention C on the flow of the sessions before."
    ),
    metadata=describe_table(GAMMA_EXPOSURE_SNAPSHOTS),
)
def gamma_exposure_snapshots(
    context: dg.AssetExecutionContext,
    config: PartitionChoice,
    lake: dg.ResourceParam[Lake],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    held = set(lake.sessions(HISTORICAL_GREEKS))
    sessions = [day for day in sessions_of(config.keys(context)) if day in held]
    gamma = _Gamma(lake, watchlist, sessions)
    found: dict[str, PartitionInfo] = {}
    with progress.track("gamma_exposure_snapshots", len(sessions)) as advance:
        for day in sessions:
            found |= rebuilt(lake, GAMMA_EXPOSURE_SNAPSHOTS, {day: gamma.pedigree(day)}, gamma.build, advance)
            gamma.remember(day)
    context.log.info(f"gamma_exposure_snapshots: {len(found)} sessions have rows.")
    described = {key: _gamma_described(info) for key, info in found.items()}
    if described:
        described[max(described)] |= gamma.pictures(date.fromisoformat(max(described)))
    return publish(context, described)


class _Gamma:
    """Dealer gamma of sessions in rising order, each with the closing values, flow and volume before it."""

    table = GAMMA_EXPOSURE_SNAPSHOTS

    def __init__(self, lake: Lake, watchlist: Watchlist, sessions: Sequence[date]) -> None:
        self.lake = lake
        self.flows: dict[date, pl.DataFrame] = {}
        self.tapes: dict[date, str] = {}
        reach = _before(sessions[0], PERCENTILE_SESSIONS) if sessions else []
        self.closings = closing_exposure(lake.read_sessions(self.table, reach, columns=list(_CLOSING_COLUMNS)))
        days = sorted({*(one for day in sessions for one in _before(day, ADV_SESSIONS))})
        daily = lake.read_sessions(
            HISTORICAL_BARS,
            days,
            columns=["symbol", "session", "close", "volume", "available_at"],
            where=pl.col("timeframe").cast(pl.String) == "1d",
        )
        self.volumes = average_dollar_volume(daily, sessions, volume_lenders(watchlist.instruments))

    def pedigree(self, day: date) -> dict[str, str]:
        """What the session's rows follow from."""
        for one in _before(day, FLOW_WINDOW_SESSIONS):
            if one not in self.tapes:
                self.tapes[one] = digest_of(self.lake, [(OPTIONS_FLOW_HISTORY, {"session": one})])
        tapes = [self.tapes[one] for one in _before(day, FLOW_WINDOW_SESSIONS)]
        texts = [*tapes, repr(self._history(day).rows()), repr(self._volumes(day).rows()), GAMMA_DEFINITION]
        digest = digest_of(self.lake, [(HISTORICAL_GREEKS, {"session": day})], *texts)
        return {"code_version": GAMMA_VERSION, "inputs_sha256": digest}

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The session's rows, and their closing net gamma by symbol."""
        rows = gamma_exposure(
            self.lake.read_sessions(HISTORICAL_GREEKS, [day], columns=list(CHAIN_COLUMNS)),
            flow=self._flow(day),
            adv_usd=self._volumes(day),
            history=self._history(day),
        )
        return rows, _closing_of(rows)

    def remember(self, day: date) -> None:
        """Adds the stored closing values of a session to what later ones look back at."""
        rows = self.lake.read_sessions(self.table, [day], columns=list(_CLOSING_COLUMNS))
        self.closings = pl.concat([self.closings.filter(pl.col("session") != day), closing_exposure(rows)])

    def pictures(self, day: date) -> dict[str, Any]:
        """Where the session's last gamma sits and where it flips."""
        return gamma_pictures(self.lake.read_sessions(self.table, [day]), last_chains(self.lake, day), self._flow(day))

    def _history(self, day: date) -> pl.DataFrame:
        window = _before(day, PERCENTILE_SESSIONS)
        return self.closings.filter(pl.col("session").is_in(window)).sort("symbol", "session", "sign_convention")

    def _volumes(self, day: date) -> pl.DataFrame:
        return self.volumes.filter(pl.col("session") == day)

    def _flow(self, day: date) -> pl.DataFrame | None:
        window = _before(day, FLOW_WINDOW_SESSIONS)
        self.flows = {one: rows for one, rows in self.flows.items() if one in window}
        for one in window:
            if one not in self.flows:
                prints = self.lake.read_sessions(OPTIONS_FLOW_HISTORY, [one], columns=list(FLOW_COLUMNS))
                self.flows[one] = daily_opening_flow(prints)
        parts = [self.flows[one] for one in window if self.flows[one].height]
        return pl.concat(parts) if parts else None


def store_gamma(lake: Lake, watchlist: Watchlist, day: date) -> dict[str, PartitionInfo]:
    """The dealer gamma of a session, built anew from its stored chains when they have changed, by partition key."""
    gamma = _Gamma(lake, watchlist, [day])
    return rebuilt(lake, GAMMA_EXPOSURE_SNAPSHOTS, {day: gamma.pedigree(day)}, gamma.build)


_CLOSING_COLUMNS = (
    "symbol", "session", "sign_convention", "snapshot_at", "status", "gex_usd_per_1pct", "gross_gex_usd_per_1pct",
    "available_at",
)  # fmt: skip


def _before(day: date, count: int) -> list[date]:
    """Up to `count` sessions before `day`."""
    return calendar.sessions_between(calendar.first_session(), day)[:-1][-count:]


def _closing_of(rows: pl.DataFrame) -> dict[str, str]:
    """What a file of dealer gamma says about its rows: net under convention A at the last snapshot, by symbol."""
    last = rows.filter(pl.col("sign_convention").cast(pl.String) == "A").sort("snapshot_at")
    last = last.unique("symbol", keep="last", maintain_order=True).sort("symbol")
    nets = dict(last.select("symbol", "gex_usd_per_1pct").iter_rows())
    statuses = dict(rows["status"].cast(pl.String).value_counts().sort("status").iter_rows())
    return {"closing_net": json.dumps(nets), "statuses": json.dumps(statuses)}


def _gamma_described(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session's dealer gamma."""
    said = info.metadata
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "closing_net_usd_per_1pct": dg.MetadataValue.json(json.loads(said["closing_net"])),
        "statuses": dg.MetadataValue.json(json.loads(said["statuses"])),
        "bytes": info.bytes,
        "code_version": GAMMA_VERSION,
    }


option_assets = [historical_greeks, gamma_exposure_snapshots]
