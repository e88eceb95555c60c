"""Statistics of a run: the summary of every detector, and of all pooled, from trades, dispositions and daily profit.

Belongs here: putting the numbers of one detector together, and its breakdowns. Does not belong here: the formulas
(estimates, bootstrap, significance), verdicts (verdicts), filling orders (simulator), drawing (charts), pages (report).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.backtest.bootstrap import (
    block_totals,
    bootstrap_p_value,
    bootstrap_totals,
    generator_for,
    natural_block,
    percentile_interval,
)
from strategy_pipeline.backtest.estimates import (
    BREAKEVEN_TOLERANCE_R,
    NOTHING,
    SESSIONS_PER_YEAR,
    Drawdown,
    Estimate,
    FloatArray,
    ProfitFactor,
    break_even_win_rate,
    max_drawdown,
    payoff_ratio,
    profit_factor,
    sharpe_ratio,
    skewness_and_kurtosis,
    sortino_ratio,
    wilson_interval,
)
from strategy_pipeline.backtest.significance import (
    benjamini_hochberg,
    deflated_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
    superior_predictive_ability,
)
from strategy_pipeline.backtest.trials import Search
from strategy_pipeline.backtest.verdicts import Coverage, Evidence, Noise, OutOfSample, recommendation_for, verdict_for
from strategy_pipeline.lake.tables import DEALER_POSITIONINGS, EXIT_REASONS, IV_REGIMES, TIME_WINDOWS

MINIMUM_SESSIONS_FOR_INTERVAL = 10
MINIMUM_TRADES_OF_A_GROUP = 20
MAXIMUM_AMBIGUOUS_SHARE = 0.05
MAXIMUM_MEDIAN_COST_R = 0.25
COST_MULTIPLES = (0.0, 0.5, 1.0, 2.0)
POOLED = "all detectors pooled"
UNLABELLED = "unlabelled"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
# Breakdown name -> the trade column that holds its label; an empty string means the label is derived here.
BREAKDOWNS: dict[str, str] = {
    "regime": "regime_at_signal",
    "time_window": "time_window",
    "symbol": "symbol",
    "weekday": "",
    "exit_reason": "exit_reason",
    "score_decile": "",
    "vix_band": "vix_regime",
    "iv_band": "iv_regime_at_signal",
    "dealer_gamma": "dealer_positioning_at_signal",
    "dte_bucket": "dte_bucket",
}
_GROUP_ORDER: dict[str, tuple[str, ...]] = {
    "weekday": WEEKDAYS,
    "time_window": TIME_WINDOWS,
    "exit_reason": EXIT_REASONS,
    "score_decile": tuple(str(decile) for decile in range(1, 11)),
    "iv_band": IV_REGIMES,
    "dealer_gamma": DEALER_POSITIONINGS,
    "dte_bucket": ("0", "1-4", "5-29", "30+"),
}


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Expectancy and profit factor when every cost is multiplied by ``multiple``."""

    multiple: float
    expectancy: Estimate
    profit_factor: ProfitFactor


