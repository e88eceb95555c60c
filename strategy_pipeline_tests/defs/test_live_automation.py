"""The quarter-hour schedule of the chains, tick by tick, over whole days as its cron strings make them."""

from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from uuid import uuid4

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from strategy_pipeline.defs.automation.schedules import chains_every_quarter_hour
from strategy_pipeline.defs.launch import LONGEST_SILENCE, unfinished_run
from strategy_pipeline.market.calendar import NEW_YORK
from strategy_pipeline_tests.defs.small_market import StandingClock

JOB = "ingest_chains"


@pytest.fixture(scope="module")
def instance():
    with dg.instance_for_test() as one:
        yield one


@pytest.fixture
def quiet(instance):
    """The instance without any run."""
    for one in instance.get_runs():
        instance.delete_run(one.run_id)
    return instance


def tick(at: datetime, instance: dg.DagsterInstance, *, late: timedelta = timedelta(seconds=3)):
    context = dg.build_schedule_context(
        scheduled_execution_time=at, instance=instance, resources={"clock": StandingClock(at + late)}
    )
    return chains_every_quarter_hour(context)


def ticks_of(day: date) -> list[datetime]:
    """The moments of a New York date at which Dagster asks the schedule."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
    schedule = chains_every_quarter_hour
    ticks = schedule_execution_time_iterator(
        midnight.timestamp(),
        list(schedule.cron_schedule),
        schedule.execution_timezone,
    )
    return list(takewhile(lambda at: at.astimezone(NEW_YORK).date() == day, ticks))


@pytest.mark.parametrize(
    ("day", "count", "first", "last"),
    [
        (date(2024, 3, 8), 26, "14:45", "21:00"),
        (date(2024, 3, 11), 26, "13:45", "20:00"),  # the Monday after the clocks went forward
        (date(2024, 11, 4), 26, "14:45", "21:00"),  # the Monday after they went back
        (date(2024, 11, 29), 14, "14:45", "18:00"),  # a half day
    ],
)
def test_a_session_has_a_look_every_quarter_of_an_hour_until_its_close(quiet, day, count, first, last):
    answers = [tick(at, quiet) for at in ticks_of(day)]
    requests = [one for one in answers if isinstance(one, dg.RunRequest)]
    instants = [one.run_config["ops"]["chain_snapshot"]["config"]["instant"] for one in requests]
    assert (len(answers), len(instants)) == (26, count)
    assert (instants[0], instants[-1]) == (f"{day}T{first}:00+00:00", f"{day}T{last}:00+00:00")
    assert [one.run_key for one in requests] == [f"chains-{instant}" for instant in instants]
    skipped = {one.skip_message for one in answers if isinstance(one, dg.SkipReason)}
    assert skipped == ({f"The session of {day} is a half day and had closed by then."} if count < 26 else set())


@pytest.mark.parametrize(
    ("day", "following"),
    [(date(2024, 3, 9), "2024-03-11"), (date(2024, 7, 4), "2024-07-05"), (date(2025, 1, 9), "2025-01-10")],
    ids=["Saturday", "holiday", "day of mourning"],
)
def test_a_day_without_a_session_is_skipped_with_a_reason(quiet, day, following):
    answers = [tick(at, quiet) for at in ticks_of(day)]
    assert {one.skip_message for one in answers} == {
        f"{day} is not a session of the exchange; the next one is {following}."
    }


AT = datetime(2024, 3, 8, 15, 0, tzinfo=UTC)


def add_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, job: str = JOB) -> str:
    return instance.add_run(dg.DagsterRun(job_name=job, run_id=str(uuid4()), status=status)).run_id


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_tick_while_a_look_is_under_way_is_skipped(quiet, status):
    run_id = add_run(quiet, dg.DagsterRunStatus[status])
    answer = tick(AT, quiet)
    assert isinstance(answer, dg.SkipReason)
    assert answer.skip_message.startswith(f"Run {run_id} still looks at the chains")


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_a_look_that_is_over_however_it_ended_stops_nobody(quiet, status):
    add_run(quiet, dg.DagsterRunStatus[status])
    add_run(quiet, dg.DagsterRunStatus.STARTED, job="backfill_bars")
    assert isinstance(tick(AT, quiet), dg.RunRequest)


def test_a_run_that_died_with_its_process_counts_for_an_hour(quiet):
    run_id = add_run(quiet, dg.DagsterRunStatus.STARTED)
    said_at = quiet.get_run_records()[0].update_timestamp.replace(tzinfo=UTC)
    assert unfinished_run(quiet, JOB, said_at + LONGEST_SILENCE - timedelta(seconds=1)) == run_id
    assert unfinished_run(quiet, JOB, said_at + LONGEST_SILENCE) is None


def test_a_tick_that_comes_too_late_asks_for_nothing(quiet):
    assert isinstance(tick(AT, quiet, late=timedelta(minutes=14)), dg.RunRequest)
    answer = tick(AT, quiet, late=timedelta(minutes=15))
    assert answer.skip_message == "The tick of 15:00 UTC comes too late: the chains show another moment by now."
