"""The engine beyond the known-answer trades: waiting, refusing, overnight holds, splits, options, sweeps, runs."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import daily_equity, prepare, run_backtest, simulate_signals, sweep
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.detectors.inputs import INPUT_DTYPES
from strategy_pipeline.errors import ContractError, DataError, SettingsError
from strategy_pipeline.lake.tables import BACKTEST_TRADES, SIGNAL_DISPOSITIONS
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline_tests.backtest.crafted import DAY, ENTRY_BAR, HALF_DAY, NEXT_DAY, at, bars, signal

FLAT = (100.0, 100.2, 99.8, 100.0)


def dispositions(detections: pl.DataFrame, rows: pl.DataFrame, config: BacktestConfig | None = None) -> list[str]:
    """What became of each signal, in order of time."""
    return simulate_signals(detections, rows, config or BacktestConfig()).dispositions["disposition"].to_list()


def only(detections: pl.DataFrame, rows: pl.DataFrame, config: BacktestConfig | None = None, **more: object) -> dict:
    """The only trade."""
    trades = simulate_signals(detections, rows, config or BacktestConfig(), **more).trades
    assert trades.height == 1
    return trades.row(0, named=True)


class TestEntry:
    def test_a_halt_is_waited_out_for_five_minutes_and_no_longer(self) -> None:
        # Known 10:00:02, so 10:05 is 4 min 58 s away and 10:06 is 5 min 58 s.
        five, six = [FLAT] + [None] * 4 + [FLAT] * 40, [FLAT] + [None] * 5 + [FLAT] * 40
        assert only(signal(), bars(five, timeframe="1m"))["entry_at"] == at(DAY, "10:05")
        assert dispositions(signal(), bars(six, timeframe="1m")) == ["halted"]
        patient = BacktestConfig(entry_patience_min=6)
        assert dispositions(signal(), bars(six, timeframe="1m"), patient) == ["taken"]

    def test_a_signal_without_a_usable_atr_enters_nothing(self) -> None:
        for atr in (None, 0.0, float("nan")):
            assert dispositions(signal(atr=atr), bars([FLAT] * 5)) == ["no_atr"]

    def test_the_least_score_is_inclusive(self) -> None:
        assert dispositions(signal(score=40.0), bars([FLAT] * 5)) == ["taken"]
        assert dispositions(signal(score=39.999), bars([FLAT] * 5)) == ["below_min_score"]
        assert dispositions(signal(score=None), bars([FLAT] * 5)) == ["below_min_score"]

    def test_a_refused_class_or_gate_is_told_with_its_reason(self) -> None:
        found = simulate_signals(
            pl.concat([
                signal("10:00", class_matches=False, gate_reason=None).cast({"gate_reason": pl.String}),
                signal("10:15", class_matches=True, gate_reason="cooldown"),
            ]),
            bars([FLAT] * 5),
            BacktestConfig(),
        ).dispositions  # fmt: skip
        assert found["disposition"].to_list() == ["class_mismatch", "gate_rejected"]
        assert found["reason"].to_list() == [None, "cooldown"]

    def test_a_symbol_without_bars_has_no_next_bar(self) -> None:
        assert dispositions(signal(symbol="QQQ"), bars([FLAT] * 5)) == ["no_next_bar"]

    def test_a_day_trade_enters_no_later_than_fifteen_minutes_before_the_close(self) -> None:
        rows = bars([FLAT] * 60, start="15:00", timeframe="1m")
        # Known at 15:44:02 -> 15:45 is the last minute allowed; 15:45:02 -> 15:46 is one too late.
        early, late = signal("15:44", timeframe="1m"), signal("15:45", timeframe="1m")
        assert dispositions(early, rows) == ["taken"]
        assert dispositions(late, rows) == ["no_entry_session_end"]

    def test_the_last_entry_follows_the_early_close(self) -> None:
        rows = bars([FLAT] * 8, start="11:00", day=HALF_DAY)
        assert dispositions(signal("12:45", day=HALF_DAY), rows) == ["taken"]
        assert dispositions(signal("13:00", day=HALF_DAY), rows) == ["no_entry_session_end"]

    def test_a_swing_signal_at_the_close_enters_at_the_next_open(self) -> None:
        rows = pl.concat([
            bars([FLAT] * 5, start="15:00", timeframe="1m"),
            bars([FLAT] * 9, start="09:30", day=NEXT_DAY, timeframe="1m"),
        ])  # fmt: skip
        row = only(signal("16:00", timeframe="1h"), rows)
        assert (row["entry_at"], row["style"]) == (at(NEXT_DAY, "09:30"), "swing")

    def test_a_new_position_needs_a_signal_after_the_exit_bar(self) -> None:
        stopped = [FLAT] * 16 + [(100.0, 100.1, 98.0, 98.4)] + [FLAT] * 300
        rows = bars(stopped, timeframe="1m")
        # Stopped in the minute 10:16-10:17.
        detections = pl.concat([
            signal("10:00"), signal("10:16", timeframe="1m", detector="other"), signal("10:15"), signal("10:30"),
        ])  # fmt: skip
        found = simulate_signals(detections, rows, BacktestConfig())
        mine = found.dispositions.filter(pl.col("detector") == "crafted")["disposition"].to_list()
        assert mine == ["taken", "suppressed_open_position", "taken"]
        assert found.dispositions.filter(pl.col("detector") == "other")["disposition"].to_list() == ["taken"]


class TestHolding:
    def test_a_swing_trade_holds_overnight_and_gaps_through_its_stop(self) -> None:
        rows = pl.concat([
            bars([FLAT] * 3, start="13:30", timeframe="1h"),
            bars([(97.0, 98.0, 96.0, 97.5)], start="09:30", day=NEXT_DAY, timeframe="1h"),
        ])  # fmt: skip
        row = only(signal("13:30", timeframe="1h"), rows)
        assert (row["exit_reason"], row["exit_at"], row["exit_ref_price"]) == ("STOP_GAP", at(NEXT_DAY, "09:30"), 97.0)
        # Half past one to four o'clock.
        assert row["minutes_held"] == 150.0

    def test_a_split_inside_a_holding_is_no_crash(self) -> None:
        # Four new shares for one old: 25.5 after is 102 before; the target 104 is 26.
        rows = pl.concat([
            bars([FLAT] * 3, start="13:30", timeframe="1h"),
            bars([(25.5, 25.6, 25.4, 25.5), (25.6, 26.1, 25.5, 26.05)], start="09:30", day=NEXT_DAY, timeframe="1h"),
        ])  # fmt: skip
        actions = pl.DataFrame({"symbol": ["SPY"], "action": ["split"], "ex_date": [NEXT_DAY], "split_ratio": [4.0]})
        row = only(signal("13:30", timeframe="1h"), rows, actions=actions)
        assert (row["exit_reason"], row["exit_ref_price"]) == ("TARGET", pytest.approx(104.0, abs=1e-9))
        assert row["exit_at"] == at(NEXT_DAY, "11:30")

    def test_a_split_between_signal_and_entry_rescales_the_distances(self) -> None:
        rows = bars([(25.0, 25.1, 24.9, 25.0)] * 3, start="09:30", day=NEXT_DAY, timeframe="1h")
        actions = pl.DataFrame({"symbol": ["SPY"], "action": ["split"], "ex_date": [NEXT_DAY], "split_ratio": [4.0]})
        row = only(signal("16:00", timeframe="1h"), rows, actions=actions)
        # ATR 2.00 before is 0.50 after: stop 25 - 0.375, target 25 + 1.
        assert (row["atr"], row["stop_initial"], row["target_initial"]) == pytest.approx((0.5, 24.625, 26.0), abs=1e-9)

    def test_a_broken_series_ends_the_trade_at_its_last_close(self) -> None:
        one = bars([FLAT] * 2 + [(100.0, 100.6, 99.9, 100.5)], start="13:30", timeframe="1h")
        other = bars([(1800.0, 1801.0, 1799.0, 1800.0)] * 5, start="09:30", day=NEXT_DAY, timeframe="1h")
        rows = pl.concat([one.with_columns(series_id=0), other.with_columns(series_id=1)])
        row = only(signal("13:30", timeframe="1h"), rows)
        assert (row["exit_reason"], row["exit_ref_price"], row["exit_at"]) == ("DATA_END", 100.5, at(DAY, "16:00"))

    def test_a_change_of_the_executing_timeframe_does_not_break_a_series(self) -> None:
        # Hour bars on both days, minute bars on the second one only; each timeframe numbers its series by itself.
        hours = pl.concat([
            bars([FLAT] * 3, start="13:30", timeframe="1h"), bars([FLAT], start="09:30", day=NEXT_DAY, timeframe="1h"),
        ]).with_columns(series_id=4)  # fmt: skip
        minutes = bars([FLAT] * 60, start="09:30", day=NEXT_DAY, timeframe="1m").with_columns(series_id=0)
        config = BacktestConfig(max_hold_bars=4)
        row = only(signal("13:30", timeframe="1h"), pl.concat([hours, minutes]), config)
        assert (row["exit_reason"], row["exit_at"]) == ("MAX_HOLD", at(NEXT_DAY, "10:30"))

    def test_data_that_end_close_the_trade_and_stay_in_the_table(self) -> None:
        row = only(signal("13:30", timeframe="1h"), bars([FLAT] * 2, start="13:30", timeframe="1h"))
        assert (row["exit_reason"], row["bars_held"]) == ("DATA_END", 2)

    def test_the_hold_of_hour_bars_counts_the_short_last_window(self) -> None:
        # 13:30, 14:30, 15:30-16:00, then 09:30 and 10:30 of the next session: five bars.
        rows = pl.concat([
            bars([FLAT] * 2, start="13:30", timeframe="1h"), bars([FLAT], start="15:30", timeframe="1h"),
            bars([FLAT] * 4, start="09:30", day=NEXT_DAY, timeframe="1h"),
        ])  # fmt: skip
        row = only(signal("13:30", timeframe="1h"), rows, BacktestConfig(max_hold_bars=5))
        assert (row["exit_reason"], row["exit_at"], row["bars_held"]) == ("MAX_HOLD", at(NEXT_DAY, "11:30"), 5)

    def test_bars_on_the_clock_hour_grid_are_counted_one_by_one(self) -> None:
        # The vendor-less hour files: 09:30-10:00, then full hours.
        first = bars([FLAT], start="09:30", timeframe="1h").with_columns(pl.col("bar_end") - pl.duration(minutes=30))
        rows = pl.concat([first, bars([FLAT] * 6, start="10:00", timeframe="1h")])
        row = only(signal("10:00", timeframe="1h"), rows, BacktestConfig(max_hold_bars=3))
        assert (row["entry_at"], row["exit_at"], row["bars_held"]) == (at(DAY, "10:00"), at(DAY, "13:00"), 3)

    def test_the_finest_bars_of_a_session_execute_and_say_so(self) -> None:
        rows = pl.concat([
            bars([FLAT] * 300, timeframe="1m"), bars([FLAT] * 20), bars([FLAT] * 26, start="09:30", day=NEXT_DAY),
        ])  # fmt: skip
        detections = pl.concat([signal(), signal("10:00", day=NEXT_DAY)])
        found = simulate_signals(detections, rows, BacktestConfig()).trades
        assert found["entry_basis"].to_list() == ["strict", "coarse_next_open"]


class TestOptions:
    def test_a_trailing_stop_follows_the_best_close_and_acts_from_the_next_bar(self) -> None:
        # Best close 103 less 1.5 x 2.00 = 100.00; the bar that closes there is not stopped by it.
        rows = bars([ENTRY_BAR, (100.2, 103.2, 99.5, 103.0), (102.0, 102.1, 99.9, 100.4)])
        row = only(signal(), rows, BacktestConfig(trailing=True))
        assert (row["exit_reason"], row["exit_ref_price"]) == ("TRAIL", pytest.approx(100.0, abs=1e-9))

    def test_scaling_out_books_each_leg_at_its_own_target(self) -> None:
        rows = bars([ENTRY_BAR, (101.0, 102.5, 100.9, 102.2), (102.2, 104.3, 102.0, 104.1)])
        config = BacktestConfig(scale_out_fraction=0.4, scale_out_atr=1.0)
        found = simulate_signals(signal(), rows, config)
        legs = found.trades.sort("target_initial")
        assert legs["exit_ref_price"].to_list() == pytest.approx([102.0, 104.0], abs=1e-9)
        assert legs["units"].to_list() == pytest.approx([0.4 * 333.333333, 0.6 * 333.333333], abs=1e-4)
        assert legs["trade_id"].n_unique() == 2
        assert found.dispositions["disposition"].to_list() == ["taken"]

    def test_a_least_stop_distance_widens_the_stop_and_the_r(self) -> None:
        # 2 % of 100.00 is wider than 0.75 x 2.00.
        row = only(signal(), bars([ENTRY_BAR, (98.5, 98.9, 97.9, 98.2)]), BacktestConfig(min_stop_pct=2.0))
        assert (row["stop_initial"], row["risk_per_unit"], row["r_gross"]) == pytest.approx((98.0, 2.0, -1.0), abs=1e-9)

    def test_levels_of_the_signal_are_distances_from_the_entry(self) -> None:
        config = BacktestConfig(target_mode="signal_levels", gates="full")
        row = only(signal(stop_distance=1.0, target_distance=3.0), bars([(50.0, 50.4, 49.8, 50.2)]), config)
        assert (row["stop_initial"], row["target_initial"]) == (49.0, 53.0)

    def test_excursions_end_with_the_trade(self) -> None:
        row = only(signal(), bars([ENTRY_BAR, (99.5, 101.5, 98.8, 101.0), (101.0, 106.0, 100.0, 101.0)]))
        # Best: the target at 4.00 although the bar went to 106; worst: 98.80.
        assert row["mfe_r"] == pytest.approx(4.0 / 1.5, abs=1e-9)
        assert row["mae_r"] == pytest.approx(-1.2 / 1.5, abs=1e-9)

    def test_the_random_policy_is_decided_by_its_seed_alone(self) -> None:
        rows = bars([ENTRY_BAR, (100.5, 104.5, 98.0, 103.0)])
        configs = [BacktestConfig(path_policy="random", random_seed=n) for n in range(30)]
        reasons = [only(signal(), rows, config)["exit_reason"] for config in configs]
        assert reasons == [only(signal(), rows, config)["exit_reason"] for config in configs]
        assert set(reasons) == {"STOP", "TARGET"}


class TestInput:
    def test_missing_columns_are_named(self) -> None:
        with pytest.raises(ContractError, match="available_at"):
            simulate_signals(signal().drop("available_at"), bars([FLAT]), BacktestConfig())
        with pytest.raises(ContractError, match="bar_end"):
            simulate_signals(signal(), bars([FLAT]).drop("bar_end"), BacktestConfig())

    def test_prices_that_are_no_prices_are_refused(self) -> None:
        for wrong in (None, float("nan"), 0.0, -1.0, float("inf")):
            rows = bars([FLAT] * 3).with_columns(low=pl.lit(wrong, dtype=pl.Float64))
            with pytest.raises(DataError, match="clean"):
                simulate_signals(signal(), rows, BacktestConfig())

    def test_rows_of_a_day_without_a_session_are_refused(self) -> None:
        rows = bars([FLAT] * 3).with_columns(session=pl.lit(date(2024, 11, 28)))
        with pytest.raises(DataError, match="2024-11-28"):
            simulate_signals(signal(), rows, BacktestConfig())

    def test_duplicates_are_refused(self) -> None:
        rows = bars([FLAT] * 3)
        with pytest.raises(DataError, match="duplicates"):
            simulate_signals(signal(), pl.concat([rows, rows]), BacktestConfig())
        with pytest.raises(ContractError, match="twice"):
            simulate_signals(pl.concat([signal(), signal()]), rows, BacktestConfig())

    def test_no_signals_give_empty_tables_of_the_right_shape(self) -> None:
        found = simulate_signals(signal().clear(), bars([FLAT]), BacktestConfig())
        assert found.trades.schema == BACKTEST_TRADES.polars_schema
        assert found.dispositions.schema == SIGNAL_DISPOSITIONS.polars_schema
        assert found.daily.height == 0

    def test_bars_outside_regular_hours_never_execute(self) -> None:
        rows = pl.concat([
            bars([FLAT] * 10, start="15:50", timeframe="1m").with_columns(segment=pl.lit("rth")),
            bars([(200.0, 201.0, 199.0, 200.0)] * 30, start="16:00", timeframe="1m").with_columns(
                segment=pl.lit("post")
            ),
            bars([FLAT] * 10, start="09:30", day=NEXT_DAY, timeframe="1m").with_columns(segment=pl.lit("rth")),
        ])  # fmt: skip
        assert only(signal("16:00", timeframe="1h"), rows)["entry_ref_price"] == 100.0


def test_two_runs_on_shuffled_input_give_the_same_bytes() -> None:
    detections = pl.concat([signal("10:00"), signal("13:00"), signal("11:00", direction="SHORT", detector="b")])
    rows = bars([ENTRY_BAR] * 24)
    one = simulate_signals(detections, rows, BacktestConfig())
    two = simulate_signals(detections.reverse(), rows.sample(fraction=1.0, shuffle=True, seed=1), BacktestConfig())
    assert one.data_hash == two.data_hash
    assert one.trades.equals(two.trades)
    assert one.dispositions.equals(two.dispositions)


def test_daily_profit_marks_positions_at_every_close_and_sums_to_the_net_result() -> None:
    rows = pl.concat([
        bars([FLAT] * 2 + [(100.0, 101.2, 99.9, 101.0)], start="13:30", timeframe="1h"),
        bars([(101.0, 102.2, 100.9, 102.0)] * 3, start="09:30", day=NEXT_DAY, timeframe="1h"),
    ])  # fmt: skip
    found = simulate_signals(signal("13:30", timeframe="1h"), rows, BacktestConfig(max_hold_bars=6))
    # 333.33 units from 100.00 to a close of 101.00 with 0.10 slippage, then to 102.00 with 0.102.
    assert found.daily["pnl_usd"].to_list() == pytest.approx([333.333333 * 0.9, 333.333333 * 0.898], abs=1e-3)
    assert found.trades["pnl_net"].sum() == pytest.approx(found.daily["pnl_usd"].sum(), abs=1e-9)
    sessions = sessions_between(DAY, HALF_DAY)
    equity = daily_equity(found.daily, ["crafted", "silent"], sessions, BacktestConfig())
    assert equity.height == 2 * len(sessions)
    curve = equity.filter(pl.col("detector") == "crafted")["equity_usd"]
    assert curve[-1] == pytest.approx(100_599.333333, abs=1e-3)
    assert equity.filter(pl.col("detector") == "silent")["pnl_usd"].to_list() == [0.0] * len(sessions)


def walk(seed: int, days: list[date]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A random walk in 15m bars and signals on every fourth of them."""
    draw = np.random.default_rng(seed)
    frames, detections, price = [], [], 100.0
    for day in days:
        ohlc = []
        for _ in range(26):
            steps = price + np.cumsum(draw.normal(0, 0.15, 20))
            ohlc.append((price, max(price, steps.max()), min(price, steps.min()), steps[-1]))
            price = steps[-1]
        frames.append(bars(ohlc, start="09:30", day=day))
        for n in range(1, 24, 4):
            end = (session(day).open + timedelta(minutes=15 * n)).astimezone(at(day, "10:00").tzinfo)
            for name, side in (("a", "LONG"), ("b", "SHORT")):
                score = float(draw.integers(20, 100))
                detections.append(signal(f"{end:%H:%M}", day=day, atr=1.0, score=score, direction=side, detector=name))
    return pl.concat(detections), pl.concat(frames)


