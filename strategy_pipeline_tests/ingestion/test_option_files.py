"""Quotes, prints, open interest, contracts and rates of options: what is kept, what is refused, and why."""

import gzip
import random
from collections.abc import Callable
from datetime import UTC, date, datetime

import polars as pl
import pytest

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion import option_files
from strategy_pipeline.ingestion.judged_files import JudgedFile
from strategy_pipeline.ingestion.layout import DATASETS
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.option_files import (
    option_contracts,
    option_prints,
    option_symbols_to_roots,
    parse_open_interest,
    parse_option_quotes,
    parse_rates,
)
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, INSTANT, OPEN_INTEREST, OPTION_CONTRACTS, QUARANTINE

WriteRaw = Callable[..., RawFile]
DAY = date(2015, 12, 24)
QUOTES = "us_options_opra/quotes_v1/2015/12/2015-12-24.csv.gz"
INTEREST = "extra/option_open_interest/2015/12/2015-12-24.csv.gz"
MINUTES = DATASETS["us_options_opra/minute_aggs_v1"]
HEADER = "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,sequence_number,sip_timestamp\n"
# 2015-12-24 09:31 New York is 14:31 UTC, 1450967460 s; a nanosecond before it.
AT = 1_450_967_459_999_999_999
TICKER = "O:GOOG160115C00750000"
PUBLISHED_AT = datetime(2013, 10, 5, 15, 0, tzinfo=UTC)


def quote_row(
    ticker: str = TICKER, bid: object = 10.1, ask: object = 10.3, at: object = AT, sequence: object = 1
) -> str:
    return f"{ticker},0,{ask},5,0,{bid},7,{sequence},{at}\n"


def checked(found: JudgedFile) -> JudgedFile:
    """What holds for every result whatsoever."""
    counts = found.counts
    assert counts.read == counts.kept + counts.quarantined + counts.filtered_out
    assert counts.kept == found.rows.height
    assert sum(counts.by_reason.values()) == counts.quarantined
    conform(QUARANTINE, found.quarantine)
    assert set(found.quarantine["reason"]) <= set(option_files.REASONS)
    return found


def quotes(raw_file: WriteRaw, body: str, header: str = HEADER, symbols: list[str] | None = None) -> JudgedFile:
    return checked(parse_option_quotes(raw_file(QUOTES, header + body), DAY, symbols))


def test_a_quote_keeps_both_sides_and_its_tape_time_truncated_to_microseconds(raw_file):
    row = quotes(raw_file, quote_row()).rows.row(0, named=True)
    assert (row["contract_ticker"], row["bid"], row["ask"], row["bid_size"]) == (TICKER, 10.1, 10.3, 7.0)
    assert row["sip_timestamp_ns"] == AT
    assert row["available_at"] == row["event_at"] == datetime(2015, 12, 24, 14, 30, 59, 999999, tzinfo=UTC)


def test_columns_are_found_by_name_and_optional_ones_may_be_missing(raw_file):
    header = "sip_timestamp,bid_price,ask_price,ticker\n"
    row = quotes(raw_file, f"{AT},10.1,10.3,{TICKER}\n", header).rows.row(0, named=True)
    assert (row["bid"], row["ask"], row["bid_size"]) == (10.1, 10.3, None)


@pytest.mark.parametrize(("bid", "ask"), [(0, 10.3), (10.1, 0), (10.4, 10.3), ("", 10.3), (0, 0)])
def test_zero_one_sided_and_crossed_quotes_are_kept_as_they_are(raw_file, bid, ask):
    row = quotes(raw_file, quote_row(bid=bid, ask=ask)).rows.row(0, named=True)
    assert (row["bid"], row["ask"]) == (None if bid == "" else bid, ask)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (quote_row(ticker="GOOG"), "malformed_ticker"),
        (quote_row(ticker="O:GOOG161399C00750000"), "malformed_ticker"),
        (quote_row(ticker=""), "no_ticker"),
        (quote_row(bid="", ask=""), "unreadable_value"),
        (quote_row(bid="abc"), "unreadable_value"),
        (quote_row(at=""), "unreadable_value"),
        (quote_row(at=1_450_967_459), "timestamp_unit"),
        (quote_row(at=AT + 86_400 * 10**9), "other_date"),
        (quote_row(bid="nan"), "price_not_finite"),
        (quote_row(ask="inf"), "price_not_finite"),
        (quote_row(bid=-0.1), "price_negative"),
        (quote_row(ticker="O:GOOG151218C00750000"), "expired_contract"),
        ("only,two\n", "wrong_field_count"),
    ],
)
def test_a_bad_quote_is_refused_with_its_line_and_reason(raw_file, row, reason):
    found = quotes(raw_file, quote_row() + row)
    assert found.rows.height == 1
    refused = found.quarantine.row(0, named=True)
    assert (refused["line_number"], refused["reason"], refused["raw"]) == (3, reason, row.strip())


