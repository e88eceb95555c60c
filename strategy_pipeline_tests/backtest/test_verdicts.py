"""Which evidence a verdict needs, and which advice follows."""

import pytest

from strategy_pipeline.backtest import verdicts
from strategy_pipeline.backtest.estimates import NOTHING, Estimate
from strategy_pipeline.backtest.verdicts import Coverage, Evidence

FULL = Coverage(100, 100)


GOOD = Estimate(0.3, 0.1, 0.5)


def verdict(**changes: object) -> str:
    facts: dict[str, object] = {
        "coverage": FULL,
        "trades": 400,
        "expectancy": GOOD,
        "expectancy_low_at_double_costs": 0.05,
        "dsr": 0.97,
        "regimes_with_enough_trades": 3,
        "evidence": Evidence(n_trials=20, pbo=0.1, gauntlet_passed=True, out_of_sample_trades=150),
    }
    return verdicts.verdict_for(**{**facts, **changes})[0]  # type: ignore[arg-type]


def test_every_condition_of_supported_is_needed() -> None:
    assert verdict() == "supported"
    assert verdict(dsr=0.94) == "suggestive"
    assert verdict(expectancy_low_at_double_costs=0.0) == "suggestive"
    assert verdict(regimes_with_enough_trades=2) == "suggestive"
    assert verdict(evidence=Evidence(pbo=0.21, gauntlet_passed=True, out_of_sample_trades=150)) == "suggestive"
    assert verdict(evidence=Evidence(pbo=None, gauntlet_passed=True, out_of_sample_trades=150)) == "suggestive"
    assert verdict(evidence=Evidence(pbo=0.1, gauntlet_passed=True, out_of_sample_trades=99)) == "suggestive"
    assert verdict(evidence=Evidence(pbo=0.1, gauntlet_passed=None, out_of_sample_trades=150)) == "no evidence"


def test_a_run_without_out_of_sample_trades_is_suggestive_at_best() -> None:
    assert verdict(evidence=Evidence(pbo=0.0, gauntlet_passed=True)) == "suggestive"


def test_every_condition_of_suggestive_is_needed() -> None:
    passed = Evidence(gauntlet_passed=True)
    assert verdict(evidence=passed, dsr=0.80, trades=30) == "suggestive"
    assert verdict(evidence=passed, dsr=0.79) == "no evidence"
    assert verdict(evidence=passed, dsr=None) == "no evidence"
    assert verdict(evidence=passed, trades=29) == "no evidence"
    assert verdict(evidence=passed, expectancy=Estimate(0.0, -0.1, 0.1)) == "no evidence"
    assert verdict(evidence=Evidence(gauntlet_passed=False)) == "no evidence"


def test_missing_data_goes_before_every_other_verdict() -> None:
    assert verdict(coverage=Coverage(100, 59)) == "not testable"
    assert verdict(coverage=Coverage(0, 0)) == "not testable"


@pytest.mark.parametrize(
    ("expectancy", "gross", "trades", "word", "expected"),
    [
        (Estimate(0.1, -0.1, 0.3), Estimate(0.2, 0.0, 0.4), 30, "no evidence", "keep observing"),
        (GOOD, GOOD, 30, "suggestive", "paper-trade"),
        (GOOD, GOOD, 30, "supported", "paper-trade"),
        (GOOD, GOOD, 30, "no evidence", "keep observing"),
        (Estimate(-0.3, -0.5, -0.1), Estimate(-0.1, -0.3, 0.1), 30, "no evidence", "disable"),
        (Estimate(-0.3, -0.5, -0.1), Estimate(0.2, 0.1, 0.3), 30, "no evidence", "check costs"),
        (Estimate(-0.1, -0.3, 0.1), Estimate(0.2, 0.1, 0.3), 30, "no evidence", "check costs"),
        (Estimate(-0.3, -0.5, -0.1), GOOD, 29, "no evidence", "too few trades"),
        (NOTHING, NOTHING, 0, "not testable", "get data"),
        (Estimate(0.1, None, None), Estimate(0.2, None, None), 30, "no evidence", "keep observing"),
    ],
)
def test_recommendations_follow_intervals_and_counts(
    expectancy: Estimate, gross: Estimate, trades: int, word: str, expected: str
) -> None:
    coverage = Coverage(10, 0, ("x",)) if word == "not testable" else FULL
    found, because = verdicts.recommendation_for(
        verdict=word, coverage=coverage, trades=trades, expectancy=expectancy, expectancy_gross=gross
    )
    assert found == expected
    assert because.endswith(".")
