"""How much of a symbol is traded on a usual day, $, as it was known before a session."""

from collections.abc import Iterable
from datetime import date, timedelta

import polars as pl

from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.market import calendar

ADV_SESSIONS = 20
_RESULT = pl.Schema({"symbol": pl.String(), "session": pl.Date(), "adv20_usd": pl.Float64(), "available_at": INSTANT})


def average_dollar_volume(daily_bars: pl.DataFrame, sessions: Iterable[date]) -> pl.DataFrame:
    """Mean of close times volume over the 20 sessions before each of `sessions`.

    Returns symbol, session, adv20_usd and available_at, the newest of the 20 bars.
    daily_bars: 1d rows of ``historical_bars``; raw prices do, since a split leaves their product with the volume as it
        is. A symbol has no row where one of the 20 bars or its volume is missing.
    """
    parts = []
    for day in sorted(set(sessions)):
        first = calendar.sessions_between(day - timedelta(days=2 * ADV_SESSIONS + 14), day - timedelta(days=1))
        window = daily_bars.filter(pl.col("session").is_in(first[-ADV_SESSIONS:]))
        means = window.group_by("symbol").agg(
            known=pl.col("volume").count(),
            adv20_usd=(pl.col("close") * pl.col("volume")).mean(),
            available_at=pl.col("available_at").max(),
        )
        parts.append(means.filter(pl.col("known") == ADV_SESSIONS).with_columns(session=pl.lit(day)))
    empty = pl.DataFrame(schema=_RESULT)
    return pl.concat([empty, *(part.select(list(_RESULT)) for part in parts)]).sort("symbol", "session")
