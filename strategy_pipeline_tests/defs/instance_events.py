"""Dagster events and runs with fixed content, for tests that write them to a storage; also run as a writing process."""

import sys

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationPlanned,
)
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEvent,
    DagsterEventType,
    JobFailureData,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.dagster_run import DagsterRun

JOB = "nightly"
STORAGE_MODULE, STORAGE_CLASS = "strategy_pipeline.defs.instance", "InstanceStorage"


def instance_with(folder: str, *, quick: bool) -> dg.DagsterInstance:
    """An instance on disk in `folder`, over the project's storage or over Dagster's own."""
    custom = {"custom": {"module": STORAGE_MODULE, "class": STORAGE_CLASS, "config": {"base_dir": folder}}}
    return dg.DagsterInstance.local_temp(folder, overrides={"storage": custom} if quick else None)


def entry(run_id: str, second: int, event: DagsterEvent | None) -> EventLogEntry:
    """A log entry `second` seconds into 2024."""
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message="a line" if event is None else "",
        run_id=run_id,
        timestamp=1_704_067_200.0 + second,
        step_key=None if event is None else event.step_key,
        job_name=JOB,
        dagster_event=event,
    )


def event(kind: DagsterEventType, data: object = None, step: str | None = None) -> DagsterEvent:
    return DagsterEvent(kind.value, JOB, step_key=step, event_specific_data=data)  # type: ignore[arg-type]  # one of many


def planned(asset: str, partition: str | None) -> DagsterEvent:
    data = AssetMaterializationPlannedData(dg.AssetKey(asset), partition=partition)
    return event(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, data, asset)


def materialized(asset: str, partition: str | None, version: str = "1") -> DagsterEvent:
    result = dg.AssetMaterialization(
        asset, partition=partition, metadata={"rows": 7}, tags={"dagster/data_version": version, "note": "x"}
    )
    return event(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(result, []), asset)


def observed(asset: str, partition: str | None) -> DagsterEvent:
    data = AssetObservationData(dg.AssetObservation(asset, partition=partition))
    return event(DagsterEventType.ASSET_OBSERVATION, data, asset)


def check_planned(asset: str, name: str) -> DagsterEvent:
    data = AssetCheckEvaluationPlanned(asset_key=dg.AssetKey(asset), check_name=name)
    return event(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, data, asset)


def checked(asset: str, name: str, *, passed: bool) -> DagsterEvent:
    data = AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=name,
        passed=passed,
        metadata={},
        severity=dg.AssetCheckSeverity.ERROR,
    )
    return event(DagsterEventType.ASSET_CHECK_EVALUATION, data, asset)


def run_failed() -> DagsterEvent:
    return event(DagsterEventType.RUN_FAILURE, JobFailureData(error=None))


def add_run(instance: dg.DagsterInstance, run_id: str, **tags: str) -> DagsterRun:
    return instance.add_run(DagsterRun(job_name=JOB, run_id=run_id, tags=tags))


def write_forever_or(count: int | None, folder: str, run_id: str, asset: str) -> None:
    """Writes partitions of an asset, one flushed burst of five after the other, and says after each how many are in."""
    instance = instance_with(folder, quick=True)
    add_run(instance, run_id, writer=asset)
    written = 0
    while count is None or written < count:
        for _ in range(5):
            instance.store_event(entry(run_id, written, materialized(asset, f"p{written}")))
            written += 1
        instance.store_event(entry(run_id, written, None))
        instance.add_run_tags(run_id, {"written": str(written)})
        print(written, flush=True)
    instance.dispose()


if __name__ == "__main__":
    write_forever_or(int(sys.argv[1]) or None, sys.argv[2], sys.argv[3], sys.argv[4])
