"""Files about options: quotes, prints, morning open interest, the contracts they speak of, and the rate curve.

Columns are found by header name and values are never guessed; what is refused stands in quarantine with its line and
reason. Valuing a chain is analytics' business. Minute bars of options are read by parse.py and taken over here.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time

import polars as pl

from strategy_pipeline.errors import DamagedFileError, DataError
from strategy_pipeline.ingestion.judged_files import REASONS as SHARED_REASONS
from strategy_pipeline.ingestion.judged_files import (
    FileReading,
    JudgedFile,
    TickerMeaning,
    duplicate_reason,
    in_another_unit,
    instant_of_ns,
    of_another_date,
)
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.parse import ParseCounts, ParsedFile
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
REASONS = SHARED_REASONS | {
    "malformed_ticker": "the ticker is not an OCC option ticker",
    "bad_open_interest": "the open interest is negative or no whole number",
    "expired_contract": "the contract settled before the session",
    "unknown_deliverable": "the contract is adjusted and no reference says what it delivers",
    "terms_before_split": "the ticker carries the terms from before the underlying's split",
    "bad_rate": "the rate is not a number, or not a finite one",
    "bad_date": "the date cannot be read",
}

OVERNIGHT_YEARS = 1.0 / 365.0

_RATE_LINES = {
    "line_number": pl.Int64(), "text": pl.String(), "day": pl.Date(), "rate": pl.Float64(), "reason": pl.String(),
}  # fmt: skip
_EVIDENCE = {"contract_ticker": pl.String(), "available_at": INSTANT, "ingested_at": INSTANT, "evidence": pl.String()}
_NS = pl.Int64()


def option_symbols_to_roots(symbols: Iterable[str]) -> list[str]:
    """The roots to look for in option files of canonical symbols, weekly and adjusted ones included."""
    return sorted({root for symbol in symbols for root in roots_of(symbol)})


def parse_option_quotes(raw: RawFile, day: date, symbols: Iterable[str] | None = None) -> JudgedFile:
    """Best bids and offers of one session, sorted by contract and tape time, of the options on `symbols` (None: all).

    An empty side is null and a zero stays zero: whether a quote is good is judged where it is used. Never raises
    for what the file contains. Raises CalendarError when `day` is no session.
    """
    needed = {"ticker": pl.String(), "sip_timestamp": _NS, "bid_price": pl.Float64(), "ask_price": pl.Float64()}
    optional = {"bid_size": pl.Float64(), "ask_size": pl.Float64(), "sequence_number": _NS}
    bid, ask = pl.col("bid_price"), pl.col("ask_price")
    checks = {
        "unreadable_value": bid.is_null() & ask.is_null() | pl.col("sip_timestamp").is_null(),
        "timestamp_unit": in_another_unit("sip_timestamp"),
        "other_date": of_another_date("sip_timestamp", day),
        "price_not_finite": ~(bid.is_finite() & ask.is_finite()),
        "price_negative": (bid < 0) | (ask < 0),
    }
    reading = _reading(raw, QUOTES_DATASET, day, needed, optional, checks, symbols)
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
            event_at=instant_of_ns("sip_timestamp"),
            available_at=instant_of_ns("sip_timestamp"),
            ingested_at=pl.lit(raw.last_modified, dtype=INSTANT),
        ).cast(QUOTE_COLUMNS),
        pl.DataFrame(schema=QUOTE_COLUMNS),
    )


def parse_open_interest(raw: RawFile, day: date, symbols: Iterable[str] | None = None) -> JudgedFile:
    """Open interest published in the morning of `day`, in the columns of ``open_interest``.

    Header: ticker, date, open_interest, timestamp (optional, nanoseconds). The number describes the session before
    `day` and is known from 06:30 New York, or from the row's own time where that is later: numbers of a closing
    clearing can therefore never be read during the session.
    """
    needed = {"ticker": pl.String(), "date": pl.String(), "open_interest": pl.Float64()}
    count = pl.col("open_interest")
    checks = {
        "unreadable_value": count.is_null() | pl.col("date").is_null(),
        "timestamp_unit": in_another_unit("timestamp"),
        "other_date": (pl.col("date") != day.isoformat()) | of_another_date("timestamp", day).fill_null(False),
        "bad_open_interest": ~count.is_finite() | (count < 0) | (count != count.floor()),
    }
    reading = _reading(raw, OPEN_INTEREST_DATASET, day, needed, {"timestamp": _NS}, checks, symbols)
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
            available_at=pl.max_horizontal(morning, instant_of_ns("timestamp")),
            ingested_at=pl.lit(raw.last_modified, dtype=INSTANT),
            revision=pl.lit(raw.revision, dtype=pl.Int32),
            definition_version=pl.lit(OPEN_INTEREST_DEFINITION),
        ).cast(OPEN_INTEREST.polars_schema),
        OPEN_INTEREST.empty(),
    )


def option_prints(parsed: ParsedFile) -> JudgedFile:
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
    return JudgedFile(rows, quarantine, ParseCounts(bars.height, kept.height, lost, 0, by_reason), parsed.refusal)


def option_contracts(
    day: date,
    seen: Mapping[str, pl.DataFrame],
    reference: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    symbols: Iterable[str] | None = None,
) -> JudgedFile:
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
    return JudgedFile(rows, quarantine, ParseCounts(read, rows.height, lost, read - rows.height - lost, by_reason))


def parse_rates(raw: RawFile) -> JudgedFile:
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
        reason=pl.coalesce("reason", pl.when(pl.col("day").is_not_null()).then(duplicate_reason(["day"], ["rate"])))
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
    return JudgedFile(rows, quarantine, counts, refusal)


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


def _refused_rates(raw: RawFile, reason: str, sentence: str) -> JudgedFile:
    row = (RATES_DATASET, first_session(), raw.key, raw.etag, 0, reason, sentence, None)
    quarantine = pl.DataFrame([row], schema=QUARANTINE.polars_schema, orient="row")
    return JudgedFile(RATE_CURVE.empty(), quarantine, ParseCounts(0, 0, 0, 0, {}), sentence)


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


def _reading(
    raw: RawFile,
    dataset: str,
    day: date,
    needed: Mapping[str, pl.DataType],
    optional: Mapping[str, pl.DataType],
    checks: Mapping[str, pl.Expr],
    symbols: Iterable[str] | None,
) -> FileReading:
    """The reading of a file whose tickers are contracts that have not settled before the session."""
    settled = {"expired_contract": pl.col("expires_at") < session(day).open}
    contracts = TickerMeaning(contracts_of, "contract_ticker")
    return FileReading(
        raw, dataset, day, needed, optional, {**settled, **checks}, symbols, tickers=contracts, reasons=REASONS
    )


def contracts_of(tickers: pl.Series) -> pl.DataFrame:
    """Each of distinct tickers with what it means: ticker, contract_ticker, symbol, expires_at; null when malformed."""
    work = with_occ_terms(pl.DataFrame({"ticker": tickers}, schema={"ticker": pl.String}), "ticker")
    roots = roots_frame(work["root"].drop_nulls().unique().to_list())
    for name in ("symbol", "settlement"):
        meaning = pl.col("root").replace_strict(roots["root"], roots[name], default=None, return_dtype=pl.String)
        work = work.with_columns(meaning.alias(name))
    known = pl.when(pl.col("root").is_not_null()).then(canonical_ticker(pl.col("ticker")))
    return with_expires_at(work).select("ticker", "symbol", "expires_at", contract_ticker=known)


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
