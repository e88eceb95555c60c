"""Option columns of feature rows: which row of which table counts at a moment, and when none does."""

from datetime import date, timedelta

import polars as pl
import pytest

from strategy_pipeline.analytics.option_features import (
    COLUMNS_READ,
    OPTION_COLUMNS,
    OptionTables,
    expiry_columns,
    gamma_columns,
    option_features,
    pin_columns,
    sessions_read,
    volume_columns,
)
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import FEATURES, GAMMA_EXPOSURE_SNAPSHOTS, OPEN_INTEREST, OPTION_CONTRACTS
from strategy_pipeline.market import calendar
from strategy_pipeline_tests.analytics.bar_frames import NO_ACTIONS, splits
from strategy_pipeline_tests.analytics.context_rows import (
    asked,
    at,
    contract_rows,
    gamma_rows,
    interest_rows,
    volume_rows,
)
from strategy_pipeline_tests.analytics.flow_rows import trades

# A Thursday, the Friday after it, and the half day after Thanksgiving.
DAY, NEXT, HALF_DAY = date(2024, 11, 14), date(2024, 11, 15), date(2024, 11, 29)


def gamma(rows: pl.DataFrame, snapshots: pl.DataFrame, pin: float | None = None, actions=NO_ACTIONS) -> pl.DataFrame:
    return gamma_columns(rows.with_columns(max_pain_strike=pl.lit(pin, dtype=pl.Float64)), snapshots, actions)


def test_crafted_rows_meet_the_contracts_of_their_tables():
    conform(GAMMA_EXPOSURE_SNAPSHOTS, gamma_rows({"session": DAY, "minute": 15, "gamma_flip": 5_900.0}))
    terms = contract_rows({"session": DAY, "strike": 5_900.0, "option_type": "call", "expiration": DAY})
    conform(OPTION_CONTRACTS, terms)
    conform(OPEN_INTEREST, interest_rows(terms, [10]))


def test_without_tables_every_column_is_null_and_has_its_type():
    found = option_features(asked(("SPX", DAY, 15)), OptionTables(), NO_ACTIONS)
    assert found.schema == {name: FEATURES.polars_schema[name] for name in OPTION_COLUMNS}
    assert found.null_count().row(0) == (1,) * len(OPTION_COLUMNS)


def test_the_newest_known_snapshot_counts_for_thirty_session_minutes():
    snapshots = gamma_rows(
        {"session": DAY, "minute": 15, "net_gex_ratio": 0.25, "max_gamma_strike": 5_900.0},
        {"session": DAY, "minute": 30, "net_gex_ratio": -0.5, "available_at": at(DAY, 31)},
    )
    rows = asked(*(("SPX", DAY, minute) for minute in (14, 15, 30, 31, 60, 61)))
    found = gamma(rows, snapshots)
    assert found["net_gex_ratio"].to_list() == [None, 0.25, 0.25, -0.5, -0.5, None]
    assert found["max_gamma_strike"].to_list() == [None, 5_900.0, 5_900.0, None, None, None]


def test_the_close_lends_its_snapshot_to_the_first_half_hour_unless_a_split_lies_between():
    closing = gamma_rows({"session": DAY, "minute": 390, "call_wall": 6_000.0})
    rows = asked(("SPX", NEXT, 30), ("SPX", NEXT, 31))
    assert gamma(rows, closing)["call_wall"].to_list() == [6_000.0, None]
    assert gamma(rows, closing, actions=splits(("SPX", NEXT, 4.0)))["call_wall"].to_list() == [None, None]
    assert gamma(rows, closing, actions=splits(("SPX", DAY, 4.0)))["call_wall"].to_list() == [6_000.0, None]


