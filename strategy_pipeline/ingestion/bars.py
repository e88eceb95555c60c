"""`historical_bars` of sessions in every stored timeframe, from the parsed files of those sessions.

Which file feeds which timeframe is decided here; how windows are cut is market/timeframes.py's, what a row may hold is
parse.py's. Options have tables of their own and never come here.
"""

from collections.abc import Collection, Iterable
from datetime import date

import polars as pl

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion.parse import ParsedFile
from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline.market.timeframes import resample

_FROM_MINUTES = ("5m", "15m", "4h")


def historical_bars(days: date | Collection[date], parsed: Iterable[ParsedFile]) -> pl.DataFrame:
    """All bars of one or more sessions in the columns and order of ``historical_bars``, raw and unadjusted.

    parsed: the sessions' minute and day files and their months' hour files, of stocks and indices, as far as there are.
    1m, 5m, 15m and 4h come from minutes. 1h comes from the hour file, on the vendor's clock-hour grid, for every symbol
    which that month's file names, and from minutes for the others: a symbol's month never mixes the two. 1d comes from
    the day file, else from minutes, else from hours. A 4h window cannot be cut from clock hours (13:30 lies inside
    one), so a symbol without minutes has none. Which sessions are asked for together changes no row. Raises DataError
    when a file holds options.
    """
    pieces: dict[str, list[pl.DataFrame]] = {"minute": [], "hour": [], "day": []}
    for one in parsed:
        if one.dataset.kind == "options":
            raise DataError(f"{one.raw.key} holds options, which never become historical_bars: leave it out.")
        pieces[one.dataset.grain].append(one.bars)
    return bars_from(days, *(_stacked(pieces[grain]) for grain in ("minute", "hour", "day")))


def bars_from(
    days: date | Collection[date], all_minutes: pl.DataFrame, all_hours: pl.DataFrame, all_daily: pl.DataFrame
) -> pl.DataFrame:
    """As ``historical_bars``, from 1m, clock-hour 1h and 1d rows wherever they come from; hours are of whole months."""
    wanted = pl.Series([days] if isinstance(days, date) else sorted(days), dtype=pl.Date).implode()
    of_days = pl.col("session").is_in(wanted)
    minutes, daily = all_minutes.filter(of_days), all_daily.filter(of_days)
    hours = all_hours.filter(of_days)
    regular = minutes.filter(pl.col("segment") == "rth")
    month = pl.concat_str("symbol", pl.col("session").dt.strftime("%Y-%m"), separator=" ")
    in_hour_files = all_hours.select(month.unique().implode()).to_series() if all_hours.height else None
    needs_hours = regular if in_hour_files is None else regular.filter(~month.is_in(in_hour_files))
    # How many minutes stand behind an hour is not known, so neither is the coverage of a day made of hours.
    daily_from_hours = resample(hours.filter(pl.col("segment") == "rth"), "1d").with_columns(
        coverage_pct=pl.lit(None, dtype=pl.Float64)
    )
    by_preference = _stacked([daily, resample(regular, "1d"), daily_from_hours])
    frames = [
        minutes,
        *(resample(regular, timeframe) for timeframe in _FROM_MINUTES),
        hours,
        resample(needs_hours, "1h"),
        by_preference.unique(subset=["symbol", "session"], keep="first", maintain_order=True),
    ]
    return _stacked(frames).sort(*HISTORICAL_BARS.sort_by)


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    filled = [frame for frame in frames if frame.height]
    return pl.concat(filled) if filled else HISTORICAL_BARS.empty()
