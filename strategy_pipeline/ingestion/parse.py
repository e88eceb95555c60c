"""A vendor's aggregate file into checked bars, with everything refused in quarantine and every row counted.

Columns are found by header name. Values are never guessed: a time in another unit, a price that cannot be, a row of
another date is refused with its line and a reason. Which bars are built from these rows is bars.py's business.
"""

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from strategy_pipeline.errors import CalendarError, DamagedFileError, DataError
from strategy_pipeline.ingestion.csv_rows import from_lines, is_blank
from strategy_pipeline.ingestion.layout import Dataset, first_day_of_key
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import (
    HISTORICAL_BARS,
    INSTANT,
    QUALITY_DTYPE,
    QUARANTINE,
    SEGMENT_DTYPE,
    SOURCE_DTYPE,
)
from strategy_pipeline.market.calendar import (
    EXTENDED_CLOSE_TIME,
    EXTENDED_OPEN_TIME,
    NEW_YORK,
    at_new_york,
    session,
    sessions_between,
)
from strategy_pipeline.market.symbols import INDEX, Instrument, canonical_symbol
from strategy_pipeline.market.timeframes import BAR_LAG, TIMEFRAME_DTYPE

# Bars whose windows are anchored at the session's open, and bars on the vendor's clock-hour grid: never mixed.
SESSION_GRID, CLOCK_HOUR_GRID = "bars-1/session", "bars-1/clock_hour"

# Indices whose closing value is calculated later than the exchange's close (quant_methods.md section 1, default lags).
CLOSING_LAG = {"VIX": timedelta(minutes=15)}

# Of one reason, at most this many rows of a file are listed in quarantine; all of them are counted.
LISTED_PER_REASON = 1_000

FILE_REASONS = {
    "damaged_file": "the file cannot be read to its end",
    "missing_columns": "the header lacks a column that is needed, or names it twice",
    "no_rows": "the file has a header and no rows",
    "not_a_session": "the file or row is of a date without a session",
    "not_listed": "more rows with a reason than are listed one by one",
}
ROW_REASONS = {
    "wrong_field_count": "the row has more or fewer fields than the header",
    "no_ticker": "the ticker is empty",
    "unreadable_value": "a value is missing or is not a number",
    "timestamp_unit": "window_start is not in nanoseconds",
    "not_a_session": FILE_REASONS["not_a_session"],
    "other_date": "the row belongs to another date than the file",
    "outside_hours": "the row lies outside 04:00-20:00 New York",
    "off_grid": "window_start is not the start of such a window",
    "price_not_finite": "a price is NaN or infinite",
    "price_not_positive": "a price is zero or negative",
    "prices_not_ordered": "low <= open, close <= high does not hold",
    "bad_volume": "the volume is negative, NaN or infinite",
    "bad_transactions": "the number of transactions is negative",
    "duplicate_identical": "the same row stands in the file more than once; the first is kept",
    "duplicate_conflicting": "rows of one ticker and time differ; none is kept",
}

_PRICES = ("open", "high", "low", "close")
_WIDTH_NS = {"minute": 60_000_000_000, "hour": 3_600_000_000_000}
_TIMEFRAME = {"minute": "1m", "hour": "1h", "day": "1d"}
# Nanoseconds of 1973-03-03: anything nearer to the epoch is seconds, milliseconds or microseconds of our time.
_FEWEST_NS = 10**17
_CHICAGO = ZoneInfo("America/Chicago")


