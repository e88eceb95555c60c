"""The regime in the graph: partitions, what the UI shows of them, and the same bytes however a backfill is cut."""

from datetime import date

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.analytics.regime import RegimeConfig
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.market import market_assets, market_checks, regimes_of
from strategy_pipeline.defs.launch import materialize, open_instance
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import MARKET_BREADTH, MARKET_REGIME_HISTORY, MARKET_REGIMES
from strategy_pipeline.market import calendar
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Watchlist, load_settings, load_watchlist
from strategy_pipeline_tests.analytics.test_regime import random_bars, random_breadth
from strategy_pipeline_tests.sql_models.crafted import lake_with

KEY = dg.AssetKey("market_regime_history")
ASKED = calendar.sessions_between(date(2017, 12, 18), date(2017, 12, 22))


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return pl.concat([random_bars("SPY", 1, 200.0), random_bars("VIX", 2, 17.0, 0.05), random_bars("QQQ", 4, 110.0)])


def lake_of(folder, bars, days=ASKED) -> Lake:
    lake = lake_with(folder, bars)
    breadth = random_breadth(6).filter(pl.col("session").is_in(days))
    parts = breadth.partition_by("session", as_dict=True).items()
    lake.write_many(MARKET_BREADTH, [({"session": key[0]}, part, {}) for key, part in parts])
    return lake


def run(lake, instance, days):
    specs = [dg.AssetSpec(name, partitions_def=SESSIONS) for name in ("historical_bars", "market_breadth")]
    definitions = dg.Definitions(
        assets=[*market_assets, *specs, dg.AssetSpec("corporate_actions")],
        asset_checks=market_checks,
        jobs=[dg.define_asset_job("make", selection=dg.AssetSelection.assets(KEY))],
        resources={"lake": lake},
        executor=dg.in_process_executor,
    )
    ends = {"start": days[0].isoformat(), "end": days[-1].isoformat()}
    tags = {f"dagster/asset_partition_range_{end}": key for end, key in ends.items()}
    return definitions.resolve_job_def("make").execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def test_sessions_get_their_regime_and_the_newest_shows_every_labels_count_and_the_ribbon(bars, tmp_path):
    lake = lake_of(tmp_path, bars)
    with dg.instance_for_test() as instance:
        result = run(lake, instance, ASKED)
        assert result.success
        assert sorted(instance.get_materialized_partitions(KEY)) == [day.isoformat() for day in ASKED]
        said = instance.get_latest_materialization_event(KEY).asset_materialization.metadata
    assert said["labels"].value == {
        label: sum(1 for row in stored(lake)["market_regime"] if row == label) for label in MARKET_REGIMES
    }
    assert sum(said["labels"].value.values()) == len(ASKED)
    assert said["ribbon"].value.startswith("![")
    assert said["inputs_missing"].value == "vix_ratio, pc"
    verdicts = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert verdicts["contract_holds"].passed
    # Five sessions cannot show eleven labels; that is worth a look and stops nothing.
    assert not verdicts["every_label_was_seen"].passed
    assert verdicts["every_label_was_seen"].severity == dg.AssetCheckSeverity.WARN
    assert "CAPITULATION" in verdicts["every_label_was_seen"].description


def stored(lake: Lake) -> pl.DataFrame:
    return lake.read_sessions(MARKET_REGIME_HISTORY, ASKED)


def test_a_backfill_in_two_runs_gives_the_bytes_of_one(bars, tmp_path):
    one, two = lake_of(tmp_path / "1", bars), lake_of(tmp_path / "2", bars)
    with dg.instance_for_test() as instance:
        run(one, instance, ASKED)
        run(two, instance, ASKED[3:])
        run(two, instance, ASKED[:3])
    digests = [[lake.info(MARKET_REGIME_HISTORY, {"session": day}).sha256 for day in ASKED] for lake in (one, two)]
    assert digests[0] == digests[1]


