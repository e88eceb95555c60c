"""A backtest in which every detector keeps the timeframe of its catalogue entry."""

import pytest

from strategy_pipeline.backtest.inputs import run_detectors
from strategy_pipeline.defs.backtest_inputs import BacktestChoice, read_inputs, timeframes_of
from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.settings import load_watchlist
from strategy_pipeline_tests.defs.small_market import UPSTREAM, small_market

# Two of index rows that fire without options, one of share rows, one that needs options.
NAMES = ["breakout_bullish", "opening_drive_bullish", "power_hour_reversal_bearish", "eod_pin_setup"]


@pytest.mark.parametrize(
    ("timeframe", "detectors", "expected"),
    [
        ("1h", (), ["1h"]),
        ("native", ("breakout_bullish",), ["15m"]),
        ("native", NAMES, ["15m", "5m"]),
        ("native", (), ["15m", "5m", "1m"]),
    ],
)
def test_the_rows_read_are_those_of_the_detectors(timeframe, detectors, expected):
    assert timeframes_of(timeframe, detectors) == expected


def test_index_detectors_are_tested_on_five_minutes_and_the_others_on_fifteen(tmp_path):
    market = small_market(tmp_path)
    with open_instance(market.settings) as instance:
        assert market.run(instance, UPSTREAM).success
    config = BacktestChoice(timeframe="native", only=NAMES)
    watchlist = load_watchlist(market.settings.watchlist)
    inputs = read_inputs(market.lake, RawMirror(market.settings.raw_folder), watchlist, config)
    assert set(inputs.features["timeframe"].cast(str)) == {"5m", "15m"}
    tables = run_detectors(inputs.features, inputs.bars, inputs.actions, config.to_config(), NAMES)
    cadence = {detector.name: detector.timeframe for detector in catalogue.select(NAMES)}
    for name in NAMES:
        (coverage,) = tables[name].coverage.to_dicts()
        assert coverage["eligible_symbol_sessions"] > 0, name
        assert set(tables[name].dispositions["timeframe"].cast(str)) <= {cadence[name]}
    assert tables["eod_pin_setup"].coverage["missing_inputs"].to_list() == [["no option data"]]
    assert tables["power_hour_reversal_bearish"].dispositions.height > 0
