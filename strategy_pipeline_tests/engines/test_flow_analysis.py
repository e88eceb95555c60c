"""FlowAnalysisEngine: strength, institutions, confidence, exact reciprocals, ages and reach."""

from datetime import timedelta
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.engines.flow_analysis import FLOW_ENGINE
from strategy_pipeline_tests.analytics.flow_rows import trades
from strategy_pipeline_tests.engines.context_rows import NOW, answer

PRINTED = NOW - timedelta(minutes=10)


def flow(*rows: tuple[float | None, float], sweeps: int = 0, blocks: int = 0, small: int = 0):
    """Calls from (q, premium $k); the first are sweeps, then blocks; and small unknown prints of $1."""
    prints = [
        {
            "sip_timestamp": PRINTED, "aggressor_sign": q, "premium_usd": premium * 1000.0, "is_sweep": n < sweeps,
            "is_block": sweeps <= n < sweeps + blocks,
        }
        for n, (q, premium) in enumerate(rows)
    ]  # fmt: skip
    return trades(*prints, *[{"sip_timestamp": PRINTED, "aggressor_sign": None, "premium_usd": 0.01}] * small)


def of_sentiment(s: float, premium_k: float, count: int, **more: int):
    """`count` calls of equal premium whose S is `s` exactly: a share of them bought, the rest sold."""
    bought = round(count * (1 + s) / 2)
    assert 2 * bought / count - 1 == pytest.approx(s)
    return flow(*[(1.0, premium_k)] * bought, *[(-1.0, premium_k)] * (count - bought), **more)


@pytest.mark.parametrize(("direction", "side", "effective"), [("LONG", 1, 1.1115), ("SHORT", -1, 0.8997)])
def test_moderate_flow_with_some_institutions(direction, side, effective):
    # context_engines.md section 5, second known answer: S .2273, known $220k of $300k, institutional 45.
    rows = [(1.0, 60.0), (1.0, 40.0), (1.0, 30.0), (-1.0, 50.0), (-1.0, 20.0), (-0.5, 20.0), (None, 80.0)]
    table = flow(*rows, sweeps=2, small=13)
    row = answer(FLOW_ENGINE, table, direction=direction)
    # 2 sweeps of 20 trades: large 10 + 5 for a mean of $36.7k + 10 = 25 is worth 1.00 only.
    assert row["multiplier"] == pytest.approx(1.10**side, abs=1e-12)
    more = answer(FLOW_ENGINE, flow(*rows, sweeps=4, small=13), direction=direction)
    # 4 sweeps: 20 + 5 + 20 = 45 is worth 1.05: ln(1.10 x 1.05) = .1441.
    assert log(more["multiplier"]) == pytest.approx(side * 0.1441, abs=5e-5)
    assert more["confidence"] == pytest.approx(0.7333, abs=5e-5)
    assert more["contribution_ln"] == pytest.approx(side * 0.1057, abs=5e-5)
    assert more["multiplier"] ** more["confidence"] == pytest.approx(effective, abs=5e-5)


@pytest.mark.parametrize(
    ("direction", "multiplier", "contribution"), [("LONG", 1.25, 0.2231), ("SHORT", 0.80, -0.2231)]
)
def test_strong_flow_of_institutions_reaches_the_limit(direction, multiplier, contribution):
    # Third known answer: S .45, institutional 85, n 60, all known. 40 + 15 + 20 + 10 of mean premium $60k.
    table = of_sentiment(0.45, 60.0, 40, sweeps=12, blocks=6)
    row = answer(FLOW_ENGINE, table, direction=direction)
    assert (row["label"], row["recommendation"]) == ("BULLISH", "FOLLOW_FLOW")
    assert row["multiplier"] == pytest.approx(multiplier, abs=1e-12)
    assert row["contribution_ln"] == pytest.approx(contribution, abs=5e-5)


def test_little_flow_counts_little():
    # Fourth known answer: S -.25, institutional 20, n 15, known $80k, share .9: ln m -.0953, c .40.
    known = [(1.0, 10.0)] * 3 + [(-1.0, 10.0)] * 5
    table = flow(*known, (None, 80.0 / 9), small=6, sweeps=1)
    row = answer(FLOW_ENGINE, table)
    assert log(row["multiplier"]) == pytest.approx(-0.0953, abs=5e-5)
    assert row["confidence"] == pytest.approx(0.40, abs=1e-6)
    assert row["contribution_ln"] == pytest.approx(-0.0381, abs=5e-5)


