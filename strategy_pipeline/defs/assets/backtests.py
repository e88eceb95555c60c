"""Backtests as assets: trades partitioned by detector, and the report on all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import numpy as np
import polars as pl

from strategy_pipeline.backtest.charts import equity_chart, forest_plot, r_histogram
from strategy_pipeline.backtest.config import CODE_VERSION as BACKTEST_VERSION
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.backtest.gauntlet import judged
from strategy_pipeline.backtest.inputs import DetectorTables, run_detectors
from strategy_pipeline.backtest.report import Run, leaderboard_rows, write_report
from strategy_pipeline.backtest.statistics import DetectorSummary, best_of_all, out_of_sample, pool, summarise
from strategy_pipeline.backtest.statistics import Settings as StatisticsSettings
from strategy_pipeline.backtest.trials import NO_TRIALS, search_of
from strategy_pipeline.backtest.verdicts import Evidence
from strategy_pipeline.defs.assets.bars import historical_bars
from strategy_pipeline.defs.assets.features import features
from strategy_pipeline.defs.assets.reference import corporate_actions
from strategy_pipeline.defs.backtest_inputs import BacktestChoice, read_inputs, timeframes_of
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import DETECTORS
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.resources import Clock
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.lake.records import TrialLedger
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import (
    BACKTEST_COVERAGE,
    BACKTEST_EQUITY,
    BACKTEST_TRADES,
    FEATURES,
    INSTANT,
    NOISE_GAUNTLET,
    OUT_OF_SAMPLE_EQUITY,
    OUT_OF_SAMPLE_TRADES,
    SIGNAL_DISPOSITIONS,
    VALIDATION_FOLDS,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.settings import Settings, Watchlist


class ReportChoice(BacktestChoice):
    """As the backtest, and the folder for the report (empty: reports below STRATEGY_HOME)."""

    output: str = ""


@dg.asset(
    partitions_def=DETECTORS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(features, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(historical_bars, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(corporate_actions),
        dg.AssetDep("historical_greeks", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("composite_signals", partition_mapping=dg.AllPartitionMapping()),
    ],
    code_version=BACKTEST_VERSION,
    kinds={"numba"},
    description=(
        "Simulated trades of one detector: fills at the next open, stops, targets, gaps, costs. A detector that cannot "
        "be tested has an empty partition that says why."
    ),
    metadata=describe_table(BACKTEST_TRADES),
)
def backtest_trades(
    context: dg.AssetExecutionContext,
    config: BacktestChoice,
    lake: dg.ResourceParam[Lake],
    raw_files: dg.ResourceParam[RawMirror],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    names = config.keys(context)
    inputs = read_inputs(lake, raw_files, watchlist, config)
    described: dict[str, dict[str, Any]] = {}
    with progress.track("backtest_trades", len(names)) as advance:
        run = config.to_config()
        tables = run_detectors(inputs.features, inputs.bars, inputs.actions, run, names, inputs.context)
        ledger = TrialLedger(lake)
        ledger.record(evaluated([one.trials for one in tables.values()], clock.now()))
        drawn = _pictures_by_detector(tables, run)
        for name in names:
            described[name] = _described(_write(lake, name, tables[name]), tables[name]) | drawn.get(name, {})
            advance(1)
    return publish(context, described)


@dg.asset(
    deps=[
        dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping())
        # By name: the module of the last two stands on this one.
        for name in (backtest_trades.key, dg.AssetKey("backtest_validation"), dg.AssetKey("noise_gauntlet"))
    ],
    code_version=BACKTEST_VERSION,
    kinds={"numba"},
    description="Statistics with intervals for every detector of the last run, as JSON, CSV and one HTML page.",
)
def backtest_report(
    context: dg.AssetExecutionContext,
    config: ReportChoice,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    names = [name for name in catalogue.ALL_NAMES if not config.only or name in config.only]
    tables, run = _read_results(lake, names), config.to_config()
    if not config.only:
        tables = _without_detectors_of_an_absent_tape(tables)
    arguments, numbers, days = _for_statistics(tables, run)
    evidence = _evidence(lake, tables, run, days, numbers)
    summaries = summarise(*arguments, settings=numbers, evidence=evidence)
    pooled = pool(*arguments, settings=numbers)
    about = _about(tables, run, config, days, clock.now(), _symbols_of(lake, config, days))
    about = replace(about, best_of_all_p=best_of_all(summaries, numbers))
    folder = Path(config.output) if config.output else settings.reports_folder
    written = write_report(folder, summaries, pooled, tables.trades, days, about)
    context.log.info(f"The report is {written.html}.")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(about.run_id),
        metadata={
            "json": dg.MetadataValue.path(str(written.json)),
            "csv": dg.MetadataValue.path(str(written.csv)),
            "html": dg.MetadataValue.path(str(written.html)),
            "trades": dg.MetadataValue.path(str(written.trades)),
            "leaderboard": dg.MetadataValue.json(leaderboard_rows(summaries)),
            "sessions": len(days),
            **_pictures(summaries, pooled, days, run),
        },
    )


def evaluated(trials: Sequence[pl.DataFrame], now: datetime) -> pl.DataFrame:
    """Rows of the ledger: trials with the moment they were evaluated."""
    return pl.concat(trials).with_columns(evaluated_at=pl.lit(now.astimezone(UTC)).cast(INSTANT))


def _evidence(
    lake: Lake, tables: DetectorTables, config: BacktestConfig, days: Sequence[date], numbers: StatisticsSettings
) -> dict[str, Evidence]:
    """What ledger, validation and gauntlet know about each detector; studies of other runs do not count."""
    names = tables.coverage["detector"].to_list()
    # A detector whose inputs never were there was not looked at, so it is no rival of the others.
    tested = tables.coverage.filter(pl.col("covered_symbol_sessions") > 0)["detector"].to_list()
    trials = TrialLedger(lake).read(tested, days[0], days[-1])
    keys, mine = [{"detector": name} for name in names], pl.col("run_id") == run_of(lake, names)
    noise = judged(lake.read(NOISE_GAUNTLET, keys, where=mine))
    folds = lake.read(VALIDATION_FOLDS, keys, where=mine)
    outside = lake.read(OUT_OF_SAMPLE_TRADES, keys, where=mine)
    equity = lake.read(OUT_OF_SAMPLE_EQUITY, keys, where=mine)
    found = {}
    for name in tested:
        own = pl.col("detector") == name
        search = search_of(trials, name, days, detectors=tested, config_hash=config.content_hash)
        found[name] = Evidence(
            n_trials=search.n_trials,
            n_effective=search.n_effective,
            trial_sharpe_variance=search.sharpe_variance,
            pbo=search.pbo,
            noise=noise.get(name),
            out_of_sample=out_of_sample(
                folds.filter(own), outside.filter(own), equity.filter(own), search, name=name, settings=numbers
            ),
        )
    return found


def run_of(lake: Lake, names: Sequence[str]) -> str:
    """The run that tested `names` last; raises MissingDataError when they were tested in different ones or not."""
    coverage = lake.read(BACKTEST_COVERAGE, [{"detector": name} for name in names], columns=["run_id"])
    runs: list[str] = coverage["run_id"].unique().to_list()
    if len(runs) != 1:
        raise MissingDataError(
            "The detectors were tested in different runs or not at all: materialise backtest_trades for all of them."
        )
    return runs[0]


def _write(lake: Lake, name: str, tables: DetectorTables) -> PartitionInfo:
    key = {"detector": name}
    said = {"code_version": BACKTEST_VERSION}
    lake.write(SIGNAL_DISPOSITIONS, key, tables.dispositions, said)
    lake.write(BACKTEST_EQUITY, key, tables.equity, said)
    lake.write(BACKTEST_COVERAGE, key, tables.coverage, said)
    return lake.write(BACKTEST_TRADES, key, tables.trades, said)


def _described(info: PartitionInfo, tables: DetectorTables) -> dict[str, Any]:
    """What the UI shows of a detector's trades."""
    r = tables.trades["r_net"]
    row = tables.coverage.row(0, named=True)
    eligible, covered = row["eligible_symbol_sessions"], row["covered_symbol_sessions"]
    described: dict[str, Any] = {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "detections": row["detections"],
        "symbols": tables.trades["symbol"].n_unique(),
        "coverage_pct": 100.0 * covered / eligible if eligible else 0.0,
        "missing_inputs": ", ".join(row["missing_inputs"]) or "none",
        "code_version": BACKTEST_VERSION,
    }
    if len(r):
        described |= {"expectancy_r": float(r.mean()), "win_rate": float((r > 0).mean())}  # type: ignore[arg-type]
    return described


