"""What detectors.md section 6.1 demands of every detector: mirror, scale, monotone, null, range, two speeds."""

import math
import random
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.detectors.evaluate import evaluate, signals
from strategy_pipeline.detectors.inputs import INPUT_DTYPES
from strategy_pipeline_tests.detectors.known_rows import (
    BREAKOUT,
    DRIVE,
    FIRED,
    FLIP,
    INDEX_REVERSION,
    INSTITUTIONS,
    KNOWN,
    PIN,
    POWER,
    REVERSION,
    SQUEEZE,
    SWEEPS,
    TREND,
)
from strategy_pipeline_tests.detectors.rows import Row, detector, frame, mirrored, row, twin_of

PRICES = (
    "close", "prev_close", "prev_bar_close", "session_high", "session_low", "or_high", "or_low", "range_high_20",
    "range_low_20", "swing_high", "swing_low", "ema21", "ema50", "ema200", "ema21_15m", "ema50_15m", "ema21_1h",
    "ema50_1h", "atr14", "max_gamma_strike", "gamma_flip", "max_pain_strike",
)  # fmt: skip


def hundredths(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(round(low * 100), round(high * 100)).map(lambda cents: cents / 100)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy)


VALUES: dict[str, st.SearchStrategy[object]] = {
    "close": hundredths(96, 104),
    **{name: maybe(hundredths(95, 105)) for name in (
        "session_high", "session_low", "or_high", "or_low", "range_high_20", "range_low_20", "swing_high", "swing_low",
        "ema21", "ema50", "ema200", "ema21_15m", "ema50_15m", "ema21_1h", "ema50_1h", "prev_bar_close",
        "max_gamma_strike", "gamma_flip", "max_pain_strike")},
    "atr14": maybe(hundredths(0, 3)),
    **{name: maybe(hundredths(0, 100)) for name in (
        "rsi14", "rsi14_5m", "rsi14_15m", "rsi14_1h", "rsi_div_bull", "rsi_div_bear", "flow_score",
        "mtf_support_long_pct", "mtf_support_short_pct", "flow_institutional_score", "flow_buy_pressure_pct",
        "flow_large_pct", "oi_pin_share_pct", "call_volume_share_pct")},
    "rsi14_delta": maybe(hundredths(-15, 15)),
    **{name: maybe(hundredths(-3, 3)) for name in ("vwap_dist_pct", "session_move_pct", "gap_pct", "mom3_pct")},
    "net_gex_ratio": maybe(hundredths(-1, 1)),
    "gamma_flip_slope": maybe(hundredths(0, 1)),
    "gex_gross_adv_pct": maybe(hundredths(0, 20)),
    "opt_rvol": maybe(hundredths(0, 3)),
    "gex_at_pin": maybe(hundredths(-9, 9)),
    "oi_at_pin": maybe(st.integers(0, 20_000)),
    "rvol": maybe(hundredths(0, 6)),
    **{name: maybe(st.booleans()) for name in ("patient_candle", "higher_lows", "lower_highs", "is_0dte")},
    **{name: maybe(st.integers(0, 7)) for name in (
        "flow_sweeps_bull", "flow_sweeps_bear", "flow_blocks_bull", "flow_blocks_bear")},
    "minutes_since_open": maybe(st.integers(1, 390)),
    "minutes_to_close": maybe(st.integers(0, 390)),
    "minutes_to_expiry": maybe(st.integers(0, 600)),
    "trend_state": maybe(st.sampled_from(["volatile", "trending_up", "trending_down", "choppy", "ranging"])),
    "flow_bias": maybe(st.sampled_from(["bullish", "bearish", "neutral"])),
    "flow_trend": maybe(st.sampled_from(["INCREASING", "STABLE", "DECREASING"])),
    "flow_aggressiveness": maybe(st.sampled_from(["PASSIVE", "MODERATE", "AGGRESSIVE", "VERY_AGGRESSIVE"])),
}  # fmt: skip
# Any subset of columns redrawn from the whole range, the rest as in a row that fires: gates open often.
CHANGES = st.lists(st.sampled_from(sorted(VALUES)), max_size=6, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)
ANY_ROW = st.fixed_dictionaries(VALUES)
LONGS = sorted(FIRED)


