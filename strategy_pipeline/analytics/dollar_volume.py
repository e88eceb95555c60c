"""How much of a symbol is traded on a usual day, $, as it was known before a session."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import polars as pl

from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.market import calendar

ADV_SESSIONS = 20
_RESULT = pl.Schema({"symbol": pl.String(), "session": pl.Date(), "adv20_usd": pl.Float64(), "available_at": INSTANT})


def average_dollar_volume(
    daily_bars: pl.DataFrame, sessions: Iterable[date], proxies: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Mean of close times volume over the 20 sessions before each of `sessions`.

    Returns symbol, session, adv20_usd and available_at, the newest of the 20 bars.
    proxies: index -> fund; an index, which has no volume, gets the fund's price times the fund's volume.
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
    found = pl.concat([pl.DataFrame(schema=_RESULT), *(part.select(list(_RESULT)) for part in parts)])
    lent = [
        found.filter(pl.col("symbol") == fund).with_columns(symbol=pl.lit(index))
        for index, fund in (proxies or {}).items()
    ]
    return pl.concat([found, *lent]).sort("symbol", "session")
