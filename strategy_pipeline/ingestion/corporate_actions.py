"""Splits and cash dividends: CSV in the vendor's shape or as a factor file, or the records of an answer over REST.

Bars stay raw: what these rows do to prices is decided where bars are read. Refused rows go to quarantine with a reason.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import isfinite
from pathlib import Path
from typing import Literal

import polars as pl

from strategy_pipeline.errors import CalendarError, DamagedFileError, StorageError, SymbolError
from strategy_pipeline.ingestion.vendor_api import Pages, VendorApi
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, QUARANTINE
from strategy_pipeline.market.calendar import at_new_york, first_session, next_session
from strategy_pipeline.market.symbols import canonical_symbol

SPLIT, DIVIDEND = "split", "dividend"
# Symbols that are asked for side by side over REST.
_SYMBOLS_AT_ONCE = 4
DATASET = "corporate_actions"

REASONS = {
    "damaged_file": "the file cannot be read as text",
    "missing_columns": "the header has neither the vendor's columns nor those of a factor file",
    "wrong_field_count": "the row has more or fewer fields than the header",
    "no_ticker": "the ticker is empty or is none",
    "unreadable_value": "a date or number is missing, cannot be read or lies outside the calendar",
    "bad_ratio": "a split ratio is not positive",
    "bad_amount": "a dividend is not positive",
    "other_currency": "a dividend is not paid in US dollars",
    "not_a_record": "the entry is no object",
    "duplicate_identical": "the same row stands in the file more than once; the first is kept",
    "duplicate_conflicting": "two splits of one symbol and date differ; neither is kept",
}


@dataclass(frozen=True, slots=True)
class ParsedActions:
    """Rows in the columns of ``corporate_actions``, the refused ones, and where every row went.

    ``rows_read == rows_kept + rows_quarantined + rows_filtered_out``. Several dividends of one symbol and date are kept
    as one row with their sum, so `actions` may be shorter than `rows_kept`. `refusal` is a sentence when nothing of the
    file could be used.
    """

    actions: pl.DataFrame
    quarantine: pl.DataFrame
    rows_read: int
    rows_kept: int
    rows_quarantined: int
    rows_filtered_out: int
    refusal: str | None


class _RefusedError(Exception):
    """A row that cannot be used: the reason and the value at fault."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class _Action:
    symbol: str
    action: str
    ex_date: date
    amount: float
    declared: date | None = None


def parse_corporate_actions(
    path: Path, symbols: Iterable[str] | None = None, *, key: str | None = None, etag: str = ""
) -> ParsedActions:
    """Reads one CSV (plain or ``.gz``) of splits or of dividends and keeps the rows of `symbols` (None: all).

    Understood headers: ``ticker, execution_date, split_from, split_to``; ``ticker, ex_dividend_date, cash_amount``
    (`declaration_date` where there is one); ``ticker, last_date_before, split_ratio``; ``ticker, last_date_before_ex,
    cash_amount``. The last two name the last session on the old basis: the ex-date is the session after it.
    `split_ratio` is new shares for one old share. A row is known from 00:00 New York of its ex-date, or of the day
    after its declaration when that is earlier. Never raises for what the file contains.
    """
    wanted = None if symbols is None else {canonical_symbol(symbol) for symbol in symbols}
    source_key = key or path.name
    try:
        text = _text_of(path)
    except (DamagedFileError, UnicodeDecodeError) as error:
        return _refused_file(source_key, etag, "damaged_file", f"{source_key} cannot be read as text: {error}")
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    header = [name.strip() for name in rows[0]] if rows else []
    read_row = _reader_for(header)
    if read_row is None:
        sentence = (
            f"{source_key} has the columns {', '.join(header) or '(none)'}: it needs ticker with execution_date, "
            "split_from, split_to, or with ex_dividend_date, cash_amount, or with last_date_before, split_ratio, or "
            "with last_date_before_ex, cash_amount."
        )
        return _refused_file(source_key, etag, "missing_columns", sentence)
    good: list[tuple[int, list[str], _Action]] = []
    bad: list[tuple[int, list[str], str, str]] = []
    read = filtered = 0
    for number, fields in enumerate(rows[1:], start=2):
        if not any(field.strip() for field in fields):
            continue
        read += 1
        try:
            if len(fields) != len(header):
                raise _RefusedError("wrong_field_count", f"{len(fields)} fields under {len(header)} columns")
            row = {name: field.strip() for name, field in zip(header, fields, strict=True)}
            symbol = _symbol(row["ticker"])
            if wanted is not None and symbol not in wanted:
                filtered += 1
                continue
            good.append((number, fields, read_row(symbol, row)))
        except _RefusedError as refused:
            bad.append((number, fields, refused.reason, refused.detail))
    kept, duplicates = _without_duplicates(good)
    bad += duplicates
    return ParsedActions(
        _actions_frame(kept),
        _quarantine_frame(source_key, etag, bad),
        read,
        read - len(bad) - filtered,
        len(bad),
        filtered,
        f"No row of {source_key} could be used, the first because {bad[0][3]}." if bad and not kept else None,
    )


