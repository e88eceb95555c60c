"""The daily schedule: the morning after a session, when the vendor has published its files."""

from datetime import timedelta

import dagster as dg

from strategy_pipeline.defs.automation.jobs import backfill_bars
from strategy_pipeline.defs.partitions import NEW_YORK
from strategy_pipeline.market import calendar

# The vendor publishes about 11:00 New York on the calendar day after the session.
AFTER_PUBLICATION = "15 11 * * *"


@dg.schedule(
    job=backfill_bars,
    cron_schedule=AFTER_PUBLICATION,
    execution_timezone=NEW_YORK,
    description="At 11:15 New York, the session of the day before; days after a weekend day or a holiday are skipped.",
)
def daily_bars(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The previous calendar day's session, when there was one."""
    tick = context.scheduled_execution_time.astimezone(calendar.NEW_YORK)
    day = tick.date() - timedelta(days=1)
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} was not a session of the exchange; the next one is {calendar.next_session(day)}.")
    return dg.RunRequest(run_key=f"daily-{day}", partition_key=day.isoformat(), tags={"trigger": "daily"})
