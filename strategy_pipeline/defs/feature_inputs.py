"""What stands behind feature rows in the lake: reading it piece by piece, and one digest of it for each session.

Which sessions a row may look back at is said by the pure modules in ``analytics``; this one asks the lake for them.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from datetime import date

import polars as pl

from strategy_pipeline.analytics import alignment, market_features, option_features, quoted_spreads
from strategy_pipeline.analytics.features import DEFINITION_VERSION, compute_features
from strategy_pipeline.analytics.lookback import BarsNeeded, bars_needed, sessions_in_reach
from strategy_pipeline.analytics.market_features import VIX, MarketTables
from strategy_pipeline.analytics.option_features import OptionTables
from strategy_pipeline.ingestion.session_bars import with_proxies
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    CORPORATE_ACTIONS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_BARS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    QUOTED_SPREADS,
    Table,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.settings import Watchlist

CODE_VERSION = "features-3"
# The tables besides bars and corporate actions that rows are joined to.
CONTEXT_TABLES: tuple[Table, ...] = (
    MARKET_REGIME_HISTORY,
    IV_PERCENTILE_CACHE,
    OPTION_CONTRACTS,
    OPEN_INTEREST,
    GAMMA_EXPOSURE_SNAPSHOTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    QUOTED_SPREADS,
)
Reach = Callable[[date], dict[Table, list[date]]]
# What each family of columns may look at of those tables, and of which the columns that are read.
REACHES: tuple[Reach, ...] = (
    market_features.sessions_read,
    quoted_spreads.sessions_read,
    option_features.sessions_read,
)
COLUMNS_READ = {**option_features.COLUMNS_READ, QUOTED_SPREADS.name: quoted_spreads.COLUMNS_READ}
# Sessions whose context is read together: five years of 5m bars are still small, five sessions of prints are not.
ALIGNED_AT_ONCE = 1_300
OPTION_SESSIONS_AT_ONCE = 5


def reach_start(session: date) -> date:
    """The calendar date before which no bar decides a row of `session`, except by volume: days are aligned longest."""
    return alignment.alignment_start("1d", session)


class FeatureInputs:
    """The stored tables behind the feature rows of one run, seen as they are when it begins."""

    def __init__(self, lake: Lake, watchlist: Watchlist) -> None:
        self.lake, self.watchlist = lake, watchlist
        self.actions = lake.read(CORPORATE_ACTIONS, [{}])
        self.held = {table.name: frozenset(lake.sessions(table)) for table in CONTEXT_TABLES}
        self._days = lake.sessions(HISTORICAL_BARS)
        self._bars = {day: f"{day} {self._said(day)}" for day in self._days}
        self._lines = list(self._bars.values())
        self._contents: dict[tuple[str, date], str] = {}
        actions = lake.info(CORPORATE_ACTIONS, {})
        watched = sorted((one.symbol, one.asset_class, one.proxy) for one in watchlist.instruments)
        self._common = f"{CODE_VERSION} {DEFINITION_VERSION} {actions.sha256 if actions else ''} {watched}"

    def seen_through(self, lake: Lake) -> "FeatureInputs":
        """The same inputs with their rows read from another view of the lake."""
        other = copy(self)
        other.lake, other.actions = lake, lake.read(CORPORATE_ACTIONS, [{}])
        return other

    def sessions_with_bars(self) -> frozenset[date]:
        """The sessions that can have rows."""
        return frozenset(self._bars)

    def pedigree(self, timeframe: str, session: date) -> dict[str, str]:
        """The entries of a feature partition's own metadata that name what it follows from.

        That is one digest of the stored bars in reach, of the partitions of every other table that a row of `session`
        may be joined to, of splits, instruments and code.
        """
        start = reach_start(session)
        older = (day for day in sessions_in_reach(timeframe, session) if day < start)
        within = slice(bisect_left(self._days, start), bisect_right(self._days, session))
        bars = [*(self._bars[day] for day in older if day in self._bars), *self._lines[within]]
        others = [
            f"{table.name} {day} {self._content(table, day)}"
            for reach in REACHES
            for table, days in reach(session).items()
            for day in days
            if day in self.held[table.name]
        ]
        digest = hashlib.sha256(" ".join([self._common, *bars, *others]).encode()).hexdigest()
        return {"code_version": CODE_VERSION, "inputs_sha256": digest}

    def rows(self, timeframe: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Feature rows of `sessions` for every symbol their bars hold, from exactly what they look back at."""
        said = (self.lake.metadata(HISTORICAL_BARS, {"session": day}) or {} for day in sessions)
        symbols = dict.fromkeys(symbol for one in said for symbol in one.get("symbols", "").split(",") if symbol)
        instruments = Watchlist(tuple(with_proxies(self.watchlist.extended(list(symbols)).instruments))).frame()
        bars = self._read_bars(bars_needed(timeframe, sessions, instruments))
        rows = compute_features(bars, timeframe, sessions, self.actions, instruments)
        parts = [self._with_market(part, days) for days, part in _cut(rows, sessions, ALIGNED_AT_ONCE)]
        return pl.concat([rows.clear(), *parts])

    def _with_market(self, rows: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
        """`rows` with market columns, spread and alignment, and, where there are options, the columns of options."""
        found = self._tables(market_features.sessions_read, sessions, rows)
        tables = MarketTables(
            vix_bars=self._vix_bars(sessions),
            iv_percentiles=found[IV_PERCENTILE_CACHE.name],
            regimes=found[MARKET_REGIME_HISTORY.name],
        )
        spreads = self._tables(quoted_spreads.sessions_read, sessions, rows)[QUOTED_SPREADS.name]
        bars = self._read_bars(alignment.bars_needed(sessions))
        asked = rows.select("symbol", as_of="available_at")
        known = bars.filter(pl.col("symbol").is_in(rows["symbol"].unique().implode()))
        aligned = alignment.alignment(known, asked, self.actions)
        rows = rows.with_columns(
            *market_features.market_features(rows, tables),
            quoted_spreads.spread_features(rows, spreads),
            *aligned.select("mtf_support_long_pct", "mtf_support_short_pct"),
        )
        optioned = [day for day in sessions if self._has_options(day)]
        without = rows.filter(~pl.col("session").is_in(optioned))
        return pl.concat(
            [without, *(self._with_options(part, days) for days, part in _cut(rows, optioned, OPTION_SESSIONS_AT_ONCE))]
        )

    def _with_options(self, rows: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
        found = self._tables(option_features.sessions_read, sessions, rows)
        tables = OptionTables(
            gamma=found[GAMMA_EXPOSURE_SNAPSHOTS.name],
            open_interest=found[OPEN_INTEREST.name],
            contracts=found[OPTION_CONTRACTS.name],
            volume=found[OPTION_VOLUME_MINUTES.name],
            flow=found[OPTIONS_FLOW_HISTORY.name],
        )
        return rows.with_columns(*option_features.option_features(rows, tables, self.actions))

    def _has_options(self, session: date) -> bool:
        """Whether any option table holds something that a row of `session` may see."""
        read = option_features.sessions_read(session)
        return any(not self.held[table.name].isdisjoint(days) for table, days in read.items())

    def _tables(self, reach: Reach, sessions: Sequence[date], rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """By name, what `rows` of `sessions` may be joined to of each table that `reach` names."""
        wanted: dict[Table, set[date]] = {}
        for session in sessions:
            for table, days in reach(session).items():
                wanted.setdefault(table, set()).update(self.held[table.name].intersection(days))
        symbols = rows["symbol"].unique().to_list()
        found = {}
        for table, held in wanted.items():
            where = pl.col("symbol").is_in(symbols) if "symbol" in table.polars_schema else None
            columns = list(COLUMNS_READ.get(table.name, table.polars_schema))
            found[table.name] = self.lake.read_sessions(table, sorted(held), where=where, columns=columns)
        return found

    def _vix_bars(self, sessions: Sequence[date]) -> pl.DataFrame:
        """Bars of the VIX of `sessions` and of the session before each."""
        before = {calendar.previous_session(day) for day in sessions if day > calendar.first_session()}
        days = sorted(self.sessions_with_bars().intersection({*sessions, *before}))
        return self.lake.read_sessions(
            HISTORICAL_BARS, days, columns=list(market_features.VIX_COLUMNS), where=pl.col("symbol") == VIX
        )

    def _read_bars(self, needs: Sequence[BarsNeeded]) -> pl.DataFrame:
        """The bars of all `needs`, each file being opened once."""
        wanted = pl.lit(False)
        days: set[date] = set()
        for need in needs:
            held = [day for day in need.sessions if day in self._bars]
            mine = (pl.col("timeframe").cast(pl.String) == need.timeframe) & pl.col("session").is_in(held)
            if need.symbols is not None:
                mine = mine & pl.col("symbol").is_in(list(need.symbols))
            wanted, days = wanted | mine, days.union(held)
        return self.lake.read_sessions(HISTORICAL_BARS, sorted(days), where=wanted)

    def _content(self, table: Table, day: date) -> str:
        """A digest of a stored partition's bytes, taken once a run."""
        if (table.name, day) not in self._contents:
            info = self.lake.info(table, {"session": day})
            self._contents[table.name, day] = info.sha256 if info else ""
        return self._contents[table.name, day]

    def _said(self, day: date) -> str:
        said = self.lake.metadata(HISTORICAL_BARS, {"session": day}) or {}
        return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()


def _cut(rows: pl.DataFrame, sessions: Sequence[date], size: int) -> Iterator[tuple[Sequence[date], pl.DataFrame]]:
    """`size` sessions at a time with their rows."""
    for at in range(0, len(sessions), size):
        days = sessions[at : at + size]
        yield days, rows.filter(pl.col("session").is_in(days))
