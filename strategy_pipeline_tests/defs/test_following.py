"""The sensors that follow new and revised data, tick by tick: what they ask for, when they wait, when they give up."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test

from strategy_pipeline.defs.automation.following import (
    MOST_FAILURES,
    STATE,
    backtests_follow,
    signals_follow,
)
from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline.lake.tables import CONTEXT_SCORES, FEATURES, MARKET_REGIME_HISTORY
from strategy_pipeline.scoring.rules import rules_from
from strategy_pipeline.settings import Watchlist
from strategy_pipeline_tests.defs.small_market import UPSTREAM, SmallMarket, small_market
from strategy_pipeline_tests.engines.context_rows import regime_row, regime_table

# Sessions with features; the others only give them their averages.
SCORED = 3
DONE, FAILED, RUNNING = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SmallMarket:
    """A market whose last sessions have features and no signals yet."""
    made = small_market(tmp_path_factory.mktemp("following"), sessions=14, symbols=6)
    with open_instance(made.settings) as instance:
        chosen = {"timeframes": ["15m"], "since": made.sessions[-SCORED].isoformat()}
        assert made.run(instance, UPSTREAM, config={"features": chosen}).success
    return made


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory):
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("instance"))) as made:
        yield made


def tick(sensor: dg.SensorDefinition, market: SmallMarket, instance: dg.DagsterInstance):
    resources = {"lake": market.lake, "scoring_rules": rules_from({})}
    if sensor is signals_follow:
        resources["watchlist"] = Watchlist(market.market.watchlist())
    return sensor(dg.build_sensor_context(instance=instance, resources=resources))


def reason(answer) -> str:
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message


def happened(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus, request: dg.RunRequest) -> None:
    """A run of what a tick asked for, that ended in `status` without doing anything."""
    create_run_for_test(instance, job_name=job, status=status, tags=dict(request.tags))


def executed(market: SmallMarket, request: dg.RunRequest) -> None:
    """The run that a tick of signals_follow asked for."""
    with open_instance(market.settings) as own:
        result = market.definitions.resolve_job_def("follow_data").execute_in_process(
            instance=own, run_config=request.run_config, tags=dict(request.tags)
        )
    assert result.success


def sessions_of(request: dg.RunRequest) -> list[str]:
    return request.run_config["ops"]["context_scores"]["config"]["only"]


def test_new_features_are_scored_and_nothing_is_asked_twice(market: SmallMarket, instance) -> None:
    wanted = [day.isoformat() for day in market.sessions[-SCORED:]]
    asked = tick(signals_follow, market, instance)
    assert sessions_of(asked) == wanted
    assert (asked.tags["dagster/asset_partition_range_start"], asked.tags["dagster/asset_partition_range_end"]) == (
        wanted[0], wanted[-1]
    )  # fmt: skip
    assert asked.run_config["ops"]["features"]["config"]["timeframes"] == ["15m"]
    # The same tick again is the same run, which Dagster launches once.
    assert tick(signals_follow, market, instance).run_key == asked.run_key
    executed(market, asked)
    happened(instance, "follow_data", DONE, asked)
    assert "Nothing new" in reason(tick(signals_follow, market, instance))


def test_a_revised_regime_reruns_the_sessions_that_read_it_and_no_other(market: SmallMarket, instance) -> None:
    # The label of a close is used from the next session's open on.
    revised = market.sessions[-2]
    before = {day: market.lake.info(CONTEXT_SCORES, {"session": day}) for day in market.sessions[-SCORED:]}
    market.lake.write(
        MARKET_REGIME_HISTORY, {"session": revised}, regime_table(regime_row(revised, tau=0.6, slope20=0.04))
    )
    asked = tick(signals_follow, market, instance)
    assert sessions_of(asked) == [day.isoformat() for day in market.sessions[-2:]]
    executed(market, asked)
    after = {day: market.lake.info(CONTEXT_SCORES, {"session": day}) for day in market.sessions[-SCORED:]}
    assert after[market.sessions[-3]] == before[market.sessions[-3]]
    assert after[market.sessions[-1]].sha256 != before[market.sessions[-1]].sha256
    happened(instance, "follow_data", DONE, asked)
    assert "Nothing new" in reason(tick(signals_follow, market, instance))


def test_while_a_run_is_under_way_nothing_is_asked_and_a_failed_one_is_asked_for_again_three_times(
    market: SmallMarket, tmp_path: Path
) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        day = market.sessions[-1]
        market.lake.write(
            MARKET_REGIME_HISTORY, {"session": day}, regime_table(regime_row(day, tau=-0.6, slope20=-0.1))
        )
        asked = tick(signals_follow, market, instance)
        run = create_run_for_test(instance, job_name="follow_data", status=RUNNING, tags=dict(asked.tags))
        assert reason(tick(signals_follow, market, instance)) == "A run of follow_data is under way."
        instance.report_run_failed(run)
        again = tick(signals_follow, market, instance)
        assert (again.tags[STATE], again.run_key) == (asked.tags[STATE], f"{asked.tags[STATE]}:1")
        for _ in range(MOST_FAILURES - 1):
            happened(instance, "follow_data", FAILED, asked)
        assert "failed 3 times on the same data" in reason(tick(signals_follow, market, instance))
        # Other data is another state, and is asked for at once.
        market.lake.write(MARKET_REGIME_HISTORY, {"session": day}, regime_table(regime_row(day, tau=0.7, slope20=0.04)))
        assert tick(signals_follow, market, instance).tags[STATE] != asked.tags[STATE]


def test_backtests_follow_changed_signals_once_and_wait_for_their_run(market: SmallMarket, tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        asked = tick(backtests_follow, market, instance)
        assert asked.tags["dagster/asset_partition_range_start"] == "breakout_bullish"
        scoring = create_run_for_test(instance, job_name="follow_data", status=RUNNING)
        assert reason(tick(backtests_follow, market, instance)) == "A run of follow_data is under way."
        instance.report_run_failed(scoring)
        happened(instance, "run_backtests", DONE, asked)
        assert "Nothing new" in reason(tick(backtests_follow, market, instance))
        day = market.sessions[-1]
        key = {"timeframe": "15m", "session": day}
        said = market.lake.metadata(FEATURES, key)
        rows = market.lake.read(FEATURES, [key])
        market.lake.write(FEATURES, key, rows, {**said, "inputs_sha256": "others"})
        assert tick(backtests_follow, market, instance).tags[STATE] != asked.tags[STATE]
        market.lake.write(FEATURES, key, rows, said)


def test_without_features_there_is_nothing_to_follow(market: SmallMarket, tmp_path: Path) -> None:
    empty = replace(market, settings=market.settings.model_copy(update={"lake_url": str(tmp_path / "lake")}))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert reason(tick(signals_follow, empty, instance)) == "There are no features yet."
        assert reason(tick(backtests_follow, empty, instance)) == "There are no 15m features yet."


def test_the_market_of_these_tests_has_signals(market: SmallMarket) -> None:
    assert market.lake.read(CONTEXT_SCORES, market.lake.keys(CONTEXT_SCORES)).filter(pl.col("symbol") != "").height