@pytest.mark.parametrize(
    ("s", "multiplier"),
    [(0.10, 1.05), (0.20, 1.05), (0.25, 1.10), (0.30, 1.10), (0.35, 1.15), (0.40, 1.15), (0.45, 1.20)],
)
def test_each_strength_has_its_multiplier(s, multiplier):
    # Mean premium of $9k and no sweeps: no institutions.
    assert answer(FLOW_ENGINE, of_sentiment(s, 9.0, 40))["multiplier"] == pytest.approx(multiplier, abs=1e-12)


@pytest.mark.parametrize(
    ("sweeps", "blocks", "premium_k", "multiplier"),
    [(0, 0, 9.0, 1.05), (4, 0, 60.0, 1.05 * 1.05), (10, 4, 9.0, 1.05 * 1.10), (16, 4, 120.0, 1.05 * 1.15)],
)
def test_each_institutional_step_has_its_multiplier(sweeps, blocks, premium_k, multiplier):
    row = answer(FLOW_ENGINE, of_sentiment(0.10, premium_k, 40, sweeps=sweeps, blocks=blocks))
    assert row["multiplier"] == pytest.approx(multiplier, abs=1e-12)


def test_flow_of_both_sides_is_neutral():
    row = answer(FLOW_ENGINE, of_sentiment(0.05, 60.0, 40, sweeps=20))
    assert (row["status"], row["label"], row["recommendation"]) == ("ok", "NEUTRAL", "NEUTRAL")
    assert (row["multiplier"], row["contribution_ln"]) == (1.0, 0.0)


@pytest.mark.parametrize("table", [flow(*[(1.0, 100.0)] * 9), flow(*[(1.0, 4.9)] * 10), flow(*[(None, 90.0)] * 20)])
def test_too_little_flow_is_neutral(table):
    row = answer(FLOW_ENGINE, table)
    assert (row["status"], row["reason"], row["recommendation"]) == ("missing", "too_little_flow", "WAIT")
    assert (row["multiplier"], row["contribution_ln"]) == (1.0, 0.0)


def test_without_trades_nothing_is_said():
    row = answer(FLOW_ENGINE, trades().clear())
    assert (row["status"], row["reason"], row["recommendation"]) == ("missing", "no_row", "WAIT")


@pytest.mark.parametrize(("later", "status"), [(110, "ok"), (111, "stale")])
def test_flow_is_stale_after_120_session_minutes(later, status):
    row = answer(FLOW_ENGINE, of_sentiment(0.45, 60.0, 40), as_of=NOW + timedelta(minutes=later))
    assert (row["status"], row["age_min"]) == (status, later + 10)


def test_all_labels_and_recommendations_are_reached():
    tables = [
        of_sentiment(0.05, 60.0, 40), of_sentiment(0.45, 60.0, 40, sweeps=12, blocks=6),
        of_sentiment(-0.30, 60.0, 40, sweeps=8, blocks=4), of_sentiment(0.35, 9.0, 40), flow((1.0, 1.0)),
    ]  # fmt: skip
    rows = [answer(FLOW_ENGINE, table) for table in tables]
    assert {row["label"] for row in rows} - {None} == set(FLOW_ENGINE.labels)
    assert {row["recommendation"] for row in rows} == set(FLOW_ENGINE.recommendations)


sides = st.lists(
    st.tuples(st.sampled_from([None, -1.0, -0.5, 0.0, 0.5, 1.0]), st.floats(1, 500)), min_size=10, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(rows=sides, sweeps=st.integers(0, 8), blocks=st.integers(0, 8))
def test_opposed_flow_is_the_exact_reciprocal(rows, sweeps, blocks):
    table = flow(*rows, sweeps=sweeps, blocks=blocks)
    long, short = answer(FLOW_ENGINE, table), answer(FLOW_ENGINE, table, direction="SHORT")
    assert long["contribution_ln"] == -short["contribution_ln"]
    assert long["confidence"] == short["confidence"]
    assert 0.80 - 1e-12 <= long["multiplier"] <= 1.25 + 1e-12