def parse_action_records(
    answer: Pages, action: Literal["split", "dividend"], symbols: Iterable[str] | None = None
) -> ParsedActions:
    """The splits, or the dividends, of a whole answer over REST, under the rules of the files; `source` is ``rest``.

    Quarantine rows carry the number of the entry in the answer. Never raises for what the vendor sent.
    """
    wanted = None if symbols is None else {canonical_symbol(symbol) for symbol in symbols}
    read_row = _vendor_split if action == SPLIT else _vendor_dividend
    good: list[tuple[int, list[str], _Action]] = []
    bad: list[tuple[int, list[str], str, str]] = []
    read = filtered = 0
    for number, _, entry in answer.numbered():
        read += 1
        raw = [json.dumps(entry)]
        try:
            if not isinstance(entry, dict):
                raise _RefusedError("not_a_record", REASONS["not_a_record"])
            row = defaultdict(str, {name: "" if value is None else str(value) for name, value in entry.items()})
            symbol = _symbol(row["ticker"])
            if wanted is not None and symbol not in wanted:
                filtered += 1
                continue
            if row["currency"] not in ("", "USD"):
                raise _RefusedError("other_currency", f"the dividend is paid in {row['currency']!r}")
            good.append((number, raw, read_row(symbol, row)))
        except _RefusedError as refused:
            bad.append((number, raw, refused.reason, refused.detail))
    kept, duplicates = _without_duplicates(good)
    bad += duplicates
    return ParsedActions(
        _actions_frame(kept, "rest"),
        _quarantine_frame(answer.path, "", bad),
        read,
        read - len(bad) - filtered,
        len(bad),
        filtered,
        f"No record of {answer.path} could be used, the first because {bad[0][3]}." if bad and not kept else None,
    )


def fetch_actions(api: VendorApi, symbols: Iterable[str]) -> list[ParsedActions]:
    """Splits and dividends of `symbols` (canonical names of shares and funds) over REST, all or none.

    Raises what VendorApi raises; an answer that does not come leaves nothing of the others, because a table without
    one symbol's splits would look like a table of a symbol without any.
    """

    def of(symbol: str) -> list[ParsedActions]:
        return [
            parse_action_records(api.splits(symbol), "split", [symbol]),
            parse_action_records(api.dividends(symbol), "dividend", [symbol]),
        ]

    with ThreadPoolExecutor(_SYMBOLS_AT_ONCE) as pool:
        return [part for parts in pool.map(of, symbols) for part in parts]


def merged(parts: Iterable[ParsedActions]) -> pl.DataFrame:
    """The actions of several files as one table, in its order; the same action from two files counts once."""
    frames = [part.actions for part in parts]
    stacked = pl.concat(frames) if frames else CORPORATE_ACTIONS.empty()
    return stacked.unique(subset=list(CORPORATE_ACTIONS.key), keep="first", maintain_order=True).sort(
        *CORPORATE_ACTIONS.sort_by
    )


def _text_of(path: Path) -> str:
    if path.suffix == ".gz":
        return files.read_gzip(path).decode()
    try:
        return files.read_text(path)
    except StorageError as error:
        raise DamagedFileError(str(error)) from None


def _reader_for(header: list[str]) -> Callable[[str, dict[str, str]], _Action] | None:
    columns = set(header)
    if len(columns) != len(header) or "ticker" not in columns:
        return None
    if {"execution_date", "split_from", "split_to"} <= columns:
        return _vendor_split
    if {"ex_dividend_date", "cash_amount"} <= columns:
        return _vendor_dividend
    if {"last_date_before", "split_ratio"} <= columns:
        return _factor_split
    if {"last_date_before_ex", "cash_amount"} <= columns:
        return _factor_dividend
    return None


def _vendor_split(symbol: str, row: dict[str, str]) -> _Action:
    old, new = _number(row, "split_from"), _number(row, "split_to")
    if old <= 0 or new <= 0:
        raise _RefusedError("bad_ratio", f"split_from {old:g} and split_to {new:g} must be positive")
    return _Action(symbol, SPLIT, _date(row, "execution_date"), new / old)


def _vendor_dividend(symbol: str, row: dict[str, str]) -> _Action:
    declared = _date(row, "declaration_date") if row.get("declaration_date") else None
    return _Action(symbol, DIVIDEND, _date(row, "ex_dividend_date"), _cash(row), declared)


