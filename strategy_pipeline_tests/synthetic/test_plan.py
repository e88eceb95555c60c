"""The plan: its calendar, its peculiarities, and what it refuses."""

from datetime import UTC, date, datetime

import pytest

from strategy_pipeline.errors import CalendarError, SettingsError
from strategy_pipeline.market.calendar import session
from strategy_pipeline.synthetic.plan import PLANTED_DETECTOR, plan_market


def test_the_default_window_is_90_sessions_with_a_half_day_and_the_end_of_daylight_saving() -> None:
    plan = plan_market()
    # 90 XNYS sessions back from Friday 2024-12-20, counted on the exchange's calendar (Labor Day, Thanksgiving closed).
    assert (plan.sessions[0], plan.sessions[-1], len(plan.sessions)) == (date(2024, 8, 15), date(2024, 12, 20), 90)
    assert plan.half_days == (date(2024, 11, 29),)
    assert session(date(2024, 11, 1)).open == datetime(2024, 11, 1, 13, 30, tzinfo=UTC)
    assert session(date(2024, 11, 4)).open == datetime(2024, 11, 4, 14, 30, tzinfo=UTC)
    assert {date(2024, 11, 1), date(2024, 11, 4)} <= set(plan.sessions)


def test_day_bars_reach_60_sessions_further_back() -> None:
    plan = plan_market()
    assert len(plan.history) == 60
    assert plan.history[-1] == date(2024, 8, 14)


def test_ten_symbols_hold_two_indices_their_funds_and_six_stocks() -> None:
    instruments = plan_market().instruments
    assert [(one.symbol, one.asset_class, one.proxy) for one in instruments[:4]] == [
        ("SPX", "INDEX", "SPY"),
        ("SPY", "EQUITY_ETF", None),
        ("NDX", "INDEX", "QQQ"),
        ("QQQ", "EQUITY_ETF", None),
    ]
    assert [one.asset_class for one in instruments[4:]] == ["STOCK"] * 6


def test_one_split_of_four_for_one_lies_inside_the_window() -> None:
    plan = plan_market()
    (split,) = plan.splits
    assert (split.symbol, split.split_from, split.split_to) == ("ECHO", 1, 4)
    assert split.execution_date in plan.sessions[1:]


def test_the_planted_edge_follows_washouts_that_leave_fifteen_bars_to_the_close() -> None:
    plan = plan_market()
    assert PLANTED_DETECTOR == "mean_reversion_long"
    assert len(plan.planted) >= 60
    assert len({one.session for one in plan.planted}) >= 40
    assert len({one.symbol for one in plan.planted}) == 5
    for one in plan.planted:
        assert one.jump_bps < 0 < one.recovery_bps <= -one.jump_bps
        assert (session(one.session).close - one.bar_end).total_seconds() >= 225 * 60
        assert (one.bar_end - session(one.session).open).total_seconds() % 900 == 0


def test_without_the_plant_the_same_news_breaks_and_nothing_follows() -> None:
    planted, driftless = plan_market(), plan_market(plant=False)
    assert driftless.planted == ()
    assert [(n.symbol, n.bar_end, n.jump_bps) for n in driftless.news] == [
        (n.symbol, n.bar_end, n.jump_bps) for n in planted.news
    ]


def test_news_is_as_often_good_as_bad() -> None:
    signs = [1 if one.jump_bps > 0 else -1 for seed in range(20) for one in plan_market(seed).news]
    # Standard error of the mean of n signs is 1/sqrt(n).
    assert abs(sum(signs)) < 3 * len(signs) ** 0.5


def test_a_plan_depends_on_its_seed_alone() -> None:
    assert plan_market(3) == plan_market(3)
    assert plan_market(3).news != plan_market(4).news


@pytest.mark.parametrize("count", [0, 5, 31])
def test_an_impossible_number_of_symbols_is_refused_with_the_possible_ones(count: int) -> None:
    with pytest.raises(SettingsError, match=f"cannot have {count} symbols: ask for 6 to 30"):
        plan_market(symbols=count)


def test_a_market_without_sessions_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one session, not 0"):
        plan_market(sessions=0)


def test_an_end_that_is_no_session_is_refused() -> None:
    with pytest.raises(CalendarError, match="2024-12-25 is an exchange holiday"):
        plan_market(end=date(2024, 12, 25))
