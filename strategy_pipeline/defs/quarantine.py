"""The quarantine of a session, which several assets share: each replaces what its own data sets had refused."""

from collections.abc import Iterable, Mapping
from datetime import date

import polars as pl

from strategy_pipeline.lake.store import Lake, PartitionKey
from strategy_pipeline.lake.tables import QUARANTINE


def replace_refused(lake: Lake, refused: Mapping[date, pl.DataFrame], datasets: Iterable[str]) -> None:
    """Stores what was refused of `datasets` in each session, in place of what stood there of them.

    refused: rows of ``quarantine`` by session; what other data sets had refused stays.
    """
    names = sorted(datasets)
    stored = set(lake.sessions(QUARANTINE))
    parts: list[tuple[PartitionKey, pl.DataFrame, Mapping[str, str]]] = []
    for day, rows in refused.items():
        kept = QUARANTINE.empty()
        if day in stored:
            kept = lake.read_sessions(QUARANTINE, [day], where=~pl.col("dataset").is_in(names))
        elif rows.is_empty():
            continue
        parts.append(({"session": day}, pl.concat([kept, rows]), {}))
    lake.write_many(QUARANTINE, parts)
