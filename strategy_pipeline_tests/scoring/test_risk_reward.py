"""Stop, targets and reward over risk: the known answers of detectors.md section 7.4 and what must hold."""

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.scoring.risk_reward import LEVELS, PLANS, risk_and_reward
from strategy_pipeline.scoring.rules import FAMILIES, rules_from

ATRS = tuple(plan.atr for plan in PLANS.values())
NUMBERS = ("close", *LEVELS, *ATRS, "max_pain_strike")
SCHEMA = {"family": pl.String, "direction": pl.String, "recommended_style": pl.String} | dict.fromkeys(
    NUMBERS, pl.Float64
)
# The levels of the known answers, one in each of seven level columns.
KNOWN_LEVELS = (102.6, 98.0, 101.5, 97.5, 100.9, 103.4, 99.0)


def planned(style, direction, atr, levels=KNOWN_LEVELS, entry=102.0, family="breakout", pin=None):
    row = {name: None for name in SCHEMA}
    row |= {"family": family, "direction": direction, "recommended_style": style, "close": entry}
    row |= dict(zip(LEVELS, levels, strict=False))
    row |= {PLANS[style].atr: atr, "max_pain_strike": pin}
    return risk_and_reward(pl.DataFrame([row], schema=SCHEMA)).row(0, named=True)


@pytest.mark.parametrize(
    ("style", "direction", "atr", "levels", "ratio", "stop", "targets", "bases"),
    [
        ("day", "LONG", 0.8, KNOWN_LEVELS, 1.0345, 101.42, (102.36, 102.6, 102.84), ("level", "level")),
        ("scalp", "SHORT", 0.4, KNOWN_LEVELS, 1.6667, 102.3, None, ("level", "atr")),
        ("swing", "LONG", 1.2, KNOWN_LEVELS, 0.6667, 101.1, None, ("level", "level")),
        ("day", "LONG", 0.8, (), 2.5, 101.2, (103.2, 104.0, 104.8), ("atr", "atr")),
        ("day", "LONG", 0.8, (101.7, 104.5), 5.0, 101.6, None, ("atr", "level")),
    ],
)
def test_the_known_plans(style, direction, atr, levels, ratio, stop, targets, bases):
    # In the swing row the level behind (101.5, 0.62 with its margin) is nearer than half the limit, which is the risk.
    found = planned(style, direction, atr, levels)
    assert found["risk_reward"] == pytest.approx(ratio, abs=5e-5)
    assert found["stop_price"] == pytest.approx(stop, abs=1e-9)
    assert (found["reward_basis"], found["risk_basis"]) == bases
    if targets:
        assert [found[f"target_{n}"] for n in (1, 2, 3)] == pytest.approx(targets, abs=1e-9)


def test_the_mirror_of_the_first_about_100():
    found = planned("day", "SHORT", 0.8, [200.0 - level for level in KNOWN_LEVELS], entry=98.0)
    assert found["risk_reward"] == pytest.approx(1.0345, abs=5e-5)
    assert found["stop_price"] == pytest.approx(98.58, abs=1e-9)


def test_a_pin_is_its_own_target():
    # 0.3 to the strike is under a quarter of an ATR, which would not count for a level; risk is one ATR.
    found = planned("day", "LONG", 1.5, (), entry=99.7, family="eod_pin_setup", pin=100.0)
    assert (found["reward_basis"], found["risk_basis"]) == ("pin", "atr")
    assert found["target_2"] == pytest.approx(100.0)
    assert found["risk_reward"] == pytest.approx(0.2)


@pytest.mark.parametrize("atr", [None, 0.0])
def test_without_an_atr_there_is_no_plan(atr):
    found = planned("day", "LONG", atr)
    assert {found[name] for name in ("risk_reward", "stop_price", "target_2", "atr_used", "reward_basis")} == {None}
    assert found["entry_ref"] == 102.0


def test_a_level_counts_from_a_quarter_of_an_atr_ahead_and_a_twentieth_behind():
    # a 0.8: ahead from 0.2 (exclusive), behind from 0.04 (exclusive).
    assert planned("day", "LONG", 0.8, (102.2,))["reward_basis"] == "atr"
    assert planned("day", "LONG", 0.8, (102.21,))["reward_basis"] == "level"
    assert planned("day", "LONG", 0.8, (101.96,))["risk_basis"] == "atr"
    assert planned("day", "LONG", 0.8, (101.95,))["risk_basis"] == "level"


prices = st.lists(st.integers(9_000, 11_000).map(lambda cents: cents / 100.0), max_size=8)
styles = st.sampled_from(sorted(PLANS))
atrs = st.integers(5, 400).map(lambda cents: cents / 100.0)


@settings(deadline=None, max_examples=40)
@given(styles, atrs, prices, st.integers(9_500, 10_500))
def test_the_mirror_has_the_same_ratio(style, atr, levels, cents):
    entry = cents / 100.0
    long = planned(style, "LONG", atr, levels, entry)
    short = planned(style, "SHORT", atr, [200.0 - level for level in levels], 200.0 - entry)
    assert short["risk_reward"] == pytest.approx(long["risk_reward"], rel=1e-9)
    assert short["stop_price"] == pytest.approx(200.0 - long["stop_price"], abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(styles, atrs, prices, st.sampled_from([0.25, 3.0, 40.0]))
def test_the_ratio_does_not_depend_on_the_unit_of_prices(style, atr, levels, unit):
    one = planned(style, "LONG", atr, levels, 100.0)
    other = planned(style, "LONG", atr * unit, [level * unit for level in levels], 100.0 * unit)
    assert other["risk_reward"] == pytest.approx(one["risk_reward"], rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(styles, st.lists(st.integers(26, 600), min_size=2, max_size=5, unique=True))
def test_the_ratio_rises_with_the_distance_ahead_and_then_stays(style, hundredths):
    # ATR 1, so distances are in ATRs from just above the quarter that counts.
    ratios = [planned(style, "LONG", 1.0, (100.0 + x / 100.0,), 100.0)["risk_reward"] for x in sorted(hundredths)]
    assert all(after >= before - 1e-12 for before, after in pairwise(ratios))
    far = planned(style, "LONG", 1.0, (100.0 + PLANS[style].targets[1],), 100.0)["risk_reward"]
    beyond = planned(style, "LONG", 1.0, (109.0,), 100.0)["risk_reward"]
    assert beyond == pytest.approx(far)


def test_the_ratio_is_not_a_constant_of_the_style():
    for style in PLANS:
        assert len({planned(style, "LONG", 1.0, (100.0 + x,), 100.0)["risk_reward"] for x in (0.5, 1.0, 1.4)}) == 3


def test_every_family_can_reach_its_least_ratio_in_every_style():
    # A clear way ahead and a level close behind: 2.5 ATRs over half an ATR for a day trade.
    rules = rules_from()
    kinds = dict.fromkeys(FAMILIES, "INDEX") | {"breakout": "STOCK", "trend_continuation": "STOCK"}
    for family in FAMILIES:
        least = rules.floor(kinds[family], family)["rr"]
        for style in PLANS:
            found = planned(style, "LONG", 1.0, (99.9,), 100.0, family=family, pin=103.0)
            assert found["risk_reward"] >= least, (family, style)
