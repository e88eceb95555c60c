"""A snapshot of the graph: a change of it shows in the diff of this file."""

import dagster as dg
import pytest

from strategy_pipeline.definitions import build_defs, defs
from strategy_pipeline.defs.policies import POLICIES

ASSETS = {
    "stock_minute_file": "flat_files",
    "index_minute_file": "flat_files",
    "stock_hour_file": "flat_files",
    "index_hour_file": "flat_files",
    "stock_day_file": "flat_files",
    "index_day_file": "flat_files",
    "option_minute_file": "flat_files",
    "option_quote_file": "flat_files",
    "option_trade_file": "flat_files",
    "option_day_file": "flat_files",
    "stock_quote_file": "flat_files",
    "corporate_actions": "reference",
    "rate_curve": "reference",
    "open_interest": "reference",
    "option_contracts": "reference",
    "trade_conditions": "reference",
    "historical_bars": "bars",
    "provisional_bars": "bars",
    "quoted_spreads": "bars",
    "market_breadth": "market",
    "market_regime_history": "market",
    "historical_greeks": "options",
    "gamma_exposure_snapshots": "options",
    "option_volume_minutes": "options",
    "options_flow_history": "options",
    "options_flow_daily": "options",
    "chain_snapshot": "options",
    "atm_iv_daily": "volatility",
    "iv_percentile_cache": "volatility",
    "features": "features",
    "context_scores": "signals",
    "composite_signals": "signals",
    "backtest_trades": "backtests",
    "detector_leaderboard": "backtests",
    "backtest_validation": "backtests",
    "noise_gauntlet": "backtests",
    "backtest_report": "backtests",
}
PARENTS = {
    "market_breadth": {"historical_bars", "corporate_actions"},
    "market_regime_history": {"historical_bars", "corporate_actions", "market_breadth"},
    "historical_bars": {
        name
        for name, group in ASSETS.items()
        if group == "flat_files" and not name.startswith("option_") and name != "stock_quote_file"
    },
    "quoted_spreads": {"stock_quote_file"},
    "option_contracts": {"option_minute_file", "option_quote_file", "open_interest", "corporate_actions"},
    "historical_greeks": {
        "option_quote_file",
        "option_minute_file",
        "option_contracts",
        "open_interest",
        "rate_curve",
        "historical_bars",
        "corporate_actions",
    },
    "gamma_exposure_snapshots": {"historical_greeks", "historical_bars", "options_flow_history"},
    "option_volume_minutes": {"option_minute_file", "option_contracts"},
    "options_flow_history": {
        "option_trade_file",
        "option_quote_file",
        "trade_conditions",
        "option_contracts",
        "open_interest",
        "historical_greeks",
        "historical_bars",
    },
    "options_flow_daily": {"options_flow_history"},
    "chain_snapshot": {"corporate_actions", "rate_curve"},
    "provisional_bars": {"historical_bars"},
    "atm_iv_daily": {"historical_greeks", "historical_bars", "corporate_actions"},
    "iv_percentile_cache": {"atm_iv_daily"},
    "features": {
        "historical_bars",
        "corporate_actions",
        "market_regime_history",
        "iv_percentile_cache",
        "option_contracts",
        "open_interest",
        "gamma_exposure_snapshots",
        "option_volume_minutes",
        "options_flow_history",
        "quoted_spreads",
    },
    "backtest_trades": {"features", "historical_bars", "corporate_actions", "historical_greeks", "composite_signals"},
    "composite_signals": {"features", "context_scores"},
    "context_scores": {
        "features",
        "historical_bars",
        "corporate_actions",
        "iv_percentile_cache",
        "gamma_exposure_snapshots",
        "options_flow_history",
        "market_regime_history",
    },
    "detector_leaderboard": {"backtest_trades"},
    "backtest_validation": {"backtest_trades"},
    "noise_gauntlet": {"backtest_trades"},
    "backtest_report": {"backtest_trades", "backtest_validation", "noise_gauntlet"},
}
BLOCKING = {
    "quoted_spreads:contract_holds",
    "historical_bars:contract_holds",
    "historical_bars:no_duplicate_keys",
    "historical_bars:ohlc_ordered",
    "historical_bars:coverage_within_bounds",
    "market_breadth:contract_holds",
    "market_breadth:session_not_null",
    "market_breadth:session_unique",
    "market_breadth:members_not_null",
    "market_breadth:members_between",
    "market_breadth:advance_decline_ratio_between",
    "market_breadth:pct_above_sma50_between",
    "market_breadth:quality_accepted_values",
    "market_breadth:available_at_not_null",
    "market_regime_history:contract_holds",
    "features:contract_holds",
    "features:future_poison",
    "composite_signals:future_poison",
    "features:no_duplicate_keys",
    "corporate_actions:contract_holds",
    "rate_curve:contract_holds",
    "open_interest:contract_holds",
    "option_contracts:contract_holds",
    "historical_greeks:contract_holds",
    "gamma_exposure_snapshots:contract_holds",
    "trade_conditions:contract_holds",
    "option_volume_minutes:contract_holds",
    "options_flow_history:contract_holds",
    "options_flow_history:totals_reconcile",
    "options_flow_daily:contract_holds",
    "options_flow_daily:totals_are_those_of_prints",
    "atm_iv_daily:contract_holds",
    "iv_percentile_cache:contract_holds",
    "iv_percentile_cache:symbol_not_null",
    "iv_percentile_cache:session_not_null",
    "iv_percentile_cache:cm30_atm_iv_between",
    "iv_percentile_cache:iv_rank_pct_between",
    "iv_percentile_cache:iv_percentile_pct_between",
    "iv_percentile_cache:skew_percentile_pct_between",
    "iv_percentile_cache:n_history_not_null",
    "iv_percentile_cache:n_history_between",
    "iv_percentile_cache:history_status_accepted_values",
    "iv_percentile_cache:available_at_not_null",
    "iv_percentile_cache:symbol_session_unique",
    "context_scores:contract_holds",
    "composite_signals:contract_holds",
    "composite_signals:waterfalls_sum_up",
    "backtest_trades:contract_holds",
    "backtest_trades:every_detection_has_a_fate",
    "detector_leaderboard:contract_holds",
    "detector_leaderboard:detector_not_null",
    "detector_leaderboard:run_id_not_null",
    "detector_leaderboard:trades_between",
    "detector_leaderboard:win_rate_pct_between",
    "detector_leaderboard:expectancy_r_not_null",
    "detector_leaderboard:profit_factor_between",
    "detector_leaderboard:profit_factor_status_accepted_values",
    "detector_leaderboard:detector_run_id_unique",
}
WARNING = {
    "historical_greeks:put_call_parity",
    "historical_greeks:share_of_solved",
    "historical_greeks:no_calendar_arbitrage",
    "historical_bars:quarantined_share",
    "historical_bars:suspicious_share",
    "historical_bars:coverage_is_high",
    "market_regime_history:every_label_was_seen",
    "options_flow_history:conditions_are_known",
    "context_scores:context_is_there",
}


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_the_graph_has_these_assets_in_these_groups(graph):
    found = {key.to_user_string(): graph.get(key).group_name for key in graph.materializable_asset_keys}
    assert found == ASSETS


