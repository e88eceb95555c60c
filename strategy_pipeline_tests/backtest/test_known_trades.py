"""The known-answer trades of backtesting.md section 14 (1-12, 18, 19), on crafted bars, through the whole engine."""

from datetime import date

import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import simulate_signals
from strategy_pipeline_tests.backtest.crafted import ENTRY_BAR, HALF_DAY, at, bars, signal

# Printed digits of the table: R to six decimals, $ to four.
R = 5e-7
USD = 5e-5


def trade(rows: pl.DataFrame, config: BacktestConfig | None = None, **more: object) -> dict:
    """The only trade of one signal at 10:00 on `rows`; money is per unit."""
    options = dict(more)
    finer = options.pop("finer", None)
    result = simulate_signals(signal(**options), rows, config or BacktestConfig(), finer=finer)
    assert result.trades.height == 1, result.dispositions
    row = result.trades.row(0, named=True)
    for name in ("pnl_gross", "pnl_net", "cost_slippage"):
        row[name] = row[name] / row["units"]
    return row


def test_strict_entry_is_the_first_minute_that_starts_after_the_signal_is_known() -> None:
    rows = bars([(100.10, 100.15, 100.05, 100.12), (100.20, 100.25, 100.15, 100.2), (100.3, 100.4, 100.2, 100.3)],
                timeframe="1m")  # fmt: skip
    row = trade(rows)
    assert row["entry_at"] == at(row["session"], "10:01")
    assert row["entry_basis"] == "strict"
    assert row["entry_ref_price"] == 100.20
    assert row["entry_fill_price"] == pytest.approx(100.3002, abs=1e-9)
    assert row["stop_initial"] == pytest.approx(98.70, abs=1e-9)
    assert row["target_initial"] == pytest.approx(104.20, abs=1e-9)


def test_latency_moves_the_strict_entry_to_a_later_minute() -> None:
    rows = bars([(100.10, 100.2, 100.0, 100.1), (100.20, 100.3, 100.1, 100.2), (100.3, 100.4, 100.2, 100.3)],
                timeframe="1m")  # fmt: skip
    row = trade(rows, BacktestConfig(latency_s=60))
    assert row["entry_at"] == at(row["session"], "10:02")


def test_coarse_entry_is_the_next_bar_of_the_signal_timeframe() -> None:
    row = trade(bars([(100.10, 100.4, 100.0, 100.2), (100.2, 100.4, 100.0, 100.2)]))
    assert row["entry_at"] == at(row["session"], "10:00")
    assert row["entry_ref_price"] == 100.10
    assert row["entry_basis"] == "coarse_next_open"


