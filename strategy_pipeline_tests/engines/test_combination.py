"""The waterfall: known answers, additivity, one limit, and no silent engine."""

from math import exp, log

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.engines.combination import ENGINE_ITEMS, ITEMS, WATERFALL_SCHEMA, waterfall
from strategy_pipeline.errors import DataError

NEUTRAL = {"base_score": 75.0, "style_modifier": 1.0, "confidence_pct": 100.0, **dict.fromkeys(ENGINE_ITEMS, 0.0)}
# context_engines.md section 8: gamma m 1.10 c .75, mtf 1.25 c 1, flow m 1.155 c 220/300, regime 1.10 c .6.
FULL = NEUTRAL | {
    "base_score": 60.0,
    "style_modifier": 1.15,
    "gamma_ln": 0.75 * log(1.10),
    "mtf_ln": log(1.25),
    "flow_ln": 220 / 300 * log(1.155),
    "regime_ln": 0.6 * log(1.10),
    "confidence_pct": 94.0,
}


def combined(**inputs: float) -> dict:
    return waterfall(pl.DataFrame([NEUTRAL | inputs])).row(0, named=True)


def items(row: dict) -> list[float]:
    return [row[name] for name in ITEMS]


def test_seven_items_and_the_clamp():
    row = combined(**FULL)
    # context_engines.md section 8, first known answer.
    assert items(row) == pytest.approx([0.1398, 0, 0.0715, 0.2231, 0.1057, 0.0572, -0.0619, -0.0245], abs=5e-5)
    assert row["unclamped_score"] == pytest.approx(102.4851, abs=5e-5)
    assert sum(items(row)) == pytest.approx(0.5108, abs=5e-5)
    assert (row["final_score"], row["clamped"]) == (100.0, True)


def test_the_same_from_a_higher_base_reaches_the_same_limit():
    row = combined(**FULL | {"base_score": 472 / 6})
    # Second known answer; its unclamped score, 134.3694, is printed for the base rounded to 78.6667.
    assert row["unclamped_score"] == pytest.approx(134.3693, abs=5e-5)
    assert row["clamp_ln"] == pytest.approx(-0.2954, abs=5e-5)
    assert sum(items(row)) == pytest.approx(0.2400, abs=5e-5)
    assert row["final_score"] == 100.0


def test_three_items_against_a_signal():
    # Third known answer: iv .85 with c .9485 (n 150), regime .68 with c .8.
    row = combined(
        base_score=80.25, style_modifier=0.75, iv_ln=(1 - 0.2 * 52 / 202) * log(0.85), regime_ln=0.8 * log(0.68)
    )
    assert items(row) == pytest.approx([-0.2877, -0.1542, 0, 0, 0, -0.3085, 0, 0], abs=5e-5)
    assert sum(items(row)) == pytest.approx(-0.7504, abs=5e-5)
    assert row["final_score"] == pytest.approx(37.8936, abs=5e-5)
    assert (row["clamp_ln"], row["clamped"]) == (0.0, False)


def test_without_context_a_score_stays_what_it_is():
    row = combined()
    # Fourth known answer.
    assert row["final_score"] == 75.0
    assert items(row) == [0.0] * 8


@pytest.mark.parametrize("inputs", [{"base_score": 0.0}, {"confidence_pct": 39.9}, {"confidence_pct": 0.0}])
def test_what_is_rejected_before_has_no_waterfall(inputs):
    assert set(combined(**inputs).values()) == {None}


def test_forty_per_cent_confidence_is_enough():
    assert combined(confidence_pct=40.0)["final_score"] == pytest.approx(30.0, abs=1e-12)


def test_an_empty_item_is_an_error_and_not_a_neutral_one():
    with pytest.raises(DataError, match="flow_ln"):
        waterfall(pl.DataFrame([NEUTRAL | {"flow_ln": None}], schema_overrides={"flow_ln": pl.Float64}))


inputs = st.fixed_dictionaries(
    {
        "base_score": st.floats(0.01, 100),
        "style_modifier": st.floats(0.5, 1.5),
        "confidence_pct": st.floats(40, 100),
        **dict.fromkeys(ENGINE_ITEMS, st.floats(log(0.35), log(1.43))),
    }
)


@settings(max_examples=150, deadline=None)
@given(row=inputs)
def test_items_add_up_to_the_whole_change_within_the_bounds(row):
    found = combined(**row)
    assert found.keys() == dict(WATERFALL_SCHEMA).keys()
    assert sum(items(found)) == pytest.approx(log(found["final_score"] / row["base_score"]), abs=1e-12)
    assert 0 <= found["final_score"] <= 100
    assert found["clamped"] == (found["unclamped_score"] > 100)
    assert found["unclamped_score"] == pytest.approx(row["base_score"] * exp(sum(items(found)[:-1])), rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    row=inputs,
    name=st.sampled_from(["base_score", "style_modifier", "confidence_pct", *ENGINE_ITEMS]),
    by=st.floats(0, 0.5),
)
def test_more_of_anything_never_gives_less(row, name, by):
    more = row | {name: row[name] + by if name in ENGINE_ITEMS else row[name] * (1 + by)}
    # Both scores carry a rounding of the last digit.
    assert combined(**more)["final_score"] >= combined(**row)["final_score"] * (1 - 1e-14)


@settings(max_examples=60, deadline=None)
@given(row=inputs, name=st.sampled_from(ENGINE_ITEMS))
def test_without_an_engine_only_its_item_and_the_clamp_change(row, name):
    with_it, without = combined(**row), combined(**row | {name: 0.0})
    assert without[name] == 0.0
    assert {item for item in ITEMS if with_it[item] != without[item]} <= {name, "clamp_ln"}


@settings(max_examples=60, deadline=None)
@given(row=inputs, order=st.permutations(ENGINE_ITEMS))
def test_exchanging_engines_changes_nothing(row, order):
    exchanged = row | {new: row[old] for new, old in zip(ENGINE_ITEMS, order, strict=True)}
    assert combined(**exchanged)["final_score"] == pytest.approx(combined(**row)["final_score"], rel=1e-14)


def test_rows_stand_for_themselves():
    rows = [NEUTRAL | {"base_score": float(n), "mtf_ln": n / 100} for n in range(1, 101)]
    together = waterfall(pl.DataFrame(rows))
    for n in (0, 57, 99):
        assert waterfall(pl.DataFrame([rows[n]])).equals(together[n])
