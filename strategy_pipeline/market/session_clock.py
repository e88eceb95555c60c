"""Time as markets count it, for whole columns: minutes and sessions between two instants.

Nights, weekends and holidays take no time here, and a half day takes what it lasts. Which days are sessions is
calendar.py's business.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.market.calendar import NEW_YORK, session_frame

MINUTE_US = 60_000_000

Ints = NDArray[np.int64]


def _us(instants: pl.Series) -> Ints:
    return instants.dt.timestamp("us").to_numpy()


def session_us(instants: pl.Series) -> pl.Series:
    """Microseconds of regular hours from the calendar's beginning to each instant; whole numbers, null for null.

    The difference of two is the session time between them, exactly.
    """
    frame = session_frame()
    opened, closed = _us(frame["open"]), _us(frame["close"])
    before = np.concatenate([[0], np.cumsum(closed - opened)])
    known = instants.is_not_null()
    moments = _us(instants.filter(known))
    at = np.searchsorted(opened, moments, side="right") - 1
    place = np.maximum(at, 0)
    passed = np.where(at < 0, 0, before[place] + np.minimum(moments - opened[place], (closed - opened)[place]))
    if known.all():
        return pl.Series("session_us", passed, dtype=pl.Int64)
    laid = np.zeros(len(instants), dtype=np.int64)
    laid[known.to_numpy()] = passed
    return pl.select(pl.when(known).then(pl.Series(laid))).to_series().alias("session_us")


def session_of(instants: pl.Series) -> pl.Series:
    """The session each instant belongs to: that of its New York date, or the last one before when that is none."""
    known = session_frame()["session"]
    days = instants.dt.convert_time_zone(NEW_YORK.key).dt.date()
    at = np.searchsorted(known.to_numpy(), days.to_numpy(), side="right") - 1
    return known.gather(np.maximum(at, 0)).alias("session")


def session_number(sessions: pl.Series) -> pl.Series:
    """The place of each session in the calendar, so that differences count sessions; null for null."""
    known = session_frame()["session"]
    found = known.search_sorted(sessions.fill_null(known[0])).cast(pl.Int64)
    return pl.select(pl.when(sessions.is_not_null()).then(found)).to_series().alias("session_number")
