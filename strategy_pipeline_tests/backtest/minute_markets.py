"""Minute bars of small made-up markets as rows of `historical_bars`, for tests that need whole runs."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline.market.calendar import session
from strategy_pipeline.market.timeframes import BAR_LAG


def trending_minutes(symbols: Sequence[str], sessions: Sequence[date], *, carry: float, seed: int) -> pl.DataFrame:
    """Walks whose minute returns carry over into the next minutes by `carry` (0: nothing can be foreseen)."""
    draw = np.random.default_rng(seed)
    frames = []
    for symbol in symbols:
        price, last = 100.0, 0.0
        for day in sessions:
            hours = session(day)
            # Some half hours are busy and some quiet, so that volume and range tell them apart.
            busy = np.repeat(draw.lognormal(0.0, 0.5, -(-hours.minutes // 30)), 30)[: hours.minutes]
            fresh = draw.normal(0.0, 0.0008, hours.minutes) * busy
            returns = np.empty(hours.minutes)
            for minute in range(hours.minutes):
                last = carry * last + fresh[minute]
                returns[minute] = last
            opened_at = price * np.exp(draw.normal(0.0, 0.004))
            closed = opened_at * np.exp(np.cumsum(returns))
            opened = np.append(opened_at, closed[:-1])
            wick = np.abs(draw.normal(0.0, 0.0003, (2, hours.minutes))) * opened
            volume = np.round(draw.lognormal(9.0, 0.6, hours.minutes) * busy)
            start = [hours.open + timedelta(minutes=minute) for minute in range(hours.minutes)]
            high, low = np.maximum(opened, closed) + wick[0], np.minimum(opened, closed) - wick[1]
            frames.append(
                pl.DataFrame({"bar_start": start, "open": opened, "high": high, "low": low, "close": closed,
                              "volume": volume}).with_columns(symbol=pl.lit(symbol), session=pl.lit(day))
            )  # fmt: skip
            price = float(closed[-1])
    end = pl.col("bar_start") + pl.duration(minutes=1)
    rows = pl.concat(frames).with_columns(
        timeframe=pl.lit("1m"), bar_end=end, segment=pl.lit("rth"),
        vwap=(pl.col("high") + pl.col("low") + pl.col("close")) / 3.0, trades=pl.lit(100), coverage_pct=pl.lit(None),
        source=pl.lit("synthetic"), quality=pl.lit("final"), quality_flags=pl.lit([], dtype=pl.List(pl.String)),
        available_at=end + BAR_LAG, ingested_at=end + BAR_LAG, revision=pl.lit(0), definition_version=pl.lit("test"),
    )  # fmt: skip
    return rows.select(pl.col(name).cast(kind) for name, kind in HISTORICAL_BARS.polars_schema.items())
