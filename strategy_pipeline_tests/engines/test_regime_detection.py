"""RegimeDetectionEngine: side, style, family and volatility, the next open, ages and reach."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.engines.regime_detection import REGIME_ENGINE
from strategy_pipeline.lake.tables import MARKET_REGIMES, STYLES
from strategy_pipeline_tests.engines.context_rows import BEFORE, NOW, answer, regime_row, regime_table

# Inputs of context_engines.md section 6, fixtures.
STRONG_UP = {"tau": 1.4, "adx": 31.0, "adx_min5": 26.0, "slope20": 0.3, "b": 75.0, "vix": 13.0}
STRONG_DOWN = {"tau": -1.4, "adx": 31.0, "adx_min5": 26.0, "slope20": -0.3, "b": 25.0, "vix": 28.0}
WEAK_UP = {"tau": 0.6, "slope20": 0.04, "b": 56.0}
CHOPPY_DOWN = {"tau": -0.4, "adx": 15.0, "slope20": 0.02}
RANGE = {"tau": 0.04, "adx": 14.0}
CAPITULATION = {"tau": -2.0, "adx": 35.0, "slope20": -0.8, "z1": -2.5, "dlo": -1.0, "b": 6.0, "vix": 48.0,
                "p_vix": 99.6, "vix_ratio": 1.15, "dd60": -18.0, "rsi14": 22.0, "pc": 99.0}  # fmt: skip
EUPHORIA = {"tau": 1.5, "adx": 30.0, "slope20": 0.3, "b": 92.0, "vix": 10.5, "p_vix": 3.0, "vix_ratio": 0.82,
            "dd60": 0.0, "rsi14": 82.0, "pc": 2.0}  # fmt: skip
BREAKDOWN = {
    "tau": -0.2,
    "adx": 21.0,
    "adx_min5": 16.0,
    "slope20": -0.05,
    "z1": -2.2,
    "dlo": -0.4,
    "b": 30.0,
    "vix": 24.0,
}
BREAKOUT = {"tau": 0.2, "adx": 21.0, "adx_min5": 16.0, "slope20": 0.05, "z1": 2.2, "dhi": 0.4, "b": 70.0, "vix": 15.0}
WEAK_DOWN = {"tau": -0.6, "slope20": -0.04, "b": 44.0}
CHOPPY_UP = {"tau": 0.4, "adx": 15.0, "slope20": -0.02}
FIXTURES = {
    "CAPITULATION": CAPITULATION, "EUPHORIA": EUPHORIA, "BREAKDOWN": BREAKDOWN, "BREAKOUT": BREAKOUT,
    "STRONG_DOWNTREND": STRONG_DOWN, "STRONG_UPTREND": STRONG_UP, "WEAK_DOWNTREND": WEAK_DOWN, "WEAK_UPTREND": WEAK_UP,
    "CHOPPY_BEARISH": CHOPPY_DOWN, "CHOPPY_BULLISH": CHOPPY_UP, "RANGE_BOUND": RANGE,
}  # fmt: skip


def said(inputs: dict, **asked: object) -> dict:
    return answer(REGIME_ENGINE, regime_table(regime_row(**inputs)), **asked)


# context_engines.md section 6, multiplier cases: m, contribution, effective.
@pytest.mark.parametrize(
    ("inputs", "asked", "multiplier", "contribution", "effective"),
    [
        (WEAK_UP, {}, 1.1, 0.0572, 1.0589),
        (STRONG_UP, {"style": "swing"}, 1.375, 0.2548, 1.2902),
        (RANGE, {"momentum": True}, 0.68, -0.3085, 0.7345),
        (RANGE, {}, 1.0, 0.0, 1.0),
        (CAPITULATION, {"direction": "SHORT"}, 0.38675, -0.6887, 0.5022),
        (CHOPPY_DOWN, {"direction": "SHORT", "style": "scalp"}, 0.8075, -0.1710, 0.8428),
    ],
)
def test_a_regime_is_worth_this(inputs, asked, multiplier, contribution, effective):
    row = said(inputs, **asked)
    assert row["status"] == "ok"
    assert row["multiplier"] == pytest.approx(multiplier, abs=1e-12)
    assert row["contribution_ln"] == pytest.approx(contribution, abs=5e-5)
    assert row["multiplier"] ** row["confidence"] == pytest.approx(effective, abs=5e-5)


# context_engines.md section 6, the table of multipliers: LONG, SHORT, and the styles that are favoured. VIX NORMAL.
@pytest.mark.parametrize(
    ("label", "long", "short", "styles"),
    [
        ("STRONG_UPTREND", 1.25, 0.70, "scalp day swing"), ("STRONG_DOWNTREND", 0.70, 1.25, "scalp day swing"),
        ("WEAK_UPTREND", 1.10, 0.80, "day"), ("WEAK_DOWNTREND", 0.80, 1.10, "day"),
        ("CHOPPY_BULLISH", 0.95, 0.85, ""), ("CHOPPY_BEARISH", 0.85, 0.95, ""),
        ("BREAKOUT", 1.30, 0.70, "scalp day swing"), ("BREAKDOWN", 0.70, 1.30, "scalp day swing"),
        ("CAPITULATION", 1.30, 0.65, "swing"), ("EUPHORIA", 0.60, 1.25, ""), ("RANGE_BOUND", 1.00, 1.00, "scalp day"),
    ],
)  # fmt: skip
def test_each_regime_has_its_sides_and_styles(label, long, short, styles):
    table = regime_table(regime_row(**FIXTURES[label]) | {"vix_regime": "NORMAL"})
    for direction, worth in (("LONG", long), ("SHORT", short)):
        for style in STYLES:
            row = answer(REGIME_ENGINE, table, direction=direction, style=style)
            assert row["label"] == label
            assert row["multiplier"] == pytest.approx(worth * (1.0 if style in styles.split() else 0.85), abs=1e-12)


@pytest.mark.parametrize("style", STYLES)
def test_momentum_in_a_range_is_worth_less_in_every_style(style):
    assert said(RANGE, momentum=True, style=style)["multiplier"] == pytest.approx(0.80 * 0.85, abs=1e-12)
    assert said(STRONG_UP, momentum=True, style=style)["multiplier"] == said(STRONG_UP, style=style)["multiplier"]


@pytest.mark.parametrize(
    ("vix", "worth"),
    [(11.9, 1.05), (12.0, 1.10), (16.0, 1.00), (20.0, 0.95), (30.0, 0.85), (39.9, 0.85), (40.0, 0.70), (None, 1.00)],
)
def test_volatility_scales_every_regime_and_a_missing_vix_does_not(vix, worth):
    row = said(RANGE | {"vix": vix})
    assert row["multiplier"] == pytest.approx(worth, abs=1e-12)
    assert row["inputs_missing"] == (["vix"] if vix is None else [])


@pytest.mark.parametrize(
    ("vix", "recommendation"), [(15.9, "NEUTRAL"), (16.0, "AVOID_TRADING"), (None, "AVOID_TRADING")]
)
def test_a_range_is_to_be_left_alone_unless_volatility_is_low(vix, recommendation):
    assert said(RANGE | {"vix": vix})["recommendation"] == recommendation


def test_all_labels_and_recommendations_are_reached():
    rows = [said(inputs) for inputs in FIXTURES.values()] + [said(RANGE | {"vix": 13.0})]
    assert [row["label"] for row in rows[:-1]] == list(FIXTURES)
    assert set(FIXTURES) == set(MARKET_REGIMES) == set(REGIME_ENGINE.labels)
    assert {row["recommendation"] for row in rows} == set(REGIME_ENGINE.recommendations)


def test_a_row_counts_from_the_open_of_the_next_session():
    table = regime_table(regime_row(date(2024, 5, 31), **WEAK_UP), regime_row(BEFORE, **CAPITULATION))
    opened = datetime(2024, 6, 4, 13, 30, tzinfo=UTC)
    assert answer(REGIME_ENGINE, table, as_of=opened)["label"] == "CAPITULATION"
    before = answer(REGIME_ENGINE, table, as_of=opened - timedelta(microseconds=1))
    # Still Friday's row, although Monday's was known at 16:15; on Tuesday's date it is two sessions old.
    assert (before["source_key"], before["status"]) == ("market_regime_history/2024-05-31", "stale")
    evening = answer(REGIME_ENGINE, table, as_of=datetime(2024, 6, 3, 22, 0, tzinfo=UTC))
    assert (evening["label"], evening["status"]) == ("WEAK_UPTREND", "ok")


def test_a_row_known_late_counts_from_then():
    table = regime_table(regime_row(BEFORE, **WEAK_UP) | {"available_at": NOW + timedelta(minutes=1)})
    assert answer(REGIME_ENGINE, table)["reason"] == "no_row"
    assert answer(REGIME_ENGINE, table, as_of=NOW + timedelta(minutes=1))["status"] == "ok"


def test_a_row_older_than_one_session_is_stale():
    row = answer(REGIME_ENGINE, regime_table(regime_row(date(2024, 5, 31), **WEAK_UP)))
    assert (row["status"], row["reason"], row["age_min"]) == ("stale", "too_old", 480.0)
    assert (row["multiplier"], row["contribution_ln"]) == (1.0, 0.0)


def test_without_a_trend_there_is_no_regime():
    row = said({"tau": None})
    assert (row["status"], row["reason"], row["multiplier"]) == ("missing", "no_trend", 1.0)
    assert row["inputs_missing"] == ["tau"]


def test_the_market_is_the_same_for_every_symbol():
    one, other = said(STRONG_UP), said(STRONG_UP, symbol="ZZZ")
    assert {name for name in one if one[name] != other[name]} == {"symbol"}


inputs = st.fixed_dictionaries(
    {
        "tau": st.floats(-3, 3), "adx": st.floats(5, 50), "adx_min5": st.floats(5, 50), "slope20": st.floats(-1, 1),
        "z1": st.floats(-4, 4), "dhi": st.floats(-3, 3), "dlo": st.floats(-3, 3), "b": st.floats(0, 100),
    }
)  # fmt: skip
MIRROR = {
    "STRONG_UPTREND": "STRONG_DOWNTREND", "WEAK_UPTREND": "WEAK_DOWNTREND", "BREAKOUT": "BREAKDOWN",
    "CHOPPY_BULLISH": "CHOPPY_BEARISH", "RANGE_BOUND": "RANGE_BOUND",
}  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(values=inputs, style=st.sampled_from(STYLES), momentum=st.booleans())
def test_the_mirror_image_of_a_market_is_worth_the_same_to_the_mirror_image_of_a_trade(values, style, momentum):
    # A close cannot lie above the highest high and below the lowest low at once.
    values = values | {"dlo": max(values["dlo"], values["dhi"], -values["dhi"])} if values["dhi"] > 0 else values
    mirrored = values | {name: -values[name] for name in ("tau", "slope20", "z1")}
    mirrored |= {"dhi": -values["dlo"], "dlo": -values["dhi"], "b": 100 - values["b"]}
    one = said(values, style=style, momentum=momentum)
    other = said(mirrored, direction="SHORT", style=style, momentum=momentum)
    pairs = MIRROR | {down: up for up, down in MIRROR.items()}
    assert pairs[one["label"]] == other["label"]
    assert one["multiplier"] == pytest.approx(other["multiplier"], abs=1e-15)
    assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-9)
    low, high = REGIME_ENGINE.multiplier_range
    assert low <= one["multiplier"] <= high