@dataclass(frozen=True, slots=True)
class Group:
    """One row of a breakdown; ``thin`` (fewer than 20 trades) is shown greyed and drives nothing."""

    label: str
    trades: int
    sessions: int
    win_rate: Estimate
    profit_factor: ProfitFactor
    expectancy: Estimate

    @property
    def thin(self) -> bool:
        """True below 20 trades."""
        return self.trades < MINIMUM_TRADES_OF_A_GROUP


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of the evaluation: bootstrap draws and seed, book size in $, cash rate per year (0.02 = 2 %)."""

    draws: int = 10_000
    group_draws: int = 2_000
    seed: int = 20_240_101
    initial_equity_usd: float = 100_000.0
    cash_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class DetectorSummary:
    """Everything the report says about one detector; R statistics are after costs unless the name says gross."""

    detector: str
    trades: int
    sessions_traded: int
    winners: int
    losers: int
    breakeven: int
    win_rate: Estimate
    break_even_win_rate: float | None
    profit_factor: ProfitFactor
    expectancy: Estimate
    expectancy_gross: Estimate
    expectancy_blocks: Estimate
    expectancy_worst: Estimate
    expectancy_best: Estimate
    profit_factor_worst: ProfitFactor
    profit_factor_best: ProfitFactor
    avg_win_r: float | None
    avg_loss_r: float | None
    payoff: float | None
    avg_win_pct: float | None
    avg_loss_pct: float | None
    sharpe: float | None
    sortino: float | None
    drawdown: Drawdown
    psr: float | None
    dsr: float | None
    dsr_missing_because: str | None
    pbo: float | None
    pbo_missing_because: str | None
    n_trials: int
    n_effective: int | None
    noise: Noise | None
    out_of_sample: OutOfSample | None
    min_track_record_sessions: float | None
    p_value: float | None
    p_value_adjusted: float | None
    ambiguous_share: float | None
    gap_exit_share: float | None
    median_cost_r: float | None
    avg_bars_held: float | None
    avg_minutes_held: float | None
    exposure_pct: float | None
    turnover_per_session: float | None
    top5_share: float | None
    data_end_exits: int
    coarse_entries: int
    size_capped: int
    pnl_net_usd: float
    costs: tuple[CostPoint, ...]
    breakdowns: Mapping[str, tuple[Group, ...]]
    dispositions: Mapping[str, int]
    coverage: Coverage
    verdict: str
    verdict_because: str
    recommendation: str
    recommendation_because: str
    warnings: tuple[str, ...]
    daily_pnl_usd: tuple[float, ...] = field(default=(), repr=False)

    @property
    def testable(self) -> bool:
        """False when the inputs were missing, so that "0 trades" would be a lie."""
        return self.coverage.testable

    @property
    def headline_is_fill_range(self) -> bool:
        """True when more than 5 % of the trades are ambiguous, so the headline is [worst, best] fills."""
        return self.ambiguous_share is not None and self.ambiguous_share > MAXIMUM_AMBIGUOUS_SHARE

    @property
    def headline(self) -> Estimate:
        """Expectancy with its bootstrap interval, or with [worst, best] fills when too many trades are ambiguous."""
        if not self.headline_is_fill_range:
            return self.expectancy
        return Estimate(self.expectancy.value, self.expectancy_worst.value, self.expectancy_best.value)


def expectancy_interval(r: FloatArray, sessions: npt.NDArray[np.int64], *, name: str, settings: Settings) -> Estimate:
    """Mean R with its bootstrap interval over sessions; the interval is None below 10 sessions."""
    if r.size == 0:
        return NOTHING
    codes, totals = _session_totals(r[:, None], sessions)
    value = float(r.sum() / r.size)
    if codes < MINIMUM_SESSIONS_FOR_INTERVAL:
        return Estimate(value, None, None)
    drawn = bootstrap_totals(totals, draws=settings.draws, generator=generator_for(name, settings.seed))
    return _estimate(value, _ratio(drawn[:, 0], drawn[:, -1]))


def _session_totals(columns: FloatArray, sessions: npt.NDArray[np.int64]) -> tuple[int, FloatArray]:
    """Number of distinct sessions, and their column sums with the trade count as the last column."""
    distinct, codes = np.unique(sessions, return_inverse=True)
    totals = np.empty((distinct.size, columns.shape[1] + 1))
    for index in range(columns.shape[1]):
        totals[:, index] = np.bincount(codes, weights=columns[:, index], minlength=distinct.size)
    totals[:, -1] = np.bincount(codes, minlength=distinct.size)
    return int(distinct.size), totals


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0.0)
    return out


def _estimate(value: float, means: FloatArray) -> Estimate:
    interval = percentile_interval(means)
    return Estimate(value, None, None) if interval is None else Estimate(value, *interval)


def summarise(
    trades: pl.DataFrame,
    dispositions: pl.DataFrame,
    coverage: pl.DataFrame,
    daily_pnl: pl.DataFrame,
    sessions: pl.DataFrame,
    *,
    settings: Settings | None = None,
    evidence: Mapping[str, Evidence] | None = None,
) -> list[DetectorSummary]:
    """One summary per row group of ``coverage``, in its order; every detector of the run is there, traded or not.

    trades: ``backtest_trades`` rows. dispositions: ``signal_dispositions`` rows. coverage: detector,
    eligible_symbol_sessions, covered_symbol_sessions, missing_inputs list[str]; several rows per detector (one per
    symbol) are summed. daily_pnl: detector, session, pnl_usd (mark to market; sessions without a row are flat).
    sessions: session, minutes of every exchange session of the window. Raises ValueError when a detector has trades
    but no coverage row, or profit on a day that is not in ``sessions``.
    """
    settings = settings or Settings()
    evidence = evidence or {}
    found = _coverage_by_detector(coverage)
    strangers = set(trades["detector"].cast(pl.String).unique()) - set(found)
    if strangers:
        raise ValueError(f"trades of detectors without a coverage row: {sorted(strangers)}")
    days, minutes = _session_axis(sessions)
    by_detector = _split(trades, "detector")
    pnl_by_detector = _split(daily_pnl, "detector")
    dispositions_by_detector = _disposition_counts(dispositions)
    parts = [
        _summarise_one(
            detector,
            by_detector.get(detector, trades.clear()),
            dispositions_by_detector.get(detector, {}),
            found[detector],
            _daily_vector(pnl_by_detector.get(detector), days),
            days,
            minutes,
            settings,
            evidence.get(detector, Evidence()),
            n_detectors=len(found),
            books=1,
        )
        for detector in found
    ]
    # What cannot be tested is no test to adjust for.
    adjusted = benjamini_hochberg([part.p_value if part.testable else None for part in parts])
    return [_with_adjusted_p(part, p) for part, p in zip(parts, adjusted, strict=True)]


def pool(
    trades: pl.DataFrame,
    dispositions: pl.DataFrame,
    coverage: pl.DataFrame,
    daily_pnl: pl.DataFrame,
    sessions: pl.DataFrame,
    *,
    settings: Settings | None = None,
) -> DetectorSummary:
    """All testable detectors as one: pooled in R, the daily return the mean over their separate books (same inputs)."""
    settings = settings or Settings()
    found = _coverage_by_detector(coverage)
    testable = pl.col("detector").cast(pl.String).is_in([name for name, one in found.items() if one.testable])
    trades, dispositions, daily_pnl = (rows.filter(testable) for rows in (trades, dispositions, daily_pnl))
    days, minutes = _session_axis(sessions)
    counts: dict[str, int] = {}
    for one in _disposition_counts(dispositions).values():
        for name, count in one.items():
            counts[name] = counts.get(name, 0) + count
    total = Coverage(
        sum(one.eligible_symbol_sessions for one in found.values() if one.testable),
        sum(one.covered_symbol_sessions for one in found.values() if one.testable),
    )
    books = max(1, sum(one.testable for one in found.values()))
    return _summarise_one(
        POOLED,
        trades,
        counts,
        total,
        _daily_vector(daily_pnl, days) / books,
        days,
        minutes,
        settings,
        Evidence(),
        n_detectors=len(found),
        books=books,
    )


def _summarise_one(
    detector: str,
    trades: pl.DataFrame,
    dispositions: Mapping[str, int],
    coverage: Coverage,
    daily_pnl_usd: FloatArray,
    days: list[date],
    minutes_per_session: float,
    settings: Settings,
    evidence: Evidence,
    *,
    n_detectors: int,
    books: int,
) -> DetectorSummary:
    # A fixed row order keeps sums, and so every byte of the report, independent of how the trades were produced.
    trades = trades.sort(["detector", "symbol", "signal_bar_end", "trade_id"])
    net = _floats(trades, "r_net")
    gross = _floats(trades, "r_gross")
    worst = _floats(trades, "r_worst", otherwise=net)
    best = _floats(trades, "r_best", otherwise=net)
    n = net.size
    session_of_trade = trades["session"].to_physical().cast(pl.Int64).to_numpy()
    distinct, totals = (
        _session_totals(np.column_stack([net, gross, worst, best]), session_of_trade) if n else (0, np.empty((0, 5)))
    )
    if distinct >= MINIMUM_SESSIONS_FOR_INTERVAL:
        drawn = bootstrap_totals(totals, draws=settings.draws, generator=generator_for(detector, settings.seed))
        means = drawn[:, :-1] / drawn[:, -1:]
    else:
        means = np.full((0, 4), np.nan)

    def mean_of(values: FloatArray, draws: FloatArray) -> Estimate:
        return NOTHING if n == 0 else _estimate(float(values.sum() / n), draws)

    expectancy = mean_of(net, means[:, 0])
    expectancy_gross = mean_of(gross, means[:, 1])
    costs = tuple(
        CostPoint(
            multiple,
            # Costs do not move the path, so every multiple is the same linear combination in every resample.
            mean_of(gross + multiple * (net - gross), means[:, 1] + multiple * (means[:, 0] - means[:, 1])),
            profit_factor(gross + multiple * (net - gross)),
        )
        for multiple in COST_MULTIPLES
    )
    p_value = bootstrap_p_value(expectancy.value, means[:, 0]) if expectancy.value is not None and means.size else None

    is_win, is_loss = net > BREAKEVEN_TOLERANCE_R, net < -BREAKEVEN_TOLERANCE_R
    winners, losers = int(is_win.sum()), int(is_loss.sum())
    avg_win = float(net[is_win].mean()) if winners else None
    avg_loss = float(net[is_loss].mean()) if losers else None
    payoff = payoff_ratio(avg_win, avg_loss)
    percent = _floats(trades, "return_net_pct")

    returns = daily_pnl_usd / settings.initial_equity_usd
    excess = returns - settings.cash_rate / SESSIONS_PER_YEAR
    sharpe = sharpe_ratio(returns, cash_rate=settings.cash_rate)
    psr, dsr, track_record = None, None, None
    n_trials = max(n_detectors, evidence.n_trials or 0)
    shape = skewness_and_kurtosis(excess)
    if sharpe is not None and shape is not None:
        per_session = sharpe / math.sqrt(SESSIONS_PER_YEAR)
        psr = probabilistic_sharpe(per_session, 0.0, returns.size, *shape)
        track_record = minimum_track_record(per_session, 0.0, *shape)
        if evidence.n_trials is not None and evidence.trial_sharpe_variance is not None:
            dsr = deflated_sharpe(
                per_session,
                returns.size,
                *shape,
                n_trials=n_trials,
                trial_sharpe_variance=evidence.trial_sharpe_variance,
            )

    breakdowns = _breakdowns(detector, trades, net, session_of_trade, expectancy, settings)
    verdict, verdict_because = verdict_for(
        coverage=coverage,
        trades=n,
        expectancy=expectancy,
        dsr=dsr,
        evidence=evidence,
    )
    recommendation, recommendation_because = recommendation_for(
        verdict=verdict,
        coverage=coverage,
        trades=n,
        expectancy=expectancy,
        expectancy_gross=expectancy_gross,
    )

    ambiguous_share = _share(trades, "ambiguous")
    median_cost = float(np.median(_floats(trades, "cost_r"))) if n else None
    pnl = _floats(trades, "pnl_net")
    total_pnl = float(pnl.sum())
    data_end = int((trades["exit_reason"].cast(pl.String) == "DATA_END").sum())
    coarse = int((trades["entry_basis"].cast(pl.String) == "coarse_next_open").sum())
    capped = int(trades["size_capped"].sum() or 0)
    fill_range = Estimate(expectancy.value, float(worst.mean()), float(best.mean())) if n else NOTHING
    eligible_minutes = minutes_per_session * coverage.eligible_symbol_sessions
    notional = float(_floats(trades, "notional_usd").sum())
    return DetectorSummary(
        detector=detector,
        trades=n,
        sessions_traded=distinct,
        winners=winners,
        losers=losers,
        breakeven=n - winners - losers,
        win_rate=wilson_interval(winners, n),
        break_even_win_rate=break_even_win_rate(payoff),
        profit_factor=profit_factor(net),
        expectancy=expectancy,
        expectancy_gross=expectancy_gross,
        expectancy_blocks=_block_interval(detector, trades, net, days, settings),
        expectancy_worst=mean_of(worst, means[:, 2]),
        expectancy_best=mean_of(best, means[:, 3]),
        profit_factor_worst=profit_factor(worst),
        profit_factor_best=profit_factor(best),
        avg_win_r=avg_win,
        avg_loss_r=avg_loss,
        payoff=payoff,
        avg_win_pct=float(percent[is_win].mean()) if winners else None,
        avg_loss_pct=float(percent[is_loss].mean()) if losers else None,
        sharpe=sharpe,
        sortino=sortino_ratio(returns, cash_rate=settings.cash_rate),
        drawdown=max_drawdown(daily_pnl_usd, settings.initial_equity_usd, days),
        psr=psr,
        dsr=dsr,
        dsr_missing_because=None if dsr is not None else _why_no_dsr(evidence, sharpe),
        pbo=evidence.pbo,
        pbo_missing_because=None if evidence.pbo is not None else "PBO needs at least 10 trials of one detector.",
        n_trials=n_trials,
        n_effective=evidence.n_effective,
        noise=evidence.noise,
        out_of_sample=evidence.out_of_sample,
        min_track_record_sessions=track_record,
        p_value=p_value,
        p_value_adjusted=p_value,
        ambiguous_share=ambiguous_share,
        gap_exit_share=_share(trades, "gap_exit"),
        median_cost_r=median_cost,
        avg_bars_held=float(_floats(trades, "bars_held").mean()) if n else None,
        avg_minutes_held=float(_floats(trades, "minutes_held").mean()) if n else None,
        exposure_pct=100.0 * float(_floats(trades, "minutes_held").sum()) / eligible_minutes
        if eligible_minutes
        else None,
        turnover_per_session=2.0 * notional / (settings.initial_equity_usd * books) / len(days) if days else None,
        top5_share=float(np.sort(pnl)[-5:].sum()) / total_pnl if total_pnl > 0.0 else None,
        data_end_exits=data_end,
        coarse_entries=coarse,
        size_capped=capped,
        pnl_net_usd=total_pnl,
        costs=costs,
        breakdowns=breakdowns,
        dispositions=dict(dispositions),
        coverage=coverage,
        verdict=verdict,
        verdict_because=verdict_because,
        recommendation=recommendation,
        recommendation_because=recommendation_because,
        warnings=_warnings(n, ambiguous_share, fill_range, median_cost, data_end, coarse, capped),
        daily_pnl_usd=tuple(daily_pnl_usd.tolist()),
    )


def _block_interval(
    detector: str, trades: pl.DataFrame, net: FloatArray, days: list[date], settings: Settings
) -> Estimate:
    """Mean R with the interval of blocks of sessions; nothing where sessions do not carry over into the next."""
    if net.size == 0 or len(days) < MINIMUM_SESSIONS_FOR_INTERVAL:
        return NOTHING
    axis = pl.Series(days, dtype=pl.Date).to_physical().to_numpy()
    place = np.searchsorted(axis, trades["session"].to_physical().to_numpy())
    totals = np.column_stack(
        [np.bincount(place, weights=net, minlength=len(days)), np.bincount(place, minlength=len(days))]
    ).astype(np.float64)
    length = natural_block(totals[:, 0])
    if length == 1.0:
        return NOTHING
    generator = generator_for(f"{detector}/blocks", settings.seed)
    drawn = block_totals(totals, draws=settings.group_draws, generator=generator, mean_block=length)
    return _estimate(float(net.sum() / net.size), _ratio(drawn[:, 0], drawn[:, 1]))


def out_of_sample(
    folds: pl.DataFrame,
    trades: pl.DataFrame,
    equity: pl.DataFrame,
    search: Search,
    *,
    name: str,
    settings: Settings,
) -> OutOfSample | None:
    """What a detector did on the test spans together, from its rows of the validation's tables; None without folds."""
    if folds.is_empty():
        return None
    trades = trades.sort(["symbol", "signal_bar_end", "trade_id"])
    net, gross = _floats(trades, "r_net"), _floats(trades, "r_gross")
    sessions = trades["session"].to_physical().cast(pl.Int64).to_numpy()
    stream = f"{name}/out of sample"
    expectancy = expectancy_interval(net, sessions, name=stream, settings=settings)
    doubled = expectancy_interval(gross + 2.0 * (net - gross), sessions, name=stream, settings=settings)
    equity = equity.sort("session")
    returns = equity["daily_return"].to_numpy()
    sharpe, shape = sharpe_ratio(returns, cash_rate=settings.cash_rate), skewness_and_kurtosis(returns)
    dsr = None
    if sharpe is not None and shape is not None and search.sharpe_variance is not None:
        per_session = sharpe / math.sqrt(SESSIONS_PER_YEAR)
        dsr = deflated_sharpe(
            per_session, returns.size, *shape,
            n_trials=search.n_trials, trial_sharpe_variance=search.sharpe_variance,
        )  # fmt: skip
    regimes = trades["regime_at_signal"].drop_nulls().value_counts()
    return OutOfSample(
        method=str(folds["method"][0]),
        folds=folds.height,
        trades=trades.height,
        expectancy=expectancy,
        low_at_double_costs=doubled.low,
        regimes=int((regimes["count"] >= MINIMUM_TRADES_OF_A_GROUP).sum()),
        dsr=dsr,
        sessions=tuple(equity["session"]),
        daily_pnl_usd=tuple(equity["pnl_usd"]),
        fold_starts=tuple(folds["test_start"].sort()),
    )