def _read_results(lake: Lake, names: Sequence[str]) -> DetectorTables:
    """The tables of the newest run among `names`; detectors that were tested in another run are left out."""
    keys = [{"detector": name} for name in names]
    coverage = lake.read(BACKTEST_COVERAGE, keys)
    equity = lake.read(BACKTEST_EQUITY, keys)
    trades, dispositions = lake.read(BACKTEST_TRADES, keys), lake.read(SIGNAL_DISPOSITIONS, keys)
    run_of(lake, names)
    order = pl.col("detector").replace_strict({name: at for at, name in enumerate(names)}, return_dtype=pl.Int64)
    return DetectorTables(trades, dispositions, equity, coverage.sort(order), NO_TRIALS)


def _without_detectors_of_an_absent_tape(tables: DetectorTables) -> DetectorTables:
    """`tables` without the flow detectors that found no option print at all: a report lists the seventeen always."""
    flow = pl.col("detector").is_in([detector.name for detector in catalogue.OF_THE_TAPE])
    untaped = flow & (pl.col("missing_inputs").list.set_intersection(list(catalogue.REASONS)).list.len() > 0)
    silent = tables.coverage.filter(untaped)["detector"].implode()
    kept = ~pl.col("detector").is_in(silent)
    return replace(
        tables,
        trades=tables.trades.filter(kept),
        dispositions=tables.dispositions.filter(kept),
        equity=tables.equity.filter(kept),
        coverage=tables.coverage.filter(kept),
    )


