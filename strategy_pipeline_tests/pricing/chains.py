"""Small option chains with known volatilities, for the tests of forwards and chains; no test lives here."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from strategy_pipeline.pricing import american, black_scholes
from strategy_pipeline.pricing.american import Dividends

SNAPSHOT = datetime(2024, 3, 11, 15, 0, tzinfo=UTC)
MINUTES = 30 * 1440.0
YEARS = MINUTES / 525_600.0
RATE = 0.05


def chain(
    style: str = "european",
    volatility: float = 0.25,
    carry: float = 0.01,
    strikes: Any = (85.0, 90.0, 95.0, 100.0, 105.0, 110.0, 115.0),
    half_spread: float = 0.001,
    dividends: list[tuple[float, float]] | None = None,
    **overrides: Any,
) -> pl.DataFrame:
    """Calls and puts on a spot of 100, thirty days to expiry, quoted around the exact price."""
    strike = np.repeat(np.asarray(strikes, dtype=float), 2)
    call = np.tile([True, False], len(strike) // 2)
    if style == "european":
        mid = black_scholes.price(100.0, strike, YEARS, RATE, carry, volatility, call)
    else:
        schedule = Dividends.same_for_all(len(strike), dividends or [])
        mid = american.prices(100.0, strike, YEARS, RATE, carry, volatility, call, dividends=schedule)
    frame = pl.DataFrame(
        {
            "strike": strike,
            "option_type": np.where(call, "call", "put"),
            "bid": mid - half_spread,
            "ask": mid + half_spread,
        }
    ).with_columns(
        symbol=pl.lit("XYZ"),
        snapshot_at=pl.lit(SNAPSHOT),
        expiration=pl.lit("2024-04-10").str.to_date(),
        exercise_style=pl.lit(style),
        minutes_to_expiry=pl.lit(MINUTES),
        underlying_price=pl.lit(100.0),
        rate=pl.lit(RATE),
        quote_age_s=pl.lit(1.0),
    )
    return frame.with_columns(**{name: pl.lit(value) for name, value in overrides.items()})


def row(frame: pl.DataFrame, strike: float, option_type: str) -> dict[str, Any]:
    return frame.filter((pl.col("strike") == strike) & (pl.col("option_type") == option_type)).row(0, named=True)


def replaced(frame: pl.DataFrame, at_strike: float, of_type: str, /, **values: Any) -> pl.DataFrame:
    """`frame` with other values in the columns of one contract."""
    here = (pl.col("strike") == at_strike) & (pl.col("option_type") == of_type)
    return frame.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)).cast(frame.schema[name]).alias(name)
        for name, value in values.items()
    )
