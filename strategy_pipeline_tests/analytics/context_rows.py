"""Rows of the tables that feature rows are joined to, from what a test cares about; the rest has ordinary values."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.lake.tables import (
    FEATURES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    INSTANT,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    QUOTED_SPREADS,
    Table,
)
from strategy_pipeline.market.calendar import at_new_york, previous_session, session
from strategy_pipeline.market.options import expires_at
from strategy_pipeline.market.timeframes import BAR_LAG

_COMMON = {
    "source": "synthetic", "quality": "final", "quality_flags": [], "revision": 0, "definition_version": "test",
    "ingested_at": datetime(2030, 1, 1, tzinfo=UTC),
}  # fmt: skip


def _rows(table: Table, rows: list[dict[str, Any]], ordinary: Mapping[str, Any]) -> pl.DataFrame:
    filled = [{name: ({**_COMMON, **ordinary} | row).get(name) for name in table.polars_schema} for row in rows]
    return pl.DataFrame(filled, schema=table.polars_schema, orient="row")


def at(day: date, minute: float) -> datetime:
    """The instant `minute` minutes after the session's open."""
    return session(day).open + timedelta(minutes=minute)


def asked(*moments: tuple[str, date, float], prev_close: float | None = 100.0) -> pl.DataFrame:
    """What is read of feature rows, at (symbol, session, minutes since the open)."""
    frame = pl.DataFrame(
        [(symbol, day, at(day, minute)) for symbol, day, minute in moments],
        schema={"symbol": pl.String, "session": pl.Date, "bar_end": INSTANT},
        orient="row",
    )
    return frame.with_columns(
        available_at=pl.col("bar_end") + BAR_LAG, prev_close=pl.lit(prev_close, dtype=FEATURES.polars_schema["close"])
    )


def gamma_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    """Snapshots; each names session and minute, and what it says."""
    ordinary = {
        "symbol": "SPX", "sign_convention": "A", "status": "ok", "flip_status": "no_crossing", "gex_by_strike": [],
        "oi_by_strike": [], "volume_by_strike": [], "expirations_included": [], "contracts_used": 2,
        "oi_coverage_pct": 100.0,
    }  # fmt: skip
    filled = []
    for row in rows:
        taken = at(row["session"], row["minute"])
        given = {"snapshot_at": taken, "available_at": taken, "oi_session": previous_session(row["session"]), **row}
        filled.append(given | ({"flip_status": "ok"} if "gamma_flip" in row else {}))
    return _rows(GAMMA_EXPOSURE_SNAPSHOTS, filled, ordinary)


def contract_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    """Contracts; each names session, strike, option_type, expiration, and settlement unless it is pm."""
    filled = []
    for row in rows:
        given = {"symbol": "SPX", "settlement": "pm", "root": "SPXW", **row}
        letter = "C" if given["option_type"] == "call" else "P"
        ticker = f"O:{given['root']}{given['expiration']:%y%m%d}{letter}{round(given['strike'] * 1000):08}"
        ends = expires_at(given["expiration"], given["settlement"])
        known = at_new_york(given["session"], time(6, 30))
        filled.append({"contract_ticker": ticker, "expires_at": ends, "available_at": known, **given})
    return _rows(OPTION_CONTRACTS, filled, {"exercise_style": "european", "multiplier": 100.0})


def interest_rows(contracts: pl.DataFrame, sizes: list[int]) -> pl.DataFrame:
    """Open interest of `contracts`, published at 06:30 of their session."""
    filled = [
        {
            "session": day, "contract_ticker": ticker, "symbol": symbol, "open_interest": size,
            "oi_session": previous_session(day), "available_at": at_new_york(day, time(6, 30)),
        }
        for (day, ticker, symbol), size in zip(
            contracts.select("session", "contract_ticker", "symbol").rows(), sizes, strict=True
        )
    ]  # fmt: skip
    return _rows(OPEN_INTEREST, filled, {})


def spread_rows(*rows: tuple[str, date, int, float, float]) -> pl.DataFrame:
    """Quotes at minute ends, three seconds old: symbol, session, minute, bid, ask."""
    filled = [
        {
            "symbol": symbol, "session": day, "minute_end": at(day, minute), "bid": bid, "ask": ask,
            "spread_pct": 200.0 * (ask - bid) / (ask + bid), "quote_at": at(day, minute) - timedelta(seconds=3),
            "available_at": at(day, minute) + BAR_LAG,
        }
        for symbol, day, minute, bid, ask in rows
    ]  # fmt: skip
    return _rows(QUOTED_SPREADS, filled, {})


def volume_rows(*rows: tuple[str, date, int, int, int, int]) -> pl.DataFrame:
    """Contracts so far: symbol, session, minute, near calls, near puts, all."""
    filled = [
        {
            "symbol": symbol, "session": day, "minute_end": at(day, minute), "call_volume": calls, "put_volume": puts,
            "total_volume": total, "available_at": at(day, minute) + BAR_LAG,
        }
        for symbol, day, minute, calls, puts, total in rows
    ]  # fmt: skip
    return _rows(OPTION_VOLUME_MINUTES, filled, {})


def _after_the_close(row: dict[str, Any]) -> dict[str, Any]:
    return {"available_at": at_new_york(row["session"], time(16, 15)), **row}


def percentile_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    """IV percentiles; each names session and iv_percentile_pct."""
    ordinary = {
        "symbol": "SPX", "cm30_atm_iv": 0.2, "cm30_status": "ok", "rank_clipped": False, "iv_regime": "NORMAL",
        "n_history": 252, "history_status": "ok",
    }  # fmt: skip
    return _rows(IV_PERCENTILE_CACHE, [_after_the_close(row) for row in rows], ordinary)


def regime_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    """Regimes; each names session and market_regime."""
    ordinary = {"tau": 0.1, "rule_fired": 11, "confidence": 0.5, "inputs_missing": []}
    return _rows(MARKET_REGIME_HISTORY, [_after_the_close(row) for row in rows], ordinary)