@pytest.mark.parametrize("status", ["insufficient", "stale", "missing_input"])
def test_a_snapshot_that_is_not_ok_says_nothing_and_hides_the_one_before_it(status):
    snapshots = gamma_rows(
        {"session": DAY, "minute": 15, "net_gex_ratio": 0.25},
        {"session": DAY, "minute": 30, "net_gex_ratio": 0.5, "status": status},
    )
    assert gamma(asked(("SPX", DAY, 29), ("SPX", DAY, 30)), snapshots)["net_gex_ratio"].to_list() == [0.25, None]


def test_only_convention_a_of_the_rows_own_symbol_counts():
    snapshots = gamma_rows(
        {"session": DAY, "minute": 15, "net_gex_ratio": 0.25},
        {"session": DAY, "minute": 15, "net_gex_ratio": -1.0, "sign_convention": "B"},
        {"session": DAY, "minute": 15, "net_gex_ratio": 0.75, "symbol": "SPY"},
    )
    rows = asked(("SPX", DAY, 20), ("SPY", DAY, 20), ("AAA", DAY, 20))
    assert gamma(rows, snapshots)["net_gex_ratio"].to_list() == [0.25, 0.75, None]


def test_a_late_revision_of_an_old_snapshot_does_not_go_before_a_newer_one():
    snapshots = gamma_rows(
        {"session": DAY, "minute": 15, "net_gex_ratio": 0.25},
        {"session": DAY, "minute": 30, "net_gex_ratio": 0.5},
        {"session": DAY, "minute": 15, "net_gex_ratio": -0.9, "available_at": at(DAY, 35)},
        {"session": DAY, "minute": 30, "net_gex_ratio": 0.6, "available_at": at(DAY, 40)},
    )
    rows = asked(("SPX", DAY, 20), ("SPX", DAY, 36), ("SPX", DAY, 40))
    assert gamma(rows, snapshots)["net_gex_ratio"].to_list() == [0.25, 0.5, 0.6]


def test_gamma_at_the_pin_is_the_net_of_calls_and_puts_at_that_strike():
    snapshots = gamma_rows(
        {"session": DAY, "minute": 15, "gex_by_strike": [[5_890.0, 7e6, -1e6], [5_900.0, 5e6, -8e6]]}
    )
    rows = asked(("SPX", DAY, 20))
    assert [gamma(rows, snapshots, pin)["gex_at_pin"][0] for pin in (5_890.0, 5_900.0, 5_895.0, None)] == [
        6e6, -3e6, None, None,
    ]  # fmt: skip


def expiries(*rows: tuple[date, date, str]) -> pl.DataFrame:
    """One call each of (session, expiration, settlement)."""
    return contract_rows(
        *(
            {"session": day, "expiration": ends, "settlement": settlement, "strike": 5_900.0, "option_type": "call"}
            for day, ends, settlement in rows
        )
    )


def test_an_expiry_settles_today_until_its_settlement_and_else_the_next_one_is_nearest():
    contracts = expiries((DAY, NEXT, "pm"), (NEXT, NEXT, "pm"), (NEXT, date(2024, 11, 18), "pm"))
    found = expiry_columns(asked(("SPX", DAY, 30), ("SPX", NEXT, 30), ("SPX", NEXT, 390), ("SPY", NEXT, 30)), contracts)
    assert found["is_0dte"].to_list() == [False, True, True, None]
    # A day and 360 minutes to Friday's close; 360 minutes; none.
    assert found["minutes_to_expiry"].to_list() == [1_440 + 360, 360, 0, None]


def test_what_settles_on_the_open_is_past_when_the_first_bar_ends():
    # 2024-11-15 is the third Friday: SPX settles on the open, SPXW on the close.
    rows = asked(("SPX", DAY, 390), ("SPX", NEXT, 5))
    monthly = expiries((DAY, NEXT, "am"), (NEXT, NEXT, "am"), (NEXT, date(2024, 12, 20), "am"))
    found = expiry_columns(rows, monthly)
    assert found["is_0dte"].to_list() == [False, False]
    # Thursday 16:00 to Friday 09:30 is 17.5 hours; 35 days less five minutes to the open of 2024-12-20.
    assert found["minutes_to_expiry"].to_list() == [1_050, 35 * 1_440 - 5]
    weekly = pl.concat([monthly, expiries((NEXT, NEXT, "pm"))])
    assert expiry_columns(rows, weekly)["is_0dte"].to_list() == [False, True]


