"""The trade simulation against its limits and its peers: features to trades, the loop alone, a sweep of exit rules.

`python -m benchmarks.backtest` prints ratios and writes benchmarks/results/backtest.json. vectorbt and
backtesting.py run in another interpreter when BENCH_PEER_PYTHON names one that has them (they pin pandas); arrays
go there through an npz file.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import (
    Prepared,
    book,
    prepare,
    prepare_run,
    rules_of,
    run_backtest,
    simulate_signals,
    sweep,
)
from strategy_pipeline.backtest.parameter_sets import evaluate_sets, evaluate_thresholds, grid
from strategy_pipeline.backtest.statistics import Settings, best_of_all, summarise
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.detectors.inputs import INPUT_DTYPES, TREND_STATE_DTYPE
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline.market.timeframes import MINUTES

RESULTS = Path(__file__).parent / "results"
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH", "NDX", "SPX")
SESSIONS = sessions_between(date(2024, 7, 1), date(2024, 12, 31))[:90]
INSTANT = pl.Datetime("us", "UTC")


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of `repeats` calls after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def minute_bars(
    seed: int = 7, symbols: Sequence[str] = SYMBOLS, sessions: Sequence[date] = tuple(SESSIONS)
) -> pl.DataFrame:
    """Regular-hours minute bars on a driftless walk; 10 symbols x 90 sessions are about 351 000 rows."""
    draw = np.random.default_rng(seed)
    frames = []
    for symbol in symbols:
        price = 100.0
        for day in sessions:
            hours = session(day)
            steps = price * np.exp(np.cumsum(draw.normal(0, 0.0006, hours.minutes)))
            opened = np.concatenate([[price], steps[:-1]])
            spread = np.abs(draw.normal(0, 0.0003, (2, hours.minutes))) * price
            minutes = np.arange(hours.minutes) * np.timedelta64(1, "m")
            start = np.datetime64(hours.open.replace(tzinfo=None), "us") + minutes
            frames.append(
                pl.DataFrame({
                    "bar_start": start, "open": opened, "high": np.maximum(opened, steps) + spread[0],
                    "low": np.minimum(opened, steps) - spread[1], "close": steps,
                }).with_columns(symbol=pl.lit(symbol), session=pl.lit(day))
            )  # fmt: skip
            price = float(steps[-1])
    return pl.concat(frames).with_columns(
        pl.col("bar_start").dt.replace_time_zone("UTC"), timeframe=pl.lit("1m")
    ).with_columns(bar_end=pl.col("bar_start") + pl.duration(minutes=1))  # fmt: skip


def feature_rows(
    timeframe: str, seed: int = 11, symbols: Sequence[str] = SYMBOLS, sessions: Sequence[date] = tuple(SESSIONS)
) -> pl.DataFrame:
    """Feature rows of every symbol and bar with plausible random values, so that every detector fires now and then."""
    draw = np.random.default_rng(seed)
    width = MINUTES[timeframe]
    keys = []
    for day in sessions:
        hours = session(day)
        for minute in range(width, hours.minutes + 1, width):
            keys.append((day, hours.open + timedelta(minutes=minute), minute, hours.minutes - minute))
    count = len(keys) * len(symbols)
    columns: dict[str, object] = {
        name: draw.normal(100.0, 1.0, count) for name, kind in INPUT_DTYPES.items() if kind == pl.Float64
    }
    columns |= {name: draw.random(count) < 0.5 for name, kind in INPUT_DTYPES.items() if kind == pl.Boolean}
    columns |= {
        "is_regular_hours": np.ones(count, np.bool_), "atr14": draw.uniform(0.3, 0.8, count),
        "rsi14": draw.uniform(10, 90, count), "rvol": draw.uniform(0.2, 3.0, count),
        "vwap_dist_pct": draw.normal(0, 0.5, count), "session_move_pct": draw.normal(0, 1.0, count),
        "gap_pct": draw.normal(0, 0.5, count), "flow_score": draw.uniform(0, 100, count),
        "rsi14_delta": draw.normal(0, 3, count),
    }  # fmt: skip
    moments = pl.DataFrame(
        keys, schema={"session": pl.Date, "bar_end": INSTANT, "minutes_since_open": pl.Int32,
                      "minutes_to_close": pl.Int32},
        orient="row",
    )  # fmt: skip
    per_symbol = [
        moments.with_columns(
            symbol=pl.lit(symbol), asset_class=pl.lit("INDEX" if symbol in ("SPX", "NDX") else "STOCK")
        )
        for symbol in symbols
    ]
    states = pl.Series("trend_state", draw.choice(TREND_STATE_DTYPE.categories.to_numpy(), count))
    return (
        pl.concat(per_symbol)
        .with_columns(timeframe=pl.lit(timeframe), available_at=pl.col("bar_end") + pl.duration(seconds=2))
        .with_columns([pl.Series(name, values) for name, values in columns.items() if not name.startswith("minutes_")])
        .with_columns(states.cast(TREND_STATE_DTYPE))
    )


def sparse_signals(rows: pl.DataFrame, count: int, seed: int = 3) -> pl.DataFrame:
    """`count` long signals of one detector on random 15m bar ends of all symbols (the set of performance.md)."""
    draw = np.random.default_rng(seed)
    wanted = []
    for at in draw.choice(len(SESSIONS) * len(SYMBOLS) * 20, count, replace=False):
        day, rest = divmod(int(at), len(SYMBOLS) * 20)
        symbol, slot = divmod(rest, 20)
        hours = session(SESSIONS[day])
        end = hours.open + timedelta(minutes=15 * (slot + 1))
        if end < hours.close:
            wanted.append((SYMBOLS[symbol], SESSIONS[day], end, end + timedelta(seconds=2)))
    kinds = {"symbol": pl.String, "session": pl.Date, "bar_end": INSTANT, "available_at": INSTANT}
    return pl.DataFrame(wanted, schema=kinds, orient="row").with_columns(
        detector=pl.lit("sparse"), detector_version=pl.lit("1"), asset_class=pl.lit("STOCK"), direction=pl.lit("LONG"),
        timeframe=pl.lit("15m"), score=pl.lit(70.0), atr=pl.lit(0.5),
    )  # fmt: skip


def peers(prepared: Prepared, trades: pl.DataFrame, repeats: int) -> dict[str, object] | None:
    """Seconds of vectorbt and backtesting.py on the same entries, stops and targets; None when they are not there."""
    interpreter = os.environ.get("BENCH_PEER_PYTHON", sys.executable)
    probe = subprocess.run([interpreter, "-c", "import vectorbt, backtesting"], capture_output=True, check=False)
    if probe.returncode:
        return None
    bars = prepared.bars
    rows = min(int(size) for size in np.diff(bars.first))
    grid = {name: np.stack([getattr(bars, name)[at : at + rows] for at in bars.first[:-1]], axis=1)
            for name in ("open", "high", "low", "close")}  # fmt: skip
    entries = np.zeros(grid["open"].shape, np.bool_)
    stop, target = np.full(entries.shape, np.nan), np.full(entries.shape, np.nan)
    number = {symbol: at for at, symbol in enumerate(prepared.execution.symbols)}
    for row in trades.iter_rows(named=True):
        column = number[row["symbol"]]
        own = bars.start[bars.first[column] : bars.first[column + 1]]
        at = int(np.searchsorted(own, int(row["entry_at"].timestamp() * 1_000_000)))
        entries[at, column] = True
        stop[at, column] = row["risk_per_unit"] / row["entry_ref_price"]
        target[at, column] = (row["target_initial"] - row["entry_ref_price"]) / row["entry_ref_price"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peers.npz"
        np.savez(path, entries=entries, stop=stop, target=target, repeats=repeats, **grid)
        script = Path(__file__).with_name("backtest_peers.py")
        done = subprocess.run([interpreter, str(script), str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures everything once and writes the figures."""
    from strategy_pipeline.backtest.simulator import find_entries, simulate

    figures: dict[str, object] = {"python": platform.python_version()}
    figures["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    bars = minute_bars()
    detectors = catalogue.select()
    config = BacktestConfig(min_score=0.0)
    for timeframe in ("15m", "1m"):
        rows = feature_rows(timeframe)
        run_config = BacktestConfig(min_score=0.0, timeframe=timeframe)

        def whole(rows: pl.DataFrame = rows, run_config: BacktestConfig = run_config) -> object:
            return run_backtest(rows, bars, detectors, None, run_config, SESSIONS)

        start = time.perf_counter()
        first = run_backtest(rows, bars, detectors, None, run_config, SESSIONS)
        figures[f"{timeframe}: first run, compiled code from the cache or compiled, s"] = time.perf_counter() - start
        figures[f"{timeframe}: features to trades, s"] = median_seconds(whole, 5 if timeframe == "15m" else 3)
        figures[f"{timeframe}: detections"] = first.dispositions.height
        figures[f"{timeframe}: trades"] = first.trades.height

    signals = sparse_signals(bars, 900)
    prepared = prepare(signals, bars, "15m", config)
    rules = rules_of(config, final=True)

    def loop() -> object:
        entry, verdict = find_entries(prepared.bars, prepared.arrays, 300_000_000)
        out, _ = simulate(prepared.bars, prepared.arrays, rules, entry, verdict)
        return book(out, prepared)

    trades = simulate_signals(signals, bars, config).trades
    figures["entries"] = trades.height
    alone = median_seconds(loop, 50)
    figures["loop with entries, R, costs, sizes, excursions, ambiguity, s"] = alone
    figures["bars/s of the loop"] = bars.height / alone
    figures["frames to frames, s"] = median_seconds(lambda: simulate_signals(signals, bars, config), 10)

    draw = np.random.default_rng(1)
    sets = pl.DataFrame({
        "stop_atr": draw.uniform(0.5, 2.0, 1000), "target_atr": draw.uniform(1.0, 4.0, 1000),
        "max_hold_bars": draw.integers(4, 61, 1000),
    })  # fmt: skip
    figures["sweep of 1,000 sets, s"] = median_seconds(lambda: sweep(prepared, sets), 5)
    rows = feature_rows("15m")
    run_config = BacktestConfig(timeframe="15m")
    names = rows["symbol"].unique().to_list()
    parts = prepare_run(rows, bars, detectors, None, run_config, SESSIONS)
    sets_of_exits = grid(run_config)

    def kept() -> object:
        return evaluate_sets(parts[0], sets_of_exits, SESSIONS)

    figures["54 sets with every trade kept, all detectors, s"] = median_seconds(kept, 3)
    gates = [
        {"rvol_above": 1.0 + 0.05 * (at % 40), "vwap_distance_above_pct": 0.04 * (at // 40)} for at in range(1_000)
    ]

    def thresholds() -> object:
        return evaluate_thresholds(rows, bars, "breakout_bullish", gates, None, run_config, SESSIONS, names)

    figures["1,000 sets of thresholds with their trials, s"] = median_seconds(thresholds, 1)
    whole_run = run_backtest(rows, bars, detectors, None, run_config, SESSIONS)
    minutes = pl.DataFrame({"session": SESSIONS, "minutes": [session(day).minutes for day in SESSIONS]})
    told = (whole_run.trades, whole_run.dispositions, whole_run.coverage, whole_run.daily_equity, minutes)
    for draws in (1_000, 10_000):
        numbers = Settings(draws=draws, group_draws=min(draws, 2_000))
        figures[f"statistics of all detectors, {draws:,} draws, s"] = median_seconds(
            lambda numbers=numbers: best_of_all(summarise(*told, settings=numbers), numbers), 3
        )
    found = peers(prepared, trades, 10)
    if found is None:
        print("vectorbt and backtesting.py are not here: set BENCH_PEER_PYTHON to an interpreter that has them.")
    else:
        figures |= found
        for name in ("vectorbt", "backtesting.py"):
            figures[f"times faster than {name}, loop with all bookkeeping"] = float(str(found[f"{name}, s"])) / alone
    # Linux counts kilobytes.
    figures["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "backtest.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        print(f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