def best_of_all(summaries: Sequence[DetectorSummary], settings: Settings) -> float | None:
    """p of "the best detector of the run earns nothing" (SPA), on the daily results of the testable that traded."""
    traded = [one.daily_pnl_usd for one in summaries if one.trades and one.testable]
    if not traded:
        return None
    returns = np.array(traded).T / settings.initial_equity_usd
    generator = generator_for("best of all", settings.seed)
    return superior_predictive_ability(returns, draws=settings.group_draws, generator=generator)


def _why_no_dsr(evidence: Evidence, sharpe: float | None) -> str:
    if sharpe is None:
        return "No Sharpe ratio: fewer than 20 sessions, or daily returns without spread."
    if evidence.n_trials is None or evidence.trial_sharpe_variance is None:
        return "No trial ledger: the spread of Sharpe ratios over the trials is unknown."
    return "The variance of the Sharpe estimate is not positive."


def _warnings(
    n: int,
    ambiguous_share: float | None,
    fill_range: Estimate,
    median_cost_r: float | None,
    data_end: int,
    coarse: int,
    capped: int,
) -> tuple[str, ...]:
    found = []
    if median_cost_r is not None and median_cost_r > MAXIMUM_MEDIAN_COST_R:
        found.append(f"Costs dominate: the median trade pays {median_cost_r:.2f} R (more than .25 R).")
    if ambiguous_share is not None and ambiguous_share > MAXIMUM_AMBIGUOUS_SHARE:
        found.append(
            f"{100.0 * ambiguous_share:.1f} % of the trades touched stop and target in one bar, so the headline is the "
            f"range from worst to best fills: [{fill_range.low:+.2f}, {fill_range.high:+.2f}] R."
        )
    if coarse:
        found.append(f"{coarse} of {n} entries are the next open of a signal bar (no finer bars stored).")
    if data_end:
        found.append(f"{data_end} of {n} trades end with the data, not with a rule.")
    if capped:
        found.append(f"{capped} of {n} positions were capped at twice the equity; R is not affected.")
    return tuple(found)


