"""XNYS sessions: which dates trade, when they open and close in UTC, and which are half days.

Everything in the project that needs "a trading day" asks here; nowhere else is a weekday, holiday or hour computed.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import polars as pl

from strategy_pipeline.errors import CalendarError
from strategy_pipeline.market import xnys

NEW_YORK = ZoneInfo("America/New_York")
OPEN_TIME, CLOSE_TIME, HALF_DAY_CLOSE_TIME = time(9, 30), time(16), time(13)
# Extended hours of US stocks as vendors print them: 04:00 to 20:00 New York, on half days too.
EXTENDED_OPEN_TIME, EXTENDED_CLOSE_TIME = time(4), time(20)
# Option chains are looked at this often; the grid counts from the open and ends with the close.
SNAPSHOT_MINUTES = 15
SESSION_TYPE_DTYPE = pl.Enum(["full", "half"])


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day of XNYS; `open` and `close` are UTC, `session_type` is ``full`` or ``half``."""

    day: date
    open: datetime
    close: datetime
    session_type: str

    @property
    def minutes(self) -> int:
        """Length of regular hours: 390, or 210 on a half day."""
        return int((self.close - self.open).total_seconds()) // 60


def _dates(table: tuple[tuple[str, str], ...]) -> list[date]:
    return [date.fromisoformat(f"{year}-{day}") for year, days in table for day in days.split()]


@cache
def _half_days() -> frozenset[date]:
    return frozenset(_dates(xnys.HALF_DAYS))


@cache
def _sessions() -> tuple[date, ...]:
    holidays = frozenset(_dates(xnys.HOLIDAYS))
    first, last = date(xnys.FIRST_YEAR, 1, 1), date(xnys.LAST_YEAR, 12, 31)
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return tuple(day for day in days if day.weekday() < 5 and day not in holidays)


def first_session() -> date:
    """The first session the calendar knows."""
    return _sessions()[0]


def last_session() -> date:
    """The last session the calendar knows."""
    return _sessions()[-1]


def _index(day: date) -> int:
    """Position of `day` among the sessions; raises CalendarError with the reason when it is none."""
    days = _sessions()
    at = bisect_left(days, day)
    if at < len(days) and days[at] == day:
        return at
    if not days[0] <= day <= days[-1]:
        raise CalendarError(f"{day} lies outside the calendar, which covers {days[0]} to {days[-1]}.")
    reason = "a weekend" if day.weekday() >= 5 else "an exchange holiday"
    raise CalendarError(f"{day} is {reason}, not a session; the next session is {days[at]}.")


def is_session(day: date) -> bool:
    """Whether the exchange holds regular hours on `day`."""
    days = _sessions()
    at = bisect_left(days, day)
    return at < len(days) and days[at] == day


@cache
def session(day: date) -> Session:
    """The session of `day`; raises CalendarError when the exchange is closed or the calendar does not reach there."""
    _index(day)
    half = day in _half_days()
    close = HALF_DAY_CLOSE_TIME if half else CLOSE_TIME
    return Session(day, at_new_york(day, OPEN_TIME), at_new_york(day, close), "half" if half else "full")


def at_new_york(day: date, moment: time) -> datetime:
    """The UTC instant of a New York wall-clock time on `day`, daylight saving included."""
    return datetime.combine(day, moment, NEW_YORK).astimezone(UTC)


def sessions_between(start: date, end: date) -> list[date]:
    """All sessions from `start` to `end`, both included; empty when there is none."""
    days = _sessions()
    return list(days[bisect_left(days, start) : bisect_right(days, end)])


def session_offset(day: date, count: int) -> date:
    """The session `count` trading days after `day` (before it when negative); `day` must be a session."""
    at = _index(day) + count
    if not 0 <= at < len(_sessions()):
        raise CalendarError(f"{count} sessions from {day} lies outside the calendar, which covers {describe_span()}.")
    return _sessions()[at]


def previous_session(day: date) -> date:
    """The last session strictly before `day`, which need not be a session itself."""
    at = bisect_left(_sessions(), day)
    if at == 0:
        raise CalendarError(f"There is no session before {day} in the calendar, which covers {describe_span()}.")
    return _sessions()[at - 1]


def next_session(day: date) -> date:
    """The first session strictly after `day`, which need not be a session itself."""
    at = bisect_right(_sessions(), day)
    if at == len(_sessions()):
        raise CalendarError(f"There is no session after {day} in the calendar, which covers {describe_span()}.")
    return _sessions()[at]


def last_completed_session(now: datetime) -> date:
    """The newest session whose close is at or before `now` (timezone-aware)."""
    day = now.astimezone(NEW_YORK).date()
    if is_session(day) and session(day).close <= now:
        return day
    return previous_session(day)


def snapshot_instants(day: date) -> list[datetime]:
    """The 15-minute grid of a session in UTC, 09:45 New York to the close: 26 instants, 14 on a half day.

    Raises CalendarError when `day` is no session.
    """
    hours = session(day)
    return [hours.open + timedelta(minutes=n) for n in range(SNAPSHOT_MINUTES, hours.minutes + 1, SNAPSHOT_MINUTES)]


def last_snapshot_instant(now: datetime) -> datetime:
    """The newest instant of any session's 15-minute grid at or before `now` (timezone-aware)."""
    day = now.astimezone(NEW_YORK).date()
    today = [instant for instant in snapshot_instants(day) if instant <= now] if is_session(day) else []
    return today[-1] if today else session(previous_session(day)).close


def snapshot_instant_at(now: datetime) -> datetime | None:
    """The instant whose 15 minutes `now` (timezone-aware) lies in, the close's last too; None outside a session."""
    instant = last_snapshot_instant(now)
    return instant if now - instant < timedelta(minutes=SNAPSHOT_MINUTES) else None


def next_snapshot_instant(now: datetime) -> datetime:
    """The first instant of any session's 15-minute grid after `now` (timezone-aware)."""
    day = now.astimezone(NEW_YORK).date()
    today = [instant for instant in snapshot_instants(day) if instant > now] if is_session(day) else []
    return today[0] if today else snapshot_instants(next_session(day))[0]


def describe_span() -> str:
    """The calendar's reach in words, for messages."""
    return f"{first_session()} to {last_session()}"


def full_holidays() -> list[date]:
    """Weekdays on which the exchange is closed all day."""
    return _dates(xnys.HOLIDAYS)


def half_days() -> list[date]:
    """Sessions that close at 13:00 New York."""
    return sorted(_half_days())


@cache
def _all_sessions_frame() -> pl.DataFrame:
    known = [session(day) for day in _sessions()]
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "session": pl.Series([s.day for s in known], dtype=pl.Date),
            "open": pl.Series([s.open for s in known], dtype=instant),
            "close": pl.Series([s.close for s in known], dtype=instant),
            "session_type": pl.Series([s.session_type for s in known], dtype=SESSION_TYPE_DTYPE),
            "minutes": pl.Series([s.minutes for s in known], dtype=pl.Int32),
        }
    )


def session_frame(start: date | None = None, end: date | None = None) -> pl.DataFrame:
    """Sessions as a frame: session, open and close (UTC), session_type, minutes; sorted, both ends included."""
    frame = _all_sessions_frame()
    return frame.filter(
        pl.col("session").is_between(start or frame["session"][0], end or frame["session"][-1], closed="both")
    )
