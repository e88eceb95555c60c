"""Realised volatility from daily bars, six estimators of it.

What belongs here: the estimators and their windows over exchange sessions. Bars come on one share basis
(adjustment.py); what realised volatility is compared with is atm_implied_volatility.py's business.
"""

from collections.abc import Sequence
from datetime import date
from math import log, sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import INSTANT, RV_ESTIMATORS, RV_STATUSES
from strategy_pipeline.market import calendar

# Those that see the move from one close to the next open; only they may be compared with implied volatility.
ESTIMATORS_WITH_OVERNIGHT = ("close_close", "garman_klass_yang_zhang", "yang_zhang")
SESSIONS_PER_YEAR = 252
RV_SESSIONS = 21

Floats = NDArray[np.float64]


def yang_zhang_weight(count: int) -> float:
    """Weight k of the close-to-close variance for `count` bars (Yang and Zhang, Journal of Business 73, 2000)."""
    return 0.34 / (1.34 + (count + 1) / (count - 1))


def realised_variance(
    open: Floats, high: Floats, low: Floats, close: Floats, previous_close: Floats, estimator: str
) -> Floats:
    """Variance per session from the bars along the last axis; times 252 it is annual.

    Prices are $ or points, each bar with the close before it, all on one share basis; at least two bars. Raises
    DataError for an unknown estimator. Source: quant_methods.md section 8.
    """
    if estimator not in RV_ESTIMATORS:
        raise DataError(f"{estimator!r} is no estimator of volatility: use one of {', '.join(RV_ESTIMATORS)}.")
    up, down, inside = np.log(high / open), np.log(low / open), np.log(close / open)
    overnight, height = np.log(open / previous_close), np.log(high / low)
    garman_klass = 0.5 * height**2 - (2.0 * log(2.0) - 1.0) * inside**2
    rogers_satchell = np.mean(up * (up - inside) + down * (down - inside), axis=-1)
    if estimator == "close_close":
        return np.asarray(np.var(np.log(close / previous_close), axis=-1, ddof=1))
    if estimator == "parkinson":
        return np.asarray(np.mean(height**2, axis=-1) / (4.0 * log(2.0)))
    if estimator == "garman_klass":
        return np.asarray(np.mean(garman_klass, axis=-1))
    if estimator == "rogers_satchell":
        return np.asarray(rogers_satchell)
    if estimator == "garman_klass_yang_zhang":
        return np.asarray(np.mean(overnight**2 + garman_klass, axis=-1))
    weight = yang_zhang_weight(close.shape[-1])
    spread = np.var(overnight, axis=-1, ddof=1) + weight * np.var(inside, axis=-1, ddof=1)
    return np.asarray(spread + (1.0 - weight) * rogers_satchell)


def realised_volatility(
    bars: pl.DataFrame, sessions: Sequence[date], estimator: str, window: int = RV_SESSIONS
) -> pl.DataFrame:
    """Volatility of the `window` sessions that end with each of `sessions`.

    Returns symbol, session, rv, rv_status and rv_known_at.
    bars: daily rows with symbol, session, open, high, low, close (one share basis) and available_at. `rv` is decimal
        per root year; it needs a bar in every session of the window and the close before it, else it is null with
        the status missing_input. `rv_known_at` is the newest available_at among those bars. One row per symbol of
        `bars` and session asked for, sorted.
    Raises DataError for an unknown estimator or a window under two sessions.
    """
    if window < 2:
        raise DataError(f"A window of {window} sessions has no variance: take at least 2.")
    rows: list[tuple[object, ...]] = []
    for (symbol,), own in bars.sort("symbol", "session").group_by("symbol", maintain_order=True):
        place = {day: at for at, day in enumerate(own["session"])}
        prices = {name: own[name].cast(pl.Float64).to_numpy() for name in ("open", "high", "low", "close")}
        known = own["available_at"]
        for day in sorted(sessions):
            at = place.get(day, -1)
            first = at - window
            # Bars lie one a session, so the window is whole when its first bar is the right number of sessions back.
            if at < 0 or first < 0 or own["session"][first] != calendar.session_offset(day, -window):
                rows.append((symbol, day, None, "missing_input", None))
                continue
            part = slice(first + 1, at + 1)
            bar_open, high, low, close = (prices[name][part] for name in ("open", "high", "low", "close"))
            variance = float(realised_variance(bar_open, high, low, close, prices["close"][first:at], estimator))
            rows.append((symbol, day, sqrt(SESSIONS_PER_YEAR * variance), "ok", known[first : at + 1].max()))
    return pl.DataFrame(
        rows,
        schema={
            "symbol": pl.String,
            "session": pl.Date,
            "rv": pl.Float64,
            "rv_status": pl.Enum(RV_STATUSES),
            "rv_known_at": INSTANT,
        },
        orient="row",
    )
