"""What search and chance leave of a Sharpe ratio, and many tests at once: published numbers and properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_pipeline.backtest import significance


def test_psr_gives_the_example_of_bailey_and_lopez_de_prado() -> None:
    # "The Sharpe ratio efficient frontier" (2012): monthly SR .458, 24 months.
    assert significance.probabilistic_sharpe(0.458, 0.0, 24, -2.448, 10.164) == pytest.approx(0.9134, abs=5e-5)
    assert significance.probabilistic_sharpe(0.458, 0.0, 24, 0.0, 3.0) == pytest.approx(0.9817, abs=5e-5)


def test_psr_is_missing_when_its_radicand_is_not_positive() -> None:
    assert significance.probabilistic_sharpe(1.0, 0.0, 24, 2.0, 3.0) is None


@pytest.mark.parametrize(
    ("n_trials", "skewness", "kurtosis", "expected"),
    # "The deflated Sharpe ratio" (2014), numerical example, and quant_methods.md section 14.
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_dsr_gives_the_example_of_bailey_and_lopez_de_prado(
    n_trials: int, skewness: float, kurtosis: float, expected: float
) -> None:
    per_day = 2.5 / math.sqrt(250)
    found = significance.deflated_sharpe(
        per_day, 1250, skewness, kurtosis, n_trials=n_trials, trial_sharpe_variance=0.5 / 250
    )
    assert found == pytest.approx(expected, abs=5e-5)


def test_the_deflated_threshold_of_a_hundred_trials_is_the_published_one() -> None:
    assert math.sqrt(0.5 / 250) * significance.expected_maximum(100) == pytest.approx(0.1132, abs=5e-5)


def test_one_trial_is_not_deflated() -> None:
    alone = significance.deflated_sharpe(0.1, 500, 0.0, 3.0, n_trials=1, trial_sharpe_variance=0.5)
    assert alone == significance.probabilistic_sharpe(0.1, 0.0, 500, 0.0, 3.0)


def test_more_trials_deflate_more() -> None:
    found = [
        significance.deflated_sharpe(0.1, 500, 0.0, 3.0, n_trials=n, trial_sharpe_variance=0.002) or 0.0
        for n in (2, 20, 200)
    ]
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize(
    ("n_trials", "expected"), [(1, 0.0), (5, 1.1926), (10, 1.5746), (45, 2.2356), (100, 2.5306), (1000, 3.2551)]
)
def test_the_expected_maximum_of_normals_is_the_published_one(n_trials: int, expected: float) -> None:
    assert significance.expected_maximum(n_trials) == pytest.approx(expected, abs=5e-5)


def test_45_trials_need_five_years() -> None:
    # Bailey, Borwein, López de Prado and Zhu (2014): MinBTL(45, SR 1) = 5 years.
    assert significance.minimum_backtest_years(45, 1.0) == pytest.approx(5.0, abs=0.05)


@pytest.mark.parametrize(("periods_per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_the_minimum_track_record_is_the_published_one(periods_per_year: int, years: float) -> None:
    # Bailey and López de Prado (2012): annual Sharpe 2 against 1, 95 %, normal returns.
    root = math.sqrt(periods_per_year)
    periods = significance.minimum_track_record(2.0 / root, 1.0 / root)
    assert periods is not None
    assert periods / periods_per_year == pytest.approx(years, abs=5e-3)


def test_no_track_record_is_long_enough_for_a_ratio_below_its_benchmark() -> None:
    assert significance.minimum_track_record(0.01, 0.02) is None


def test_benjamini_hochberg_steps_up_and_leaves_missing_tests_out() -> None:
    # By hand with m = 4: .04·4/4 = .04; .03·4/3 = .04; .02·4/2 = .04; .005·4/1 = .02.
    found = significance.benjamini_hochberg([0.03, None, 0.005, 0.04, 0.02])
    assert found[1] is None
    assert [found[0], found[2], found[3], found[4]] == pytest.approx([0.04, 0.02, 0.04, 0.04])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30))
def test_adjusted_p_values_keep_order_and_never_shrink(p_values: list[float | None]) -> None:
    adjusted = significance.benjamini_hochberg(p_values)
    known = sorted((p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None and q is not None)
    assert all(p <= q <= 1.0 for p, q in known)
    assert [q for _, q in known] == sorted(q for _, q in known)