def test_a_sweep_gives_what_single_runs_give() -> None:
    detections, rows = walk(5, sessions_between(date(2024, 3, 1), date(2024, 4, 30)))
    sets = pl.DataFrame({
        "stop_atr": [0.75, 0.5, 1.5, 1.0], "target_atr": [2.0, 1.0, 3.0, 1.0], "max_hold_bars": [15, 3, 20, 1],
        "min_score": [40.0, 40.0, 70.0, 0.0],
    })  # fmt: skip
    base = BacktestConfig(min_score=0.0)
    found = sweep(prepare(detections, rows, "15m", base), sets)
    assert found.height == 8
    for row in found.iter_rows(named=True):
        names = ("stop_atr", "target_atr", "max_hold_bars", "min_score")
        trades = simulate_signals(detections, rows, replace(base, **{name: row[name] for name in names})).trades
        r = trades.filter(pl.col("detector") == row["detector"])["r_net"]
        assert row["n"] == r.len()
        assert row["win_rate"] == pytest.approx((r > 1e-12).mean(), abs=1e-12)
        assert row["expectancy_r"] == pytest.approx(r.mean(), abs=1e-12)
        assert row["profit_factor"] == pytest.approx(r.filter(r > 0).sum() / -r.filter(r < 0).sum(), abs=1e-9)
        assert row["sd_r"] == pytest.approx(r.std(), abs=1e-9)