def _factor_split(symbol: str, row: dict[str, str]) -> _Action:
    ratio = _number(row, "split_ratio")
    if ratio <= 0:
        raise _RefusedError("bad_ratio", f"split_ratio {ratio:g} must be positive")
    return _Action(symbol, SPLIT, _session_after(row, "last_date_before"), ratio)


def _factor_dividend(symbol: str, row: dict[str, str]) -> _Action:
    return _Action(symbol, DIVIDEND, _session_after(row, "last_date_before_ex"), _cash(row))


def _symbol(ticker: str) -> str:
    try:
        return canonical_symbol(ticker)
    except SymbolError as error:
        raise _RefusedError("no_ticker", str(error)) from None


def _number(row: dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        raise _RefusedError("unreadable_value", f"{name} is {row[name]!r}, not a number") from None
    if not isfinite(value):
        raise _RefusedError("unreadable_value", f"{name} is {row[name]!r}, not a finite number")
    return value


def _cash(row: dict[str, str]) -> float:
    amount = _number(row, "cash_amount")
    if amount <= 0:
        raise _RefusedError("bad_amount", f"cash_amount {amount:g} must be positive")
    return amount


def _date(row: dict[str, str], name: str) -> date:
    try:
        return date.fromisoformat(row[name])
    except ValueError:
        raise _RefusedError("unreadable_value", f"{name} is {row[name]!r}, not a date like 2014-06-09") from None


def _session_after(row: dict[str, str], name: str) -> date:
    day = _date(row, name)
    try:
        return next_session(day)
    except CalendarError as error:
        raise _RefusedError("unreadable_value", f"{name}: {error}") from None


def _without_duplicates(
    good: list[tuple[int, list[str], _Action]],
) -> tuple[list[_Action], list[tuple[int, list[str], str, str]]]:
    """One action per key, dividends of one date added up, and the rows taken out."""
    by_key: dict[tuple[str, str, date], list[tuple[int, list[str], _Action]]] = defaultdict(list)
    out = []
    seen: set[tuple[str, ...]] = set()
    for number, fields, action in good:
        if tuple(fields) in seen:
            out.append((number, fields, "duplicate_identical", REASONS["duplicate_identical"]))
            continue
        seen.add(tuple(fields))
        by_key[action.symbol, action.action, action.ex_date].append((number, fields, action))
    kept = []
    for (symbol, kind, ex_date), found in by_key.items():
        amounts = {action.amount for _, _, action in found}
        if kind == SPLIT and len(amounts) > 1:
            detail = f"{symbol} has splits of {' and '.join(f'{one:g}' for one in sorted(amounts))} on {ex_date}"
            out.extend((number, fields, "duplicate_conflicting", detail) for number, fields, _ in found)
            continue
        declared = [action.declared for _, _, action in found]
        known = max((day for day in declared if day is not None), default=None) if None not in declared else None
        amount = sum(action.amount for _, _, action in found) if kind == DIVIDEND else amounts.pop()
        kept.append(_Action(symbol, kind, ex_date, amount, known))
    return kept, out


def _known_at(action: _Action) -> datetime:
    """From when on the action may be used; of a declaration only the date is known, so it counts from the next day."""
    effective = at_new_york(action.ex_date, time())
    if action.declared is None:
        return effective
    return min(effective, at_new_york(action.declared + timedelta(days=1), time()))


def _actions_frame(actions: list[_Action], source: str = "flat_file") -> pl.DataFrame:
    rows = [
        (
            one.symbol,
            one.action,
            one.ex_date,
            one.amount if one.action == SPLIT else None,
            one.amount if one.action == DIVIDEND else None,
            _known_at(one),
            source,
        )
        for one in actions
    ]
    return pl.DataFrame(rows, schema=CORPORATE_ACTIONS.polars_schema, orient="row").sort(*CORPORATE_ACTIONS.sort_by)


def _quarantine_frame(key: str, etag: str, bad: list[tuple[int, list[str], str, str]]) -> pl.DataFrame:
    # A file of actions belongs to no session; the table needs one, so such rows stand at the calendar's first.
    rows = [
        (DATASET, first_session(), key, etag, number, reason, f"{detail[:1].upper()}{detail[1:]}.", ",".join(fields))
        for number, fields, reason, detail in bad
    ]
    return pl.DataFrame(rows, schema=QUARANTINE.polars_schema, orient="row").sort(*QUARANTINE.sort_by)


def _refused_file(key: str, etag: str, reason: str, sentence: str) -> ParsedActions:
    row = (DATASET, first_session(), key, etag, 0, reason, sentence, None)
    quarantine = pl.DataFrame([row], schema=QUARANTINE.polars_schema, orient="row")
    return ParsedActions(CORPORATE_ACTIONS.empty(), quarantine, 0, 0, 0, 0, sentence)
