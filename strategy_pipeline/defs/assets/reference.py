"""Reference data as assets: the corporate actions of the watched symbols. Reading files is ``ingestion``'s work."""

import dagster as dg

from strategy_pipeline.ingestion.corporate_actions import merged, parse_corporate_actions
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.mirror import RawMirror, first_failure
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS

CODE_VERSION = "corporate-actions-1"
# Where a mirror keeps its CSV files, in the vendor's shape or as factor files; all that are there count.
ACTION_KEYS = (
    "reference/splits.csv",
    "reference/dividends.csv",
    "extra/corporate_actions/splits.csv",
    "extra/corporate_actions/dividends.csv",
)


@dg.asset(
    code_version=CODE_VERSION,
    description=(
        "Splits and cash dividends from the CSV files beside the vendor's files. Bars stay raw; prices are adjusted "
        "when they are read, from the session that looks back, with factors effective on the ex-date only."
    ),
)
def corporate_actions(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    flat_files: dg.ResourceParam[FlatFileStore],
    raw_files: dg.ResourceParam[RawMirror],
) -> dg.MaterializeResult:
    results = raw_files.download(flat_files, ACTION_KEYS)
    if error := first_failure(results):
        raise error
    found = [one.raw for one in results if one.raw]
    parts = [parse_corporate_actions(raw.path, key=raw.key, etag=raw.etag) for raw in found]
    actions = merged(parts)
    if not found:
        context.log.warning(f"{flat_files.location} has no splits.csv or dividends.csv: splits are not adjusted for.")
    for sentence in (part.refusal for part in parts if part.refusal):
        context.log.warning(sentence)
    sources = {raw.key: raw.etag for raw in found}
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


reference_assets = [corporate_actions]
