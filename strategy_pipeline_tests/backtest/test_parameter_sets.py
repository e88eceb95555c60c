"""Many sets on the same signals: each as a run of its own, and none chosen with a look at what it is judged on."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from benchmarks.backtest import SESSIONS, feature_rows, minute_bars
from strategy_pipeline.backtest import validation
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import (
    Prepared,
    content_hash,
    daily_equity,
    prepare,
    run_backtest,
    simulate_signals,
)
from strategy_pipeline.backtest.parameter_sets import (
    SetResults,
    evaluate_sets,
    evaluate_thresholds,
    folds_for,
    grid,
    validate,
)
from strategy_pipeline.backtest.trials import trial_rows
from strategy_pipeline.backtest.validation import Fold
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.lake.tables import BACKTEST_TRADES, INSTANT, OUT_OF_SAMPLE_EQUITY, TRIAL_LEDGER, VALIDATION_FOLDS
from strategy_pipeline.market.calendar import sessions_between
from strategy_pipeline_tests.backtest.test_engine import walk

DAYS = sessions_between(date(2024, 3, 1), date(2024, 6, 28))
RUN = BacktestConfig()
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    return walk(5, DAYS)


@pytest.fixture(scope="module")
def prepared(market: tuple[pl.DataFrame, pl.DataFrame]) -> Prepared:
    return prepare(*market, "15m", RUN)


@pytest.fixture(scope="module")
def results(prepared: Prepared) -> SetResults:
    return evaluate_sets(prepared, grid(RUN), DAYS)


def test_the_grid_begins_with_the_run_and_holds_no_set_twice() -> None:
    sets = grid(RUN)
    assert sets[0] == RUN
    assert len(sets) == len({one.content_hash for one in sets}) == 54
    assert {one.min_score for one in sets} == {40.0, 55.0}


@pytest.mark.parametrize("number", [0, 7, 53])
def test_a_set_gives_exactly_what_a_run_of_its_own_gives(
    market: tuple[pl.DataFrame, pl.DataFrame], results: SetResults, number: int
) -> None:
    config = results.configs[number]
    alone = simulate_signals(*market, config)
    equity = daily_equity(alone.daily, results.detectors, DAYS, config)
    for at, name in enumerate(results.detectors):
        mine = (results.set_of == number) & (results.detector_of == at)
        trades = alone.trades.filter(pl.col("detector") == name)
        assert sorted(results.r_net[mine]) == sorted(trades["r_net"].to_list())
        assert results.n_trades[number, at] == trades.height
        returns = equity.filter(pl.col("detector") == name)["daily_return"].to_numpy()
        assert np.array_equal(results.daily_returns[number, at], returns)


def test_sets_that_differ_in_anything_but_exits_and_least_score_are_refused(prepared: Prepared) -> None:
    with pytest.raises(SettingsError, match="Parameter sets differ in stop, target, hold and least score only"):
        prepared.under(replace(RUN, slippage_pct=0.2))
    with pytest.raises(SettingsError, match="no lower than prepared"):
        prepared.under(replace(RUN, min_score=39.0))


def test_labels_do_not_touch_across_a_night(results: SetResults) -> None:
    assert (results.label_end > results.label_start).all()
    order = np.argsort(results.session_of, kind="stable")
    session, start, end = results.session_of[order], results.label_start[order], results.label_end[order]
    for at in np.unique(session)[1:]:
        assert end[session < at].max() < start[session == at].min()


def test_cross_validation_tests_every_session_once(prepared: Prepared, results: SetResults) -> None:
    found = validate(
        prepared, results, folds_for("purged cross-validation", DAYS), "purged cross-validation",
        run_id="r", data_hash=content_hash([prepared]), seed=1,
    )  # fmt: skip
    VALIDATION_FOLDS.schema.validate(found.folds)
    BACKTEST_TRADES.schema.validate(found.trades)
    OUT_OF_SAMPLE_EQUITY.schema.validate(found.equity)
    assert found.folds["fold"].to_list() == [0, 1, 2, 3, 4] * 2
    assert found.equity.filter(pl.col("detector") == "a")["session"].to_list() == DAYS
    by_fold = found.trades.group_by("detector", "fold").agg(pl.col("session").min().alias("first"),
                                                            pl.col("session").max().alias("last"))  # fmt: skip
    spans = found.folds.join(by_fold, on=["detector", "fold"])
    assert spans.select(
        ((pl.col("first") >= pl.col("test_start")) & (pl.col("last") <= pl.col("test_end"))).all()
    ).item()
    # Day trades end on their day, so their profit is that of the equity curve.
    assert found.trades["pnl_net"].sum() == pytest.approx(found.equity["pnl_usd"].sum())


def test_what_is_chosen_does_not_depend_on_the_test_span(prepared: Prepared, results: SetResults) -> None:
    fold = Fold(0, tuple(DAYS[:60]), tuple(DAYS[60:]))
    inside = np.isin(results.session_of, np.unique(results.session_of)[60:])
    spoiled = replace(results, r_net=np.where(inside, -results.r_net, results.r_net))
    chosen = [
        validate(prepared, one, [fold], "holdout", run_id="r", data_hash="d", seed=1).folds.drop(
            "test_trades", "test_expectancy_r"
        )
        for one in (results, spoiled)
    ]
    assert chosen[0].equals(chosen[1])
    assert chosen[0]["fitted"].all()


def test_without_enough_trades_the_run_keeps_its_own_parameters(prepared: Prepared, results: SetResults) -> None:
    fold = Fold(0, tuple(DAYS[:4]), tuple(DAYS[10:]))
    folds = validate(prepared, results, [fold], "holdout", run_id="r", data_hash="d", seed=1).folds
    assert not folds["fitted"].any()
    assert folds.select("stop_atr", "target_atr", "max_hold_bars", "min_score").unique().row(0) == (0.75, 2.0, 15, 40.0)
    assert folds["train_expectancy_low_r"].null_count() == folds.height


def test_below_sixty_sessions_nothing_is_fitted(prepared: Prepared, results: SetResults) -> None:
    assert folds_for(validation.method_for(DAYS[:59]), DAYS[:59]) == []
    found = validate(prepared, results, [], "fixed parameters", run_id="r", data_hash="d", seed=1)
    assert found.trades.is_empty()
    assert found.folds.is_empty()


def test_threshold_sets_are_what_runs_of_rebound_detectors_give() -> None:
    rows, minute = feature_rows("15m"), minute_bars()
    days, config = SESSIONS[:25], BacktestConfig(min_score=0.0)
    rows, minute = (frame.filter(pl.col("session").is_in(days)) for frame in (rows, minute))
    sets = [{}, {"rvol_above": 2.0}, {"rvol_above": 1.0, "vwap_distance_above_pct": 0.4}, {"rvol_above": 2.9}]
    symbols = rows["symbol"].unique().to_list()
    found, trials = evaluate_thresholds(rows, minute, "breakout_bullish", sets, None, config, days, symbols)
    TRIAL_LEDGER.schema.validate(trials.with_columns(evaluated_at=pl.lit(NOW).cast(INSTANT)))
    assert trials["trial_id"].n_unique() == 4
    for at, thresholds in enumerate(sets):
        detector = catalogue.rebound("breakout_bullish", thresholds)
        alone = run_backtest(rows, minute, [detector], None, config, days)
        assert sorted(found.r_net[found.set_of == at]) == sorted(alone.trades["r_net"].to_list())
        assert np.array_equal(found.daily_returns[at, 0], alone.daily_equity["daily_return"].to_numpy())
        expected = trial_rows(
            detector, [config], days, symbols, alone.data_hashes[detector.name],
            alone.daily_equity["daily_return"].to_numpy()[None, :], np.array([alone.trades.height]),
        )  # fmt: skip
        assert trials[at].equals(expected)
    # Tighter gates let less through.
    assert found.n_trades[0, 0] > found.n_trades[1, 0] > found.n_trades[3, 0] > 0


def test_thresholds_that_no_detector_has_are_refused() -> None:
    with pytest.raises(SettingsError, match="breakout_bullish has no threshold rsi_below: choose from rvol_above"):
        catalogue.rebound("breakout_bullish", {"rsi_below": 30.0})


def test_every_detector_can_be_rebound_to_its_own_thresholds() -> None:
    for detector in catalogue.CATALOGUE:
        same = catalogue.rebound(detector.name, dict(detector.thresholds))
        assert same.definition_version == detector.definition_version
