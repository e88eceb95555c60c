"""Properties of the trade simulation on random markets: the reference engine, symmetry, scale, cutting, fairness."""

import hashlib
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import Simulation, simulate_signals
from strategy_pipeline.lake.tables import BACKTEST_TRADES, SIGNAL_DISPOSITIONS
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline.market.timeframes import MINUTES
from strategy_pipeline_tests.backtest import reference_engine

# 28 November 2024 is Thanksgiving, the 29th a half day, 2 December a Monday.
SESSIONS = sessions_between(date(2024, 11, 26), date(2024, 12, 3))
CENTRE = 100.0
INSTANT = pl.Datetime("us", "UTC")
BAR_SCHEMA = {
    "symbol": pl.String, "timeframe": pl.String, "bar_start": INSTANT, "bar_end": INSTANT, "session": pl.Date,
    "series_id": pl.Int32, "open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64,
}  # fmt: skip


class Market:
    """A random market on the tick grid: execution bars with holes and gaps, finer bars inside them, signals."""

    def __init__(self, seed: int, timeframe: str, minute_bars: bool, splits: bool, breaks: bool) -> None:
        draw = np.random.default_rng(seed)
        self.timeframe = timeframe
        self.splits: dict[str, list[tuple[date, float]]] = {"AAA": [(SESSIONS[2], 4.0)]} if splits else {}
        fine = 1 if minute_bars else max(MINUTES[timeframe] // 3, 1)
        days = SESSIONS[:2] if minute_bars else SESSIONS
        self.bars, self.finer, signals = [], [], []
        for symbol in ("AAA", "BBB"):
            price = CENTRE
            for at, day in enumerate(days):
                hours = session(day)
                factor = 1.0
                for ex_date, ratio in self.splits.get(symbol, []):
                    factor = ratio if ex_date <= day else 1.0
                price += round(draw.normal(0, 0.8), 2)
                group: list[dict[str, Any]] = []
                for minute in range(0, hours.minutes, fine):
                    step = fine * (1.0 if minute_bars else 0.02 * fine)
                    size = 0.25 * math.sqrt(min(step, 4.0))
                    opened = price + (round(draw.normal(0, size), 2) if draw.random() < 0.2 else 0.0)
                    close = opened + draw.normal(0, size)
                    high = max(opened, close) + abs(draw.normal(0, size))
                    low = min(opened, close) - abs(draw.normal(0, size))
                    row = {
                        "symbol": symbol, "timeframe": "1m", "session": day, "series_id": int(breaks and at >= 2),
                        "bar_start": hours.open + timedelta(minutes=minute),
                        "bar_end": min(hours.open + timedelta(minutes=minute + fine), hours.close),
                    }  # fmt: skip
                    for name, value in zip(("open", "high", "low", "close"), (opened, high, low, close), strict=True):
                        row[name] = round(value, 2) / factor
                    price = round(close, 2)
                    group.append(row)
                if minute_bars:
                    self.bars += [row for row in group if draw.random() > 0.04]
                else:
                    self.finer += group
                    self.bars += [row for row in self._joined(group, hours) if draw.random() > 0.04]
                width = MINUTES[timeframe]
                for minute in range(width, hours.minutes + width, width):
                    if draw.random() < 0.25:
                        end = min(hours.open + timedelta(minutes=minute), hours.close)
                        for detector, direction in (("one", "LONG"), ("two", "SHORT")):
                            if draw.random() < 0.7:
                                signals.append({
                                    "detector": detector, "detector_version": "1", "symbol": symbol,
                                    "asset_class": "STOCK", "direction": direction, "session": day,
                                    "timeframe": timeframe, "bar_end": end, "available_at": end + timedelta(seconds=2),
                                    "score": float(draw.integers(30, 100)),
                                    "atr": None if draw.random() < 0.05 else round(0.4 + draw.random(), 2) / factor,
                                })  # fmt: skip
        self.signals = signals

    def _joined(self, group: list[dict[str, Any]], hours: Any) -> list[dict[str, Any]]:
        width = timedelta(minutes=MINUTES[self.timeframe])
        joined = []
        start: datetime = hours.open
        while start < hours.close:
            end = min(start + width, hours.close)
            inside = [row for row in group if start <= row["bar_start"] < end]
            joined.append({
                **inside[0], "timeframe": self.timeframe, "bar_end": end, "close": inside[-1]["close"],
                "high": max(row["high"] for row in inside), "low": min(row["low"] for row in inside),
            })  # fmt: skip
            start = end
        return joined

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
        """Signals, bars, finer bars and corporate actions as frames."""
        schema = {
            "detector": pl.String, "detector_version": pl.String, "symbol": pl.String, "asset_class": pl.String,
            "direction": pl.String, "session": pl.Date, "timeframe": pl.String, "bar_end": INSTANT,
            "available_at": INSTANT, "score": pl.Float64, "atr": pl.Float64,
        }  # fmt: skip
        actions = [
            {"symbol": symbol, "action": "split", "ex_date": ex_date, "split_ratio": ratio}
            for symbol, rows in self.splits.items()
            for ex_date, ratio in rows
        ]
        return (
            pl.DataFrame(self.signals, schema=schema),
            pl.DataFrame(self.bars, schema=BAR_SCHEMA),
            pl.DataFrame(self.finer, schema=BAR_SCHEMA) if self.finer else None,
            pl.DataFrame(actions) if actions else None,
        )

    def run(self, config: BacktestConfig, **more: Any) -> Simulation:
        """The compiled engine on this market."""
        signals, bars, finer, actions = self.frames()
        return simulate_signals(signals, bars, config, finer=finer, actions=actions, **more)


def coin_of(config: BacktestConfig, detector: str, symbol: str) -> Any:
    """The seeded coin of the random policy, in Python integers (splitmix64 finaliser)."""
    key = int.from_bytes(hashlib.blake2b(f"{detector}|{symbol}".encode(), digest_size=8).digest(), "big")
    mask = (1 << 64) - 1

    def coin(bar: dict[str, Any]) -> bool:
        start = (bar["bar_start"] - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
        x = ((config.random_seed * 0x9E3779B97F4A7C15) & mask) ^ start ^ key
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return bool((x ^ (x >> 31)) & 1)

    return coin


configurations = st.builds(
    BacktestConfig,
    target_atr=st.sampled_from([0.6, 1.5, 2.0]),
    stop_atr=st.sampled_from([0.4, 0.75, 1.5]),
    max_hold_bars=st.sampled_from([1, 3, 15]),
    path_policy=st.sampled_from(["pessimistic", "optimistic", "nearest_extreme", "drill_down", "random"]),
    random_seed=st.integers(0, 5),
    target_rule=st.sampled_from(["trade_through", "touch"]),
    latency_s=st.sampled_from([0.0, 60.0]),
    entry_patience_min=st.sampled_from([0.0, 5.0, 20.0]),
    flat_offset_min=st.sampled_from([0.0, 15.0]),
    breakeven=st.booleans(),
    trailing=st.booleans(),
    scale_out_fraction=st.sampled_from([0.0, 0.4]),
    scale_out_atr=st.just(0.5),
    min_stop_pct=st.sampled_from([0.0, 0.5]),
    style=st.sampled_from([None, "day", "swing", "scalp"]),
)
markets = st.builds(
    Market,
    seed=st.integers(0, 10_000),
    timeframe=st.sampled_from(["15m", "1h", "4h", "1d"]),
    minute_bars=st.booleans(),
    splits=st.booleans(),
    breaks=st.booleans(),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(market=markets, config=configurations)
def test_the_compiled_engine_equals_the_reference_engine(market: Market, config: BacktestConfig) -> None:
    found = market.run(config)
    expected_trades, expected_dispositions = [], []
    for detector in ("one", "two"):
        for symbol in ("AAA", "BBB"):
            rows = [row for row in market.signals if (row["detector"], row["symbol"]) == (detector, symbol)]
            trades, dispositions = reference_engine.simulate(
                rows, market.bars, config, finer=market.finer, splits=market.splits,
                coin=coin_of(config, detector, symbol),
            )  # fmt: skip
            expected_trades += trades
            expected_dispositions += dispositions
    told = {
        (row["detector"], row["symbol"], row["signal_bar_end"]): row["disposition"]
        for row in found.dispositions.iter_rows(named=True)
    }
    for row, disposition in expected_dispositions:
        assert told[row["detector"], row["symbol"], row["bar_end"]] == disposition
    assert len(told) == len(expected_dispositions)
    assert found.trades.height == len(expected_trades)
    # Legs of one entry have no order of their own in the table.
    by_target = ("detector", "symbol", "entry_at", "target_initial")
    rows = sorted(found.trades.iter_rows(named=True), key=lambda row: [row[name] for name in by_target])
    wanted = sorted(expected_trades, key=lambda row: [row[name] for name in by_target])
    for row, reference in zip(rows, wanted, strict=True):
        for name, value in reference.items():
            if name == "leg":
                continue
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
            else:
                assert row[name] == value, name


@settings(max_examples=25, deadline=None, derandomize=True)
@given(market=markets, config=configurations)
def test_dispositions_sum_to_detections_and_tables_meet_their_contracts(market: Market, config: BacktestConfig) -> None:
    found = market.run(config)
    assert found.dispositions.height == len(market.signals)
    legs = 2 if config.scale_out_fraction > 0 else 1
    taken = found.dispositions.filter(pl.col("disposition") == "taken")
    assert found.trades.height == taken.height * legs
    assert set(taken["trade_id"]) <= set(found.trades["trade_id"])
    BACKTEST_TRADES.schema.validate(found.trades)
    SIGNAL_DISPOSITIONS.schema.validate(found.dispositions)
    assert found.daily["pnl_usd"].sum() == pytest.approx(found.trades["pnl_net"].sum(), abs=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(market=markets, config=configurations)
def test_a_market_upside_down_gives_the_same_trades_to_the_other_side(market: Market, config: BacktestConfig) -> None:
    # Reflection negates price differences but not percentages of price, nor does it commute with a split.
    config = replace(config, slippage_pct=0.0, min_stop_pct=0.0, path_policy="drill_down")
    signals, bars, finer, _ = market.frames()
    flipped = {"LONG": "SHORT", "SHORT": "LONG"}

    def mirrored(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            open=1000.0 - pl.col("open"), close=1000.0 - pl.col("close"),
            high=1000.0 - pl.col("low"), low=1000.0 - pl.col("high"),
        )  # fmt: skip

    plain = simulate_signals(signals, bars, config, finer=finer)
    other = simulate_signals(
        signals.with_columns(direction=pl.col("direction").replace_strict(flipped)),
        mirrored(bars),
        config,
        finer=None if finer is None else mirrored(finer),
    )
    same = ["detector", "symbol", "entry_at", "exit_at", "exit_reason", "bars_held", "ambiguous", "gap_exit"]
    order = ["detector", "symbol", "entry_at", "risk_per_unit", "r_gross"]
    one, two = plain.trades.sort(order), other.trades.sort(order)
    assert one.select(same).equals(two.select(same))
    for name in ("r_gross", "r_best", "r_worst", "mfe_r", "mae_r", "risk_per_unit"):
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(market=markets, config=configurations, power=st.sampled_from([-2, 3]))
def test_r_does_not_depend_on_the_unit_of_the_price(market: Market, config: BacktestConfig, power: int) -> None:
    scale = 2.0**power
    signals, bars, finer, actions = market.frames()
    prices = [pl.col("open", "high", "low", "close") * scale]
    plain = simulate_signals(signals, bars, config, finer=finer, actions=actions)
    scaled = simulate_signals(
        signals.with_columns(pl.col("atr") * scale),
        bars.with_columns(prices),
        replace(config, tick=config.tick * scale),
        finer=None if finer is None else finer.with_columns(prices),
        actions=actions,
    )
    # The configuration, and with it the trade's name, differs by the tick.
    order = ["detector", "symbol", "entry_at", "target_initial"]
    one, two = plain.trades.sort(order), scaled.trades.sort(order)
    assert one["exit_reason"].equals(two["exit_reason"])
    for name in ("r_gross", "r_net", "cost_r", "mfe_r", "mae_r", "r_best", "r_worst"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(market=markets, config=configurations)
def test_a_run_cut_into_pieces_gives_the_trades_of_the_whole(market: Market, config: BacktestConfig) -> None:
    signals, bars, finer, actions = market.frames()
    whole = market.run(config, data_hash="same")

    carry, trades, dispositions, daily = None, [], [], []
    days = sorted(set(bars["session"].to_list()))
    for day in days:
        own = pl.col("session") == day
        part = simulate_signals(
            signals.filter(own), bars.filter(own), config, actions=actions, data_hash="same", carry=carry,
            finer=None if finer is None else finer.filter(own), final=day == days[-1],
        )  # fmt: skip
        carry = part.carry
        trades.append(part.trades)
        dispositions.append(part.dispositions)
        daily.append(part.daily)
    assert pl.concat(trades).sort(BACKTEST_TRADES.sort_by).equals(whole.trades)
    assert pl.concat(dispositions).sort(SIGNAL_DISPOSITIONS.sort_by).equals(whole.dispositions)
    by_day = pl.concat(daily).group_by("detector", "session").agg(pl.col("pnl_usd", "open_positions").sum())
    key = ["detector", "session"]
    np.testing.assert_allclose(by_day.sort(key)["pnl_usd"], whole.daily.sort(key)["pnl_usd"], rtol=0, atol=1e-6)

    parts = []
    for symbol in ("BBB", "AAA"):
        own = pl.col("symbol") == symbol
        parts.append(
            simulate_signals(
                signals.filter(own), bars.filter(own), config, actions=actions, data_hash="same",
                finer=None if finer is None else finer.filter(own),
            ).trades
        )  # fmt: skip
    assert pl.concat(parts).sort(BACKTEST_TRADES.sort_by).equals(whole.trades)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(market=markets, config=configurations, model=st.sampled_from(["pct", "spread"]))
def test_profit_is_linear_in_costs_and_costs_never_move_the_path(
    market: Market, config: BacktestConfig, model: str
) -> None:
    config = replace(config, cost_model=model, commission_per_share_usd=0.01, commission_minimum_usd=1.0)
    runs = {}
    for multiple in (0.0, 0.5, 1.0, 2.0):
        frame = market.run(replace(config, cost_multiplier=multiple)).trades
        runs[multiple] = frame.sort("detector", "symbol", "entry_at", "target_initial")
    path = ["entry_at", "exit_at", "entry_ref_price", "exit_ref_price", "exit_reason", "pnl_gross", "r_gross", "units"]
    for frame in runs.values():
        assert frame.select(path).equals(runs[0.0].select(path))
    for multiple in (0.5, 2.0):
        expected = runs[0.0]["pnl_net"] + multiple * (runs[1.0]["pnl_net"] - runs[0.0]["pnl_net"])
        np.testing.assert_allclose(runs[multiple]["pnl_net"], expected, rtol=1e-12, atol=1e-8)


@pytest.mark.parametrize("direction", ["LONG", "SHORT"])
def test_a_driftless_market_without_costs_earns_nothing(direction: str) -> None:
    """Mean R of many trades on a driftless walk lies within three standard errors of zero under drill_down."""
    draw = np.random.default_rng(20241125)
    days = sessions_between(date(2023, 1, 3), date(2024, 12, 31))
    rows, signals = [], []
    for day in days:
        hours = session(day)
        # 40 steps a minute: the walk overshoots a level by a small part of a tick-sized stop only.
        walk = 100.0 + np.cumsum(draw.normal(0.0, 0.004, hours.minutes * 40)).reshape(hours.minutes, 40)
        opened = np.concatenate([[100.0], walk[:-1, -1]])
        high, low = np.maximum(walk.max(axis=1), opened), np.minimum(walk.min(axis=1), opened)
        start = np.datetime64(hours.open.replace(tzinfo=None), "us") + np.arange(hours.minutes) * np.timedelta64(1, "m")
        rows.append(
            pl.DataFrame(
                {"bar_start": start, "open": opened, "high": high, "low": low, "close": walk[:, -1]}
            ).with_columns(session=day)
        )
        for minute in range(15, hours.minutes - 30, 45):
            end = hours.open + timedelta(minutes=minute)
            signals.append((day, end, end + timedelta(seconds=2)))
    bars = (
        pl.concat(rows)
        .with_columns(pl.col("bar_start").dt.replace_time_zone("UTC"), symbol=pl.lit("SPY"), timeframe=pl.lit("1m"))
        .with_columns(bar_end=pl.col("bar_start") + pl.duration(minutes=1))
    )
    frame = pl.DataFrame(signals, schema=["session", "bar_end", "available_at"], orient="row").with_columns(
        pl.col("bar_end", "available_at").cast(INSTANT), detector=pl.lit("any"), detector_version=pl.lit("1"),
        symbol=pl.lit("SPY"), asset_class=pl.lit("EQUITY_ETF"), direction=pl.lit(direction), timeframe=pl.lit("15m"),
        score=pl.lit(100.0), atr=pl.lit(0.2),
    )  # fmt: skip
    found = simulate_signals(frame, bars, BacktestConfig(slippage_pct=0.0)).trades
    r = found["r_net"].to_numpy()
    assert len(r) > 1500
    assert abs(r.mean()) < 3.0 * r.std(ddof=1) / math.sqrt(len(r))
