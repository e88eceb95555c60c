"""The vendor's option trades file into checked prints, with everything refused in quarantine and every row counted.

Columns are found by header name. What a print means (side, sweep, block) is not known here.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.errors import DamagedFileError, DataError
from strategy_pipeline.ingestion.layout import Dataset, first_day_of_key
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.parse import LISTED_PER_REASON, ParseCounts
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import INSTANT, QUARANTINE, SEQUENCE_SOURCES, SOURCE_DTYPE
from strategy_pipeline.market.calendar import NEW_YORK, is_session

# Prints as the flow is classified from. `sequence` is the vendor's where the file has one, else the ordinal in contract
# and microsecond by exact time and file order, so that the same file always gives the same keys.
OPTION_TRADES = pl.Schema(
    {
        "contract_ticker": pl.String(),
        "sip_timestamp": INSTANT,
        "sequence": pl.Int64(),
        "sequence_source": pl.Enum(SEQUENCE_SOURCES),
        "sip_timestamp_ns": pl.Int64(),
        "session": pl.Date(),
        "price": pl.Float64(),
        "size": pl.Int64(),
        "exchange_id": pl.Int32(),
        "condition_ids": pl.List(pl.Int32()),
        "is_corrected": pl.Boolean(),
        "source": SOURCE_DTYPE,
        "ingested_at": INSTANT,
    }
)

FILE_REASONS = {
    "damaged_file": "the file cannot be read to its end",
    "missing_columns": "the header lacks a column that is needed, or names it twice",
    "no_rows": "the file has a header and no rows",
    "not_a_session": "the file is of a date without a session",
    "not_listed": "more rows with a reason than are listed one by one",
}
ROW_REASONS = {
    "wrong_field_count": "the row has more or fewer fields than the header",
    "no_ticker": "the ticker is empty",
    "bad_ticker": "the ticker is no OCC option ticker",
    "unreadable_value": "a value is missing or is not a number",
    "timestamp_unit": "sip_timestamp is not in nanoseconds",
    "other_date": "the row belongs to another New York date than the file",
    "price_not_finite": "the price is NaN or infinite",
    "price_not_positive": "the price is zero or negative",
    "bad_size": "the size is not a whole number of contracts above zero",
    "bad_conditions": "the conditions are not a list of ids",
    "duplicate_identical": "the same print stands in the file more than once; the first is kept",
    "duplicate_conflicting": "prints of one contract, time and sequence differ; none is kept",
}

# Why a print that could be read has no row.
CONTRACT_REASONS = {
    "unknown_contract": "what the contract delivers is not known",
    "expired_contract": "the contract ended before the session",
}

_NEEDED = {
    "ticker": pl.String(),
    "conditions": pl.String(),
    "exchange": pl.Int64(),
    "price": pl.Float64(),
    "sip_timestamp": pl.Int64(),
    "size": pl.Float64(),
}
_OPTIONAL = {"correction": pl.String(), "sequence_number": pl.Int64()}
_OCC = r"^O:[A-Z0-9.]{1,6}? *\d{6}[CP]\d{8}$"
_ROOT = r"^O:(.+?) *\d{6}[CP]\d{8}$"
# Nanoseconds of 1973-03-03: anything nearer to the epoch is seconds, milliseconds or microseconds of our time.
_FEWEST_NS = 10**17


@dataclass(frozen=True, slots=True)
class ParsedTrades:
    """What one file of prints held: `trades` in the columns of OPTION_TRADES, sorted by contract, time and sequence.

    quarantine: refused rows and, at line 0, what concerns the whole file; `refusal`: one sentence when nothing of the
    file could be used. ``counts.read == kept + quarantined + filtered_out`` always holds.
    """

    dataset: Dataset
    raw: RawFile
    trades: pl.DataFrame
    quarantine: pl.DataFrame
    counts: ParseCounts
    refusal: str | None


def parse_option_trades(
    raw: RawFile, dataset: Dataset, roots: Iterable[str] | None = None, *, source: str = "flat_file"
) -> ParsedTrades:
    """Reads one file of option trades and keeps the prints of `roots` (SPX and SPXW are two; None: every one).

    Never raises for what the file contains. Raises DataError when the data set holds no option trades or the key no
    date.
    """
    day = first_day_of_key(dataset, raw.key)
    if dataset.kind != "options" or dataset.grain != "trades" or day is None:
        raise DataError(f"{raw.key} is not a file of option trades: check the data set and the key.")
    work = _Work(raw, dataset, day, None if roots is None else sorted(set(roots)), source)
    try:
        return work.parse()
    except DamagedFileError as error:
        return work.refused("damaged_file", str(error))


def contracts_refused(raw: RawFile, dataset: Dataset, day: date, refused: pl.DataFrame) -> pl.DataFrame:
    """Contracts whose prints have no row, in the columns of the quarantine table: one line each, at line 0.

    refused: contract_ticker, reason (of CONTRACT_REASONS) and prints.
    """
    meaning = pl.col("reason").replace_strict(CONTRACT_REASONS, return_dtype=pl.String)
    return refused.select(
        dataset=pl.lit(dataset.name),
        session=pl.lit(day),
        source_key=pl.lit(raw.key),
        source_etag=pl.lit(raw.etag),
        line_number=pl.lit(0, dtype=pl.Int64),
        reason="reason",
        detail=pl.format("{} prints of {}: {}.", "prints", "contract_ticker", meaning),
        raw="contract_ticker",
    ).cast(QUARANTINE.polars_schema)


def as_evidence(trades: pl.DataFrame) -> pl.DataFrame:
    """Prints as evidence that their contracts exist: contract_ticker, available_at, ingested_at."""
    return trades.select("contract_ticker", "ingested_at", available_at="sip_timestamp")


class _Work:
    """One file on its way; exists so that its pieces need not be handed around one by one."""

    def __init__(self, raw: RawFile, dataset: Dataset, day: date, roots: list[str] | None, source: str) -> None:
        self.raw, self.dataset, self.day, self.roots, self.source = raw, dataset, day, roots, source

    def parse(self) -> ParsedTrades:
        header = files.csv_header(self.raw.path)
        absent = [name for name in _NEEDED if header.count(name) != 1]
        if absent:
            return self.refused(
                "missing_columns",
                f"{self.raw.key} has the columns {', '.join(header)}: {', '.join(absent)} must be there once each.",
            )
        if not is_session(self.day):
            return self.refused("not_a_session", f"{self.raw.key} was refused: {self.day} is not a session.")
        kinds = _NEEDED | {name: kind for name, kind in _OPTIONAL.items() if header.count(name) == 1}
        typed = files.read_csv_typed(self.raw.path, kinds)
        if typed is not None and typed.height:
            numbers = pl.int_range(2, typed.height + 2, dtype=pl.Int64)
            typed = typed.with_columns(line_number=numbers, problem=pl.lit(None, dtype=pl.String))
            good = typed if self.roots is None else typed.filter(self._is_ours())
            # Two cheap looks decide for nearly every file that no line has to be named.
            if good.select(self._reason().is_null().all()).item():
                found = self._judged(typed, kinds)
                if not found.quarantine.height:
                    return found
        typed = _from_lines(files.csv_lines(self.raw.path), header, kinds)
        if not typed.height:
            return self.refused("no_rows", f"{self.raw.key} has a header and no rows: download it again later.")
        return self._judged(typed, kinds)

    def _judged(self, typed: pl.DataFrame, kinds: dict[str, pl.DataType]) -> ParsedTrades:
        """From typed columns to the result; rows that are refused need the column `line`."""
        if "line" not in typed.columns:
            typed = typed.with_columns(line=pl.lit(None, dtype=pl.String))
        for name, kind in _OPTIONAL.items():
            if name not in kinds:
                typed = typed.with_columns(pl.lit(None, dtype=kind).alias(name))
        ours = typed if self.roots is None else typed.filter(self._is_ours())
        judged = ours.with_columns(reason=self._reason())
        good, bad = judged.filter(pl.col("reason").is_null()), judged.filter(pl.col("reason").is_not_null())
        trades, again = self._sequenced(good)
        return self._result(typed.height, trades, pl.concat([bad, again.select(bad.columns)]))

    def _is_ours(self) -> pl.Expr:
        """Prints of wanted roots; a row whose ticker cannot be read may be anyone's and stays to be refused."""
        root = pl.col("ticker").str.extract(_ROOT)
        return root.is_in(self.roots or []) | root.is_null()

    def _reason(self) -> pl.Expr:
        """The first reason to refuse a row, or null."""
        price, size, moment = pl.col("price"), pl.col("size"), pl.col("sip_timestamp")
        conditions = pl.col("conditions").fill_null("")
        date_of_row = pl.from_epoch(moment, "ns").dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK.key)
        missing = pl.any_horizontal(price.is_null(), size.is_null(), moment.is_null())
        return (
            pl.when(pl.col("problem") == "wrong_field_count").then(pl.lit("wrong_field_count"))
            .when(pl.col("ticker").fill_null("") == "").then(pl.lit("no_ticker"))
            .when(~pl.col("ticker").str.contains(_OCC)).then(pl.lit("bad_ticker"))
            .when(missing | pl.col("problem").is_not_null()).then(pl.lit("unreadable_value"))
            .when(moment < _FEWEST_NS).then(pl.lit("timestamp_unit"))
            .when(date_of_row.dt.date() != self.day).then(pl.lit("other_date"))
            .when(~price.is_finite()).then(pl.lit("price_not_finite"))
            .when(price <= 0).then(pl.lit("price_not_positive"))
            .when(~size.is_finite() | (size < 1) | (size != size.floor()) | (size > 2**53)).then(pl.lit("bad_size"))
            .when(~conditions.str.contains(r"^(\d{1,9}(,\d{1,9})*)?$")).then(pl.lit("bad_conditions"))
        )  # fmt: skip

    def _sequenced(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Good rows with their key, sorted, and those refused because another row has the same key."""
        in_time = rows.sort("ticker", "sip_timestamp", "line_number")
        # One missing number would leave a print without a key, so the vendor's count only when it is whole.
        numbered = in_time.height > 0 and bool((in_time["sequence_number"] > 0).fill_null(False).all())
        if not numbered:
            ordinal = pl.int_range(pl.len(), dtype=pl.Int64).over("ticker", pl.col("sip_timestamp") // 1000)
            return self._trades(in_time.with_columns(sequence=ordinal), "ordinal"), in_time.clear()
        key = ["ticker", pl.col("sip_timestamp") // 1000, "sequence_number"]
        values = pl.struct("sip_timestamp", "price", "size", "exchange", "conditions", "correction")
        judged = in_time.sort("ticker", pl.col("sip_timestamp") // 1000, "sequence_number", "line_number")
        shared = judged.select(same=pl.len().over(key) > 1)["same"]
        if not shared.any():
            return self._trades(judged.with_columns(sequence="sequence_number"), "vendor"), judged.clear()
        judged = judged.with_columns(
            reason=pl.when(~shared).then(None)
            .when(values.n_unique().over(key) > 1).then(pl.lit("duplicate_conflicting"))
            .when(pl.int_range(pl.len()).over(key) > 0).then(pl.lit("duplicate_identical"))
        )  # fmt: skip
        kept = judged.filter(pl.col("reason").is_null()).with_columns(sequence="sequence_number")
        return self._trades(kept, "vendor"), judged.filter(pl.col("reason").is_not_null())

    def _trades(self, rows: pl.DataFrame, sequence_source: str) -> pl.DataFrame:
        correction = pl.col("correction").fill_null("0").str.strip_chars()
        return rows.select(
            contract_ticker="ticker",
            sip_timestamp=(pl.col("sip_timestamp") // 1000).cast(INSTANT),
            sequence="sequence",
            sequence_source=pl.lit(sequence_source, dtype=pl.Enum(SEQUENCE_SOURCES)),
            sip_timestamp_ns="sip_timestamp",
            session=pl.lit(self.day),
            price="price",
            size=pl.col("size").cast(pl.Int64),
            exchange_id=pl.col("exchange").cast(pl.Int32, strict=False),
            condition_ids=pl.col("conditions")
            .fill_null("")
            .str.split(",")
            .list.eval(pl.element().filter(pl.element() != "").cast(pl.Int32)),
            is_corrected=~correction.is_in(["", "0", "00"]),
            source=pl.lit(self.source, dtype=SOURCE_DTYPE),
            ingested_at=pl.lit(self.raw.last_modified, dtype=INSTANT),
        ).cast(OPTION_TRADES)

    def _result(self, read: int, trades: pl.DataFrame, bad: pl.DataFrame) -> ParsedTrades:
        by_reason: dict[str, int] = {}
        quarantine = QUARANTINE.empty()
        if bad.height:
            by_reason = dict(bad.group_by("reason").len().sort("reason").iter_rows())
            listed = bad.sort("line_number").filter(pl.int_range(pl.len()).over("reason") < LISTED_PER_REASON)
            pieces = [self._quarantine(listed)]
            for reason, count in by_reason.items():
                if count > LISTED_PER_REASON:
                    more = f"{count - LISTED_PER_REASON} more rows: {ROW_REASONS[reason]}."
                    pieces.append(self._whole_file("not_listed", more))
            quarantine = pl.concat(pieces).sort(*QUARANTINE.sort_by)
        refusal = None
        if not trades.height and by_reason:
            reason = max(by_reason, key=lambda one: by_reason[one])
            refusal = (
                f"No row of {self.raw.key} could be used, {by_reason[reason]} of them because {ROW_REASONS[reason]}."
            )
        counts = ParseCounts(read, trades.height, bad.height, read - trades.height - bad.height, by_reason)
        return ParsedTrades(self.dataset, self.raw, trades, quarantine, counts, refusal)

    def _quarantine(self, rows: pl.DataFrame) -> pl.DataFrame:
        values = pl.format(
            "ticker {} price {} size {} sip_timestamp {} conditions {}",
            *(
                pl.col(name).cast(pl.String).fill_null("missing").str.head(40)
                for name in ("ticker", "price", "size", "sip_timestamp", "conditions")
            ),
        )
        meaning = pl.col("reason").replace_strict(ROW_REASONS, return_dtype=pl.String)
        return rows.select(
            dataset=pl.lit(self.dataset.name),
            session=pl.lit(self.day),
            source_key=pl.lit(self.raw.key),
            source_etag=pl.lit(self.raw.etag),
            line_number="line_number",
            reason="reason",
            detail=pl.format("{}: {}.", meaning, values),
            raw="line",
        ).cast(QUARANTINE.polars_schema)

    def _whole_file(self, reason: str, detail: str) -> pl.DataFrame:
        row = (self.dataset.name, self.day, self.raw.key, self.raw.etag, 0, reason, detail, None)
        return pl.DataFrame([row], schema=QUARANTINE.polars_schema, orient="row")

    def refused(self, reason: str, sentence: str) -> ParsedTrades:
        """The result for a file of which not one row could be looked at."""
        nothing = ParseCounts(0, 0, 0, 0, {})
        return ParsedTrades(
            self.dataset, self.raw, OPTION_TRADES.to_frame(), self._whole_file(reason, sentence), nothing, sentence
        )


def _from_lines(lines: pl.Series, header: Sequence[str], kinds: dict[str, pl.DataType]) -> pl.DataFrame:
    """Typed columns from raw lines, each value on its own: what cannot be read is null and named in `problem`."""
    width = len(header)
    fields: list[list[str | None]] = []
    for number, line in enumerate(lines, start=2):
        if line is None or not line.strip():
            continue
        row = next(csv.reader([line]))
        whole = len(row) == width
        values = [value.strip() or None for value in row] if whole else [None] * width
        fields.append([*values, str(number), line, None if whole else "wrong_field_count"])
    places = [*(f"{at}" for at in range(width)), "line_number", "line", "problem"]
    texts = pl.DataFrame(fields, schema=dict.fromkeys(places, pl.String), orient="row")
    columns = {name: pl.col(f"{header.index(name)}") for name in kinds}
    unreadable = pl.any_horizontal(
        *(text.is_not_null() & text.cast(kinds[name], strict=False).is_null() for name, text in columns.items())
    )
    return texts.select(
        *(text.cast(kinds[name], strict=False).alias(name) for name, text in columns.items()),
        pl.col("line_number").cast(pl.Int64),
        "line",
        problem=pl.coalesce("problem", pl.when(unreadable).then(pl.lit("unreadable_value"))),
    )
