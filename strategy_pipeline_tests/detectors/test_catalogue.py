"""The catalogue as detectors.md sections 3 and 8 print it."""

import pytest

from strategy_pipeline.detectors.catalogue import ALL_NAMES, CATALOGUE, OF_THE_TAPE, SEVENTEEN, select
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.errors import SettingsError

ETF_STOCK, INDEX = {"EQUITY_ETF", "STOCK"}, {"INDEX"}
ALL_CLASSES = ETF_STOCK | INDEX
REVERSION = {"ema21", "atr14", "rsi14", "vwap_dist_pct", "rvol", "trend_state"}
SWEEP = {"flow_bias", "flow_score", "flow_buy_pressure_pct", "rsi14", "trend_state"}
INSTITUTIONAL = {"flow_bias", "flow_score", "flow_buy_pressure_pct", "flow_large_pct", "flow_aggressiveness"}
# Family: classes, cadence, category, momentum, required inputs beyond is_regular_hours, close, prev_close.
SECTION_3 = {
    "breakout_bullish": (ETF_STOCK, "15m", "breakout", True, {"range_high_20", "rvol", "vwap_dist_pct"}),
    "breakout_bearish": (ETF_STOCK, "15m", "breakout", True, {"range_low_20", "rvol", "vwap_dist_pct"}),
    "mean_reversion_": (ETF_STOCK, "15m", "meanReversion", False, REVERSION),
    "trend_continuation_": (ETF_STOCK, "15m", "trendContinuation", True, REVERSION | {"ema50"}),
    "power_hour_reversal_": (
        INDEX, "5m", "reversal", False,
        {"session_high", "session_low", "rsi14", "rvol", "minutes_to_close", "session_move_pct"},
    ),
    "index_mean_reversion_": (
        INDEX, "5m", "meanReversion", False, REVERSION | {"minutes_since_open", "minutes_to_close"},
    ),
    "opening_drive_": (INDEX, "5m", "breakout", True, {"minutes_since_open", "session_move_pct", "rvol"}),
    "gamma_squeeze_": (
        INDEX, "5m", "gamma", False,
        {"max_gamma_strike", "net_gex_ratio", "rvol", "minutes_to_close", "vwap_dist_pct", "mom3_pct"},
    ),
    "gamma_flip_": (
        INDEX, "5m", "gamma", False, {"is_0dte", "gamma_flip", "prev_bar_close", "minutes_to_close"},
    ),
    "eod_pin_setup": (
        INDEX, "5m", "gamma", False,
        {"is_0dte", "max_pain_strike", "oi_at_pin", "oi_pin_share_pct", "minutes_to_close", "minutes_to_expiry"},
    ),
    "sweep_momentum_long": (INDEX | {"EQUITY_ETF"}, "1m", "flow", False, SWEEP | {"flow_sweeps_bull"}),
    "sweep_momentum_short": (INDEX | {"EQUITY_ETF"}, "1m", "flow", False, SWEEP | {"flow_sweeps_bear"}),
    "institutional_flow_bullish": (ALL_CLASSES, "1m", "flow", False, INSTITUTIONAL | {"flow_sweeps_bull"}),
    "institutional_flow_bearish": (ALL_CLASSES, "1m", "flow", False, INSTITUTIONAL | {"flow_sweeps_bear"}),
}  # fmt: skip


def test_there_are_seventeen_detectors_in_the_order_of_the_catalogue_and_four_of_the_tape() -> None:
    assert [of.name for of in SEVENTEEN] == [
        "breakout_bullish", "breakout_bearish", "mean_reversion_long", "mean_reversion_short",
        "trend_continuation_long", "trend_continuation_short", "gamma_squeeze_bullish", "gamma_squeeze_bearish",
        "power_hour_reversal_bullish", "power_hour_reversal_bearish", "index_mean_reversion_long",
        "index_mean_reversion_short", "opening_drive_bullish", "opening_drive_bearish", "gamma_flip_bullish",
        "gamma_flip_bearish", "eod_pin_setup",
    ]  # fmt: skip
    assert [of.name for of in OF_THE_TAPE] == [
        "sweep_momentum_long", "sweep_momentum_short", "institutional_flow_bullish", "institutional_flow_bearish",
    ]  # fmt: skip
    assert tuple(of.name for of in CATALOGUE) == ALL_NAMES
    assert (*SEVENTEEN, *OF_THE_TAPE) == CATALOGUE


def test_six_run_on_shares_and_eleven_on_indices() -> None:
    # backtesting.md section 1
    assert sum(of.asset_classes == ETF_STOCK for of in SEVENTEEN) == 6
    assert sum(of.asset_classes == INDEX for of in SEVENTEEN) == 11


@pytest.mark.parametrize("of", CATALOGUE, ids=lambda of: of.name)
def test_a_declaration_matches_its_line_of_the_catalogue(of: Detector) -> None:
    (line,) = [line for start, line in SECTION_3.items() if of.name.startswith(start)]
    classes, timeframe, category, momentum, required = line
    assert of.asset_classes == classes
    assert (of.timeframe, of.category, of.momentum) == (timeframe, category, momentum)
    assert set(of.inputs_required) == required
    long_or_short = "LONG" if of.name.endswith(("bullish", "long")) else "SHORT"
    assert of.direction == ("PER_ROW" if of.name == "eod_pin_setup" else long_or_short)
    assert of.name.startswith(of.family)


def test_selection_keeps_catalogue_order() -> None:
    chosen = select(["opening_drive_bearish", "eod_pin_setup", "breakout_bullish"])
    assert [of.name for of in chosen] == ["breakout_bullish", "opening_drive_bearish", "eod_pin_setup"]
    assert select() == CATALOGUE


def test_an_unknown_name_is_one_sentence_with_the_choices() -> None:
    with pytest.raises(SettingsError, match=r"no detector named 'brakeout': choose from breakout_bullish, "):
        select(["brakeout"])