def test_a_sweep_refuses_what_it_cannot_aggregate() -> None:
    detections, rows = walk(5, sessions_between(date(2024, 3, 1), date(2024, 3, 4)))
    sets = pl.DataFrame({"stop_atr": [0.75], "target_atr": [2.0], "max_hold_bars": [15]})
    for wrong in ({"cost_model": "spread"}, {"scale_out_fraction": 0.5}):
        with pytest.raises(SettingsError, match="sweep"):
            sweep(prepare(detections, rows, "15m", BacktestConfig(**wrong)), sets)


def feature_rows(day: date) -> pl.DataFrame:
    """Feature rows of one symbol in which only a bullish breakout at 10:00 fires."""
    ends = [at(day, "10:00"), at(day, "10:15")]
    columns = {
        name: pl.Series([None, None], dtype=kind) for name, kind in INPUT_DTYPES.items() if name != "asset_class"
    }
    values = {
        "is_regular_hours": [True, True], "close": [101.0, 100.0], "prev_close": [100.0, 100.0], "atr14": [2.0, 2.0],
        "range_high_20": [100.5, 100.5], "range_low_20": [98.0, 98.0], "rvol": [2.5, 2.5],
        "vwap_dist_pct": [0.6, -0.1], "minutes_since_open": [30, 45], "minutes_to_close": [360, 345],
    }  # fmt: skip
    return pl.DataFrame({
        "symbol": ["SPY", "SPY"], "asset_class": ["EQUITY_ETF"] * 2, "timeframe": ["15m"] * 2, "session": [day] * 2,
        "bar_end": ends, "available_at": [end + timedelta(seconds=2) for end in ends], **columns, **values,
    }).with_columns(pl.col("bar_end", "available_at").cast(pl.Datetime("us", "UTC")))  # fmt: skip


