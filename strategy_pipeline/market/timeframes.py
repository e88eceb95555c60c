"""Timeframes and the one way in which finer bars become coarser ones.

Windows are anchored at the session's open and never cross its close: 1h runs 09:30-10:30 ... 15:30-16:00, 4h runs
09:30-13:30 and 13:30-16:00, a half day has one 4h bar. Weekly bars exist at read time only.
"""

from datetime import timedelta

import polars as pl

from strategy_pipeline.market.calendar import session_frame

# The longest regular session has 390 minutes, so "one window a session" is anything not shorter.
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 390}
STORED_TIMEFRAMES = tuple(MINUTES)
TIMEFRAMES = (*STORED_TIMEFRAMES, "1w")
TIMEFRAME_DTYPE = pl.Enum(TIMEFRAMES)
# A bar is known two seconds after it ends (quant_methods.md section 1, default lags).
BAR_LAG = timedelta(seconds=2)

_MINUTE_US = 60_000_000


def is_finer(one: str, other: str) -> bool:
    """Whether timeframe `one` has shorter windows than `other`."""
    return TIMEFRAMES.index(one) < TIMEFRAMES.index(other)


def minutes_since_open() -> pl.Expr:
    """Whole minutes from `open` to `bar_start`, both columns of the frame."""
    return (pl.col("bar_start") - pl.col("open_at")).dt.total_minutes()


def resample(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Session-anchored bars of `timeframe` from finer regular-hours bars, in the columns of ``historical_bars``.

    `bars`: rows of one finer timeframe (usually 1m), any number of symbols and sessions, in any order; rows outside
    regular hours are the caller's to remove. Volume is the sum (null when every part is null), vwap the volume-weighted
    mean of the parts' vwap or, without one, of their (high + low + close) / 3. `coverage_pct` is the share of the
    window's minutes that had a bar. A window without any bar has no row.
    Source: quant_methods.md sections 11, 12, 16.1.
    """
    if bars.is_empty():
        return bars.clear()
    width = MINUTES[timeframe]
    base = MINUTES[str(bars["timeframe"][0])]
    days = (
        bars["session"].to_list() if bars.height < 2 else bars.select(pl.col("session").unique())["session"].to_list()
    )
    hours = session_frame(min(days), max(days)).select("session", open_at="open", close_at="close")
    weight = pl.col("volume")
    price = pl.coalesce("vwap", (pl.col("high") + pl.col("low") + pl.col("close")) / 3.0)
    covered_minutes = pl.col("coverage_pct").fill_null(100.0) / 100.0 * base
    window = pl.col("window")
    return (
        bars.join(hours, on="session", how="inner")
        .with_columns(window=minutes_since_open() // width)
        .sort("symbol", "session", "bar_start")
        .group_by("symbol", "session", "window", maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            volume=pl.when(weight.is_not_null().any()).then(weight.sum()),
            turnover=(price * weight).sum(),
            trades=pl.when(pl.col("trades").is_not_null().any()).then(pl.col("trades").sum()),
            covered=covered_minutes.sum(),
            open_at=pl.col("open_at").first(),
            close_at=pl.col("close_at").first(),
            last_available=pl.col("available_at").max(),
            ingested_at=pl.col("ingested_at").max(),
            revision=pl.col("revision").max(),
            source=pl.col("source").first(),
            quality=pl.col("quality").max(),
            quality_flags=pl.col("quality_flags").explode().drop_nulls().unique().sort(),
            definition_version=pl.col("definition_version").first(),
        )
        .with_columns(bar_start=pl.col("open_at") + pl.duration(minutes=window * width))
        .with_columns(
            bar_end=pl.min_horizontal(pl.col("bar_start") + pl.duration(minutes=width), pl.col("close_at")),
            timeframe=pl.lit(timeframe, dtype=TIMEFRAME_DTYPE),
            segment=pl.lit("rth", dtype=bars.schema["segment"]),
            vwap=pl.when(pl.col("volume") > 0).then(pl.col("turnover") / pl.col("volume")),
        )
        .with_columns(
            coverage_pct=pl.col("covered")
            / ((pl.col("bar_end") - pl.col("bar_start")).dt.total_minutes().cast(pl.Float64))
            * 100.0,
            available_at=pl.max_horizontal(pl.col("bar_end") + BAR_LAG, pl.col("last_available")),
        )
        .select(bars.columns)
    )


def weekly(daily: pl.DataFrame) -> pl.DataFrame:
    """Weekly bars from daily ones, known when the week's last session has closed; an unfinished week has no row.

    `daily`: 1d rows of ``historical_bars``. The window runs from the open of the week's first session to the close of
    its last one by the calendar; `session` is that last session. Nothing weekly is ever stored.
    """
    if daily.is_empty():
        return daily.clear()
    newest = daily["session"].max()
    week = pl.col("session").dt.truncate("1w")
    weeks = (
        session_frame()
        .with_columns(week=week)
        .group_by("week")
        .agg(
            week_open=pl.col("open").min(),
            week_close=pl.col("close").max(),
            last=pl.col("session").max(),
            sessions=pl.len(),
        )
        .filter(pl.col("last") <= newest)
    )
    weight = pl.col("volume")
    price = pl.coalesce("vwap", (pl.col("high") + pl.col("low") + pl.col("close")) / 3.0)
    return (
        daily.with_columns(week=week)
        .join(weeks, on="week", how="inner")
        # After the join, which keeps no order.
        .sort("symbol", "bar_start")
        .group_by("symbol", "week", maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            volume=pl.when(weight.is_not_null().any()).then(weight.sum()),
            turnover=(price * weight).sum(),
            trades=pl.when(pl.col("trades").is_not_null().any()).then(pl.col("trades").sum()),
            coverage_pct=pl.len() * 100.0 / pl.col("sessions").first(),
            bar_start=pl.col("week_open").first(),
            bar_end=pl.col("week_close").first(),
            session=pl.col("last").first(),
            last_available=pl.col("available_at").max(),
            ingested_at=pl.col("ingested_at").max(),
            revision=pl.col("revision").max(),
            source=pl.col("source").first(),
            quality=pl.col("quality").max(),
            quality_flags=pl.col("quality_flags").explode().drop_nulls().unique().sort(),
            definition_version=pl.col("definition_version").first(),
            segment=pl.col("segment").first(),
        )
        .with_columns(
            timeframe=pl.lit("1w", dtype=TIMEFRAME_DTYPE),
            vwap=pl.when(pl.col("volume") > 0).then(pl.col("turnover") / pl.col("volume")),
            available_at=pl.max_horizontal(pl.col("bar_end") + BAR_LAG, pl.col("last_available")),
        )
        .select(daily.columns)
    )
