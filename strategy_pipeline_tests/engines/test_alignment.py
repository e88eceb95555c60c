"""MTFAlignmentEngine: with and against the trend, ages, neutrality and reach."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.engines.alignment import MTF_ENGINE
from strategy_pipeline_tests.engines.context_rows import NOW, alignment_table, answer

FULLY = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
MOSTLY = (0.8, 0.7, 0.6, -0.5, -0.4, -0.3)
HALF = (0.9, -0.1, -0.1, 0.5, 0.1, 0.1)
DIVERGING = (-0.05, 0.6, -0.05, -0.05, 0.9, 0.9)
CONFLICTING = (-0.01, -0.01, 0.95, -0.01, -0.01, -0.01)


# context_engines.md section 4: scores, side, multiplier, contribution.
@pytest.mark.parametrize(
    ("scores", "direction", "multiplier", "confidence", "contribution"),
    [
        (FULLY, "LONG", 1.25, 1.0, 0.2231),
        (FULLY, "SHORT", 0.65, 1.0, -0.4308),
        (DIVERGING, "LONG", 0.85, 1.0, -0.1625),
        ((None, -0.9, -0.6, -0.5, -0.4, -0.3), "LONG", 0.65, 0.6364, -0.2741),
    ],
)
def test_alignment_is_worth_this(scores, direction, multiplier, confidence, contribution):
    row = answer(MTF_ENGINE, alignment_table(*scores), direction=direction)
    assert row["multiplier"] == multiplier
    assert row["confidence"] == pytest.approx(confidence, abs=5e-5)
    assert row["contribution_ln"] == pytest.approx(contribution, abs=5e-5)


def test_a_week_that_is_missing_lowers_the_confidence_and_is_named():
    row = answer(MTF_ENGINE, alignment_table(None, -0.9, -0.6, -0.5, -0.4, -0.3))
    assert row["inputs_missing"] == ["1w"]
    # context_engines.md section 4: effective .7602.
    assert row["multiplier"] ** row["confidence"] == pytest.approx(0.7602, abs=5e-5)


@pytest.mark.parametrize(
    ("scores", "label", "with_trend", "against", "said_with", "said_against"),
    [
        (FULLY, "FULLY_ALIGNED", 1.25, 0.65, "STRONG_SIGNAL", "AVOID_DIVERGENCE"),
        (MOSTLY, "MOSTLY_ALIGNED", 1.10, 0.85, "CONFIRM_SIGNAL", "AVOID_DIVERGENCE"),
        (HALF, "NEUTRAL", 1.00, 1.00, "WAIT_ALIGNMENT", "AVOID_DIVERGENCE"),
        (DIVERGING, "DIVERGING", 0.85, 0.85, "AVOID_DIVERGENCE", "AVOID_DIVERGENCE"),
        (CONFLICTING, "CONFLICTING", 0.65, 0.65, "AVOID_DIVERGENCE", "AVOID_DIVERGENCE"),
    ],
)
def test_each_label_has_its_multipliers_and_words(scores, label, with_trend, against, said_with, said_against):
    for turned, (one, other) in ((1, ("LONG", "SHORT")), (-1, ("SHORT", "LONG"))):
        table = alignment_table(*(turned * score for score in scores))
        with_it, against_it = (answer(MTF_ENGINE, table, direction=side) for side in (one, other))
        assert (with_it["label"], with_it["multiplier"], with_it["recommendation"]) == (label, with_trend, said_with)
        assert (against_it["multiplier"], against_it["recommendation"]) == (against, said_against)


def test_without_a_dominant_trend_nothing_changes():
    row = answer(MTF_ENGINE, alignment_table(0.1, 0.1, 0.1, 0.1, 0.1, 0.1))
    assert (row["label"], row["multiplier"], row["recommendation"]) == ("FULLY_ALIGNED", 1.0, "WAIT_ALIGNMENT")
    assert (row["status"], row["contribution_ln"]) == ("ok", 0.0)


def test_too_few_timeframes_are_neutral():
    row = answer(MTF_ENGINE, alignment_table(None, None, 0.5, 0.5, 0.5, 0.5))
    assert (row["status"], row["reason"], row["multiplier"]) == ("missing", "too_few_timeframes", 1.0)


def test_without_any_bar_nothing_is_said():
    row = answer(MTF_ENGINE, alignment_table(*[None] * 6, newest=None))
    assert (row["status"], row["reason"], row["source_key"]) == ("missing", "no_row", None)


# 90 minutes of Tuesday and 150 of Monday, the night between them counts nothing.
@pytest.mark.parametrize(("minutes", "status"), [(240, "ok"), (241, "stale")])
def test_bars_are_stale_after_240_session_minutes(minutes, status):
    newest = NOW - timedelta(minutes=90) - timedelta(hours=17, minutes=30) - timedelta(minutes=minutes - 90)
    row = answer(MTF_ENGINE, alignment_table(*FULLY, newest=newest))
    assert (row["status"], row["age_min"]) == (status, minutes)


def test_an_alignment_of_a_later_moment_is_not_seen():
    row = answer(MTF_ENGINE, alignment_table(*FULLY, at=NOW + timedelta(microseconds=1)))
    assert (row["status"], row["reason"]) == ("missing", "no_row")


def test_the_source_is_the_newest_bar():
    row = answer(MTF_ENGINE, alignment_table(*FULLY))
    assert row["source_key"] == "historical_bars/SPY/5m/2024-06-04T15:00:00.000000Z"


@settings(max_examples=80, deadline=None)
@given(scores=st.tuples(*[st.one_of(st.none(), st.floats(-1, 1, width=32))] * 6))
def test_the_mirror_image_of_a_trade_is_worth_the_same(scores):
    mirrored = tuple(None if score is None else -score for score in scores)
    one = answer(MTF_ENGINE, alignment_table(*scores))
    other = answer(MTF_ENGINE, alignment_table(*mirrored), direction="SHORT")
    assert {name for name in one if one[name] != other[name]} == {"direction"}
    assert 0.65 <= one["multiplier"] <= 1.25
