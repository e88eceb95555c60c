"""How far back a feature row may look, and so which stored bars its computation needs.

Every recursion (EMA, Wilder averages) starts on a calendar date that depends on the row's session alone, never on
how a backfill was cut; that is why any cutting gives the same bytes. Each start leaves room for the longest
warm-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from strategy_pipeline.errors import PipelineError
from strategy_pipeline.market import calendar

# Prior sessions of the same type against which volume is compared, and how many of them must have data
# (detectors.md section 2, rvol).
VOLUME_SESSIONS = 20
MIN_VOLUME_SESSIONS = {"full": 10, "half": 3}

FEATURE_TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")
# Bars of the timeframes that give a row its suffixed columns. Those finer than the row are not read: detectors.md
# section 2 substitutes them ("coarser data"). 15m bars also hold the inside of a session for 1h and 4h rows.
CONTEXT_TIMEFRAMES = {
    "1m": ("5m", "15m", "1h", "1d"),
    "5m": ("15m", "1h", "1d"),
    "15m": ("5m", "1h", "1d"),
    "1h": ("15m", "1d"),
    "4h": ("15m", "1d"),
    "1d": (),
}


@dataclass(frozen=True)
class BarsNeeded:
    """Stored bars of one timeframe that a computation reads; `symbols` is None for all of the watchlist."""

    timeframe: str
    sessions: tuple[date, ...]
    symbols: tuple[str, ...] | None = None


def lookback_start(timeframe: str, session: date) -> date:
    """The calendar date from which bars of `timeframe` count for a row of `session`.

    1m, 5m: first day of the previous month (EMA200 needs 891 bars: 3 and 12 sessions). 15m: first day of the month
    before that (35 sessions). 1h: 1 January of the previous year (128 sessions). 4h: two years before (446 sessions).
    1d: four years before (891 sessions). Raises PipelineError for a timeframe without features.
    """
    if timeframe not in FEATURE_TIMEFRAMES:
        raise PipelineError(f"There are no features at {timeframe!r}: use one of {', '.join(FEATURE_TIMEFRAMES)}.")
    years = {"1h": 1, "4h": 2, "1d": 4}
    if timeframe in years:
        return date(session.year - years[timeframe], 1, 1)
    months = session.year * 12 + session.month - 1 - (2 if timeframe == "15m" else 1)
    return date(months // 12, months % 12 + 1, 1)


def context_start(timeframe: str, row_timeframe: str, session: date) -> date:
    """As ``lookback_start`` for the bars behind a suffixed column.

    The daily columns of intraday rows (ATR14: 109 bars) are content with the previous year.
    """
    if timeframe == "1d" and row_timeframe != "1d":
        return lookback_start("1h", session)
    return lookback_start(timeframe, session)


def volume_sessions(session: date) -> list[date]:
    """The 20 exchange sessions of the same type (full or half) before `session`, oldest first.

    Half days are some two a year, so theirs reach back about ten years. Fewer where the calendar begins.
    """
    kind = calendar.session(session).session_type
    if kind == "half":
        return [day for day in calendar.half_days() if day < session][-VOLUME_SESSIONS:]
    # Three half days at most fall into any stretch of 20 sessions; 30 more calendar days are room enough.
    recent = calendar.sessions_between(session - timedelta(days=45), session - timedelta(days=1))
    return [day for day in recent if calendar.session(day).session_type == "full"][-VOLUME_SESSIONS:]


def sessions_in_reach(timeframe: str, session: date) -> list[date]:
    """Every session whose bars may decide a feature row of `timeframe` on `session`, itself included, oldest first."""
    others = CONTEXT_TIMEFRAMES[timeframe] if timeframe == "1d" else (*CONTEXT_TIMEFRAMES[timeframe], "1h")
    start = min([lookback_start(timeframe, session), *(context_start(name, timeframe, session) for name in others)])
    recent = calendar.sessions_between(start, session)
    if timeframe == "1d" or not recent:
        return recent
    return [*(day for day in volume_sessions(session) if day < recent[0]), *recent]


def bars_needed(timeframe: str, sessions: Sequence[date], instruments: pl.DataFrame) -> list[BarsNeeded]:
    """The stored bars that ``compute_features`` must be given for rows of `timeframe` on `sessions`.

    `instruments`: ``market.symbols.instruments_frame``. More bars never change the result. Minute bars are needed for
    minute rows, and otherwise only where an index is weighted by the minutes of its proxy (session VWAP).
    """
    wanted: dict[str, set[date]] = {}
    for session in sessions:
        spans = {timeframe: lookback_start(timeframe, session)}
        for other in CONTEXT_TIMEFRAMES[timeframe]:
            spans[other] = context_start(other, timeframe, session)
        if timeframe != "1d":
            # A symbol without a daily file has its previous session summed up from hours.
            spans["1h"] = min(lookback_start("1h", session), spans.get("1h", session))
        for name, start in spans.items():
            wanted.setdefault(name, set()).update(calendar.sessions_between(start, session))
        if timeframe != "1d":
            for name in (timeframe, "15m") if timeframe in ("1h", "4h") else (timeframe,):
                wanted[name].update(volume_sessions(session))
    needed = [BarsNeeded(name, tuple(sorted(days))) for name, days in wanted.items()]
    indexed = instruments.filter((pl.col("asset_class") == "INDEX") & pl.col("rvol_symbol").is_not_null())
    if timeframe not in ("1m", "1d") and not indexed.is_empty():
        symbols = sorted({*indexed["symbol"].to_list(), *indexed["rvol_symbol"].to_list()})
        needed.append(BarsNeeded("1m", tuple(sorted(set(sessions))), tuple(symbols)))
    return sorted(needed, key=lambda one: FEATURE_TIMEFRAMES.index(one.timeframe))
