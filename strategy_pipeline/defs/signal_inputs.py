"""What stands behind composite signals in the lake: a session's firings, their context, and one digest of all of it.

Asset and scanner take their rows from here, so that they cannot differ. Nothing here knows Dagster.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

import polars as pl

from strategy_pipeline.defs.context_inputs import ContextInputs
from strategy_pipeline.defs.rebuilding import digest_of
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.detectors.evaluate import ROW_KEY
from strategy_pipeline.engines.combination import REQUEST_KEY
from strategy_pipeline.lake.asof import KNOWN_AT
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    FEATURES,
    REJECT_REASONS,
    STYLES,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.scoring.composite import CARRIED, Provenance, composite_signals, firings
from strategy_pipeline.scoring.confidence import DataProfile
from strategy_pipeline.scoring.context import requests
from strategy_pipeline.scoring.emission import ACCEPTED_SCHEMA
from strategy_pipeline.scoring.rules import ScoringRules

CODE_VERSION = "composite-signals-1"
# Optional data counts as subscribed when the features of one of so many sessions before the signal's hold any of it.
# The session itself does not count: what comes in the afternoon must not change a signal of the morning.
PROFILE_SESSIONS = 20
PROFILE_COLUMNS = {"vix": "vix_level", "regime": "market_regime"}
FLOW_COLUMN, QUOTES_COLUMN = "flow_score", "spread_pct"
# Sessions scored together: few rows fire, and reading them together costs less than one by one.
SESSIONS_AT_ONCE = 65


@dataclass(frozen=True, slots=True)
class Held:
    """What the features of a session hold of optional data.

    Symbols with flow, when each symbol's first row with a spread became known, and the columns that have any value.
    """

    flow: frozenset[str]
    quoted_since: Mapping[str, datetime]
    columns: frozenset[str]


class SignalInputs:
    """The stored tables behind the composite signals of one run; `timeframe` empty takes each detector's own rows.

    `symbols` narrows the firings to some symbols, which changes nothing about the others.
    """

    def __init__(self, lake: Lake, rules: ScoringRules, timeframe: str = "", symbols: Iterable[str] = ()) -> None:
        self.lake, self.rules, self.timeframe, self.symbols = lake, rules, timeframe, tuple(symbols)
        self.timeframes = [timeframe] if timeframe else sorted({detector.timeframe for detector in CATALOGUE})
        versions = [detector.definition_version for detector in CATALOGUE]
        self._held: dict[date, Held] = {}
        self._common = f"{CODE_VERSION} {self.timeframes} {rules.version} {versions}"

    @cached_property
    def sessions(self) -> set[date]:
        """The sessions with features that a detector could fire on."""
        keys = self.lake.keys(FEATURES)
        return {date.fromisoformat(key["session"]) for key in keys if key["timeframe"] in self.timeframes}

    def detectors(self, timeframe: str) -> list[Detector]:
        """The detectors that look at rows of a timeframe."""
        return [one for one in CATALOGUE if self.timeframe or one.timeframe == timeframe]

    def features(self, days: Sequence[date]) -> dict[str, pl.DataFrame]:
        """By timeframe, of the stored feature rows of `days` what the detectors and the scores read."""
        where = pl.col("symbol").is_in(list(self.symbols)) if self.symbols else None
        found = {}
        for name in self.timeframes:
            read = (column for detector in self.detectors(name) for column in detector.inputs)
            columns = list(dict.fromkeys((*ROW_KEY, *read, *CARRIED, "atr14")))
            found[name] = self.lake.read_sessions(FEATURES, days, timeframe=name, columns=columns, where=where)
        return found

    def profile(self, day: date) -> DataProfile:
        """Which optional data the features of the sessions before `day` held at all, and of which symbols the flow.

        Quotes alone are asked of the session itself, bar by bar: they come as files the day after, so that a session
        under way has none whatever the sessions before it had.
        """
        recent = calendar.sessions_between(calendar.first_session(), day)[-PROFILE_SESSIONS - 1 : -1]
        seen = [self._optional(one) for one in recent]
        flow = frozenset(symbol for one in seen for symbol in one.flow)
        held = {column for one in seen for column in one.columns}
        return DataProfile(
            flow_symbols=flow,
            quoted_since=self._optional(day).quoted_since,
            **{name: column in held for name, column in PROFILE_COLUMNS.items()},
        )

    def _optional(self, day: date) -> "Held":
        """What a session's features hold of optional data."""
        if day not in self._held:
            columns = list(PROFILE_COLUMNS.values())
            read = ["symbol", KNOWN_AT, FLOW_COLUMN, QUOTES_COLUMN, *columns]
            rows = pl.concat(
                self.lake.read_sessions(FEATURES, [day], timeframe=name, columns=read) for name in self.timeframes
            )
            flow = rows.filter(pl.col(FLOW_COLUMN).is_not_null())["symbol"].unique().to_list()
            quoted = rows.filter(pl.col(QUOTES_COLUMN).is_not_null())
            first = quoted.group_by("symbol").agg(pl.col(KNOWN_AT).min()).sort("symbol")
            self._held[day] = Held(
                frozenset(flow),
                dict(first.iter_rows()),
                frozenset(name for name in columns if rows[name].count() > 0),
            )
        return self._held[day]

    def provenance(self, day: date) -> Provenance:
        """What a session's signals follow from."""
        read = [(FEATURES, {"timeframe": name, "session": day}) for name in self.timeframes]
        data = digest_of(self.lake, [*read, (CONTEXT_SCORES, {"session": day})], _said(self.profile(day)))
        before = digest_of(self.lake, [(COMPOSITE_SIGNALS, {"session": one}) for one in self._remembered(day)])
        return Provenance(hashlib.sha256(f"{self._common} {data} {before}".encode()).hexdigest(), data)

    def pedigree(self, day: date) -> dict[str, str]:
        """The entries of a session's file that say what its rows follow from."""
        return {"code_version": CODE_VERSION, "inputs_sha256": self.provenance(day).run_id}

    def accepted_before(self, day: date) -> pl.DataFrame:
        """Accepted signals of earlier sessions that a cooldown or the hourly limit may still reach."""
        accepted = pl.col("decision").cast(pl.String) == "accepted"
        return self.lake.read_sessions(
            COMPOSITE_SIGNALS, self._remembered(day), columns=list(ACCEPTED_SCHEMA), where=accepted
        )

    def _remembered(self, day: date) -> list[date]:
        """Earlier sessions that end so late that a signal of theirs may matter at the open of `day`."""
        since = calendar.session(day).open - timedelta(minutes=self.rules.memory_minutes)
        found, one = [], day
        while one > calendar.first_session():
            one = calendar.previous_session(one)
            if calendar.session(one).close <= since:
                break
            found.append(one)
        return found[::-1]

    def context(self, day: date, asked: pl.DataFrame) -> pl.DataFrame:
        """The stored answers of the engines, or theirs of now where they were not asked about every firing yet."""
        stored = self.lake.read_sessions(CONTEXT_SCORES, [day])
        if _keys(asked) <= _keys(stored):
            return stored
        return ContextInputs(self.lake, self.timeframe).piece([day]).build(day)[0]

    def rows(self, day: date, fired: pl.DataFrame) -> pl.DataFrame:
        """The rows of ``composite_signals`` of a session from its firings."""
        return composite_signals(
            fired,
            self.context(day, requests(fired)),
            self.rules,
            self.profile(day),
            {day: self.provenance(day)},
            accepted_before=self.accepted_before(day),
        )

    def fired(self, features: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """The firings of the catalogue on feature rows by timeframe, with what scoring reads."""
        return pl.concat(firings(self.detectors(name), rows) for name, rows in features.items())

    def piece(self, days: Sequence[date]) -> "Piece":
        """The signals of some sessions, whose firings are found together when the first of them is asked for."""
        return Piece(self, days)


class Piece:
    """The signals of the sessions whose features are read together."""

    def __init__(self, inputs: SignalInputs, days: Sequence[date]) -> None:
        self.inputs, self.days = inputs, days

    @cached_property
    def _firings(self) -> pl.DataFrame:
        return self.inputs.fired(self.inputs.features(self.days))

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The rows of a session, and how many have which fate."""
        rows = self.inputs.rows(day, self._firings.filter(pl.col("session") == day))
        return rows, counts_of(rows)


def _said(profile: DataProfile) -> str:
    """A profile as a text that is the same for the same profile."""
    quoted = sorted((profile.quoted_since or {}).items())
    return f"{sorted(profile.flow_symbols or ())} {profile.vix} {profile.regime} {quoted}"


def counts_of(rows: pl.DataFrame) -> dict[str, str]:
    """What a file of composite signals says about its rows: how many were accepted, and rejected for which reason."""
    fates = rows.select(pl.coalesce(pl.col("reject_reason").cast(pl.String), pl.lit("accepted"))).to_series().to_list()
    return {name: f"{fates.count(name)}" for name in ("accepted", *REJECT_REASONS)}


def _keys(rows: pl.DataFrame) -> set[tuple[object, ...]]:
    words = [pl.col(name).cast(pl.String) for name in ("direction", "style")]
    return set(rows.with_columns(words).select(REQUEST_KEY).iter_rows())


def largest_gap(rows: pl.DataFrame) -> float:
    """The largest difference between the sum of a style's contributions and ln(final/base); 0 without a waterfall."""
    entry = pl.element().struct
    gaps = []
    for style in STYLES:
        of_style = pl.when(entry.field("style") == style).then(entry.field("contribution_ln")).otherwise(0.0)
        total = pl.col("waterfall").list.eval(of_style).list.sum()
        gaps.append((total - (pl.col(f"{style}_score") / pl.col("base_score")).log()).abs())
    return rows.select(pl.max_horizontal(gaps).max()).item() or 0.0
