"""The vendor's files as assets: one session each, as published, with key, ETag and checksum.

Fetching and keeping them is ``ingestion/mirror.py``'s work; nothing here looks inside a file.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, Dataset, key_for
from strategy_pipeline.ingestion.mirror import DownloadResult, RawMirror, first_failure

CODE_VERSION = "flat-files-1"

# Asset -> vendor data set, those that feed bars. A mirror need not have all of them: what is missing is not
# materialised.
FLAT_FILE_DATASETS = {
    "stock_minute_file": "us_stocks_sip/minute_aggs_v1",
    "index_minute_file": "us_indices/minute_aggs_v1",
    "stock_hour_file": "us_stocks_sip/hour_aggs_v1",
    "index_hour_file": "us_indices/hour_aggs_v1",
    "stock_day_file": "us_stocks_sip/day_aggs_v1",
    "index_day_file": "us_indices/day_aggs_v1",
}
OPTION_FILE_DATASETS = {
    "option_minute_file": "us_options_opra/minute_aggs_v1",
    "option_quote_file": "us_options_opra/quotes_v1",
    "option_trade_file": "us_options_opra/trades_v1",
    "option_day_file": "us_options_opra/day_aggs_v1",
}
# The largest files there are: only quoted spreads need them.
QUOTE_FILE_DATASETS = {"stock_quote_file": "us_stocks_sip/quotes_v1"}

_WHAT = {
    "minute": "minute aggregates", "hour": "hour aggregates", "day": "day aggregates", "trades": "trades",
    "quotes": "quotes",
}  # fmt: skip


class FlatFilesConfig(PartitionChoice):
    """Which files are fetched, and whether those that are here and unchanged are fetched again."""

    overwrite: bool = False


def _file_metadata(result: DownloadResult) -> dict[str, Any]:
    """What the UI shows of a file; `result` has one."""
    raw = result.raw
    assert raw is not None
    return {
        "sha256": raw.sha256,
        "source_key": raw.key,
        "source_etag": raw.etag,
        "published_at": dg.MetadataValue.timestamp(raw.last_modified),
        "bytes": raw.size,
        "earlier_versions": raw.revision,
        "status": result.status,
        "path": dg.MetadataValue.path(str(raw.path)),
        "code_version": CODE_VERSION,
    }


def _published(store: FlatFileStore, dataset: Dataset, partition_keys: list[str]) -> dict[str, str]:
    """Partition key -> object key, for the sessions whose object the store has now."""
    days = sessions_of(partition_keys)
    if not days:
        return {}
    there = {one.key for one in store.list(dataset, days[0], days[-1])}
    wanted = {partition: key_for(dataset, day) for partition, day in zip(partition_keys, days, strict=True)}
    return {partition: key for partition, key in wanted.items() if key in there}


def _flat_file(name: str, dataset: Dataset) -> dg.AssetsDefinition:
    per = "a file a month, shared by its sessions" if dataset.file_per == "month" else "a file a session"

    @dg.asset(
        name=name,
        partitions_def=SESSIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=CODE_VERSION,
        description=(
            f"The vendor's {dataset.kind} {_WHAT[dataset.grain]} as published ({per}), never rewritten by us. "
            "A session the vendor has no file for stays unmaterialised."
        ),
        metadata={"dataset": dataset.name, "feeds": dataset.feeds or "none"},
    )
    def flat_file(
        context: dg.AssetExecutionContext,
        config: FlatFilesConfig,
        flat_files: dg.ResourceParam[FlatFileStore],
        raw_files: dg.ResourceParam[RawMirror],
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        sessions = config.keys(context)
        object_of = _published(flat_files, dataset, sessions)
        objects = list(dict.fromkeys(object_of.values()))
        with progress.track(name, len(objects)) as advance:
            results = raw_files.download(
                flat_files,
                objects,
                overwrite=config.overwrite,
                on_progress=lambda at: advance(1 if at.status else 0),
            )
        if error := first_failure(results):
            raise error
        described = {one.key: _file_metadata(one) for one in results if one.raw}
        found = {partition: described[key] for partition, key in object_of.items() if key in described}
        context.log.info(_summary(name, len(sessions), found))
        return publish(context, found)

    return flat_file


def _summary(name: str, sessions: int, found: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on what was there and what was not."""
    missing = sessions - len(found)
    rest = f"; the vendor has no file for the other {missing}" if missing else ""
    return f"{name}: files for {len(found)} of {sessions} sessions{rest}."


flat_file_assets = [
    _flat_file(name, DATASETS[dataset])
    for name, dataset in (FLAT_FILE_DATASETS | OPTION_FILE_DATASETS | QUOTE_FILE_DATASETS).items()
]
