"""From feature rows to verdicts with context: firings, five engines, composite signals, gated trades, statistics.

`python -m benchmarks.verdicts` prints seconds by stage beside limits for 10 symbols x 90 sessions and 50 x 252, how
time grows from one to the other, and the peak memory; figures go to benchmarks/results/verdicts.json. Bars, features
and context are seeded; alignment of timeframes is computed from the bars as the asset does.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.backtest import feature_rows, minute_bars
from benchmarks.context import sources
from strategy_pipeline.analytics.alignment import alignment
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import run_backtest
from strategy_pipeline.backtest.statistics import Settings, best_of_all, summarise
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.engines.context import ContextSources, evaluate_context
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, FEATURES, HISTORICAL_BARS
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline.market.timeframes import BAR_LAG, resample
from strategy_pipeline.scoring.composite import Provenance, composite_signals, firings
from strategy_pipeline.scoring.confidence import DataProfile
from strategy_pipeline.scoring.context import requests
from strategy_pipeline.scoring.rules import rules_from

RESULTS = Path(__file__).parent / "results"
# name -> symbols, sessions, limit in seconds
SIZES = {"10 symbols x 90 sessions": (10, 90, 5.0), "50 symbols x 252 sessions": (50, 252, 60.0)}
MEMORY_LIMIT_MB = 6_000
DRAWS = 1_000
LAST = date(2024, 12, 31)


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def stored_bars(minutes: pl.DataFrame) -> pl.DataFrame:
    """The quarter hours and coarser bars of the minutes, in the columns of ``historical_bars``."""
    wanted = HISTORICAL_BARS.polars_schema
    full = minutes.with_columns(
        segment=pl.lit("rth"), volume=pl.lit(1_000.0), source=pl.lit("synthetic"), quality=pl.lit("final"),
        quality_flags=pl.lit([], dtype=pl.List(pl.String)), available_at=pl.col("bar_end") + BAR_LAG,
        ingested_at=pl.col("bar_end"), revision=pl.lit(0), definition_version=pl.lit("benchmark"),
    )  # fmt: skip
    full = full.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in wanted.items() if name not in full.columns
    ).select(pl.col(name).cast(kind) for name, kind in wanted.items())
    return pl.concat([resample(full, name) for name in ("5m", "15m", "1h", "4h", "1d")])


def complete(features: pl.DataFrame) -> pl.DataFrame:
    """Feature rows with every column of the schema: plausible levels for prices, nothing for the rest."""
    draw = np.random.default_rng(3)
    missing = {name: kind for name, kind in FEATURES.polars_schema.items() if name not in features.columns}
    levels = {"adv20_shares": 2e6, "adv20_usd": 2e8, "spread_pct": 0.02, "atr14_5m": 0.4, "atr14_15m": 0.7,
              "atr14_1h": 1.4, "atr14_1d": 3.0, "atr_1d_pct": 1.2, "vix_level": 17.0}  # fmt: skip
    return features.with_columns(
        pl.lit(levels[name]).alias(name) if name in levels
        else pl.Series(name, draw.normal(100.0, 1.0, features.height)) if kind == pl.Float64
        else pl.lit(None, dtype=kind).alias(name)
        for name, kind in missing.items()
    )  # fmt: skip


def run(symbols: list[str], sessions: list[date], minutes: pl.DataFrame, features: pl.DataFrame) -> tuple[Clock, Any]:
    """Every stage once, on frames that are there; the seconds of each and what became of it."""
    clock, rules = Clock(), rules_from({})
    bars = stored_bars(minutes)
    moments = features.select("symbol", as_of="available_at")
    stored = sources(moments, sessions, symbols)
    provenance = {day: Provenance("benchmark", "benchmark") for day in sessions}
    config = BacktestConfig(timeframe="15m", gates="full", min_score=0.0)
    with clock.stage("firings"):
        fired = firings(catalogue.CATALOGUE, features)
    with clock.stage("context"):
        asked = requests(fired)
        aligned = alignment(
            bars, asked.select("symbol", "as_of").unique(maintain_order=True), CORPORATE_ACTIONS.empty()
        )
        answers = evaluate_context(asked, ContextSources(stored.iv, stored.gamma, aligned, stored.flow, stored.regime))
    with clock.stage("composite signals"):
        scored = composite_signals(fired, answers, rules, DataProfile(), provenance)
    with clock.stage("trades"):
        tested = run_backtest(features, minutes, catalogue.CATALOGUE, None, config, sessions, composite=scored)
    with clock.stage("verdicts"):
        axis = pl.DataFrame({"session": sessions, "minutes": [session(day).minutes for day in sessions]})
        numbers = Settings(draws=DRAWS, group_draws=DRAWS)
        told = (tested.trades, tested.dispositions, tested.coverage, tested.daily_equity, axis)
        summaries = summarise(*told, settings=numbers)
        best_of_all(summaries, numbers)
    accepted = int((scored["decision"].cast(pl.String) == "accepted").sum())
    return clock, {"firings": fired.height, "accepted": accepted, "trades": tested.trades.height}


def main() -> int:
    """Both sizes, the smaller one first and twice, since the first time compiles; 1 when a limit is missed."""
    found: dict[str, Any] = {}
    missed = 0
    for name, (count, days, limit) in SIZES.items():
        symbols = [f"S{n:02d}" for n in range(count - 2)] + ["NDX", "SPX"]
        sessions = sessions_between(date(2023, 1, 3), LAST)[-days:]
        minutes = minute_bars(symbols=symbols, sessions=sessions)
        features = complete(feature_rows("15m", symbols=symbols, sessions=sessions))
        if not found:
            run(symbols, sessions, minutes, features)
        clock, became = run(symbols, sessions, minutes, features)
        total = sum(clock.seconds.values())
        missed |= int(total > limit)
        found[name] = {"total_s": total, **clock.seconds, **became, "rows": features.height}
        print(f"  {name:<28} {total:6.2f} s  (limit {limit:g}; {features.height:,} rows, {became})")
        print("    " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in clock.seconds.items()))
    small, large = found.values()
    found["growth_of_time_over_growth_of_rows"] = (large["total_s"] / small["total_s"]) / (
        large["rows"] / small["rows"]
    )
    # Linux counts kilobytes.
    found["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    missed |= int(found["peak_memory_mb"] > MEMORY_LIMIT_MB)
    print(f"  time grows {found['growth_of_time_over_growth_of_rows']:.2f} times as fast as the rows")
    print(f"  peak memory {found['peak_memory_mb']:,.0f} MB  (limit {MEMORY_LIMIT_MB:,})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "verdicts.json").write_text(json.dumps(found, indent=2) + "\n")
    return missed


if __name__ == "__main__":
    sys.exit(main())
