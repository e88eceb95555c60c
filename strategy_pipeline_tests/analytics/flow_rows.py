"""Crafted rows of ``options_flow_history``: what a window reads is chosen by the test, the rest is ordinary."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from strategy_pipeline.lake.tables import OPTIONS_FLOW_HISTORY
from strategy_pipeline.market import calendar
from strategy_pipeline.market.session_clock import session_of

NOON = datetime(2024, 6, 3, 16, 0, tzinfo=UTC)
_ORDINARY = {
    "sequence": 0, "sequence_source": "ordinal", "symbol": "SPY", "strike": 530.0,
    "expiration": datetime(2024, 12, 20).date(), "option_type": "call", "dte": 100, "price": 1.0, "size": 10,
    "multiplier": 100.0, "premium_usd": 1_000.0, "bid": None, "ask": None, "nbbo_age_ms": None,
    "underlying_price": None, "delta": None, "aggressor_sign": 1.0, "exclusion_class": "none",
    "aggressiveness": None, "trade_type": "REGULAR", "is_sweep": False, "is_block": False, "is_above_ask": None,
    "is_below_bid": None, "is_unusual_volume": None, "cluster_id": None, "size_percentile_pct": None,
    "premium_percentile_pct": None, "opening_likelihood": None, "exchange_id": 1, "condition_ids": [],
    "conditions_version": "test", "source": "synthetic", "quality": "final", "quality_flags": [],
    "ingested_at": datetime(2030, 1, 1, tzinfo=UTC), "revision": 0, "definition_version": "flow-1",
}  # fmt: skip


def trades(*rows: dict) -> pl.DataFrame:
    """Prints that differ from an ordinary call bought for $1000 at noon in what each row says."""
    filled = []
    for number, given in enumerate(rows):
        row = _ORDINARY | {"contract_ticker": f"O:X{number:05}", "sip_timestamp": NOON} | given
        row.setdefault("available_at", row["sip_timestamp"])
        row["sip_timestamp_ns"] = int(row["sip_timestamp"].timestamp()) * 1_000_000_000
        sign = row["aggressor_sign"]
        side = 0 if sign is None else sign * (1 if row["option_type"] == "call" else -1)
        row["sentiment"] = (
            "UNKNOWN" if sign is None else "BULLISH" if side > 0 else "BEARISH" if side < 0 else "NEUTRAL"
        )
        filled.append(row)
    schema = OPTIONS_FLOW_HISTORY.polars_schema
    stored = pl.Schema({name: kind for name, kind in schema.items() if name != "session"})
    frame = pl.DataFrame([{name: row.get(name) for name in stored} for row in filled], schema=stored)
    return frame.with_columns(session=session_of(frame["sip_timestamp"])).select(schema.names())


def random_trades(count: int, seed: int, symbols: tuple[str, ...] = ("SPY", "AAA")) -> pl.DataFrame:
    """A seeded tape over four sessions around the half day of 2024-11-29, some of it known late."""
    rng = np.random.default_rng(seed)
    days = calendar.sessions_between(datetime(2024, 11, 26).date(), datetime(2024, 12, 2).date())
    rows = []
    for _ in range(count):
        hours = calendar.session(days[rng.integers(len(days))])
        printed = hours.open + timedelta(seconds=int(rng.integers(0, hours.minutes * 60)))
        lag = [0.0, 0.05, 2.0, 7_200.0, 90_000.0][rng.integers(5)] if rng.random() < 0.4 else 0.0
        sign = [None, -1.0, -0.5, 0.0, 0.5, 1.0][rng.integers(6)]
        rows.append(
            {
                "symbol": symbols[rng.integers(len(symbols))],
                "sip_timestamp": printed,
                "available_at": printed + timedelta(seconds=lag),
                "option_type": ["call", "put"][rng.integers(2)],
                "premium_usd": float(np.round(rng.lognormal(9, 1.5), 2)) + 0.01,
                "aggressor_sign": sign,
                "is_sweep": [None, True, False][rng.integers(3)],
                "is_block": [None, True, False, False][rng.integers(4)],
                "exclusion_class": "none" if sign is not None or rng.random() < 0.7 else "cross",
            }
        )
    return trades(*rows)
