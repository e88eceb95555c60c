"""One materialisation event for each partition that was really written, and none for the others in the range.

Dagster's own event for a ranged run claims every partition of the range, and `add_asset_metadata` costs milliseconds a
call and grows with the square of the range. So the events are made here, with the engine's own data-version tags, and
handed over in one batch. Leans on internals of the pinned Dagster; test_partition_events.py holds it to its promise.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DataVersion
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata, generate_event_batch_id
from dagster._core.execution.plan.execute_step import _build_data_version_tags, _get_input_provenance_data

DATA_VERSION = "sha256"


def publish(
    context: dg.AssetExecutionContext,
    partitions: Mapping[str, Mapping[str, Any]],
    asset_key: str | None = None,
) -> dg.MaterializeResult:
    """Records one materialisation for each of `partitions` (key -> metadata) and returns the asset's result.

    The metadata entry ``sha256`` is the partition's data version. Partitions of the run that are not among `partitions`
    stay as they were.
    """
    key = dg.AssetKey(asset_key) if asset_key else context.asset_key
    step = context.get_step_execution_context()
    code_version = context.assets_def.code_versions_by_key.get(key) or context.run_id
    provenance = _get_input_provenance_data(key, step)
    batch, last = generate_event_batch_id(), len(partitions) - 1
    for position, (partition, metadata) in enumerate(partitions.items()):
        version = DataVersion(str(metadata[DATA_VERSION]))
        tags = _build_data_version_tags(version, code_version, provenance, data_version_is_user_provided=True)
        event = dg.AssetMaterialization(key, partition=partition, metadata=dict(metadata), tags=tags)
        DagsterEvent.asset_materialization(step, event, DagsterEventBatchMetadata(batch, position == last))
    # The engine makes no events of its own for a result that carries this entry.
    return dg.MaterializeResult(asset_key=key, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})
