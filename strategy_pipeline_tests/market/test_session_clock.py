"""Session time: nights, weekends and holidays take none, half days take what they last."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from strategy_pipeline.market.session_clock import MINUTE_US, instant_of, session_number, session_of, session_us

INSTANT = pl.Datetime("us", "UTC")


def minutes_between(start: datetime, end: datetime) -> float:
    first, last = session_us(pl.Series([start, end], dtype=INSTANT)).to_list()
    return (last - first) / MINUTE_US


def test_minutes_run_only_while_the_exchange_is_open():
    # Friday 2024-11-01 15:50 New York (DST) to Monday 09:40 (after it): 10 + 10 minutes.
    assert minutes_between(datetime(2024, 11, 1, 19, 50, tzinfo=UTC), datetime(2024, 11, 4, 14, 40, tzinfo=UTC)) == 20
    # Wednesday noon over Thanksgiving and the half day to Monday's open: 240 + 210.
    assert minutes_between(datetime(2024, 11, 27, 17, tzinfo=UTC), datetime(2024, 12, 2, 14, 30, tzinfo=UTC)) == 450
    assert minutes_between(datetime(2024, 11, 30, 3, tzinfo=UTC), datetime(2024, 12, 2, 14, tzinfo=UTC)) == 0


def test_session_time_keeps_microseconds_and_nulls():
    moments = [datetime(2024, 12, 2, 14, 30, 0, 7, tzinfo=UTC), None, datetime(2024, 12, 2, 14, 30, tzinfo=UTC)]
    first, second, third = session_us(pl.Series(moments, dtype=INSTANT)).to_list()
    assert second is None
    assert first - third == 7


def test_session_time_leads_back_to_the_first_instant_by_which_it_has_passed():
    friday_close, monday_open = datetime(2024, 11, 29, 18, tzinfo=UTC), datetime(2024, 12, 2, 14, 30, tzinfo=UTC)
    moments = pl.Series([monday_open, monday_open + timedelta(minutes=7), friday_close], dtype=INSTANT)
    # No time passes between a close and the next open, so the open leads back to the close.
    assert instant_of(session_us(moments)).to_list() == [friday_close, moments[1], friday_close]


def test_before_the_calendar_no_time_has_passed():
    assert session_us(pl.Series([datetime(1990, 1, 1, tzinfo=UTC)], dtype=INSTANT)).to_list() == [0]


def test_an_instant_belongs_to_its_new_york_date_or_the_session_before():
    moments = [
        datetime(2024, 12, 3, 4, 59, tzinfo=UTC),  # 23:59 of Monday in New York
        datetime(2024, 12, 3, 5, 0, tzinfo=UTC),
        datetime(2024, 11, 28, 17, 0, tzinfo=UTC),  # Thanksgiving
        datetime(2024, 12, 1, 17, 0, tzinfo=UTC),  # Sunday
    ]
    days = [date(2024, 12, 2), date(2024, 12, 3), date(2024, 11, 27), date(2024, 11, 29)]
    assert session_of(pl.Series(moments, dtype=INSTANT)).to_list() == days


def test_session_numbers_count_trading_days():
    days = pl.Series([date(2024, 11, 27), date(2024, 11, 29), None, date(2024, 12, 2)])
    first, half_day, nothing, monday = session_number(days).to_list()
    assert (half_day - first, monday - half_day, nothing) == (1, 1, None)
