"""Bars of the vendor's REST side into checked rows of ``historical_bars``, provisional until the flat file is there.

Rules are those of parse.py for files, and so are the words of its reasons; how windows are cut coarser is
market/timeframes.py's. Asking the vendor is vendor_api.py's business.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl

from strategy_pipeline.ingestion.parse import CLOSING_LAG, LISTED_PER_REASON, ROW_REASONS, SESSION_GRID
from strategy_pipeline.ingestion.vendor_api import Pages, number
from strategy_pipeline.lake.tables import HISTORICAL_BARS, INSTANT, QUARANTINE
from strategy_pipeline.market.calendar import (
    EXTENDED_CLOSE_TIME,
    EXTENDED_OPEN_TIME,
    NEW_YORK,
    at_new_york,
    first_session,
    is_session,
    session,
)
from strategy_pipeline.market.symbols import INDEX, Instrument
from strategy_pipeline.market.timeframes import BAR_LAG

DATASET = "rest_aggregates"
REASONS = ROW_REASONS | {
    "not_a_record": "the entry is no object",
    "unfinished": "the window had not ended, or was not settled, when the vendor was asked",
}

_TIMEFRAME = {"minute": "1m", "day": "1d"}
_MINUTE_US = 60_000_000
_PRICES = ("open", "high", "low", "close")
_NUMBERS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw"}
# Milliseconds of 1973-03-03 and of the year 2286: anything else is seconds, microseconds or nanoseconds of our time.
_LEAST_MS, _MOST_MS = 10**11, 10**13
_CHICAGO = ZoneInfo("America/Chicago")


@dataclass(frozen=True, slots=True)
class ParsedBars:
    """Rows of ``historical_bars`` in its order, what was refused, and where every entry went.

    ``read == bars.height + sum(by_reason.values())``; of one reason at most LISTED_PER_REASON rows are listed.
    """

    bars: pl.DataFrame
    quarantine: pl.DataFrame
    read: int
    by_reason: dict[str, int]


def parse_bars(answer: Pages, instrument: Instrument, timespan: Literal["minute", "day"]) -> ParsedBars:
    """The unadjusted 1m or 1d bars of one instrument from a whole answer of the vendor's aggregates.

    A day runs from open to close of its session. A window that had not ended, with the lag after which it is known,
    when the answer came is refused: it would change. Never raises for what the vendor sent.
    """
    raw = _raw_frame(answer)
    work = _with_hours(raw, timespan, answer.fetched_at, instrument)
    work = work.with_columns(fault=pl.coalesce("fault", _reason(timespan, instrument.asset_class == INDEX)))
    clean = work.filter(pl.col("fault").is_null()).sort("start_us", "number")
    content = pl.struct(*_NUMBERS, "trades")
    clean = clean.with_columns(
        versions=content.n_unique().over("start_us"), place=pl.int_range(pl.len()).over("start_us")
    ).with_columns(
        fault=pl.when(pl.col("versions") > 1)
        .then(pl.lit("duplicate_conflicting"))
        .when(pl.col("place") > 0)
        .then(pl.lit("duplicate_identical"))
    )
    pick = ["number", "request_id", "fault", "session"]
    refused = pl.concat(
        [
            work.filter(pl.col("fault").is_not_null()).select(pick),
            clean.filter(pl.col("fault").is_not_null()).select(pick),
        ]
    ).sort("number")
    bars = _rows(clean.filter(pl.col("fault").is_null()), instrument, timespan, answer.fetched_at)
    by_reason = dict(refused.group_by("fault").len().sort("fault").iter_rows())
    listed = refused.filter(pl.int_range(pl.len()).over("fault") < LISTED_PER_REASON)
    return ParsedBars(bars, _quarantine(answer, listed), raw.height, by_reason)


def _whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None and abs(found) < 2**62 and found == int(found) else None


def _raw_frame(answer: Pages) -> pl.DataFrame:
    """The entries of an answer as columns, still unchecked."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("number", "request_id", "fault", "stamp_ms", "trades", *_NUMBERS)
    }
    for place, request_id, entry in answer.numbered():
        is_record = isinstance(entry, dict)
        record = entry if is_record else {}
        columns["number"].append(place)
        columns["request_id"].append(request_id)
        columns["fault"].append(None if is_record else "not_a_record")
        columns["stamp_ms"].append(_whole(record.get("t")))
        columns["trades"].append(_whole(record.get("n")))
        for name, short in _NUMBERS.items():
            columns[name].append(number(record.get(short)))
    kinds = {"number": pl.Int64(), "request_id": pl.String(), "fault": pl.String(), "stamp_ms": pl.Int64()}
    return pl.DataFrame(columns, schema={**kinds, "trades": pl.Int64(), **dict.fromkeys(_NUMBERS, pl.Float64())})