def test_a_half_day_settles_at_its_own_close():
    found = expiry_columns(asked(("SPX", HALF_DAY, 180)), expiries((HALF_DAY, HALF_DAY, "pm")))
    assert found.row(0) == (True, 30)


def test_a_contract_that_nobody_knows_yet_does_not_expire_today():
    later = expiries((NEXT, NEXT, "pm")).with_columns(available_at=pl.lit(at(NEXT, 60)))
    contracts = pl.concat([expiries((NEXT, date(2024, 11, 18), "pm")), later])
    found = expiry_columns(asked(("SPX", NEXT, 59), ("SPX", NEXT, 60)), contracts)
    assert found["is_0dte"].to_list() == [False, True]


# context_engines.md section 3: call OI 100/200/300 and put OI 300/200/100 at 95/100/105 give max pain 100.
STRIKES = [
    (strike, kind, size)
    for kind, sizes in (("call", (100, 200, 300)), ("put", (300, 200, 100)))
    for strike, size in zip((95.0, 100.0, 105.0), sizes, strict=True)
]


def chain(day: date, expiration: date, **more) -> tuple[pl.DataFrame, pl.DataFrame]:
    terms = contract_rows(
        *(
            {"session": day, "expiration": expiration, "strike": k, "option_type": kind, **more}
            for k, kind, _ in STRIKES
        )
    )
    return terms, interest_rows(terms, [size for _, _, size in STRIKES])


def test_the_pin_is_the_max_pain_strike_of_what_ends_today_with_its_share_of_open_interest():
    terms, interest = chain(NEXT, NEXT)
    others, other_interest = chain(NEXT, date(2024, 11, 18), root="SPXW", symbol="SPX")
    both = (
        pl.concat([terms, others]),
        pl.concat([interest, other_interest.with_columns(open_interest=pl.lit(9_999, dtype=pl.Int64))]),
    )
    found = pin_columns(asked(("SPX", NEXT, 15), ("SPX", DAY, 15), ("SPY", NEXT, 15)), both[1], both[0])
    # 400 of 1,200 contracts lie at 100.
    assert found.rows() == [(100.0, 400, pytest.approx(100 / 3)), (None, None, None), (None, None, None)]


def test_contracts_that_settled_on_the_open_hold_no_pin():
    terms, interest = chain(NEXT, NEXT, settlement="am", root="SPX")
    assert pin_columns(asked(("SPX", NEXT, 15)), interest, terms)["max_pain_strike"].to_list() == [None]


def test_equally_painful_strikes_are_decided_by_the_previous_close():
    # One call at 90 and one put at 110 hurt alike anywhere between.
    terms = contract_rows(
        {"session": NEXT, "expiration": NEXT, "strike": 90.0, "option_type": "call"},
        {"session": NEXT, "expiration": NEXT, "strike": 110.0, "option_type": "put"},
    )
    interest = interest_rows(terms, [10, 10])
    pins = [
        pin_columns(asked(("SPX", NEXT, 15), prev_close=close), interest, terms)["max_pain_strike"][0]
        for close in (95.0, 105.0, None)
    ]
    assert pins == [90.0, 110.0, 90.0]


def test_open_interest_without_a_single_open_contract_has_no_pin():
    terms, interest = chain(NEXT, NEXT)
    assert pin_columns(asked(("SPX", NEXT, 15)), interest.with_columns(open_interest=0), terms).row(0) == (None,) * 3


