"""What a declaration refuses, and what its version depends on."""

import json
from dataclasses import replace

import polars as pl
import pytest

from strategy_pipeline.detectors.breakout import BreakoutThresholds, breakout
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.declaration import PER_ROW, Detector, Factor
from strategy_pipeline.detectors.evaluate import evaluate, signals
from strategy_pipeline.detectors.side import LONG, SHORT
from strategy_pipeline_tests.detectors.known_rows import B1, B2
from strategy_pipeline_tests.detectors.rows import frame

BREAKOUT = breakout(LONG)


def test_reading_an_undeclared_column_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"breakout_bullish: reads \['rsi14'\] without declaring"):
        replace(BREAKOUT, gate=BREAKOUT.gate & (pl.col("rsi14") < 30.0))
    with pytest.raises(ValueError, match=r"reads \['gap_pct'\] without declaring"):
        replace(BREAKOUT, factors=(*BREAKOUT.factors, Factor("extra", 0.0, pl.col("gap_pct"))))


def test_declaring_an_optional_input_that_nothing_reads_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"optional inputs \['gap_pct'\] but never reads"):
        replace(BREAKOUT, inputs_optional=(*BREAKOUT.inputs_optional, "gap_pct"))


def test_an_input_must_be_a_feature_column_and_be_declared_once() -> None:
    with pytest.raises(ValueError, match=r"\['moon_phase'\] are not columns of the feature schema"):
        replace(BREAKOUT, inputs_required=(*BREAKOUT.inputs_required, "moon_phase"))
    with pytest.raises(ValueError, match="declared twice"):
        replace(BREAKOUT, inputs_required=(*BREAKOUT.inputs_required, "rvol"))


def test_weights_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="weights sum to"):
        replace(BREAKOUT, factors=BREAKOUT.factors[:-1])
    for of in CATALOGUE:
        assert sum(factor.weight for factor in of.factors) == pytest.approx(1.0, abs=1e-12)


def test_unknown_classes_and_directions_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown asset classes"):
        replace(BREAKOUT, asset_classes=frozenset({"CRYPTO"}))
    with pytest.raises(ValueError, match="direction 'UP'"):
        replace(BREAKOUT, direction="UP")
    with pytest.raises(ValueError, match="direction expression belongs to PER_ROW"):
        replace(BREAKOUT, direction=PER_ROW)


def test_a_per_row_detector_takes_its_direction_from_the_row() -> None:
    toward_prev_close = pl.when(pl.col("close") < pl.col("prev_close")).then(pl.lit("LONG")).otherwise(pl.lit("SHORT"))
    per_row: Detector = replace(BREAKOUT, direction=PER_ROW, direction_expression=toward_prev_close)
    rows = frame(B2, B2 | {"close": 99.0, "range_high_20": 98.0})
    assert evaluate(per_row, rows)["direction"].to_list() == ["SHORT", "LONG"]
    assert signals([per_row], rows)["direction"].to_list() == ["SHORT", "LONG"]


def test_the_version_changes_with_content_and_with_nothing_else() -> None:
    assert breakout(LONG).definition_version == BREAKOUT.definition_version
    changed = [
        breakout(SHORT),
        breakout(LONG, BreakoutThresholds(rvol_above=1.3)),
        replace(BREAKOUT, version="2"),
        replace(BREAKOUT, asset_classes=frozenset({"STOCK"})),
        replace(BREAKOUT, gate=BREAKOUT.gate & (pl.col("rvol") < 50.0)),
        replace(BREAKOUT, factors=(*BREAKOUT.factors[1:], BREAKOUT.factors[0])),
    ]
    versions = {of.definition_version for of in changed}
    assert len(versions) == len(changed)
    assert BREAKOUT.definition_version not in versions
    assert len({of.definition_version for of in CATALOGUE}) == 21


def test_a_changed_threshold_moves_the_gate() -> None:
    strict = breakout(LONG, BreakoutThresholds(rvol_above=2.6))
    assert strict.thresholds == (("rvol_above", 2.6), ("vwap_distance_above_pct", 0.0))
    assert evaluate(strict, frame(B1))["fired"].to_list() == [False]
    assert evaluate(BREAKOUT, frame(B1))["fired"].to_list() == [True]


def divisions_by_a_constant(expression: pl.Expr) -> list[object]:
    """The constants by which an expression divides, read from its serialised tree."""
    found: list[object] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            operation = node.get("BinaryExpr")
            if isinstance(operation, dict) and "Divide" in str(operation["op"]) and "Literal" in operation["right"]:
                found.append(operation["right"]["Literal"])
            for part in node.values():
                walk(part)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    walk(json.loads(expression.meta.serialize(format="json")))
    return found


def test_no_rule_divides_by_a_constant() -> None:
    # Polars divides one row directly and many through the reciprocal: 1.6 / 7 differs in its last bit.
    column = pl.col("x") / 7.0
    alone, among = (pl.DataFrame({"x": [1.6] * count}).select(column)["x"][0] for count in (1, 40))
    assert alone != among
    assert divisions_by_a_constant(1.0 + column) == [{"Dyn": {"Float": 7.0}}]
    for of in CATALOGUE:
        expressions = (of.gate, *(factor.expression for factor in of.factors))
        assert [divisions_by_a_constant(one) for one in expressions] == [[] for _ in expressions], of.name
