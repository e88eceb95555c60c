"""Trials as rows of the ledger, and what the ledger says of a search: counts, clusters, deflation."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.estimates import per_session_sharpe
from strategy_pipeline.backtest.significance import deflated_sharpe, expected_maximum
from strategy_pipeline.backtest.trials import NO_TRIALS, search_of, symbols_hash, trial_rows
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.lake.records import TrialLedger
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import TRIAL_LEDGER
from strategy_pipeline_tests.backtest.trade_frames import weekdays

NOW = datetime(2024, 6, 3, tzinfo=UTC)
DAYS = weekdays(250)
CONFIG = BacktestConfig()
BREAKOUT, OTHERS = catalogue.CATALOGUE[0], catalogue.CATALOGUE[1:]
NAMES = [detector.name for detector in catalogue.CATALOGUE]


def looked_at(
    returns: np.ndarray,
    detector: Detector = BREAKOUT,
    configs: list[BacktestConfig] | None = None,
    days: list[date] = DAYS,
    later: int = 0,
) -> pl.DataFrame:
    returns = np.atleast_2d(returns)
    configs = configs or [replace(CONFIG, stop_atr=0.5 + 0.001 * at) for at in range(len(returns))]
    rows = trial_rows(detector, configs, days, ["SPY", "QQQ"], "data", returns, np.full(len(returns), 3))
    return rows.with_columns(evaluated_at=pl.lit(NOW + timedelta(days=later)).cast(pl.Datetime("us", "UTC")))


def noise(trials: int, seed: int, sessions: int = 250) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (trials, sessions))


def search(trials: pl.DataFrame, detectors: list[str] = NAMES):
    return search_of(trials, BREAKOUT.name, DAYS, detectors=detectors, config_hash=CONFIG.content_hash)


def test_a_row_meets_the_contract_and_names_every_assumption_and_threshold() -> None:
    rows = looked_at(noise(2, 1))
    TRIAL_LEDGER.schema.validate(rows)
    assert rows["trial_id"].n_unique() == 2
    assert '"stop_atr":0.501' in rows["parameters"][1]
    assert '"thresholds":{"rvol_above":1.2' in rows["parameters"][1]


def test_the_same_look_is_one_trial_and_anything_else_another() -> None:
    returns = noise(1, 2)
    same = looked_at(returns, configs=[CONFIG], later=9)["trial_id"][0]
    assert looked_at(returns, configs=[BacktestConfig()])["trial_id"][0] == same
    others = {
        looked_at(returns, configs=[replace(CONFIG, min_score=41.0)])["trial_id"][0],
        looked_at(returns, OTHERS[0], configs=[CONFIG])["trial_id"][0],
        looked_at(returns[:, 1:], configs=[CONFIG], days=DAYS[1:])["trial_id"][0],
        looked_at(np.delete(returns, 7, axis=1), configs=[CONFIG], days=[*DAYS[:7], *DAYS[8:]])["trial_id"][0],
        trial_rows(BREAKOUT, [CONFIG], DAYS, ["SPY"], "data", returns, np.array([3]))["trial_id"][0],
        trial_rows(BREAKOUT, [CONFIG], DAYS, ["SPY", "QQQ"], "other", returns, np.array([3]))["trial_id"][0],
    }
    assert len({same, *others}) == 7
    assert symbols_hash(["B", "A", "A"]) == symbols_hash(["A", "B"])


def test_a_configuration_that_never_traded_has_no_sharpe_ratio() -> None:
    assert looked_at(np.zeros((1, 250)))["sharpe_per_session"].to_list() == [None]


def test_trials_are_configurations_however_often_each_was_looked_at() -> None:
    once = looked_at(noise(40, 3))
    moved = looked_at(noise(40, 3)[:, 5:], days=DAYS[5:], later=1)
    assert search(once).n_trials == search(pl.concat([once, moved])).n_trials == 40


def test_trials_outside_the_window_do_not_count() -> None:
    before = looked_at(noise(40, 4), days=[day - timedelta(days=700) for day in DAYS])
    assert search(before).n_trials == len(NAMES)
    assert search(before).sharpe_variance is None


def test_picking_one_of_several_detectors_counts_as_so_many_trials() -> None:
    run = pl.concat(
        [looked_at(noise(1, 10 + at), detector, configs=[CONFIG]) for at, detector in enumerate(catalogue.CATALOGUE)]
    )
    found = search(run)
    assert (found.n_trials, found.n_effective, found.pbo) == (len(NAMES), len(NAMES), None)
    # Of normal returns without an edge over 250 sessions: 1 / 249.
    assert found.sharpe_variance == pytest.approx(1 / 249, rel=0.05)


def test_what_other_detectors_lose_to_costs_does_not_hide_an_edge() -> None:
    losing = [looked_at(noise(1, 10 + at) - 0.001 * at, OTHERS[at], configs=[CONFIG]) for at in range(11)]
    run = pl.concat([looked_at(noise(1, 9) + 0.003, configs=[CONFIG]), *losing])
    assert np.var(run["sharpe_per_session"].to_list()) > 0.05
    assert search(run).sharpe_variance == pytest.approx(1 / 249, rel=0.25)


def test_more_own_configurations_than_detectors_stand_alone() -> None:
    # Configurations that differ by more than luck.
    own = looked_at(noise(30, 5) + np.linspace(-0.002, 0.002, 30)[:, None])
    run = pl.concat([own, looked_at(noise(1, 6) * 50 + 5, OTHERS[0], configs=[CONFIG])])
    found = search(run)
    assert found.n_trials == 30
    assert found.sharpe_variance == pytest.approx(own["sharpe_per_session"].var())
    assert found.pbo is not None


def test_copies_of_a_strategy_do_not_wash_away_that_it_was_picked_among_detectors() -> None:
    strategy = noise(1, 9)[0] + 0.0012
    run = pl.concat(
        [looked_at(strategy, configs=[CONFIG])]
        + [looked_at(noise(1, 20 + at), other, configs=[CONFIG]) for at, other in enumerate(OTHERS)]
    )
    copies = looked_at(strategy + noise(30, 8) * 0.01, later=1)

    def threshold(trials: pl.DataFrame) -> float:
        found = search(trials)
        assert found.sharpe_variance is not None
        return float(np.sqrt(found.sharpe_variance)) * expected_maximum(found.n_trials)

    assert search(pl.concat([run, copies])).n_trials > len(NAMES)
    # Thirty more looks at next to the same returns: the bar may stay where it was, and may not fall.
    assert threshold(pl.concat([run, copies])) >= threshold(run) * 0.98


def test_copies_are_published_as_fewer_effective_trials() -> None:
    copies = np.repeat(noise(3, 7), 20, axis=0) + noise(60, 8) * 0.05
    found = search(looked_at(copies))
    assert (found.n_trials, found.n_effective) == (60, 3)


def test_the_deflated_sharpe_of_a_fixed_strategy_falls_when_200_noise_trials_are_added(tmp_path) -> None:
    strategy = noise(1, 9)[0] + 0.0012
    ledger = TrialLedger(Lake(tmp_path))
    ledger.record(looked_at(strategy, configs=[CONFIG]))
    for at, detector in enumerate(OTHERS):
        ledger.record(looked_at(noise(1, 20 + at), detector, configs=[CONFIG]))

    def dsr() -> float:
        found = search(ledger.read(NAMES, DAYS[0], DAYS[-1]))
        ratio = per_session_sharpe(strategy)
        return deflated_sharpe(
            ratio, 250, 0.0, 3.0, n_trials=found.n_trials, trial_sharpe_variance=found.sharpe_variance
        )

    before = dsr()
    ledger.record(looked_at(noise(200, 40)))
    after = dsr()
    assert after < before - 0.05
    ledger.record(looked_at(noise(200, 40), later=5))
    assert dsr() == after


def test_the_winner_of_200_noise_trials_is_not_significant_in_95_of_100_draws() -> None:
    # backtesting.md section 9: the winner's DSR stays below .95.
    rng = np.random.default_rng(11)
    fooled = 0
    for _ in range(200):
        returns = rng.normal(0.0, 0.01, (200, 250))
        ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
        dsr = deflated_sharpe(
            float(ratios.max()), 250, 0.0, 3.0, n_trials=200, trial_sharpe_variance=float(ratios.var(ddof=1))
        )
        fooled += dsr >= 0.95
    assert fooled <= 10


def test_no_trials_are_an_empty_frame_of_the_same_columns() -> None:
    assert NO_TRIALS.columns == [name for name in TRIAL_LEDGER.polars_schema if name != "evaluated_at"]
