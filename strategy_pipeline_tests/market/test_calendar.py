"""Sessions, half days and daylight saving against exchange_calendars and against the published table."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from strategy_pipeline.errors import CalendarError
from strategy_pipeline.market import calendar, xnys
from strategy_pipeline.market.generate_calendar import render


@pytest.fixture(scope="module")
def oracle():
    import exchange_calendars

    return exchange_calendars.get_calendar("XNYS", start="1998-01-01", end="2027-12-31")


def test_every_session_from_1998_to_2027_opens_and_closes_as_exchange_calendars_says(oracle):
    ours = calendar.session_frame()
    assert ours["session"].to_list() == [stamp.date() for stamp in oracle.sessions]
    assert ours["open"].to_list() == [stamp.to_pydatetime() for stamp in oracle.opens]
    assert ours["close"].to_list() == [stamp.to_pydatetime() for stamp in oracle.closes]


def test_the_generated_module_is_what_the_generator_prints_today():
    from pathlib import Path

    assert Path(xnys.__file__).read_text() == render()


# quant_methods.md section 14, "XNYS sessions per year".
@pytest.mark.parametrize(
    ("year", "count"),
    [(2018, 251), (2020, 253), (2021, 252), (2022, 251), (2023, 250), (2024, 252), (2025, 250), (2026, 251)],
)
def test_a_year_has_its_known_number_of_sessions(year, count):
    assert len(calendar.sessions_between(date(year, 1, 1), date(year, 12, 31))) == count


# quant_methods.md section 14, "Open-close UTC".
@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2024, 3, 8), (14, 30), (21, 0)),
        (date(2024, 3, 11), (13, 30), (20, 0)),
        (date(2024, 11, 1), (13, 30), (20, 0)),
        (date(2024, 11, 4), (14, 30), (21, 0)),
        (date(2024, 11, 29), (14, 30), (18, 0)),
    ],
)
def test_open_and_close_follow_daylight_saving_and_half_days(day, opens, closes):
    session = calendar.session(day)
    assert session.open == datetime(day.year, day.month, day.day, *opens, tzinfo=UTC)
    assert session.close == datetime(day.year, day.month, day.day, *closes, tzinfo=UTC)


def test_half_days_of_2024_are_july_third_black_friday_and_christmas_eve():
    assert [day for day in calendar.half_days() if day.year == 2024] == [
        date(2024, 7, 3),
        date(2024, 11, 29),
        date(2024, 12, 24),
    ]


@pytest.mark.parametrize("day", [date(2018, 12, 5), date(2025, 1, 9), date(2001, 9, 12), date(2012, 10, 29)])
def test_days_of_mourning_and_of_storms_are_no_sessions(day):
    assert not calendar.is_session(day)
    with pytest.raises(CalendarError, match="holiday"):
        calendar.session(day)


def test_a_weekend_and_a_date_beyond_the_calendar_are_told_apart():
    with pytest.raises(CalendarError, match="weekend"):
        calendar.session(date(2024, 1, 6))
    with pytest.raises(CalendarError, match="outside the calendar"):
        calendar.session(date(2031, 1, 6))


def test_offsets_count_trading_days():
    assert calendar.session_offset(date(2024, 11, 29), 1) == date(2024, 12, 2)
    assert calendar.session_offset(date(2024, 11, 29), -1) == date(2024, 11, 27)
    assert calendar.previous_session(date(2024, 12, 1)) == date(2024, 11, 29)
    assert calendar.next_session(date(2024, 12, 1)) == date(2024, 12, 2)


def test_a_session_is_completed_at_its_close_and_not_before():
    assert calendar.last_completed_session(datetime(2024, 11, 29, 17, 59, tzinfo=UTC)) == date(2024, 11, 27)
    assert calendar.last_completed_session(datetime(2024, 11, 29, 18, 0, tzinfo=UTC)) == date(2024, 11, 29)
    # 02:00 UTC on Saturday is Friday evening in New York.
    assert calendar.last_completed_session(datetime(2024, 11, 30, 2, 0, tzinfo=UTC)) == date(2024, 11, 29)


def test_a_full_session_has_26_snapshots_from_a_quarter_of_an_hour_after_the_open_to_the_close():
    instants = calendar.snapshot_instants(date(2024, 11, 1))
    # 09:45 and 16:00 New York in daylight-saving time.
    assert (len(instants), instants[0], instants[-1]) == (
        26,
        datetime(2024, 11, 1, 13, 45, tzinfo=UTC),
        datetime(2024, 11, 1, 20, 0, tzinfo=UTC),
    )
    assert {(later - sooner).total_seconds() for sooner, later in pairwise(instants)} == {900.0}


def test_a_half_day_has_14_snapshots_and_the_last_one_is_at_13_00():
    instants = calendar.snapshot_instants(date(2015, 12, 24))
    assert (len(instants), instants[-1]) == (14, datetime(2015, 12, 24, 18, 0, tzinfo=UTC))


def test_a_holiday_has_no_snapshots():
    with pytest.raises(CalendarError, match="exchange holiday"):
        calendar.snapshot_instants(date(2015, 12, 25))


@pytest.mark.parametrize(
    ("now", "instant"),
    [
        (datetime(2024, 11, 1, 14, 59, 59, tzinfo=UTC), datetime(2024, 11, 1, 14, 45, tzinfo=UTC)),
        (datetime(2024, 11, 1, 15, 0, tzinfo=UTC), datetime(2024, 11, 1, 15, 0, tzinfo=UTC)),
        # Before the first instant of a session, after the close, on a Sunday.
        (datetime(2024, 11, 1, 13, 44, tzinfo=UTC), datetime(2024, 10, 31, 20, 0, tzinfo=UTC)),
        (datetime(2024, 11, 1, 22, 0, tzinfo=UTC), datetime(2024, 11, 1, 20, 0, tzinfo=UTC)),
        (datetime(2024, 11, 3, 15, 0, tzinfo=UTC), datetime(2024, 11, 1, 20, 0, tzinfo=UTC)),
    ],
)
def test_the_last_snapshot_instant_is_the_newest_that_has_come(now, instant):
    assert calendar.last_snapshot_instant(now) == instant


@pytest.mark.parametrize(
    ("now", "instant", "following"),
    [
        # A half day, which closes at 13:00 New York; the next session is Monday.
        ("2015-12-24T14:44:59", None, "2015-12-24T14:45:00"),
        ("2015-12-24T14:45:00", "2015-12-24T14:45:00", "2015-12-24T15:00:00"),
        ("2015-12-24T18:00:05", "2015-12-24T18:00:00", "2015-12-28T14:45:00"),
        ("2015-12-24T18:14:59", "2015-12-24T18:00:00", "2015-12-28T14:45:00"),
        ("2015-12-24T18:15:00", None, "2015-12-28T14:45:00"),
        ("2015-12-25T15:00:00", None, "2015-12-28T14:45:00"),
        # The Friday before the clocks change and the Monday after.
        ("2024-03-08T20:59:59", "2024-03-08T20:45:00", "2024-03-08T21:00:00"),
        ("2024-03-08T21:00:00", "2024-03-08T21:00:00", "2024-03-11T13:45:00"),
    ],
)
def test_a_moment_belongs_to_the_quarter_of_an_hour_it_lies_in(now, instant, following):
    moment = datetime.fromisoformat(f"{now}+00:00")
    found = calendar.snapshot_instant_at(moment)
    assert (found and found.isoformat()) == (instant and f"{instant}+00:00")
    assert calendar.next_snapshot_instant(moment).isoformat() == f"{following}+00:00"
