"""Chains at the close for the volatility tests: a known smile per expiry in the columns of historical_greeks."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from math import log, sqrt

import numpy as np
import polars as pl

from strategy_pipeline.lake.tables import ATM_IV_DAILY, HISTORICAL_GREEKS
from strategy_pipeline.market.calendar import session
from strategy_pipeline.pricing.black_scholes import price_and_greeks

DAY = date(2015, 6, 1)
SPOT, RATE, CARRY = 100.0, 0.01, 0.02
EARLY = datetime(2015, 6, 2, 12, tzinfo=UTC)


def chain(
    smiles: Mapping[float, Callable[[float], float]], day: date = DAY, symbol: str = "SPY", step: float = 1.0
) -> pl.DataFrame:
    """A chain in which the expiry after so many days has the volatility smile(k), k = ln(K/F); strikes 50 to 150."""
    at = session(day).close
    strikes = np.arange(50.0, 150.0 + step, step)
    pieces = []
    for days, smile in smiles.items():
        years = days / 365.0
        forward = SPOT * np.exp((RATE - CARRY) * years)
        iv = np.array([smile(log(strike / forward)) for strike in strikes])
        for side in ("call", "put"):
            greeks = price_and_greeks(SPOT, strikes, years, RATE, CARRY, iv, side == "call")
            pieces.append(
                pl.DataFrame(
                    {
                        "strike": strikes,
                        "iv": iv,
                        "delta": greeks.delta,
                        "gamma": greeks.gamma,
                        "bid": np.round(greeks.price, 6),
                        "ask": np.round(greeks.price, 6),
                        "mid": np.where(greeks.price > 1e-6, np.round(greeks.price, 6), np.nan),
                    }
                ).with_columns(
                    option_type=pl.lit(side),
                    expiration=pl.lit(day + timedelta(days=round(days))),
                    minutes_to_expiry=pl.lit(days * 1440.0),
                    forward=pl.lit(forward),
                )
            )
    frame = pl.concat(pieces).with_columns(
        pl.format("O:{}{}{}{}", pl.lit(symbol), pl.col("expiration").dt.strftime("%y%m%d"),
                  pl.col("option_type").str.head(1).str.to_uppercase(),
                  (pl.col("strike") * 1000).cast(pl.Int64).cast(pl.String).str.zfill(8)).alias("contract_ticker"),
        mid=pl.col("mid").fill_nan(None).replace(0.0, None),
        dte=pl.col("minutes_to_expiry").floordiv(1440).cast(pl.Int32),
        snapshot_at=pl.lit(at), symbol=pl.lit(symbol), session=pl.lit(day), exercise_style=pl.lit("european"),
        settlement=pl.lit("pm"), multiplier=pl.lit(100.0), underlying_price=pl.lit(SPOT), rate=pl.lit(RATE),
        carry=pl.lit(CARRY), iv_status=pl.lit("ok"), iv_source=pl.lit("quote_mid"),
        exercise_model=pl.lit("european"), source=pl.lit("flat_file"), quality=pl.lit("final"),
        quality_flags=pl.lit([], dtype=pl.List(pl.String)), available_at=pl.lit(at + timedelta(seconds=2)),
        ingested_at=pl.lit(EARLY), revision=pl.lit(0), definition_version=pl.lit("test"),
    )  # fmt: skip
    wanted = HISTORICAL_GREEKS.polars_schema
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in wanted.items() if name not in frame.columns]
    return frame.with_columns(missing).select(wanted.names()).cast(wanted)


def flat(volatility: float) -> Callable[[float], float]:
    return lambda _k: volatility


def skewed(volatility: float, per_year_root: float = 0.4, days: float = 30.0) -> Callable[[float], float]:
    """Total variance that is linear in k, so that reading between strikes is exact."""
    years = days / 365.0
    return lambda k: sqrt(max(volatility**2 * years - per_year_root * volatility * years * k, 1e-8) / years)


def daily_row(day: date, iv: float | None, **columns: object) -> dict[str, object]:
    """A row of atm_iv_daily whose values do not matter beyond those given."""
    close = session(day).close
    row: dict[str, object] = dict.fromkeys(ATM_IV_DAILY.polars_schema)
    row |= {
        "symbol": "SPY", "session": day, "snapshot_at": close, "cm30_atm_iv": iv,
        "cm30_status": "insufficient" if iv is None else "ok", "cm90_status": "insufficient",
        "skew_status": "insufficient", "rv_status": "missing_input", "rv_estimator": "close_close",
        "source": "derived", "quality": "final", "quality_flags": [], "available_at": close + timedelta(seconds=2),
        "ingested_at": close + timedelta(hours=12), "revision": 0, "definition_version": "test",
    }  # fmt: skip
    return row | columns


def daily_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=ATM_IV_DAILY.polars_schema, orient="row")
