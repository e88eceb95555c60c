"""Known answers of detectors.md sections 6 and 8 and their mirror images."""

import polars as pl
import pytest

from strategy_pipeline.detectors.evaluate import evaluate
from strategy_pipeline_tests.detectors.known_rows import E1, E2, E3, E4, KNOWN, PIN
from strategy_pipeline_tests.detectors.rows import Row, detector, frame, mirrored, twin_of

NAMES = [name for name, *_ in KNOWN]
CASES = [case[1:] for case in KNOWN]


def score_of(name: str, values: Row) -> float | None:
    result = evaluate(detector(name), frame(values))
    assert result["fired"][0] == (result["score"][0] is not None)
    return result["score"][0]


@pytest.mark.parametrize(("name", "values", "expected"), CASES, ids=NAMES)
def test_a_known_row_has_its_printed_score(name: str, values: Row, expected: float | None) -> None:
    score = score_of(name, values)
    # The tables print four decimals.
    assert score == (None if expected is None else pytest.approx(expected, abs=5e-5))


@pytest.mark.parametrize(("name", "values", "expected"), CASES, ids=NAMES)
def test_the_twin_gives_the_mirrored_row_the_same_result(name: str, values: Row, expected: float | None) -> None:
    long_score = score_of(name, values)
    short_score = score_of(twin_of(detector(name)).name, mirrored(values))
    assert short_score == (None if long_score is None else pytest.approx(long_score, abs=1e-9))


def test_a_twin_does_not_fire_on_the_unmirrored_row() -> None:
    for name, values, _ in CASES:
        if name != PIN:
            assert score_of(twin_of(detector(name)).name, values) is None


def test_a_pin_draws_the_price_toward_the_strike_from_either_side() -> None:
    rows = (E1, E2, E3, E4)
    directions = evaluate(detector(PIN), frame(*rows))["direction"].to_list()
    assert directions == ["LONG", "SHORT", "SHORT", None]
    reflected = evaluate(detector(PIN), frame(*(mirrored(values) for values in rows)))["direction"].to_list()
    assert reflected == ["SHORT", "LONG", "LONG", None]


def test_the_signal_of_a_short_twin_says_short() -> None:
    name, values, _ = CASES[0]
    result = evaluate(twin_of(detector(name)), frame(mirrored(values)))
    assert result["direction"].to_list() == ["SHORT"]
    assert result.schema["direction"] == pl.Enum(["LONG", "SHORT"])
