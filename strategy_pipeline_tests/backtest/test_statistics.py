"""What the statistics of a backtest must be: the summary of a detector, its intervals and breakdowns."""

import math
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_pipeline.backtest import statistics as stats
from strategy_pipeline.backtest.estimates import NOTHING, Estimate
from strategy_pipeline.backtest.statistics import Settings
from strategy_pipeline.backtest.verdicts import Coverage, Evidence, Noise
from strategy_pipeline_tests.backtest.trade_frames import (
    coverage_of,
    daily_profit_of,
    dispositions_of,
    session_axis,
    trades_of,
    weekdays,
)

QUICK = Settings(draws=2_000, group_draws=500)


def one_summary(trades: pl.DataFrame, sessions: int = 60, **settings: object) -> stats.DetectorSummary:
    name = trades["detector"][0] if trades.height else "breakout_long"
    found = stats.summarise(
        trades,
        dispositions_of(trades),
        coverage_of((name, sessions, sessions, [])),
        daily_profit_of(trades),
        session_axis(sessions),
        settings=QUICK,
        **settings,  # type: ignore[arg-type]
    )
    return found[0]


def test_five_trades_give_the_statistics_of_the_specification() -> None:
    # backtesting.md section 14 row 14.
    summary = one_summary(trades_of([2.0, -1.0, 0.5, -0.5, 0.0]))
    assert (summary.winners, summary.losers, summary.breakeven, summary.trades) == (2, 2, 1, 5)
    assert summary.win_rate.value == 0.4
    assert summary.win_rate.low == pytest.approx(0.1176, abs=5e-5)
    assert summary.win_rate.high == pytest.approx(0.7693, abs=5e-5)
    assert summary.profit_factor.exact == pytest.approx(1.666667, abs=5e-7)
    assert summary.expectancy.value == pytest.approx(0.2, abs=1e-12)
    assert summary.avg_win_r == 1.25
    assert summary.avg_loss_r == -0.75
    # payoff 1.25 / .75, and 1 / (1 + 5/3) by hand
    assert summary.payoff == pytest.approx(1.6666666667)
    assert summary.break_even_win_rate == pytest.approx(0.375)


def test_the_interval_needs_ten_sessions() -> None:
    nine = one_summary(trades_of([1.0, -1.0] * 9, sessions=[day for day in weekdays(9) for _ in "ab"]))
    ten = one_summary(trades_of([1.0, -1.0] * 10, sessions=[day for day in weekdays(10) for _ in "ab"]))
    assert nine.expectancy == Estimate(0.0, None, None)
    assert nine.p_value is None
    assert ten.expectancy.low is not None


def test_trades_of_one_session_are_drawn_together() -> None:
    # 30 sessions of four equal trades: the interval is that of 30 observations, not of 120.
    rng = np.random.default_rng(5)
    by_day = rng.normal(0.0, 1.0, 30)
    clustered = one_summary(trades_of(np.repeat(by_day, 4).tolist(), sessions=np.repeat(weekdays(30), 4).tolist()))
    alone = one_summary(trades_of(by_day.tolist(), sessions=weekdays(30)))
    assert clustered.expectancy.low == pytest.approx(alone.expectancy.low)
    assert clustered.expectancy.high == pytest.approx(alone.expectancy.high)


def test_the_interval_has_the_width_of_the_central_limit_theorem() -> None:
    r = np.random.default_rng(11).normal(0.1, 1.0, 1500)
    estimate = stats.expectancy_interval(r, np.arange(1500), name="any", settings=Settings())
    half = 1.96 * r.std() / math.sqrt(1500)
    assert estimate.low == pytest.approx(r.mean() - half, abs=0.006)
    assert estimate.high == pytest.approx(r.mean() + half, abs=0.006)


def test_intervals_cover_the_truth_about_95_times_in_a_hundred() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for study in range(200):
        r = rng.normal(0.0, 1.0, 60)
        estimate = stats.expectancy_interval(r, np.arange(60), name=str(study), settings=Settings(draws=600))
        hits += estimate.low is not None and estimate.high is not None and estimate.low <= 0.0 <= estimate.high
    # 200 draws at 95 %: a standard error of 1.5 points; the percentile bootstrap of 60 sessions is a little narrow.
    assert 178 <= hits <= 199


