"""Context engines: all five on 10 symbols x 90 sessions of quarter hours, without reading or writing.

`python -m benchmarks.context` makes seeded tables, prints the median of three runs in seconds beside limits and keeps
them in benchmarks/results/context.json.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SYMBOLS = [f"S{n}" for n in range(10)]
LAST, SESSIONS = date(2024, 12, 4), 90
PRINTS = 200_000
LIMITS = {"one_request_each_s": 1.0, "both_sides_three_styles_s": 3.0}


def sources(moments: Any, days: list[date], symbols: list[str] = SYMBOLS) -> Any:
    """Tables of every engine with a row for each moment or session."""
    import numpy as np
    import polars as pl

    from strategy_pipeline.analytics.alignment import ALIGNMENT_SCHEMA, SCORES, combined
    from strategy_pipeline.analytics.implied_volatility_rank import iv_regime
    from strategy_pipeline.engines.context import ContextSources
    from strategy_pipeline.market import calendar

    draw = np.random.default_rng(5)
    n = moments.height
    closes = [calendar.session(day).close for day in days]
    percentiles = draw.random(len(days) * len(symbols)) * 100.0
    daily = pl.DataFrame({"session": days, "available_at": closes}).cast({"available_at": moments.schema["as_of"]})
    iv = pl.concat(daily.with_columns(symbol=pl.lit(symbol)) for symbol in symbols).with_columns(
        cm30_atm_iv=pl.lit(0.2), cm30_status=pl.lit("ok"), iv_percentile_pct=pl.Series(percentiles),
        iv_rank_pct=pl.Series(percentiles), iv_regime=pl.Series([iv_regime(one) for one in percentiles]),
        iv_trend=pl.lit("STABLE"), n_history=pl.lit(252), history_status=pl.lit("ok"),
    )  # fmt: skip
    gamma = moments.select("symbol", snapshot_at="as_of", available_at="as_of").with_columns(
        sign_convention=pl.lit("A"), status=pl.lit("ok"), underlying_price=pl.lit(100.0),
        dealer_positioning=pl.lit("SHORT_GAMMA"), positioning_strength=pl.lit("MODERATE"),
        expected_behavior=pl.lit("TRENDING"), call_wall=pl.Series(99.0 + 3.0 * draw.random(n)), put_wall=pl.lit(98.0),
        total_call_oi=pl.lit(90_000), total_put_oi=pl.lit(60_000), agreement=pl.lit(True), oi_coverage_pct=pl.lit(98.0),
    )  # fmt: skip
    scores = pl.DataFrame({name: draw.uniform(-1, 1, n) for name in SCORES.values()})
    aligned = pl.concat([moments, scores, combined(scores)], how="horizontal").with_columns(
        newest_bar_end=pl.col("as_of") - timedelta(seconds=2), newest_timeframe=pl.lit("5m"), available_at="as_of"
    )
    opens = np.array([round(calendar.session(day).open.timestamp() * 1e6) for day in days])
    printed = opens[draw.integers(0, len(days), PRINTS)] + draw.integers(0, 390 * 60_000_000, PRINTS)
    flow = pl.DataFrame(
        {
            "contract_ticker": [f"O:{at}" for at in draw.integers(0, 20_000, PRINTS)],
            "sip_timestamp": printed,
            "sequence": np.zeros(PRINTS, dtype=np.int64),
            "symbol": np.array(symbols)[draw.integers(0, len(symbols), PRINTS)],
            "option_type": np.array(["call", "put"])[draw.integers(0, 2, PRINTS)],
            "premium_usd": np.round(draw.lognormal(8.5, 1.2, PRINTS), 2) + 0.01,
            "aggressor_sign": draw.integers(-2, 3, PRINTS) / 2.0,
            "exclusion_class": ["none"] * PRINTS,
            "is_sweep": draw.random(PRINTS) < 0.1,
            "is_block": draw.random(PRINTS) < 0.05,
            "available_at": printed + 50_000,
            "revision": np.zeros(PRINTS, dtype=np.int32),
        }
    ).cast({"sip_timestamp": moments.schema["as_of"], "available_at": moments.schema["as_of"]})
    regime = daily.with_columns(
        market_regime=pl.lit("WEAK_UPTREND"), confidence=pl.lit(0.6), vix_regime=pl.lit("NORMAL"),
        inputs_missing=pl.lit([], dtype=pl.List(pl.String)),
    )  # fmt: skip
    return ContextSources(iv, gamma, aligned.select(ALIGNMENT_SCHEMA.names()), flow, regime)


def median_of_three(work: Callable[[], Any]) -> float:
    """Median seconds of three runs."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> int:
    """Times both request sets; 1 when a limit is missed."""
    import polars as pl

    from strategy_pipeline.engines.context import evaluate_context
    from strategy_pipeline.market import calendar

    days = calendar.sessions_between(LAST - timedelta(days=180), LAST)[-SESSIONS:]
    grid = [instant + timedelta(seconds=2) for day in days for instant in calendar.snapshot_instants(day)]
    moments = pl.concat(
        pl.DataFrame({"symbol": symbol, "as_of": grid}).cast({"as_of": pl.Datetime("us", "UTC")}) for symbol in SYMBOLS
    )
    stored = sources(moments, days)
    asked = [
        moments.with_columns(direction=pl.lit(side), style=pl.lit(style), momentum=pl.lit(True))
        for side in ("LONG", "SHORT")
        for style in ("day", "scalp", "swing")
    ]
    every = pl.concat(asked)
    found = {
        "one_request_each_s": median_of_three(lambda: evaluate_context(asked[0], stored)),
        "both_sides_three_styles_s": median_of_three(lambda: evaluate_context(every, stored)),
    }
    for (name, seconds), requests in zip(found.items(), (asked[0].height, every.height), strict=True):
        print(f"  {name:<28} {seconds:6.2f}  (limit {LIMITS[name]:g}; {requests:,} requests x 5 engines)")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "context.json").write_text(json.dumps(found, indent=2) + "\n")
    return int(any(seconds > LIMITS[name] for name, seconds in found.items()))


if __name__ == "__main__":
    sys.exit(main())