def test_a_run_tells_of_every_detector_whether_it_traded_or_could_not_be_tested() -> None:
    detectors = catalogue.select()
    rows = bars([(101.0, 101.5, 100.6, 101.2)] * 24)
    sessions = sessions_between(DAY, NEXT_DAY)
    found = run_backtest(feature_rows(DAY), rows, detectors, None, BacktestConfig(min_score=0.0), sessions)
    assert found.coverage["detector"].to_list() == [detector.name for detector in detectors]
    assert found.trades["detector"].to_list() == ["breakout_bullish"]
    told = {row["detector"]: row for row in found.coverage.iter_rows(named=True)}
    assert told["breakout_bullish"]["coverage_pct"] == 100.0
    assert told["breakout_bullish"]["detections"] == 1
    assert told["mean_reversion_long"]["covered_symbol_sessions"] == 0
    assert "ema21" in told["mean_reversion_long"]["missing_inputs"]
    # An index detector finds no index among the symbols.
    assert told["opening_drive_bullish"]["eligible_symbol_sessions"] == 0
    assert found.daily_equity.height == len(detectors) * len(sessions)
    assert found.trades["time_window"].to_list() == ["mid_morning"]
    assert found.trades["run_id"].unique().to_list() == [found.run_id]
    BACKTEST_TRADES.schema.validate(found.trades)


