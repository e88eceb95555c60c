"""Reference data as assets: the corporate actions of the watched symbols. Reading files is ``ingestion``'s work."""

import dagster as dg

from strategy_pipeline.ingestion.corporate_actions import (
    ParsedActions,
    fetch_actions,
    merged,
    parse_corporate_actions,
)
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.mirror import RawMirror, first_failure
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS
from strategy_pipeline.market.symbols import INDEX
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "corporate-actions-2"
# Under this name a table that came over REST says of which symbols it is.
ASKED = "asked_over_rest"
# Where a mirror keeps its CSV files, in the vendor's shape or as factor files; all that are there count.
ACTION_KEYS = (
    "reference/splits.csv",
    "reference/dividends.csv",
    "extra/corporate_actions/splits.csv",
    "extra/corporate_actions/dividends.csv",
)


class ActionsConfig(dg.Config):
    """`symbols` are asked for over REST besides the watchlist; symbols that were asked for before are so again."""

    symbols: list[str] = []


@dg.asset(
    code_version=CODE_VERSION,
    description=(
        "Splits and cash dividends from the CSV files beside the vendor's files, or over REST where there are none and "
        "a key is set. Bars stay raw; prices are adjusted when they are read, from the session that looks back, with "
        "factors effective on the ex-date only."
    ),
)
def corporate_actions(
    context: dg.AssetExecutionContext,
    config: ActionsConfig,
    lake: dg.ResourceParam[Lake],
    flat_files: dg.ResourceParam[FlatFileStore],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    vendor_api_if_any: dg.ResourceParam[VendorApi | None],
) -> dg.MaterializeResult:
    parts, sources = _from_files(raw_files, flat_files)
    if not sources and vendor_api_if_any is not None:
        before = (lake.metadata(CORPORATE_ACTIONS, {}) or {}).get(ASKED, "").split(",")
        watched = watchlist.extended([*config.symbols, *filter(None, before)])
        parts, sources = _over_rest(vendor_api_if_any, watched)
    actions = merged(parts)
    if not sources:
        context.log.warning(f"{flat_files.location} has no splits.csv or dividends.csv: splits are not adjusted for.")
    for sentence in (part.refusal for part in parts if part.refusal):
        context.log.warning(sentence)
    written = lake.write(CORPORATE_ACTIONS, {}, actions, {"code_version": CODE_VERSION, **sources})
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.sha256),
        metadata={
            "dagster/row_count": written.rows,
            "symbols": actions["symbol"].n_unique(),
            "quarantined": sum(part.rows_quarantined for part in parts),
            "sources": dg.MetadataValue.json(sources),
            "sha256": written.sha256,
            "code_version": CODE_VERSION,
        },
    )


def _from_files(raw_files: RawMirror, flat_files: FlatFileStore) -> tuple[list[ParsedActions], dict[str, str]]:
    """What the CSV files hold, and the ETag of each."""
    results = raw_files.download(flat_files, ACTION_KEYS)
    if error := first_failure(results):
        raise error
    found = [one.raw for one in results if one.raw]
    parts = [parse_corporate_actions(raw.path, key=raw.key, etag=raw.etag) for raw in found]
    return parts, {raw.key: raw.etag for raw in found}


def _over_rest(api: VendorApi, watchlist: Watchlist) -> tuple[list[ParsedActions], dict[str, str]]:
    """What the vendor answers for every watched symbol but indices, and for which it was asked."""
    symbols = [one.symbol for one in watchlist.instruments if one.asset_class != INDEX]
    return fetch_actions(api, symbols), {ASKED: ",".join(symbols)}


reference_assets = [corporate_actions]
