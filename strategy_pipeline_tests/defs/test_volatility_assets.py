"""Volatility in the graph: the chain at the close beside realised volatility, and its rank, column by column."""

from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from strategy_pipeline.defs.assets.sql import column_lineage, sql_assets
from strategy_pipeline.defs.assets.volatility import volatility_assets
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.defs.progress import NoProgress
from strategy_pipeline.defs.stored_chains import last_chains
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    ATM_IV_DAILY,
    CORPORATE_ACTIONS,
    HISTORICAL_BARS,
    HISTORICAL_GREEKS,
    IV_PERCENTILE_CACHE,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.sql_models.model import load_models
from strategy_pipeline_tests.analytics.chain_frames import chain, daily_frame, daily_row, flat
from strategy_pipeline_tests.sql_models.crafted import daily_bars, lake_with

DAY = date(2015, 6, 1)
WINDOW = calendar.sessions_between(date(2015, 4, 20), DAY)
# Closes that turn by 1 % up and down: 21 returns of one size, half of them of either sign.
CLOSES = {day: 100.0 * (1.01 if at % 2 else 1.0) for at, day in enumerate(WINDOW)}
MODELS = {"iv_percentile_cache": load_models()["iv_percentile_cache"]}
# A chain of 20 days at 18 % and of 48 days at 20 % has 19.1684 % at 30 days (quant_methods.md section 14).
CHAIN = chain({20: flat(0.18), 48: flat(0.20)}, step=2.5)
CM30 = 0.191684


def lake_of(folder, bars: pl.DataFrame, actions: pl.DataFrame | None = None, rows: pl.DataFrame = CHAIN) -> Lake:
    lake = lake_with(folder, bars)
    lake.write(CORPORATE_ACTIONS, {}, CORPORATE_ACTIONS.empty() if actions is None else actions)
    for (day,), part in rows.partition_by("session", as_dict=True).items():
        lake.write(HISTORICAL_GREEKS, {"session": day}, part)
    return lake


def run(lake: Lake, days: list[date], **config):
    """Both assets over a range of sessions, on an instance of their own; returns the run and the newest metadata."""
    specs = [dg.AssetSpec(name, partitions_def=SESSIONS) for name in ("historical_bars", "historical_greeks")]
    definitions = dg.Definitions(
        assets=[*volatility_assets, *sql_assets(MODELS)["volatility"], *specs, dg.AssetSpec("corporate_actions")],
        jobs=[dg.define_asset_job("make", selection=dg.AssetSelection.assets("atm_iv_daily", "iv_percentile_cache"))],
        resources={"lake": lake, "progress": NoProgress()},
        executor=dg.in_process_executor,
    )
    ends = {"start": days[0].isoformat(), "end": days[-1].isoformat()}
    with dg.instance_for_test() as instance:
        definitions.resolve_job_def("make").execute_in_process(
            instance=instance,
            run_config={"ops": {"atm_iv_daily": {"config": config}}},
            tags={f"dagster/asset_partition_range_{end}": key for end, key in ends.items()},
        )
        event = instance.get_latest_materialization_event(dg.AssetKey("atm_iv_daily"))
    return event.asset_materialization.metadata


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    lake = lake_of(tmp_path_factory.mktemp("lake"), daily_bars("SPY", CLOSES))
    return lake, run(lake, [DAY])


def test_the_last_chain_and_the_daily_bars_become_volatility_and_its_premium(built):
    lake, said = built
    row = lake.read_sessions(ATM_IV_DAILY, [DAY]).row(0, named=True)
    assert row["cm30_atm_iv"] == pytest.approx(CM30, abs=1e-6)
    # 21 returns of ln 1.01: their mean is a 21st of one of them.
    step = np.log(1.01)
    expected = np.sqrt(252 * (21 * step**2 - step**2 / 21) / 20)
    assert (row["rv21"], row["rv_status"]) == (pytest.approx(expected, rel=1e-9), "ok")
    cached = lake.read_sessions(IV_PERCENTILE_CACHE, [DAY]).row(0, named=True)
    assert cached["vrp_var"] == pytest.approx(CM30**2 - expected**2, abs=1e-6)
    assert (cached["history_status"], cached["iv_percentile_pct"]) == ("insufficient", None)
    assert said["with_cm30"].value == 1
    assert said["volatility of SPY"].value.startswith("![")