def test_open_interest_published_late_counts_from_its_publication():
    terms, interest = chain(NEXT, NEXT)
    late = interest.with_columns(available_at=pl.lit(at(NEXT, 60)))
    rows = asked(("SPX", NEXT, 59), ("SPX", NEXT, 60))
    assert pin_columns(rows, late, terms)["oi_at_pin"].to_list() == [None, 400]
    revised = pl.concat([interest, late.with_columns(open_interest=pl.col("open_interest") * 2)])
    assert pin_columns(rows, revised, terms)["oi_at_pin"].to_list() == [400, 800]


def test_the_share_of_calls_is_of_near_expiries_and_null_before_anything_traded():
    minutes = volume_rows(("SPX", DAY, 10, 0, 0, 50), ("SPX", DAY, 11, 30, 10, 90))
    rows = asked(("SPX", DAY, 9), ("SPX", DAY, 10), ("SPX", DAY, 11), ("SPX", DAY, 15))
    found = volume_columns(rows, minutes, NO_ACTIONS)
    assert found["call_volume_share_pct"].to_list() == [None, None, 75.0, 75.0]
    assert found["opt_rvol"].null_count() == 4


def test_option_volume_is_compared_with_the_same_minute_of_twenty_sessions():
    days = sessions_read(DAY)[next(table for table in sessions_read(DAY) if table.name == "option_volume_minutes")]
    assert len(days) == 21
    minutes = volume_rows(
        *(("SPX", day, minute, 1, 1, 100 * minute) for day in days[-11:-1] for minute in (1, 2, 3)),
        ("SPX", DAY, 1, 1, 1, 100),
        ("SPX", DAY, 2, 1, 1, 500),
    )
    rows = asked(("SPX", DAY, 1), ("SPX", DAY, 2))
    # Ten sessions hold 100 by minute 1 and 200 by minute 2.
    assert volume_columns(rows, minutes, NO_ACTIONS)["opt_rvol"].to_list() == [1.0, 2.5]
    # Each of their contracts is two since a split of this morning.
    assert volume_columns(rows, minutes, splits(("SPX", DAY, 2.0)))["opt_rvol"].to_list() == [0.5, 1.25]


def test_flow_of_the_last_hour_is_joined_and_too_little_of_it_is_null():
    printed = at(DAY, 60)
    flow = trades(*({"symbol": "SPX", "sip_timestamp": printed, "premium_usd": 10_000.0} for _ in range(10)))
    rows = asked(("SPX", DAY, 59), ("SPX", DAY, 60), ("SPX", DAY, 119), ("SPX", DAY, 120))
    found = option_features(rows, OptionTables(flow=flow), NO_ACTIONS)
    assert found["flow_bias"].to_list() == [None, "bullish", "bullish", None]
    assert found["flow_score"].to_list() == [None, 100.0, 100.0, None]


def test_columns_that_are_read_stand_in_the_tables():
    for table in sessions_read(DAY):
        assert set(COLUMNS_READ.get(table.name, ())) <= set(table.polars_schema)


def test_nothing_after_a_session_is_read_and_the_first_session_has_none_before():
    assert all(day <= DAY for days in sessions_read(DAY).values() for day in days)
    first = calendar.first_session()
    assert all(days == [first] for days in sessions_read(first).values())


def test_rows_may_come_in_any_order():
    snapshots = gamma_rows(
        *({"session": DAY, "minute": minute, "net_gex_ratio": minute / 1_000} for minute in range(15, 391, 15))
    )
    rows = asked(*(("SPX", DAY, minute) for minute in range(15, 391, 5)))
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=3)
    straight = rows.with_columns(gamma(rows, snapshots)["net_gex_ratio"])
    other = shuffled.with_columns(gamma(shuffled, snapshots)["net_gex_ratio"]).sort("bar_end")
    assert other.equals(straight)
    assert timedelta(0) not in straight["bar_end"].diff().drop_nulls().to_list()