def outcome(of: Detector, values: Row) -> tuple[bool, float | None]:
    result = evaluate(of, frame(values))
    return result["fired"][0], result["score"][0]


@pytest.mark.parametrize("name", LONGS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(changes=CHANGES)
def test_twins_score_mirrored_rows_alike(name: str, changes: Row) -> None:
    values = FIRED[name] | changes
    fired, score = outcome(detector(name), values)
    twin_fired, twin_score = outcome(twin_of(detector(name)), mirrored(values))
    assert twin_fired == fired
    assert twin_score == (None if score is None else pytest.approx(score, abs=1e-9))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(values=ANY_ROW)
def test_factors_of_any_row_mirror_and_stay_between_0_and_100(values: Row) -> None:
    for name in LONGS:
        full = row(FIRED[name]["asset_class"], **values)
        one = evaluate(detector(name), frame(full)).row(0, named=True)
        other = evaluate(twin_of(detector(name)), frame(mirrored(full))).row(0, named=True)
        for factor, value in one["factors"].items():
            assert value is None or 0.0 <= value <= 100.0
            assert other["factors"][factor] == (None if value is None else pytest.approx(value, abs=1e-9))
        assert other["score"] == (None if one["score"] is None else pytest.approx(one["score"], abs=1e-9))
        assert one["score"] is None or 0.0 <= one["score"] <= 100.0


@pytest.mark.parametrize("scale", [0.01, 0.37, 3.0, 1234.5])
def test_scaling_every_price_changes_neither_gate_nor_score(scale: float) -> None:
    for name, of, values, _ in KNOWN:
        scaled = {key: value * scale if key in PRICES and value is not None else value for key, value in values.items()}
        fired, score = outcome(detector(of), values)
        scaled_fired, scaled_score = outcome(detector(of), scaled)
        assert scaled_fired == fired, name
        assert scaled_score == (None if score is None else pytest.approx(score, abs=1e-9)), name


# The quantity that moves (rising list), rows of the family it starts from; distance lists fall toward the extreme.
RISING: list[tuple[str, str, list[float], Row]] = [
    (BREAKOUT, "rvol", [1.21, 1.4, 1.5, 2.0, 2.5, 3.9, 4.0, 9.0], {}),
    (REVERSION, "rvol", [1.2, 1.4, 1.5, 1.9, 2.0, 8.0], {}),
    (INDEX_REVERSION, "rvol", [1.0, 1.1, 1.2, 1.5, 2.0, 8.0], {}),
    (DRIVE, "rvol", [1.5, 1.9, 2.5, 4.0, 9.0], {}),
    (REVERSION, "vwap_dist_pct", [-0.51, -0.9, -1.0, -1.4, -1.5, -4.0], {}),
    (INDEX_REVERSION, "vwap_dist_pct", [-0.41, -0.5, -0.9, -1.0, -1.5, -4.0], {}),
    (REVERSION, "ema21", [98.6, 98.9, 99.0, 99.4, 101.0], {}),
    (INDEX_REVERSION, "ema21", [99.22, 99.3, 99.4, 99.5, 101.0], {}),
    (BREAKOUT, "flow_score", [0.0, 60.0, 60.1, 70.0, 70.1, 100.0], {}),
    (DRIVE, "flow_score", [0.0, 60.0, 60.1, 100.0], {}),
    (TREND, "flow_score", [0.0, 69.9, 70.0, 100.0], {"flow_sweeps_bull": 0, "flow_trend": "STABLE"}),
    (POWER, "close", [98.5, 98.45, 98.3, 98.2, 98.1, 98.0], {}),
    (POWER, "session_move_pct", [0.5, 0.0, -0.4, -1.0, -3.0], {}),
    (SQUEEZE, "rvol", [1.3, 1.49, 1.5, 1.9, 2.0, 2.9, 3.0, 9.0], {}),
    (SQUEEZE, "close", [100.99, 100.9, 100.7, 100.6, 100.5], {}),
    (SQUEEZE, "net_gex_ratio", [-0.1, -0.2, -0.35, -0.5, -1.0], {}),
    (FLIP, "rvol", [0.0, 1.0, 1.5, 2.9, 3.0, 9.0], {}),
    (PIN, "close", [99.51, 99.6, 99.9, 99.95, 99.99], {}),
    (PIN, "oi_pin_share_pct", [0.0, 6.0, 18.0, 30.0, 60.0], {}),
    (SWEEPS, "flow_score", [70.0, 79.9, 80.0, 89.9, 90.0, 100.0], {}),
    (SWEEPS, "flow_buy_pressure_pct", [60.0, 69.9, 70.0, 79.9, 80.0, 100.0], {}),
    (INSTITUTIONS, "flow_institutional_score", [0.0, 79.9, 80.0, 84.9, 85.0, 90.0, 95.0, 100.0], {}),
    (INSTITUTIONS, "flow_buy_pressure_pct", [70.0, 74.9, 75.0, 80.0, 85.0, 100.0], {}),
]


@pytest.mark.parametrize(("name", "column", "ladder", "fixed"), RISING)
def test_scores_do_not_fall_as_the_evidence_grows(name: str, column: str, ladder: list[float], fixed: Row) -> None:
    rows = [FIRED[name] | fixed | {column: value} for value in ladder]
    scores = evaluate(detector(name), frame(*rows))["score"].to_list()
    assert None not in scores
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(scores))
    assert scores[-1] > scores[0]


