"""The catalogue as detectors.md section 3 prints it."""

import pytest

from strategy_pipeline.detectors.catalogue import ALL_NAMES, CATALOGUE, UNTESTABLE, entry, select
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.errors import SettingsError

ETF_STOCK, INDEX = {"EQUITY_ETF", "STOCK"}, {"INDEX"}
REVERSION = {"ema21", "atr14", "rsi14", "vwap_dist_pct", "rvol", "trend_state"}
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
}  # fmt: skip


def test_there_are_seventeen_names_and_twelve_declarations() -> None:
    assert len(ALL_NAMES) == len(set(ALL_NAMES)) == 17
    assert len(CATALOGUE) == 12
    assert {of.name for of in (*CATALOGUE, *UNTESTABLE)} == set(ALL_NAMES)


def test_six_run_on_shares_and_eleven_on_indices() -> None:
    # backtesting.md section 1
    entries = [entry(name) for name in ALL_NAMES]
    assert sum(of.asset_classes == ETF_STOCK for of in entries) == 6
    assert sum(of.asset_classes == INDEX for of in entries) == 11


@pytest.mark.parametrize("of", CATALOGUE, ids=lambda of: of.name)
def test_a_declaration_matches_its_line_of_the_catalogue(of: Detector) -> None:
    (line,) = [line for start, line in SECTION_3.items() if of.name.startswith(start)]
    classes, timeframe, category, momentum, required = line
    assert of.asset_classes == classes
    assert (of.timeframe, of.category, of.momentum) == (timeframe, category, momentum)
    assert set(of.inputs_required) == required
    assert of.direction == ("LONG" if of.name.endswith(("bullish", "long")) else "SHORT")
    assert of.name.startswith(of.family)


def test_the_five_gamma_detectors_say_why_they_cannot_run() -> None:
    assert {of.name: of.reason for of in UNTESTABLE} == dict.fromkeys(
        (
            "gamma_squeeze_bullish",
            "gamma_squeeze_bearish",
            "gamma_flip_bullish",
            "gamma_flip_bearish",
            "eod_pin_setup",
        ),
        "no option data",
    )


def test_selection_keeps_catalogue_order_and_leaves_out_what_cannot_run() -> None:
    assert [of.name for of in select(["opening_drive_bearish", "eod_pin_setup", "breakout_bullish"])] == [
        "breakout_bullish",
        "opening_drive_bearish",
    ]
    assert select() == CATALOGUE


def test_an_unknown_name_is_one_sentence_with_the_choices() -> None:
    with pytest.raises(SettingsError, match=r"no detector named 'brakeout': choose from breakout_bullish, "):
        select(["brakeout"])
