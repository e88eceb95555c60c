"""What stands behind context scores in the lake: the firings of a session, the rows each engine may see, one digest.

How far an engine looks back is fixed for each session, so that no cutting of a backfill changes an answer.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property

import polars as pl

from strategy_pipeline.analytics import alignment, flow_window
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.evaluate import signals
from strategy_pipeline.engines.context import CONTEXT_ENGINES, ContextSources, evaluate_context
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    CONTEXT_SCORES,
    CORPORATE_ACTIONS,
    ENGINES,
    FEATURES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_BARS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPTIONS_FLOW_HISTORY,
    Table,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.scoring.context import requests

CODE_VERSION = "context-scores-1"
# Daily rows older than one session are stale; with some more it can be told that there are any.
DAILY_SESSIONS = 5
# Sessions whose firings are aligned together: bars of months and years are read once for all of them.
SESSIONS_AT_ONCE = 65


def sessions_read(day: date) -> dict[str, tuple[Table, list[date]]]:
    """By engine, the table and the sessions of it that may decide an answer on `day`; bars are read for `mtf`."""
    recent = calendar.sessions_between(calendar.first_session(), day)[-(DAILY_SESSIONS + 1) :]
    bars = calendar.sessions_between(alignment.alignment_start("1d", day), day)
    return {
        "iv": (IV_PERCENTILE_CACHE, recent),
        "gamma": (GAMMA_EXPOSURE_SNAPSHOTS, recent[-2:]),
        "mtf": (HISTORICAL_BARS, bars),
        "flow": (OPTIONS_FLOW_HISTORY, flow_window.flow_sessions(day)),
        "regime": (MARKET_REGIME_HISTORY, recent),
    }


class ContextInputs:
    """The stored tables behind the context scores of one run; `timeframe` empty takes each detector's own rows."""

    def __init__(self, lake: Lake, timeframe: str = "") -> None:
        self.lake, self.timeframe = lake, timeframe
        own = {detector.timeframe for detector in CATALOGUE}
        self.timeframes = [timeframe] if timeframe else sorted(own)
        self.actions = lake.read(CORPORATE_ACTIONS, [{}])
        actions = lake.info(CORPORATE_ACTIONS, {})
        versions = [
            *(detector.definition_version for detector in CATALOGUE),
            *(engine.definition_version for engine in CONTEXT_ENGINES),
        ]
        self._common = f"{CODE_VERSION} {self.timeframes} {actions.sha256 if actions else ''} {versions}"
        self._contents: dict[tuple[str, date, str], str] = {}

    def sessions(self) -> set[date]:
        """The sessions with features that a detector could fire on."""
        return {day for name in self.timeframes for day in self.lake.sessions(FEATURES, timeframe=name)}

    def pedigree(self, day: date) -> dict[str, str]:
        """What the answers of a session follow from, as the entries of the partition's own metadata."""
        features = [self._content(FEATURES, day, timeframe=name) for name in self.timeframes]
        read = [self._content(table, one) for table, days in sessions_read(day).values() for one in days]
        digest = hashlib.sha256("\n".join([self._common, *features, *read]).encode()).hexdigest()
        return {"code_version": CODE_VERSION, "inputs_sha256": digest, "timeframe": self.timeframe}

    def piece(self, days: Sequence[date]) -> "Piece":
        """The answers of some sessions, computed when the first of them is asked for."""
        return Piece(self, days)

    def firings(self, days: Sequence[date]) -> pl.DataFrame:
        """The firings of the catalogue on the stored feature rows of `days`."""
        parts = []
        for name in self.timeframes:
            rows = self.lake.read_sessions(FEATURES, days, timeframe=name)
            firing = [one for one in CATALOGUE if self.timeframe or one.timeframe == name]
            parts.append(signals(firing, rows, carried=()))
        return pl.concat(parts)

    def rows(self, table: Table, days: Sequence[date], symbols: Sequence[str]) -> pl.DataFrame:
        """Stored rows of `days`, of `symbols` where the table has any."""
        where = pl.col("symbol").is_in(list(symbols)) if "symbol" in table.polars_schema else None
        columns = list(flow_window.FLOW_COLUMNS) if table is OPTIONS_FLOW_HISTORY else None
        return self.lake.read_sessions(table, days, where=where, columns=columns)

    def aligned(self, asked: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
        """Alignment at the moments of the requests `asked`."""
        asked = asked.select("symbol", "as_of").unique(maintain_order=True)
        of_symbols = pl.col("symbol").is_in(asked["symbol"].unique().implode())
        read = [HISTORICAL_BARS.empty()]
        for need in alignment.bars_needed(days):
            wanted = (pl.col("timeframe").cast(pl.String) == need.timeframe) & of_symbols
            read.append(self.lake.read_sessions(HISTORICAL_BARS, need.sessions, where=wanted))
        return alignment.alignment(pl.concat(read), asked, self.actions)

    def _content(self, table: Table, day: date, **fixed: str) -> str:
        """A text that changes with a stored partition, made once a run."""
        key = (table.name, day, str(fixed))
        if key not in self._contents:
            # What the writer of bars records names every file they are made from; other partitions are small.
            if table is HISTORICAL_BARS:
                said = self.lake.metadata(table, {"session": day})
                content = repr(sorted(said.items())) if said else ""
            else:
                info = self.lake.info(table, {**fixed, "session": day})
                content = info.sha256 if info else ""
            self._contents[key] = f"{table.name} {day} {content}"
        return self._contents[key]


class Piece:
    """The answers of the sessions that are computed together."""

    def __init__(self, inputs: ContextInputs, days: Sequence[date]) -> None:
        self.inputs, self.days = inputs, days

    @cached_property
    def _requests(self) -> pl.DataFrame:
        return requests(self.inputs.firings(self.days))

    @cached_property
    def _aligned(self) -> pl.DataFrame:
        return self.inputs.aligned(self._requests, self.days)

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The rows of ``context_scores`` of a session, and how many answers count by engine."""
        following = calendar.session(calendar.next_session(day)).open
        of_day = pl.col("as_of").is_between(calendar.session(day).open, following, closed="left")
        asked = self._requests.filter(of_day)
        if asked.is_empty():
            return CONTEXT_SCORES.empty(), counts_of(CONTEXT_SCORES.empty())
        symbols = asked["symbol"].unique().sort().to_list()
        read = {
            name: self.inputs.rows(table, days, symbols)
            for name, (table, days) in sessions_read(day).items()
            if name != "mtf"
        }
        aligned = self._aligned.filter(of_day)
        rows = evaluate_context(asked, ContextSources(alignment=aligned, **read))
        return rows, counts_of(rows)


def counts_of(scores: pl.DataFrame) -> dict[str, str]:
    """What a file of context scores says about its rows: requests, and answers that count, stale or missing."""
    tally = dict.fromkeys((f"{engine} {status}" for engine in ENGINES for status in ("ok", "stale", "missing")), 0)
    for engine, status, count in scores.group_by("engine", "status").len().rows():
        tally[f"{engine} {status}"] = count
    return {"requests": f"{scores.height // len(ENGINES)}", **{name: f"{count}" for name, count in tally.items()}}