@pytest.mark.parametrize("of", CATALOGUE, ids=lambda of: of.name)
def test_a_missing_required_input_keeps_a_detector_silent_and_is_named(of: Detector) -> None:
    values = fired_row(of)
    assert outcome(of, values)[0]
    for name in of.all_required:
        result = evaluate(of, frame(values | {name: None})).row(0, named=True)
        assert result["fired"] is False
        assert result["score"] is None
        assert name in result["inputs_missing"]


NEUTRAL = {
    "flow_alignment": 50.0, "divergence": 50.0, "rsi_momentum": 50.0, "institutional_flow": 50.0,
    "overnight_gap": 50.0, "mtf_alignment": 50.0, "mtf_trend_strength": 50.0, "level_freshness": 50.0,
    "reversal_confirmation": 50.0, "swing_structure": 50.0, "volume_skew": 50.0, "time_decay": 50.0,
    "flip_significance": 50.0, "time_to_expiry": 50.0, "hedging_intensity": 50.0, "options_volume": 50.0,
    "volume_momentum": 50.0, "dealer_gamma": 50.0, "institutional": 50.0,
}  # fmt: skip


@pytest.mark.parametrize("of", CATALOGUE, ids=lambda of: of.name)
def test_without_optional_inputs_a_detector_still_fires_with_neutral_factors(of: Detector) -> None:
    values = fired_row(of)
    bare = {name: value for name, value in values.items() if name in (*of.all_required, "asset_class")}
    result = evaluate(of, frame(bare)).row(0, named=True)
    full = evaluate(of, frame(values)).row(0, named=True)
    assert result["fired"] is True
    assert result["inputs_missing"] == list(of.inputs_optional)
    for factor in of.factors:
        optional = set(factor.expression.meta.root_names()) & set(of.inputs_optional)
        if not optional:
            assert result["factors"][factor.name] == full["factors"][factor.name]
        # ema200 and the distance to VWAP only add points here; their cases stand in the factor table.
        elif factor.name not in ("ema_alignment", "technical"):
            assert result["factors"][factor.name] == NEUTRAL[factor.name]


