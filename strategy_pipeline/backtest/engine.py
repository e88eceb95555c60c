"""Backtests from frames to frames: signals of detectors become trades, dispositions, daily profit and coverage.

This module connects detectors, execution arrays, the trade loop and costs; the rules of fills and exits are in
simulator.py, statistics of the result in statistics.py. The trade loop is imported when it is first needed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from strategy_pipeline.analytics.gamma_exposure import positioning_of
from strategy_pipeline.analytics.implied_volatility_rank import iv_regime_of
from strategy_pipeline.backtest.config import DTE_BUCKETS, BacktestConfig, run_id
from strategy_pipeline.backtest.costs import Charges, charge, linear_cost, position_size
from strategy_pipeline.backtest.execution import (
    MINUTE_US,
    ExecutionBars,
    SessionClock,
    execution_bars,
    prepared_signals,
    signal_arrays,
)
from strategy_pipeline.backtest.gating import gated
from strategy_pipeline.backtest.option_marks import OptionMarket
from strategy_pipeline.backtest.option_runs import (
    ATR_COLUMNS,
    Held,
    bucket_limits,
    option_results,
    premium_limits,
    source_words,
    with_contracts,
)
from strategy_pipeline.detectors.catalogue import NO_OPTION_DATA, NO_OPTION_TRADES
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.detectors.evaluate import CARRIED
from strategy_pipeline.detectors.evaluate import coverage as input_coverage
from strategy_pipeline.detectors.evaluate import signals as fired_signals
from strategy_pipeline.detectors.inputs import FLOW_INPUTS, OPTION_INPUTS
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.lake.tables import (
    BACKTEST_TRADES,
    DISPOSITIONS,
    ENTRY_BASES,
    EXIT_REASONS,
    MARK_SOURCES,
    PATH_POLICIES,
    QUALITIES,
    SIGNAL_DISPOSITIONS,
)
from strategy_pipeline.scoring.time_windows import time_window

if TYPE_CHECKING:
    from strategy_pipeline.backtest.simulator import Bars, Outcomes, Rules, Signals

DAILY_SCHEMA = {"detector": pl.String, "session": pl.Date, "pnl_usd": pl.Float64, "open_positions": pl.Int32}
# The share of symbol-sessions on which an input must be there for it not to be called missing.
NEEDED_SHARE = 0.60
# Features from which the states known at a signal are told.
CONTEXT_CARRIED = ("iv_percentile_pct", "net_gex_ratio")
# What a detector's data are called when it never fired: no bar decided anything.
NO_SIGNALS = "no signals"


@dataclass(frozen=True)
class Carry:
    """What a chunk hands to the next one: signals that wait for later bars, and the bars since the first of them."""

    signals: pl.DataFrame
    bars: pl.DataFrame
    finer: pl.DataFrame | None


@dataclass(frozen=True)
class Simulation:
    """Trades (``backtest_trades``), dispositions (``signal_dispositions``), daily profit per detector, and the carry.

    `carry` is None when `final`. `daily` has detector, session, pnl_usd (marked to market at each close, net) and
    open_positions, for sessions with a position only. `data_hashes` names, for each detector that fired, the bars and
    its own signals, so that it does not depend on which other detectors were tested.
    """

    trades: pl.DataFrame
    dispositions: pl.DataFrame
    daily: pl.DataFrame
    data_hash: str
    carry: Carry | None
    data_hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BacktestResult:
    """A run: trades, dispositions, daily equity, coverage, and what identifies it.

    `daily_equity`: one row a detector and session of the window, flat ones included (detector, session, pnl_usd,
    daily_return as a fraction of the initial equity, equity_usd at the close, open_positions). `coverage`: detector,
    eligible_symbol_sessions, covered_symbol_sessions (of its scarcest required input), coverage_pct, missing_inputs
    (required inputs present on less than 60 %, or the kind of data of which there is nothing at all), detections.
    `data_hashes`: as of the simulation, with an entry for every detector.
    """

    run_id: str
    data_hash: str
    config: BacktestConfig
    trades: pl.DataFrame
    dispositions: pl.DataFrame
    daily_equity: pl.DataFrame
    coverage: pl.DataFrame
    data_hashes: Mapping[str, str]


@dataclass(frozen=True)
class Prepared:
    """Signals of one timeframe and their execution bars as arrays, entries found; what sweeps are run on."""

    timeframe: str
    config: BacktestConfig
    signals: pl.DataFrame
    execution: ExecutionBars
    bars: "Bars"
    arrays: "Signals"
    entry: np.ndarray
    verdict: np.ndarray
    held: Held | None = None

    def under(self, config: BacktestConfig) -> "Prepared":
        """The same signals under another stop, target, hold limit or least score, none below that of the preparation.

        Raises SettingsError when the configurations differ in anything else.
        """
        exits = ("stop_atr", "target_atr", "max_hold_bars", "min_score")
        own = {name: getattr(self.config, name) for name in exits}
        if replace(config, **own) != self.config or config.min_score < self.config.min_score:
            raise SettingsError(
                "Parameter sets differ in stop, target, hold and least score only, which is no lower than prepared."
            )
        before_scores = [DISPOSITIONS.index("class_mismatch"), DISPOSITIONS.index("gate_rejected")]
        low = ~(self.arrays.score >= config.min_score) & ~np.isin(self.verdict, before_scores)
        entry = np.where(low, -1, self.entry)
        verdict = np.where(low, DISPOSITIONS.index("below_min_score"), self.verdict).astype(self.verdict.dtype)
        return replace(self, config=config, entry=entry, verdict=verdict)


def run_backtest(
    features: pl.DataFrame,
    bars: pl.DataFrame,
    detectors: Sequence[Detector],
    actions: pl.DataFrame | None,
    config: BacktestConfig,
    sessions: Sequence[date],
    *,
    finer: pl.DataFrame | None = None,
    options: OptionMarket | None = None,
    composite: pl.DataFrame | None = None,
    data_hash: str | None = None,
) -> BacktestResult:
    """Every detector on every feature row of `sessions`, traded on `bars` (cleaned execution bars).

    Signals are taken from rows of the configured timeframe (``native``: of each detector's own) that belong to
    `sessions`; positions still open after the last session end there as DATA_END. `options` is what target_mode dte
    chooses contracts from. `composite` holds the rows of
    ``composite_signals`` that gates ``full`` asks. `data_hash` names the partitions used; without it the content of
    bars and signals is hashed. Raises SettingsError without sessions and MissingDataError when target_mode dte has no
    chains or gates full no composite signal of a firing.
    """
    if not sessions:
        raise SettingsError("There is no session in the window: choose one that ends after it starts.")
    order = [detector.name for detector in detectors]
    signals, covered = _signals_of(features, detectors, config, sessions)
    if config.gates == "full":
        signals = gated(signals, composite)
    if config.target_mode == "dte":
        signals = with_contracts(signals, _market(options).chains, config)
    until = _until(bars, max(sessions))
    simulation = simulate_signals(
        signals, until, config, actions=actions, finer=finer, options=options, data_hash=data_hash
    )
    coverage = covered.sort(pl.col("detector").replace_strict({name: at for at, name in enumerate(order)}))
    return BacktestResult(
        run_id(config, simulation.data_hash),
        simulation.data_hash,
        config,
        simulation.trades,
        simulation.dispositions,
        daily_equity(simulation.daily, order, sessions, config),
        coverage,
        {name: simulation.data_hashes.get(name, NO_SIGNALS) for name in order},
    )


def prepare_run(
    features: pl.DataFrame,
    bars: pl.DataFrame,
    detectors: Sequence[Detector],
    actions: pl.DataFrame | None,
    config: BacktestConfig,
    sessions: Sequence[date],
    *,
    composite: pl.DataFrame | None = None,
) -> list[Prepared]:
    """The signals and bars of a run as ``run_backtest`` would trade them, one preparation a timeframe; for sets."""
    signals, _ = _signals_of(features, detectors, config, sessions)
    if config.gates == "full":
        signals = gated(signals, composite)
    ready = prepared_signals(signals, config)
    return [
        prepare(ready.filter(pl.col("timeframe") == timeframe), _until(bars, max(sessions)), timeframe, config,
                actions=actions)
        for timeframe in ready["timeframe"].unique().sort().to_list()
    ]  # fmt: skip


def _signals_of(
    features: pl.DataFrame, detectors: Sequence[Detector], config: BacktestConfig, sessions: Sequence[date]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The signals of `detectors` on the rows of `sessions`, and the coverage of their inputs there."""
    window = features.filter(pl.col("session").is_between(min(sessions), max(sessions)))
    if len(set(sessions)) != window["session"].n_unique():
        window = window.filter(pl.col("session").is_in(sorted(set(sessions))))
    filled = frozenset(name for name in window.columns if window[name].null_count() < window.height)
    found: list[pl.DataFrame] = []
    covered: list[pl.DataFrame] = []
    for timeframe, group in _by_timeframe(detectors, config).items():
        rows = window.filter(pl.col("timeframe").cast(pl.String) == timeframe)
        found.append(fired_signals(group, rows, carried=(*CARRIED, *CONTEXT_CARRIED, *ATR_COLUMNS.values())))
        covered.append(_coverage(group, rows, found[-1], filled))
    signals = pl.concat(found, how="diagonal_relaxed")
    signals = signals.rename({"vix_tier": "vix_regime"}) if "vix_tier" in signals.columns else signals
    return signals, pl.concat(covered)


def _until(bars: pl.DataFrame, last: date) -> pl.DataFrame:
    return bars.filter(pl.col("session") <= last) if bars["session"].max() != last else bars


def simulate_signals(
    signals: pl.DataFrame,
    bars: pl.DataFrame,
    config: BacktestConfig,
    *,
    actions: pl.DataFrame | None = None,
    finer: pl.DataFrame | None = None,
    options: OptionMarket | None = None,
    data_hash: str | None = None,
    carry: Carry | None = None,
    final: bool = True,
) -> Simulation:
    """Trades of `signals` on `bars`, without knowing where the signals come from.

    `signals`: columns of execution.SIGNAL_COLUMNS, optionally of OPTIONAL_SIGNAL_COLUMNS; `bars` as execution_bars
    takes them. A run may be cut anywhere between sessions: with `final` false, signals whose fate the bars do not yet
    decide are not reported but returned as the carry, which goes into the call for the next chunk. Trades are sorted
    by (detector, symbol, entry_at) and do not depend on the cutting.
    """
    if carry is not None:
        signals = pl.concat([carry.signals, prepared_signals(signals, config).select(carry.signals.columns)])
        bars = pl.concat([carry.bars, bars.select(carry.bars.columns)])
        if carry.finer is not None:
            finer = carry.finer if finer is None else pl.concat([carry.finer, finer.select(carry.finer.columns)])
    ready = prepared_signals(signals, config)
    timeframes = ready["timeframe"].unique().sort().to_list()
    parts = [
        prepare(
            ready.filter(pl.col("timeframe") == timeframe),
            bars,
            timeframe,
            config,
            actions=actions,
            finer=finer,
            options=options,
        )
        for timeframe in timeframes
    ]
    hashed = data_hash or content_hash(parts)
    results = [_simulated(part, hashed, final) for part in parts]
    if not results:
        return Simulation(
            BACKTEST_TRADES.empty(), SIGNAL_DISPOSITIONS.empty(), pl.DataFrame(schema=DAILY_SCHEMA), hashed, None
        )
    waiting = pl.concat([waits for *_, waits in results])
    return Simulation(
        pl.concat([trades for trades, *_ in results]).sort(BACKTEST_TRADES.sort_by),
        pl.concat([rows for _, rows, *_ in results]).sort(SIGNAL_DISPOSITIONS.sort_by),
        pl.concat([daily for _, _, daily, _ in results]),
        hashed,
        None if final else _carry(waiting, bars, finer),
        {name: digest for part in parts for name, digest in data_hashes(part).items()},
    )


def prepare(
    signals: pl.DataFrame,
    bars: pl.DataFrame,
    timeframe: str,
    config: BacktestConfig,
    *,
    actions: pl.DataFrame | None = None,
    finer: pl.DataFrame | None = None,
    options: OptionMarket | None = None,
) -> Prepared:
    """Signals of one timeframe and their bars as arrays with entries found, for runs and sweeps that reuse them."""
    from strategy_pipeline.backtest.simulator import Bars, Signals, find_entries

    ready = prepared_signals(signals, config)
    execution = execution_bars(bars, timeframe, config, actions=actions, finer=finer)
    flat_bars = Bars(**execution.arrays)
    arrays = Signals(**signal_arrays(ready, execution, config, actions))
    entry, verdict = find_entries(flat_bars, arrays, round(config.entry_patience_min * MINUTE_US))
    held = None
    if config.target_mode == "dte":
        limits = bucket_limits(ready, execution, arrays.symbol, entry, verdict)
        if config.instrument == "option":
            held = Held.of(ready, _market(options))
            limits = premium_limits(ready, execution, entry, limits, held)
        arrays = arrays._replace(last_row=limits.last_row, last_reason=limits.last_reason)
        verdict = limits.verdict
    return Prepared(timeframe, config, ready, execution, flat_bars, arrays, entry, verdict, held)


def _market(options: OptionMarket | None) -> OptionMarket:
    if options is None or options.chains.is_empty():
        raise MissingDataError(
            "target_mode is 'dte', and there are no option chains in the window: materialise historical_greeks for it, "
            "or use target_mode fixed_atr."
        )
    return options


def data_hashes(prepared: Prepared, active: np.ndarray | None = None) -> dict[str, str]:
    """Hash of the bars, of each detector's own signals, and of the option marks of the run if any, by detector.

    `active` says which of the signals count; without it all do.
    """
    shared = hashlib.blake2b(prepared.execution.content_hash.encode(), digest_size=16)
    if prepared.held is not None:
        marks = prepared.held.marks
        for series in (marks.quotes, marks.prints, marks.volatilities):
            for values in (series.event_us, *(series.columns[name] for name in sorted(series.columns))):
                shared.update(np.ascontiguousarray(values).data)
    found = {}
    for at, name in enumerate(dict.fromkeys(prepared.signals["detector"].to_list())):
        mine = prepared.arrays.detector == at
        own = np.flatnonzero(mine if active is None else mine & active)
        digest = shared.copy()
        for column in ("symbol", "gate_reason"):
            digest.update("|".join(prepared.signals[column].gather(own).fill_null("").to_list()).encode())
        for column in ("available", "bar_end", "sign", "score", "stop_unit", "target_unit", "last_row"):
            digest.update(np.ascontiguousarray(getattr(prepared.arrays, column)[own]).data)
        found[name] = digest.hexdigest()
    return found


def sweep(prepared: Prepared, sets: pl.DataFrame, *, workers: int = 2) -> pl.DataFrame:
    """Aggregates of every parameter set on the same signals, one row a set and detector.

    `sets`: stop_atr, target_atr, max_hold_bars and, optionally, min_score (default: the configuration's; lower ones
    find no signals the preparation left out). Returns set (row number), those parameters, detector, n, win_rate,
    profit_factor, expectancy_r and sd_r; ratios are null where backtesting.md section 8 says so. Raises SettingsError
    for cost models that are not linear in price and for scale-out.
    """
    from strategy_pipeline.backtest.simulator import sweep as sweep_arrays

    config = prepared.config
    cost = linear_cost(config)
    if cost is None or config.scale_out_fraction > 0 or config.target_mode != "fixed_atr":
        raise SettingsError("A sweep needs the pct cost model, ATR targets, no scale-out and no minimum commission.")
    names = list(dict.fromkeys(prepared.signals["detector"].to_list()))
    sets = sets if "min_score" in sets.columns else sets.with_columns(min_score=pl.lit(config.min_score))
    columns = (
        sets["stop_atr"].cast(pl.Float64).to_numpy(),
        sets["target_atr"].cast(pl.Float64).to_numpy(),
        sets["max_hold_bars"].cast(pl.Int64).to_numpy(),
        sets["min_score"].cast(pl.Float64).to_numpy(),
    )
    rules = rules_of(config, final=True)

    def part(rows: np.ndarray) -> np.ndarray:
        chosen = (columns[0][rows], columns[1][rows], columns[2][rows], columns[3][rows])
        return sweep_arrays(prepared.bars, prepared.arrays, rules, prepared.entry, chosen, *cost, len(names))

    pieces = [rows for rows in np.array_split(np.arange(sets.height), max(workers, 1)) if len(rows)]
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        sums = np.concatenate([*pool.map(part, pieces), np.zeros((0, len(names), 6))]).reshape(-1, 6)
    n, wins, gain, loss, squares = sums[:, 0], sums[:, 1], sums[:, 3], sums[:, 4], sums[:, 5]
    at = np.repeat(np.arange(sets.height), len(names))
    total = pl.DataFrame({"n": n.astype(np.int64), "wins": wins, "gain": gain, "loss": loss, "squares": squares})
    count, mean = pl.col("n"), (pl.col("gain") + pl.col("loss")) / pl.col("n")
    variance = (pl.col("squares") - count * mean * mean) / (count - 1)
    return pl.concat(
        [
            pl.DataFrame({"set": at}),
            sets.select("stop_atr", "target_atr", "max_hold_bars", "min_score")[at],
            pl.DataFrame({"detector": names * sets.height}, schema={"detector": pl.String}),
            total.select(
                "n",
                win_rate=pl.when(count > 0).then(pl.col("wins") / count),
                profit_factor=pl.when(pl.col("loss") < 0).then(pl.col("gain") / -pl.col("loss")),
                expectancy_r=pl.when(count > 0).then(mean),
                sd_r=pl.when(count > 1).then(variance.clip(0.0).sqrt()),
            ),
        ],
        how="horizontal",
    )


def daily_equity(
    daily: pl.DataFrame, detectors: Sequence[str], sessions: Sequence[date], config: BacktestConfig
) -> pl.DataFrame:
    """Daily profit as an equity curve per detector over all `sessions`, flat ones included; each has its own book."""
    days = sorted(set(sessions))
    position = {day: at for at, day in enumerate(days)}
    book = {name: at for at, name in enumerate(detectors)}
    pnl, held = np.zeros((len(detectors), len(days))), np.zeros((len(detectors), len(days)), np.int32)
    inside = daily.filter(pl.col("session").is_in(days), pl.col("detector").is_in(list(detectors)))
    rows = inside["detector"].replace_strict(book, return_dtype=pl.Int64).to_numpy()
    columns = inside["session"].replace_strict(position, return_dtype=pl.Int64).to_numpy()
    np.add.at(pnl, (rows, columns), inside["pnl_usd"].to_numpy())
    np.add.at(held, (rows, columns), inside["open_positions"].to_numpy())
    return pl.DataFrame(
        {
            "detector": pl.Series([name for name in detectors for _ in days], dtype=pl.String),
            "session": pl.Series(days * len(detectors), dtype=pl.Date),
            "pnl_usd": pnl.ravel(),
            "daily_return": (pnl / config.initial_equity_usd).ravel(),
            "equity_usd": (config.initial_equity_usd + np.cumsum(pnl, axis=1)).ravel(),
            "open_positions": held.ravel(),
        }
    )


def _by_timeframe(detectors: Sequence[Detector], config: BacktestConfig) -> dict[str, list[Detector]]:
    groups: dict[str, list[Detector]] = {}
    for detector in detectors:
        timeframe = detector.timeframe if config.timeframe == "native" else config.timeframe
        groups.setdefault(timeframe, []).append(detector)
    return groups


def _coverage(
    detectors: Sequence[Detector], rows: pl.DataFrame, signals: pl.DataFrame, filled: frozenset[str]
) -> pl.DataFrame:
    """One row a detector from the shares of its required inputs; the scarcest input counts.

    `filled` are the feature columns with any value in the whole run. Where a kind of data is absent altogether, that is
    said instead of the inputs, whether or not the run has a symbol of the detector's classes.
    """
    absent = {one.name: [kind] for one in detectors if (kind := _absent_data(one, filled)) is not None}
    found = signals.group_by("detector").len()
    detections = dict(zip(found["detector"].to_list(), found["len"].to_list(), strict=True))
    return (
        input_coverage(detectors, rows)
        .group_by("detector", maintain_order=True)
        .agg(
            eligible_symbol_sessions=pl.col("eligible").max(),
            covered_symbol_sessions=pl.col("present").min(),
            missing_inputs=pl.col("input").filter(pl.col("share").fill_null(0.0) < NEEDED_SHARE),
        )
        .with_columns(
            coverage_pct=pl.when(pl.col("eligible_symbol_sessions") > 0).then(
                pl.col("covered_symbol_sessions") / pl.col("eligible_symbol_sessions") * 100.0
            ),
            detections=pl.col("detector").replace_strict(detections, default=0, return_dtype=pl.Int64),
            missing_inputs=pl.coalesce(
                pl.col("detector").replace_strict(absent, default=None, return_dtype=pl.List(pl.String)),
                "missing_inputs",
            ),
        )
    )


def _absent_data(detector: Detector, filled: frozenset[str]) -> str | None:
    """The kind of option data that the detector requires and of which the run has nothing; None when it has some."""
    required = OPTION_INPUTS.intersection(detector.inputs_required)
    if required and filled.isdisjoint(OPTION_INPUTS):
        return NO_OPTION_DATA
    if required & FLOW_INPUTS and filled.isdisjoint(FLOW_INPUTS):
        return NO_OPTION_TRADES
    return None


def rules_of(config: BacktestConfig, *, final: bool) -> "Rules":
    """The scalar rules of the trade loop; `final` says that no bars will follow."""
    from strategy_pipeline.backtest.simulator import Rules

    by_atr = config.target_mode == "fixed_atr"
    return Rules(
        stop_multiple=float(config.stop_atr) if by_atr else 1.0,
        target_multiple=float(config.target_atr) if by_atr else 1.0,
        scale_out_multiple=1.0 if config.target_mode == "dte" else float(config.scale_out_atr),
        scale_out=config.scale_out_fraction > 0,
        max_hold_bars=int(config.max_hold_bars),
        tick=float(config.tick),
        touch=config.target_rule == "touch",
        policy=PATH_POLICIES.index(config.path_policy),
        seed=int(config.random_seed),
        breakeven=config.breakeven,
        trailing=config.trailing,
        trail_atr=float(config.trail_atr),
        min_stop_fraction=float(config.min_stop_pct) / 100.0,
        final=final,
    )


def content_hash(parts: Sequence[Prepared]) -> str:
    """Hash of the content of signals and bars, for runs whose caller names no partitions."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.execution.content_hash.encode())
        for column in ("detector", "detector_version", "symbol", "gate_reason"):
            digest.update("|".join(part.signals[column].fill_null("").to_list()).encode())
        for values in (
            part.arrays.available,
            part.arrays.bar_end,
            part.arrays.sign,
            part.arrays.score,
            part.arrays.atr,
            part.arrays.stop_unit,
            part.arrays.target_unit,
        ):
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Booked:
    """Legs with sizes, costs and results, one array a column; what the trades table holds in numbers."""

    units: np.ndarray
    size_capped: np.ndarray
    entry_fill: np.ndarray
    exit_fill: np.ndarray
    pnl_gross: np.ndarray
    slippage: np.ndarray
    spread: np.ndarray
    impact: np.ndarray
    commission: np.ndarray
    pnl_net: np.ndarray
    return_net_pct: np.ndarray
    r_gross: np.ndarray
    r_net: np.ndarray
    cost_r: np.ndarray
    mfe_r: np.ndarray
    mae_r: np.ndarray
    r_best: np.ndarray
    r_worst: np.ndarray


def book(out: "Outcomes", prepared: Prepared) -> Booked:
    """Sizes, costs and results of the legs the trade loop found."""
    config, signals = prepared.config, prepared.signals
    sign = prepared.arrays.sign[out.signal]
    whole, capped = position_size(out.entry_price, out.risk, config)
    units = whole
    if config.scale_out_fraction > 0:
        units = whole * np.where(out.leg == 0, config.scale_out_fraction, 1.0 - config.scale_out_fraction)
    by_spread, by_impact = config.cost_model == "spread", config.cost_model == "impact"
    symbols = signals["symbol"].to_numpy()[out.signal] if by_spread else np.empty(0)
    sigma = signals["sigma_day"].fill_null(np.nan).to_numpy()[out.signal] if by_impact else None
    adv = signals["adv20_shares"].fill_null(0.0).to_numpy()[out.signal] if by_impact else None

    def net(exit_price: np.ndarray) -> tuple[np.ndarray, np.ndarray, Charges]:
        charges = charge(
            config, symbols=symbols, entry=out.entry_price, exit=exit_price, units=units, order_units=whole,
            sigma_day=sigma, adv_shares=adv,
        )  # fmt: skip
        gross = sign * (exit_price - out.entry_price) * units
        return gross, gross - charges.total, charges

    gross, result, charges = net(out.exit_price)
    risked = units * out.risk
    entry_fill = out.entry_price + sign * charges.entry_per_unit
    best = worst = result
    if out.ambiguous.any():
        best, worst = net(out.best)[1], net(out.worst)[1]
    return Booked(
        units, capped, entry_fill, out.exit_price - sign * charges.exit_per_unit, gross, charges.slippage,
        charges.spread, charges.impact, charges.commission, result, 100.0 * result / units / entry_fill, gross /
        risked, result / risked, charges.total / risked, out.mfe / out.risk, out.mae / out.risk, best / risked, worst
        / risked,
    )  # fmt: skip


def outcomes_of(prepared: Prepared, *, final: bool = True) -> tuple["Outcomes", Booked, np.ndarray]:
    """The legs that the trade loop finds, their results, and the code of each signal's disposition."""
    from strategy_pipeline.backtest.simulator import simulate

    rules = rules_of(prepared.config, final=final)
    out, verdict = simulate(prepared.bars, prepared.arrays, rules, prepared.entry, prepared.verdict)
    return out, book(out, prepared), verdict


def trades_of(prepared: Prepared, run: str, data_hash: str) -> pl.DataFrame:
    """The trades of one preparation as rows of ``backtest_trades`` under the id of a run."""
    out, booked, _ = outcomes_of(prepared)
    ids = _trade_ids(out, prepared.signals, prepared.config)
    return _trades(prepared, out, booked, run, data_hash, ids)


def _simulated(
    prepared: Prepared, data_hash: str, final: bool
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Trades, dispositions, daily profit and undecided signals of one timeframe."""
    from strategy_pipeline.backtest.simulator import CARRIED

    config, signals = prepared.config, prepared.signals
    out, booked, verdict = outcomes_of(prepared, final=final)
    run = run_id(config, data_hash)
    trade_ids = _trade_ids(out, signals, config)
    decided = pl.Series(verdict != CARRIED)
    trade_id_of: list[str | None] = [None] * signals.height
    for at, leg, trade_id in zip(out.signal.tolist(), out.leg.tolist(), trade_ids, strict=True):
        if leg == 0:
            trade_id_of[at] = trade_id
    dispositions = signals.select(
        pl.lit(run).alias("run_id"),
        "detector",
        "symbol",
        pl.col("direction").cast(SIGNAL_DISPOSITIONS.polars_schema["direction"]),
        pl.col("timeframe").cast(SIGNAL_DISPOSITIONS.polars_schema["timeframe"]),
        pl.col("bar_end").alias("signal_bar_end"),
        pl.col("available_at").alias("signal_available_at"),
        "session",
        "score",
        _words(np.minimum(verdict, len(DISPOSITIONS) - 1), DISPOSITIONS, "disposition"),
        pl.Series("reason", signals["gate_reason"], dtype=pl.String),
        pl.Series("trade_id", trade_id_of, dtype=pl.String),
    ).with_columns(reason=pl.when(pl.col("disposition") == "gate_rejected").then("reason"))
    return (
        _trades(prepared, out, booked, run, data_hash, trade_ids),
        dispositions.filter(decided),
        daily_profit(prepared, out, booked),
        signals.filter(~decided),
    )


def _trade_ids(out: "Outcomes", signals: pl.DataFrame, config: BacktestConfig) -> list[str]:
    """Hash of detector, symbol, signal bar, side, configuration and leg; independent of data that came later."""
    keys = signals[out.signal].select("detector", "symbol", "timeframe", "direction", pl.col("bar_end").dt.epoch("us"))
    ending = config.content_hash
    return [
        hashlib.blake2b(f"{'|'.join(map(str, key))}|{ending}|{leg}".encode(), digest_size=8).hexdigest()
        for key, leg in zip(keys.iter_rows(), out.leg.tolist(), strict=True)
    ]


def _words(codes: np.ndarray, words: tuple[str, ...], name: str) -> pl.Series:
    return pl.Series(name, words, dtype=pl.Enum(words)).gather(codes.astype(np.uint32))


def _instants(values: np.ndarray) -> pl.Series:
    return pl.Series(values.astype(np.int64)).cast(pl.Datetime("us", "UTC"))


def _time_windows(clock: SessionClock, session: np.ndarray, bar_end: np.ndarray) -> pl.Series:
    """The window of each bar end (UTC microseconds); `session` are indices of the clock."""
    since, left = (bar_end - clock.open[session]) // MINUTE_US, (clock.close[session] - bar_end) // MINUTE_US
    return pl.select(time_window(pl.Series(since), pl.Series(left)).cast(pl.String)).to_series()


def _trades(
    prepared: Prepared, out: "Outcomes", booked: Booked, run: str, data_hash: str, trade_ids: list[str]
) -> pl.DataFrame:
    """The legs as rows of ``backtest_trades``, sorted."""
    bars, config, clock = prepared.bars, prepared.config, prepared.execution.clock
    own = prepared.signals[out.signal]
    exit_at = np.where(out.at_open, bars.start[out.exit], bars.end[out.exit])
    entry_at = bars.start[out.entry]
    badness = np.array([{"final": 0, "provisional": 1, "suspect": 2}[word] for word in QUALITIES])
    entry_quality, exit_quality = prepared.execution.quality[out.entry], prepared.execution.quality[out.exit]
    quality = np.where(badness[entry_quality] >= badness[exit_quality], entry_quality, exit_quality)
    window = _time_windows(clock, prepared.arrays.session[out.signal], prepared.arrays.bar_end[out.signal])
    held = bars.slot[out.exit] - bars.slot[out.entry] + 1
    frame = own.select(
        pl.lit(run).alias("run_id"),
        pl.Series("trade_id", trade_ids, dtype=pl.String),
        "detector", "detector_version", "symbol", "asset_class", "direction", "session",
        pl.col("bar_end").alias("signal_bar_end"),
        pl.col("available_at").alias("signal_available_at"),
        "score",
        _instants(entry_at).alias("entry_at"),
        pl.Series("entry_ref_price", out.entry_price),
        pl.Series("entry_fill_price", booked.entry_fill),
        _words(np.where(bars.coarse[out.entry], 1, 0), ENTRY_BASES, "entry_basis"),
        pl.Series("atr", out.atr),
        pl.col("timeframe").alias("atr_timeframe"),
        pl.Series("stop_initial", out.stop),
        pl.Series("target_initial", out.target),
        pl.Series("risk_per_unit", out.risk),
        _instants(exit_at).alias("exit_at"),
        pl.Series("exit_ref_price", out.exit_price),
        pl.Series("exit_fill_price", booked.exit_fill),
        _words(out.reason, EXIT_REASONS, "exit_reason"),
        pl.Series("bars_held", held.astype(np.int32)),
        pl.Series("minutes_held", (clock.trading_time(exit_at) - clock.trading_time(entry_at)) / MINUTE_US),
        pl.Series("units", booked.units),
        pl.Series("notional_usd", booked.units * out.entry_price),
        pl.Series("size_capped", booked.size_capped),
        pl.Series("pnl_gross", booked.pnl_gross),
        pl.Series("cost_slippage", booked.slippage),
        pl.Series("cost_spread", booked.spread),
        pl.Series("cost_impact", booked.impact),
        pl.Series("cost_commission", booked.commission),
        pl.Series("pnl_net", booked.pnl_net),
        pl.Series("return_net_pct", booked.return_net_pct),
        pl.Series("r_gross", booked.r_gross),
        pl.Series("r_net", booked.r_net),
        pl.Series("cost_r", booked.cost_r),
        pl.Series("mfe_r", booked.mfe_r),
        pl.Series("mae_r", booked.mae_r),
        pl.Series("gap_exit", np.isin(out.reason, [EXIT_REASONS.index("STOP_GAP"), EXIT_REASONS.index("TARGET_GAP")])),
        pl.Series("ambiguous", out.ambiguous),
        pl.lit(config.path_policy).alias("path_policy"),
        pl.Series("r_best", booked.r_best),
        pl.Series("r_worst", booked.r_worst),
        "style",
        pl.col("market_regime").alias("regime_at_signal"),
        "vix_regime",
        iv_regime_of(pl.col("iv_percentile_pct")).alias("iv_regime_at_signal"),
        positioning_of(pl.col("net_gex_ratio")).alias("dealer_positioning_at_signal"),
        "dte", "dte_bucket", "contract_ticker",
        *_option_columns(prepared, out),
        pl.coalesce("time_window", pl.lit(window)).alias("time_window"),
        pl.col("bar_end").alias("label_start"),
        _instants(exit_at).alias("label_end"),
        pl.lit(data_hash).alias("input_hash"),
        _words(quality, QUALITIES, "quality"),
    )  # fmt: skip
    wanted = BACKTEST_TRADES.polars_schema
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in wanted.items()
    ).sort(BACKTEST_TRADES.sort_by)


def _option_columns(prepared: Prepared, out: "Outcomes") -> list[pl.Series]:
    """The option each leg held: contracts, marks of both sides with their sources, fills and result; none without."""
    if prepared.held is None:
        return []
    bars, held, signals = prepared.bars, prepared.held, prepared.signals
    contract = held.contract[out.signal]
    exit_at = np.where(out.at_open, bars.start[out.exit], bars.end[out.exit])
    entry = held.marks.at(contract, bars.start[out.entry], out.entry_price)
    exit = held.marks.at(contract, exit_at, out.exit_price)
    stops = {bucket.name: bucket.premium_stop for bucket in DTE_BUCKETS}
    premium_stop = signals["dte_bucket"].replace_strict(stops, default=None, return_dtype=pl.Float64)
    multiplier = signals["multiplier"].to_numpy()[out.signal]
    result = option_results(
        prepared.config, entry, exit, multiplier, premium_stop.fill_null(np.nan).to_numpy()[out.signal]
    )
    numbers = {
        "contract_multiplier": multiplier,
        "premium_entry": result.entry_fill,
        "premium_exit": result.exit_fill,
        "premium_entry_mid": entry.mid,
        "premium_exit_mid": exit.mid,
        "premium_entry_spread": entry.spread,
        "premium_exit_spread": exit.spread,
        "option_pnl_usd": result.pnl_usd,
        "option_return_pct": result.return_pct,
    }
    return [
        pl.Series("contracts", result.contracts),
        pl.Series("mark_source_entry", source_words(entry, MARK_SOURCES), dtype=pl.String),
        pl.Series("mark_source_exit", source_words(exit, MARK_SOURCES), dtype=pl.String),
        *(pl.Series(name, values, nan_to_null=True) for name, values in numbers.items()),
    ]


def daily_profit(prepared: Prepared, out: "Outcomes", booked: Booked) -> pl.DataFrame:
    """Profit per detector and session, marked at each close; entry costs on the first day, exit costs on the last."""
    bars = prepared.bars
    ends = np.flatnonzero(np.append(bars.session[1:] != bars.session[:-1], True))
    # Rows of one symbol and session lie together; a symbol's last session may equal the next one's first.
    ends = np.union1d(ends, bars.first[1:] - 1)
    ends = ends[ends >= 0]
    day = np.searchsorted(ends, out.entry)
    count = np.searchsorted(ends, out.exit) - day + 1
    leg = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(leg)) - np.repeat(np.cumsum(count) - count, count)
    row = ends[day[leg] + step] if len(leg) else np.empty(0, np.int64)
    is_first, is_last = step == 0, step == count[leg] - 1
    mark = np.where(is_last, out.exit_price[leg], bars.close[row] * (bars.factor[row] / bars.factor[out.entry[leg]]))
    before = np.where(is_first, out.entry_price[leg], np.append(0.0, mark[:-1])[: len(mark)])
    sign = prepared.arrays.sign[out.signal]
    costs = booked.pnl_gross - booked.pnl_net
    entry_cost = np.abs(booked.entry_fill - out.entry_price) * booked.units + booked.commission / 2.0
    pnl = sign[leg] * booked.units[leg] * (mark - before)
    pnl -= np.where(is_first, entry_cost[leg], 0.0) + np.where(is_last, (costs - entry_cost)[leg], 0.0)
    detector = prepared.arrays.detector[out.signal][leg]
    names = list(dict.fromkeys(prepared.signals["detector"].to_list()))
    sessions = len(prepared.execution.clock.day)
    key = detector * sessions + bars.session[row]
    unique, inverse = np.unique(key, return_inverse=True)
    total = np.bincount(inverse, weights=pnl, minlength=len(unique))
    held = np.bincount(inverse, weights=((out.leg == 0)[leg].astype(np.float64)), minlength=len(unique))
    return pl.DataFrame(
        {
            "detector": pl.Series([names[at] for at in (unique // sessions).tolist()], dtype=pl.String),
            "session": pl.Series(prepared.execution.clock.day[unique % sessions]).cast(pl.Int32).cast(pl.Date),
            "pnl_usd": total,
            "open_positions": held.astype(np.int32),
        },
        schema=DAILY_SCHEMA,
    )


def _carry(waiting: pl.DataFrame, bars: pl.DataFrame, finer: pl.DataFrame | None) -> Carry:
    """The undecided signals and, of their symbols, the bars that start at or after the earliest of them."""
    since = waiting.group_by("symbol").agg(pl.col("bar_end").min())
    earliest = dict(zip(since["symbol"].to_list(), since["bar_end"].to_list(), strict=True))
    wanted = pl.lit(False)
    for symbol, moment in sorted(earliest.items()):
        wanted = wanted | ((pl.col("symbol") == symbol) & (pl.col("bar_start") >= moment))
    return Carry(waiting, bars.filter(wanted), None if finer is None else finer.filter(wanted))
