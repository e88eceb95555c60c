"""The raw files of a stretch of sessions read as one piece: which files they are, their bars, and what was refused.

Knows where files lie (the raw mirror) and what to call their pedigree; what a file means is parse.py's and bars.py's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.ingestion.bars import historical_bars
from strategy_pipeline.ingestion.layout import DATASETS, Dataset, key_for
from strategy_pipeline.ingestion.mirror import RawFile, RawMirror
from strategy_pipeline.ingestion.parse import (
    CLOCK_HOUR_GRID,
    SESSION_GRID,
    ParsedFile,
    parse_aggregates,
    watched_symbols,
)
from strategy_pipeline.market.calendar import session_frame
from strategy_pipeline.market.symbols import INDEX, Instrument, instrument

FEEDING = tuple(one for one in DATASETS.values() if one.feeds)
DEFINITION = f"{SESSION_GRID},{CLOCK_HOUR_GRID}"
# Sessions built together: enough to make vectors worth while, few enough to keep a year of minutes out of memory.
SESSIONS_AT_ONCE = 130
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class SessionSources:
    """The raw files of one session, by data set, as far as they are here."""

    day: date
    files: tuple[tuple[Dataset, RawFile], ...]

    def pedigree(self, symbols: Sequence[str], context: Sequence[str] = ()) -> dict[str, str]:
        """What decides the bytes of the session's bars: its sources, the symbols asked for, and the definition.

        `context`: symbols of which only daily bars are asked for.
        """
        sources = [{"key": raw.key, "etag": raw.etag, "sha256": raw.sha256} for _, raw in self.files]
        return {
            "sources": json.dumps(sources, sort_keys=True),
            "symbols": ",".join(sorted(symbols)),
            "context": ",".join(sorted(context)),
            "definition_version": DEFINITION,
        }


@dataclass(frozen=True, slots=True)
class SessionBars:
    """A session's bars and refused rows; `refusals` are sentences about files of which nothing could be used."""

    day: date
    bars: pl.DataFrame
    quarantine: pl.DataFrame
    refusals: tuple[str, ...]


def sources_of(raw_files: RawMirror, days: Sequence[date]) -> list[SessionSources]:
    """The files that feed bars of each of `days`; sessions without any are left out."""
    known: dict[str, RawFile | None] = {}

    def raw(key: str) -> RawFile | None:
        if key not in known:
            known[key] = raw_files.get(key)
        return known[key]

    found = []
    for day in days:
        here = tuple((one, got) for one in FEEDING if (got := raw(key_for(one, day))) is not None)
        if here:
            found.append(SessionSources(day, here))
    return found


def stretches(sources: Sequence[SessionSources]) -> Iterator[list[SessionSources]]:
    """`sources` in pieces of some hundred sessions that never cut a month, whose hour file they share."""
    piece: list[SessionSources] = []
    for one in sources:
        new_month = bool(piece) and (one.day.year, one.day.month) != (piece[-1].day.year, piece[-1].day.month)
        if new_month and len(piece) >= SESSIONS_AT_ONCE:
            yield piece
            piece = []
        piece.append(one)
    if piece:
        yield piece