@pytest.mark.parametrize("of", CATALOGUE, ids=lambda of: of.name)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_are_nulls(of: Detector, bad: float) -> None:
    values = fired_row(of)
    for name in of.inputs:
        if INPUT_DTYPES[name].is_float():
            spoiled, emptied = frame(values | {name: bad}), frame(values | {name: None})
            assert_frame_equal(evaluate(of, spoiled), evaluate(of, emptied), check_exact=True)


def fired_row(of: Detector) -> Row:
    """A row on which this detector fires with every optional input present."""
    long_name = next(name for name in FIRED if detector(name).family == of.family)
    present = {
        "flow_bias": "bullish", "flow_score": 65.0, "flow_trend": "STABLE", "flow_sweeps_bull": 4,
        "flow_sweeps_bear": 4,
        "flow_blocks_bull": 4, "flow_blocks_bear": 4, "rsi_div_bull": 20.0, "rsi_div_bear": 20.0, "rsi14_delta": 1.0,
        "patient_candle": True, "swing_high": 101.0, "swing_low": 98.0, "or_high": 101.0, "or_low": 99.0,
        "mtf_support_long_pct": 70.0, "mtf_support_short_pct": 70.0, "gap_pct": 0.2,
        "higher_lows": True, "lower_highs": True,
    }  # fmt: skip
    values = present | FIRED[long_name]
    return mirrored(values) if of.direction == "SHORT" else values


def many_rows(count: int, seed: int) -> pl.DataFrame:
    """Random rows around ones that fire, in all three asset classes, with nulls."""
    draw = random.Random(seed)
    pool = [values for _, _, values, _ in KNOWN] + [mirrored(values) for _, _, values, _ in KNOWN]
    rows = []
    for _ in range(count):
        values = dict(draw.choice(pool))
        for name in draw.sample(sorted(values), 2):
            value = values[name]
            if draw.random() < 0.3 and name != "asset_class":
                values[name] = None
            elif isinstance(value, float) and name != "prev_close":
                values[name] = value * draw.uniform(0.99, 1.01)
        rows.append(values)
    return frame(*rows)


def test_the_newest_row_alone_scores_bit_for_bit_as_inside_its_history() -> None:
    features = many_rows(300, seed=7)
    for of in CATALOGUE:
        whole = evaluate(of, features)
        for number in (0, 57, 299):
            assert_frame_equal(evaluate(of, features[number]), whole[number], check_exact=True)


def test_the_order_of_rows_does_not_matter() -> None:
    features = many_rows(300, seed=11)
    shuffled = features.sample(fraction=1.0, shuffle=True, seed=3)
    for of in CATALOGUE:
        expected = evaluate(of, features).sort("bar_end")
        assert_frame_equal(evaluate(of, shuffled).sort("bar_end"), expected, check_exact=True)
    assert_frame_equal(signals(CATALOGUE, shuffled), signals(CATALOGUE, features), check_exact=True)


def test_later_rows_change_nothing_earlier() -> None:
    features = many_rows(200, seed=5)
    spoiled = features.with_columns(
        [
            pl.when(pl.int_range(pl.len()) < 100).then(pl.col(name)).otherwise(pl.col(name) * 10.0)
            for name, dtype in INPUT_DTYPES.items()
            if dtype.is_float()
        ]
    )
    for of in CATALOGUE:
        assert_frame_equal(evaluate(of, spoiled)[:100], evaluate(of, features)[:100], check_exact=True)


def test_signals_are_exactly_the_fired_rows_of_evaluate() -> None:
    features = many_rows(400, seed=13)
    found = signals(CATALOGUE, features)
    for of in CATALOGUE:
        alone = evaluate(of, features).filter("fired").sort("bar_end")
        mine = found.filter(pl.col("detector") == of.name)
        assert alone.height > 0
        shared = ["symbol", "bar_end", "available_at", "direction", "score", "inputs_missing"]
        assert_frame_equal(mine.select(shared), alone.select(shared), check_exact=True)
        assert set(mine["detector_version"]) == {of.definition_version}
