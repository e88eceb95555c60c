"""A fixed history of two runs and everything an instance can be asked about it, to hold one storage to another."""

import uuid
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.event_api import RunStatusChangeRecordsFilter
from dagster._core.events import DagsterEventType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._serdes import serialize_value

from strategy_pipeline_tests.defs import instance_events as ev

ONE, TWO = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
BARS, FEATURES = dg.AssetKey("bars"), dg.AssetKey("features")


def write_a_history(instance: dg.DagsterInstance) -> None:
    """Two runs over two assets: plans, results, an observation, checks, a failure, tags, a tick, keys, slots."""
    ev.add_run(instance, ONE, trigger="test")
    ev.add_run(instance, TWO)
    second = iter(range(1_000))

    def say(run_id: str, happened: Any) -> None:
        instance.handle_new_event(ev.entry(run_id, next(second), happened))

    say(ONE, ev.event(DagsterEventType.RUN_START))
    for asset in ("bars", "features"):
        for day in ("d1", "d2", "d3"):
            say(ONE, ev.planned(asset, day))
    say(ONE, ev.check_planned("bars", "ordered"))
    say(ONE, ev.check_planned("bars", "complete"))
    say(ONE, ev.event(DagsterEventType.STEP_START, step="bars"))
    for day in ("d1", "d2"):
        say(ONE, ev.materialized("bars", day))
    say(ONE, ev.observed("bars", "d2"))
    say(ONE, ev.checked("bars", "ordered", passed=True))
    say(ONE, ev.checked("bars", "complete", passed=False))
    say(ONE, None)
    say(ONE, ev.run_failed())
    say(TWO, ev.event(DagsterEventType.RUN_START))
    say(TWO, ev.planned("bars", "d2"))
    say(TWO, ev.materialized("bars", "d2", version="2"))
    say(TWO, ev.materialized("features", "d1"))
    say(TWO, ev.check_planned("bars", "ordered"))
    say(TWO, ev.planned("features", "d2"))
    say(TWO, ev.event(DagsterEventType.RUN_SUCCESS))
    instance.add_run_tags(TWO, {"checked": "yes"})
    instance.add_dynamic_partitions("symbols", ["SPY", "QQQ", "IWM"])
    instance.delete_dynamic_partition("symbols", "QQQ")
    instance.run_storage.set_cursor_values({"a": "1", "b": "2"})
    tick = instance.create_tick(
        TickData(
            "origin", "daily", InstigatorType.SCHEDULE, TickStatus.STARTED, 1_704_067_200.0, selector_id="selector"
        )
    )
    instance.update_tick(tick.with_status(TickStatus.SUCCESS, end_timestamp=1_704_067_201.0).with_run_info(run_id=TWO))
    instance.event_log_storage.set_concurrency_slots("disk", 2)
    for step in ("s1", "s2", "s3"):
        instance.event_log_storage.claim_concurrency_slot("disk", ONE, step)


def answers(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What an instance says about its history, without the clock times of its own writing."""
    log = instance.event_log_storage
    checks = [dg.AssetCheckKey(BARS, name) for name in ("ordered", "complete")]
    slots = log.get_concurrency_info("disk")
    latest_checks = log.get_latest_asset_check_execution_by_key(checks)
    found: dict[str, Any] = {
        "runs": sorted((run.run_id, run.status.value, sorted(run.tags.items())) for run in instance.get_runs()),
        "tagged": [run.run_id for run in instance.get_runs(dg.RunsFilter(tags={"checked": "yes"}))],
        "assets": sorted(key.to_string() for key in instance.all_asset_keys()),
        "keys": sorted(instance.get_dynamic_partitions("symbols")),
        "cursors": instance.run_storage.get_cursor_values({"a", "b", "c"}),
        "latest_checks": {
            key.name: (record.status.value, record.run_id, record.id) for key, record in latest_checks.items()
        },
        "slots": (slots.slot_count, slots.limit, slots.using_default_limit),
        "claimed": sorted((slot.run_id, slot.step_key) for slot in slots.claimed_slots),
        "pending": sorted((step.run_id, step.step_key) for step in slots.pending_steps),
    }
    for tick in instance.get_ticks("origin", "selector"):
        found["tick"] = (tick.status.value, tick.run_ids, tick.timestamp, tick.instigator_name)
    for run_id in (ONE, TWO):
        found[f"log {run_id}"] = [serialize_value(line) for line in instance.all_logs(run_id)]
        found[f"page {run_id}"] = instance.get_records_for_run(run_id, limit=3).cursor
        found[f"stats {run_id}"] = instance.get_run_stats(run_id)
    for status in (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE):
        changes = instance.fetch_run_status_changes(RunStatusChangeRecordsFilter(status), limit=5)
        found[status.value] = ([record.run_id for record in changes.records], changes.cursor)
    for key in (BARS, FEATURES):
        (record,) = instance.get_asset_records([key])
        page = instance.fetch_materializations(key, limit=2)
        found[key.to_string()] = {
            "partitions": sorted(instance.get_materialized_partitions(key)),
            "latest": serialize_value(instance.get_latest_materialization_event(key)),
            "last run": record.asset_entry.last_run_id,
            "last record": serialize_value(record.asset_entry.last_materialization_record),
            "last storage ids": (
                record.asset_entry.last_materialization_storage_id,
                record.asset_entry.last_observation_storage_id,
                record.asset_entry.last_planned_materialization_storage_id,
            ),
            "page": ([line.storage_id for line in page.records], page.cursor, page.has_more),
            "ids": log.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION),
            "tags": log.get_latest_tags_by_partition(
                key, DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
            ),
            "planned": instance.get_latest_planned_materialization_info(key, partition="d2"),
            "failed": log.get_latest_asset_partition_materialization_attempts_without_materializations(key),
        }
    for key in checks:
        history = log.get_asset_check_execution_history(key, limit=10)
        found[f"history {key.name}"] = [
            (line.id, line.run_id, line.status.value, serialize_value(line.event) if line.event else None)
            for line in history
        ]
    return found
