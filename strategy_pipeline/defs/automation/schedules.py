"""The schedules: the morning after a session, when the vendor has published its files, and each quarter of an hour."""

from datetime import UTC, timedelta

import dagster as dg

from strategy_pipeline.defs.automation.jobs import backfill_bars, backfill_options, ingest_chains
from strategy_pipeline.defs.launch import unfinished_run
from strategy_pipeline.defs.partitions import NEW_YORK
from strategy_pipeline.defs.resources import Clock
from strategy_pipeline.market import calendar

# The vendor publishes about 11:00 New York on the calendar day after the session.
AFTER_PUBLICATION = "15 11 * * *"
# Chains are priced on the bars of the day, which the run an hour before has made.
AFTER_BARS = "15 12 * * *"
# The grid of a full session; which of its ticks count is the calendar's to say.
QUARTER_HOURS = ("45 9 * * *", "*/15 10-15 * * *", "0 16 * * *")


@dg.schedule(
    job=backfill_bars,
    cron_schedule=AFTER_PUBLICATION,
    execution_timezone=NEW_YORK,
    description="At 11:15 New York, the session of the day before; days after a weekend day or a holiday are skipped.",
)
def daily_bars(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The previous calendar day's session, when there was one."""
    return _session_of_yesterday(context, "daily")


@dg.schedule(
    job=backfill_options,
    cron_schedule=AFTER_BARS,
    execution_timezone=NEW_YORK,
    description="At 12:15 New York, the option files of the day before: chains, dealer gamma, volatility and flow.",
)
def daily_options(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The previous calendar day's session, when there was one."""
    return _session_of_yesterday(context, "daily-options")


def _session_of_yesterday(context: dg.ScheduleEvaluationContext, name: str) -> dg.RunRequest | dg.SkipReason:
    tick = context.scheduled_execution_time.astimezone(calendar.NEW_YORK)
    day = tick.date() - timedelta(days=1)
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} was not a session of the exchange; the next one is {calendar.next_session(day)}.")
    return dg.RunRequest(run_key=f"{name}-{day}", partition_key=day.isoformat(), tags={"trigger": "daily"})


@dg.schedule(
    job=ingest_chains,
    cron_schedule=QUARTER_HOURS,
    execution_timezone=NEW_YORK,
    description=(
        "Every 15 minutes of a session, 09:45 New York to the close: the chains of the watched symbols over REST. A "
        "tick while a look is still under way is skipped."
    ),
)
def chains_every_quarter_hour(
    context: dg.ScheduleEvaluationContext, clock: dg.ResourceParam[Clock]
) -> dg.RunRequest | dg.SkipReason:
    """The instant of the tick, when the exchange is open then and nothing else looks at the chains."""
    instant, now = context.scheduled_execution_time.astimezone(UTC), clock.now()
    day = instant.astimezone(calendar.NEW_YORK).date()
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} is not a session of the exchange; the next one is {calendar.next_session(day)}.")
    if instant not in calendar.snapshot_instants(day):
        return dg.SkipReason(f"The session of {day} is a half day and had closed by then.")
    if now - instant >= timedelta(minutes=calendar.SNAPSHOT_MINUTES):
        return dg.SkipReason(f"The tick of {instant:%H:%M} UTC comes too late: the chains show another moment by now.")
    if run_id := unfinished_run(context.instance, ingest_chains.name, now):
        return dg.SkipReason(f"Run {run_id} still looks at the chains; two looks at once would write over each other.")
    return dg.RunRequest(
        run_key=f"chains-{instant.isoformat()}",
        run_config={"ops": {"chain_snapshot": {"config": {"instant": instant.isoformat()}}}},
        tags={"trigger": "quarter hour"},
    )


all_schedules = [daily_bars, daily_options, chains_every_quarter_hour]
