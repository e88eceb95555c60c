"""What makes a backtest's numbers evidence: parameters chosen and judged on different sessions, and runs on noise."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.lookback import bars_needed, lookback_start
from strategy_pipeline.backtest import gauntlet, validation
from strategy_pipeline.backtest.config import BacktestConfig, run_id
from strategy_pipeline.backtest.engine import Prepared, content_hash, data_hashes, prepare_run
from strategy_pipeline.backtest.gauntlet import NoiseInputs
from strategy_pipeline.backtest.inputs import tradable_bars
from strategy_pipeline.backtest.parameter_sets import (
    SetResults,
    Validation,
    evaluate_sets,
    folds_for,
    grid,
    trials_of_sets,
    validate,
)
from strategy_pipeline.backtest.validation import Fold
from strategy_pipeline.backtest.verdicts import Noise
from strategy_pipeline.defs.assets.backtests import backtest_trades, evaluated, run_of
from strategy_pipeline.defs.backtest_inputs import BacktestChoice, Inputs, read_inputs, window_of
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import DETECTORS
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.resources import Clock
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.session_bars import with_proxies
from strategy_pipeline.lake.records import Holdout, TrialLedger
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    CORPORATE_ACTIONS,
    FEATURES,
    HISTORICAL_BARS,
    NOISE_GAUNTLET,
    NOISE_VARIANTS,
    OUT_OF_SAMPLE_EQUITY,
    OUT_OF_SAMPLE_TRADES,
    VALIDATION_FOLDS,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import is_finer
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "evidence-1"
SEED = 20_240_101


class ValidationChoice(BacktestChoice):
    """As the backtest. A `study` holds its last sessions out; `open_holdout` judges on them, once and for all."""

    study: str = ""
    open_holdout: bool = False


class GauntletChoice(BacktestChoice):
    """As the backtest, and how many markets of each kind of noise are drawn (200 for a nightly run)."""

    draws: int = 20


_AFTER_TRADES = [dg.AssetDep(backtest_trades, partition_mapping=dg.AllPartitionMapping())]


@dg.asset(
    partitions_def=DETECTORS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=_AFTER_TRADES,
    code_version=CODE_VERSION,
    kinds={"numba"},
    description=(
        "Exits and least score chosen on train spans and applied to test spans: walk-forward from 18 months on, purged "
        "five-fold cross-validation from 60 sessions on, nothing below. Every set that was tried is in the ledger."
    ),
    metadata=describe_table(VALIDATION_FOLDS),
)
def backtest_validation(
    context: dg.AssetExecutionContext,
    config: ValidationChoice,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    names = config.keys(context)
    inputs, run = read_inputs(lake, raw_files, watchlist, config), config.to_config()
    days = inputs.features["session"].unique().sort().to_list()
    held_out = validation.holdout_sessions(days) if config.study else ()
    with progress.track("backtest_validation", len(names)) as advance:
        found = _validated(lake, inputs, run, names, days, held_out, config, clock.now())
        described = {}
        for name in names:
            described[name] = _write_validation(lake, name, found)
            advance(1)
    return publish(context, described)


@dg.asset(
    partitions_def=DETECTORS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=_AFTER_TRADES,
    code_version=CODE_VERSION,
    kinds={"numba"},
    description=(
        "Every detector on markets without an edge, made from the run's own minute bars: random walks, flipped signs, "
        "shuffled blocks, reversed time. Before costs they must earn nothing there."
    ),
    metadata=describe_table(NOISE_GAUNTLET),
)
def noise_gauntlet(
    context: dg.AssetExecutionContext,
    config: GauntletChoice,
    lake: dg.ResourceParam[Lake],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    names, run = config.keys(context), config.to_config()
    identity = run_of(lake, names)
    # Noise has no option tape, and the minute rows of its detectors would be most of the work.
    detectors = [one for one in catalogue.select(names) if one not in catalogue.OF_THE_TAPE]
    parts = []
    if detectors:
        inputs = noise_inputs(lake, watchlist, config, detectors)
        with progress.track("noise_gauntlet", config.draws * len(NOISE_VARIANTS)) as advance:
            for variant in NOISE_VARIANTS:
                for draw in range(config.draws):
                    parts.append(gauntlet.run_on_noise(inputs, detectors, run, variant, draw, seed=SEED))
                    advance(1)
    of_run = pl.lit(identity).alias("run_id")
    rows = pl.concat([NOISE_GAUNTLET.empty(), *(part.select(of_run, pl.all()) for part in parts)])
    verdicts = gauntlet.judged(rows)
    described = {}
    for name in names:
        info = lake.write(NOISE_GAUNTLET, {"detector": name}, rows.filter(pl.col("detector") == name))
        described[name] = {
            "sha256": info.sha256,
            "dagster/row_count": info.rows,
            "code_version": CODE_VERSION,
            **_described_noise(verdicts.get(name)),
        }
    return publish(context, described)


def _described_noise(found: Noise | None) -> dict[str, Any]:
    """What the UI shows of a detector on noise."""
    if found is None:
        return {"status": "not exercised"}
    mean = {} if found.expectancy.value is None else {"mean_r_on_noise": found.expectancy.value}
    return {"status": found.status, "trades_on_noise": found.trades, "draws": found.draws, **mean}


def _validated(
    lake: Lake,
    inputs: Inputs,
    run: BacktestConfig,
    names: Sequence[str],
    days: Sequence[date],
    held_out: Sequence[date],
    choice: ValidationChoice,
    now: datetime,
) -> Validation:
    """Folds, trades and equity of all detectors; every set is recorded before it is judged."""
    detectors = catalogue.select(names)
    configs = grid(run)
    loosest = replace(run, min_score=min(one.min_score for one in configs))

    def prepared(sessions: Sequence[date]) -> list[Prepared]:
        return prepare_run(
            inputs.features, inputs.bars, detectors, inputs.actions, loosest, sessions,
            composite=inputs.context.composite,
        )  # fmt: skip

    whole = prepared(days)
    identity = run_id(run, content_hash(whole))
    open_days = [day for day in days if day not in set(held_out)]
    seen = prepared(open_days) if held_out else whole
    method = validation.method_for(open_days)
    folds = folds_for(method, open_days)
    parts = []
    for part in seen:
        results = evaluate_sets(part, configs, open_days)
        symbols = inputs.features["symbol"].unique().to_list()
        trials = trials_of_sets(results, detectors, symbols, data_hashes(part))
        TrialLedger(lake).record(evaluated([trials], now))
        if not choice.open_holdout:
            parts.append(_fitted(part, results, folds, method, identity, content_hash(seen)))
    if choice.open_holdout:
        opened = Holdout(lake, choice.study, held_out).unlock(now.astimezone(UTC))
        fold = Fold(0, tuple(open_days), opened)
        method = validation.HOLDOUT
        parts = [
            _fitted(part, evaluate_sets(part, configs, days), [fold], method, identity, content_hash(whole))
            for part in whole
        ]
    return Validation(
        method,
        pl.concat([VALIDATION_FOLDS.empty(), *(part.folds for part in parts)]),
        pl.concat([OUT_OF_SAMPLE_TRADES.empty(), *(part.trades for part in parts)]),
        pl.concat([OUT_OF_SAMPLE_EQUITY.empty(), *(part.equity for part in parts)]),
    )


def _fitted(
    part: Prepared, results: SetResults, folds: Sequence[Fold], method: str, identity: str, data_hash: str
) -> Validation:
    return validate(part, results, folds, method, run_id=identity, data_hash=data_hash, seed=SEED)


def _write_validation(lake: Lake, name: str, found: Validation) -> dict[str, Any]:
    """Writes what was found for one detector; what the UI shows of it."""
    mine, key = pl.col("detector") == name, {"detector": name}
    said = {"code_version": CODE_VERSION, "method": found.method}
    folds, trades = found.folds.filter(mine), found.trades.filter(mine)
    lake.write(OUT_OF_SAMPLE_TRADES, key, trades, said)
    lake.write(OUT_OF_SAMPLE_EQUITY, key, found.equity.filter(mine), said)
    info = lake.write(VALIDATION_FOLDS, key, folds, said)
    described: dict[str, Any] = {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "method": found.method,
        "folds_fitted": int(folds["fitted"].sum()),
        "trades_out_of_sample": trades.height,
        "code_version": CODE_VERSION,
    }
    if trades.height:
        described["expectancy_r_out_of_sample"] = float(trades["r_net"].mean())  # type: ignore[arg-type]
    return described


def noise_inputs(
    lake: Lake, watchlist: Watchlist, choice: BacktestChoice, detectors: Sequence[Detector]
) -> NoiseInputs:
    """Minute bars of the window and of what its features look back at, and older bars; raises MissingDataError."""
    first, last = window_of(lake, choice)
    timeframes = sorted({one.timeframe if choice.timeframe == "native" else choice.timeframe for one in detectors})
    days = [day for day in lake.sessions(FEATURES, timeframe=timeframes[0]) if first <= day <= last]
    symbols = list(choice.symbols) or list(watchlist.symbols)
    instruments = Watchlist(tuple(with_proxies(watchlist.extended(symbols).instruments))).frame()
    own = pl.col("symbol").is_in(instruments["symbol"].to_list())
    since = min(lookback_start(one if is_finer("15m", one) else "15m", days[0]) for one in timeframes)
    recent = calendar.sessions_between(max(since, calendar.first_session()), days[-1])
    minutes = lake.read_sessions(HISTORICAL_BARS, recent, where=own & (pl.col("timeframe").cast(pl.String) == "1m"))
    if minutes.is_empty():
        raise MissingDataError(
            f"There are no minute bars from {recent[0]} to {days[-1]}, of which noise is made: backfill minute files."
        )
    actions = lake.read(CORPORATE_ACTIONS, [{}])
    start: date = minutes["session"].min()  # type: ignore[assignment]
    needs = {(one.timeframe, day) for name in timeframes for one in bars_needed(name, days, instruments)
             for day in one.sessions if day < start}  # fmt: skip
    wanted = own & pl.col("timeframe").cast(pl.String).is_in(sorted({name for name, _ in needs}))
    older = lake.read_sessions(HISTORICAL_BARS, sorted({day for _, day in needs}), where=wanted)
    return NoiseInputs(tradable_bars(minutes, actions, start), older, actions, instruments, days, tuple(symbols))


evidence_assets = [backtest_validation, noise_gauntlet]