def _breakdowns(
    detector: str,
    trades: pl.DataFrame,
    net: FloatArray,
    sessions: npt.NDArray[np.int64],
    expectancy: Estimate,
    settings: Settings,
) -> dict[str, tuple[Group, ...]]:
    """Groups of every breakdown; all of them share one set of resamples of the detector's sessions.

    A group that holds every trade has the `expectancy` of the detector itself, interval and all.
    """
    labels = {name: _labels(name, column, trades) for name, column in BREAKDOWNS.items()}
    masks: list[npt.NDArray[np.bool_]] = []
    places: list[tuple[str, str]] = []
    for name, values in labels.items():
        for label in _ordered(name, set(values)):
            masks.append(np.array([value == label for value in values], dtype=bool))
            places.append((name, label))
    distinct, codes = np.unique(sessions, return_inverse=True)
    counts_of_sessions = [int(np.unique(sessions[mask]).size) for mask in masks]
    wanted = [i for i, count in enumerate(counts_of_sessions) if count >= MINIMUM_SESSIONS_FOR_INTERVAL]
    intervals: dict[int, tuple[float, float] | None] = {}
    if wanted:
        totals = np.empty((distinct.size, 2 * len(wanted)))
        for place, i in enumerate(wanted):
            totals[:, 2 * place] = np.bincount(codes, weights=np.where(masks[i], net, 0.0), minlength=distinct.size)
            totals[:, 2 * place + 1] = np.bincount(codes, weights=masks[i].astype(float), minlength=distinct.size)
        generator = generator_for(f"{detector}/breakdowns", settings.seed)
        drawn = bootstrap_totals(totals, draws=settings.group_draws, generator=generator)
        for place, i in enumerate(wanted):
            intervals[i] = percentile_interval(_ratio(drawn[:, 2 * place], drawn[:, 2 * place + 1]))
    groups: dict[str, list[Group]] = {name: [] for name in BREAKDOWNS}
    for i, (name, label) in enumerate(places):
        r = net[masks[i]]
        low, high = intervals.get(i) or (None, None)
        groups[name].append(
            Group(
                label=label,
                trades=int(r.size),
                sessions=counts_of_sessions[i],
                win_rate=wilson_interval(int((r > BREAKEVEN_TOLERANCE_R).sum()), int(r.size)),
                profit_factor=profit_factor(r),
                expectancy=expectancy if r.size == net.size else Estimate(float(r.mean()), low, high),
            )
        )
    return {name: tuple(found) for name, found in groups.items()}


