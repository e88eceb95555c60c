"""Each firing as assets: what five engines say of it, point in time, and its composite score and fate."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.defs.checks import contract_holds, keys_of_run
from strategy_pipeline.defs.context_inputs import CODE_VERSION, SESSIONS_AT_ONCE, ContextInputs
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.plots import share_bars
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.rebuilding import rebuilt
from strategy_pipeline.defs.signal_inputs import CODE_VERSION as COMPOSITE_CODE_VERSION
from strategy_pipeline.defs.signal_inputs import SESSIONS_AT_ONCE as SIGNAL_SESSIONS_AT_ONCE
from strategy_pipeline.defs.signal_inputs import SignalInputs, largest_gap
from strategy_pipeline.defs.signal_plots import waterfall
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    CONTEXT_STATUSES,
    ENGINES,
    REJECT_REASONS,
    SUM_TOLERANCE,
)
from strategy_pipeline.scoring.rules import ScoringRules

# With fewer answers that count than this (%), scores stand on next to no context.
LEAST_ANSWERED_PCT = 10.0

CONTEXT_INPUTS = (
    "features", "historical_bars", "corporate_actions", "iv_percentile_cache", "gamma_exposure_snapshots",
    "options_flow_history", "market_regime_history",
)  # fmt: skip


class ContextConfig(PartitionChoice):
    """`timeframe`: rows of which firings are asked about; empty: each detector's own."""

    timeframe: str = ""


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(name) for name in CONTEXT_INPUTS],
    code_version=CODE_VERSION,
    description=(
        "For each firing of a detector and each style what five engines say: volatility rank, dealer gamma, alignment "
        "of timeframes, option flow, market regime. A multiplier, how sure it is, and from which row; stale or missing "
        "context is exactly neutral and says so. Only what was known when the firing was counts."
    ),
    metadata=describe_table(CONTEXT_SCORES),
)
def context_scores(
    context: dg.AssetExecutionContext,
    config: ContextConfig,
    lake: dg.ResourceParam[Lake],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    inputs = ContextInputs(lake, config.timeframe)
    sessions = _with_features(inputs.sessions(), inputs.timeframes, sessions_of(config.keys(context)))
    found: dict[str, PartitionInfo] = {}
    with progress.track("context_scores", len(sessions)) as advance:
        for at in range(0, len(sessions), SESSIONS_AT_ONCE):
            days = sessions[at : at + SESSIONS_AT_ONCE]
            pedigrees = {day: inputs.pedigree(day) for day in days}
            found |= rebuilt(lake, CONTEXT_SCORES, pedigrees, inputs.piece(days).build, advance)
    context.log.info(f"context_scores: {len(found)} of {len(sessions)} sessions have firings.")
    described = {key: _described(info) for key, info in found.items()}
    if described:
        newest = max(described)
        described[newest]["answers"] = share_bars(
            _shares(found[newest]), f"Answers that count on {newest}, % of requests"
        )
    return publish(context, described)


def _with_features(held: Collection[date], timeframes: Sequence[str], asked: Sequence[date]) -> list[date]:
    """Those of the asked sessions that have features; raises MissingDataError when none has."""
    sessions = [day for day in asked if day in held]
    if asked and not sessions:
        raise MissingDataError(
            f"There are no {' or '.join(timeframes)} features from {asked[0]} to {asked[-1]}: materialise features of "
            "those sessions first."
        )
    return sessions


def _shares(info: PartitionInfo) -> list[tuple[str, float]]:
    """Share of the requests that each engine answers with a multiplier that counts, %."""
    asked = max(int(info.metadata["requests"]), 1)
    return [(engine, 100.0 * int(info.metadata[f"{engine} ok"]) / asked) for engine in ENGINES]


def _described(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session."""
    counts = {
        engine: {status: int(info.metadata[f"{engine} {status}"]) for status in CONTEXT_STATUSES} for engine in ENGINES
    }
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "requests": int(info.metadata["requests"]),
        "statuses": dg.MetadataValue.json(counts),
        "bytes": info.bytes,
        "code_version": CODE_VERSION,
    }


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "contract_holds",
            asset="context_scores",
            blocking=True,
            description="Columns, types and every rule of the table's contract, read back from what is stored.",
        ),
        dg.AssetCheckSpec(
            "context_is_there",
            asset="context_scores",
            blocking=False,
            description=f"At least {LEAST_ANSWERED_PCT:g} % of the engines' answers are neither stale nor missing.",
        ),
    ]
)
def context_checks(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """The stored context scores of the run's sessions, one session after the other."""
    rows = answered = 0
    broken = ""
    for key in keys_of_run(context, SESSIONS):
        frame = lake.read(CONTEXT_SCORES, [{"session": key}])
        rows, answered = rows + frame.height, answered + int((frame["status"] == "ok").sum())
        holds, says = contract_holds(CONTEXT_SCORES, frame)
        broken = broken or ("" if holds else says)
    says = broken or f"{rows:,} rows meet the contract"
    yield dg.AssetCheckResult(
        asset_key="context_scores", check_name="contract_holds", passed=not broken, description=says,
        metadata={"says": says},
    )  # fmt: skip
    share = 100.0 * answered / rows if rows else 100.0
    says = f"{answered:,} of {rows:,} answers ({share:.1f} %) count"
    yield dg.AssetCheckResult(
        asset_key="context_scores", check_name="context_is_there", passed=share >= LEAST_ANSWERED_PCT,
        severity=dg.AssetCheckSeverity.WARN, description=says, metadata={"says": says},
    )  # fmt: skip


class CompositeConfig(PartitionChoice):
    """`timeframe`: rows of which firings are scored; empty: each detector's own."""

    timeframe: str = ""


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep("features"), dg.AssetDep("context_scores")],
    code_version=COMPOSITE_CODE_VERSION,
    description=(
        "Every firing of a detector with its score as a scalp, a day and a swing trade, the waterfall behind it, the "
        "thresholds of its hour, stop and targets, and whether it was emitted or the first reason why not."
    ),
    metadata=describe_table(COMPOSITE_SIGNALS),
)
def composite_signals(
    context: dg.AssetExecutionContext,
    config: CompositeConfig,
    lake: dg.ResourceParam[Lake],
    scoring_rules: dg.ResourceParam[ScoringRules],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    inputs = SignalInputs(lake, scoring_rules, config.timeframe)
    sessions = _with_features(inputs.sessions, inputs.timeframes, sessions_of(config.keys(context)))
    found: dict[str, PartitionInfo] = {}
    with progress.track("composite_signals", len(sessions)) as advance:
        for at in range(0, len(sessions), SIGNAL_SESSIONS_AT_ONCE):
            build = inputs.piece(sessions[at : at + SIGNAL_SESSIONS_AT_ONCE]).build
            # What a session follows from may be the session before, so each is asked once those before it are stored.
            for day in sessions[at : at + SIGNAL_SESSIONS_AT_ONCE]:
                found |= rebuilt(lake, COMPOSITE_SIGNALS, {day: inputs.pedigree(day)}, build, advance)
    context.log.info(f"composite_signals: {len(found)} of {len(sessions)} sessions have firings.")
    described = {key: _described_signals(info) for key, info in found.items()}
    if described:
        described[max(described)] |= _best_of(lake, max(described))
    return publish(context, described)


def _described_signals(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session's signals."""
    rejected = {name: int(info.metadata[name]) for name in REJECT_REASONS if info.metadata[name] != "0"}
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "accepted": int(info.metadata["accepted"]),
        "rejected": sum(rejected.values()),
        "reject_reasons": dg.MetadataValue.json(rejected),
        "bytes": info.bytes,
        "code_version": COMPOSITE_CODE_VERSION,
    }


def _best_of(lake: Lake, session: str) -> dict[str, Any]:
    """The waterfall of a session's best signal: an accepted one if there is any."""
    rows = lake.read(COMPOSITE_SIGNALS, [{"session": session}]).filter(pl.col("waterfall").is_not_null())
    if rows.is_empty():
        return {}
    accepted = pl.col("decision").cast(pl.String) == "accepted"
    best = rows.sort(accepted, "recommended_score", "day_unclamped", "signal_id", descending=[True, True, True, False])
    row = best.row(0, named=True)
    fate = row["reject_reason"] or "accepted"
    title = f"best signal of {session} ({fate})"
    return {"best_signal": row["signal_id"], "waterfall": dg.MetadataValue.md(markdown_image(waterfall(row), title))}


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "contract_holds",
            asset="composite_signals",
            blocking=True,
            description="Columns, types and every rule of the table's contract, read back from what is stored.",
        ),
        dg.AssetCheckSpec(
            "waterfalls_sum_up",
            asset="composite_signals",
            blocking=True,
            description="Of every style the contributions sum to ln(final/base), the largest difference is told.",
        ),
    ]
)
def composite_checks(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """The stored signals of the run's sessions, one session after the other."""
    rows, scored, worst, broken = 0, 0, 0.0, ""
    for key in keys_of_run(context, SESSIONS):
        frame = lake.read(COMPOSITE_SIGNALS, [{"session": key}])
        holds, says = contract_holds(COMPOSITE_SIGNALS, frame)
        broken = broken or ("" if holds else says)
        rows, scored = rows + frame.height, scored + frame["waterfall"].count()
        worst = max(worst, largest_gap(frame))
    says = broken or f"{rows:,} rows meet the contract"
    yield dg.AssetCheckResult(
        asset_key="composite_signals", check_name="contract_holds", passed=not broken, description=says,
        metadata={"says": says},
    )  # fmt: skip
    says = f"{scored:,} waterfalls of {rows:,} firings, the largest difference is {worst:.1e}"
    yield dg.AssetCheckResult(
        asset_key="composite_signals", check_name="waterfalls_sum_up", passed=worst <= SUM_TOLERANCE, description=says,
        metadata={"says": says},
    )  # fmt: skip


signal_assets = [context_scores, composite_signals]
signal_checks = [context_checks, composite_checks]
