"""IVPercentileEngine: bands, confidence, ages and reach."""

from datetime import UTC, date, datetime, timedelta
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.engines.implied_volatility import iv_engine
from strategy_pipeline.errors import DataError
from strategy_pipeline_tests.engines.context_rows import BEFORE, NOW, answer, iv_row, iv_table

ENGINE = iv_engine()


# context_engines.md section 2: percentile, n, multiplier, confidence, ln m contribution.
@pytest.mark.parametrize(
    ("percentile", "n", "multiplier", "confidence", "contribution"),
    [
        (39.8810, 252, 1.00, 1.0, 0.0),
        (8.1349, 252, 1.20, 1.0, 0.1823),
        (85.0, 150, 0.85, 0.9485, -0.1542),
        (99.8016, 252, 0.70, 0.90, -0.3210),
    ],
)
def test_a_percentile_is_worth_this(percentile, n, multiplier, confidence, contribution):
    row = answer(ENGINE, iv_table(iv_row(percentile, n=n)))
    assert row["status"] == "ok"
    assert row["multiplier"] == multiplier
    assert row["confidence"] == pytest.approx(confidence, abs=5e-5)
    assert row["contribution_ln"] == pytest.approx(contribution, abs=5e-5)


def test_effective_multipliers():
    # context_engines.md section 2: .8571 for p 85 with n 150, .7254 for p 99.8016.
    for percentile, n, effective in ((85.0, 150, 0.8571), (99.8016, 252, 0.7254)):
        row = answer(ENGINE, iv_table(iv_row(percentile, n=n)))
        assert row["multiplier"] ** row["confidence"] == pytest.approx(effective, abs=5e-5)


@pytest.mark.parametrize(
    ("percentile", "label", "multiplier", "recommendation"),
    [
        (0.0, "EXTREMELY_LOW", 1.20, "BUY_PREMIUM"), (10.0, "LOW", 1.10, "BUY_PREMIUM"),
        (20.0, "NORMAL", 1.00, "BUY_FAVORABLE"), (40.0, "NORMAL", 1.00, "NEUTRAL"),
        (60.0, "ELEVATED", 0.95, "WAIT_FOR_IV_DROP"), (80.0, "HIGH", 0.85, "WAIT_FOR_IV_DROP"),
        (90.0, "EXTREMELY_HIGH", 0.70, "SELL_PREMIUM"),
    ],
)  # fmt: skip
def test_a_band_begins_at_its_cut(percentile, label, multiplier, recommendation):
    row = answer(ENGINE, iv_table(iv_row(percentile)))
    assert (row["label"], row["multiplier"], row["recommendation"]) == (label, multiplier, recommendation)


def test_all_labels_and_recommendations_are_reached():
    rows = [answer(ENGINE, iv_table(iv_row(p))) for p in (1.0, 15.0, 30.0, 50.0, 70.0, 85.0, 95.0)]
    assert {row["label"] for row in rows} == set(ENGINE.labels)
    assert {row["recommendation"] for row in rows} == set(ENGINE.recommendations)


def test_extremes_and_a_single_expiry_lower_the_confidence():
    def confidence(percentile: float, **changes: object) -> float:
        return answer(ENGINE, iv_table(iv_row(percentile, **changes)))["confidence"]

    assert [confidence(p) for p in (4.9, 5.0, 95.0, 95.1)] == pytest.approx([0.9, 1.0, 1.0, 0.9], abs=1e-12)
    assert confidence(50.0, cm30_status="single_expiry") == pytest.approx(0.85, abs=1e-12)
    # All at once, n 126: 1 - .2 x 76/202 - .10 - .15.
    assert confidence(1.0, n=126, cm30_status="single_expiry") == pytest.approx(0.674752, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cm30_atm_iv": None, "cm30_status": "insufficient"}, "no_iv"),
        ({"n": 125}, "too_little_history"),
        ({}, "no_percentile"),
    ],
)
def test_too_little_data_is_neutral_and_says_which(changes, reason):
    row = answer(ENGINE, iv_table(iv_row(None, **changes)))
    assert (row["status"], row["reason"]) == ("missing", reason)
    assert (row["multiplier"], row["contribution_ln"], row["confidence"]) == (1.0, 0.0, 0.0)


