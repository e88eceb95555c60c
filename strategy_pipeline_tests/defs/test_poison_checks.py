"""The future-poison checks on stored partitions: green on an honest market, red on a row no honest past gives."""

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.defs.poison_checks import KINDS, features_poison
from strategy_pipeline.lake.poison import KINDS as ALL_KINDS
from strategy_pipeline.lake.tables import FEATURES
from strategy_pipeline_tests.defs.small_market import UPSTREAM, SmallMarket, small_market

LAST = 2


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SmallMarket:
    return small_market(tmp_path_factory.mktemp("poison"), sessions=14, symbols=6)


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations() if one.asset_key.path[-1] == "features"}


def only_the_check(market: SmallMarket) -> dg.AssetCheckEvaluation:
    """The check alone, on what is stored."""
    key = market.sessions[-1].isoformat()
    definitions = dg.Definitions(
        assets=[dg.AssetSpec("features", partitions_def=SESSIONS)],
        asset_checks=[features_poison],
        resources={"lake": market.lake, "watchlist": market.definitions.resources["watchlist"]},
        jobs=[dg.define_asset_job("look", selection=dg.AssetSelection.checks_for_assets(dg.AssetKey("features")))],
        executor=dg.in_process_executor,
    )
    with open_instance(market.settings) as instance:
        result = definitions.resolve_job_def("look").execute_in_process(
            instance=instance, tags={"dagster/partition": key}, raise_on_error=False
        )
    (found,) = result.get_asset_check_evaluations()
    return found


def test_an_honest_market_is_the_same_with_any_future_and_a_row_that_is_not_its_own_is_named(market) -> None:
    with open_instance(market.settings) as instance:
        chosen = {"timeframes": ["15m"], "since": market.sessions[-LAST].isoformat()}
        result = market.run(instance, UPSTREAM, config={"features": chosen})
    found = verdicts(result)["future_poison"]
    assert found.passed
    assert "are the same with any future" in found.description
    day = market.sessions[-1]
    key = {"timeframe": "15m", "session": day}
    stored = market.lake.read(FEATURES, [key])
    market.lake.write(FEATURES, key, stored.with_columns(rsi14=pl.lit(50.0)), market.lake.metadata(FEATURES, key))
    found = only_the_check(market)
    assert not found.passed
    assert found.description.startswith(f"{day}: rsi14 of ")
    assert "changes when later rows do (delete)" in found.description


def test_each_family_of_spoiling_is_tried() -> None:
    assert set(KINDS) <= set(ALL_KINDS)
    assert set(KINDS) == {"delete", "storm"}
