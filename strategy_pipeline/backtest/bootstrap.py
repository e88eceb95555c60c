"""Resampling of whole sessions: reproducible random streams, bootstrap totals, intervals and p-values.

Sessions are drawn, never single trades, because trades of one session share its weather.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from strategy_pipeline.backtest.estimates import FloatArray


def generator_for(name: str, seed: int) -> np.random.Generator:
    """A random stream that depends on the seed and the name alone, so other detectors never change a result."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def bootstrap_totals(
    session_totals: FloatArray, *, draws: int, generator: np.random.Generator, cells_at_once: int = 2_000_000
) -> FloatArray:
    """Column totals of ``draws`` resamples of the rows (sessions) with replacement; shape (draws, columns).

    Whole sessions are drawn, so trades of one session, which share its weather, stay together (cluster bootstrap).
    """
    sessions = session_totals.shape[0]
    rows_at_once = max(1, cells_at_once // max(1, sessions))
    totals = np.empty((draws, session_totals.shape[1]))
    for start in range(0, draws, rows_at_once):
        rows = min(rows_at_once, draws - start)
        picked = generator.integers(0, sessions, size=(rows, sessions), dtype=np.int32).astype(np.int64)
        picked += np.arange(rows, dtype=np.int64)[:, None] * sessions
        times = np.bincount(picked.ravel(), minlength=rows * sessions).reshape(rows, sessions)
        totals[start : start + rows] = times.astype(np.float64) @ session_totals
    return totals


def percentile_interval(means: FloatArray) -> tuple[float, float] | None:
    """The central 95 % of bootstrap means; resamples without a trade (NaN) are left out, None when none is left."""
    finite = means[np.isfinite(means)]
    if finite.size == 0:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_p_value(observed: float, means: FloatArray) -> float:
    """Two-sided p of "mean R is zero": share of resamples, shifted to a zero mean, at least as far out as observed."""
    finite = means[np.isfinite(means)]
    beyond = int(np.count_nonzero(np.abs(finite - observed) >= abs(observed)))
    return (1 + beyond) / (finite.size + 1)


def stationary_indices(
    sessions: int, draws: int, mean_block: float, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Resamples of 0 … sessions - 1 in blocks of geometric length that wrap around; shape (draws, sessions).

    Blocks keep the order inside them, so what carries over from one session to the next stays. Source: Politis and
    Romano (1994), "The stationary bootstrap".
    """
    begins = generator.random((draws, sessions)) < 1.0 / max(1.0, mean_block)
    begins[:, 0] = True
    first = generator.integers(0, sessions, size=(draws, sessions))
    place = np.arange(sessions)
    since = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    return (np.take_along_axis(first, since, axis=1) + place - since) % sessions


def times_drawn(picked: npt.NDArray[np.int64]) -> FloatArray:
    """How often each row comes in each resample; one row a resample, as in `picked`."""
    draws, sessions = picked.shape
    cells = picked + np.arange(draws, dtype=np.int64)[:, None] * sessions
    return np.bincount(cells.ravel(), minlength=draws * sessions).reshape(draws, sessions).astype(np.float64)


def autocorrelation(values: FloatArray) -> float:
    """Correlation of a series with itself one step later; 0 for a series that never varies."""
    centred = values - values.mean() if values.size else values
    total = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / total if total > 0.0 else 0.0


def natural_block(values: FloatArray) -> float:
    """Mean block length for a series: the cube root of its length where it is autocorrelated (95 %), else 1."""
    matters = values.size > 1 and abs(autocorrelation(values)) > 1.96 / np.sqrt(values.size)
    return float(values.size ** (1.0 / 3.0)) if matters else 1.0


def block_totals(
    session_totals: FloatArray, *, draws: int, generator: np.random.Generator, mean_block: float
) -> FloatArray:
    """As ``bootstrap_totals``, but blocks of consecutive sessions are drawn; rows are all sessions in order."""
    sessions = len(session_totals)
    return times_drawn(stationary_indices(sessions, draws, mean_block, generator)) @ session_totals