def test_a_target_that_is_traded_through_is_filled_at_the_target() -> None:
    row = trade(bars([ENTRY_BAR, (102.5, 104.6, 102.2, 104.1)]))
    assert row["exit_reason"] == "TARGET"
    assert row["exit_ref_price"] == pytest.approx(104.0, abs=1e-9)
    assert row["entry_fill_price"] == pytest.approx(100.10, abs=1e-9)
    assert row["exit_fill_price"] == pytest.approx(103.896, abs=1e-9)
    assert row["pnl_gross"] == pytest.approx(4.0, abs=1e-9)
    assert row["cost_slippage"] == pytest.approx(0.204, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(3.796, abs=1e-9)
    assert row["r_gross"] == pytest.approx(2.666667, abs=R)
    assert row["r_net"] == pytest.approx(2.530667, abs=R)
    assert row["exit_at"] == at(row["session"], "10:30")


def test_a_target_that_is_only_touched_is_not_filled_unless_touch_is_chosen() -> None:
    rows = bars([ENTRY_BAR, (102.5, 104.0, 102.2, 103.9)])
    assert trade(rows)["exit_reason"] != "TARGET"
    assert trade(rows, BacktestConfig(target_rule="touch"))["exit_reason"] == "TARGET"


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([ENTRY_BAR, (99.5, 99.8, 98.2, 98.9)], id="second bar"),
        pytest.param([(100.0, 100.5, 98.4, 100.2), ENTRY_BAR], id="entry bar"),
    ],
)
def test_a_stop_is_filled_at_the_stop(rows: list) -> None:
    row = trade(bars(rows))
    assert row["exit_reason"] == "STOP"
    assert row["exit_ref_price"] == pytest.approx(98.50, abs=1e-9)
    assert row["cost_slippage"] == pytest.approx(0.1985, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(-1.6985, abs=1e-9)
    assert row["r_gross"] == pytest.approx(-1.0, abs=R)
    assert row["r_net"] == pytest.approx(-1.132333, abs=R)


def test_a_stop_fills_at_the_open_when_the_market_gaps_through_it() -> None:
    row = trade(bars([ENTRY_BAR, (97.0, 99.0, 96.5, 98.8)]))
    assert row["exit_reason"] == "STOP_GAP"
    assert row["gap_exit"]
    assert row["exit_ref_price"] == 97.0
    assert row["pnl_gross"] == pytest.approx(-3.0, abs=1e-9)
    assert row["cost_slippage"] == pytest.approx(0.197, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(-3.197, abs=1e-9)
    assert row["r_gross"] == pytest.approx(-2.0, abs=R)
    assert row["r_net"] == pytest.approx(-2.131333, abs=R)
    assert row["exit_at"] == at(row["session"], "10:15")


def test_an_open_exactly_on_the_stop_is_a_stop_and_no_gap() -> None:
    row = trade(bars([ENTRY_BAR, (98.5, 99.0, 96.5, 98.8)]))
    assert (row["exit_reason"], row["gap_exit"], row["exit_ref_price"]) == ("STOP", False, 98.5)


def test_a_favourable_gap_fills_at_the_open_beyond_the_target() -> None:
    row = trade(bars([ENTRY_BAR, (105.0, 105.5, 104.5, 105.2)]))
    assert row["exit_reason"] == "TARGET_GAP"
    assert row["gap_exit"]
    assert row["cost_slippage"] == pytest.approx(0.205, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(4.795, abs=1e-9)
    assert row["r_gross"] == pytest.approx(3.333333, abs=R)
    assert row["r_net"] == pytest.approx(3.196667, abs=R)


BOTH_TOUCHED = [ENTRY_BAR, (100.5, 104.5, 98.0, 103.0)]


@pytest.mark.parametrize(
    ("policy", "r_net"),
    [
        ("pessimistic", -1.132333),
        ("optimistic", 2.530667),
        # The low is 2.5 from the open, the high 4.0: the low comes first.
        ("nearest_extreme", -1.132333),
        ("drill_down", -1.132333),
    ],
)
def test_a_bar_that_touches_both_levels_follows_the_path_policy_and_shows_its_range(policy: str, r_net: float) -> None:
    row = trade(bars(BOTH_TOUCHED), BacktestConfig(path_policy=policy))
    assert row["r_net"] == pytest.approx(r_net, abs=R)
    assert row["ambiguous"]
    assert row["r_worst"] == pytest.approx(-1.132333, abs=R)
    assert row["r_best"] == pytest.approx(2.530667, abs=R)
    assert row["path_policy"] == policy


def test_finer_bars_decide_which_level_came_first() -> None:
    finer = bars([(100.5, 104.20, 100.4, 104.0), (104.0, 104.5, 98.0, 103.0)], start="10:15", timeframe="1m")
    row = trade(bars(BOTH_TOUCHED), finer=finer)
    assert row["r_net"] == pytest.approx(2.530667, abs=R)
    assert not row["ambiguous"]
    assert row["r_best"] == row["r_worst"] == row["r_net"]


def test_finer_bars_that_touch_both_levels_leave_the_pessimistic_answer() -> None:
    finer = bars([(100.5, 101.0, 100.4, 100.9), (100.9, 104.5, 98.0, 103.0)], start="10:15", timeframe="1m")
    row = trade(bars(BOTH_TOUCHED), finer=finer)
    assert row["r_net"] == pytest.approx(-1.132333, abs=R)
    assert row["ambiguous"]


def test_an_equal_distance_to_both_extremes_counts_as_adverse_first() -> None:
    rows = bars([ENTRY_BAR, (101.25, 104.5, 98.0, 103.0)])
    assert trade(rows, BacktestConfig(path_policy="nearest_extreme"))["exit_reason"] == "STOP"
    nearer_high = bars([ENTRY_BAR, (102.0, 104.5, 98.0, 103.0)])
    assert trade(nearer_high, BacktestConfig(path_policy="nearest_extreme"))["exit_reason"] == "TARGET"


def test_the_fifteenth_bar_ends_the_trade_at_its_close() -> None:
    row = trade(bars([ENTRY_BAR] * 14 + [(100.0, 100.9, 99.6, 100.80)] + [ENTRY_BAR] * 3))
    assert row["exit_reason"] == "MAX_HOLD"
    assert row["exit_at"] == at(row["session"], "13:45")
    assert row["bars_held"] == 15
    assert row["minutes_held"] == 225.0
    assert row["cost_slippage"] == pytest.approx(0.2008, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(0.5992, abs=1e-9)
    assert row["r_gross"] == pytest.approx(0.533333, abs=R)
    assert row["r_net"] == pytest.approx(0.399467, abs=R)


def test_minute_bars_end_the_hold_at_the_last_minute_of_the_fifteenth_signal_bar() -> None:
    minutes = [ENTRY_BAR] * 300
    row = trade(bars(minutes, timeframe="1m"))
    assert row["exit_reason"] == "MAX_HOLD"
    assert row["exit_at"] == at(row["session"], "13:45")
    assert row["bars_held"] == 15
    # Entered at 10:01, one minute after the signal bar.
    assert row["minutes_held"] == 224.0


def test_a_hold_ends_at_the_last_print_inside_its_span() -> None:
    minutes = [ENTRY_BAR] * 200 + [None] * 40 + [ENTRY_BAR] * 30
    row = trade(bars(minutes, timeframe="1m"))
    assert (row["exit_reason"], row["exit_at"]) == ("MAX_HOLD", at(row["session"], "13:20"))


def test_a_day_trade_is_flat_at_the_early_close_of_a_half_day() -> None:
    rows = bars([ENTRY_BAR] * 6 + [(100.0, 100.2, 99.3, 99.40)], start="11:15", day=HALF_DAY)
    row = trade(rows, bar_end="11:15", day=HALF_DAY)
    assert row["exit_reason"] == "SESSION_CLOSE"
    # 18:00 UTC is 13:00 in New York.
    assert row["exit_at"] == at(HALF_DAY, "13:00")
    assert row["exit_at"].isoformat() == "2024-11-29T18:00:00+00:00"
    assert row["bars_held"] == 7
    assert row["cost_slippage"] == pytest.approx(0.1994, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(-0.7994, abs=1e-9)
    assert row["r_gross"] == pytest.approx(-0.4, abs=R)
    assert row["r_net"] == pytest.approx(-0.532933, abs=R)


def test_a_short_target_mirrors_the_long_one() -> None:
    row = trade(bars([(100.0, 100.4, 99.5, 99.8), (97.0, 97.2, 95.8, 96.1)]), direction="SHORT")
    assert row["exit_reason"] == "TARGET"
    assert row["stop_initial"] == 101.5
    assert row["entry_fill_price"] == pytest.approx(99.90, abs=1e-9)
    assert row["exit_fill_price"] == pytest.approx(96.096, abs=1e-9)
    assert row["cost_slippage"] == pytest.approx(0.196, abs=1e-9)
    assert row["pnl_net"] == pytest.approx(3.804, abs=1e-9)
    assert row["r_gross"] == pytest.approx(2.666667, abs=R)
    assert row["r_net"] == pytest.approx(2.536, abs=R)


def test_r_is_measured_by_the_trades_own_stop() -> None:
    row = trade(bars([ENTRY_BAR, (98.0, 98.4, 96.9, 97.2)]), BacktestConfig(stop_atr=1.5))
    assert row["exit_reason"] == "STOP"
    assert row["exit_ref_price"] == pytest.approx(97.0, abs=1e-9)
    assert row["risk_per_unit"] == pytest.approx(3.0, abs=1e-9)
    assert row["r_gross"] == pytest.approx(-1.0, abs=R)
    assert row["r_net"] == pytest.approx(-1.065667, abs=R)


def test_breakeven_moves_the_stop_to_the_entry_after_a_close_of_one_r_and_still_loses_its_costs() -> None:
    rows = bars([ENTRY_BAR, (101.0, 101.9, 100.9, 101.6), (101.2, 101.3, 99.8, 100.1)])
    row = trade(rows, BacktestConfig(breakeven=True))
    assert row["exit_reason"] == "BREAKEVEN"
    assert row["exit_ref_price"] == 100.0
    assert row["pnl_net"] == pytest.approx(-0.20, abs=1e-9)
    assert row["r_gross"] == pytest.approx(0.0, abs=R)
    assert row["r_net"] == pytest.approx(-0.133333, abs=R)
    assert trade(rows)["exit_reason"] != "BREAKEVEN"


def test_size_is_half_a_percent_of_equity_over_the_risk() -> None:
    row = trade(bars([ENTRY_BAR, ENTRY_BAR]))
    assert row["units"] == pytest.approx(333.3333, abs=USD)
    assert not row["size_capped"]


def test_size_is_capped_at_twice_the_equity() -> None:
    # Risk 0.20: 2 500 units wanted, 2 x $100 000 / $100 = 2 000 allowed.
    row = trade(bars([ENTRY_BAR, ENTRY_BAR]), BacktestConfig(stop_atr=0.1))
    assert row["risk_per_unit"] == pytest.approx(0.20, abs=1e-9)
    assert row["units"] == pytest.approx(2000.0, abs=1e-6)
    assert row["size_capped"]


def test_a_second_signal_is_suppressed_while_a_position_is_open_and_the_last_bar_enters_nothing() -> None:
    session = bars([ENTRY_BAR] * 4 + [(99.5, 99.8, 98.2, 98.9)] + [ENTRY_BAR] * 19)
    detections = pl.concat([signal("10:00"), signal("10:15"), signal("16:00")])
    found = simulate_signals(detections, session, BacktestConfig())
    assert found.dispositions["disposition"].to_list() == ["taken", "suppressed_open_position", "no_entry_session_end"]
    assert found.trades["exit_at"].to_list() == [at(date(2024, 11, 25), "11:15")]