OF_THE_CHAIN = {
    "gamma_squeeze_bullish", "gamma_squeeze_bearish", "gamma_flip_bullish", "gamma_flip_bearish", "eod_pin_setup",
}  # fmt: skip
OF_THE_TAPE = {
    "sweep_momentum_long", "sweep_momentum_short", "institutional_flow_bullish", "institutional_flow_bearish",
}  # fmt: skip


def absent_data(rows: pl.DataFrame) -> dict[str, list[str]]:
    """What the coverage of a run on these rows says of the detectors that need options."""
    config = BacktestConfig(min_score=0.0)
    found = run_backtest(rows, bars([FLAT]), catalogue.select(), None, config, sessions_between(DAY, DAY))
    told = dict(found.coverage.select("detector", "missing_inputs").iter_rows())
    assert not any(set(catalogue.REASONS) & set(told[name]) for name in told.keys() - OF_THE_CHAIN - OF_THE_TAPE)
    return {name: told[name] for name in OF_THE_CHAIN | OF_THE_TAPE}


def test_without_a_single_option_value_every_detector_of_options_says_so() -> None:
    said = {name: ["no option data"] for name in OF_THE_CHAIN | OF_THE_TAPE}
    # Whether or not there is a symbol of their classes: SPY is no index.
    assert absent_data(feature_rows(DAY)) == said
    assert absent_data(feature_rows(DAY).with_columns(asset_class=pl.lit("INDEX"))) == said
    assert absent_data(feature_rows(DAY).drop("is_0dte", "flow_bias", "gamma_flip")) == said


