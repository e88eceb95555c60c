"""`features` as an asset: what every detector reads, for each bar of the chosen timeframes, point in time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.features import DEFINITION_VERSION, compute_features
from strategy_pipeline.analytics.lookback import bars_needed, sessions_in_reach
from strategy_pipeline.defs.assets.bars import historical_bars
from strategy_pipeline.defs.assets.reference import corporate_actions
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_of
from strategy_pipeline.defs.plots import share_bars
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.session_bars import with_proxies
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, FEATURES, HISTORICAL_BARS
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "features-2"
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
    ],
    code_version=CODE_VERSION,
    description=(
        "One row per symbol and regular-hours bar: prices on the session's own share basis, levels, VWAP, relative "
        "volume, indicators with warm-up masks, trend state. A row knows nothing past its bar end. It looks back at up "
        "to two years of bars; a session is computed again when any of them has changed (metadata: inputs)."
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
    pedigrees = _Pedigrees(lake, watchlist)
    found: dict[str, list[PartitionInfo]] = {}
    with progress.track("features", len(sessions) * len(config.timeframes)) as advance:
        for timeframe, piece in _pieces(config.timeframes, sessions):
            for info in _bring_up_to_date(lake, watchlist, pedigrees, timeframe, piece):
                found.setdefault(info.key["session"], []).append(info)
            advance(len(piece))
    described = {key: _described(found[key]) for key in sorted(found)}
    if described:
        newest = max(described)
        shares = _null_shares(lake, newest, config.timeframes)
        described[newest]["nulls"] = share_bars(shares, f"Empty values on {newest}, % of rows")
    return publish(context, described)


class _Pedigrees:
    """What a session's features follow from, as one digest: the stored bars in reach, splits, instruments and code."""

    def __init__(self, lake: Lake, watchlist: Watchlist) -> None:
        actions = lake.info(CORPORATE_ACTIONS, {})
        watched = sorted((one.symbol, one.asset_class, one.proxy) for one in watchlist.instruments)
        self.common = f"{CODE_VERSION} {DEFINITION_VERSION} {actions.sha256 if actions else ''} {watched}"
        self.bars = {day: self._said(lake, day) for day in lake.sessions(HISTORICAL_BARS)}

    @staticmethod
    def _said(lake: Lake, day: date) -> str:
        said = lake.metadata(HISTORICAL_BARS, {"session": day}) or {}
        return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()

    def of(self, timeframe: str, session: date) -> dict[str, str]:
        """The entries of a feature partition's own metadata that name its inputs."""
        inputs = " ".join(
            f"{day} {self.bars[day]}" for day in sessions_in_reach(timeframe, session) if day in self.bars
        )
        digest = hashlib.sha256(f"{self.common} {inputs}".encode()).hexdigest()
        return {"code_version": CODE_VERSION, "inputs_sha256": digest}


def _bring_up_to_date(
    lake: Lake, watchlist: Watchlist, pedigrees: _Pedigrees, timeframe: str, sessions: Sequence[date]
) -> list[PartitionInfo]:
    """The partitions of `sessions`, computed anew where their inputs differ from those of the stored one."""
    wanted = {day: pedigrees.of(timeframe, day) for day in sessions}
    stored = {day: lake.metadata(FEATURES, {"timeframe": timeframe, "session": day}) or {} for day in sessions}
    stale = [day for day in sessions if not wanted[day].items() <= stored[day].items()]
    written = _write(lake, timeframe, features_of(lake, watchlist, timeframe, stale), wanted) if stale else []
    unchanged = (lake.info(FEATURES, {"timeframe": timeframe, "session": day}) for day in sessions if day not in stale)
    return [*written, *(info for info in unchanged if info is not None)]


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
