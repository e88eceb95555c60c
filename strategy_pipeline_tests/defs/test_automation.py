"""The schedule and the sensor, tick by tick."""

import json
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from strategy_pipeline.defs.automation.schedules import daily_bars, daily_options
from strategy_pipeline.defs.automation.sensors import LOOK_BACK_SESSIONS, last_session_in_reach, publication
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore
from strategy_pipeline.market.calendar import NEW_YORK
from strategy_pipeline_tests.defs.small_market import StandingClock, small_market


def schedule_tick(day: date):
    moment = datetime(day.year, day.month, day.day, 11, 15, tzinfo=NEW_YORK)
    return daily_bars(dg.build_schedule_context(scheduled_execution_time=moment))


@pytest.mark.parametrize(
    ("tick", "session"),
    [
        (date(2024, 3, 8), "2024-03-07"),  # a Friday asks for Thursday
        (date(2024, 3, 9), "2024-03-08"),  # Friday's files come on Saturday
        (date(2024, 11, 30), "2024-11-29"),  # the half day after Thanksgiving is a session
    ],
)
def test_the_morning_after_a_session_asks_for_its_partition(tick, session):
    request = schedule_tick(tick)
    assert (request.partition_key, request.run_key) == (session, f"daily-{session}")


@pytest.mark.parametrize("tick", [date(2024, 3, 10), date(2024, 3, 11), date(2024, 7, 5), date(2024, 3, 30)])
def test_the_morning_after_a_day_without_a_session_is_skipped_with_a_reason(tick):
    skip = schedule_tick(tick)
    assert isinstance(skip, dg.SkipReason)
    assert "was not a session" in skip.skip_message


def test_the_schedule_ticks_at_a_quarter_past_eleven_in_new_york():
    assert (daily_bars.cron_schedule, daily_bars.execution_timezone) == ("15 11 * * *", "America/New_York")


def test_options_follow_an_hour_after_the_bars_they_are_priced_on():
    assert (daily_options.cron_schedule, daily_options.execution_timezone) == ("15 12 * * *", "America/New_York")
    moment = datetime(2024, 3, 9, 12, 15, tzinfo=NEW_YORK)
    request = daily_options(dg.build_schedule_context(scheduled_execution_time=moment))
    assert (request.partition_key, request.run_key) == ("2024-03-08", "daily-options-2024-03-08")
    assert (daily_options.job_name, daily_bars.job_name) == ("backfill_options", "backfill_bars")


@pytest.fixture
def published(tmp_path):
    return small_market(tmp_path, sessions=24)


def sensor_tick(published, cursor, instance):
    last = published.sessions[-1]
    clock = StandingClock(datetime(last.year, last.month, last.day, 22, tzinfo=UTC).replace(day=last.day + 1))
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        resources={"flat_files": LocalFlatFileStore(published.settings.vendor_folder), "clock": clock},
    )
    return publication(context)


def all_ticks(published, instance):
    """Ticks until nothing is new; the requests and the cursor."""
    cursor, requests = None, []
    for _ in range(10):
        result = sensor_tick(published, cursor, instance)
        if isinstance(result, dg.SkipReason):
            return requests, cursor
        requests += result.run_requests
        cursor = result.cursor
    raise AssertionError("the sensor never comes to rest")


def test_new_sessions_are_requested_once_each_and_then_the_sensor_rests(published):
    with dg.DagsterInstance.ephemeral() as instance:
        requests, cursor = all_ticks(published, instance)
        wanted = [day.isoformat() for day in published.sessions[-LOOK_BACK_SESSIONS:]]
        assert [one.partition_key for one in requests] == wanted
        assert sorted(json.loads(cursor)) == wanted
        assert isinstance(sensor_tick(published, cursor, instance), dg.SkipReason)


def test_a_tick_that_is_repeated_asks_for_the_same_run_keys(published):
    with dg.DagsterInstance.ephemeral() as instance:
        first, second = sensor_tick(published, None, instance), sensor_tick(published, None, instance)
    assert [one.run_key for one in first.run_requests] == [one.run_key for one in second.run_requests]


def test_a_revised_file_reruns_only_its_cone(published):
    revised = published.sessions[-5].isoformat()
    with dg.DagsterInstance.ephemeral() as instance:
        for key in published.sessions:
            instance.report_runless_asset_event(dg.AssetMaterialization("features", partition=key.isoformat()))
        _, cursor = all_ticks(published, instance)
        folder = published.settings.vendor_folder / "us_stocks_sip" / "minute_aggs_v1"
        path = folder / f"{published.sessions[-5]:%Y/%m}" / f"{revised}.csv.gz"
        path.write_bytes(path.read_bytes())
        (request,) = sensor_tick(published, cursor, instance).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == revised
    assert request.tags["dagster/asset_partition_range_end"] == published.sessions[-1].isoformat()
    narrowed = request.run_config["ops"]
    assert {name: config["config"]["only"] for name, config in narrowed.items()} == {
        name: [revised]
        for name in (
            "stock_minute_file", "index_minute_file", "stock_hour_file", "index_hour_file", "stock_day_file",
            "index_day_file", "historical_bars",
        )
    }  # fmt: skip
    assert "features" not in narrowed


def test_the_cone_ends_where_no_feature_looks_back_at_the_revised_session():
    # Days are aligned from 1 January three years back on, so 2023-06-01 is in reach until the end of 2026.
    held = {"2023-06-01", "2026-12-31", "2027-01-04"}
    assert last_session_in_reach(date(2023, 6, 1), held) == date(2026, 12, 31)
    assert last_session_in_reach(date(2024, 6, 3), {"2023-06-01"}) == date(2024, 6, 3)


def test_a_store_that_cannot_be_reached_is_a_reason_to_wait(tmp_path):
    context = dg.build_sensor_context(
        resources={
            "flat_files": LocalFlatFileStore(tmp_path / "absent"),
            "clock": StandingClock(datetime(2024, 3, 8, 18, tzinfo=UTC)),
        }
    )
    skip = publication(context)
    assert isinstance(skip, dg.SkipReason)
    assert "is not there" in skip.skip_message
