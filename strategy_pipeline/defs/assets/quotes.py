"""Quoted spreads as an asset: the vendor's stock quotes become one quote a minute of each watched symbol.

Reading the files is ``ingestion``'s work, judging quotes that of ``analytics``.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.quoted_spreads import DEFINITION_VERSION
from strategy_pipeline.analytics.quoted_spreads import quoted_spreads as spreads_of
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.quarantine import replace_refused
from strategy_pipeline.defs.rebuilding import rebuilt, symbols_of
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.stock_quotes import DATASET, parse_stock_quotes
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import QUOTED_SPREADS
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "quoted-spreads-1"


class QuotesConfig(PartitionChoice):
    """Quotes of `symbols` count besides the watchlist's; symbols a partition holds already stay in it."""

    symbols: list[str] = []


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep("stock_quote_file")],
    code_version=CODE_VERSION,
    description=(
        "Bid, ask and spread of each watched symbol at the end of each regular minute: the newest quote of two sides "
        "that do not cross, at most 60 s old. A session without a file of stock quotes stays unmaterialised."
    ),
    metadata=describe_table(QUOTED_SPREADS),
)
def quoted_spreads(
    context: dg.AssetExecutionContext,
    config: QuotesConfig,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    spreads = _Spreads(context, lake, raw_files, watchlist.extended(config.symbols).symbols)
    pedigrees = {day: said for day in sessions if (said := spreads.pedigree(day)) is not None}
    with progress.track("quoted_spreads", len(pedigrees)) as advance:
        found = rebuilt(lake, QUOTED_SPREADS, pedigrees, spreads.build, advance)
    context.log.info(f"quoted_spreads: {len(found)} of {len(sessions)} sessions have quotes of watched symbols.")
    return publish(context, {key: _described(info) for key, info in sorted(found.items())})


class _Spreads:
    """Reads the quotes of sessions for some symbols and keeps what could not be used."""

    def __init__(
        self, context: dg.AssetExecutionContext, lake: Lake, raw_files: RawMirror, symbols: Sequence[str]
    ) -> None:
        self.context, self.lake, self.raw_files, self.symbols = context, lake, raw_files, symbols

    def pedigree(self, day: date) -> dict[str, str] | None:
        """What the session's rows follow from; None when it has no file of stock quotes."""
        raw = self.raw_files.get(key_for(DATASETS[DATASET], day))
        if raw is None:
            return None
        return {
            "source_key": raw.key,
            "source_etag": raw.etag,
            "source_sha256": raw.sha256,
            "symbols": ",".join(symbols_of(self.lake, QUOTED_SPREADS, day, self.symbols)),
            "code_version": CODE_VERSION,
            "definition_version": DEFINITION_VERSION,
        }

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The session's rows, and how many lines of the file were refused."""
        raw = self.raw_files.get(key_for(DATASETS[DATASET], day))
        assert raw is not None
        parsed = parse_stock_quotes(raw, day, symbols_of(self.lake, QUOTED_SPREADS, day, self.symbols))
        replace_refused(self.lake, {day: parsed.quarantine}, [DATASET])
        if parsed.refusal:
            self.context.log.warning(parsed.refusal)
        rows = spreads_of(parsed.rows, day)
        return rows, {"quotes": f"{parsed.counts.kept}", "quarantined": f"{parsed.counts.quarantined}"}


def _described(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session."""
    said = info.metadata
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "quotes": int(said["quotes"]),
        "quarantined": int(said["quarantined"]),
        "source_key": said["source_key"],
        "bytes": info.bytes,
        "code_version": CODE_VERSION,
    }


quote_assets = [quoted_spreads]
