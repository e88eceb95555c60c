"""Which evidence a verdict needs, and which advice follows."""

from dataclasses import replace

import pytest

from strategy_pipeline.backtest import verdicts
from strategy_pipeline.backtest.estimates import NOTHING, Estimate
from strategy_pipeline.backtest.verdicts import Coverage, Evidence, Noise, OutOfSample

FULL = Coverage(100, 100)
GOOD = Estimate(0.3, 0.1, 0.5)
PASSED = Noise("passed", 20, 400, NOTHING, 0.1, 0.7)
FAILED = Noise("failed", 20, 400, NOTHING, 0.1, 0.0001)
SILENT = Noise("not exercised", 20, 0, NOTHING, None, None)
OUTSIDE = OutOfSample("walk-forward", 5, 150, GOOD, 0.05, 3, 0.97)


def verdict(**changes: object) -> str:
    facts: dict[str, object] = {
        "coverage": FULL,
        "trades": 400,
        "expectancy": GOOD,
        "dsr": 0.97,
        "evidence": Evidence(n_trials=20, pbo=0.1, noise=PASSED, out_of_sample=OUTSIDE),
    }
    return verdicts.verdict_for(**{**facts, **changes})[0]  # type: ignore[arg-type]


def with_outside(**changes: object) -> Evidence:
    return Evidence(pbo=0.1, noise=PASSED, out_of_sample=replace(OUTSIDE, **changes))  # type: ignore[arg-type]


def test_every_condition_of_supported_is_needed() -> None:
    assert verdict() == "supported"
    assert verdict(evidence=with_outside(method="holdout")) == "supported"
    assert verdict(evidence=with_outside(dsr=0.94)) == "suggestive"
    assert verdict(evidence=with_outside(dsr=None)) == "suggestive"
    assert verdict(evidence=with_outside(low_at_double_costs=0.0)) == "suggestive"
    assert verdict(evidence=with_outside(regimes=2)) == "suggestive"
    assert verdict(evidence=with_outside(trades=99)) == "suggestive"
    assert verdict(evidence=Evidence(pbo=0.21, noise=PASSED, out_of_sample=OUTSIDE)) == "suggestive"
    assert verdict(evidence=Evidence(pbo=None, noise=PASSED, out_of_sample=OUTSIDE)) == "suggestive"
    assert verdict(evidence=Evidence(pbo=0.1, noise=None, out_of_sample=OUTSIDE)) == "no evidence"
    assert verdict(evidence=Evidence(pbo=0.1, noise=FAILED, out_of_sample=OUTSIDE)) == "no evidence"


def test_cross_validated_folds_lift_no_verdict_to_supported() -> None:
    assert verdict(evidence=with_outside(method="purged cross-validation")) == "suggestive"


def test_a_run_without_out_of_sample_trades_is_suggestive_at_best() -> None:
    assert verdict(evidence=Evidence(pbo=0.0, noise=PASSED)) == "suggestive"


def test_every_condition_of_suggestive_is_needed() -> None:
    passed = Evidence(noise=PASSED)
    assert verdict(evidence=passed, dsr=0.80, trades=30) == "suggestive"
    assert verdict(evidence=passed, dsr=0.79) == "no evidence"
    assert verdict(evidence=passed, dsr=None) == "no evidence"
    assert verdict(evidence=passed, trades=29) == "no evidence"
    assert verdict(evidence=passed, expectancy=Estimate(0.0, -0.1, 0.1)) == "no evidence"
    assert verdict(evidence=Evidence(noise=FAILED)) == "no evidence"


def test_a_detector_that_never_fired_on_noise_has_not_passed() -> None:
    assert verdict(evidence=Evidence(noise=SILENT)) == "no evidence"


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