def _labels(name: str, column: str, trades: pl.DataFrame) -> list[str]:
    if name == "weekday":
        return [WEEKDAYS[day - 1] if day <= 5 else "weekend" for day in trades["session"].dt.weekday()]
    if name == "score_decile":
        if trades.height == 0:
            return []
        # Equal scores share a decile (lowest rank), so a decile never depends on row order.
        rank = trades["score"].rank("min")
        return [
            UNLABELLED if value is None else str(min(10, int((value - 1) * 10 // trades.height) + 1)) for value in rank
        ]
    if column not in trades.columns:
        return [UNLABELLED] * trades.height
    return [UNLABELLED if value is None else str(value) for value in trades[column].cast(pl.String)]


def _ordered(name: str, labels: set[str]) -> list[str]:
    order = {label: place for place, label in enumerate(_GROUP_ORDER.get(name, ()))}
    return sorted(labels, key=lambda label: (label == UNLABELLED, order.get(label, len(order)), label))


def _coverage_by_detector(coverage: pl.DataFrame) -> dict[str, Coverage]:
    summed = coverage.group_by(pl.col("detector").cast(pl.String), maintain_order=True).agg(
        pl.col("eligible_symbol_sessions").sum(),
        pl.col("covered_symbol_sessions").sum(),
        pl.col("missing_inputs").explode().drop_nulls().unique().sort(),
    )
    return {
        row["detector"]: Coverage(
            int(row["eligible_symbol_sessions"]), int(row["covered_symbol_sessions"]), tuple(row["missing_inputs"])
        )
        for row in summed.iter_rows(named=True)
    }


def _disposition_counts(dispositions: pl.DataFrame) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    grouped = (
        dispositions.group_by(pl.col("detector").cast(pl.String), pl.col("disposition").cast(pl.String))
        .len()
        .sort("detector", "disposition")
    )
    for detector, disposition, count in grouped.iter_rows():
        counts.setdefault(detector, {})[disposition] = count
    return counts


def _session_axis(sessions: pl.DataFrame) -> tuple[list[date], float]:
    """The sessions of the window in order, and their mean length in minutes."""
    ordered = sessions.sort("session")
    mean = ordered["minutes"].cast(pl.Float64).mean()
    return ordered["session"].to_list(), float(mean) if isinstance(mean, int | float) else 0.0


def _daily_vector(daily_pnl: pl.DataFrame | None, days: list[date]) -> FloatArray:
    values = np.zeros(len(days))
    if daily_pnl is None or daily_pnl.height == 0:
        return values
    place = {day: index for index, day in enumerate(days)}
    summed = daily_pnl.group_by("session").agg(pl.col("pnl_usd").sum()).sort("session")
    for day, pnl in summed.iter_rows():
        if day not in place:
            raise ValueError(f"daily profit on {day}, which is not a session of the window")
        values[place[day]] = pnl
    return values


def _split(frame: pl.DataFrame, column: str) -> dict[str, pl.DataFrame]:
    parts = frame.with_columns(pl.col(column).cast(pl.String)).partition_by(column, as_dict=True, maintain_order=True)
    return {str(key[0]): part for key, part in parts.items()}


def _floats(trades: pl.DataFrame, column: str, otherwise: FloatArray | None = None) -> FloatArray:
    values = trades[column].cast(pl.Float64).to_numpy().astype(np.float64)
    return values if otherwise is None else np.where(np.isnan(values), otherwise, values)


def _share(trades: pl.DataFrame, column: str) -> float | None:
    return None if trades.height == 0 else int(trades[column].sum() or 0) / trades.height


def _with_adjusted_p(summary: DetectorSummary, p: float | None) -> DetectorSummary:
    return replace(summary, p_value_adjusted=p)
