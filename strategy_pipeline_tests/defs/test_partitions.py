"""The session partitions are the exchange's sessions, no more and no fewer."""

from datetime import date, datetime

import pytest

from strategy_pipeline.defs.partitions import DETECTORS, SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.market import calendar


def test_the_keys_are_exactly_the_sessions_of_the_exchange():
    keys = SESSIONS.get_partition_keys(current_time=datetime(2028, 1, 3))
    assert keys == [day.isoformat() for day in calendar.sessions_between(date(1998, 1, 2), date(2027, 12, 31))]
    # 30 years of XNYS from exchange_calendars 4.13: 1998-01-02 .. 2018-12-31 has 5,283 sessions (data README).
    assert sum(key <= "2018-12-31" for key in keys) == 5_283


@pytest.mark.parametrize(
    ("now", "last"),
    [
        # Friday 2024-03-08, the DST change follows on Sunday.
        (datetime(2024, 3, 8, 23, 59), "2024-03-07"),
        (datetime(2024, 3, 9, 0, 1), "2024-03-08"),
        (datetime(2024, 3, 11, 12, 0), "2024-03-08"),
        # Good Friday 2024-03-29 has no session.
        (datetime(2024, 3, 30, 12, 0), "2024-03-28"),
    ],
)
def test_a_session_is_usable_from_the_midnight_after_it(now, last):
    assert SESSIONS.get_partition_keys(current_time=now)[-1] == last


@pytest.mark.parametrize("closed", ["2001-09-11", "2012-10-29", "2018-12-05", "2024-07-04", "2024-07-06"])
def test_a_day_without_a_session_is_no_key(closed):
    assert not SESSIONS.has_partition_key(closed)


def test_there_is_a_partition_for_each_of_the_seventeen_detectors_and_the_four_of_the_option_tape():
    keys = DETECTORS.get_partition_keys()
    assert (len(keys), len(catalogue.SEVENTEEN), len(catalogue.OF_THE_TAPE)) == (21, 17, 4)
    assert list(keys) == [detector.name for detector in (*catalogue.SEVENTEEN, *catalogue.OF_THE_TAPE)]


class _Range:
    partition_keys = ("2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05")


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        (PartitionChoice(), list(_Range.partition_keys)),
        (PartitionChoice(only=["2024-01-04"]), ["2024-01-04"]),
        (PartitionChoice(since="2024-01-04"), ["2024-01-04", "2024-01-05"]),
        (PartitionChoice(only=["2024-01-02", "2024-01-05"], since="2024-01-03"), ["2024-01-05"]),
    ],
)
def test_a_ranged_run_can_be_narrowed_to_some_of_its_partitions(choice, keys):
    assert choice.keys(_Range()) == keys
    assert [day.isoformat() for day in sessions_of(keys)] == keys