def _with_hours(raw: pl.DataFrame, timespan: str, fetched_at: datetime, instrument: Instrument) -> pl.DataFrame:
    """`raw` with its session, the bounds of that session and its own window, in microseconds."""
    good_unit = pl.col("stamp_ms").is_between(_LEAST_MS, _MOST_MS)
    work = raw.with_columns(start_us=pl.when(good_unit).then(pl.col("stamp_ms") * 1_000))
    day = pl.col("start_us").cast(INSTANT).dt.convert_time_zone(NEW_YORK.key).dt.date()
    work = work.with_columns(session=day)
    days = [one for one in work["session"].unique().drop_nulls().sort().to_list() if is_session(one)]

    def bound(of: Callable[[date], datetime]) -> pl.Expr:
        if not days:
            return pl.lit(None, dtype=pl.Int64)
        return pl.col("session").replace_strict(
            pl.Series(days, dtype=pl.Date), [_us(of(one)) for one in days], default=None, return_dtype=pl.Int64
        )

    lag = BAR_LAG
    if timespan == "day":
        lag = CLOSING_LAG.get(instrument.symbol, BAR_LAG)
    work = work.with_columns(
        early_us=bound(lambda one: at_new_york(one, EXTENDED_OPEN_TIME)),
        open_us=bound(lambda one: session(one).open),
        close_us=bound(lambda one: session(one).close),
        late_us=bound(lambda one: at_new_york(one, EXTENDED_CLOSE_TIME)),
        new_york_us=bound(lambda one: at_new_york(one, time())),
        chicago_us=bound(lambda one: datetime.combine(one, time(), _CHICAGO)),
    )
    is_day = timespan == "day"
    begin = pl.col("open_us") if is_day else pl.col("start_us")
    end = pl.col("close_us") if is_day else pl.col("start_us") + _MINUTE_US
    known = end + lag // timedelta(microseconds=1)
    return work.with_columns(
        begin_us=begin, end_us=end, known_us=known, settled=known <= pl.lit(_us(fetched_at), dtype=pl.Int64)
    )


def _reason(timespan: str, is_index: bool) -> pl.Expr:
    """The first reason why an entry cannot be used, or null."""
    start, prices = pl.col("start_us"), [pl.col(name) for name in _PRICES]
    volume = pl.col("volume")
    missing = pl.any_horizontal(*(price.is_null() for price in prices), pl.col("stamp_ms").is_null())
    if timespan == "day":
        outside = pl.lit(False)
        off_grid = (start != pl.col("new_york_us")) & (start != pl.col("chicago_us"))
    else:
        outside = (start < pl.col("early_us")) | (start >= pl.col("late_us"))
        off_grid = start % _MINUTE_US != 0
    ordered = (pl.col("low") <= pl.min_horizontal("open", "close")) & (
        pl.max_horizontal("open", "close") <= pl.col("high")
    )
    no_volume = pl.lit(False) if is_index else volume.is_null()
    bad_volume = pl.lit(False) if is_index else ~(volume.is_finite() & (volume >= 0))
    return (
        pl.when(missing | no_volume)
        .then(pl.lit("unreadable_value"))
        .when(start.is_null())
        .then(pl.lit("timestamp_unit"))
        .when(pl.col("open_us").is_null())
        .then(pl.lit("not_a_session"))
        .when(outside)
        .then(pl.lit("outside_hours"))
        .when(off_grid)
        .then(pl.lit("off_grid"))
        .when(~pl.all_horizontal(*(price.is_finite() for price in prices)))
        .then(pl.lit("price_not_finite"))
        .when(~pl.all_horizontal(*(price > 0 for price in prices)))
        .then(pl.lit("price_not_positive"))
        .when(~ordered)
        .then(pl.lit("prices_not_ordered"))
        .when(bad_volume)
        .then(pl.lit("bad_volume"))
        .when(pl.col("trades") < 0)
        .then(pl.lit("bad_transactions"))
        .when(~pl.col("settled"))
        .then(pl.lit("unfinished"))
    )


def _rows(kept: pl.DataFrame, instrument: Instrument, timespan: str, fetched_at: datetime) -> pl.DataFrame:
    """Checked entries in the columns of ``historical_bars``."""
    is_index = instrument.asset_class == INDEX
    nothing = pl.lit(None, dtype=pl.Float64)
    begin = pl.col("begin_us")
    sound_vwap = (pl.col("vwap") > 0) & pl.col("vwap").is_finite() & (pl.col("volume") > 0)
    return (
        kept.select(
            symbol=pl.lit(instrument.symbol),
            timeframe=pl.lit(_TIMEFRAME[timespan]),
            bar_start=begin.cast(INSTANT),
            bar_end=pl.col("end_us").cast(INSTANT),
            session="session",
            segment=pl.when(begin < pl.col("open_us"))
            .then(pl.lit("pre"))
            .when(begin < pl.col("close_us"))
            .then(pl.lit("rth"))
            .otherwise(pl.lit("post")),
            open="open",
            high="high",
            low="low",
            close="close",
            volume=nothing if is_index else pl.col("volume"),
            vwap=nothing if is_index else pl.when(sound_vwap).then("vwap"),
            trades=pl.lit(None, dtype=pl.Int64) if is_index else pl.col("trades"),
            coverage_pct=nothing,
            source=pl.lit("rest"),
            quality=pl.lit("provisional"),
            quality_flags=pl.lit([], dtype=pl.List(pl.String)),
            available_at=pl.col("known_us").cast(INSTANT),
            ingested_at=pl.lit(fetched_at.astimezone(UTC), dtype=INSTANT),
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(SESSION_GRID),
        )
        .cast(HISTORICAL_BARS.polars_schema)
        .sort(*HISTORICAL_BARS.sort_by)
    )


def _quarantine(answer: Pages, listed: pl.DataFrame) -> pl.DataFrame:
    """Refused entries in the columns of ``quarantine``; one without a readable time stands at the calendar's first."""
    entries = answer.records if listed.height else []
    return pl.DataFrame(
        [
            (
                DATASET,
                day or first_session(),
                answer.path,
                request_id,
                place,
                fault,
                f"{REASONS[fault][:1].upper()}{REASONS[fault][1:]}.",
                json.dumps(entries[place - 1]),
            )
            for place, request_id, fault, day in listed.iter_rows()
        ],
        schema=QUARANTINE.polars_schema,
        orient="row",
    )


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
