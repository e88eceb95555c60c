"""Files about options: quotes, prints, morning open interest, the contracts they speak of, and the rate curve.

Columns are found by header name and values are never guessed; what is refused stands in quarantine with its line and
reason. Valuing a chain is analytics' business. Minute bars of options are read by parse.py and taken over here.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from strategy_pipeline.errors import DamagedFileError, DataError
from strategy_pipeline.ingestion.csv_rows import from_lines
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.parse import LISTED_PER_REASON, ParseCounts, ParsedFile
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import INSTANT, OPEN_INTEREST, OPTION_CONTRACTS, QUARANTINE, RATE_CURVE
from strategy_pipeline.market.calendar import at_new_york, first_session, previous_session, session
from strategy_pipeline.market.options import (
    STANDARD_MULTIPLIER,
    canonical_ticker,
    morning_of_open_interest,
    roots_frame,
    roots_of,
    with_expires_at,
    with_occ_terms,
)
from strategy_pipeline.market.symbols import canonical_symbol

QUOTES_DATASET = "us_options_opra/quotes_v1"
OPEN_INTEREST_DATASET = "option_open_interest"
CONTRACTS_DATASET = "option_contracts"
RATES_DATASET = "primary_credit_rate"
OPEN_INTEREST_DEFINITION, CONTRACTS_DEFINITION, RATES_DEFINITION = "open-interest-1", "contracts-1", "rates-1"

# A quote as the chain reads it. `available_at` is its tape time, truncated to microseconds.
QUOTE_COLUMNS = pl.Schema(
    {
        "contract_ticker": pl.String(),
        "sip_timestamp_ns": pl.Int64(),
        "sequence": pl.Int64(),
        "bid": pl.Float64(),
        "ask": pl.Float64(),
        "bid_size": pl.Float64(),
        "ask_size": pl.Float64(),
        "event_at": INSTANT,
        "available_at": INSTANT,
        "ingested_at": INSTANT,
    }
)
# A print, or a minute of prints: its last price, its size, and the moment to which that price belongs.
PRINT_COLUMNS = pl.Schema(
    {
        "contract_ticker": pl.String(),
        "price": pl.Float64(),
        "size": pl.Float64(),
        "event_at": INSTANT,
        "available_at": INSTANT,
        "ingested_at": INSTANT,
    }
)
REASONS = {
    "damaged_file": "the file cannot be read to its end",
    "missing_columns": "the header lacks a column that is needed, or names it twice",
    "no_rows": "the file has a header and no rows",
    "not_listed": "more rows with a reason than are listed one by one",
    "wrong_field_count": "the row has more or fewer fields than the header",
    "no_ticker": "the ticker is empty",
    "malformed_ticker": "the ticker is not an OCC option ticker",
    "unreadable_value": "a value is missing or is not a number",
    "timestamp_unit": "the timestamp is not in nanoseconds",
    "other_date": "the row belongs to another date than the file",
    "price_not_finite": "a price is NaN or infinite",
    "price_negative": "a price is negative",
    "bad_open_interest": "the open interest is negative or no whole number",
    "expired_contract": "the contract settled before the session",
    "unknown_deliverable": "the contract is adjusted and no reference says what it delivers",
    "terms_before_split": "the ticker carries the terms from before the underlying's split",
    "duplicate_identical": "the same row stands in the file more than once; the first is kept",
    "duplicate_conflicting": "rows of one key differ; none is kept",
    "bad_rate": "the rate is not a number, or not a finite one",
    "bad_date": "the date cannot be read",
}

OVERNIGHT_YEARS = 1.0 / 365.0

_FEWEST_NS = 10**17
_RATE_LINES = {
    "line_number": pl.Int64(), "text": pl.String(), "day": pl.Date(), "rate": pl.Float64(), "reason": pl.String(),
}  # fmt: skip
_EVIDENCE = {"contract_ticker": pl.String(), "available_at": INSTANT, "ingested_at": INSTANT, "evidence": pl.String()}
_NS = pl.Int64()


@dataclass(frozen=True, slots=True)
class OptionFile:
    """What one file about options held; ``counts.read == kept + quarantined + filtered_out`` always holds.

    rows: quotes (QUOTE_COLUMNS), prints (PRINT_COLUMNS), open interest, contracts or rates (their tables).
    refusal: one sentence when nothing of the file could be used, else None.
    """

    rows: pl.DataFrame
    quarantine: pl.DataFrame
    counts: ParseCounts
    refusal: str | None = None


def option_symbols_to_roots(symbols: Iterable[str]) -> list[str]:
    """The roots to look for in option files of canonical symbols, weekly and adjusted ones included."""
    return sorted({root for symbol in symbols for root in roots_of(symbol)})


def parse_option_quotes(raw: RawFile, day: date, symbols: Iterable[str] | None = None) -> OptionFile:
    """Best bids and offers of one session, sorted by contract and tape time, of the options on `symbols` (None: all).

    An empty side is null and a zero stays zero: whether a quote is good is judged where it is used. Never raises
    for what the file contains. Raises CalendarError when `day` is no session.
    """
    needed = {"ticker": pl.String(), "sip_timestamp": _NS, "bid_price": pl.Float64(), "ask_price": pl.Float64()}
    optional = {"bid_size": pl.Float64(), "ask_size": pl.Float64(), "sequence_number": _NS}
    bid, ask = pl.col("bid_price"), pl.col("ask_price")
    checks = {
        "unreadable_value": bid.is_null() & ask.is_null() | pl.col("sip_timestamp").is_null(),
        "timestamp_unit": pl.col("sip_timestamp").abs() < _FEWEST_NS,
        "other_date": _of_another_date("sip_timestamp", day),
        "price_not_finite": ~(bid.is_finite() & ask.is_finite()),
        "price_negative": (bid < 0) | (ask < 0),
    }
    reading = _Reading(raw, QUOTES_DATASET, day, needed, optional, checks, symbols)
    key = ["ticker", "sip_timestamp", "sequence_number"]
    return reading.result(
        key,
        ["bid_price", "ask_price"],
        lambda rows: rows.select(
            contract_ticker="ticker",
            sip_timestamp_ns="sip_timestamp",
            sequence="sequence_number",
            bid="bid_price",
            ask="ask_price",
            bid_size="bid_size",
            ask_size="ask_size",
            event_at=_instant_of_ns("sip_timestamp"),
            available_at=_instant_of_ns("sip_timestamp"),
            ingested_at=pl.lit(raw.last_modified, dtype=INSTANT),
        ).cast(QUOTE_COLUMNS),
        pl.DataFrame(schema=QUOTE_COLUMNS),
    )


def parse_open_interest(raw: RawFile, day: date, symbols: Iterable[str] | None = None) -> OptionFile:
    """Open interest published in the morning of `day`, in the columns of ``open_interest``.

    Header: ticker, date, open_interest, timestamp (optional, nanoseconds). The number describes the session before
    `day` and is known from 06:30 New York, or from the row's own time where that is later: numbers of a closing
    clearing can therefore never be read during the session.
    """
    needed = {"ticker": pl.String(), "date": pl.String(), "open_interest": pl.Float64()}
    count = pl.col("open_interest")
    checks = {
        "unreadable_value": count.is_null() | pl.col("date").is_null(),
        "timestamp_unit": pl.col("timestamp").abs() < _FEWEST_NS,
        "other_date": (pl.col("date") != day.isoformat()) | _of_another_date("timestamp", day).fill_null(False),
        "bad_open_interest": ~count.is_finite() | (count < 0) | (count != count.floor()),
    }
    reading = _Reading(raw, OPEN_INTEREST_DATASET, day, needed, {"timestamp": _NS}, checks, symbols)
    morning = pl.lit(morning_of_open_interest(day), dtype=INSTANT)
    return reading.result(
        ["ticker"],
        ["open_interest"],
        lambda rows: rows.select(
            session=pl.lit(day),
            contract_ticker="ticker",
            symbol="symbol",
            open_interest=count.cast(pl.Int64),
            oi_session=pl.lit(previous_session(day)),
            source=pl.lit("flat_file"),
            quality=pl.lit("final"),
            quality_flags=pl.lit([], dtype=pl.List(pl.String)),
            available_at=pl.max_horizontal(morning, _instant_of_ns("timestamp")),
            ingested_at=pl.lit(raw.last_modified, dtype=INSTANT),
            revision=pl.lit(raw.revision, dtype=pl.Int32),
            definition_version=pl.lit(OPEN_INTEREST_DEFINITION),
        ).cast(OPEN_INTEREST.polars_schema),
        OPEN_INTEREST.empty(),
    )


def option_prints(parsed: ParsedFile) -> OptionFile:
    """Minutes of option prints as the chain reads them, from a parsed file of option minute bars.

    The price is the minute's last and belongs to the end of the minute. Raises DataError for another kind of file.
    """
    if parsed.dataset.kind != "options" or parsed.dataset.grain != "minute":
        raise DataError(f"{parsed.raw.key} holds no minutes of options: give a file of us_options_opra/minute_aggs_v1.")
    bars = parsed.bars
    distinct = bars.select(contract_ticker=pl.col("symbol").unique())
    broken = with_occ_terms(distinct).filter(pl.col("root").is_null())["contract_ticker"]
    kept = bars.filter(~pl.col("symbol").is_in(broken.implode())) if broken.len() else bars
    rows = kept.select(
        contract_ticker=canonical_ticker(pl.col("symbol")),
        price="close",
        size="volume",
        event_at="bar_end",
        available_at="available_at",
        ingested_at="ingested_at",
    ).cast(PRINT_COLUMNS)
    lost = bars.height - kept.height
    by_reason = {"malformed_ticker": lost} if lost else {}
    refused = pl.DataFrame({"contract_ticker": broken.sort()}).with_columns(reason=pl.lit("malformed_ticker"))
    days = bars["session"].unique().to_list()
    quarantine = _tickers_refused(refused, parsed.dataset.name, days[0], parsed.raw) if lost else QUARANTINE.empty()
    return OptionFile(rows, quarantine, ParseCounts(bars.height, kept.height, lost, 0, by_reason), parsed.refusal)


def option_contracts(
    day: date,
    seen: Mapping[str, pl.DataFrame],
    reference: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    symbols: Iterable[str] | None = None,
) -> OptionFile:
    """The contracts that can trade on `day`, in the columns of ``option_contracts``.

    seen: what names a contract, by its kind (``quotes``, ``prints``, ``open_interest``): frames with contract_ticker,
        available_at and ingested_at. A contract is known from the first of them on.
    reference: rows of the vendor's contract reference in the same columns; they overrule the ticker.
    actions: ``corporate_actions``; on a split's ex-date the open interest still names the old contracts.
    A contract without reference has the terms of its root, which are exact for a root without a digit; an adjusted
    one without reference is refused, because what it delivers cannot be known from its ticker.
    """
    evidence = [
        frame.select("contract_ticker", "available_at", "ingested_at").with_columns(evidence=pl.lit(kind))
        for kind, frame in seen.items()
        if frame.height
    ]
    first = (
        pl.concat(
            [one.sort("available_at").unique("contract_ticker", keep="first", maintain_order=True) for one in evidence]
        )
        if evidence
        else pl.DataFrame(schema=_EVIDENCE)
    )
    named = reference if reference is not None else OPTION_CONTRACTS.empty()
    first = first.filter(~pl.col("contract_ticker").is_in(named["contract_ticker"].implode()))
    work = with_occ_terms(first)
    roots = roots_frame(work["root"].drop_nulls().unique().sort().to_list())
    work = work.with_columns(
        pl.col("root")
        .replace_strict(roots["root"], roots[name], default=None, return_dtype=roots.schema[name])
        .alias(name)
        for name in ("symbol", "exercise_style", "settlement", "adjusted")
    )
    read = work["contract_ticker"].n_unique() + named.height
    if symbols is not None:
        ours = pl.col("symbol").is_in(sorted(symbols))
        work, named = work.filter(ours | pl.col("symbol").is_null()), named.filter(ours)
    split = _splitting(actions, day)
    open_at = pl.lit(session(day).open, dtype=INSTANT)
    work = with_expires_at(work)
    old_terms = pl.col("symbol").is_in(split) & (pl.col("evidence") == "open_interest")
    dropped = work.filter(old_terms)["contract_ticker"]
    # On such a day only what trades is listed; what else names the ticker still counts.
    work = work.filter(~old_terms).sort("available_at").unique("contract_ticker", keep="first", maintain_order=True)
    reason = (
        pl.when(pl.col("root").is_null())
        .then(pl.lit("malformed_ticker"))
        .when(pl.col("expires_at") < open_at)
        .then(pl.lit("expired_contract"))
        .when(pl.col("adjusted"))
        .then(pl.lit("unknown_deliverable"))
    )
    work = work.with_columns(reason=reason)
    listed = work.filter(pl.col("reason").is_null()).select(
        session=pl.lit(day),
        contract_ticker="contract_ticker",
        symbol="symbol",
        root="root",
        expiration="expiration",
        expires_at="expires_at",
        strike="strike",
        option_type="option_type",
        exercise_style="exercise_style",
        settlement="settlement",
        multiplier=pl.lit(STANDARD_MULTIPLIER),
        source=pl.lit("flat_file"),
        quality=pl.lit("final"),
        quality_flags=pl.lit(["terms_from_ticker"], dtype=pl.List(pl.String)),
        available_at="available_at",
        ingested_at="ingested_at",
        revision=pl.lit(0, dtype=pl.Int32),
        definition_version=pl.lit(CONTRACTS_DEFINITION),
    )
    schema = OPTION_CONTRACTS.polars_schema
    alive = named.filter(pl.col("expires_at") >= open_at)
    rows = pl.concat([alive.select(schema.names()).cast(schema), listed.cast(schema)])
    rows = rows.unique("contract_ticker", keep="first", maintain_order=True).sort(*OPTION_CONTRACTS.sort_by)
    refused = pl.concat(
        [
            work.filter(pl.col("reason").is_not_null()).select("contract_ticker", "reason"),
            pl.DataFrame(
                {"contract_ticker": dropped.filter(~dropped.is_in(work["contract_ticker"].implode()))}
            ).with_columns(reason=pl.lit("terms_before_split")),
            named.filter(pl.col("expires_at") < open_at).select("contract_ticker", reason=pl.lit("expired_contract")),
        ]
    ).sort("reason", "contract_ticker")
    by_reason = dict(refused.group_by("reason").len().sort("reason").iter_rows())
    quarantine = _tickers_refused(refused, CONTRACTS_DATASET, day)
    lost = refused.height
    return OptionFile(rows, quarantine, ParseCounts(read, rows.height, lost, read - rows.height - lost, by_reason))


def parse_rates(raw: RawFile) -> OptionFile:
    """A file of policy rates (date and per cent a year) as a flat curve: one overnight point, continuous per year.

    The first column is the day from which the rate counts, known from 00:00 New York of it; the second the rate in per
    cent, compounded daily over 365 days. Never raises for what the file contains.
    """
    try:
        text = files.read_gzip(raw.path).decode() if raw.path.suffix == ".gz" else files.read_text(raw.path)
    except (DamagedFileError, UnicodeDecodeError) as error:
        return _refused_rates(raw, "damaged_file", f"{raw.key} cannot be read as text: {error}")
    lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    if not lines or len(lines[0]) < 2 or lines[0][0].strip().upper() != "DATE":
        sentence = f"{raw.key} needs a first column DATE and a second with the rate in per cent."
        return _refused_rates(raw, "missing_columns", sentence)
    found = []
    for number, fields in enumerate(lines[1:], start=2):
        if any(field.strip() for field in fields):
            found.append((number, ",".join(fields), *_rate_of(fields)))
    frame = pl.DataFrame(found, schema=_RATE_LINES, orient="row").sort("day", "line_number")
    frame = frame.with_columns(ours=pl.lit(True)).with_columns(
        reason=pl.coalesce("reason", pl.when(pl.col("day").is_not_null()).then(_duplicate(["day"], ["rate"])))
    )
    kept = frame.filter(pl.col("reason").is_null())
    rows = pl.DataFrame(
        [
            (at_new_york(day, time()), OVERNIGHT_YEARS, rate, "flat_file", raw.last_modified, RATES_DEFINITION)
            for day, rate in kept.select("day", "rate").iter_rows()
        ],
        schema=RATE_CURVE.polars_schema,
        orient="row",
    )
    refused = frame.filter(pl.col("reason").is_not_null()).sort("line_number")
    by_reason = dict(refused.group_by("reason").len().sort("reason").iter_rows())
    listed = [
        (RATES_DATASET, first_session(), raw.key, raw.etag, number, reason, f"Row refused: {REASONS[reason]}.", text)
        for number, reason, text in refused.select("line_number", "reason", "text").iter_rows()
    ]
    quarantine = pl.DataFrame(listed, schema=QUARANTINE.polars_schema, orient="row")
    counts = ParseCounts(frame.height, rows.height, refused.height, 0, by_reason)
    refusal = None if rows.height else f"No row of {raw.key} could be used: check its dates and rates."
    return OptionFile(rows, quarantine, counts, refusal)


def _rate_of(fields: Sequence[str]) -> tuple[date | None, float | None, str | None]:
    """Day, continuous rate and the reason against a row of the rate file, if there is one."""
    if len(fields) < 2:
        return None, None, "wrong_field_count"
    try:
        day = date.fromisoformat(fields[0].strip())
    except ValueError:
        return None, None, "bad_date"
    try:
        per_cent = float(fields[1])
    except ValueError:
        return None, None, "bad_rate"
    if not math.isfinite(per_cent) or per_cent <= -100.0:
        return None, None, "bad_rate"
    return day, 365.0 * math.log1p(per_cent / 100.0 / 365.0), None


def _refused_rates(raw: RawFile, reason: str, sentence: str) -> OptionFile:
    row = (RATES_DATASET, first_session(), raw.key, raw.etag, 0, reason, sentence, None)
    quarantine = pl.DataFrame([row], schema=QUARANTINE.polars_schema, orient="row")
    return OptionFile(RATE_CURVE.empty(), quarantine, ParseCounts(0, 0, 0, 0, {}), sentence)


def _splitting(actions: pl.DataFrame | None, day: date) -> list[str]:
    """Symbols whose shares split on `day`."""
    if actions is None:
        return []
    return (
        actions.filter((pl.col("action").cast(pl.String) == "split") & (pl.col("ex_date") == day))["symbol"]
        .unique()
        .sort()
        .to_list()
    )


def _instant_of_ns(column: str) -> pl.Expr:
    """Nanoseconds of the epoch truncated to microseconds."""
    return (pl.col(column) // 1_000).cast(INSTANT)


def _of_another_date(column: str, day: date) -> pl.Expr:
    """Whether a stamp in nanoseconds lies outside the New York date `day`."""
    start, end = at_new_york(day, time()), at_new_york(day + timedelta(days=1), time())
    return (pl.col(column) < _nanoseconds(start)) | (pl.col(column) >= _nanoseconds(end))


def _nanoseconds(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


class _Reading:
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
    ) -> None:
        self.raw, self.dataset, self.day = raw, dataset, day
        self.needed, self.optional, self.checks = needed, optional, checks
        self.wanted = None if symbols is None else sorted({canonical_symbol(symbol) for symbol in symbols})
        self.open_at = session(day).open

    def result(
        self, key: list[str], values: list[str], shape: Callable[[pl.DataFrame], pl.DataFrame], empty: pl.DataFrame
    ) -> OptionFile:
        """The file's good rows in their own columns; `key` tells rows apart and `values` tells whether two agree."""
        try:
            header = files.csv_header(self.raw.path)
            absent = [name for name in self.needed if header.count(name) != 1]
            if absent:
                columns, lacking = ", ".join(header), ", ".join(absent)
                sentence = f"{self.raw.key} has the columns {columns}: {lacking} must be there once each."
                return self._refused("missing_columns", sentence, empty)
            kinds = dict(self.needed) | {name: kind for name, kind in self.optional.items() if header.count(name) == 1}
            typed = files.read_csv_typed(self.raw.path, kinds)
            judged = None if typed is None else self._judged(typed, key, values)
            if judged is None or judged.filter(pl.col("reason").is_not_null()).height:
                # Some row has to be named, so the lines themselves are needed.
                judged = self._judged(from_lines(files.csv_lines(self.raw.path), header, kinds), key, values)
        except DamagedFileError as error:
            return self._refused("damaged_file", str(error), empty)
        read = judged.height
        if not read:
            sentence = f"{self.raw.key} has a header and no rows: download it again later."
            return self._refused("no_rows", sentence, empty)
        good = judged.filter(pl.col("reason").is_null() & pl.col("ours"))
        rows = shape(good.with_columns(ticker="contract_ticker"))
        refused = judged.filter(pl.col("reason").is_not_null())
        by_reason = dict(refused.group_by("reason").len().sort("reason").iter_rows())
        lost = refused.height
        refusal = None
        if not rows.height and lost:
            worst = max(by_reason, key=lambda one: by_reason[one])
            refusal = f"No row of {self.raw.key} could be used, {by_reason[worst]} of them because {REASONS[worst]}."
        counts = ParseCounts(read, rows.height, lost, read - rows.height - lost, by_reason)
        return OptionFile(rows, self._quarantine(refused, by_reason), counts, refusal)

    def _judged(self, frame: pl.DataFrame, key: list[str], values: list[str]) -> pl.DataFrame:
        """Rows in the order of `key` with contract_ticker, symbol, ours, and the first reason against each or null."""
        if "line" not in frame.columns:
            frame = frame.with_columns(
                line=pl.lit(None, dtype=pl.String),
                line_number=pl.int_range(2, pl.len() + 2, dtype=pl.Int64),
                problem=pl.lit(None, dtype=pl.String),
            )
        for name, kind in self.optional.items():
            if name not in frame.columns:
                frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name))
        if "sequence_number" in frame.columns:
            frame = frame.with_columns(pl.col("sequence_number").fill_null(pl.col("line_number")))
        contracts = contracts_of(frame["ticker"])
        frame = frame.with_columns(
            pl.col("ticker")
            .replace_strict(contracts["ticker"], contracts[name], default=None, return_dtype=contracts.schema[name])
            .alias(name)
            for name in ("contract_ticker", "symbol", "expires_at")
        )
        ours = pl.lit(True) if self.wanted is None else pl.col("symbol").is_in(self.wanted)
        # A row whose ticker cannot be read may be anyone's and stays to be refused.
        ours = (ours | pl.col("symbol").is_null()).fill_null(True)
        reason = pl.when(pl.col("problem") == "wrong_field_count").then(pl.lit("wrong_field_count"))
        tests = {
            "no_ticker": pl.col("ticker").is_null() | (pl.col("ticker") == ""),
            "unreadable_value": pl.col("problem").is_not_null(),
            "malformed_ticker": pl.col("contract_ticker").is_null(),
            "expired_contract": pl.col("expires_at") < self.open_at,
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
        return judged.with_columns(reason=pl.coalesce("reason", _duplicate(key, values)))

    def _quarantine(self, refused: pl.DataFrame, by_reason: dict[str, int]) -> pl.DataFrame:
        """Refused rows, as many of each reason as are listed, in the columns of the quarantine table."""
        if refused.is_empty():
            return QUARANTINE.empty()
        meaning = pl.col("reason").replace_strict(REASONS, return_dtype=pl.String)
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
                f"{count - LISTED_PER_REASON} more rows: {REASONS[reason]}.",
            )
            for reason, count in by_reason.items()
            if count > LISTED_PER_REASON
        ]
        return pl.concat([listed, *more]).sort(*QUARANTINE.sort_by)

    def _refused(self, reason: str, sentence: str, empty: pl.DataFrame) -> OptionFile:
        """The result for a file of which not one row could be looked at."""
        quarantine = _at_file(self.dataset, self.day, self.raw, reason, sentence)
        return OptionFile(empty, quarantine, ParseCounts(0, 0, 0, 0, {}), sentence)


