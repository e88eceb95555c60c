"""`chain_snapshot` as an asset: the chains of the watched symbols over REST, at an instant of the 15-minute grid.

Today is no partition of the graph before it is over, so this asset has none: it writes its instant into the session's
partition of the tables that the files fill later, and says so in an event of each. Fetching is ``ingestion``'s work.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.chains import value_snapshot
from strategy_pipeline.defs.assets.options import store_gamma, store_live_snapshot
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.quarantine import replace_refused
from strategy_pipeline.defs.resources import Clock
from strategy_pipeline.errors import MissingDataError, SourceError
from strategy_pipeline.ingestion.chain_snapshots import DATASET, open_interest_of
from strategy_pipeline.ingestion.live_chains import Request, SymbolChain, fetch_chains, with_live_rows
from strategy_pipeline.ingestion.rest_bars import DATASET as BARS_DATASET
from strategy_pipeline.ingestion.rest_reference import CONTRACTS_DATASET
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import (
    CORPORATE_ACTIONS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    QUARANTINE,
    RATE_CURVE,
    Table,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "chain-snapshot-1"
REFUSING_DATASETS = (DATASET, CONTRACTS_DATASET, BARS_DATASET)
# Metadata that the command line reads back.
FAILURES, REFUSED, EXPOSURE, CONTRACTS = "failures", "quarantined", "gamma_exposure", "contracts"
_NAMED_FAILURES = 3
_HEADLINE = (
    "symbol", "status", "gex_usd_per_1pct", "call_gex_usd_per_1pct", "put_gex_usd_per_1pct", "oi_coverage_pct",
)  # fmt: skip


class SnapshotConfig(dg.Config):
    """Which instant (ISO 8601; empty: the newest) of which symbols (empty: the watchlist); whether from recordings."""

    instant: str = ""
    symbols: list[str] = []
    replayed: bool = False

    def moment(self, now: datetime) -> datetime:
        """The instant of the grid; raises MissingDataError when there is none at `now`."""
        if self.instant:
            return datetime.fromisoformat(self.instant)
        instant = calendar.snapshot_instant_at(now)
        if instant is None:
            raise MissingDataError(closed_sentence(now))
        return instant


def closed_sentence(now: datetime) -> str:
    """That there is nothing to look at, and when there is again."""
    following = calendar.next_snapshot_instant(now).astimezone(calendar.NEW_YORK)
    return f"There is no chain to look at now: the next snapshot is at {following:%Y-%m-%d %H:%M} New York."


@dg.asset(
    deps=["corporate_actions", "rate_curve"],
    code_version=CODE_VERSION,
    description=(
        "One look at the chains of the watched symbols over REST: quotes, volatilities, Greeks and open interest of an "
        "instant of the 15-minute grid into historical_greeks, and dealer gamma of it into gamma_exposure_snapshots. "
        "A symbol whose pages do not all come has no rows and is named; rows from files are never replaced."
    ),
)
def chain_snapshot(
    context: dg.AssetExecutionContext,
    config: SnapshotConfig,
    lake: dg.ResourceParam[Lake],
    vendor_api: dg.ResourceParam[VendorApi],
    watchlist: dg.ResourceParam[Watchlist],
    clock: dg.ResourceParam[Clock],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    at = config.moment(clock.now())
    writer = _Writer(lake, watchlist, at)
    wanted = watchlist.extended(config.symbols).instruments
    wanted = tuple(one for one in wanted if not config.symbols or one.symbol in config.symbols)
    request = Request(at, writer.stored(OPTION_CONTRACTS), config.replayed)
    with progress.track("chain_snapshot", len(wanted)) as advance:
        looks = fetch_chains(vendor_api, wanted, request, advance)
    writer.keep_refused(looks)
    failures = {one.symbol: one.failure for one in looks if one.failure is not None}
    good = [one for one in looks if one.failure is None]
    if not good:
        raise SourceError(_none_came(list(failures.values())))
    notes = [note for one in looks for note in one.notes] + writer.write(good)
    for sentence in [*failures.values(), *notes]:
        context.log.warning(sentence)
    for event in writer.events:
        context.log_event(event)
    refused = sum(one.quarantine.height for one in looks)
    said = {**writer.described(), REFUSED: refused, FAILURES: dg.MetadataValue.json(failures)}
    return dg.MaterializeResult(metadata=said)


def _none_came(sentences: Sequence[str]) -> str:
    more = f" {len(sentences) - _NAMED_FAILURES} more symbols failed." if len(sentences) > _NAMED_FAILURES else ""
    return " ".join(dict.fromkeys(sentences[:_NAMED_FAILURES])) + more


class _Writer:
    """Puts the pictures of one instant beside those that the session's partitions hold."""

    def __init__(self, lake: Lake, watchlist: Watchlist, at: datetime) -> None:
        self.lake, self.watchlist, self.at = lake, watchlist, at
        self.day: date = at.astimezone(calendar.NEW_YORK).date()
        self.events: list[dg.AssetMaterialization] = []

    def stored(self, table: Table, **where: Any) -> pl.DataFrame:
        """What the session's partition of a table holds."""
        return self.lake.read_sessions(table, [self.day], **where)

    def keep_refused(self, looks: Sequence[SymbolChain]) -> None:
        """Stores what was refused of each answer, in place of what was refused of it before."""
        found = pl.concat([one.quarantine for one in looks])
        held = self.stored(QUARANTINE, where=pl.col("dataset").is_in(REFUSING_DATASETS))
        asked = [key for one in looks for key in one.asked]
        kept = held.filter(~pl.col("source_key").is_in(asked))
        replace_refused(self.lake, {self.day: pl.concat([kept, found])}, REFUSING_DATASETS)

    def write(self, looks: Sequence[SymbolChain]) -> list[str]:
        """Writes reference, rows and dealer gamma; a sentence when there is no interest rate."""
        chain = pl.concat([one.chain for one in looks if one.chain is not None])
        rates = self.lake.read(RATE_CURVE, [{}])
        rows = value_snapshot(
            chain,
            underlying_bars=pl.concat([one.bars for one in looks]),
            rates=rates,
            actions=self.lake.read(CORPORATE_ACTIONS, [{}]),
        )
        # What the vendor lists says more than what follows from a ticker in a file.
        self._put(OPTION_CONTRACTS, pl.concat([one.contracts for one in looks]), files_win=False)
        self._put(OPEN_INTEREST, open_interest_of(chain), files_win=True)
        self._wrote(store_live_snapshot(self.lake, rows))
        for info in store_gamma(self.lake, self.watchlist, self.day).values():
            self._wrote(info)
        if rates.filter(pl.col("available_at") <= self.at).height:
            return []
        return [
            f"No interest rate is known at {self.at:%Y-%m-%d %H:%M} UTC, so no option has a volatility "
            "(missing_input): put extra/primary_credit_rate.csv beside the flat files and materialise rate_curve."
        ]

    def _put(self, table: Table, rows: pl.DataFrame, *, files_win: bool) -> None:
        """Puts rows of contracts into the session's partition, whose file keeps saying what it was made from."""
        if rows.height:
            key = {"session": self.day}
            whole = with_live_rows(self.stored(table), rows, files_win=files_win)
            self._wrote(self.lake.write(table, key, whole, self.lake.metadata(table, key)))

    def _wrote(self, info: PartitionInfo) -> None:
        about: dict[str, Any] = {"dagster/row_count": info.rows, "sha256": info.sha256, "code_version": CODE_VERSION}
        self.events.append(dg.AssetMaterialization(info.table, partition=info.key["session"], metadata=about))

    def described(self) -> dict[str, Any]:
        """What the UI and the command line show of the snapshot, as it stands in the lake."""
        at = pl.col("snapshot_at") == self.at
        rows = self.stored(HISTORICAL_GREEKS, columns=["symbol", "iv_status"], where=at)
        is_headline = at & (pl.col("sign_convention").cast(pl.String) == "A")
        exposure = self.stored(GAMMA_EXPOSURE_SNAPSHOTS, columns=list(_HEADLINE), where=is_headline)
        statuses = rows["iv_status"].cast(pl.String).value_counts().sort("iv_status")
        return {
            "snapshot_at": self.at.isoformat(),
            "dagster/row_count": rows.height,
            CONTRACTS: dg.MetadataValue.json(dict(rows.group_by("symbol").len().sort("symbol").iter_rows())),
            "statuses": dg.MetadataValue.json(dict(statuses.iter_rows())),
            EXPOSURE: dg.MetadataValue.json(exposure.sort("symbol").to_dicts()),
        }


live_chain_assets = [chain_snapshot]
