"""Trials: evaluated configurations as rows of the ledger, and how hard a detector was searched.

Belongs here: what identifies a configuration, its daily returns as a row, and counting, clustering and overfitting of
the trials that a result was chosen from. Does not belong here: storing rows (lake/records), formulas (significance).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.backtest.config import CODE_VERSION, BacktestConfig
from strategy_pipeline.backtest.estimates import FloatArray, per_session_sharpe, skewness_and_kurtosis
from strategy_pipeline.backtest.significance import (
    effective_trials,
    expected_maximum,
    probability_of_overfitting,
)
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.lake.tables import TRIAL_LEDGER

# Columns that tell two configurations apart; the window and the data are where a configuration was looked at.
CONFIGURATION = ("detector", "detector_version", "config_hash", "timeframe", "symbols_hash")
_ROW_SCHEMA = {name: kind for name, kind in TRIAL_LEDGER.polars_schema.items() if name != "evaluated_at"}
NO_TRIALS = pl.DataFrame(schema=_ROW_SCHEMA)


@dataclass(frozen=True, slots=True)
class Search:
    """How many configurations a detector's result was picked from.

    `n_trials`: configurations of the detector in the window, at least the number of detectors in the run.
    `n_effective`: clusters among them. `sharpe_variance`: of their Sharpe ratios per session; None without any.
    `pbo`: None below ten trials.
    """

    n_trials: int
    n_effective: int
    sharpe_variance: float | None
    pbo: float | None


def symbols_hash(symbols: Sequence[str]) -> str:
    """16 hex digits of a set of symbols, whatever their order."""
    return hashlib.blake2b("|".join(sorted(set(symbols))).encode(), digest_size=8).hexdigest()


def trial_rows(
    detector: Detector,
    configs: Sequence[BacktestConfig],
    sessions: Sequence[date],
    symbols: Sequence[str],
    data_hash: str,
    daily_returns: FloatArray,
    n_trades: npt.NDArray[np.int64],
) -> pl.DataFrame:
    """One row of ``trial_ledger`` per configuration, without the moment of evaluation.

    `daily_returns`: fractions of the initial equity, shape (configurations, sessions); `n_trades`: trades taken under
    each configuration. The id covers everything that decides the result, so the same look at the same data is one
    trial.
    """
    days, hashed = sorted(sessions), symbols_hash(symbols)
    # Sessions may be missing inside a window, and come later.
    tested = hashlib.blake2b("|".join(map(str, days)).encode(), digest_size=8).hexdigest()
    thresholds = dict(detector.thresholds)
    rows = []
    for config, returns, trades in zip(configs, daily_returns, n_trades, strict=True):
        config_hash = config.content_hash
        parts = (
            detector.name, detector.definition_version, config_hash, CODE_VERSION, config.timeframe, tested, hashed,
            data_hash,
        )  # fmt: skip
        rows.append(
            {
                "trial_id": hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest(),
                "detector": detector.name,
                "detector_version": detector.definition_version,
                "parameters": json.dumps(
                    {**config.as_dict(), "thresholds": thresholds}, sort_keys=True, separators=(",", ":")
                ),
                "config_hash": config_hash,
                "code_version": CODE_VERSION,
                "timeframe": config.timeframe,
                "window_start": days[0],
                "window_end": days[-1],
                "symbols_hash": hashed,
                "data_hash": data_hash,
                "sessions": days,
                "daily_returns": returns.tolist(),
                "n_trades": int(trades),
                "sharpe_per_session": per_session_sharpe(returns) if len(days) > 1 else None,
            }
        )
    return pl.DataFrame(rows, schema=_ROW_SCHEMA, orient="row")


def newest_of_each(trials: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """One trial per configuration: the one that shares most of `sessions`, and of those the one evaluated last."""
    window = pl.lit(pl.Series([sorted(sessions)], dtype=pl.List(pl.Date)))
    shared = pl.col("sessions").list.set_intersection(window).list.len()
    return (
        trials.with_columns(_shared=shared)
        .sort(*CONFIGURATION, "_shared", "evaluated_at", "trial_id", descending=[False] * 5 + [True, True, False])
        .unique(CONFIGURATION, keep="first", maintain_order=True)
        .drop("_shared")
    )


def search_of(
    trials: pl.DataFrame, detector: str, sessions: Sequence[date], *, detectors: Sequence[str], config_hash: str
) -> Search:
    """How hard `detector` was searched in the window of `sessions`, from the ledger's rows of the run's `detectors`.

    Picking one of several detectors is a search too: while a detector has fewer configurations than the run has
    detectors, the trials are its own and those of the other detectors under the run's configuration. Different
    detectors lose different amounts to costs, which is no luck, so the variance is then what luck alone makes of each
    of their ratios, on average; the spread of the ratios would hide an edge behind the worst of the others. More looks
    at nearly the same returns do not undo that search: the ratio to beat never falls below the one it asks for.
    """
    days = sorted(sessions)
    inside = trials.filter((pl.col("window_end") >= days[0]) & (pl.col("window_start") <= days[-1]))
    each = newest_of_each(inside, days)
    mine = each.filter(pl.col("detector") == detector)
    looked_at, variance = mine, _wide_enough(mine, len(detectors))
    if mine.height < len(detectors):
        others = each.filter(
            pl.col("detector").is_in(list(detectors))
            & (pl.col("detector") != detector)
            & (pl.col("config_hash") == config_hash)
        )
        looked_at = pl.concat([mine, others.unique("detector", keep="first", maintain_order=True)])
        variance = _luck(looked_at)
    whole = np.array(_returns_on(looked_at, days))
    clusters = effective_trials(whole) if len(whole) else 0
    own = np.array(_returns_on(mine, days))
    return Search(
        n_trials=max(mine.height, len(detectors)),
        # A trial on other sessions cannot be compared, so it counts for itself.
        n_effective=clusters + looked_at.height - len(whole),
        sharpe_variance=variance,
        pbo=probability_of_overfitting(own.T) if len(own) else None,
    )


def _wide_enough(own: pl.DataFrame, n_detectors: int) -> float | None:
    """The spread of a detector's own ratios, at least what asks as much of the best of them as picking a detector."""
    spread, luck = _spread(own), _luck(own)
    if spread is None or luck is None or n_detectors < 2:
        return spread
    asked = expected_maximum(n_detectors) / expected_maximum(own.height)
    return max(spread, luck * asked**2)


def _spread(trials: pl.DataFrame) -> float | None:
    """Sample variance of the trials' Sharpe ratios per session."""
    ratios = trials["sharpe_per_session"].drop_nulls().to_numpy()
    return float(ratios.var(ddof=1)) if len(ratios) > 1 else None


def _luck(trials: pl.DataFrame) -> float | None:
    """Mean sampling variance of the trials' Sharpe ratios per session (Bailey and López de Prado 2012)."""
    found = []
    for ratio, returns in trials.select("sharpe_per_session", "daily_returns").drop_nulls().iter_rows():
        shape = skewness_and_kurtosis(np.array(returns))
        if shape is not None:
            found.append(max(0.0, 1.0 - shape[0] * ratio + (shape[1] - 1.0) / 4.0 * ratio**2) / (len(returns) - 1))
    return float(np.mean(found)) if found else None


def _returns_on(trials: pl.DataFrame, days: Sequence[date]) -> list[FloatArray]:
    """Daily returns on `days` of the trials that have all of them."""
    wanted = set(days)
    found = []
    for held, returns in trials.select("sessions", "daily_returns").iter_rows():
        if wanted <= set(held):
            own = dict(zip(held, returns, strict=True))
            found.append(np.array([own[day] for day in days]))
    return found