def test_without_a_row_of_the_symbol_nothing_is_said():
    row = answer(ENGINE, iv_table(iv_row(5.0, symbol="QQQ")))
    assert (row["status"], row["reason"], row["age_min"], row["source_key"]) == ("missing", "no_row", None, None)


@pytest.mark.parametrize(
    ("session", "status", "age_min"),
    [(BEFORE, "ok", 90.0), (date(2024, 5, 31), "stale", 480.0)],
)
def test_a_row_older_than_one_session_is_stale(session, status, age_min):
    row = answer(ENGINE, iv_table(iv_row(5.0, session=session)))
    assert (row["status"], row["age_min"]) == (status, age_min)
    if status == "stale":
        assert (row["reason"], row["multiplier"], row["contribution_ln"]) == ("too_old", 1.0, 0.0)


def test_weekends_and_holidays_do_not_age_a_row():
    # Friday's row on the Tuesday after Memorial Day (2024-05-27).
    row = answer(
        ENGINE, iv_table(iv_row(5.0, session=date(2024, 5, 24))), as_of=datetime(2024, 5, 28, 14, 0, tzinfo=UTC)
    )
    assert (row["status"], row["age_min"]) == ("ok", 30.0)


def test_a_row_counts_from_when_it_was_known():
    known = NOW - timedelta(minutes=5)
    table = iv_table(iv_row(95.0, session=date(2024, 5, 31)), iv_row(5.0, available_at=known))
    assert answer(ENGINE, table)["label"] == "EXTREMELY_LOW"
    assert answer(ENGINE, table, as_of=known - timedelta(microseconds=1))["status"] == "stale"


def test_a_late_revision_of_an_old_row_does_not_hide_the_newest():
    revised = iv_row(95.0, session=date(2024, 5, 31), revision=1, available_at=NOW - timedelta(minutes=1))
    assert answer(ENGINE, iv_table(revised, iv_row(5.0)))["label"] == "EXTREMELY_LOW"


def test_shares_in_place_of_per_cent_are_refused():
    shares = iv_table(*(iv_row(0.05 * n, symbol=f"S{n}") for n in range(20)))
    with pytest.raises(DataError, match="never exceeds 1"):
        answer(ENGINE, shares)
    assert answer(ENGINE, shares.head(19))["status"] == "missing"


def test_inputs_that_are_done_without_are_named():
    row = answer(ENGINE, iv_table(iv_row(50.0, iv_rank_pct=None, iv_trend=None)))
    assert row["inputs_missing"] == ["iv_rank_pct", "iv_trend"]


def test_a_credit_strategy_has_the_reciprocal():
    for percentile in (1.0, 15.0, 70.0, 85.0, 95.0):
        table = iv_table(iv_row(percentile))
        debit, credit = answer(ENGINE, table), answer(iv_engine(credit=True), table)
        assert credit["multiplier"] == pytest.approx(1 / debit["multiplier"], abs=1e-15)
        assert credit["definition_version"] != debit["definition_version"]


@settings(max_examples=80, deadline=None)
@given(one=st.floats(0, 100), other=st.floats(0, 100))
def test_cheaper_volatility_is_never_worth_less_and_both_sides_pay_the_same(one, other):
    low, high = sorted((one, other))
    cheap, dear = answer(ENGINE, iv_table(iv_row(low))), answer(ENGINE, iv_table(iv_row(high)))
    assert cheap["multiplier"] >= dear["multiplier"]
    short = answer(ENGINE, iv_table(iv_row(low)), direction="SHORT")
    assert (
        short["contribution_ln"]
        == cheap["contribution_ln"]
        == pytest.approx(cheap["confidence"] * log(cheap["multiplier"]), abs=1e-15)
    )


def test_the_order_of_rows_changes_nothing():
    rows = [iv_row(5.0 * n, session=day) for n, day in enumerate((date(2024, 5, 30), date(2024, 5, 31), BEFORE))]
    table = iv_table(*rows)
    assert answer(ENGINE, table.reverse()) == answer(ENGINE, table)
