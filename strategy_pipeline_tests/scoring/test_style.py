"""Style modifiers: the known answers of detectors.md section 7.1, and every step of its table."""

import polars as pl
import pytest

from strategy_pipeline.scoring.style import STYLE_INPUTS, style_modifiers
from strategy_pipeline_tests.scoring.rows import SCHEMA

STYLES = ("scalp", "day", "swing")
# 100 minutes before the close of nothing in particular: `afternoon` of a session of 430 minutes, whose factors are
# .95/1.1/1; all else is unknown and so neutral.
NEUTRAL = {"direction": "LONG", "close": 100.0, "prev_close": 100.0, "minutes_since_open": 330, "minutes_to_close": 100}
AFTERNOON = (0.95, 1.1, 1.0)


def modifiers(**values):
    row = {name: (NEUTRAL | values).get(name) for name in ("direction", *STYLE_INPUTS)}
    schema = {name: SCHEMA[name] for name in row}
    return pl.DataFrame([row], schema=schema).select(style_modifiers()).row(0, named=True)


def raw(**values):
    found = modifiers(**values)
    return tuple(found[f"style_modifier_{style}_raw"] for style in STYLES)


def clamped(**values):
    found = modifiers(**values)
    return tuple(found[f"style_modifier_{style}"] for style in STYLES)


# The three known answers of section 7.1.
MORNING = {
    "minutes_since_open": 45, "minutes_to_close": 345, "atr_1d_pct": 1.2, "rvol": 2.6, "vwap": 100.2, "rsi14": 62.0,
    "mtf_support_long_pct": 70.0, "trend_state": "trending_up",
}  # fmt: skip
LUNCH = {
    "minutes_since_open": 150, "minutes_to_close": 240, "atr_1d_pct": 0.8, "rvol": 0.6, "trend_state": "choppy",
}  # fmt: skip
LATE = {"minutes_since_open": 370, "minutes_to_close": 20, "rsi14": 25.0, "trend_state": "ranging"}


@pytest.mark.parametrize(
    ("row", "expected", "held"),
    [
        (MORNING, (1.7875, 1.8365, 1.5125), (1.5, 1.5, 1.5)),
        (LUNCH, (0.3146, 0.4809, 0.4312), (0.5, 0.5, 0.5)),
        (LATE, (1.2856, 0.7920, 0.9031), (1.2856, 0.7920, 0.9031)),
    ],
)
def test_the_known_modifiers(row, expected, held):
    assert raw(**row) == pytest.approx(expected, abs=5e-5)
    assert clamped(**row) == pytest.approx(held, abs=5e-5)


@pytest.mark.parametrize(
    ("row", "factors"),
    [
        ({"atr_1d_pct": 2.51}, (0.7, 1.05, 1.25)),
        ({"atr_1d_pct": 2.5}, (0.9, 1.1, 1.15)),
        ({"atr_1d_pct": 1.5}, (1.0, 1.0, 1.0)),
        ({"atr_1d_pct": 1.0}, (1.0, 1.0, 1.0)),
        ({"atr_1d_pct": 0.99}, (1.1, 0.95, 0.8)),
        ({"atr_1d_pct": 0.49}, (1.15, 0.85, 0.65)),
        ({"rvol": 1.51}, (1.3, 1.15, 1.0)),
        ({"rvol": 1.5}, (1.0, 1.0, 1.0)),
        ({"rvol": 0.74}, (0.8, 0.9, 0.98)),
        ({"rvol": 0.49}, (0.6, 0.75, 0.95)),
        ({"vwap": 100.25}, (1.25, 1.15, 1.1)),
        ({"vwap": 100.26}, (1.0, 1.0, 1.0)),
        ({"or_low": 99.75}, (1.25, 1.15, 1.1)),
        ({"swing_high": 100.1, "vwap": 90.0}, (1.25, 1.15, 1.1)),
        ({"rsi14": 29.9}, (0.85, 1.1, 1.25)),
        ({"rsi14": 70.1}, (0.85, 1.1, 1.25)),
        ({"rsi14": 30.0}, (1.0, 1.0, 1.0)),
        ({"mtf_support_long_pct": 80.1}, (1.05, 1.15, 1.3)),
        ({"mtf_support_long_pct": 60.1}, (1.0, 1.05, 1.1)),
        ({"mtf_support_long_pct": 39.9}, (1.0, 0.8, 0.6)),
        ({"mtf_support_short_pct": 39.9}, (1.0, 1.0, 1.0)),
        ({"trend_state": "trending_down"}, (1.0, 1.15, 1.25)),
        ({"trend_state": "volatile"}, (0.85, 1.1, 1.2)),
    ],
)
def test_each_step_of_the_table(row, factors):
    expected = tuple(one * other for one, other in zip(AFTERNOON, factors, strict=True))
    assert raw(**row) == pytest.approx(expected, rel=1e-12)


def test_nothing_known_leaves_the_window_alone():
    assert raw() == pytest.approx(AFTERNOON)


def test_twins_have_equal_modifiers():
    short = MORNING | {
        "direction": "SHORT", "vwap": 99.8, "rsi14": 38.0, "mtf_support_long_pct": None, "mtf_support_short_pct": 70.0,
        "trend_state": "trending_down",
    }  # fmt: skip
    assert raw(**short) == raw(**MORNING)
