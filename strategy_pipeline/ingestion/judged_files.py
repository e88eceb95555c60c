"""A vendor file judged row by row: good rows in columns of their own, the others in quarantine, every row counted.

Columns are found by header name and values are never guessed. What a ticker means, which columns a kind of file has
and what makes a row of it good is handed in by the parsers (option_files.py, stock_quotes.py).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from strategy_pipeline.errors import DamagedFileError
from strategy_pipeline.ingestion.csv_rows import from_lines
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.parse import LISTED_PER_REASON, ParseCounts
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import INSTANT, QUARANTINE
from strategy_pipeline.market.calendar import at_new_york
from strategy_pipeline.market.symbols import canonical_symbol

# Why any file or row may be refused; the parsers add what only their own kind of row can be refused for.
REASONS = {
    "damaged_file": "the file cannot be read to its end",
    "missing_columns": "the header lacks a column that is needed, or names it twice",
    "no_rows": "the file has a header and no rows",
    "not_listed": "more rows with a reason than are listed one by one",
    "wrong_field_count": "the row has more or fewer fields than the header",
    "no_ticker": "the ticker is empty",
    "unreadable_value": "a value is missing or is not a number",
    "timestamp_unit": "the timestamp is not in nanoseconds",
    "other_date": "the row belongs to another date than the file",
    "price_not_finite": "a price is NaN or infinite",
    "price_negative": "a price is negative",
    "duplicate_identical": "the same row stands in the file more than once; the first is kept",
    "duplicate_conflicting": "rows of one key differ; none is kept",
}

# Nanoseconds of 1973-03-03: anything nearer to the epoch is seconds, milliseconds or microseconds of our time.
_FEWEST_NS = 10**17


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """What one file held; ``counts.read == kept + quarantined + filtered_out`` always holds.

    rows: the good rows, in the columns that its parser names.
    refusal: one sentence when nothing of the file could be used, else None.
    """

    rows: pl.DataFrame
    quarantine: pl.DataFrame
    counts: ParseCounts
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class TickerMeaning:
    """What the tickers of a kind of file stand for.

    meanings: distinct tickers -> a frame of ticker, `name`, symbol and the further columns that checks read.
    name: the column that replaces the ticker in good rows; null where the ticker is malformed.
    of_others: wanted symbols -> whether a row's ticker is surely one of no wanted symbol, never null; None where that
        takes more than a look at the ticker.
    """

    meanings: Callable[[pl.Series], pl.DataFrame]
    name: str
    of_others: Callable[[list[str]], pl.Expr] | None = None


def instant_of_ns(column: str) -> pl.Expr:
    """Nanoseconds of the epoch truncated to microseconds."""
    return (pl.col(column) // 1_000).cast(INSTANT)


def in_another_unit(column: str) -> pl.Expr:
    """Whether a stamp cannot be in nanoseconds of our time."""
    return pl.col(column).abs() < _FEWEST_NS


def of_another_date(column: str, day: date) -> pl.Expr:
    """Whether a stamp in nanoseconds lies outside the New York date `day`."""
    start, end = at_new_york(day, time()), at_new_york(day + timedelta(days=1), time())
    return (pl.col(column) < _nanoseconds(start)) | (pl.col(column) >= _nanoseconds(end))


def _nanoseconds(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


class FileReading:
    """One file on its way from lines to rows; exists so that its pieces need not be handed around one by one."""

    def __init__(
        self,
        raw: RawFile,
        dataset: str,
        day: date,
        needed: Mapping[str, pl.DataType],
        optional: Mapping[str, pl.DataType],
        checks: dict[str, pl.Expr],
        symbols: Iterable[str] | None,
        *,
        tickers: TickerMeaning,
        reasons: Mapping[str, str],
    ) -> None:
        self.raw, self.dataset, self.day = raw, dataset, day
        self.needed, self.optional, self.checks = needed, optional, checks
        self.wanted = None if symbols is None else sorted({canonical_symbol(symbol) for symbol in symbols})
        self.tickers, self.reasons = tickers, reasons

    def result(
        self, key: list[str], values: list[str], shape: Callable[[pl.DataFrame], pl.DataFrame], empty: pl.DataFrame
    ) -> JudgedFile:
        """The file's good rows in their own columns; `key` tells rows apart and `values` tells whether two agree."""
        try:
            header = files.csv_header(self.raw.path)
            absent = [name for name in self.needed if header.count(name) != 1]
            if absent:
                columns, lacking = ", ".join(header), ", ".join(absent)
                sentence = f"{self.raw.key} has the columns {columns}: {lacking} must be there once each."
                return self._refused("missing_columns", sentence, empty)
            kinds = dict(self.needed) | {name: kind for name, kind in self.optional.items() if header.count(name) == 1}
            typed, read = self._typed(kinds)
            judged = None if typed is None else self._judged(typed, key, values)
            if judged is None or judged.filter(pl.col("reason").is_not_null()).height:
                # Some row has to be named, so the lines themselves are needed.
                judged = self._judged(from_lines(files.csv_lines(self.raw.path), header, kinds), key, values)
                read = judged.height
        except DamagedFileError as error:
            return self._refused("damaged_file", str(error), empty)
        if not read:
            sentence = f"{self.raw.key} has a header and no rows: download it again later."
            return self._refused("no_rows", sentence, empty)
        good = judged.filter(pl.col("reason").is_null() & pl.col("ours"))
        rows = shape(good.with_columns(ticker=self.tickers.name))
        refused = judged.filter(pl.col("reason").is_not_null())
        by_reason = dict(refused.group_by("reason").len().sort("reason").iter_rows())
        lost = refused.height
        refusal = None
        if not rows.height and lost:
            worst = max(by_reason, key=lambda one: by_reason[one])
            refusal = (
                f"No row of {self.raw.key} could be used, {by_reason[worst]} of them because {self.reasons[worst]}."
            )
        counts = ParseCounts(read, rows.height, lost, read - rows.height - lost, by_reason)
        return JudgedFile(rows, self._quarantine(refused, by_reason), counts, refusal)

    def _typed(self, kinds: dict[str, pl.DataType]) -> tuple[pl.DataFrame | None, int]:
        """The columns of every row that may be asked for, None when some value cannot be read, and the rows in all."""
        if self.wanted is None or self.tickers.of_others is None:
            typed = files.read_csv_typed(self.raw.path, kinds)
            return typed, 0 if typed is None else typed.height
        found = files.read_csv_where(self.raw.path, kinds, ~self.tickers.of_others(self.wanted))
        return (None, 0) if found is None else found

    def _judged(self, frame: pl.DataFrame, key: list[str], values: list[str]) -> pl.DataFrame:
        """Rows in the order of `key` with what their ticker means, ours, and the first reason against each or null."""
        if "line" not in frame.columns:
            if "line_number" not in frame.columns:
                frame = frame.with_columns(line_number=pl.int_range(2, pl.len() + 2, dtype=pl.Int64))
            frame = frame.with_columns(line=pl.lit(None, dtype=pl.String), problem=pl.lit(None, dtype=pl.String))
        for name, kind in self.optional.items():
            if name not in frame.columns:
                frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name))
        if "sequence_number" in frame.columns:
            frame = frame.with_columns(pl.col("sequence_number").fill_null(pl.col("line_number")))
        known = self.tickers.meanings(frame["ticker"].drop_nulls().unique())
        frame = frame.with_columns(
            pl.col("ticker")
            .replace_strict(known["ticker"], known[name], default=None, return_dtype=known.schema[name])
            .alias(name)
            for name in known.columns
            if name != "ticker"
        )
        ours = pl.lit(True) if self.wanted is None else pl.col("symbol").is_in(self.wanted)
        # A row whose ticker cannot be read may be anyone's and stays to be refused.
        ours = (ours | pl.col("symbol").is_null()).fill_null(True)
        reason = pl.when(pl.col("problem") == "wrong_field_count").then(pl.lit("wrong_field_count"))
        tests = {
            "no_ticker": pl.col("ticker").is_null() | (pl.col("ticker") == ""),
            "unreadable_value": pl.col("problem").is_not_null(),
            "malformed_ticker": pl.col(self.tickers.name).is_null(),
        }
        reasons = [reason, *(pl.when(test).then(pl.lit(name)) for name, test in (tests | self.checks).items())]
        if "unreadable_value" in self.checks:
            reasons.append(pl.when(tests["unreadable_value"]).then(pl.lit("unreadable_value")))
        judged = frame.with_columns(ours=ours).with_columns(reason=pl.when("ours").then(pl.coalesce(reasons)))
        judged = judged.sort(*key, "line_number", nulls_last=True)
        again = (
            pl.col("reason").is_null() & pl.col("ours") & (pl.struct(key) == pl.struct(key).shift(1)).fill_null(False)
        )
        if not judged.select(again.any()).item():
            return judged
        return judged.with_columns(reason=pl.coalesce("reason", duplicate_reason(key, values)))

    def _quarantine(self, refused: pl.DataFrame, by_reason: dict[str, int]) -> pl.DataFrame:
        """Refused rows, as many of each reason as are listed, in the columns of the quarantine table."""
        if refused.is_empty():
            return QUARANTINE.empty()
        meaning = pl.col("reason").replace_strict(self.reasons, return_dtype=pl.String)
        sentence = pl.format("{}{}.", meaning.str.head(1).str.to_uppercase(), meaning.str.slice(1))
        named = pl.format("{}{}: {}.", meaning.str.head(1).str.to_uppercase(), meaning.str.slice(1), "problem")
        listed = (
            refused.sort("line_number")
            .filter(pl.int_range(pl.len()).over("reason") < LISTED_PER_REASON)
            .select(
                dataset=pl.lit(self.dataset),
                session=pl.lit(self.day),
                source_key=pl.lit(self.raw.key),
                source_etag=pl.lit(self.raw.etag),
                line_number="line_number",
                reason="reason",
                detail=pl.when(pl.col("reason") == "unreadable_value")
                .then(pl.coalesce(named, sentence))
                .otherwise(sentence),
                raw="line",
            )
            .cast(QUARANTINE.polars_schema)
        )
        more = [
            _at_file(
                self.dataset,
                self.day,
                self.raw,
                "not_listed",
                f"{count - LISTED_PER_REASON} more rows: {self.reasons[reason]}.",
            )
            for reason, count in by_reason.items()
            if count > LISTED_PER_REASON
        ]
        return pl.concat([listed, *more]).sort(*QUARANTINE.sort_by)

    def _refused(self, reason: str, sentence: str, empty: pl.DataFrame) -> JudgedFile:
        """The result for a file of which not one row could be looked at."""
        quarantine = _at_file(self.dataset, self.day, self.raw, reason, sentence)
        return JudgedFile(empty, quarantine, ParseCounts(0, 0, 0, 0, {}), sentence)


def duplicate_reason(key: list[str], values: list[str]) -> pl.Expr:
    """The reason against rows of one key: all but the first where they agree, every one where they differ.

    Rows lie together by `key`; reads `ours`, whether a row is asked for at all.
    """
    alone = pl.len().over(key) == 1
    agree = pl.struct(values).n_unique().over(key) == 1
    first = pl.int_range(pl.len()).over(key) == 0
    return (
        pl.when(alone | (agree & first) | ~pl.col("ours"))
        .then(None)
        .when(agree)
        .then(pl.lit("duplicate_identical"))
        .otherwise(pl.lit("duplicate_conflicting"))
    )


def _at_file(dataset: str, day: date, raw: RawFile, reason: str, detail: str) -> pl.DataFrame:
    """A line of quarantine about a whole file."""
    row = (dataset, day, raw.key, raw.etag, 0, reason, detail, None)
    return pl.DataFrame([row], schema=QUARANTINE.polars_schema, orient="row")
