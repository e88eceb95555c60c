"""What options need besides prices, as assets: the rate curve, the morning's open interest, the contracts' terms.

Reading files is ``ingestion``'s work. Rows of the vendor's REST side that stand in a partition (source rest) stay
in it: open interest of contracts that the file does not name, and terms, which overrule what a ticker says.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.defs.assets.reference import corporate_actions
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.quarantine import replace_refused
from strategy_pipeline.defs.rebuilding import digest_of, rebuilt, symbols_of
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.mirror import RawMirror, first_failure
from strategy_pipeline.ingestion.option_files import (
    CONTRACTS_DATASET,
    OPEN_INTEREST_DATASET,
    QUOTES_DATASET,
    parse_rates,
)
from strategy_pipeline.ingestion.option_session import (
    MINUTES,
    RATES_KEY,
    open_interest_key,
    pedigree_of,
    read_open_interest,
    read_option_session,
    sources_of,
)
from strategy_pipeline.ingestion.rest_reference import par_yields
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, OPEN_INTEREST, OPTION_CONTRACTS, RATE_CURVE, Table
from strategy_pipeline.market import calendar
from strategy_pipeline.settings import Watchlist

RATES_VERSION, OPEN_INTEREST_VERSION, CONTRACTS_VERSION = "rate-curve-2", "open-interest-1", "option-contracts-1"


class OptionsConfig(PartitionChoice):
    """Options on `symbols` count besides the watchlist's; symbols a partition holds already stay in it."""

    symbols: list[str] = []


@dg.asset(
    code_version=RATES_VERSION,
    description=(
        "Interest rates as they became known, from the CSV file beside the vendor's files (the Federal Reserve's "
        "primary credit rate), or over REST where there is none and a key is set (the Treasury's par yields). An "
        "option is valued at the rate known at its snapshot, and not at all without one."
    ),
    metadata=describe_table(RATE_CURVE),
)
def rate_curve(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    flat_files: dg.ResourceParam[FlatFileStore],
    raw_files: dg.ResourceParam[RawMirror],
    vendor_api_if_any: dg.ResourceParam[VendorApi | None],
) -> dg.MaterializeResult:
    rows, quarantined, sources = _rates(context, flat_files, raw_files, vendor_api_if_any)
    if not sources:
        context.log.warning(f"{flat_files.location} has no {RATES_KEY}: without a rate no option has a volatility.")
    written = lake.write(RATE_CURVE, {}, rows, {"code_version": RATES_VERSION, **sources})
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.sha256),
        metadata={
            "dagster/row_count": written.rows,
            "quarantined": quarantined,
            "sources": dg.MetadataValue.json(sources),
            "sha256": written.sha256,
            "code_version": RATES_VERSION,
        },
    )


