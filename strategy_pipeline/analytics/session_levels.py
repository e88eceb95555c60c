"""Levels of a session so far: open, extremes, volume-weighted price, opening range.

Everything is a running value up to the end of a bar. Volume against other sessions is in relative_volume.py.
"""

import polars as pl

from strategy_pipeline.lake.asof import as_of

OPENING_RANGE_MINUTES = 15
MIN_OPENING_COVERAGE = 0.8

_SESSION = ("symbol", "session")
LEVELS = ("session_open", "session_high", "session_low", "vwap")


def typical_price() -> pl.Expr:
    """The vendor's volume-weighted price of a bar where given, else (high + low + close) / 3.

    A vendor's price is held inside the bar's plausible range, so that a bad print does not come back through it.
    """
    mean = (pl.col("high") + pl.col("low") + pl.col("close")) / 3.0
    return pl.coalesce(pl.col("vwap").clip(pl.col("low"), pl.col("high")), mean)


def session_levels(bars: pl.DataFrame) -> pl.DataFrame:
    """For each bar the session's open, high, low and VWAP up to and including it, and the first bar's close.

    `bars`: one timeframe, sorted by symbol and bar_start, with symbol, session, bar_end, available_at, prices and
    volume. Returns the keys with session_open, session_high, session_low, vwap, first_close, in the unit of the
    prices. VWAP is null until there is volume.
    """
    volume = pl.col("volume").fill_null(0.0)
    return bars.select(
        *_SESSION,
        "bar_end",
        "available_at",
        session_open=pl.col("open").first().over(_SESSION),
        session_high=pl.col("high").cum_max().over(_SESSION),
        session_low=pl.col("low").cum_min().over(_SESSION),
        first_close=pl.col("close").first().over(_SESSION),
        _turnover=(typical_price() * volume).cum_sum().over(_SESSION),
        _volume=volume.cum_sum().over(_SESSION),
    ).select(
        pl.exclude("_turnover", "_volume"),
        vwap=pl.when(pl.col("_volume") > 0).then(pl.col("_turnover") / pl.col("_volume")),
    )


def with_proxy_volume(index_bars: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """`index_bars` with the volume of the proxy's bar of the same window; 0 where the proxy did not trade.

    `index_bars` has `rvol_symbol`; `bars` are the same timeframe's bars of the proxies.
    """
    traded = bars.select("available_at", rvol_symbol="symbol", _end="bar_end", _shares="volume")
    matched = as_of(
        index_bars.drop("volume"),
        traded,
        by=["rvol_symbol"],
        columns={"_end": "_end", "_shares": "_shares"},
    )
    same_window = pl.col("_end") == pl.col("bar_end")
    return matched.with_columns(volume=pl.when(same_window).then("_shares").fill_null(0.0)).drop("_end", "_shares")


def opening_ranges(bars: pl.DataFrame, timeframe_minutes: int) -> pl.DataFrame:
    """High and low of the first 15 minutes of each session: symbol, session, available_at, or_high, or_low.

    `bars`: one timeframe not longer than 15 minutes with `open_at` (the session's open), prices and coverage_pct. A
    session with under 80 % of its opening minutes has no row. The range is known when its last bar is known, and not
    before minute 15.
    """
    window_end = pl.col("open_at") + pl.duration(minutes=OPENING_RANGE_MINUTES)
    inside = bars.filter((pl.col("bar_start") >= pl.col("open_at")) & (pl.col("bar_end") <= window_end))
    minutes = pl.col("coverage_pct").fill_null(100.0) / 100.0 * timeframe_minutes
    return (
        inside.group_by(*_SESSION, maintain_order=True)
        .agg(
            or_high=pl.col("high").max(),
            or_low=pl.col("low").min(),
            minutes=minutes.sum().round(9),
            lag=(pl.col("available_at") - pl.col("bar_end")).max(),
            open_at=pl.col("open_at").first(),
        )
        .filter(pl.col("minutes") >= MIN_OPENING_COVERAGE * OPENING_RANGE_MINUTES)
        .select(*_SESSION, "or_high", "or_low", available_at=window_end + pl.col("lag"))
    )
