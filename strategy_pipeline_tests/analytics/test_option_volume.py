"""Option contracts so far: what is counted, from when it is known, and what it is compared with."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from strategy_pipeline.analytics.lookback import volume_sessions
from strategy_pipeline.analytics.option_volume import option_minutes, option_volume, with_relative_volume, without_terms
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import INSTANT, OPTION_VOLUME_MINUTES
from strategy_pipeline.market.calendar import session
from strategy_pipeline_tests.analytics.option_sessions import real_session

DAY = date(2024, 6, 3)
# 2024-06-03 opens at 13:30 UTC.
OPEN = datetime(2024, 6, 3, 13, 30, tzinfo=UTC)
WEEKLY_CALL, WEEKLY_PUT = "O:SPY240607C00530000", "O:SPY240610P00530000"
MONTHLY_CALL = "O:SPY240621C00530000"
TERMS = {WEEKLY_CALL: (date(2024, 6, 7), "call"), WEEKLY_PUT: (date(2024, 6, 10), "put"),
         MONTHLY_CALL: (date(2024, 6, 21), "call")}  # fmt: skip


def prints(*rows: tuple[str, float, float], opened: datetime = OPEN) -> pl.DataFrame:
    """Minutes of prints from (contract, minutes after the open at which the minute ends, contracts)."""
    frame = pl.DataFrame(
        [(ticker, size, opened + timedelta(minutes=at)) for ticker, at, size in rows],
        schema={"contract_ticker": pl.String, "size": pl.Float64, "event_at": INSTANT},
        orient="row",
    )
    known = pl.col("event_at") + pl.duration(seconds=2)
    return frame.with_columns(available_at=known, ingested_at=pl.lit(OPEN + timedelta(days=1), dtype=INSTANT))


def contracts(*days: date) -> pl.DataFrame:
    rows = [(ticker, day, "SPY", *terms) for day in days or (DAY,) for ticker, terms in TERMS.items()]
    names = ("contract_ticker", "session", "symbol", "expiration", "option_type")
    return pl.DataFrame(rows, schema=names, orient="row")


def counts(rows: pl.DataFrame, minute: int, opened: datetime = OPEN) -> tuple[int, int, int]:
    at = rows.filter(pl.col("minute_end") == opened + timedelta(minutes=minute))
    return at.select("call_volume", "put_volume", "total_volume").row(0)


def test_calls_and_puts_within_a_week_are_counted_apart_and_every_expiry_together():
    rows = option_minutes(
        prints((WEEKLY_CALL, 1, 10), (WEEKLY_PUT, 1, 5), (MONTHLY_CALL, 2, 100), (WEEKLY_CALL, 4, 1)), contracts()
    )
    conform(OPTION_VOLUME_MINUTES, rows)
    assert [counts(rows, minute) for minute in (1, 2, 3, 4)] == [(10, 5, 15), (10, 5, 115), (10, 5, 115), (11, 5, 116)]


def test_an_expiry_seven_days_away_is_near_and_one_of_eight_is_not():
    near = option_minutes(prints((WEEKLY_PUT, 1, 5)), contracts())
    later = contracts().with_columns(expiration=pl.col("expiration") + pl.duration(days=1))
    far = option_minutes(prints((WEEKLY_PUT, 1, 5)), later)
    assert (counts(near, 1), counts(far, 1)) == ((0, 5, 5), (0, 0, 5))


def test_rows_run_from_the_first_print_to_the_close_and_there_is_none_before():
    rows = option_minutes(prints((WEEKLY_CALL, 31, 10)), contracts())
    ends = rows["minute_end"]
    assert (ends.min(), ends.max()) == (OPEN + timedelta(minutes=31), OPEN + timedelta(minutes=390))
    assert rows.height == 360
    assert counts(rows, 390) == (10, 0, 10)


def test_prints_outside_regular_hours_do_not_count():
    early, late = -5, 395
    rows = option_minutes(prints((WEEKLY_CALL, early, 7), (WEEKLY_CALL, 1, 10), (WEEKLY_CALL, late, 9)), contracts())
    assert counts(rows, 390) == (10, 0, 10)
    assert rows["minute_end"].max() == OPEN + timedelta(minutes=390)


def test_a_row_is_known_two_seconds_after_its_minute_and_counts_what_is_known_then():
    held_back = prints((WEEKLY_CALL, 1, 10)).with_columns(available_at=pl.lit(OPEN + timedelta(minutes=3, seconds=2)))
    rows = option_minutes(pl.concat([held_back, prints((WEEKLY_CALL, 2, 1))]), contracts())
    assert [(moment - OPEN).total_seconds() for moment in rows["available_at"][:3]] == [122.0, 182.0, 242.0]
    # The print of the first minute came to be known with the third.
    assert [counts(rows, minute)[0] for minute in (2, 3, 4)] == [1, 11, 11]


def test_a_print_inside_a_minute_counts_at_its_end():
    rows = option_minutes(prints((WEEKLY_CALL, 0.5, 10), (WEEKLY_CALL, 1, 1), (WEEKLY_CALL, 1.5, 100)), contracts())
    assert (counts(rows, 1)[0], counts(rows, 2)[0]) == (11, 111)


def test_prints_of_contracts_without_terms_are_told_and_not_guessed():
    tape = prints((WEEKLY_CALL, 1, 10), ("O:SPY240607C00999000", 1, 3))
    assert counts(option_minutes(tape, contracts()), 1) == (10, 0, 10)
    assert without_terms(tape, contracts()) == 1


def a_month(today: float, before: list[float]) -> pl.DataFrame:
    """`today` contracts at minute 5 of DAY and `before` at minute 5 of the sessions before it, the nearest first."""
    tape = [prints((WEEKLY_CALL, 5, today))]
    for day, size in zip(reversed(volume_sessions(DAY)), before, strict=False):
        tape.append(prints((WEEKLY_CALL, 5, size), opened=session(day).open))
    return pl.concat(tape)


def rvol_of(tape: pl.DataFrame, minute: int = 5) -> float | None:
    rows = option_volume(tape, contracts(DAY, *volume_sessions(DAY)), [DAY])
    assert rows["session"].unique().to_list() == [DAY]
    return rows.filter(pl.col("minute_end") == OPEN + timedelta(minutes=minute))["opt_rvol"].item()


def test_relative_volume_is_the_count_so_far_over_its_mean_at_the_same_minute():
    # 30 against a mean of (10 x 10 + 10 x 20) / 20 = 15.
    assert rvol_of(a_month(30, [10.0] * 10 + [20.0] * 10)) == pytest.approx(2.0)
    # At minute 6 both have what they had at minute 5.
    assert rvol_of(a_month(30, [10.0] * 10 + [20.0] * 10), minute=6) == pytest.approx(2.0)


def test_ten_sessions_are_enough_and_nine_are_not():
    assert rvol_of(a_month(30, [10.0] * 10)) == pytest.approx(3.0)
    assert rvol_of(a_month(30, [10.0] * 9)) is None


def test_a_session_that_traded_later_counts_as_nothing_so_far():
    tape = a_month(30, [10.0] * 10)
    eleventh = list(reversed(volume_sessions(DAY)))[10]
    later = prints((WEEKLY_CALL, 200, 500), opened=session(eleventh).open)
    assert rvol_of(pl.concat([tape, later])) == pytest.approx(30.0 * 11 / 100)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        pytest.param(7.0, 1.0, id="one contract became seven"),
        pytest.param(1.5, 7.0, id="a contract delivers 150 shares"),
        pytest.param(0.1, 7.0, id="a reverse split changes the deliverable"),
    ],
)
def test_contracts_before_a_split_of_whole_shares_are_counted_as_after_it(ratio, expected):
    tape, known = a_month(70, [10.0] * 20), contracts(DAY, *volume_sessions(DAY))
    actions = pl.DataFrame({"symbol": ["SPY"], "action": ["split"], "ex_date": [DAY], "split_ratio": [ratio]})
    rows = option_volume(tape, known, [DAY], actions)
    at_five = rows.filter(pl.col("minute_end") == OPEN + timedelta(minutes=5))
    assert at_five["opt_rvol"].item() == pytest.approx(expected)


def test_what_comes_later_changes_no_row():
    tape = a_month(30, [10.0] * 20)
    later = pl.concat([tape, prints((WEEKLY_CALL, 7, 1_000), (WEEKLY_PUT, 8, 1_000))])
    known = contracts(DAY, *volume_sessions(DAY))
    until = pl.col("minute_end") < OPEN + timedelta(minutes=7)
    assert_frame_equal(
        option_volume(tape, known, [DAY]).filter(until), option_volume(later, known, [DAY]).filter(until)
    )


def test_the_order_of_prints_and_the_cut_of_sessions_change_nothing():
    tape = a_month(30, [float(size) for size in range(1, 21)])
    known = contracts(DAY, *volume_sessions(DAY))
    whole = option_volume(tape, known, [DAY])
    assert_frame_equal(option_volume(tape.sample(fraction=1.0, shuffle=True, seed=5), known, [DAY]), whole)
    pieces = [
        option_minutes(tape.filter(pl.col("event_at").dt.date() == day), known) for day in (DAY, *volume_sessions(DAY))
    ]
    assert_frame_equal(with_relative_volume(pl.concat(pieces), [DAY]), whole)


def test_no_prints_give_no_rows():
    assert option_volume(prints(), contracts(), [DAY]).is_empty()


def test_a_real_session_counts_every_contract_of_regular_hours(shared_data):
    found = real_session(shared_data, date(2015, 12, 24), "GOOG")
    rows = option_minutes(found["prints"], found["contracts"])
    conform(OPTION_VOLUME_MINUTES, rows)
    # A half day: 210 minutes, the last of which ends at 13:00 New York. The sum was taken with awk over the file's
    # rows of GOOG whose minute starts from 09:30 and before 13:00 New York (14:30 to 18:00 UTC).
    assert rows["minute_end"].max() == datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
    last = rows.row(-1, named=True)
    assert last["total_volume"] == 7_471
    assert 0 < last["call_volume"] + last["put_volume"] < last["total_volume"]
