"""SQL models in the graph: dependencies, columns, lineage, partitions, and checks that stop what follows."""

from datetime import date

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.defs.assets.sql import sql_assets, sql_checks
from strategy_pipeline.defs.partitions import DETECTORS, SESSIONS
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS, MARKET_BREADTH
from strategy_pipeline.market import calendar
from strategy_pipeline.sql_models.model import load_models
from strategy_pipeline.sql_models.reference import REFERENCE_TABLES
from strategy_pipeline_tests.sql_models.crafted import HEADER, counting_model, daily_bars, lake_with

ASKED = calendar.sessions_between(date(2016, 1, 4), date(2016, 1, 15))
KEYS = [day.isoformat() for day in ASKED]
UPSTREAM = {
    "historical_bars": SESSIONS,
    "corporate_actions": None,
    "backtest_trades": DETECTORS,
    "atm_iv_daily": SESSIONS,
}


def graph(models, lake) -> dg.Definitions:
    """The models alone, above assets that somebody else materialises."""
    assets = [asset for group in sql_assets(models).values() for asset in group]
    specs = [dg.AssetSpec(name, partitions_def=definition) for name, definition in UPSTREAM.items()]
    return dg.Definitions(
        assets=[*assets, *specs],
        asset_checks=sql_checks(models),
        jobs=[dg.define_asset_job(f"make_{name}", selection=dg.AssetSelection.assets(name)) for name in models],
        resources={"lake": lake},
        executor=dg.in_process_executor,
    )


def run(models, lake, name, instance, keys=None):
    tags = (
        {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]} if keys else {}
    )
    job = graph(models, lake).resolve_job_def(f"make_{name}")
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


@pytest.fixture
def instance():
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def lake(tmp_path) -> Lake:
    prices = {day: 10.0 + at for at, day in enumerate(ASKED)}
    return lake_with(tmp_path / "lake", pl.concat([daily_bars("AAA", prices), daily_bars("BBB", prices)]))


def test_every_model_is_an_asset_with_the_dependencies_of_its_select(lake):
    models = load_models()
    found = graph(models, lake).resolve_asset_graph()
    assert {name: group for group, assets in sql_assets(models).items() for name in map(_key, assets)} == {
        name: model.group for name, model in models.items()
    }
    for name, model in models.items():
        node = found.get(dg.AssetKey(name))
        assert {key.to_user_string() for key in node.parent_keys} == set(model.inputs) - set(REFERENCE_TABLES)
        assert node.partitions_def == (SESSIONS if model.by_session else None)
        assert node.code_version == model.code_version
        schema = node.metadata["dagster/column_schema"]
        assert {column.name: column.description for column in schema.columns} == dict(model.column_docs)
        checks = {key.name for key in found.asset_check_keys if key.asset_key == dg.AssetKey(name)}
        assert checks == {"contract_holds", *(one.name for one in model.tests)}


def _key(asset: dg.AssetsDefinition) -> str:
    return asset.key.to_user_string()


def test_a_session_depends_on_the_sessions_its_window_looks_back_at(lake):
    breadth = next(one for one in sql_assets(load_models())["market"] if _key(one) == "market_breadth")
    mapping = breadth.get_partition_mapping(dg.AssetKey("historical_bars"))
    subset = SESSIONS.subset_with_partition_keys(["2017-01-03"])
    upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, SESSIONS, SESSIONS)
    keys = sorted(upstream.partitions_subset.get_partition_keys())
    # 252 sessions before the first one of 2017 is the first one of 2016: that year had 252.
    assert (keys[0], keys[-1], len(keys)) == ("2016-01-04", "2017-01-03", 253)