def test_the_same_quote_twice_is_kept_once_and_two_that_differ_not_at_all(raw_file):
    found = quotes(raw_file, quote_row() * 2 + quote_row(sequence=2) + quote_row(sequence=2, ask=11))
    assert found.rows["sequence"].to_list() == [1]
    assert found.counts.by_reason == {"duplicate_conflicting": 2, "duplicate_identical": 1}


def test_quotes_are_sorted_by_contract_and_tape_order(raw_file):
    later, earlier = quote_row(at=AT + 1, sequence=2), quote_row(at=AT, sequence=1)
    other = quote_row(ticker="O:GOOG160115C00700000", at=AT + 2, sequence=3)
    assert quotes(raw_file, later + earlier + other).rows["sequence"].to_list() == [3, 1, 2]


def test_only_the_options_of_the_asked_symbols_are_kept_their_weeklies_and_adjusted_ones_too(raw_file):
    names = ["SPX160115C02000000", "SPXW160115C02000000", "SPXL160115C00100000", "GOOG7160115C00750000"]
    body = "".join(quote_row(ticker=f"O:{name}") for name in names)
    found = quotes(raw_file, body, symbols=["SPX"])
    assert found.rows["contract_ticker"].to_list() == ["O:SPX160115C02000000", "O:SPXW160115C02000000"]
    assert found.counts.filtered_out == 2
    assert quotes(raw_file, body, symbols=["GOOG"]).rows["contract_ticker"].to_list() == ["O:GOOG7160115C00750000"]
    assert "SPXW" in option_symbols_to_roots(["SPX"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER, "no_rows"),
        ("ticker,bid_price\nA,1\n", "missing_columns"),
        (b"not gzip at all", "damaged_file"),
        (b"", "damaged_file"),
    ],
)
def test_a_file_that_cannot_be_used_says_so_in_one_sentence(raw_file, content, reason):
    found = checked(parse_option_quotes(raw_file(QUOTES, content), DAY))
    assert found.rows.is_empty()
    assert found.refusal
    assert found.quarantine.select("reason", "line_number").rows() == [(reason, 0)]


