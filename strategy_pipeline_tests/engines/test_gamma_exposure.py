"""GammaExposureEngine: positioning, walls, confidence, ages and reach."""

from datetime import UTC, datetime, timedelta
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.engines.gamma_exposure import gamma_engine
from strategy_pipeline.errors import DataError
from strategy_pipeline_tests.engines.context_rows import NOW, answer, gamma_row, gamma_table

ENGINE = gamma_engine()


# context_engines.md section 3, known answers; the wall stands half a per cent above the underlying.
@pytest.mark.parametrize(
    ("ratio", "row", "multiplier", "confidence", "contribution", "effective"),
    [
        (-0.25, {"oi": 3_000}, 1.10, 0.75, 0.0715, 1.0741),
        (-0.80, {}, 1.20, 1.0, 0.1823, 1.20),
        (0.60, {"oi": 80_000, "call_wall": 100.5}, 0.7225, 0.90, -0.2925, 0.7464),
        (0.20, {"agreement": False}, 0.95, 0.65, -0.0333, 0.9672),
    ],
)
def test_a_snapshot_is_worth_this(ratio, row, multiplier, confidence, contribution, effective):
    found = answer(ENGINE, gamma_table(gamma_row(ratio, **row)))
    assert found["multiplier"] == pytest.approx(multiplier, abs=1e-12)
    assert found["confidence"] == pytest.approx(confidence, abs=1e-12)
    assert found["contribution_ln"] == pytest.approx(contribution, abs=5e-5)
    assert found["multiplier"] ** found["confidence"] == pytest.approx(effective, abs=5e-5)


@pytest.mark.parametrize(
    ("ratio", "label", "multiplier"),
    [
        (-0.75, "SHORT_GAMMA_EXTREME", 1.20), (-0.5, "SHORT_GAMMA_STRONG", 1.15),
        (-0.25, "SHORT_GAMMA_MODERATE", 1.10), (-0.1, "SHORT_GAMMA_WEAK", 1.05), (-0.0999, "NEUTRAL", 1.00),
        (0.0999, "NEUTRAL", 1.00), (0.1, "LONG_GAMMA_WEAK", 0.95), (0.25, "LONG_GAMMA_MODERATE", 0.90),
        (0.5, "LONG_GAMMA_STRONG", 0.85), (0.75, "LONG_GAMMA_EXTREME", 0.80),
    ],
)  # fmt: skip
def test_each_strength_of_each_side_has_its_multiplier(ratio, label, multiplier):
    found = answer(ENGINE, gamma_table(gamma_row(ratio)))
    assert (found["label"], found["multiplier"]) == (label, multiplier)


def test_all_labels_and_recommendations_are_reached():
    rows = [answer(ENGINE, gamma_table(gamma_row(n / 100))) for n in (-80, -60, -30, -15, 0, 15, 30, 60, 80)]
    rows.append(answer(ENGINE, gamma_table(gamma_row(0.3, call_wall=100.5))))
    assert {row["label"] for row in rows} == set(ENGINE.labels)
    assert {row["recommendation"] for row in rows} == set(ENGINE.recommendations)


@pytest.mark.parametrize(
    ("wall", "opposed"), [(99.99, False), (100.0, True), (101.0, True), (101.01, False), (None, False)]
)
def test_a_wall_ahead_within_one_per_cent_holds_a_trade_up(wall, opposed):
    long = answer(ENGINE, gamma_table(gamma_row(-0.30, call_wall=wall)))
    assert long["multiplier"] == pytest.approx(1.10 * (0.85 if opposed else 1.0), abs=1e-12)
    below = None if wall is None else 200.0 - wall
    short = answer(ENGINE, gamma_table(gamma_row(-0.30, put_wall=below)), direction="SHORT")
    assert short["multiplier"] == long["multiplier"]


def test_a_wall_behind_a_trade_does_not_oppose_it():
    found = answer(ENGINE, gamma_table(gamma_row(0.30, put_wall=99.5)))
    assert (found["multiplier"], found["recommendation"]) == (0.90, "NEUTRAL")


