"""What stored context says about each firing, as an asset: five engines' answers for three styles, point in time."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from strategy_pipeline.defs.checks import contract_holds, keys_of_run
from strategy_pipeline.defs.context_inputs import CODE_VERSION, SESSIONS_AT_ONCE, ContextInputs
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.plots import share_bars
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.rebuilding import rebuilt
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import CONTEXT_SCORES, CONTEXT_STATUSES, ENGINES

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
    held, asked = inputs.sessions(), sessions_of(config.keys(context))
    sessions = [day for day in asked if day in held]
    if asked and not sessions:
        raise MissingDataError(
            f"There are no {' or '.join(inputs.timeframes)} features from {asked[0]} to {asked[-1]}: materialise "
            "features of those sessions first."
        )
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


signal_assets = [context_scores]
signal_checks = [context_checks]
