"""What chance and search leave of a result: deflated Sharpe ratios, shortest track records, many tests at once.

Belongs here: formulas on plain numbers and return series. Does not belong here: keeping the trials, resampling trades.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from strategy_pipeline.backtest.bootstrap import natural_block, stationary_indices, times_drawn
from strategy_pipeline.backtest.estimates import FloatArray

EULER_MASCHERONI = 0.5772156649
MINIMUM_TRIALS_FOR_PBO = 10
# From this correlation on, two trials count as one look at the data.
SAME_LOOK_CORRELATION = 0.5
_SPLITS_AT_ONCE_CELLS = 4_000_000
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


@cache
def _in_sample_blocks(blocks: int) -> npt.NDArray[np.float64]:
    """Every way to choose half of the blocks, as rows of zeros and ones."""
    halves = list(combinations(range(blocks), blocks // 2))
    chosen = np.zeros((len(halves), blocks))
    chosen[np.arange(len(halves))[:, None], np.array(halves)] = 1.0
    return chosen


def overfitting_splits(returns: FloatArray, blocks: int) -> FloatArray:
    """Relative rank out of sample, in (0, 1), of the trial that was best in sample, for every split into halves.

    `returns`: shape (sessions, trials). The sessions are cut into `blocks` consecutive blocks, of which every half
    serves as the sample once. Trials are ranked by mean over standard deviation (0 for a trial that did nothing); a
    rank is divided by the number of trials + 1, and equal trials share theirs. Source: Bailey, Borwein, López de Prado
    and Zhu (2017), "The probability of backtest overfitting".
    """
    parts = np.array_split(returns, blocks)
    sums = np.array([part.sum(axis=0) for part in parts])
    squares = np.array([(part**2).sum(axis=0) for part in parts])
    lengths = np.array([len(part) for part in parts], dtype=float)
    chosen = _in_sample_blocks(blocks)
    at_once = max(1, _SPLITS_AT_ONCE_CELLS // max(1, returns.shape[1]))
    ranks = np.empty(len(chosen))
    for start in range(0, len(chosen), at_once):
        half = chosen[start : start + at_once]
        inside = _ratios(half @ sums, half @ squares, half @ lengths)
        rest = 1.0 - half
        outside = _ratios(rest @ sums, rest @ squares, rest @ lengths)
        winner = outside[np.arange(len(half)), inside.argmax(axis=1)][:, None]
        below, level = (outside < winner).sum(axis=1), (outside == winner).sum(axis=1)
        ranks[start : start + at_once] = (below + (level + 1) / 2.0) / (returns.shape[1] + 1)
    return ranks


def _ratios(total: FloatArray, squares: FloatArray, count: FloatArray) -> FloatArray:
    """Mean over standard deviation from sums; 0 where nothing varies. Rounded, so that equal trials compare equal."""
    mean = total / count[:, None]
    variance = squares / count[:, None] - mean**2
    # What is left of the subtraction when nothing varies is of rounding size.
    varies = variance > 1e-12 * squares / count[:, None]
    ratio = np.zeros_like(mean)
    np.divide(mean, np.sqrt(np.where(varies, variance, 1.0)), out=ratio, where=varies)
    return ratio.round(12)


def probability_of_overfitting(returns: FloatArray, blocks: int | None = None) -> float | None:
    """PBO by CSCV: the share of splits in which the trial that was best in sample is no better than the median after.

    `returns`: shape (sessions, trials). 16 blocks, 8 below 320 sessions. None below 10 trials, or when the sessions do
    not fill two a block.
    """
    sessions, trials = returns.shape
    blocks = blocks or (16 if sessions >= 320 else 8)
    if trials < MINIMUM_TRIALS_FOR_PBO or sessions < 2 * blocks:
        return None
    # The logit of a relative rank is not above zero exactly when the rank is not above one half.
    return float(np.mean(overfitting_splits(returns, blocks) <= 0.5))


def effective_trials(returns: FloatArray, correlation: float = SAME_LOOK_CORRELATION) -> int:
    """How many different trials there are: clusters of daily returns whose average correlation reaches `correlation`.

    `returns`: shape (trials, sessions). Average linkage on 1 - correlation, cut there; trials that never vary are one
    cluster. Source: the clustering of trials in López de Prado (2019), "A data science solution to the multiple-testing
    crisis", with a fixed cut in place of the search for the number of clusters.
    """
    centred = returns - returns.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    varies = size > 1e-12 * np.maximum(1.0, np.abs(returns).max(axis=1, initial=0.0))
    flat = int((~varies).any())
    unit = centred[varies] / size[varies][:, None]
    if len(unit) < 2:
        return len(unit) + flat
    distance = 1.0 - unit @ unit.T
    np.fill_diagonal(distance, np.inf)
    return len(unit) - _merges_below(distance, 1.0 - correlation + 1e-12) + flat


def _merges_below(distance: FloatArray, limit: float) -> int:
    """Merges of average linkage at a height of `limit` or less, by chains of nearest neighbours (Murtagh 1983)."""
    size = np.ones(len(distance))
    alive = np.ones(len(distance), dtype=bool)
    chain: list[int] = []
    merges = 0
    for _ in range(len(distance) - 1):
        if not chain:
            chain.append(int(np.flatnonzero(alive)[0]))
        while True:
            here = chain[-1]
            nearest = int(distance[here].argmin())
            # Going back to where the chain came from ends it, also among equal distances.
            if len(chain) > 1 and distance[here, chain[-2]] <= distance[here, nearest]:
                nearest = chain[-2]
                break
            chain.append(nearest)
        merges += bool(distance[here, nearest] <= limit)
        del chain[-2:]
        total = size[here] + size[nearest]
        merged = (size[here] * distance[here] + size[nearest] * distance[nearest]) / total
        merged[[here, nearest]] = np.inf
        distance[nearest], distance[:, nearest] = merged, merged
        distance[here], distance[:, here] = np.inf, np.inf
        size[nearest], alive[here] = total, False
    return merges


def superior_predictive_ability(
    returns: FloatArray, *, draws: int, generator: np.random.Generator, mean_block: float | None = None
) -> float | None:
    """p-value of "the best of these earns nothing": Hansen's SPA test with the consistent null, against zero.

    `returns`: shape (sessions, detectors), net. Blocks of sessions are drawn; their mean length, unless given, is the
    cube root of the number of sessions when the detectors' mean return is autocorrelated, else one session. None when
    no column varies. Source: Hansen (2005), "A test for superior predictive ability".
    """
    sessions = len(returns)
    varies = np.ptp(returns, axis=0) > 0.0 if sessions else np.zeros(returns.shape[1], dtype=bool)
    if sessions < 2 or not varies.any():
        return None
    kept = returns[:, varies]
    length = mean_block or natural_block(kept.mean(axis=1))
    picked = stationary_indices(sessions, draws, length, generator)
    mean, means = kept.mean(axis=0), times_drawn(picked) @ kept / sessions
    # Blocks understate the variance of a mean by what their sample autocovariances lack, about (2 length - 1) / n.
    understated = max(0.5, 1.0 - (2.0 * length - 1.0) / sessions)
    spread = np.sqrt(sessions / understated) * means.std(axis=0, ddof=1)
    spread = np.where(spread > 0.0, spread, np.inf)
    # A detector far below zero cannot be the best, so its mean is left where it is.
    hopeless = mean < -spread / np.sqrt(sessions) * np.sqrt(2.0 * np.log(np.log(max(sessions, 3))))
    centre = np.where(hopeless, 0.0, mean)
    best = max(0.0, float((np.sqrt(sessions) * mean / spread).max()))
    drawn = np.maximum(0.0, (np.sqrt(sessions / understated) * (means - centre) / spread).max(axis=1))
    return (1 + int(np.count_nonzero(drawn >= best))) / (draws + 1)