def test_what_is_ambiguous_small_or_partly_known_counts_less():
    def confidence(ratio: float = -0.8, **row: object) -> float:
        return answer(ENGINE, gamma_table(gamma_row(ratio, **row)))["confidence"]

    assert [confidence(oi=n) for n in (49_999, 50_000, 99_999, 100_000)] == pytest.approx(
        [0.8, 0.9, 0.9, 1.0], abs=1e-12
    )
    assert [confidence(-r) for r in (0.15, 0.3, 0.6)] == pytest.approx([0.85, 0.95, 1.0], abs=1e-12)
    assert [confidence(agreement=a) for a in (True, False, None)] == pytest.approx([1.0, 0.8, 1.0], abs=1e-12)
    assert confidence(oi_coverage_pct=85.0) == pytest.approx(0.85, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"status": "missing_input"}, "missing", "missing_input"),
        ({"status": "insufficient", "oi_coverage_pct": 70.0}, "missing", "insufficient_coverage"),
        ({"status": "stale"}, "stale", "stale_open_interest"),
        ({"dealer_positioning": None}, "missing", "no_gamma"),
        ({"sign_convention": "C"}, "missing", "no_row"),
        ({"symbol": "QQQ"}, "missing", "no_row"),
    ],
)
def test_what_cannot_be_used_is_neutral_and_says_why(changes, status, reason):
    found = answer(ENGINE, gamma_table(gamma_row(-0.8, **changes)))
    assert (found["status"], found["reason"]) == (status, reason)
    assert (found["multiplier"], found["contribution_ln"], found["label"]) == (1.0, 0.0, None)


@pytest.mark.parametrize(("minutes", "status"), [(30, "ok"), (31, "stale")])
def test_a_snapshot_is_stale_after_thirty_session_minutes(minutes, status):
    found = answer(ENGINE, gamma_table(gamma_row(-0.8, at=NOW - timedelta(minutes=minutes))))
    assert (found["status"], found["age_min"]) == (status, minutes)


def test_the_night_does_not_age_the_snapshot_of_the_close():
    close, morning = datetime(2024, 6, 3, 20, 0, tzinfo=UTC), datetime(2024, 6, 4, 13, 45, tzinfo=UTC)
    found = answer(ENGINE, gamma_table(gamma_row(-0.8, at=close)), as_of=morning)
    assert (found["status"], found["age_min"]) == ("ok", 15.0)


def test_the_family_sign_can_be_turned_for_reversions():
    engine, table = gamma_engine(reversion_inverts=True), gamma_table(gamma_row(-0.8))
    assert answer(engine, table, reversion=True)["contribution_ln"] == pytest.approx(-log(1.20), abs=1e-12)
    assert answer(engine, table, reversion=False)["contribution_ln"] == pytest.approx(log(1.20), abs=1e-12)
    with pytest.raises(DataError, match="reversion"):
        answer(engine, table)


@settings(max_examples=60, deadline=None)
@given(one=st.floats(-1, 1), other=st.floats(-1, 1))
def test_longer_dealers_are_never_worth_more(one, other):
    low, high = sorted((one, other))
    assert (
        answer(ENGINE, gamma_table(gamma_row(low)))["multiplier"]
        >= answer(ENGINE, gamma_table(gamma_row(high)))["multiplier"]
    )


@settings(max_examples=60, deadline=None)
@given(ratio=st.floats(-1, 1), up=st.floats(95, 105), down=st.floats(95, 105))
def test_swapped_walls_and_sides_give_the_same_multiplier(ratio, up, down):
    one = gamma_table(gamma_row(ratio, call_wall=up, put_wall=down))
    other = gamma_table(gamma_row(ratio, call_wall=200.0 - down, put_wall=200.0 - up))
    for side, turned in (("LONG", "SHORT"), ("SHORT", "LONG")):
        assert (
            answer(ENGINE, one, direction=side)["multiplier"] == answer(ENGINE, other, direction=turned)["multiplier"]
        )
