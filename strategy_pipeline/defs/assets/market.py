"""The market's regime as an asset: SPY, the VIX and breadth become one label a session, known after its close."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.regime import REGIME_SYMBOLS, RegimeConfig, history_start, label_counts, regime_history
from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.defs.checks import WHAT_IS_CHECKED, contract_holds, keys_of_run
from strategy_pipeline.defs.option_plots import regime_ribbon
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_before, sessions_of
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS, MARKET_BREADTH, MARKET_REGIME_HISTORY
from strategy_pipeline.market import calendar

CODE_VERSION = "market-regime-1"
# From 1 January four years before the session: five calendar years at most.
LOOK_BACK_SESSIONS = 1_264
# How much of the stored history the picture and the counts of the newest session show.
SHOWN_SESSIONS = 1_008


class RegimeChoice(PartitionChoice):
    """With `hysteresis_sessions` above 1 a new label counts once it has come up in that many sessions running."""

    hysteresis_sessions: int = 1


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep("historical_bars", partition_mapping=sessions_before(LOOK_BACK_SESSIONS)),
        dg.AssetDep("corporate_actions"),
        dg.AssetDep("market_breadth"),
    ],
    code_version=CODE_VERSION,
    description=(
        "Which of eleven regimes the market is in after each close, by an ordered list of rules over fourteen inputs; "
        "a missing input is listed and its rules are skipped. Used from the open of the next session."
    ),
    metadata=describe_table(MARKET_REGIME_HISTORY),
)
def market_regime_history(
    context: dg.AssetExecutionContext, config: RegimeChoice, lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    sessions = sessions_of(config.keys(context))
    rows = regimes_of(lake, sessions, RegimeConfig(config.hysteresis_sessions))
    if sessions and rows.is_empty():
        raise MissingDataError(
            f"There is no daily bar of SPY from {sessions[0]} to {sessions[-1]}: materialise historical_bars with SPY."
        )
    said = {"code_version": CODE_VERSION}
    parts = [({"session": key[0]}, part, said) for key, part in rows.partition_by("session", as_dict=True).items()]
    written = lake.write_many(MARKET_REGIME_HISTORY, parts)
    described = {info.key["session"]: _described(info, part) for info, (_, part, _) in zip(written, parts, strict=True)}
    if described:
        described[max(described)] |= _history(lake, date.fromisoformat(max(described)))
    return publish(context, described)


def regimes_of(lake: Lake, sessions: Sequence[date], config: RegimeConfig) -> pl.DataFrame:
    """Rows for those of `sessions` that have a bar of SPY, from exactly the bars they look back at, year by year."""
    actions = lake.read(CORPORATE_ACTIONS, [{}])
    wanted = pl.col("symbol").is_in(REGIME_SYMBOLS) & (pl.col("timeframe").cast(pl.String) == "1d")
    rows = [MARKET_REGIME_HISTORY.empty()]
    for start in sorted({history_start(day) for day in sessions}):
        days = [day for day in sessions if history_start(day) == start]
        bars = lake.read_sessions(HISTORICAL_BARS, calendar.sessions_between(start, max(days)), where=wanted)
        # A label that is held on to was decided by the breadth of earlier sessions.
        judged = calendar.sessions_between(start, max(days)) if config.hysteresis_sessions > 1 else days
        rows.append(regime_history(bars, actions, lake.read_sessions(MARKET_BREADTH, judged), days, config=config))
    return pl.concat(rows)


def _described(info: PartitionInfo, rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a session's regime."""
    row = rows.row(0, named=True)
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "regime": row["market_regime"] or "unknown",
        **({} if row["confidence"] is None else {"confidence": row["confidence"]}),
        "inputs_missing": ", ".join(row["inputs_missing"]) or "none",
        "bytes": info.bytes,
        "code_version": CODE_VERSION,
    }


def _history(lake: Lake, last: date) -> dict[str, Any]:
    """How often each label came up over the stored years, and the ribbon under the price."""
    days = [day for day in lake.sessions(MARKET_REGIME_HISTORY) if day <= last][-SHOWN_SESSIONS:]
    rows = lake.read_sessions(MARKET_REGIME_HISTORY, days)
    return {
        "labels": dg.MetadataValue.json(label_counts(rows)),
        "sessions_without_label": rows["market_regime"].null_count(),
        "ribbon": dg.MetadataValue.md(
            markdown_image(regime_ribbon(rows, rows.select("session", close="spy_close")), "regimes under SPY")
        ),
    }


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "contract_holds",
            asset="market_regime_history",
            blocking=True,
            description=WHAT_IS_CHECKED["contract_holds"],
        ),
        dg.AssetCheckSpec(
            "every_label_was_seen",
            asset="market_regime_history",
            description="Each of the eleven labels came up at least once in the stored history.",
        ),
    ]
)
def regime_checks(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """The stored rows of the run's sessions, and which labels never came up in all of history."""
    rows = lake.read(MARKET_REGIME_HISTORY, [{"session": key} for key in keys_of_run(context, SESSIONS)])
    holds, says = contract_holds(MARKET_REGIME_HISTORY, rows)
    yield dg.AssetCheckResult(
        asset_key="market_regime_history", check_name="contract_holds", passed=holds, description=says
    )
    counts = label_counts(lake.read(MARKET_REGIME_HISTORY, lake.keys(MARKET_REGIME_HISTORY), columns=["market_regime"]))
    unseen = [label for label, count in counts.items() if not count]
    yield dg.AssetCheckResult(
        asset_key="market_regime_history",
        check_name="every_label_was_seen",
        passed=not unseen,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"never seen in the stored history: {', '.join(unseen)}" if unseen else "every label was seen",
        metadata={"labels": counts},
    )


market_assets = [market_regime_history]
market_checks = [regime_checks]
