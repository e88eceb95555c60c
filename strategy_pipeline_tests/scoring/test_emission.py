"""Emission: rank, cooldown, hourly limit, lifetimes and identity of signals (detectors.md section 7.5)."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.scoring.emission import ACCEPTED_SCHEMA, emitted, lifetimes, signal_ids

OPEN = datetime(2024, 3, 4, 14, 30, tzinfo=UTC)
SCHEMA = {
    "symbol": pl.String, "detector": pl.String, "bar_end": INSTANT, "reject_reason": pl.String,
    "recommended_score": pl.Float64, "recommended_unclamped": pl.Float64, "cooldown_min": pl.Float64,
    "signals_per_hour": pl.Float64,
}  # fmt: skip


def candidate(detector="a", minute=60, score=80.0, unclamped=None, symbol="SPY", cooldown=15, hourly=2, reason=None):
    bar_end = OPEN + timedelta(minutes=minute)
    return (symbol, detector, bar_end, reason, score, unclamped or score, float(cooldown), float(hourly))


def frame(*rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def reasons(*rows, before=None):
    return emitted(frame(*rows), before).to_list()


def test_the_highest_score_takes_the_slot_of_a_symbol_and_bar():
    assert reasons(candidate("a", score=80), candidate("b", score=81), candidate("c", symbol="QQQ")) == [
        "outranked",
        None,
        None,
    ]


def test_between_equal_scores_the_one_that_was_cut_more_wins_then_the_first_name():
    assert reasons(candidate("a", score=100, unclamped=101), candidate("b", score=100, unclamped=130)) == [
        "outranked",
        None,
    ]
    assert reasons(candidate("b"), candidate("a")) == ["outranked", None]


def test_a_rejected_row_keeps_its_reason_and_takes_no_slot():
    assert reasons(candidate("a", score=99, reason="rr_below_min"), candidate("b")) == ["rr_below_min", None]


def test_a_detector_cools_down_on_its_symbol_alone():
    rows = (candidate("a", 60), candidate("a", 70), candidate("b", 75), candidate("a", 70, symbol="QQQ"))
    assert reasons(*rows) == [None, "cooldown", None, None]


def test_a_cooldown_is_over_when_its_minutes_are():
    assert reasons(candidate(minute=60), candidate(minute=74)) == [None, "cooldown"]
    assert reasons(candidate(minute=60), candidate(minute=75)) == [None, None]


def test_a_cooling_detector_starts_no_new_cooldown():
    assert reasons(candidate(minute=60), candidate(minute=70), candidate(minute=76)) == [None, "cooldown", None]


def test_the_slot_is_not_handed_on_when_its_taker_cools_down():
    assert reasons(candidate("a", 60), candidate("a", 70, score=90), candidate("b", 70)) == [
        None,
        "cooldown",
        "outranked",
    ]


def test_an_hour_holds_so_many_signals_of_a_symbol():
    rows = [candidate(name, minute) for name, minute in (("a", 60), ("b", 70), ("c", 119), ("d", 120))]
    assert reasons(*rows) == [None, None, "hourly_limit", None]


def test_what_was_accepted_before_counts():
    before = pl.DataFrame([("SPY", "a", OPEN + timedelta(minutes=50))], schema=ACCEPTED_SCHEMA, orient="row")
    assert reasons(candidate(minute=60), before=before) == ["cooldown"]
    assert reasons(candidate(minute=60)) == [None]


def test_what_is_stored_of_the_same_bar_or_later_does_not_stand_in_its_own_way():
    before = pl.DataFrame(
        [("SPY", "a", OPEN + timedelta(minutes=minute)) for minute in (60, 65)], schema=ACCEPTED_SCHEMA, orient="row"
    )
    assert reasons(candidate(minute=60), before=before) == [None]


rows_of_a_day = st.lists(
    st.builds(
        candidate,
        st.sampled_from("abc"),
        st.integers(1, 40).map(lambda at: at * 5),
        st.integers(60, 70).map(float),
        symbol=st.sampled_from(["SPY", "QQQ"]),
        cooldown=st.sampled_from([10, 45]),
        hourly=st.sampled_from([1, 3]),
    ),
    max_size=30,
    unique_by=lambda row: row[:3],
)


@settings(deadline=None)
@given(rows_of_a_day, st.integers(0, 40), st.randoms(use_true_random=False))
def test_neither_a_restart_nor_the_order_of_rows_changes_anything(rows, cut, random):
    whole = {row[:3]: reason for row, reason in zip(rows, reasons(*rows), strict=True)}
    moment = OPEN + timedelta(minutes=5 * cut)
    first, second = ([row for row in rows if (row[2] <= moment) == early] for early in (True, False))
    random.shuffle(second)
    found = dict(zip([row[:3] for row in first], reasons(*first), strict=True))
    accepted = [key for key, reason in found.items() if reason is None]
    stored = pl.DataFrame(accepted, schema=ACCEPTED_SCHEMA, orient="row")
    found |= zip([row[:3] for row in second], reasons(*second, before=stored), strict=True)
    assert found == whole


def life(style, bar_end, session):
    rows = pl.DataFrame(
        [(session, bar_end, style)],
        schema={"session": pl.Date, "bar_end": INSTANT, "recommended_style": pl.String},
        orient="row",
    )
    return lifetimes(rows).item()


def test_how_long_signals_live():
    monday, bar_end = date(2024, 3, 4), OPEN + timedelta(minutes=60)
    assert life("scalp", bar_end, monday) == OPEN + timedelta(minutes=90)
    assert life("scalp", OPEN + timedelta(minutes=375), monday) == datetime(2024, 3, 4, 21, tzinfo=UTC)
    assert life("day", bar_end, monday) == datetime(2024, 3, 4, 21, tzinfo=UTC)
    # The fifth following session is Monday 11 March, the first day of summer time: 16:00 is 20:00 UTC.
    assert life("swing", bar_end, monday) == datetime(2024, 3, 11, 20, tzinfo=UTC)
    assert life(None, bar_end, monday) is None


def test_a_day_trade_of_a_half_day_ends_with_it():
    friday = date(2024, 11, 29)
    assert life("day", datetime(2024, 11, 29, 15, tzinfo=UTC), friday) == datetime(2024, 11, 29, 18, tzinfo=UTC)


def test_the_identity_of_a_signal_is_its_key_and_nothing_else():
    key = {"symbol": "SPY", "detector": "a", "timeframe": "15m", "bar_end": OPEN, "definition_version": "1-x"}
    schema = dict.fromkeys(key, pl.String) | {"bar_end": INSTANT}

    def identity(**changes):
        return signal_ids(pl.DataFrame([key | changes], schema=schema)).item()

    assert identity() == identity()
    # The first 24 hex digits of sha256("SPY|a|15m|2024-03-04T14:30:00+00:00|1-x"), computed with sha256sum.
    assert identity() == "b99f499bff0c2a8f4d6662b1"
    others = {"symbol": "QQQ", "detector": "b", "timeframe": "5m", "definition_version": "2-x"}
    changed = [identity(**{name: value}) for name, value in others.items()]
    changed.append(identity(bar_end=OPEN + timedelta(minutes=15)))
    assert len({identity(), *changed}) == 6


def test_no_rows_have_no_reasons():
    assert reasons() == []
