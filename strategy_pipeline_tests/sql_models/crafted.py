"""Models and lakes for the tests of this folder."""

from datetime import date
from pathlib import Path

from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline.market import calendar
from strategy_pipeline.sql_models.model import SqlModel, parse_model
from strategy_pipeline_tests.analytics.bar_frames import contract_bars

HEADER = """/*
description: How many bars a session has.
group: market
partitioning: {by: session, look_back_sessions: 1}
columns:
  session: {type: date, key: true, doc: Exchange date, tests: [not_null, unique]}
  bars: {type: i32, doc: "Bars, count", tests: [{between: [1, 2]}]}
  word: {type: enum, values: [few, many], doc: How many that is, tests: [{accepted_values: [few]}]}
*/
"""
SELECT = """SELECT
    session,
    count(*) AS bars,
    CASE WHEN count(*) > 2 THEN 'many' ELSE 'few' END AS word
FROM {{ ref('historical_bars') }}
WHERE session BETWEEN {{ session_start }} AND {{ session_end }}
GROUP BY session
"""


def counting_model(header: str = HEADER, select: str = SELECT, name: str = "bar_counts") -> SqlModel:
    return parse_model(name, "marts", header + select)


def daily_bars(symbol: str, closes: dict[date, float], opens: dict[date, float] | None = None, **columns):
    """Day bars of one symbol from its closes; a bar opens at its close unless `opens` says otherwise."""
    days = [calendar.session(day) for day in closes]
    prices = list(closes.values())
    opened = [(opens or {}).get(day, close) for day, close in closes.items()]
    return contract_bars(
        {
            "symbol": [symbol] * len(days),
            "bar_start": [one.open for one in days],
            "bar_end": [one.close for one in days],
            "session": list(closes),
            "open": opened,
            "high": [max(pair) for pair in zip(opened, prices, strict=True)],
            "low": [min(pair) for pair in zip(opened, prices, strict=True)],
            "close": prices,
            **columns,
        },
        "1d",
    )


def lake_with(folder: Path, bars) -> Lake:
    """A lake whose partitions hold `bars`."""
    lake = Lake(folder)
    parts = bars.partition_by("session", as_dict=True).items()
    lake.write_many(HISTORICAL_BARS, [({"session": key[0]}, part, {}) for key, part in parts])
    return lake
