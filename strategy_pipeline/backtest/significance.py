"""What chance and search leave of a result: deflated Sharpe ratios, shortest track records, many tests at once.

Belongs here: formulas on plain numbers and return series. Does not belong here: keeping the trials, resampling trades.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

EULER_MASCHERONI = 0.5772156649
_NORMAL = NormalDist()


def normal_cdf(x: float) -> float:
    """Φ(x), the standard normal distribution function."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def normal_quantile(p: float) -> float:
    """Φ⁻¹(p) for 0 < p < 1 (Wichura's AS241, as in ``statistics.NormalDist``)."""
    return _NORMAL.inv_cdf(p)


def probabilistic_sharpe(
    sharpe_per_period: float, benchmark: float, periods: float, skewness: float, kurtosis: float
) -> float | None:
    """PSR(SR*): probability that the true per-period Sharpe ratio exceeds ``benchmark``; None if the radicand is ≤ 0.

    Source: Bailey and López de Prado (2012), "The Sharpe ratio efficient frontier". Kurtosis is non-excess.
    """
    radicand = 1.0 - skewness * sharpe_per_period + (kurtosis - 1.0) / 4.0 * sharpe_per_period**2
    if radicand <= 0.0 or periods <= 1.0:
        return None
    return normal_cdf((sharpe_per_period - benchmark) * math.sqrt(periods - 1.0) / math.sqrt(radicand))


def expected_maximum(n_trials: int) -> float:
    """Expected largest of N independent standard normals, Gumbel approximation; 0 for a single trial.

    Source: Bailey and López de Prado (2014), "The deflated Sharpe ratio".
    """
    if n_trials <= 1:
        return 0.0
    return (1.0 - EULER_MASCHERONI) * normal_quantile(1.0 - 1.0 / n_trials) + EULER_MASCHERONI * normal_quantile(
        1.0 - 1.0 / (n_trials * math.e)
    )


def deflated_sharpe(
    sharpe_per_period: float,
    periods: float,
    skewness: float,
    kurtosis: float,
    *,
    n_trials: int,
    trial_sharpe_variance: float,
) -> float | None:
    """PSR against the Sharpe ratio that the best of N worthless trials would show (per-period units throughout).

    Source: Bailey and López de Prado (2014), "The deflated Sharpe ratio".
    """
    threshold = math.sqrt(trial_sharpe_variance) * expected_maximum(n_trials)
    return probabilistic_sharpe(sharpe_per_period, threshold, periods, skewness, kurtosis)


def minimum_track_record(
    sharpe_per_period: float,
    benchmark: float,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = 0.95,
) -> float | None:
    """Periods needed before PSR(benchmark) reaches ``confidence``; None when the ratio does not exceed the benchmark.

    Source: Bailey and López de Prado (2012).
    """
    radicand = 1.0 - skewness * sharpe_per_period + (kurtosis - 1.0) / 4.0 * sharpe_per_period**2
    if sharpe_per_period <= benchmark or radicand <= 0.0:
        return None
    return 1.0 + radicand * (normal_quantile(confidence) / (sharpe_per_period - benchmark)) ** 2


def minimum_backtest_years(n_trials: int, annual_sharpe: float) -> float:
    """Years below which the best of N worthless trials is expected to show ``annual_sharpe`` (MinBTL)."""
    return (expected_maximum(n_trials) / annual_sharpe) ** 2


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Step-up adjusted p-values in the given order; a missing one stays missing and does not count as a test.

    Source: Benjamini and Hochberg (1995).
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    smallest = 1.0
    for rank in range(len(known), 0, -1):
        p, index = known[rank - 1]
        smallest = min(smallest, p * (len(known) / rank))
        adjusted[index] = smallest
    return adjusted