@dataclass(frozen=True, slots=True)
class ParseCounts:
    """Where the rows of a file went; ``read == kept + quarantined + filtered_out`` always holds."""

    read: int
    kept: int
    quarantined: int
    filtered_out: int
    by_reason: dict[str, int]


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one vendor file held.

    bars: rows in the columns of ``historical_bars``, sorted by symbol and time; of an option file `symbol` is the OCC
        ticker, and such rows never go to that table.
    quarantine: refused rows and, at line 0, what concerns the whole file.
    refusal: one sentence when nothing of the file could be used, else None.
    symbols_not_found: watched symbols of which the file has no row.
    """

    dataset: Dataset
    raw: RawFile
    bars: pl.DataFrame
    quarantine: pl.DataFrame
    counts: ParseCounts
    refusal: str | None
    symbols_not_found: tuple[str, ...]

    def for_session(self, day: date) -> pl.DataFrame:
        """The bars of one session; a file of a month holds many."""
        return self.bars.filter(pl.col("session") == day)


def watched_symbols(dataset: Dataset, instruments: Iterable[Instrument]) -> list[str]:
    """The symbols to look for in a data set; an index and a stock may share a name, so each has its own files."""
    if dataset.kind == "options":
        return sorted({one.symbol for one in instruments})
    in_indices = dataset.kind == "indices"
    return sorted({one.symbol for one in instruments if (one.asset_class == INDEX) == in_indices})


def parse_aggregates(
    raw: RawFile, dataset: Dataset, symbols: Iterable[str] | None = None, *, source: str = "flat_file"
) -> ParsedFile:
    """Reads one aggregate file and keeps the rows of `symbols` (canonical; for options: roots; None: every ticker).

    Never raises for what the file contains: a file that cannot be used comes back without bars, with a sentence in
    `refusal` and a line in quarantine. Raises DataError when the data set has no bars or the key no date.
    """
    first_day = first_day_of_key(dataset, raw.key)
    if not dataset.is_aggregate or first_day is None:
        raise DataError(f"{raw.key} is not an aggregate file of {dataset.name}: check the data set and the key.")
    wanted = None if symbols is None else sorted({canonical_symbol(symbol) for symbol in symbols})
    work = _Work(raw, dataset, first_day, wanted, source)
    try:
        return work.parse()
    except DamagedFileError as error:
        return work.refused("damaged_file", str(error))


@dataclass(frozen=True, slots=True)
class _Hours:
    """Bounds of a row's session in nanoseconds, as expressions: constants, or looked up by the row's date."""

    session: pl.Expr
    early: pl.Expr
    open: pl.Expr
    close: pl.Expr
    late: pl.Expr
    midnights: tuple[pl.Expr, ...]


class _Work:
    """One file on its way; exists so that its pieces need not be handed around one by one."""

    def __init__(self, raw: RawFile, dataset: Dataset, first_day: date, wanted: list[str] | None, source: str) -> None:
        self.raw, self.dataset, self.first_day = raw, dataset, first_day
        self.wanted, self.source = wanted, source
        self.has_volume = dataset.kind != "indices"
        last = calendar.monthrange(first_day.year, first_day.month)[1]
        self.last_day = first_day.replace(day=last) if dataset.file_per == "month" else first_day
        self.sessions = sessions_between(first_day, self.last_day)

    def parse(self) -> ParsedFile:
        header = files.csv_header(self.raw.path)
        needed = {"ticker": pl.String(), **{name: pl.Float64() for name in _PRICES}, "window_start": pl.Int64()}
        if self.has_volume:
            needed["volume"] = pl.Float64()
        absent = [name for name in needed if header.count(name) != 1]
        if absent:
            return self.refused(
                "missing_columns",
                f"{self.raw.key} has the columns {', '.join(header)}: {', '.join(absent)} must be there once each.",
            )
        if self.has_volume and header.count("transactions") == 1:
            needed["transactions"] = pl.Int64()
        typed = files.read_csv_typed(self.raw.path, needed)
        if typed is None:
            return self._check(from_lines(files.csv_lines(self.raw.path), header, needed), have_lines=True)
        return self._check(typed, have_lines=False)

    def _check(self, frame: pl.DataFrame, *, have_lines: bool) -> ParsedFile:
        """From typed columns to the result; `have_lines`: the frame carries line, line_number and problem columns."""
        if "transactions" not in frame.columns:
            frame = frame.with_columns(transactions=pl.lit(None, dtype=pl.Int64))
        if "volume" not in frame.columns:
            frame = frame.with_columns(volume=pl.lit(None, dtype=pl.Float64))
        read = frame.height
        if not read:
            return self.refused("no_rows", f"{self.raw.key} has a header and no rows: download it again later.")
        ours = frame if self.wanted is None else frame.filter(self._is_ours())
        hours, ours = self._hours(ours)
        clean = self._is_clean(hours)
        if have_lines:
            clean = clean & pl.col("problem").is_null()
        # Two cheap passes decide for nearly every file that there is nothing to sort, to doubt or to refuse.
        # Together in one select, so that they are decided side by side.
        all_clean, ordered = ours.select(clean.all().alias("clean"), _order().all().alias("ordered")).row(0)
        if not have_lines and not (all_clean and ordered):
            return self._check_with_lines(frame)
        refused = []
        if not all_clean:
            refused.append(_with_reasons(ours.filter(~clean), self._reason(hours)))
            ours = ours.filter(clean)
            # Once more: a row without a ticker hides what stands on either side of it from the first look.
            ordered = _is_ordered(ours)
        if not ordered:
            ours = ours.sort("ticker", "window_start", "line_number")
            ours, duplicates = _without_duplicates(ours)
            refused.append(duplicates)
        bars = self._bars(ours, hours)
        return self._result(read, bars, pl.concat(refused) if refused else None)

    def _check_with_lines(self, frame: pl.DataFrame) -> ParsedFile:
        """Once more with the file's lines at hand, because some row has to be named."""
        lines = files.csv_lines(self.raw.path)
        if lines.len() != frame.height:
            # A quoted line break joined lines: only the lines themselves can tell where each row stands.
            header = files.csv_header(self.raw.path)
            kinds = {name: kind for name, kind in frame.schema.items() if name in header}
            return self._check(from_lines(lines, header, kinds), have_lines=True)
        numbered = frame.with_columns(
            line=lines,
            line_number=pl.int_range(2, frame.height + 2, dtype=pl.Int64),
            problem=pl.lit(None, dtype=pl.String),
        )
        return self._check(numbered.filter(~is_blank()), have_lines=True)

    def _is_ours(self) -> pl.Expr:
        """Rows of wanted tickers; a row without a ticker may be anyone's and stays to be refused."""
        wanted = self.wanted or []
        ticker = pl.col("ticker")
        if self.dataset.kind == "options":
            ticker = ticker.str.extract(r"^(?:O:)?(.+?) *\d{6}[CP]\d{8}$")
        elif self.dataset.kind == "indices":
            wanted = [f"I:{symbol}" for symbol in wanted]
        return ticker.is_in(wanted) | pl.col("ticker").is_null()

    def _hours(self, frame: pl.DataFrame) -> tuple[_Hours, pl.DataFrame]:
        """The bounds of each row's session, and the frame with what they need."""
        days = self.sessions
        bounds = {
            "early": [_ns(at_new_york(day, EXTENDED_OPEN_TIME)) for day in days],
            "open": [_ns(session(day).open) for day in days],
            "close": [_ns(session(day).close) for day in days],
            "late": [_ns(at_new_york(day, EXTENDED_CLOSE_TIME)) for day in days],
        }
        zones = (NEW_YORK, _CHICAGO) if self.dataset.kind == "indices" else (NEW_YORK,)
        midnights = [[_ns(datetime.combine(day, time(), zone)) for day in days] for zone in zones]
        nothing = pl.lit(None, dtype=pl.Int64)
        if self.dataset.file_per == "session":

            def bound(values: list[int]) -> pl.Expr:
                return pl.lit(values[0], dtype=pl.Int64) if values else nothing

            of_row = pl.lit(self.first_day, dtype=pl.Date)
        else:
            day = pl.from_epoch("window_start", "ns").dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK.key)
            frame = frame.with_columns(row_date=day.dt.date())

            def bound(values: list[int]) -> pl.Expr:
                if not values:
                    return nothing
                return pl.col("row_date").replace_strict(days, values, default=None, return_dtype=pl.Int64)

            of_row = pl.col("row_date")
        named = {name: bound(values) for name, values in bounds.items()}
        return _Hours(of_row, **named, midnights=tuple(bound(values) for values in midnights)), frame

    def _is_clean(self, hours: _Hours) -> pl.Expr:
        """True for a row without any fault, in as few comparisons as decide it; NaN counts as above every number."""
        start, low, high = pl.col("window_start"), pl.col("low"), pl.col("high")
        clean = (
            (pl.col("ticker").str.len_bytes() > 0)
            & (low > 0.0)
            & (low <= pl.col("open"))
            & (low <= pl.col("close"))
            & (pl.col("open") <= high)
            & (pl.col("close") <= high)
            & (high < float("inf"))
            & self._on_grid(hours)
        )
        if self.dataset.grain != "day":
            clean = clean & (start >= hours.early) & (start < hours.late)
        if self.has_volume:
            clean = clean & (pl.col("volume") >= 0.0) & (pl.col("volume") < float("inf"))
            clean = clean & (pl.col("transactions") >= 0).fill_null(True)
        return clean.fill_null(False)

    def _on_grid(self, hours: _Hours) -> pl.Expr:
        start = pl.col("window_start")
        if self.dataset.grain == "day":
            return pl.any_horizontal(*(start == midnight for midnight in hours.midnights))
        return start % _WIDTH_NS[self.dataset.grain] == 0

    def _reason(self, hours: _Hours) -> pl.Expr:
        """The first reason why a row is not clean."""
        start = pl.col("window_start")
        numbers = [*_PRICES, "window_start", *(["volume"] if self.has_volume else [])]
        prices = [pl.col(name) for name in _PRICES]
        moment = pl.from_epoch("window_start", "ns").dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK.key)
        within = pl.lit(self.first_day) <= moment.dt.date(), moment.dt.date() <= pl.lit(self.last_day)
        return (
            pl.when(pl.col("problem") == "wrong_field_count")
            .then(pl.lit("wrong_field_count"))
            .when(pl.col("ticker").is_null() | (pl.col("ticker") == ""))
            .then(pl.lit("no_ticker"))
            .when(pl.any_horizontal(*(pl.col(name).is_null() for name in numbers)) | pl.col("problem").is_not_null())
            .then(pl.lit("unreadable_value"))
            .when(start.abs() < _FEWEST_NS)
            .then(pl.lit("timestamp_unit"))
            .when(~(within[0] & within[1]))
            .then(pl.lit("other_date"))
            .when(hours.open.is_null())
            .then(pl.lit("not_a_session"))
            .when((start < hours.early) | (start >= hours.late) if self.dataset.grain != "day" else pl.lit(False))
            .then(pl.lit("outside_hours"))
            .when(~self._on_grid(hours))
            .then(pl.lit("off_grid"))
            .when(pl.any_horizontal(*(~price.is_finite() for price in prices)))
            .then(pl.lit("price_not_finite"))
            .when(pl.any_horizontal(*(price <= 0 for price in prices)))
            .then(pl.lit("price_not_positive"))
            .when(
                (pl.col("low") > pl.min_horizontal("open", "close"))
                | (pl.col("high") < pl.max_horizontal("open", "close"))
            )
            .then(pl.lit("prices_not_ordered"))
            .when((pl.col("transactions") < 0).fill_null(False))
            .then(pl.lit("bad_transactions"))
            .otherwise(pl.lit("bad_volume"))
        )

    def _bars(self, rows: pl.DataFrame, hours: _Hours) -> pl.DataFrame:
        """Clean rows in the columns of ``historical_bars``."""
        start, width = pl.col("window_start"), _WIDTH_NS.get(self.dataset.grain, 0)
        grid = SESSION_GRID
        if self.dataset.grain == "day":
            begin, end = hours.open, hours.close
        elif self.dataset.grain == "hour":
            grid = CLOCK_HOUR_GRID
            # The vendor's hours are regular hours only: the one that contains the open began with it.
            begin = pl.when((start < hours.open) & (start + width > hours.open)).then(hours.open).otherwise(start)
            end = (
                pl.when(start < hours.close)
                .then(pl.min_horizontal(start + width, hours.close))
                .otherwise(start + width)
            )
        else:
            begin, end = start, start + width
        rows = rows.with_columns(begin_us=begin // 1000, end_us=end // 1000)
        open_us, close_us = hours.open // 1000, hours.close // 1000
        begins = pl.col("begin_us")
        lag = pl.lit(BAR_LAG // timedelta(microseconds=1), dtype=pl.Int64)
        symbol = pl.col("ticker")
        if self.dataset.kind == "indices":
            symbol = symbol.str.strip_prefix("I:")
            if self.dataset.grain == "day":
                later = {name: wait // timedelta(microseconds=1) for name, wait in CLOSING_LAG.items()}
                lag = symbol.replace_strict(later, default=lag, return_dtype=pl.Int64)
        missing = pl.lit(None, dtype=pl.Float64)
        return rows.select(
            symbol=symbol,
            timeframe=pl.lit(_TIMEFRAME[self.dataset.grain], dtype=TIMEFRAME_DTYPE),
            bar_start=begins.cast(INSTANT),
            bar_end=pl.col("end_us").cast(INSTANT),
            session=hours.session,
            segment=pl.when(begins < open_us)
            .then(pl.lit("pre", dtype=SEGMENT_DTYPE))
            .when(begins < close_us)
            .then(pl.lit("rth", dtype=SEGMENT_DTYPE))
            .otherwise(pl.lit("post", dtype=SEGMENT_DTYPE)),
            open="open",
            high="high",
            low="low",
            close="close",
            volume="volume",
            vwap=missing,
            trades="transactions",
            coverage_pct=missing,
            source=pl.lit(self.source, dtype=SOURCE_DTYPE),
            quality=pl.lit("final", dtype=QUALITY_DTYPE),
            quality_flags=pl.lit([], dtype=pl.List(pl.String)),
            available_at=(pl.col("end_us") + lag).cast(INSTANT),
            ingested_at=pl.lit(self.raw.last_modified, dtype=INSTANT),
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(grid),
        ).cast(HISTORICAL_BARS.polars_schema)

    def _result(self, read: int, bars: pl.DataFrame, refused: pl.DataFrame | None) -> ParsedFile:
        by_reason: dict[str, int] = {}
        quarantine = QUARANTINE.empty()
        if refused is not None:
            counted = refused.group_by("reason").len().sort("reason")
            by_reason = dict(counted.iter_rows())
            listed = refused.filter(pl.int_range(pl.len()).over("reason") < LISTED_PER_REASON)
            pieces = [self._quarantine(listed)]
            for reason, count in by_reason.items():
                if count > LISTED_PER_REASON:
                    more = f"{count - LISTED_PER_REASON} more rows: {ROW_REASONS[reason]}."
                    pieces.append(self._whole_file("not_listed", more))
            quarantine = pl.concat(pieces)
        quarantined = sum(by_reason.values())
        refusal = None
        if not bars.height and quarantined:
            refusal = self._nothing_usable(by_reason, quarantine)
        counts = ParseCounts(read, bars.height, quarantined, read - bars.height - quarantined, by_reason)
        return ParsedFile(
            self.dataset, self.raw, bars, _sorted_quarantine(quarantine), counts, refusal, self._not_found(bars)
        )

    def _nothing_usable(self, by_reason: dict[str, int], quarantine: pl.DataFrame) -> str:
        """The sentence for a file of which no row could be used."""
        if not self.sessions:
            try:
                session(self.first_day)
            except CalendarError as error:
                return f"{self.raw.key} was refused: {error}"
        reason = max(by_reason, key=lambda one: by_reason[one])
        example = quarantine.filter(pl.col("reason") == reason)["detail"].first()
        return f"No row of {self.raw.key} could be used, {by_reason[reason]} of them because of: {example!s}"

    def _not_found(self, bars: pl.DataFrame) -> tuple[str, ...]:
        if self.wanted is None or self.dataset.kind == "options":
            return ()
        return tuple(sorted(set(self.wanted) - set(bars["symbol"].unique())))

    def _quarantine(self, refused: pl.DataFrame) -> pl.DataFrame:
        """Refused rows in the columns of the quarantine table."""
        day = pl.lit(self.first_day)
        if self.dataset.file_per == "month":
            inside = pl.col("row_date").is_between(self.first_day, self.last_day)
            day = pl.when(inside).then("row_date").otherwise(day)
        return refused.select(
            dataset=pl.lit(self.dataset.name),
            session=day,
            source_key=pl.lit(self.raw.key),
            source_etag=pl.lit(self.raw.etag),
            line_number="line_number",
            reason="reason",
            detail="detail",
            raw="line",
        ).cast(QUARANTINE.polars_schema)

    def _whole_file(self, reason: str, detail: str) -> pl.DataFrame:
        row = (self.dataset.name, self.first_day, self.raw.key, self.raw.etag, 0, reason, detail, None)
        return pl.DataFrame([row], schema=QUARANTINE.polars_schema, orient="row")

    def refused(self, reason: str, sentence: str) -> ParsedFile:
        """The result for a file of which not one row could be looked at."""
        return ParsedFile(
            self.dataset,
            self.raw,
            HISTORICAL_BARS.empty(),
            self._whole_file(reason, sentence),
            ParseCounts(0, 0, 0, 0, {}),
            sentence,
            tuple(self.wanted or ()) if self.dataset.kind != "options" else (),
        )


def _ns(moment: datetime) -> int:
    """An instant as integer nanoseconds of the epoch."""
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _order() -> pl.Expr:
    """Whether a row comes strictly after the one before it, by ticker and time; such rows hold no duplicates."""
    ticker, start = pl.col("ticker"), pl.col("window_start")
    before = ticker.shift(1)
    return ((ticker > before) | ((ticker == before) & (start > start.shift(1)))).fill_null(True)


def _is_ordered(rows: pl.DataFrame) -> bool:
    """Whether all rows are in strict order of ticker and time."""
    return bool(rows.select(_order().all()).item())


def _with_reasons(rows: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    """Rows with their reason and a sentence that holds the value at fault."""
    start = pl.col("window_start")
    size = start.abs()
    unit = (
        pl.when(size < 10**11).then(pl.lit("seconds")).when(size < 10**14).then(pl.lit("milliseconds"))
        .otherwise(pl.lit("microseconds"))
    )  # fmt: skip
    prices = pl.format("open {} high {} low {} close {}", *(pl.col(name) for name in _PRICES))
    local = pl.from_epoch("window_start", "ns").dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK.key)
    moment = local.dt.strftime("%Y-%m-%d %H:%M:%S New York")
    found = rows.with_columns(reason=reason)
    meaning = pl.col("reason").replace_strict(ROW_REASONS, return_dtype=pl.String)
    is_one = pl.col("reason")
    value = (
        pl.when(is_one == "unreadable_value").then(pl.coalesce("problem", pl.lit("a needed value is empty")))
        .when(is_one == "timestamp_unit").then(pl.format("window_start {} looks like {}", start, unit))
        .when(is_one.is_in(["other_date", "outside_hours", "off_grid", "not_a_session"]))
        .then(pl.format("window_start is {}", moment))
        .when(is_one.is_in(["price_not_finite", "price_not_positive", "prices_not_ordered"])).then(prices)
        .when(is_one == "bad_volume").then(pl.format("volume {}", pl.col("volume")))
        .when(is_one == "bad_transactions").then(pl.format("transactions {}", pl.col("transactions")))
    )  # fmt: skip
    detail = pl.when(value.is_null()).then(pl.format("{}.", meaning)).otherwise(pl.format("{}: {}.", meaning, value))
    return found.with_columns(detail=detail)


def _without_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sorted rows with one per ticker and time, and those taken out with their reasons.

    Of equal rows the first in the file stays. Of rows that differ none stays: which one is right cannot be known, and a
    bar that is missing does less harm than one that is wrong.
    """
    key = ["ticker", "window_start"]
    values = ["volume", *_PRICES, "transactions"]
    again = pl.struct(key).is_duplicated()
    suspects = rows.filter(again)
    if suspects.is_empty():
        return rows, _with_reasons(suspects, pl.lit("duplicate_identical"))
    judged = suspects.with_columns(
        conflicting=pl.struct(values).n_unique().over(key) > 1, place=pl.int_range(pl.len()).over(key)
    )
    out = judged.filter(pl.col("conflicting") | (pl.col("place") > 0))
    reason = (
        pl.when(pl.col("conflicting")).then(pl.lit("duplicate_conflicting")).otherwise(pl.lit("duplicate_identical"))
    )
    refused = _with_reasons(out, reason).drop("conflicting", "place")
    return rows.filter(~pl.col("line_number").is_in(out["line_number"].implode())), refused


def _sorted_quarantine(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(*QUARANTINE.sort_by)