def test_a_detectors_interval_does_not_depend_on_its_company() -> None:
    first = trades_of(np.random.default_rng(1).normal(0, 1, 40).tolist(), detector="breakout_long")
    second = trades_of(np.random.default_rng(2).normal(0, 1, 40).tolist(), detector="breakout_short")
    both = pl.concat([second, first]).sample(fraction=1.0, shuffle=True, seed=4)
    together = stats.summarise(
        both,
        dispositions_of(both),
        coverage_of(("breakout_short", 40, 40, []), ("breakout_long", 40, 40, [])),
        daily_profit_of(both),
        session_axis(60),
        settings=QUICK,
    )
    assert [one.detector for one in together] == ["breakout_short", "breakout_long"]
    alone = one_summary(first)
    assert together[1].expectancy == alone.expectancy
    assert together[1].breakdowns == alone.breakdowns


def test_costs_act_linearly_on_every_resample() -> None:
    summary = one_summary(trades_of(np.random.default_rng(8).normal(0.2, 1.0, 50).tolist(), cost_r=0.1))
    by_multiple = {point.multiple: point.expectancy for point in summary.costs}
    assert list(by_multiple) == [0.0, 0.5, 1.0, 2.0]
    assert by_multiple[1.0] == summary.expectancy
    assert by_multiple[0.0] == summary.expectancy_gross
    for name in ("value", "low", "high"):
        # A constant cost of .1 R moves the whole interval by .1 R for each multiple.
        assert getattr(by_multiple[2.0], name) == pytest.approx(getattr(by_multiple[0.0], name) - 0.2, abs=1e-9)


def test_more_than_five_percent_ambiguous_trades_make_the_headline_a_range_of_fills() -> None:
    r = [1.0, -1.0] * 50
    below = one_summary(trades_of(r, ambiguous=[i < 5 for i in range(100)]), sessions=100)
    above = one_summary(trades_of(r, ambiguous=[i < 6 for i in range(100)]), sessions=100)
    assert not below.headline_is_fill_range
    assert below.headline == below.expectancy
    assert above.headline_is_fill_range
    # Six ambiguous trades: the three winners become -1.1 at worst, the three losers 2.5 at best, the winners 2.5 too.
    assert above.headline.low == pytest.approx((3 * -2.1 + 3 * -0.1) / 100)
    assert above.headline.high == pytest.approx((3 * 1.5 + 3 * 3.5) / 100)
    assert any("worst to best" in warning for warning in above.warnings)


def test_median_costs_above_a_quarter_r_raise_a_warning() -> None:
    assert not one_summary(trades_of([1.0, -1.0], cost_r=0.25)).warnings
    assert "Costs dominate" in one_summary(trades_of([1.0, -1.0], cost_r=0.26)).warnings[0]


def test_breakdowns_hold_every_trade_once_and_grey_small_groups() -> None:
    summary = one_summary(
        trades_of([1.0, -1.0, 0.5] * 20, symbols=("SPY", "QQQ", "SPY"), regimes=("RANGE", None, "UPTREND"))
    )
    for name, groups in summary.breakdowns.items():
        assert sum(group.trades for group in groups) == 60, name
    spy, qqq = sorted(summary.breakdowns["symbol"], key=lambda group: -group.trades)
    assert (spy.label, spy.trades, spy.thin) == ("SPY", 40, False)
    assert (qqq.label, qqq.trades, qqq.thin) == ("QQQ", 20, False)
    assert qqq.expectancy.value == -1.0
    assert [group.label for group in summary.breakdowns["regime"]] == ["RANGE", "UPTREND", "unlabelled"]
    assert all(group.thin for group in summary.breakdowns["time_window"])
    assert [group.label for group in summary.breakdowns["weekday"]] == list(stats.WEEKDAYS)
    assert [group.label for group in summary.breakdowns["vix_band"]] == ["unlabelled"]


def test_equal_scores_share_a_decile() -> None:
    trades = trades_of([1.0] * 10).with_columns(score=pl.Series([50.0] * 5 + [60.0, 70.0, 80.0, 90.0, 95.0]))
    groups = one_summary(trades).breakdowns["score_decile"]
    assert [(group.label, group.trades) for group in groups] == [
        ("1", 5), ("6", 1), ("7", 1), ("8", 1), ("9", 1), ("10", 1),
    ]  # fmt: skip


def test_exposure_turnover_and_top_trades_are_shares_of_the_whole() -> None:
    # Ten trades of 45 minutes in 20 sessions of 390 minutes on one symbol; 50 000 $ bought and sold each time.
    summary = one_summary(trades_of([1.0] * 10), sessions=20)
    assert summary.exposure_pct == pytest.approx(100.0 * 450 / (390 * 20))
    assert summary.turnover_per_session == pytest.approx(2 * 10 * 0.5 / 20)
    assert summary.top5_share == pytest.approx(0.5)
    assert summary.avg_bars_held == 3.0