def test_a_chain_without_a_tape_leaves_the_flow_detectors_without_trades_and_names_what_else_is_missing() -> None:
    index = feature_rows(DAY).with_columns(
        asset_class=pl.lit("INDEX"), is_0dte=pl.lit(True), gamma_flip=pl.lit(100.5), prev_bar_close=pl.lit(100.0)
    )
    told = absent_data(index)
    assert {name: told[name] for name in OF_THE_TAPE} == {name: ["no option trades"] for name in OF_THE_TAPE}
    assert told["gamma_flip_bullish"] == []
    assert told["gamma_squeeze_bullish"] == ["max_gamma_strike", "net_gex_ratio", "mom3_pct"]
    assert "is_0dte" not in told["eod_pin_setup"]
    assert "max_pain_strike" in told["eod_pin_setup"]


def test_a_run_without_sessions_is_refused() -> None:
    with pytest.raises(SettingsError, match="no session"):
        run_backtest(feature_rows(DAY), bars([FLAT]), catalogue.select(), None, BacktestConfig(), [])


def test_importing_the_engine_does_not_import_numba() -> None:
    code = "import sys, strategy_pipeline.backtest.engine; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cache_folder_that_cannot_be_written_does_not_stop_a_run(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    code = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]\n"
        "from strategy_pipeline.backtest import simulator\n"
        "import numpy as np\n"
        "print(simulator._first_at_or_after(np.array([1, 3, 5]), 0, 3, 4))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(blocker / "below")},
    )  # fmt: skip
    assert done.stdout.strip() == "2"


def test_why_a_day_trade_found_no_bar_does_not_depend_on_whether_the_next_session_is_there_yet() -> None:
    # The quarter hour after 15:45 has no bar; the session executes on quarter hours, so the signal counts from 15:45.
    today, detection = bars([FLAT] * 3, start="15:00"), signal("15:45")
    with_tomorrow = pl.concat([today, bars([FLAT] * 3, start="09:30", day=NEXT_DAY)])
    assert dispositions(detection, today) == dispositions(detection, with_tomorrow) == ["halted"]