def _symbols_of(lake: Lake, config: BacktestChoice, days: Sequence[date]) -> tuple[str, ...]:
    """The symbols that were tested: those asked for, else those of the features."""
    if config.symbols:
        return tuple(config.symbols)
    names = timeframes_of(config.timeframe)
    rows = pl.concat([lake.read_sessions(FEATURES, days, columns=["symbol"], timeframe=name) for name in names])
    return tuple(rows["symbol"].unique().sort().to_list())


def _about(
    tables: DetectorTables,
    config: BacktestConfig,
    choice: BacktestChoice,
    days: Sequence[date],
    now: datetime,
    symbols: tuple[str, ...],
) -> Run:
    """What identifies the run in the report."""
    hashes = tables.trades["input_hash"].unique()
    return Run(
        run_id=tables.coverage["run_id"][0],
        data_hash=hashes[0] if len(hashes) else "",
        started_at=now.astimezone(UTC).replace(microsecond=0),
        start=days[0],
        end=days[-1],
        timeframe=choice.timeframe,
        symbols=symbols,
        config=config.as_dict(),
        config_hash=config.content_hash,
        code_version=BACKTEST_VERSION,
        as_of=calendar.session(days[-1]).close,
        initial_equity_usd=config.initial_equity_usd,
    )


_StatisticsArguments: TypeAlias = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]


def _for_statistics(
    tables: DetectorTables, config: BacktestConfig
) -> tuple[_StatisticsArguments, StatisticsSettings, list[date]]:
    """What the statistics are computed of, their constants, and the sessions that were tested."""
    sessions = tables.equity["session"].unique().sort()
    frame = calendar.session_frame().filter(pl.col("session").is_in(sessions.implode()))
    minutes = frame.select("session", "minutes")
    arguments = (tables.trades, tables.dispositions, tables.coverage, tables.equity, minutes)
    return arguments, StatisticsSettings(initial_equity_usd=config.initial_equity_usd), sessions.to_list()


def _pictures_by_detector(
    by_name: Mapping[str, DetectorTables], config: BacktestConfig
) -> dict[str, dict[str, dg.MetadataValue]]:
    """Equity with drawdown and the histogram of R of each detector that traded, with the report's numbers."""
    traded = {name: tables for name, tables in by_name.items() if tables.trades.height}
    if not traded:
        return {}
    parts = list(traded.values())
    together = DetectorTables(
        pl.concat([part.trades for part in parts]),
        pl.concat([part.dispositions for part in parts]),
        pl.concat([part.equity for part in parts]),
        pl.concat([part.coverage for part in parts]),
        NO_TRIALS,
    )
    arguments, numbers, days = _for_statistics(together, config)
    axis = pl.DataFrame({"session": days}, schema={"session": pl.Date})
    drawn: dict[str, dict[str, dg.MetadataValue]] = {}
    for one in summarise(*arguments, settings=numbers):
        tables = traded[one.detector]
        pnl_usd = pl.concat([axis.with_columns(pnl_usd=0.0), tables.equity.select("session", "pnl_usd")])
        daily = pnl_usd.group_by("session").agg(pl.col("pnl_usd").sum()).sort("session")["pnl_usd"].to_numpy()
        curve = equity_chart(days, daily, config.initial_equity_usd, one.drawdown, trades=one.trades)
        histogram = r_histogram(tables.trades["r_net"].to_numpy(), one.expectancy)
        drawn[one.detector] = {
            "equity": dg.MetadataValue.md(markdown_image(curve, f"equity and drawdown of {one.detector}")),
            "r_histogram": dg.MetadataValue.md(markdown_image(histogram, f"results of {one.detector} in R")),
        }
    return drawn


def _pictures(
    summaries: Sequence[DetectorSummary],
    pooled: DetectorSummary,
    days: Sequence[date],
    config: BacktestConfig,
) -> dict[str, dg.MetadataValue]:
    """The forest plot, and the pooled equity curve, as Markdown."""
    curve = equity_chart(
        days, np.array(pooled.daily_pnl_usd), config.initial_equity_usd, pooled.drawdown, trades=pooled.trades
    )
    return {
        "expectancy": dg.MetadataValue.md(markdown_image(forest_plot(summaries), "expectancy of every detector")),
        "equity": dg.MetadataValue.md(markdown_image(curve, "equity of all books together")),
    }


backtest_assets = [backtest_trades, backtest_report]