def test_a_detector_without_trades_has_nulls_and_no_crash() -> None:
    summary = one_summary(trades_of([]))
    assert summary.trades == 0
    assert summary.win_rate == NOTHING
    assert summary.expectancy == NOTHING
    assert summary.profit_factor.status == "no_trades"
    assert (summary.sharpe, summary.sortino, summary.psr, summary.dsr, summary.pbo) == (None,) * 5
    assert summary.drawdown.percent == 0.0
    assert (summary.verdict, summary.recommendation) == ("no evidence", "too few trades")


def test_missing_inputs_make_a_detector_not_testable_instead_of_tradeless() -> None:
    found = stats.summarise(
        trades_of([]),
        dispositions_of(trades_of([])),
        coverage_of(
            ("gamma_flip_long", 100, 59, ["gex_ratio"]),
            ("gamma_squeeze_long", 100, 60, []),
            ("eod_pin_setup", 0, 0, []),
            ("breakout_long", 50, 50, []),
            ("breakout_long", 50, 20, ["rvol"]),
        ),
        daily_profit_of(trades_of([])),
        session_axis(30),
    )
    by_name = {one.detector: one for one in found}
    assert by_name["gamma_flip_long"].verdict == "not testable"
    assert by_name["gamma_flip_long"].recommendation == "get data"
    assert "gex_ratio missing: 59 of 100" in by_name["gamma_flip_long"].recommendation_because
    assert by_name["gamma_squeeze_long"].verdict == "no evidence"
    assert by_name["eod_pin_setup"].verdict == "not testable"
    # Two symbols of one detector are summed: 70 of 100.
    assert by_name["breakout_long"].coverage == Coverage(100, 70, ("rvol",))
    assert by_name["breakout_long"].testable


def test_trades_of_an_unknown_detector_are_an_error() -> None:
    trades = trades_of([1.0])
    with pytest.raises(ValueError, match="breakout_long"):
        stats.summarise(
            trades, dispositions_of(trades), coverage_of(("other", 1, 1, [])), daily_profit_of(trades), session_axis(5)
        )


def test_profit_outside_the_window_is_an_error() -> None:
    trades = trades_of([1.0] * 10)
    with pytest.raises(ValueError, match="not a session"):
        one_summary(trades, sessions=5)


def test_a_superb_default_run_is_still_no_evidence_without_a_ledger_and_a_gauntlet() -> None:
    summary = one_summary(trades_of([1.0, 1.2, 0.8, -0.1] * 25), sessions=100)
    assert summary.expectancy.above_zero
    assert summary.verdict == "no evidence"
    assert "noise gauntlet has not been run" in summary.verdict_because
    assert summary.dsr_missing_because == "No trial ledger: the spread of Sharpe ratios over the trials is unknown."


def test_a_ledger_and_a_gauntlet_lift_the_same_run_to_suggestive() -> None:
    trades = trades_of([1.0, 1.2, 0.8, -0.1] * 25)
    passed = Noise("passed", 20, 300, NOTHING, 0.05, 0.6)
    known = {"breakout_long": Evidence(n_trials=12, trial_sharpe_variance=0.002, noise=passed)}
    summary = one_summary(trades, sessions=100, evidence=known)
    assert summary.n_trials == 12
    assert summary.dsr is not None
    assert summary.dsr > 0.95
    assert (summary.verdict, summary.recommendation) == ("suggestive", "paper-trade")


def test_the_pooled_row_is_the_mean_over_trades_and_the_mean_over_books() -> None:
    first = trades_of([1.0] * 30, detector="a")
    second = trades_of([-1.0] * 15, detector="b")
    both = pl.concat([first, second])
    found = stats.pool(
        both,
        dispositions_of(both),
        coverage_of(("a", 30, 30, []), ("b", 30, 30, []), ("c", 30, 0, ["x"])),
        daily_profit_of(both),
        session_axis(30),
        settings=QUICK,
    )
    assert found.expectancy.value == pytest.approx(15 / 45)
    # 30·500 $ - 15·500 $ over two testable books
    assert sum(found.daily_pnl_usd) == pytest.approx(3750.0)
    assert found.dispositions == {"taken": 45, "suppressed_open_position": 4}


