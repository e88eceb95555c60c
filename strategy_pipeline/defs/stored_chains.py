"""Which of a session's stored chains assets, checks and pictures look at; reading alone belongs here."""

from datetime import date

import polars as pl

from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_GREEKS


def last_chains(lake: Lake, day: date) -> pl.DataFrame:
    """Each symbol's chain at the last instant of a session that has one."""
    instants = lake.read_sessions(HISTORICAL_GREEKS, [day], columns=["symbol", "snapshot_at"])
    last = instants.group_by("symbol").agg(pl.col("snapshot_at").max())
    chains = last.select(pl.struct("symbol", "snapshot_at")).to_series()
    late = lake.read_sessions(
        HISTORICAL_GREEKS, [day], where=pl.col("snapshot_at") >= pl.lit(last["snapshot_at"].min())
    )
    return late.filter(pl.struct("symbol", "snapshot_at").is_in(chains.implode()))
