"""The plan of the options: expiries that constant maturities need, and counts that do not look at prices."""

from datetime import date, timedelta

import pytest

from strategy_pipeline.errors import SettingsError
from strategy_pipeline.synthetic.option_plan import (
    CHAINS,
    PINNED,
    SHORT_GAMMA,
    SPLIT_AT_PRICE,
    monthly_expiries,
    plan_options,
    weekly_expiries,
)
from strategy_pipeline.synthetic.plan import plan_market

SPX, ECHO = CHAINS
START, END = date(2024, 1, 2), date(2024, 12, 31)


def test_index_weeklies_expire_on_mondays_wednesdays_and_fridays_that_are_sessions() -> None:
    found = weekly_expiries(SPX, date(2024, 11, 22), date(2024, 12, 6))
    # Thanksgiving was Thursday 2024-11-28; the Friday after it was a half day.
    assert [day.isoformat() for day in found] == [
        "2024-11-22", "2024-11-25", "2024-11-27", "2024-11-29", "2024-12-02", "2024-12-04", "2024-12-06",
    ]  # fmt: skip


def test_monthlies_expire_on_third_fridays_and_before_good_friday_on_thursday() -> None:
    # Good Friday of 2025 is the third Friday of April.
    assert monthly_expiries(date(2025, 3, 1), date(2025, 5, 31)) == [
        date(2025, 3, 21),
        date(2025, 4, 17),
        date(2025, 5, 16),
    ]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.symbol)
def test_every_session_has_the_expiries_that_30_and_90_days_are_interpolated_from(chain) -> None:
    for day in plan_market(sessions=250).sessions:
        listed = weekly_expiries(chain, day, day + timedelta(days=chain.weekly_days))
        listed += monthly_expiries(day, day + timedelta(days=chain.monthly_days))
        ahead = [(one - day).days for one in listed]
        assert any(7 <= days < 30 for days in ahead), day
        assert any(30 < days < 90 for days in ahead), day
        assert any(90 < days <= 180 for days in ahead), day


def test_near_expiries_are_positioned_by_their_weekday() -> None:
    plan = plan_market(option_sessions=20).options
    assert plan is not None
    assert {day.weekday(): kind for day, kind in plan.positioning.items()} == {
        0: SHORT_GAMMA,
        2: PINNED,
        4: SPLIT_AT_PRICE,
    }
    assert len([day for day in plan.positioning if day in plan.sessions]) == 13


def test_a_tape_counts_what_it_plans() -> None:
    plan = plan_market(option_sessions=20).options
    assert plan is not None
    tape = plan.tape("SPX", date(2024, 11, 26))
    assert (tape.regular, tape.crosses, tape.multi_legs, tape.floor, tape.auctions) == (420, 4, 24, 2, 8)
    single = tape.regular + tape.blocks + tape.crosses + 24 + 2 + 8 + tape.late + tape.cancelled
    assert tape.prints == single + 4 * tape.sweeps
    assert tape.burst is not None
    assert tape.sweeps > tape.burst.sweeps == 9
    # Half a session has half the orders: 420 x 210 / 390.
    assert plan.tape("SPX", date(2024, 11, 29)).regular == 226


def test_both_sides_have_hours_of_sweeps() -> None:
    plan = plan_market(option_sessions=20).options
    assert plan is not None
    for symbol in ("SPX", "ECHO"):
        bursts = [tape.burst for tape in plan.tapes if tape.symbol == symbol and tape.burst]
        assert len(bursts) == 5
        assert {one.side for one in bursts} == {1, -1}
        assert all(75 <= one.first_minute <= 300 for one in bursts)


def test_a_stock_that_splits_has_options_from_its_split_on() -> None:
    plan = plan_market(option_sessions=40).options
    assert plan is not None
    assert min(tape.session for tape in plan.tapes if tape.symbol == "ECHO") == date(2024, 11, 12)
    assert min(tape.session for tape in plan.tapes if tape.symbol == "SPX") == plan.sessions[0] < date(2024, 11, 12)


def test_the_rate_changes_once_inside_the_window() -> None:
    plan = plan_options(7, plan_market(sessions=20).sessions, {})
    assert (plan.rate_pct(plan.sessions[0]), plan.rate_pct(plan.sessions[-1])) == (5.0, 4.75)
    assert plan.rates()[1][0] == plan.sessions[-8]


@pytest.mark.parametrize("count", [90, 100, -1])
def test_a_session_without_one_before_it_can_have_no_options(count: int) -> None:
    with pytest.raises(SettingsError, match=f"cannot have options on {count} of them"):
        plan_market(option_sessions=count)
