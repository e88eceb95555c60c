"""Many parameter sets on the same signals with every trade kept, and the choice among them fold by fold.

Belongs here: which sets are tried, their trades and daily results, trials of the ledger made of them, and fitting on
train spans what is applied to test spans. Does not belong here: cutting the spans (validation), the trade loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.backtest import validation
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import Prepared, daily_profit, data_hashes, outcomes_of, prepare_run, trades_of
from strategy_pipeline.backtest.estimates import FloatArray
from strategy_pipeline.backtest.execution import MINUTE_US
from strategy_pipeline.backtest.trials import NO_TRIALS, trial_rows
from strategy_pipeline.backtest.validation import Fold
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.detectors.evaluate import open_gates
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.lake.tables import BACKTEST_TRADES, OUT_OF_SAMPLE_EQUITY, VALIDATION_FOLDS
from strategy_pipeline.market.timeframes import MINUTES

Ints = npt.NDArray[np.int64]

# Inside the search space of backtesting.md section 11, around the defaults.
STOPS_ATR = (0.75, 1.0, 1.5)
TARGETS_ATR = (1.0, 2.0, 3.0)
HOLDS_BARS = (8, 15, 30)
MIN_SCORES = (40.0, 55.0)
FIT_DRAWS = 1_000


@dataclass(frozen=True)
class SetResults:
    """Every trade of every parameter set, one an element, and the daily returns of every set and detector.

    `set_of` and `detector_of` are positions in `configs` and `detectors`; `session_of` numbers the calendar's sessions;
    labels are on an axis of trading microseconds on which sessions do not touch. `daily_returns`: fractions of the
    initial equity, shape (sets, detectors, sessions).
    """

    configs: tuple[BacktestConfig, ...]
    detectors: tuple[str, ...]
    sessions: tuple[date, ...]
    set_of: Ints
    detector_of: Ints
    session_of: Ints
    label_start: Ints
    label_end: Ints
    r_net: FloatArray
    daily_returns: FloatArray
    n_trades: Ints


@dataclass(frozen=True)
class Validation:
    """What was chosen in each fold (``validation_folds``), and the trades and equity on the test spans together."""

    method: str
    folds: pl.DataFrame
    trades: pl.DataFrame
    equity: pl.DataFrame


def grid(config: BacktestConfig) -> list[BacktestConfig]:
    """The sets that are tried: the configuration itself first, then every combination of exits and least scores."""
    found = [config]
    for stop in STOPS_ATR:
        for target in TARGETS_ATR:
            for hold in HOLDS_BARS:
                for score in MIN_SCORES:
                    one = replace(config, stop_atr=stop, target_atr=target, max_hold_bars=hold, min_score=score)
                    if one != config:
                        found.append(one)
    return found


def evaluate_sets(prepared: Prepared, configs: Sequence[BacktestConfig], sessions: Sequence[date]) -> SetResults:
    """Trades and daily returns of every configuration on the same signals, exactly as single runs give them.

    `configs` differ from that of the preparation in stop, target, hold and least score only, none below the
    preparation's score. Raises SettingsError when targets are not multiples of ATR.
    """
    if prepared.config.target_mode != "fixed_atr":
        raise SettingsError("Parameter sets are multiples of ATR: use target_mode fixed_atr.")
    return _results(prepared, [prepared.under(config) for config in configs], sessions)


def evaluate_thresholds(
    features: pl.DataFrame,
    bars: pl.DataFrame,
    name: str,
    thresholds: Sequence[Mapping[str, float]],
    actions: pl.DataFrame | None,
    config: BacktestConfig,
    sessions: Sequence[date],
    symbols: Sequence[str],
) -> tuple[SetResults, pl.DataFrame]:
    """Trades of one detector under many sets of its thresholds, and their rows of ``trial_ledger``.

    Gates are evaluated as columns, one a set; the scores and the bars do not depend on thresholds and are made once.
    Sets are exactly what runs with ``catalogue.rebound`` give. `features` and `bars` as in ``run_backtest``.
    """
    declared = [catalogue.rebound(name, one) for one in thresholds]
    timeframe = declared[0].timeframe if config.timeframe == "native" else config.timeframe
    days = sorted(set(sessions))
    rows = features.filter(pl.col("session").is_in(days) & (pl.col("timeframe").cast(pl.String) == timeframe))
    gates = open_gates(declared, rows)
    wide = gates.select(pl.any_horizontal(pl.all())).to_series()
    opened, gates = rows.filter(wide), gates.filter(wide)
    # The loosest gate lets through what any set does; which set a signal belongs to is a mask.
    loosest = replace(declared[0], gate=pl.lit(True))
    if opened.is_empty():
        raise SettingsError(f"{name} fires under none of the thresholds: loosen them or choose another window.")
    (part,) = prepare_run(opened, bars, [loosest], actions, config, days)
    key = dict(zip(zip(opened["symbol"], opened["bar_end"], strict=True), range(opened.height), strict=True))
    place = np.array([key[one] for one in zip(part.signals["symbol"], part.signals["bar_end"], strict=True)])
    active = gates.to_numpy()[place].T
    sets = [replace(part, entry=np.where(mask, part.entry, -1)) for mask in active]
    results = _results(part, sets, days)
    trials = [
        trial_rows(detector, [config], days, symbols, data_hashes(part, mask)[name], results.daily_returns[at],
                   results.n_trades[at])
        for at, (detector, mask) in enumerate(zip(declared, active, strict=True))
    ]  # fmt: skip
    return results, pl.concat(trials)


def _results(prepared: Prepared, variants: Sequence[Prepared], sessions: Sequence[date]) -> SetResults:
    """Trades and daily returns of variants of one preparation, which have its bars and signals."""
    clock, days = prepared.execution.clock, sorted(set(sessions))
    names = tuple(dict.fromkeys(prepared.signals["detector"].to_list()))
    place = {day: at for at, day in enumerate(days)}
    returns = np.zeros((len(variants), len(names), len(days)))
    counts = np.zeros((len(variants), len(names)), np.int64)
    number = {name: at for at, name in enumerate(names)}
    parts = []
    for at, own in enumerate(variants):
        out, booked, _ = outcomes_of(own)
        signal, exits = out.signal, out.exit
        entered = own.arrays.session[signal]
        parts.append(
            (
                np.full(len(signal), at),
                own.arrays.detector[signal],
                entered,
                _axis(clock.open, clock.trading_before, entered, own.arrays.bar_end[signal]),
                _axis(clock.open, clock.trading_before, own.bars.session[exits], own.bars.end[exits]),
                booked.r_net,
            )
        )
        counts[at] = np.bincount(own.arrays.detector[signal], minlength=len(names))
        for detector, day, pnl in daily_profit(own, out, booked).select("detector", "session", "pnl_usd").iter_rows():
            if day in place:
                returns[at, number[detector], place[day]] = pnl / own.config.initial_equity_usd
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    whole = [column.astype(np.int64) for column in joined[:5]]
    set_of, detector_of, session_of, label_start, label_end = whole
    return SetResults(
        tuple(one.config for one in variants), names, tuple(days), set_of, detector_of, session_of, label_start,
        label_end, joined[5], returns, counts,
    )  # fmt: skip


def _axis(opened: Ints, before: Ints, session: Ints, instants: Ints) -> Ints:
    """Trading microseconds, with one more between the close of a session and the open of the next."""
    return before[session] + session + (instants - opened[session])


def trials_of_sets(
    results: SetResults, detectors: Sequence[Detector], symbols: Sequence[str], hashes: Mapping[str, str]
) -> pl.DataFrame:
    """Rows of ``trial_ledger``, one a detector and set, without the moment of evaluation."""
    by_name = {detector.name: detector for detector in detectors}
    rows = [
        trial_rows(
            by_name[name],
            results.configs,
            results.sessions,
            symbols,
            hashes[name],
            results.daily_returns[:, at],
            results.n_trades[:, at],
        )
        for at, name in enumerate(results.detectors)
    ]
    return pl.concat(rows) if rows else NO_TRIALS


def folds_for(method: str, sessions: Sequence[date]) -> list[Fold]:
    """The folds of a method: walk-forward spans, or five groups of which each is tested once."""
    if method == validation.WALK_FORWARD:
        return validation.walk_forward_folds(sessions)
    if method == validation.CROSS_VALIDATION:
        groups = validation.consecutive_groups(sessions, validation.FOLDS)
        return [
            Fold(at, tuple(day for other in (*groups[:at], *groups[at + 1 :]) for day in other), test)
            for at, test in enumerate(groups)
        ]
    return []


def validate(
    prepared: Prepared,
    results: SetResults,
    folds: Sequence[Fold],
    method: str,
    *,
    run_id: str,
    data_hash: str,
    seed: int,
) -> Validation:
    """Chooses a set for each detector and fold on its train span, and applies it to the test span.

    Chosen is the set with the highest lower bound of mean R among those with enough trades; without any, the
    configuration of the run. Labels that reach into the test span, or begin within its embargo, are not trained on.
    """
    names, width = results.detectors, MINUTES[prepared.timeframe] * MINUTE_US
    longest = max(config.max_hold_bars for config in results.configs) * width
    clock = prepared.execution.clock
    span = int(results.label_end.max() - results.label_start.min()) if len(results.label_start) else 0
    embargo = validation.embargo_of(span, longest)
    chosen: dict[tuple[int, int], int] = {}
    rows: list[dict[str, Any]] = []
    for fold in folds:
        train = _numbers(clock.day, fold.train)
        test = _numbers(clock.day, fold.test)
        last = int(clock.close[test[-1]] - clock.open[test[-1]] + clock.trading_before[test[-1]] + test[-1])
        spans = [(int(clock.trading_before[test[0]] + test[0]), last)]
        usable = np.isin(results.session_of, train)
        usable &= validation.trainable(results.label_start, results.label_end, spans, embargo)
        for at, name in enumerate(names):
            mine = np.flatnonzero(usable & (results.detector_of == at))
            bounds, counts = validation.lower_bounds(
                results.set_of[mine], results.session_of[mine], results.r_net[mine], len(results.configs),
                draws=FIT_DRAWS, name=f"{name}/fold {fold.number}", seed=seed,
            )  # fmt: skip
            best = validation.best_set(bounds, counts, validation.minimum_trades(fold.train))
            chosen[fold.number, at] = best or 0
            config = results.configs[best or 0]
            rows.append(
                {
                    "run_id": run_id,
                    "detector": name,
                    "fold": fold.number,
                    "method": method,
                    "train_start": fold.train[0],
                    "train_end": fold.train[-1],
                    "test_start": fold.test[0],
                    "test_end": fold.test[-1],
                    "fitted": best is not None,
                    "stop_atr": config.stop_atr,
                    "target_atr": config.target_atr,
                    "max_hold_bars": config.max_hold_bars,
                    "min_score": config.min_score,
                    "train_trades": int(counts[best or 0]),
                    "train_expectancy_low_r": None if best is None else float(bounds[best]),
                }
            )
    trades, equity = _on_tests(prepared, results, folds, chosen, run_id, data_hash)
    tested = trades.group_by("detector", "fold").agg(pl.len(), pl.col("r_net").mean())
    on_test = {(detector, fold): (n, mean) for detector, fold, n, mean in tested.iter_rows()}
    for row in rows:
        row["test_trades"], row["test_expectancy_r"] = on_test.get((row["detector"], row["fold"]), (0, None))
    described = pl.DataFrame(rows, schema=VALIDATION_FOLDS.polars_schema, orient="row").sort("detector", "fold")
    return Validation(method, described, trades, equity)


def _numbers(days: Ints, sessions: Sequence[date]) -> Ints:
    wanted = pl.Series(sorted(sessions), dtype=pl.Date).to_physical().to_numpy()
    return np.searchsorted(days, wanted)


def _on_tests(
    prepared: Prepared,
    results: SetResults,
    folds: Sequence[Fold],
    chosen: Mapping[tuple[int, int], int],
    run_id: str,
    data_hash: str,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trades whose signal lies in a test span, under the set chosen for it, and the daily result on all test spans."""
    by_set: dict[int, list[tuple[int, int]]] = {}
    for key, number in chosen.items():
        by_set.setdefault(number, []).append(key)
    of_fold = {fold.number: fold for fold in folds}
    parts = []
    for number, keys in sorted(by_set.items()):
        trades = trades_of(prepared.under(results.configs[number]), run_id, data_hash)
        for fold, at in keys:
            mine = (pl.col("detector") == results.detectors[at]) & pl.col("session").is_in(list(of_fold[fold].test))
            parts.append(trades.filter(mine).with_columns(fold=pl.lit(fold, dtype=pl.Int32)))
    trades = pl.concat(parts).sort(BACKTEST_TRADES.sort_by) if parts else BACKTEST_TRADES.empty()
    place = {day: at for at, day in enumerate(results.sessions)}
    frames = []
    equity_usd = prepared.config.initial_equity_usd
    for at, name in enumerate(results.detectors):
        days = [(day, chosen[fold.number, at]) for fold in folds for day in fold.test]
        daily = np.array([results.daily_returns[number, at, place[day]] for day, number in days])
        frames.append(
            pl.DataFrame(
                {
                    "run_id": [run_id] * len(days),
                    "detector": [name] * len(days),
                    "session": [day for day, _ in days],
                    "pnl_usd": daily * equity_usd,
                    "daily_return": daily,
                    "equity_usd": equity_usd * (1.0 + np.cumsum(daily)),
                },
                schema=OUT_OF_SAMPLE_EQUITY.polars_schema,
            )
        )
    equity = pl.concat(frames) if frames else OUT_OF_SAMPLE_EQUITY.empty()
    return trades, equity.sort("detector", "session")
