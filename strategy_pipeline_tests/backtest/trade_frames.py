"""Small `backtest_trades`, `signal_dispositions`, coverage and profit frames for tests of statistics and reports."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from strategy_pipeline.lake.tables import TIME_WINDOWS

FIRST_DAY = date(2024, 1, 2)


def weekdays(count: int, first: date = FIRST_DAY) -> list[date]:
    """The first `count` weekdays from `first`; holidays do not matter here."""
    days: list[date] = []
    day = first
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return days


def session_axis(count: int) -> pl.DataFrame:
    return pl.DataFrame({"session": weekdays(count), "minutes": [390] * count})


def trades_of(
    r_net: Sequence[float],
    *,
    detector: str = "breakout_long",
    sessions: Sequence[date] | None = None,
    cost_r: float = 0.1,
    symbols: Sequence[str] = ("SPY",),
    ambiguous: Sequence[bool] | None = None,
    regimes: Sequence[str | None] = (None,),
) -> pl.DataFrame:
    """Trades with the given net R and constant cost; without `sessions` one trade a day. 1 R is 500 $."""
    n = len(r_net)
    days = list(sessions) if sessions is not None else weekdays(n)
    flags = list(ambiguous) if ambiguous is not None else [False] * n
    ends = [datetime(day.year, day.month, day.day, 15, tzinfo=UTC) + timedelta(seconds=i) for i, day in enumerate(days)]
    net = np.array(r_net, dtype=float)
    return pl.DataFrame(
        {
            "run_id": ["run"] * n,
            "trade_id": [f"{detector}-{i:05d}" for i in range(n)],
            "detector": [detector] * n,
            "symbol": [symbols[i % len(symbols)] for i in range(n)],
            "asset_class": ["EQUITY_ETF"] * n,
            "direction": ["LONG"] * n,
            "session": days,
            "signal_bar_end": ends,
            "score": [40.0 + (7 * i) % 60 for i in range(n)],
            "entry_basis": ["strict"] * n,
            "exit_at": [end + timedelta(minutes=45) for end in ends],
            "exit_reason": [("TARGET" if r > 0 else "STOP") for r in net],
            "bars_held": [3] * n,
            "minutes_held": [45.0] * n,
            "notional_usd": [50_000.0] * n,
            "size_capped": [False] * n,
            "pnl_net": net * 500.0,
            "pnl_gross": (net + cost_r) * 500.0,
            "return_net_pct": net * 1.5,
            "r_gross": net + cost_r,
            "r_net": net,
            "cost_r": [cost_r] * n,
            "gap_exit": [False] * n,
            "ambiguous": flags,
            "r_best": np.where(flags, np.maximum(net, 2.5), net),
            "r_worst": np.where(flags, np.minimum(net, -1.1), net),
            "dte_bucket": [None] * n,
            "regime_at_signal": [regimes[i % len(regimes)] for i in range(n)],
            "vix_regime": [None] * n,
            "iv_regime_at_signal": [None] * n,
            "dealer_positioning_at_signal": [None] * n,
            "time_window": [TIME_WINDOWS[i % len(TIME_WINDOWS)] for i in range(n)],
        },
        schema_overrides={
            "session": pl.Date,
            "score": pl.Float64,
            "bars_held": pl.Int32,
            "dte_bucket": pl.String,
            "regime_at_signal": pl.String,
            "vix_regime": pl.String,
            "iv_regime_at_signal": pl.String,
            "dealer_positioning_at_signal": pl.String,
            "r_net": pl.Float64,
            **{name: pl.String for name in ("run_id", "trade_id", "detector", "symbol", "exit_reason", "time_window")},
            **{name: pl.String for name in ("asset_class", "direction", "entry_basis")},
            **{name: pl.Boolean for name in ("size_capped", "gap_exit", "ambiguous")},
            **{name: pl.Float64 for name in ("minutes_held", "notional_usd", "cost_r")},
            "signal_bar_end": pl.Datetime("us", "UTC"),
            "exit_at": pl.Datetime("us", "UTC"),
        },
    )


def dispositions_of(trades: pl.DataFrame, *, suppressed: int = 2) -> pl.DataFrame:
    """One taken signal per trade, and a few suppressed ones per detector that traded."""
    taken = trades.select("detector", "symbol", disposition=pl.lit("taken"))
    extra = trades.select("detector", "symbol").group_by("detector", maintain_order=True).first()
    return pl.concat([taken, *[extra.with_columns(disposition=pl.lit("suppressed_open_position"))] * suppressed])


def coverage_of(*rows: tuple[str, int, int, list[str]]) -> pl.DataFrame:
    """Rows of (detector, eligible symbol-sessions, covered ones, missing inputs)."""
    return pl.DataFrame(
        list(rows),
        schema={
            "detector": pl.String,
            "eligible_symbol_sessions": pl.Int64,
            "covered_symbol_sessions": pl.Int64,
            "missing_inputs": pl.List(pl.String),
        },
        orient="row",
    )


def daily_profit_of(trades: pl.DataFrame) -> pl.DataFrame:
    """All profit of a trade on its own session."""
    return trades.group_by("detector", "session").agg(pnl_usd=pl.col("pnl_net").sum()).sort("detector", "session")
