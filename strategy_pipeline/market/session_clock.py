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
    moments = _us(instants.fill_null(frame["open"][0]))
    at = np.searchsorted(opened, moments, side="right") - 1
    place = np.maximum(at, 0)
    passed = np.where(at < 0, 0, before[place] + np.minimum(moments - opened[place], (closed - opened)[place]))
    return _unless_null(instants, pl.Series(passed, dtype=pl.Int64), "session_us")


def instant_of(passed: pl.Series) -> pl.Series:
    """The first instant, UTC, by which so many microseconds of regular hours have passed; the inverse of session_us."""
    frame = session_frame()
    opened, closed = _us(frame["open"]), _us(frame["close"])
    after = np.cumsum(closed - opened)
    wanted = passed.to_numpy()
    place = np.minimum(np.searchsorted(after, wanted, side="left"), frame.height - 1)
    found = closed[place] - (after[place] - wanted)
    return pl.Series("instant", found, dtype=pl.Int64).cast(frame.schema["open"])


def session_of(instants: pl.Series) -> pl.Series:
    """The session each instant belongs to: that of its New York date, or the last one before when that is none.

    Null for null.
    """
    known = session_frame()["session"]
    days = instants.dt.convert_time_zone(NEW_YORK.key).dt.date()
    at = np.searchsorted(known.to_numpy(), days.fill_null(known[0]).to_numpy(), side="right") - 1
    return _unless_null(instants, known.gather(np.maximum(at, 0)), "session")


def session_number(sessions: pl.Series) -> pl.Series:
    """The place of each session in the calendar, so that differences count sessions; null for null."""
    known = session_frame()["session"]
    found = known.search_sorted(sessions.fill_null(known[0])).cast(pl.Int64)
    return _unless_null(sessions, found, "session_number")


def _unless_null(given: pl.Series, found: pl.Series, name: str) -> pl.Series:
    if not given.null_count():
        return found.alias(name)
    return pl.select(pl.when(given.is_not_null()).then(found)).to_series().alias(name)


def close_of(sessions: pl.Series) -> pl.Series:
    """When each session closes, UTC; null for null."""
    return _of_sessions(sessions, "close", 0)


def next_open_of(sessions: pl.Series) -> pl.Series:
    """When the session after each one opens, UTC; null for null."""
    return _of_sessions(sessions, "open", 1)


def _of_sessions(sessions: pl.Series, column: str, later: int) -> pl.Series:
    frame = session_frame()
    place = np.minimum(session_number(sessions).fill_null(0).to_numpy() + later, frame.height - 1)
    return _unless_null(sessions, frame[column].gather(place), column)