def test_a_file_cut_off_in_the_middle_is_refused_as_a_whole(raw_file):
    whole = gzip.compress((HEADER + quote_row() * 500).encode(), mtime=0)
    found = checked(parse_option_quotes(raw_file(QUOTES, whole[: len(whole) // 2]), DAY))
    assert found.quarantine["reason"].to_list() == ["damaged_file"]


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_to_a_file_every_row_is_kept_refused_or_filtered(raw_file, seed):
    draw = random.Random(seed)
    body = "".join(quote_row(sequence=number, at=AT + number) for number in range(30))
    letters = list(body)
    for _ in range(draw.randrange(1, 12)):
        place = draw.randrange(len(letters))
        letters[place] = draw.choice(["", ",", '"', "\n", "-", "x", ".", "9", "\x00", "\u00e9", " "])
    found = quotes(raw_file, "".join(letters), symbols=draw.choice([None, ["GOOG"], ["SPX"]]))
    assert found.rows["bid"].drop_nulls().is_finite().all()
    conform(OPTION_CONTRACTS, option_contracts(DAY, {"quotes": found.rows}).rows)


def interest(raw_file: WriteRaw, body: str, header: str = "ticker,date,open_interest,timestamp\n") -> JudgedFile:
    found = checked(parse_open_interest(raw_file(INTEREST, header + body), DAY))
    conform(OPEN_INTEREST, found.rows)
    return found


def test_open_interest_describes_the_session_before_and_is_known_at_half_past_six(raw_file):
    # 1450956660 s is 2015-12-24 06:31 New York.
    found = interest(raw_file, f"{TICKER},2015-12-24,123,1450956660000000000\n")
    row = found.rows.row(0, named=True)
    assert (row["session"], row["oi_session"], row["open_interest"]) == (DAY, date(2015, 12, 23), 123)
    assert row["available_at"] == datetime(2015, 12, 24, 11, 31, tzinfo=UTC)
    plain = interest(raw_file, f"{TICKER},2015-12-24,123\n", "ticker,date,open_interest\n").rows.row(0, named=True)
    assert plain["available_at"] == datetime(2015, 12, 24, 11, 30, tzinfo=UTC)


def test_open_interest_stamped_after_the_close_is_not_known_before(raw_file):
    # 1450990800 s is 2015-12-24 16:00 New York.
    found = interest(raw_file, f"{TICKER},2015-12-24,123,1450990800000000000\n")
    assert found.rows["available_at"].to_list() == [datetime(2015, 12, 24, 21, 0, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{TICKER},2015-12-23,1,1450956660000000000\n", "other_date"),
        (f"{TICKER},2015-12-24,1,1450866660000000000\n", "other_date"),
        (f"{TICKER},2015-12-24,-1,1450956660000000000\n", "bad_open_interest"),
        (f"{TICKER},2015-12-24,1.5,1450956660000000000\n", "bad_open_interest"),
        (f"{TICKER},2015-12-24,,1450956660000000000\n", "unreadable_value"),
        (f"{TICKER},2015-12-24,1,1450956660\n", "timestamp_unit"),
        ("O:GOOG151218C00750000,2015-12-24,1,1450956660000000000\n", "expired_contract"),
        ("GOOG,2015-12-24,1,1450956660000000000\n", "malformed_ticker"),
    ],
)
def test_bad_open_interest_is_refused_with_its_reason(raw_file, row, reason):
    found = interest(raw_file, row)
    assert found.rows.is_empty()
    assert found.quarantine["reason"].to_list() == [reason]
    assert found.refusal


def test_one_contract_with_two_numbers_of_open_interest_has_none(raw_file):
    body = f"{TICKER},2015-12-24,1,1450956660000000000\n{TICKER},2015-12-24,2,1450956660000000000\n"
    assert interest(raw_file, body).rows.is_empty()


MINUTE_HEADER = "ticker,volume,open,close,high,low,window_start,transactions\n"


def test_a_minute_of_prints_is_its_last_price_at_its_end(raw_file):
    body = f"{TICKER},4,10,10.4,10.5,9.9,1450967400000000000,\nnonsense,4,10,10.4,10.5,9.9,1450967400000000000,\n"
    raw = raw_file("us_options_opra/minute_aggs_v1/2015/12/2015-12-24.csv.gz", MINUTE_HEADER + body)
    found = checked(option_prints(parse_aggregates(raw, MINUTES)))
    row = found.rows.row(0, named=True)
    assert (row["contract_ticker"], row["price"], row["size"]) == (TICKER, 10.4, 4.0)
    assert row["event_at"] == datetime(2015, 12, 24, 14, 31, tzinfo=UTC)
    assert row["available_at"] == datetime(2015, 12, 24, 14, 31, 2, tzinfo=UTC)
    assert found.quarantine.select("reason", "raw").rows() == [("malformed_ticker", "nonsense")]


def test_prints_come_from_option_minutes_only(raw_file):
    key = "us_stocks_sip/minute_aggs_v1/2015/12/2015-12-24.csv.gz"
    stocks = parse_aggregates(raw_file(key, MINUTE_HEADER), DATASETS["us_stocks_sip/minute_aggs_v1"])
    with pytest.raises(DataError, match="no minutes of options"):
        option_prints(stocks)


def seen(*tickers: str, at: datetime = datetime(2015, 12, 24, 14, 31, tzinfo=UTC)) -> pl.DataFrame:
    schema = {"contract_ticker": pl.String, "available_at": INSTANT, "ingested_at": INSTANT}
    return pl.DataFrame([(ticker, at, PUBLISHED_AT) for ticker in tickers], schema=schema, orient="row")


def listed(*kinds: tuple[str, pl.DataFrame], **options: object) -> JudgedFile:
    found = checked(option_contracts(DAY, dict(kinds), **options))
    conform(OPTION_CONTRACTS, found.rows)
    return found


def test_a_contract_is_known_from_the_first_thing_that_names_it():
    morning = datetime(2015, 12, 24, 11, 30, tzinfo=UTC)
    found = listed(("quotes", seen(TICKER)), ("open_interest", seen(TICKER, at=morning)))
    row = found.rows.row(0, named=True)
    assert row["available_at"] == morning
    assert (row["symbol"], row["strike"], row["settlement"], row["multiplier"]) == ("GOOG", 750.0, "pm", 100.0)
    assert row["quality_flags"] == ["terms_from_ticker"]
    assert found.counts.read == 1


def test_an_adjusted_contract_without_reference_is_refused_and_with_one_has_its_deliverable():
    adjusted = "O:GOOG1160115C00750000"
    found = listed(("quotes", seen(adjusted)))
    assert found.counts.by_reason == {"unknown_deliverable": 1}
    reference = listed(("quotes", seen(TICKER))).rows.with_columns(
        contract_ticker=pl.lit(adjusted), multiplier=pl.lit(10.0), source=pl.lit("rest"), quality_flags=pl.lit([])
    )
    rows = listed(
        ("quotes", seen(adjusted, TICKER)), reference=reference.cast(OPTION_CONTRACTS.polars_schema)
    ).rows  # fmt: skip
    assert dict(rows.select("contract_ticker", "multiplier").iter_rows()) == {adjusted: 10.0, TICKER: 100.0}


def test_expired_and_malformed_contracts_are_refused():
    found = listed(("quotes", seen("O:GOOG151218C00750000", "GOOG", TICKER)))
    assert found.counts.by_reason == {"expired_contract": 1, "malformed_ticker": 1}
    assert found.rows["contract_ticker"].to_list() == [TICKER]


def test_a_contract_that_expires_today_is_listed():
    assert listed(("quotes", seen("O:GOOG151224C00750000"))).rows.height == 1


def test_on_the_ex_date_of_a_split_open_interest_alone_lists_nothing():
    actions = pl.DataFrame(
        [("GOOG", "split", DAY, 7.0, None, datetime(2015, 12, 24, 5, tzinfo=UTC), "flat_file")],
        schema=CORPORATE_ACTIONS.polars_schema,
        orient="row",
    )
    new = "O:GOOG160115C00107140"
    found = listed(("open_interest", seen(TICKER)), ("prints", seen(new)), actions=actions)
    assert found.rows["contract_ticker"].to_list() == [new]
    assert found.counts.by_reason == {"terms_before_split": 1}


def test_only_contracts_on_the_asked_symbols_are_listed():
    found = listed(("quotes", seen(TICKER, "O:SPXW160115C02000000")), symbols=["SPX"])
    assert found.rows["root"].to_list() == ["SPXW"]
    assert found.counts.filtered_out == 1


def test_nothing_seen_lists_nothing():
    assert listed().rows.is_empty()


def test_policy_rates_become_a_flat_continuous_curve_known_from_their_day(raw_file):
    found = checked(parse_rates(raw_file("extra/rate.csv.gz", "DATE,PCREDIT8\n2015-12-17,1.00\n2023-07-27,5.5")))
    assert found.rows["available_at"].to_list() == [
        datetime(2015, 12, 17, 5, tzinfo=UTC),
        datetime(2023, 7, 27, 4, tzinfo=UTC),
    ]
    # 365 ln(1 + 0.01/365) and 365 ln(1 + 0.055/365)
    assert found.rows["rate"].to_list() == pytest.approx([0.00999986302, 0.05499585656], abs=1e-10)


def test_bad_rates_are_refused_and_a_day_with_two_rates_has_none(raw_file):
    body = "DATE,RATE\n2015-12-17,1\n2015-12-18,x\nyesterday,1\n2015-12-19\n2015-12-20,1\n2015-12-20,2\n2015-12-17,1\n"
    found = checked(parse_rates(raw_file("extra/rate.csv.gz", body)))
    assert found.rows.height == 1
    assert found.counts.by_reason == {
        "bad_date": 1, "bad_rate": 1, "duplicate_conflicting": 2, "duplicate_identical": 1, "wrong_field_count": 1,
    }  # fmt: skip


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "", b"\x1f\x8bbroken"])
def test_a_rate_file_that_cannot_be_used_says_so(raw_file, content):
    found = checked(parse_rates(raw_file("extra/rate.csv.gz", content)))
    assert found.rows.is_empty()
    assert found.refusal


def test_the_real_files_are_read_without_a_refused_row(shared_data, raw_file):
    for key, parse, rows in ((QUOTES, parse_option_quotes, 275_552), (INTEREST, parse_open_interest, 2_058)):
        found = checked(parse(raw_file(key, (shared_data / key).read_bytes()), DAY, ["GOOG"]))
        assert (found.rows.height, found.quarantine.height) == (rows, 0)
