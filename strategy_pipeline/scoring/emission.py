"""Which of the signals that pass every threshold is emitted: one a bar, then cooldown, then the hourly limit.

Section 7.5 of detectors.md. What was accepted before is handed in, so a restart or a cut between bars changes nothing.
"""

import hashlib
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.detectors.comparison import rounded
from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.market import calendar

SIGNAL_KEY = ("symbol", "detector", "timeframe", "bar_end", "definition_version")
ID_DIGITS = 24
HOUR = timedelta(minutes=60)
SCALP_LIFE = timedelta(minutes=30)
SWING_SESSIONS = 5
# What emission has to remember of an accepted signal.
ACCEPTED_SCHEMA = {"symbol": pl.String, "detector": pl.String, "bar_end": INSTANT}


def signal_ids(rows: pl.DataFrame) -> pl.Series:
    """A hash of SIGNAL_KEY for each row, 24 hex digits; the same row has the same id wherever and whenever."""
    keys = rows.select("symbol", "detector", pl.col("timeframe").cast(pl.String), "bar_end", "definition_version")
    return pl.Series("signal_id", [_digest(key) for key in keys.iter_rows()], dtype=pl.String)


def _digest(key: tuple[object, ...]) -> str:
    said = "|".join(part.isoformat() if isinstance(part, datetime) else str(part) for part in key)
    return hashlib.sha256(said.encode()).hexdigest()[:ID_DIGITS]


def lifetimes(rows: pl.DataFrame) -> pl.Series:
    """expires_at: a scalp lives 30 minutes, at most to the close; a day trade to the close; a swing five sessions more.

    Reads `session`, `bar_end` and `recommended_style`; null without a style. Raises CalendarError where the fifth
    following session lies beyond the calendar.
    """
    closes = {day: calendar.session(day).close for day in rows["session"].unique()}
    later = {}
    for day in rows.filter(pl.col("recommended_style").cast(pl.String) == "swing")["session"].unique():
        later[day] = calendar.session(calendar.session_offset(day, SWING_SESSIONS)).close
    ends: list[datetime | None] = []
    for day, bar_end, style in rows.select(
        "session", "bar_end", pl.col("recommended_style").cast(pl.String)
    ).iter_rows():
        by_style = {"scalp": min(bar_end + SCALP_LIFE, closes[day]), "day": closes[day], "swing": later.get(day)}
        ends.append(by_style.get(style))
    return pl.Series("expires_at", ends, dtype=INSTANT)


def emitted(rows: pl.DataFrame, accepted_before: pl.DataFrame | None = None) -> pl.Series:
    """The reject_reason of every row after emission: a row that had one keeps it, an emitted row has null.

    rows: symbol, detector, bar_end, reject_reason, recommended_score, recommended_unclamped, cooldown_min (minutes) and
        signals_per_hour of its floor. In any order.
    accepted_before: ACCEPTED_SCHEMA of signals accepted earlier; rows at or after the first bar_end are left out.
    Of the candidates of one (symbol, bar_end) the highest score takes the slot, then the highest score before its
    clamp, then the first name. The spans are closed at the bar and open at their far end: a cooldown of 15 minutes is
    over 15 minutes later.
    """
    ranked = (
        rows.with_row_index("_row")
        .filter(pl.col("reject_reason").is_null())
        .sort(
            "bar_end",
            "symbol",
            rounded(pl.col("recommended_score")),
            rounded(pl.col("recommended_unclamped")),
            "detector",
            descending=[False, False, True, True, False],
        )
        .select("_row", "symbol", "detector", "bar_end", "cooldown_min", "signals_per_hour")
    )
    memory = _Memory(accepted_before, first=rows["bar_end"].min() if rows.height else None)
    reasons: dict[int, str] = {}
    taken: tuple[str, datetime] | None = None
    for row, symbol, detector, bar_end, cooldown, hourly in ranked.iter_rows():
        if taken == (symbol, bar_end):
            reasons[row] = "outranked"
            continue
        taken = (symbol, bar_end)
        reason = memory.objection(symbol, detector, bar_end, timedelta(minutes=cooldown), hourly)
        if reason is None:
            memory.remember(symbol, detector, bar_end)
        else:
            reasons[row] = reason
    found = pl.Series([reasons.get(row) for row in range(rows.height)], dtype=pl.String)
    return rows.select(pl.coalesce(pl.col("reject_reason").cast(pl.String), pl.lit(found))).to_series()


class _Memory:
    """Accepted signals by symbol, in the order of their bars."""

    def __init__(self, before: pl.DataFrame | None, first: Any) -> None:
        self.by_symbol: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
        if before is not None and first is not None:
            earlier = before.filter(pl.col("bar_end") < first).sort("bar_end", "symbol", "detector")
            for symbol, detector, bar_end in earlier.select(*ACCEPTED_SCHEMA).iter_rows():
                self.remember(symbol, detector, bar_end)

    def remember(self, symbol: str, detector: str, bar_end: datetime) -> None:
        self.by_symbol[symbol].append((detector, bar_end))

    def objection(
        self, symbol: str, detector: str, bar_end: datetime, cooldown: timedelta, hourly: float
    ) -> str | None:
        """Why a signal may not be emitted: cooldown, hourly_limit, or None."""
        last_hour = 0
        longest = max(cooldown, HOUR)
        for name, moment in reversed(self.by_symbol[symbol]):
            if moment <= bar_end - longest:
                break
            if name == detector and moment > bar_end - cooldown:
                return "cooldown"
            last_hour += moment > bar_end - HOUR
        return "hourly_limit" if last_hour >= hourly else None