def test_the_lineage_is_this(graph):
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.materializable_asset_keys
    }
    assert {name: found for name, found in parents.items() if found} == PARENTS


def test_these_checks_block_and_these_only_warn(graph):
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert {f"{spec.asset_key.to_user_string()}:{spec.name}" for spec in specs if spec.blocking} == BLOCKING
    assert {f"{spec.asset_key.to_user_string()}:{spec.name}" for spec in specs if not spec.blocking} == WARNING


def test_every_asset_says_what_it_is_who_owns_it_and_which_code_made_it(graph):
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.code_version, key
        assert node.owners == [POLICIES[node.group_name].owner], key
        assert node.kinds >= POLICIES[node.group_name].kinds, key


@pytest.mark.parametrize(
    "name",
    ["historical_bars", "historical_greeks", "features", "context_scores", "composite_signals", "backtest_trades"],
)
def test_a_table_shows_its_columns_with_their_meaning(graph, name):
    schema = graph.get(dg.AssetKey(name)).metadata["dagster/column_schema"]
    assert len(schema.columns) > 10
    assert all(column.description for column in schema.columns)


def assets_of(job: str) -> set[str]:
    return {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}


def test_bars_come_without_the_files_of_options_and_quotes():
    job = assets_of("backfill_bars")
    assert job.isdisjoint(
        name for name in ASSETS if name.startswith("option_") or name in ("rate_curve", "open_interest")
    )
    assert {"historical_bars", "corporate_actions", "features"} <= job


def test_stock_quotes_come_in_a_job_of_their_own_and_with_everything():
    quotes = {"stock_quote_file", "quoted_spreads"}
    assert assets_of("backfill_quotes") == {*quotes, "features"}
    assert quotes <= assets_of("backfill_all")
    for job in ("backfill_bars", "backfill_market", "backfill_options", "backfill_recent", "follow_data"):
        assert quotes.isdisjoint(assets_of(job)), job


def test_ranged_backfills_are_one_run(graph):
    for key in graph.materializable_asset_keys:
        if graph.get(key).is_partitioned:
            assert graph.get(key).backfill_policy == dg.BackfillPolicy.single_run(), key


def test_there_are_these_jobs_schedules_and_sensors():
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} == {
        "backfill_all",
        "backfill_bars",
        "backfill_market",
        "backfill_options",
        "backfill_quotes",
        "backfill_recent",
        "ingest_chains",
        "score_context",
        "follow_data",
        "run_backtests",
        "__ASSET_JOB",
    }
    schedules = repository.schedule_defs
    assert sorted(one.name for one in schedules) == ["chains_every_quarter_hour", "daily_bars", "daily_options"]
    assert {one.default_status for one in schedules} == {dg.DefaultScheduleStatus.STOPPED}
    followers = {"publication", "signals_follow", "backtests_follow"}
    assert followers <= {one.name for one in repository.sensor_defs}


def test_a_resource_that_does_not_exist_cannot_be_replaced():
    with pytest.raises(ValueError, match="no resources named \\['lakes'\\]"):
        build_defs(lakes=None)
