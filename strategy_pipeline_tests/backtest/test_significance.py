"""What search and chance leave of a Sharpe ratio, and many tests at once: published numbers and properties."""

import math
from itertools import combinations

import numpy as np
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


def standardised(sessions: int, trials: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(sessions, trials))
    return (values - values.mean(axis=0)) / values.std(axis=0)


def test_trials_that_only_differ_by_luck_have_a_pbo_of_one() -> None:
    # quant_methods.md section 14: with equal means and sds the best half always has the worst other half.
    returns = standardised(1200, 50, 1)
    assert significance.probability_of_overfitting(returns, 8) == 1.0
    assert len(significance.overfitting_splits(returns, 8)) == 70


def test_a_dominating_strategy_has_a_pbo_of_zero() -> None:
    returns = np.random.default_rng(2).normal(0.0, 0.01, (1200, 50))
    returns[:, 7] += 0.05
    assert significance.probability_of_overfitting(returns, 8) == 0.0


def test_the_pbo_of_noise_is_near_one_half_on_average() -> None:
    # quant_methods.md section 14: mean .46, sd .19 over 40 draws, so the mean has a standard error of .03.
    rng = np.random.default_rng(3)
    draws = [significance.probability_of_overfitting(rng.normal(size=(1200, 50)), 8) for _ in range(40)]
    assert np.mean(draws) == pytest.approx(0.46, abs=0.09)
    assert np.std(draws) == pytest.approx(0.19, abs=0.05)


@pytest.mark.parametrize(("per_session", "expected"), [(0.15, 0.04), (0.08, 0.33)])
def test_one_real_edge_among_noise_lowers_the_pbo(per_session: float, expected: float) -> None:
    # quant_methods.md section 14; the mean of 40 draws, whose own spread is about .2.
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(40):
        returns = rng.normal(size=(1200, 50))
        returns[:, 0] += per_session
        draws.append(significance.probability_of_overfitting(returns, 8))
    assert np.mean(draws) == pytest.approx(expected, abs=0.09)


def test_pbo_needs_ten_trials_and_two_sessions_a_block() -> None:
    rng = np.random.default_rng(5)
    assert significance.probability_of_overfitting(rng.normal(size=(400, 9))) is None
    assert significance.probability_of_overfitting(rng.normal(size=(15, 10))) is None
    assert significance.probability_of_overfitting(rng.normal(size=(16, 10))) is not None


def test_from_320_sessions_on_there_are_16_blocks() -> None:
    returns = np.random.default_rng(6).normal(size=(320, 12))
    assert significance.probability_of_overfitting(returns) == significance.probability_of_overfitting(returns, 16)
    shorter = returns[:319]
    assert significance.probability_of_overfitting(shorter) == significance.probability_of_overfitting(shorter, 8)


def test_splits_agree_with_ranking_every_half_by_hand() -> None:
    rng = np.random.default_rng(7)
    returns = rng.normal(size=(37, 11))
    returns[:, 3] = 0.0
    returns[:, 5] = returns[:, 6]
    parts = np.array_split(np.arange(37), 6)
    expected = []
    for half in combinations(range(6), 3):
        inside = np.concatenate([parts[at] for at in half])
        outside = np.setdiff1d(np.arange(37), inside)

        def ratio(rows: np.ndarray) -> np.ndarray:
            sample = returns[rows]
            spread = sample.std(axis=0)
            return np.where(spread > 0, sample.mean(axis=0) / np.where(spread > 0, spread, 1.0), 0.0).round(9)

        after = ratio(outside)
        winner = after[ratio(inside).argmax()]
        rank = 1 + (after < winner).sum() + ((after == winner).sum() - 1) / 2
        expected.append(rank / 12)
    assert significance.overfitting_splits(returns, 6).tolist() == pytest.approx(expected)


def test_copies_of_a_trial_are_one_look_and_independent_trials_are_many() -> None:
    rng = np.random.default_rng(8)
    five = rng.normal(size=(5, 250))
    copies = np.repeat(five, 40, axis=0) + 0.1 * rng.normal(size=(200, 250))
    assert significance.effective_trials(copies) == 5
    assert significance.effective_trials(rng.normal(size=(40, 250))) == 40
    # Whatever its size, a bet is the same bet; the opposite bet is another one.
    assert significance.effective_trials(np.stack([five[0], 7.0 * five[0] + 1.0])) == 1
    assert significance.effective_trials(np.stack([five[0], -five[0]])) == 2
    assert significance.effective_trials(np.zeros((6, 250))) == 1


def test_clusters_are_those_of_average_linkage_by_hand() -> None:
    # Distances: 0-1 .2, 2-3 .3, every pair across .45 but 1-3, which is .9: the average across is .5625, above .5.
    distance = np.full((4, 4), 0.45)
    np.fill_diagonal(distance, np.inf)
    for a, b, d in ((0, 1, 0.2), (2, 3, 0.3), (1, 3, 0.9)):
        distance[a, b] = distance[b, a] = d
    assert significance._merges_below(distance.copy(), 0.5) == 2
    assert significance._merges_below(distance.copy(), 0.57) == 3


def test_the_best_of_noise_is_called_superior_about_five_times_in_a_hundred() -> None:
    rng = np.random.default_rng(9)
    p = [
        significance.superior_predictive_ability(rng.normal(size=(62, 17)), draws=400, generator=rng)
        for _ in range(120)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert significance.superior_predictive_ability(np.zeros((62, 3)), draws=10, generator=rng) is None


def test_hopeless_detectors_do_not_weaken_the_test_of_the_best() -> None:
    rng = np.random.default_rng(10)
    returns = rng.normal(size=(250, 40))
    returns[:, 0] += 0.25
    alone = significance.superior_predictive_ability(returns[:, :1], draws=999, generator=rng)
    returns[:, 1:] -= 0.5
    among = significance.superior_predictive_ability(returns, draws=999, generator=rng)
    assert alone < 0.02
    assert among < 0.02
