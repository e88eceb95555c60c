"""The windows of a session, the one definition for scores and for reports (detectors.md section 7.1)."""

import polars as pl

from strategy_pipeline.lake.tables import TIME_WINDOWS

TIME_WINDOW_DTYPE = pl.Enum(TIME_WINDOWS)
# Minutes before the close that belong to power_hour, and minutes since the open at which the other windows end.
POWER_HOUR_MINUTES = 60
_ENDS = {"opening_drive": 30, "mid_morning": 90, "late_morning": 120, "lunch_chop": 240, "early_afternoon": 300}


def time_window(minutes_since_open: pl.Expr | pl.Series, minutes_to_close: pl.Expr | pl.Series) -> pl.Expr:
    """The window of a bar end, both distances in minutes of its own session; null where either is null.

    Windows are closed on the left. The last 60 minutes are tested first, so half days have a power hour.
    """
    since, left = _expression(minutes_since_open), _expression(minutes_to_close)
    window = pl.lit("afternoon")
    for name, end in reversed(_ENDS.items()):
        window = pl.when(since < end).then(pl.lit(name)).otherwise(window)
    window = pl.when(left <= POWER_HOUR_MINUTES).then(pl.lit("power_hour")).otherwise(window)
    return pl.when(since.is_not_null() & left.is_not_null()).then(window).cast(TIME_WINDOW_DTYPE)


def _expression(minutes: pl.Expr | pl.Series) -> pl.Expr:
    return pl.lit(minutes) if isinstance(minutes, pl.Series) else minutes
