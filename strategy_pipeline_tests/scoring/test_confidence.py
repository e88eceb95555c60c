"""Data confidence: the known answers of detectors.md section 7.2 and what counts as missing."""

import polars as pl
import pytest

from strategy_pipeline.scoring.confidence import (
    CONFIDENCE_INPUTS,
    EVERYTHING,
    WEIGHTS,
    DataProfile,
    data_confidence,
)
from strategy_pipeline_tests.scoring.rows import GOOD, SCHEMA

COLUMNS = (*CONFIDENCE_INPUTS, "symbol", "asset_class", "rvol_symbol")


def confidence(*missing, profile=EVERYTHING, **values):
    row = {name: None if name in missing else (GOOD | values).get(name) for name in COLUMNS}
    frame = pl.DataFrame([row], schema={name: SCHEMA[name] for name in COLUMNS})
    return frame.select(data_confidence(profile)).row(0, named=True)


def test_the_weights_sum_to_140():
    assert sum(WEIGHTS.values()) == 140.0


# Weights of the missing inputs: ema21 6, flow_score 6, flow_bias 4, prior levels 4 = 20; rsi14 8, flow_buy_pressure 6,
# adv20_shares 5, prev_close 5, vix_level 5 = 29; rvol 20, close 20, vwap 10, rsi14 8, ema21 6, prev_close 5,
# rsi14_1h 2, flow_trend 2, aggressiveness 2 = 75.
@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), 100.0),
        (("ema21", "flow_score", "flow_bias", "prior_low"), 85.7143),
        (("rvol",), 72.8571),
        (("rsi14", "flow_buy_pressure_pct", "adv20_shares", "prev_close", "vix_level"), 79.2857),
        (
            ("rvol", "close", "vwap", "rsi14", "ema21", "prev_close", "rsi14_1h", "flow_trend", "flow_aggressiveness"),
            12.5,
        ),
    ],
)
def test_the_known_confidences(missing, expected):
    assert confidence(*missing)["data_confidence"] == pytest.approx(expected, abs=5e-5)


def test_nothing_known_is_no_confidence():
    found = confidence(*CONFIDENCE_INPUTS)
    assert (found["completeness"], found["data_confidence"]) == (0.0, 0.0)


def test_one_of_a_pair_does_not_count_and_is_named():
    found = confidence("swing_low")
    assert found["completeness"] == pytest.approx(100.0 * 138 / 140)
    assert found["confidence_missing"] == ["swing_low"]


def test_what_is_not_subscribed_is_not_missing():
    flow = ("flow_score", "flow_buy_pressure_pct", "flow_bias", "flow_trend", "flow_aggressiveness")
    absent = (*flow, "vix_level", "market_regime")
    profile = DataProfile(frozenset(), vix=False, regime=False)
    assert confidence(*absent, profile=profile) == {
        "completeness": 100.0,
        "data_confidence": 100.0,
        "confidence_missing": [],
    }
    assert confidence(*absent)["data_confidence"] < 100.0


def test_flow_is_missing_where_a_symbol_has_options_and_nowhere_else():
    profile = DataProfile(frozenset({"SPY"}))
    assert confidence("flow_score", profile=profile, symbol="SPY")["confidence_missing"] == ["flow_score"]
    assert confidence("flow_score", profile=profile, symbol="ALPHA")["data_confidence"] == 100.0


def test_an_index_without_a_proxy_lacks_no_volume():
    volume = ("rvol", "vwap", "vwap_dist_pct", "adv20_shares")
    assert confidence(*volume, asset_class="INDEX", rvol_symbol=None)["data_confidence"] == 100.0
    assert confidence(*volume, asset_class="INDEX", rvol_symbol="SPY")["data_confidence"] < 100.0
    assert confidence(*volume, rvol_symbol=None)["data_confidence"] < 100.0


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        # close 20, rvol 20, atr 10, vwap 10, rsi14 8, prior levels 4 = 72 of 140, 51.4286 %: ten are taken off
        (("close", "rvol", "atr14_5m", "vwap", "rsi14", "prior_high", "prior_low"), 41.4286),
        # the same without the prior levels, 68 of 140 = 48.5714 %: twenty are taken off
        (("close", "rvol", "atr14_5m", "vwap", "rsi14"), 28.5714),
    ],
)
def test_thin_data_costs_more_than_its_share(known, expected):
    missing = [name for name in CONFIDENCE_INPUTS if name not in known]
    assert confidence(*missing)["data_confidence"] == pytest.approx(expected, abs=5e-5)