def test_a_ranged_run_writes_its_sessions_with_lineage_to_the_column_and_passes_its_checks(lake, instance):
    models = load_models()
    result = run(models, lake, "market_breadth", instance, KEYS)
    assert result.success
    assert lake.sessions(MARKET_BREADTH) == ASKED
    last = instance.get_latest_materialization_event(dg.AssetKey("market_breadth")).asset_materialization
    assert last.partition == KEYS[-1]
    lineage = last.metadata["dagster/column_lineage"].lineage.deps_by_column
    assert dg.TableColumnDep(dg.AssetKey("historical_bars"), "close") in lineage["advancers"]
    assert dg.TableColumnDep(dg.AssetKey("corporate_actions"), "split_ratio") in lineage["new_highs"]
    assert last.metadata["dagster/row_count"].value == 1
    assert sorted(instance.get_materialized_partitions(dg.AssetKey("market_breadth"))) == KEYS
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == 1 + len(models["market_breadth"].tests)
    assert all(one.passed and one.blocking for one in evaluations)


def test_running_twice_gives_the_same_bytes(lake, instance):
    models = {"bar_counts": counting_model()}
    run(models, lake, "bar_counts", instance, KEYS[:3])
    table = models["bar_counts"].table
    before = [lake.info(table, {"session": key}).sha256 for key in KEYS[:3]]
    run(models, lake, "bar_counts", instance, KEYS[:3])
    assert [lake.info(table, {"session": key}).sha256 for key in KEYS[:3]] == before


def test_a_declared_test_that_is_broken_fails_its_check_and_says_how_many_rows(lake, instance):
    models = {"bar_counts": counting_model(HEADER.replace("between: [1, 2]", "between: [3, 9]"))}
    result = run(models, lake, "bar_counts", instance, KEYS[:3])
    broken = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert [(one.check_name, one.description) for one in broken] == [("bars_between", "3 of 3 rows break it")]


def test_sessions_without_rows_stay_unmaterialised(lake, instance):
    day = calendar.next_session(ASKED[-1])
    result = run({"bar_counts": counting_model()}, lake, "bar_counts", instance, [KEYS[-1], day.isoformat()])
    assert result.success
    assert instance.get_materialized_partitions(dg.AssetKey("bar_counts")) == {KEYS[-1]}


def test_a_model_may_read_a_model(lake, instance):
    first = counting_model()
    header = HEADER.replace("partitioning: {by: session, look_back_sessions: 1}\n", "")
    second = counting_model(
        header,
        "SELECT max(session) AS session, count(*) AS bars, 'many' AS word FROM {{ ref('bar_counts') }}",
        "totals",
    )
    models = {"bar_counts": first, "totals": second}
    parents = graph(models, lake).resolve_asset_graph().get(dg.AssetKey("totals")).parent_keys
    assert parents == {dg.AssetKey("bar_counts")}
    run(models, lake, "bar_counts", instance, KEYS[:3])
    result = run(models, lake, "totals", instance)
    assert lake.read(second.table, [{}]).rows() == [(ASKED[2], 3, "many")]
    # "many" is not among the accepted values, nor is 3 within the declared range.
    broken = {one.check_name for one in result.get_asset_check_evaluations() if not one.passed}
    assert broken == {"bars_between", "word_accepted_values"}
    event = instance.get_latest_materialization_event(dg.AssetKey("totals")).asset_materialization
    lineage = event.metadata["dagster/column_lineage"].lineage.deps_by_column
    assert lineage["session"] == [dg.TableColumnDep(dg.AssetKey("bar_counts"), "session")]


def test_a_select_that_fails_leaves_the_stored_partitions(lake, instance):
    models = {"bar_counts": counting_model()}
    run(models, lake, "bar_counts", instance, KEYS[:2])
    table = models["bar_counts"].table
    before = lake.read(table, [{"session": key} for key in KEYS[:2]])
    wrong = counting_model(select=counting_model().source.split("*/")[1].replace("count(*) AS bars", "bars AS bars"))
    assert not run({"bar_counts": wrong}, lake, "bar_counts", instance, KEYS[:2]).success
    assert lake.read(table, [{"session": key} for key in KEYS[:2]]).equals(before)
    assert lake.sessions(HISTORICAL_BARS) == ASKED
