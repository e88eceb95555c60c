"""Materialisation events of ranged runs: only for what was written, with the engine's own version tags."""

import dagster as dg
import pytest

from strategy_pipeline.defs.launch import RANGE_END, RANGE_START
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS

WEEK = ("2024-01-02", "2024-01-05")


@dg.asset(partitions_def=SESSIONS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="7")
def upstream(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    held = [key for key in context.partition_keys if key != "2024-01-03"]
    return publish(context, {key: {"sha256": f"digest of {key}", "rows": 2} for key in held})


@dg.asset(partitions_def=SESSIONS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="8", deps=[upstream])
def downstream(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    return publish(context, {key: {"sha256": "same"} for key in context.partition_keys})


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        definitions = dg.Definitions(assets=[upstream, downstream], executor=dg.in_process_executor)
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=found, tags={RANGE_START: WEEK[0], RANGE_END: WEEK[1]}).success
        yield found


def events(instance, asset):
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
    return {one.asset_materialization.partition: one.asset_materialization for one in records}


def test_a_partition_that_was_not_written_has_no_event(instance):
    assert sorted(events(instance, "upstream")) == ["2024-01-02", "2024-01-04", "2024-01-05"]
    assert sorted(instance.get_materialized_partitions(dg.AssetKey("upstream"))) == [
        "2024-01-02", "2024-01-04", "2024-01-05",
    ]  # fmt: skip


def test_there_is_one_event_a_partition_and_downstream_runs_all_the_same(instance):
    assert len(instance.fetch_materializations(dg.AssetKey("downstream"), limit=100).records) == 4


def test_each_event_carries_its_own_metadata_and_data_version(instance):
    event = events(instance, "upstream")["2024-01-04"]
    assert event.metadata["rows"].value == 2
    assert event.tags["dagster/data_version"] == "digest of 2024-01-04"
    assert event.tags["dagster/data_version_is_user_provided"] == "true"
    assert event.tags["dagster/code_version"] == "7"


def test_events_name_the_versions_of_what_they_were_made_from(instance):
    event = events(instance, "downstream")["2024-01-04"]
    assert "dagster/input_data_version/upstream" in event.tags
    assert "dagster/input_event_pointer/upstream" in event.tags
