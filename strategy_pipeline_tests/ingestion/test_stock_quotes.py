"""Stock quotes: what is kept, what is refused and why, and that a quote is never known before its time."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from strategy_pipeline.ingestion.judged_files import JudgedFile
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.stock_quotes import REASONS, STOCK_QUOTES, parse_stock_quotes
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import QUARANTINE

WriteRaw = Callable[..., RawFile]
DAY = date(2013, 10, 7)
KEY = "us_stocks_sip/quotes_v1/2013/10/2013-10-07.csv.gz"
HEADER = "ticker,ask_price,bid_price,sequence_number,sip_timestamp\n"
# 2013-10-07 09:31 New York is 13:31 UTC, 1381152660 s; a nanosecond before it.
AT = 1_381_152_659_999_999_999


def row(ticker: str = "IBM", bid: object = 181.1, ask: object = 181.2, at: object = AT, sequence: object = 1) -> str:
    return f"{ticker},{ask},{bid},{sequence},{at}\n"


def parsed(raw_file: WriteRaw, body: str, header: str = HEADER, symbols: list[str] | None = None) -> JudgedFile:
    found = parse_stock_quotes(raw_file(KEY, header + body), DAY, symbols)
    counts = found.counts
    assert counts.read == counts.kept + counts.quarantined + counts.filtered_out
    assert counts.kept == found.rows.height
    assert found.rows.schema == STOCK_QUOTES
    conform(QUARANTINE, found.quarantine)
    assert set(found.quarantine["reason"]) <= set(REASONS)
    return found


def test_a_quote_is_known_from_the_first_microsecond_that_is_not_before_it(raw_file):
    quote = parsed(raw_file, row()).rows.row(0, named=True)
    assert (quote["symbol"], quote["bid"], quote["ask"], quote["sip_timestamp_ns"]) == ("IBM", 181.1, 181.2, AT)
    assert quote["quote_at"] == datetime(2013, 10, 7, 13, 30, 59, 999999, tzinfo=UTC)
    assert quote["available_at"] == datetime(2013, 10, 7, 13, 31, tzinfo=UTC)
    exact = parsed(raw_file, row(at=AT + 1)).rows.row(0, named=True)
    assert exact["quote_at"] == exact["available_at"] == datetime(2013, 10, 7, 13, 31, tzinfo=UTC)


@pytest.mark.parametrize(("bid", "ask"), [(0, 181.2), (181.1, 0), (181.3, 181.2), ("", 181.2), (0, 0)])
def test_zero_one_sided_and_crossed_quotes_are_kept_as_they_are(raw_file, bid, ask):
    quote = parsed(raw_file, row(bid=bid, ask=ask)).rows.row(0, named=True)
    assert (quote["bid"], quote["ask"]) == (None if bid == "" else bid, ask)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(ticker="O:IBM131019C00180000"), "malformed_ticker"),
        (row(ticker="ib m"), "malformed_ticker"),
        (row(ticker=""), "no_ticker"),
        (row(bid="", ask=""), "unreadable_value"),
        (row(ask="abc"), "unreadable_value"),
        (row(at=""), "unreadable_value"),
        (row(at=1_381_152_659), "timestamp_unit"),
        (row(at=1_381_152_659_999), "timestamp_unit"),
        (row(at=1_381_152_659_999_999), "timestamp_unit"),
        (row(at=AT + 86_400 * 10**9), "other_date"),
        (row(bid="nan"), "price_not_finite"),
        (row(ask="inf"), "price_not_finite"),
        (row(bid=-0.1), "price_negative"),
        ("only,two\n", "wrong_field_count"),
    ],
)
def test_a_bad_quote_is_refused_with_its_line_and_reason(raw_file, line, reason):
    found = parsed(raw_file, row() + line, symbols=["IBM"])
    assert found.rows.height == 1
    refused = found.quarantine.row(0, named=True)
    assert (refused["line_number"], refused["reason"], refused["raw"]) == (3, reason, line.strip())
    assert refused["dataset"] == "us_stocks_sip/quotes_v1"


def test_the_same_quote_twice_is_kept_once_and_two_that_differ_not_at_all(raw_file):
    found = parsed(raw_file, row() * 2 + row(sequence=2) + row(sequence=2, ask=182))
    assert found.rows["sequence"].to_list() == [1]
    assert found.counts.by_reason == {"duplicate_conflicting": 2, "duplicate_identical": 1}


def test_quotes_lie_in_the_order_of_the_tape_and_without_a_sequence_in_that_of_the_file(raw_file):
    body = row(at=AT + 1, sequence=3) + row(at=AT, sequence=2) + row(at=AT, sequence=1) + row("AAPL", sequence=9)
    assert parsed(raw_file, body).rows["sequence"].to_list() == [9, 1, 2, 3]
    header = "ticker,ask_price,bid_price,sip_timestamp\n"
    found = parsed(raw_file, f"IBM,181.2,181.1,{AT}\nIBM,181.3,181.1,{AT}\n", header)
    assert found.rows["ask"].to_list() == [181.2, 181.3]


def test_quotes_of_other_symbols_are_counted_and_their_odd_tickers_are_nobodys_fault(raw_file):
    found = parsed(raw_file, row() + row("BACpL") + row("BRK.B"), symbols=["IBM"])
    assert (found.counts.kept, found.counts.filtered_out, found.counts.quarantined) == (1, 2, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER, "no_rows"),
        ("ticker,bid_price,sip_timestamp\nIBM,1,1\n", "missing_columns"),
        (b"\x1f\x8bx", "damaged_file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(raw_file, content, reason):
    found = parse_stock_quotes(raw_file(KEY, content), DAY)
    assert found.rows.is_empty()
    assert found.refusal
    assert found.quarantine["reason"].to_list() == [reason]


def test_a_file_that_breaks_off_is_refused_whole(shared_data, raw_file):
    whole = (shared_data / KEY).read_bytes()
    for symbols in (None, ["SPY"]):
        found = parse_stock_quotes(raw_file(KEY, whole[: len(whole) // 2]), DAY, symbols)
        assert (found.rows.height, found.quarantine["reason"].to_list()) == (0, ["damaged_file"])


def test_a_symbol_has_the_same_quotes_alone_as_among_all(shared_data, raw_file):
    raw = raw_file(KEY, (shared_data / KEY).read_bytes())
    every = parse_stock_quotes(raw, DAY).rows
    for symbol in ("SPY", "IBM"):
        assert parse_stock_quotes(raw, DAY, [symbol]).rows.equals(every.filter(every["symbol"] == symbol))


def test_without_a_sequence_the_line_of_the_file_is_one_also_among_others(raw_file):
    body = f"AAPL,9,8,{AT}\nIBM,181.2,181.1,{AT}\nAAPL,9,8,{AT}\nIBM,181.3,181.1,{AT}\n"
    found = parsed(raw_file, body, "ticker,ask_price,bid_price,sip_timestamp\n", ["IBM"])
    assert found.rows.select("sequence", "ask").rows() == [(3, 181.2), (5, 181.3)]
    assert (found.counts.read, found.counts.filtered_out) == (4, 2)


def test_the_real_file_is_read_without_a_refused_row(shared_data, raw_file):
    found = parse_stock_quotes(raw_file(KEY, (shared_data / KEY).read_bytes()), DAY, ["SPY"])
    # 39,085 rows (data README), 27,409 of them SPY's by `awk -F, '$1=="SPY"'`.
    assert (found.counts.kept, found.counts.filtered_out, found.quarantine.height) == (27_409, 11_676, 0)