def test_a_split_inside_the_window_changes_no_volatility(built, tmp_path):
    ex = WINDOW[-5]
    halved = {day: price / (2.0 if day >= ex else 1.0) for day, price in CLOSES.items()}
    split = pl.DataFrame(
        [("SPY", "split", ex, 2.0, None, calendar.session(WINDOW[0]).open, "flat_file")],
        schema=CORPORATE_ACTIONS.polars_schema,
        orient="row",
    )
    lake = lake_of(tmp_path, daily_bars("SPY", halved), split)
    run(lake, [DAY])
    expected = built[0].read_sessions(ATM_IV_DAILY, [DAY])["rv21"][0]
    assert lake.read_sessions(ATM_IV_DAILY, [DAY])["rv21"][0] == pytest.approx(expected, rel=1e-12)


def test_it_is_built_again_for_another_estimator_or_other_bars_and_else_not(built, tmp_path):
    lake = lake_of(tmp_path, daily_bars("SPY", CLOSES))
    run(lake, [DAY])
    first = lake.metadata(ATM_IV_DAILY, {"session": DAY})
    run(lake, [DAY])
    assert lake.metadata(ATM_IV_DAILY, {"session": DAY}) == first
    run(lake, [DAY], rv_estimator="yang_zhang")
    assert lake.read_sessions(ATM_IV_DAILY, [DAY])["rv_estimator"].cast(pl.String).to_list() == ["yang_zhang"]
    # Bars after the session are not among what it follows from.
    later = calendar.next_session(DAY)
    lake.write(HISTORICAL_BARS, {"session": later}, daily_bars("SPY", {later: 50.0}))
    yang_zhang = lake.metadata(ATM_IV_DAILY, {"session": DAY})
    run(lake, [DAY], rv_estimator="yang_zhang")
    assert lake.metadata(ATM_IV_DAILY, {"session": DAY}) == yang_zhang != first


def test_each_symbol_is_read_at_its_own_last_instant(tmp_path):
    early = CHAIN.with_columns(
        snapshot_at=pl.col("snapshot_at") - timedelta(minutes=15), symbol=pl.lit("QQQ"),
        contract_ticker=pl.col("contract_ticker").str.replace("SPY", "QQQ", literal=True),
    )  # fmt: skip
    older = CHAIN.with_columns(snapshot_at=pl.col("snapshot_at") - timedelta(minutes=30))
    lake = lake_of(tmp_path, daily_bars("SPY", CLOSES), rows=pl.concat([CHAIN, early, older]))
    found = last_chains(lake, DAY)
    assert found.group_by("symbol").agg(pl.col("snapshot_at").unique()).sort("symbol")["snapshot_at"].to_list() == [
        [early["snapshot_at"][0]],
        [CHAIN["snapshot_at"][0]],
    ]


def test_a_year_of_values_is_ranked_up_to_the_session_and_no_further(tmp_path):
    days = calendar.sessions_between(date(2014, 5, 1), DAY)[-253:]
    lake = lake_of(tmp_path, daily_bars("SPY", CLOSES))
    # 252 values of 10 to 30 %, numbered from 0; the chain lies above number (19.17 - 10) / 20 x 251 = 115.1.
    past = np.linspace(0.10, 0.30, 252)
    rows = daily_frame([daily_row(day, float(iv)) for day, iv in zip(days[:-1], past, strict=True)])
    for (day,), part in rows.partition_by("session", as_dict=True).items():
        lake.write(ATM_IV_DAILY, {"session": day}, part)
    run(lake, [DAY])
    row = lake.read_sessions(IV_PERCENTILE_CACHE, [DAY]).row(0, named=True)
    assert (row["n_history"], row["history_status"]) == (252, "ok")
    assert row["iv_percentile_pct"] == pytest.approx(100.0 * 116 / 252)
    assert row["iv_rank_pct"] == pytest.approx(100.0 * (CM30 - 0.10) / 0.20, abs=1e-3)


def test_every_column_of_the_rank_names_the_columns_it_comes_from():
    deps = column_lineage(MODELS["iv_percentile_cache"], MODELS).deps_by_column
    assert {one.column_name for one in deps["vrp_var"]} == {"cm30_atm_iv", "rv21"}
    assert "cm30_atm_iv" in {one.column_name for one in deps["iv_rank_pct"]}
    assert {one.asset_key.to_user_string() for one in deps["iv_rank_pct"]} == {"atm_iv_daily"}