def test_a_label_that_is_held_on_to_does_not_depend_on_which_sessions_are_asked_for_together(bars, tmp_path):
    days = calendar.sessions_between(date(2017, 12, 11), date(2017, 12, 19))
    lake, held = lake_of(tmp_path, bars, days), RegimeConfig(hysteresis_sessions=2)
    whole = regimes_of(lake, days, held)
    assert pl.concat([regimes_of(lake, [day], held) for day in days]).equals(whole)
    # The sessions were chosen so that holding on matters.
    assert not whole["market_regime"].equals(regimes_of(lake, days, RegimeConfig())["market_regime"])


def test_without_bars_of_spy_the_run_says_what_to_do(bars, tmp_path):
    lake = lake_of(tmp_path, bars.filter(pl.col("symbol") == "VIX"))
    with dg.instance_for_test() as instance:
        result = run(lake, instance, ASKED)
        failure = next(event for event in result.all_events if event.is_step_failure)
    assert "materialise historical_bars with SPY" in str(failure.step_failure_data.error)


UP_LABELS = {"STRONG_UPTREND", "WEAK_UPTREND", "CHOPPY_BULLISH", "BREAKOUT"}


def test_four_real_years_have_the_regimes_they_are_remembered_for(shared_data, tmp_path):
    settings = load_settings({"STRATEGY_HOME": str(tmp_path), "FLAT_FILES_URL": str(shared_data)})
    # None of the regime's symbols is watched: SPY, QQQ, IWM and the VIX come from the context of the watchlist.
    watched = tuple(instrument(symbol) for symbol in ("AAPL", "BAC", "EEM", "GOOG", "IBM", "WM"))
    watchlist = Watchlist(watched, load_watchlist(settings.watchlist).context)
    definitions = build_defs(**{**default_resources(lambda: settings), "watchlist": watchlist})
    assets = ["stock_day_file", "index_day_file", "corporate_actions", "historical_bars", "market_breadth", KEY.path[0]]
    with open_instance(settings) as instance:
        result = materialize(
            definitions, instance, "backfill_market", assets=assets, keys=("2014-01-02", "2017-12-29"), trigger="test"
        )
        said = instance.get_latest_materialization_event(KEY).asset_materialization.metadata
    assert [one.check_name for one in result.get_asset_check_evaluations() if not one.passed] == [
        "every_label_was_seen"
    ]
    rows = Lake(settings.lake_location).read_sessions(
        MARKET_REGIME_HISTORY, calendar.sessions_between(date(2014, 1, 2), date(2017, 12, 29))
    )
    assert rows.height == 1_007
    label_of = dict(rows.select("session", pl.col("market_regime").cast(pl.String)).iter_rows())
    # The Dow opened 1,000 points lower and the VIX closed at 40.74.
    assert label_of[date(2015, 8, 24)] in {"CAPITULATION", "BREAKDOWN", "STRONG_DOWNTREND"}
    assert rows.filter(pl.col("session") == date(2015, 8, 24))["vix_close"].item() == 40.74
    summer = [label for day, label in label_of.items() if date(2017, 5, 1) <= day <= date(2017, 8, 31)]
    assert sum(label in UP_LABELS for label in summer) > 0.9 * len(summer)
    counts = said["labels"].value
    assert counts == {label: list(label_of.values()).count(label) for label in MARKET_REGIMES}
    assert sum(counts.values()) + said["sessions_without_label"].value == rows.height
    # The averages need 173 sessions, and the mirror holds none before these years' files that was asked for.
    assert said["sessions_without_label"].value < 230
    # The Nasdaq Composite lies beside the VIX; it is no NDX, so QQQ stands in and the row says so.
    assert set(rows["quality_flags"].list.join(",")) == {"ndx_from_QQQ,rut_from_IWM"}
    qqq = rows.filter(pl.col("session") == date(2015, 8, 24))["ndx_close"].item()
    assert qqq == pytest.approx(98.46)
    assert set(rows["inputs_missing"].list.join(",").filter(rows["tau"].is_not_null())) <= {
        "vix_ratio,pc",
        "p_vix,vix_ratio,pc",
    }