def build_bars(
    sources: Sequence[SessionSources],
    instruments: Sequence[Instrument],
    held: Mapping[date, Sequence[str]],
    *,
    daily_only: Sequence[Instrument] = (),
    source: str = "flat_file",
) -> list[SessionBars]:
    """The bars of every session of `sources` for `instruments` and, per session, the symbols it `held` already.

    Of `daily_only` the daily bars alone are returned, from whichever files hold them.
    """
    known = {one.symbol: one for one in instruments}
    daily = {one.symbol: one for one in daily_only if one.symbol not in known}
    extra = sorted({symbol for symbols in held.values() for symbol in symbols} - set(known) - set(daily))
    everything = [*instruments, *daily.values(), *(instrument(symbol) for symbol in extra)]
    files = {raw.key: (dataset, raw) for one in sources for dataset, raw in one.files}

    def parse(entry: tuple[Dataset, RawFile]) -> ParsedFile:
        dataset, raw = entry
        return parse_aggregates(raw, dataset, watched_symbols(dataset, everything), source=source)

    with ThreadPoolExecutor(_WORKERS) as pool:
        parsed = list(pool.map(parse, files.values()))
    bars = historical_bars([one.day for one in sources], parsed)
    refused = pl.concat([one.quarantine for one in parsed])
    bars_of = {key[0]: part for key, part in bars.partition_by("session", as_dict=True).items()}
    refused_of = {key[0]: part for key, part in refused.partition_by("session", as_dict=True).items()}
    sentence_of = {one.raw.key: one.refusal for one in parsed if one.refusal}
    built = []
    for one in sources:
        wanted = sorted({*known, *held.get(one.day, ())})
        is_kept_day = pl.col("symbol").is_in(sorted(daily)) & (pl.col("timeframe").cast(pl.String) == "1d")
        rows = bars_of.get(one.day, bars.clear()).filter(pl.col("symbol").is_in(wanted) | is_kept_day)
        sentences = tuple(sentence_of[raw.key] for _, raw in one.files if raw.key in sentence_of)
        built.append(SessionBars(one.day, rows, refused_of.get(one.day, refused.clear()), sentences))
    return built


def summaries(bars: pl.DataFrame) -> dict[date, dict[str, float | int | None]]:
    """Per session: rows, symbol_count, coverage_pct, null_pct, suspect_pct (0-100).

    `coverage_pct` is the share of the regular session's minutes (of its hours where a symbol has no minutes) that have
    a bar, mean over symbols, null without intraday bars; `null_pct` the share of empty cells among volume, vwap and
    trades; `suspect_pct` the share of rows with a quality flag. `bars`: rows of ``historical_bars``, any sessions.
    """
    minutes = {day: count for day, count in session_frame().select("session", "minutes").iter_rows()}
    timeframe, is_regular = pl.col("timeframe").cast(pl.String), pl.col("segment").cast(pl.String) == "rth"
    per_symbol = bars.group_by("session", "symbol").agg(
        minute_bars=(is_regular & (timeframe == "1m")).sum(), hour_bars=(is_regular & (timeframe == "1h")).sum()
    )
    lengths = pl.col("session").replace_strict(minutes, return_dtype=pl.Int64)
    # The clock-hour grid has a short first window, so an hour file never has fewer windows than hours begun.
    share = (
        pl.when(pl.col("minute_bars") > 0)
        .then(pl.col("minute_bars") * 100.0 / lengths)
        .when(pl.col("hour_bars") > 0)
        .then(pl.col("hour_bars") * 100.0 / (lengths / 60.0).ceil())
    )
    covered = per_symbol.group_by("session").agg(coverage_pct=share.clip(0.0, 100.0).mean())
    coverage = dict(covered.iter_rows())
    empty_cells = pl.sum_horizontal(pl.col("volume", "vwap", "trades").is_null()) / 3.0 * 100.0
    found = bars.group_by("session", maintain_order=True).agg(
        rows=pl.len(),
        symbol_count=pl.col("symbol").n_unique(),
        null_pct=empty_cells.mean(),
        suspect_pct=(pl.col("quality_flags").list.len() > 0).mean() * 100.0,
    )
    return {
        row["session"]: {**row, "coverage_pct": coverage.get(row["session"])} for row in found.iter_rows(named=True)
    }


def with_proxies(instruments: Sequence[Instrument]) -> list[Instrument]:
    """`instruments` and the symbols whose volume stands in for their indices."""
    known = {one.symbol for one in instruments}
    proxies = dict.fromkeys(one.proxy for one in instruments if one.asset_class == INDEX and one.proxy)
    return [*instruments, *(instrument(symbol) for symbol in proxies if symbol not in known)]


def context_only(context: Sequence[Instrument], instruments: Sequence[Instrument]) -> list[Instrument]:
    """Those of `context` that are not among `instruments` anyway; of them the daily bars alone are kept."""
    known = {one.symbol for one in instruments}
    return [one for one in context if one.symbol not in known]
