"""`features` as an asset: what every detector reads, for each bar of the chosen timeframes, point in time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.defs.assets.bars import historical_bars
from strategy_pipeline.defs.assets.reference import corporate_actions
from strategy_pipeline.defs.feature_inputs import CODE_VERSION, CONTEXT_TABLES, FeatureInputs
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.plots import share_bars
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import FEATURES
from strategy_pipeline.settings import Watchlist

DEFAULT_TIMEFRAMES = ["5m", "15m", "1h"]
# Sessions computed together: the finer the rows, the fewer, so that a piece stays within a few hundred megabytes.
SESSIONS_AT_ONCE = {"1m": 65, "5m": 130, "15m": 260, "1h": 6_000, "4h": 6_000, "1d": 10_000}


class FeaturesConfig(PartitionChoice):
    """Which timeframes get feature rows."""

    timeframes: list[str] = DEFAULT_TIMEFRAMES


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(historical_bars),
        dg.AssetDep(corporate_actions),
        *(dg.AssetDep(table.name) for table in CONTEXT_TABLES),
    ],
    code_version=CODE_VERSION,
    description=(
        "One row per symbol and regular-hours bar: prices on the session's own share basis, levels, VWAP, relative "
        "volume, indicators with warm-up masks, trend state, alignment of timeframes, VIX and regime; where there are "
        "options, dealer gamma, expiries, the pin, option volume, flow and the volatility's percentile. A row knows "
        "nothing past its bar end. It looks back at up to three years; a session is computed again when anything in "
        "its reach has changed (metadata: inputs)."
    ),
    metadata=describe_table(FEATURES),
)
def features(
    context: dg.AssetExecutionContext,
    config: FeaturesConfig,
    lake: dg.ResourceParam[Lake],
    watchlist: dg.ResourceParam[Watchlist],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    inputs = FeatureInputs(lake, watchlist)
    sessions = _with_bars(inputs, sessions_of(config.keys(context)))
    found: dict[str, list[PartitionInfo]] = {}
    with progress.track("features", len(sessions) * len(config.timeframes)) as advance:
        for timeframe, piece in _pieces(config.timeframes, sessions):
            for info in _bring_up_to_date(lake, inputs, timeframe, piece):
                found.setdefault(info.key["session"], []).append(info)
            advance(len(piece))
    described = {key: _described(found[key]) for key in sorted(found)}
    if described:
        newest = max(described)
        shares = _null_shares(lake, newest, config.timeframes)
        described[newest]["nulls"] = share_bars(shares, f"Empty values on {newest}, % of rows")
    return publish(context, described)


def _bring_up_to_date(
    lake: Lake, inputs: FeatureInputs, timeframe: str, sessions: Sequence[date]
) -> list[PartitionInfo]:
    """The partitions of `sessions`, computed anew where their inputs differ from those of the stored one."""
    wanted = {day: inputs.pedigree(timeframe, day) for day in sessions}
    stored = {day: lake.metadata(FEATURES, {"timeframe": timeframe, "session": day}) or {} for day in sessions}
    stale = [day for day in sessions if not wanted[day].items() <= stored[day].items()]
    written = _write(lake, timeframe, inputs.rows(timeframe, stale), wanted) if stale else []
    unchanged = (lake.info(FEATURES, {"timeframe": timeframe, "session": day}) for day in sessions if day not in stale)
    return [*written, *(info for info in unchanged if info is not None)]


def _with_bars(inputs: FeatureInputs, sessions: Sequence[date]) -> list[date]:
    """Those of `sessions` that have bars; raises MissingDataError when none has."""
    found = [day for day in sessions if day in inputs.sessions_with_bars()]
    if sessions and not found:
        raise MissingDataError(
            f"There are no bars from {sessions[0]} to {sessions[-1]}: materialise historical_bars for them first."
        )
    return found


def _pieces(timeframes: Sequence[str], sessions: Sequence[date]) -> Iterator[tuple[str, Sequence[date]]]:
    for timeframe in timeframes:
        size = SESSIONS_AT_ONCE.get(timeframe, 130)
        for at in range(0, len(sessions), size):
            yield timeframe, sessions[at : at + size]


def _write(
    lake: Lake, timeframe: str, rows: pl.DataFrame, pedigrees: Mapping[date, Mapping[str, str]]
) -> list[PartitionInfo]:
    by_session: dict[date, pl.DataFrame] = {
        key[0]: part for key, part in rows.partition_by("session", as_dict=True).items()
    }
    return lake.write_many(
        FEATURES,
        [
            (
                {"timeframe": timeframe, "session": day},
                part,
                {
                    **pedigrees[day],
                    "symbol_count": str(part["symbol"].n_unique()),
                    "null_pct": f"{_null_pct(part):.4f}",
                },
            )
            for day, part in by_session.items()
        ],
    )


def _null_pct(rows: pl.DataFrame) -> float:
    """Share of empty values among all values, %."""
    return 100.0 * sum(rows.null_count().row(0)) / max(rows.height * rows.width, 1)


def _null_shares(lake: Lake, session: str, timeframes: Sequence[str]) -> list[tuple[str, float]]:
    """Share of empty values of each column of one session that has any, %."""
    rows = lake.read(FEATURES, [{"timeframe": name, "session": session} for name in timeframes])
    counts = rows.null_count().row(0, named=True)
    return sorted((name, 100.0 * count / rows.height) for name, count in counts.items() if count)


def _described(infos: Sequence[PartitionInfo]) -> dict[str, Any]:
    """What the UI shows of a session's features, all timeframes together."""
    digest = hashlib.sha256("".join(info.sha256 for info in infos).encode()).hexdigest()
    rows = sum(info.rows for info in infos)
    empty = sum(float(info.metadata["null_pct"]) * info.rows for info in infos)
    return {
        "sha256": infos[0].sha256 if len(infos) == 1 else digest,
        "dagster/row_count": rows,
        "symbols": max(int(info.metadata["symbol_count"]) for info in infos),
        "null_pct": round(empty / max(rows, 1), 4),
        "bytes": sum(info.bytes for info in infos),
        "files": dg.MetadataValue.json({info.key["timeframe"]: info.sha256 for info in infos}),
        "inputs": dg.MetadataValue.json({info.key["timeframe"]: info.metadata["inputs_sha256"] for info in infos}),
        "code_version": CODE_VERSION,
    }


features_assets = [features]
