"""Volume of a session so far against the same minute of earlier sessions of the same type.

The comparison runs over exchange sessions by the calendar, so it does not depend on which other rows are computed.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.analytics.lookback import MIN_VOLUME_SESSIONS, volume_sessions
from strategy_pipeline.market import calendar

Floats = NDArray[np.float64]


def relative_volume(rows: pl.DataFrame, bars: pl.DataFrame, sessions: Sequence[date], grid_minutes: int) -> pl.Series:
    """Cumulative volume to each row's bar_end / mean at the same minute over the 20 prior sessions of its type; ratio.

    `rows`: rvol_symbol, session, minutes_since_open. `bars`: symbol, session, minute_start, minute_end (since the
    open) and volume on one share basis; windows must not overlap, ends lie on multiples of `grid_minutes`. A
    session counts when it has bars and none of them straddles the minute; at least 10 full or 3 half sessions must
    count. Null without volume of the row's own session, without enough sessions, or when their mean is 0. Source:
    detectors.md section 2.
    """
    result = np.full(rows.height, np.nan)
    position = pl.int_range(pl.len(), dtype=pl.Int64).alias("_row")
    indexed = rows.select("rvol_symbol", "session", "minutes_since_open", position).filter(
        pl.col("rvol_symbol").is_not_null()
    )
    volumes = bars.filter(pl.col("volume").is_not_null())
    symbols = indexed["rvol_symbol"].unique().cast(pl.String).sort().to_list()
    for kind, minutes in (("full", 390), ("half", 210)):
        wanted = [day for day in sessions if calendar.session(day).session_type == kind]
        if not wanted or not symbols:
            continue
        lookback = {day: volume_sessions(day) for day in wanted}
        days = sorted({*wanted, *(day for earlier in lookback.values() for day in earlier)})
        slots = minutes // grid_minutes
        ratio = _ratios(
            _cumulative(volumes, symbols, days, slots, grid_minutes), days, wanted, lookback, MIN_VOLUME_SESSIONS[kind]
        )
        mine = indexed.filter(
            pl.col("session").is_in(wanted) & pl.col("minutes_since_open").is_between(grid_minutes, minutes)
        )
        at = (_codes(mine["rvol_symbol"], symbols), _days(mine["session"], wanted))
        slot = mine["minutes_since_open"].to_numpy() // grid_minutes - 1
        result[mine["_row"].to_numpy()] = ratio[at[0], at[1], slot]
    return pl.Series("rvol", result).fill_nan(None)


def _codes(names: pl.Series, symbols: list[str]) -> NDArray[np.int64]:
    return names.cast(pl.String).cast(pl.Enum(symbols)).to_physical().cast(pl.Int64).to_numpy()


def _days(sessions: pl.Series, days: list[date]) -> NDArray[np.int64]:
    return np.searchsorted(pl.Series(days, dtype=pl.Date).to_numpy(), sessions.to_numpy()).astype(np.int64)


def _cumulative(
    bars: pl.DataFrame, symbols: list[str], days: list[date], slots: int, grid: int
) -> tuple[Floats, Floats]:
    """Volume up to each slot's end, [symbol, day, slot], of a running session and of a finished one.

    NaN inside a bar; while nothing has traded yet (running); where nothing traded at all (finished).
    """
    used = bars.filter(pl.col("symbol").cast(pl.String).is_in(symbols) & pl.col("session").is_in(days))
    shape = (len(symbols), len(days), slots)
    traded, seen = np.zeros(shape), np.zeros(shape, dtype=bool)
    straddled = np.zeros(shape, dtype=bool)
    code, day = _codes(used["symbol"], symbols), _days(used["session"], days)
    first = np.maximum(used["minute_start"].to_numpy() // grid, 0)
    last = np.minimum(-(-used["minute_end"].to_numpy() // grid) - 1, slots - 1)
    traded[code, day, last] = used["volume"].to_numpy()
    seen[code, day, last] = True
    widest = int((last - first).max()) if len(last) else 0
    for step in range(widest):
        inside = first + step < last
        straddled[code[inside], day[inside], (first + step)[inside]] = True
    total = np.cumsum(traded, axis=2)
    running = np.where(np.logical_or.accumulate(seen, axis=2) & ~straddled, total, np.nan)
    finished = np.where(seen.any(axis=2, keepdims=True) & ~straddled, total, np.nan)
    return running, finished


def _ratios(
    cumulative: tuple[Floats, Floats],
    days: list[date],
    wanted: list[date],
    lookback: dict[date, list[date]],
    minimum: int,
) -> Floats:
    """Ratio for each [symbol, wanted day, slot]; NaN where there is none."""
    running, finished = cumulative
    place = {day: n for n, day in enumerate(days)}
    ratio = np.full((running.shape[0], len(wanted), running.shape[2]), np.nan)
    for n, day in enumerate(wanted):
        total = np.zeros((running.shape[0], running.shape[2]))
        count = np.zeros_like(total)
        # Added one after another: the order of additions, and so the last bit, is the same however a run is cut.
        for earlier in lookback[day]:
            volume = finished[:, place[earlier], :]
            known = ~np.isnan(volume)
            total[known] += volume[known]
            count += known
        enough = (count >= minimum) & (total > 0)
        np.divide(running[:, place[day], :] * count, total, out=ratio[:, n, :], where=enough)
    return ratio
