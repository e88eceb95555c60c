"""`features` as an asset: what every detector reads, for each bar of the chosen timeframes, point in time."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.features import compute_features
from strategy_pipeline.analytics.lookback import bars_needed
from strategy_pipeline.defs.assets.bars import historical_bars
from strategy_pipeline.defs.assets.reference import corporate_actions
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_before, sessions_of
from strategy_pipeline.defs.plots import share_bars
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.session_bars import with_proxies
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, FEATURES, HISTORICAL_BARS
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "features-1"
DEFAULT_TIMEFRAMES = ["5m", "15m", "1h"]
# Sessions computed together: the finer the rows, the fewer, so that a piece stays within a few hundred megabytes.
SESSIONS_AT_ONCE = {"1m": 65, "5m": 130, "15m": 260, "1h": 6_000, "4h": 6_000, "1d": 10_000}
# The longest look-back of the default timeframes: from 1 January of the previous year.
LOOK_BACK_SESSIONS = 504


class FeaturesConfig(PartitionChoice):
    """Which timeframes get feature rows."""

    timeframes: list[str] = DEFAULT_TIMEFRAMES


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(historical_bars, partition_mapping=sessions_before(LOOK_BACK_SESSIONS)),
        dg.AssetDep(corporate_actions),
    ],
    code_version=CODE_VERSION,
    description=(
        "One row per symbol and regular-hours bar: prices on the session's own share basis, levels, VWAP, relative "
        "volume, indicators with warm-up masks, trend state. A row knows nothing past its bar end."
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
    sessions = stored_sessions(lake, sessions_of(config.keys(context)))
    written: dict[str, list[PartitionInfo]] = {}
    shares: dict[str, float] = {}
    with progress.track("features", len(sessions) * len(config.timeframes)) as advance:
        for timeframe, piece in _pieces(config.timeframes, sessions):
            rows = features_of(lake, watchlist, timeframe, piece)
            shares |= _null_shares(rows)
            for info in _write(lake, timeframe, rows):
                written.setdefault(info.key["session"], []).append(info)
            advance(len(piece))
    described = {key: _described(written[key]) for key in sorted(written)}
    if described:
        described[max(described)]["nulls"] = share_bars(sorted(shares.items()), "Empty values, % of rows")
    return publish(context, described)


def stored_sessions(lake: Lake, sessions: Sequence[date]) -> list[date]:
    """Those of `sessions` that have bars; raises MissingDataError when none has."""
    held = set(lake.sessions(HISTORICAL_BARS))
    found = [day for day in sessions if day in held]
    if sessions and not found:
        raise MissingDataError(
            f"There are no bars from {sessions[0]} to {sessions[-1]}: materialise historical_bars for them first."
        )
    return found


def features_of(lake: Lake, watchlist: Watchlist, timeframe: str, sessions: Sequence[date]) -> pl.DataFrame:
    """Feature rows of `sessions` for every symbol their bars hold, from exactly the bars they look back at."""
    said = (lake.metadata(HISTORICAL_BARS, {"session": day}) or {} for day in sessions)
    held = dict.fromkeys(symbol for one in said for symbol in one.get("symbols", "").split(",") if symbol)
    instruments = Watchlist(tuple(with_proxies(watchlist.extended(list(held)).instruments))).frame()
    read = []
    for need in bars_needed(timeframe, sessions, instruments):
        wanted = pl.col("timeframe").cast(pl.String) == need.timeframe
        if need.symbols is not None:
            wanted = wanted & pl.col("symbol").is_in(list(need.symbols))
        read.append(lake.read_sessions(HISTORICAL_BARS, need.sessions, where=wanted))
    actions = lake.read(CORPORATE_ACTIONS, [{}])
    return compute_features(pl.concat(read), timeframe, sessions, actions, instruments)


def _pieces(timeframes: Sequence[str], sessions: Sequence[date]) -> Iterator[tuple[str, Sequence[date]]]:
    for timeframe in timeframes:
        size = SESSIONS_AT_ONCE.get(timeframe, 130)
        for at in range(0, len(sessions), size):
            yield timeframe, sessions[at : at + size]


def _write(lake: Lake, timeframe: str, rows: pl.DataFrame) -> list[PartitionInfo]:
    by_session = rows.partition_by("session", as_dict=True)
    said = {"code_version": CODE_VERSION}
    return lake.write_many(
        FEATURES, [({"timeframe": timeframe, "session": key[0]}, part, said) for key, part in by_session.items()]
    )


def _null_shares(rows: pl.DataFrame) -> dict[str, float]:
    """Share of empty values of each column that has any, %."""
    if rows.is_empty():
        return {}
    counts = rows.null_count().row(0, named=True)
    return {name: 100.0 * count / rows.height for name, count in counts.items() if count}


def _described(infos: Sequence[PartitionInfo]) -> dict[str, Any]:
    """What the UI shows of a session's features, all timeframes together."""
    digest = hashlib.sha256("".join(info.sha256 for info in infos).encode()).hexdigest()
    return {
        "sha256": infos[0].sha256 if len(infos) == 1 else digest,
        "dagster/row_count": sum(info.rows for info in infos),
        "bytes": sum(info.bytes for info in infos),
        "files": dg.MetadataValue.json({info.key["timeframe"]: info.sha256 for info in infos}),
        "code_version": CODE_VERSION,
    }


features_assets = [features]