def test_twelve_detectors_with_ten_thousand_draws_take_well_under_a_second() -> None:
    rng = np.random.default_rng(9)
    days = weekdays(62)
    parts = [
        trades_of(
            rng.normal(0, 1, 120).tolist(),
            detector=f"detector_{i:02d}",
            sessions=sorted(rng.choice(np.array(days), 120).tolist()),
            symbols=tuple("ABCDEFGHIJ"),
        )
        for i in range(12)
    ]
    trades = pl.concat(parts)
    arguments = (
        trades,
        dispositions_of(trades),
        coverage_of(*[(f"detector_{i:02d}", 620, 620, []) for i in range(12)]),
        daily_profit_of(trades),
        session_axis(62),
    )
    stats.summarise(*arguments)
    start = time.process_time()
    stats.summarise(*arguments)
    # Measured .2 s of processor time; the bound only catches a change of order.
    assert time.process_time() - start < 1.5


reals = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(reals, min_size=10, max_size=60))
def test_the_interval_of_symmetric_data_contains_its_mean(values: list[float]) -> None:
    r = np.array([*values, *(-value for value in values)])
    estimate = stats.expectancy_interval(r, np.arange(r.size), name="p", settings=Settings(draws=400))
    assert estimate.value == pytest.approx(0.0, abs=1e-12)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= 1e-12
    assert estimate.high >= -1e-12


@given(st.lists(reals, min_size=1, max_size=60))
def test_expectancy_is_wins_plus_losses_over_trades(values: list[float]) -> None:
    summary = one_summary(trades_of(values), sessions=max(10, len(values)))
    wins = (summary.avg_win_r or 0.0) * summary.winners
    losses = (summary.avg_loss_r or 0.0) * summary.losers
    assert summary.expectancy.value == pytest.approx((wins + losses) / len(values), abs=1e-9)
    assert summary.winners + summary.losers + summary.breakeven == len(values)


def test_an_interval_of_blocks_stands_beside_the_other_only_where_sessions_carry_over() -> None:
    rng = np.random.default_rng(4)
    independent = rng.normal(0.1, 1.0, 200)
    assert one_summary(trades_of(independent.tolist()), sessions=200).expectancy_blocks == NOTHING
    carried = np.convolve(rng.normal(0.02, 0.5, 209), np.ones(10), mode="valid")
    summary = one_summary(trades_of(carried.tolist()), sessions=200)
    blocks, sessions = summary.expectancy_blocks, summary.expectancy
    assert blocks.value == sessions.value
    # Ten overlapping sessions make the variance of the mean ten times that of independent ones.
    assert blocks.high - blocks.low > 1.4 * (sessions.high - sessions.low)


def test_the_best_of_noise_is_no_discovery_and_a_real_edge_is() -> None:
    rng = np.random.default_rng(8)
    noise = [
        one_summary(trades_of(rng.normal(0.0, 1.0, 60).tolist(), detector=f"d{at}"), sessions=60) for at in range(12)
    ]
    edge = one_summary(trades_of(rng.normal(0.8, 1.0, 60).tolist(), detector="edge"), sessions=60)
    assert stats.best_of_all(noise, QUICK) > 0.05
    assert stats.best_of_all([*noise, edge], QUICK) < 0.01
    assert stats.best_of_all([], QUICK) is None


def test_a_few_trades_of_a_detector_that_is_not_testable_count_for_nothing() -> None:
    whole = trades_of([0.2, -0.3, 0.4, -0.2] * 10, detector="whole")
    sparse = trades_of([1.0, 2.0, 3.0] * 8, detector="sparse")
    days = session_axis(60)

    def inputs(*parts: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
        rows = pl.concat(parts)
        coverage = coverage_of(("whole", 60, 60, []), ("sparse", 60, 24, ["gamma_flip"]))
        return rows, dispositions_of(rows), coverage, daily_profit_of(rows), days

    both, alone = inputs(whole, sparse), inputs(whole)
    found = {one.detector: one for one in stats.summarise(*both, settings=QUICK)}
    # Its own trades stay facts; the tests of the others are not adjusted for it.
    assert (found["sparse"].verdict, found["sparse"].trades) == ("not testable", 24)
    assert found["sparse"].p_value_adjusted is None
    assert found["whole"].p_value_adjusted == found["whole"].p_value
    assert stats.best_of_all(list(found.values()), QUICK) == stats.best_of_all([found["whole"]], QUICK)
    assert stats.pool(*both, settings=QUICK) == stats.pool(*alone, settings=QUICK)