def _rates(
    context: dg.AssetExecutionContext, flat_files: FlatFileStore, raw_files: RawMirror, api: VendorApi | None
) -> tuple[pl.DataFrame, int, dict[str, str]]:
    """Rows of the curve, how many were refused, and where they come from; no source where nobody has any."""
    [result] = results = raw_files.download(flat_files, [RATES_KEY])
    if error := first_failure(results):
        raise error
    if result.raw is not None:
        parsed = parse_rates(result.raw)
        if parsed.refusal:
            context.log.warning(parsed.refusal)
        return parsed.rows, parsed.counts.quarantined, {result.raw.key: result.raw.etag}
    if api is None:
        return RATE_CURVE.empty(), 0, {}
    answer = api.treasury_yields(calendar.first_session())
    rows, refused = par_yields(answer)
    return rows, refused, {answer.path: f"{len(answer.records)} days"}


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=OPEN_INTEREST_VERSION,
    description=(
        "Open interest published in the morning of the session, known from 06:30 New York: it describes the session "
        "before, never its own. A session without a published file stays unmaterialised."
    ),
    metadata=describe_table(OPEN_INTEREST),
)
def open_interest(
    context: dg.AssetExecutionContext,
    config: OptionsConfig,
    lake: dg.ResourceParam[Lake],
    flat_files: dg.ResourceParam[FlatFileStore],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    if error := first_failure(raw_files.download(flat_files, [open_interest_key(day) for day in sessions])):
        raise error
    reader = _Reader(context, lake, raw_files, watchlist.extended(config.symbols).symbols)
    with progress.track("open_interest", len(sessions)) as advance:
        found = rebuilt(
            lake, OPEN_INTEREST, reader.pedigrees(OPEN_INTEREST, sessions), reader.build_open_interest, advance
        )
    context.log.info(f"open_interest: {len(found)} of {len(sessions)} sessions have a file with watched symbols.")
    return publish(context, {key: _described(info, OPEN_INTEREST_VERSION) for key, info in found.items()})


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(name) for name in ("option_minute_file", "option_quote_file", "open_interest")]
    + [dg.AssetDep(corporate_actions)],
    code_version=CONTRACTS_VERSION,
    description=(
        "Terms of every contract on a watched underlying that was quoted, traded or open in the session, from the "
        "vendor's reference where it is stored, else from the ticker. Weekly roots belong to their index (SPXW to SPX)."
    ),
    metadata=describe_table(OPTION_CONTRACTS),
)
def option_contracts(
    context: dg.AssetExecutionContext,
    config: OptionsConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    reader = _Reader(context, lake, raw_files, watchlist.extended(config.symbols).symbols)
    with progress.track("option_contracts", len(sessions)) as advance:
        found = rebuilt(
            lake, OPTION_CONTRACTS, reader.pedigrees(OPTION_CONTRACTS, sessions), reader.build_contracts, advance
        )
    context.log.info(f"option_contracts: {len(found)} of {len(sessions)} sessions have options on watched symbols.")
    return publish(context, {key: _described(info, CONTRACTS_VERSION) for key, info in found.items()})


class _Reader:
    """Reads the option files of sessions for some symbols and keeps what they could not use."""

    def __init__(
        self, context: dg.AssetExecutionContext, lake: Lake, raw_files: RawMirror, symbols: tuple[str, ...]
    ) -> None:
        self.context, self.lake, self.raw_files, self.symbols = context, lake, raw_files, symbols

    def pedigrees(self, table: Table, sessions: list[date]) -> dict[date, dict[str, str]]:
        """What the rows of each session with a file follow from."""
        of_interest = table is OPEN_INTEREST
        found = {}
        for day in sessions:
            sources = sources_of(self.raw_files, day, [open_interest_key(day)] if of_interest else None)
            if not sources:
                continue
            said = pedigree_of(sources, symbols_of(self.lake, table, day, self.symbols))
            version = OPEN_INTEREST_VERSION if of_interest else CONTRACTS_VERSION
            found[day] = {**said, "code_version": version, "inputs_sha256": "" if of_interest else self._splits(day)}
        return found

    def build_open_interest(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The file's rows, and those of the vendor's REST side on contracts that it does not name."""
        read = read_open_interest(self.raw_files, day, symbols_of(self.lake, OPEN_INTEREST, day, self.symbols))
        assert read is not None
        self._refused(day, read.quarantine, [OPEN_INTEREST_DATASET], [read.refusal] if read.refusal else [])
        stored = self._from_rest(OPEN_INTEREST, day)
        beside = stored.filter(~pl.col("contract_ticker").is_in(read.rows["contract_ticker"].implode()))
        return pl.concat([read.rows, beside]), {"quarantined": f"{read.quarantine.height}"}

    def build_contracts(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The contracts that the session's files name."""
        read = read_option_session(
            self.raw_files,
            day,
            symbols_of(self.lake, OPTION_CONTRACTS, day, self.symbols),
            reference=self._from_rest(OPTION_CONTRACTS, day),
            actions=self.lake.read(CORPORATE_ACTIONS, [{}]),
        )
        refused = read.quarantine.filter(pl.col("dataset") != OPEN_INTEREST_DATASET)
        self._refused(day, refused, [QUOTES_DATASET, MINUTES.name, CONTRACTS_DATASET], read.refusals)
        return read.contracts, {"quarantined": f"{refused.height}"}

    def _splits(self, day: date) -> str:
        """A digest of the splits effective on a session, the only actions that change which contracts there are."""
        splits = (pl.col("ex_date") == day) & (pl.col("action").cast(pl.String) == "split")
        return digest_of(self.lake, [], repr(self.lake.read(CORPORATE_ACTIONS, [{}], where=splits).rows()))

    def _from_rest(self, table: Table, day: date) -> pl.DataFrame:
        return self.lake.read_sessions(table, [day], where=pl.col("source").cast(pl.String) == "rest")

    def _refused(self, day: date, rows: pl.DataFrame, datasets: list[str], sentences: Any) -> None:
        replace_refused(self.lake, {day: rows}, datasets)
        for sentence in sentences:
            self.context.log.warning(sentence)


def _described(info: PartitionInfo, code_version: str) -> dict[str, Any]:
    """What the UI shows of a session."""
    said = info.metadata
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "quarantined": int(said.get("quarantined", 0)),
        "bytes": info.bytes,
        "sources": said.get("sources", "[]"),
        "code_version": code_version,
    }


option_reference_assets = [rate_curve, open_interest, option_contracts]
