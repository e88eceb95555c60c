"""The one session partitions definition, the detector partitions, and which partitions of its range a run works on.

Every session-partitioned asset uses the same object, so the graph has one time axis.
"""

from collections.abc import Iterable
from datetime import date, datetime, time

import dagster as dg

from strategy_pipeline.detectors import catalogue
from strategy_pipeline.market import calendar

NEW_YORK = "America/New_York"
KEY_FORMAT = "%Y-%m-%d"
# Weekends as one cron string: Dagster hashes and scans the list of exclusions on every call, so it has to be short.
WEEKENDS = "0 0 * * 6,0"

SESSIONS = dg.TimeWindowPartitionsDefinition(
    start=calendar.first_session().isoformat(),
    fmt=KEY_FORMAT,
    cron_schedule="0 0 * * *",
    timezone=NEW_YORK,
    end_offset=0,
    exclusions=[
        WEEKENDS,
        *(datetime.combine(day, time()) for day in calendar.full_holidays() if day > calendar.first_session()),
    ],
)

DETECTORS = dg.StaticPartitionsDefinition(catalogue.ALL_NAMES)


# Not used between bars and features: with it, a backfill of five sessions of both in the UI targets the features of the
# 504 sessions after them as well, and is shown as failed where those have no bars yet.
def sessions_before(count: int) -> dg.TimeWindowPartitionMapping:
    """Each session depends on itself and the `count` sessions before it; none before the first is missed."""
    return dg.TimeWindowPartitionMapping(start_offset=-count, allow_nonexistent_upstream_partitions=True)


def sessions_only_before(count: int) -> dg.TimeWindowPartitionMapping:
    """Each session depends on the `count` sessions before it and not on itself."""
    return dg.TimeWindowPartitionMapping(start_offset=-count, end_offset=-1, allow_nonexistent_upstream_partitions=True)


class PartitionChoice(dg.Config):
    """Narrows a ranged run: `only` names partitions to work on (empty: all), `since` is the first of them."""

    only: list[str] = []
    since: str = ""

    def keys(self, context: dg.AssetExecutionContext) -> list[str]:
        """The chosen partition keys of the run, in order."""
        chosen = set(self.only)
        return [key for key in context.partition_keys if key >= self.since and (not chosen or key in chosen)]


def sessions_of(keys: Iterable[str]) -> list[date]:
    """The sessions that partition keys name."""
    return [date.fromisoformat(key) for key in keys]