def contracts_of(tickers: pl.Series) -> pl.DataFrame:
    """Each distinct ticker with what it means: ticker, contract_ticker, symbol, expires_at; null when malformed."""
    distinct = pl.DataFrame({"ticker": tickers.drop_nulls().unique()}, schema={"ticker": pl.String})
    work = with_occ_terms(distinct, "ticker")
    roots = roots_frame(work["root"].drop_nulls().unique().to_list())
    for name in ("symbol", "settlement"):
        meaning = pl.col("root").replace_strict(roots["root"], roots[name], default=None, return_dtype=pl.String)
        work = work.with_columns(meaning.alias(name))
    known = pl.when(pl.col("root").is_not_null()).then(canonical_ticker(pl.col("ticker")))
    return with_expires_at(work).with_columns(contract_ticker=known)


def _duplicate(key: list[str], values: list[str]) -> pl.Expr:
    """The reason against rows of one key: all but the first where they agree, every one where they differ."""
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


def _tickers_refused(refused: pl.DataFrame, dataset: str, day: date, raw: RawFile | None = None) -> pl.DataFrame:
    """Contracts that were refused, with the reason, in the columns of the quarantine table."""
    meaning = pl.col("reason").replace_strict(REASONS, return_dtype=pl.String)
    return refused.select(
        dataset=pl.lit(dataset),
        session=pl.lit(day),
        source_key=pl.lit(raw.key if raw else ""),
        source_etag=pl.lit(raw.etag if raw else ""),
        line_number=pl.lit(0, dtype=pl.Int64),
        reason="reason",
        detail=pl.format("Contract {}: {}.", "contract_ticker", meaning),
        raw="contract_ticker",
    ).cast(QUARANTINE.polars_schema)
