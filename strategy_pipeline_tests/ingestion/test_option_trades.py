"""Option trades files: what is kept under which key, what is refused and why, and that every row is counted."""

import random
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion.layout import DATASETS
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.option_trades import OPTION_TRADES, ROW_REASONS, ParsedTrades, parse_option_trades
from strategy_pipeline.ingestion.parse import LISTED_PER_REASON
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import QUARANTINE

TRADES = DATASETS["us_options_opra/trades_v1"]
KEY = "us_options_opra/trades_v1/2024/06/2024-06-03.csv.gz"
HEADER = "ticker,conditions,correction,exchange,price,sip_timestamp,size"
# 2024-06-03 16:00 UTC, date -u -d '2024-06-03 16:00' +%s
NOON_NS = 1_717_430_400_000_000_000
CALL, WEEKLY = "O:SPY240621C00530000", "O:SPXW240603P05200000"

WriteRaw = Callable[..., RawFile]


def row(ticker: str = CALL, ns: int = NOON_NS, price: str = "1.1", size: str = "3", conditions: str = "209") -> str:
    return f"{ticker},{conditions},0,302,{price},{ns},{size}"


@pytest.fixture
def parsed(raw_file: WriteRaw) -> Callable[..., ParsedTrades]:
    """Parses lines under a header and proves the counts and the quarantine's contract."""

    def parse(*lines: str, header: str = HEADER, roots: list[str] | None = None, key: str = KEY) -> ParsedTrades:
        found = parse_option_trades(raw_file(key, "\n".join([header, *lines]) + "\n"), TRADES, roots)
        counts = found.counts
        assert counts.read == counts.kept + counts.quarantined + counts.filtered_out
        assert counts.kept == found.trades.height
        assert found.trades.schema == OPTION_TRADES
        conform(QUARANTINE, found.quarantine)
        return found

    return parse


def test_a_print_is_read_by_the_names_of_the_columns(parsed):
    shuffled = f'{NOON_NS + 7},1.25,"209,219",{CALL},302,12,0'
    found = parsed(shuffled, header="sip_timestamp,price,conditions,ticker,exchange,size,correction")
    print_ = found.trades.row(0, named=True)
    assert (print_["contract_ticker"], print_["price"], print_["size"], print_["exchange_id"]) == (CALL, 1.25, 12, 302)
    assert print_["condition_ids"] == [209, 219]
    assert (print_["session"], print_["is_corrected"], print_["source"]) == (date(2024, 6, 3), False, "flat_file")
    assert found.quarantine.is_empty()


def test_nanoseconds_are_kept_and_microseconds_truncated(parsed):
    print_ = parsed(row(ns=NOON_NS + 1_999)).trades.row(0, named=True)
    assert print_["sip_timestamp_ns"] == NOON_NS + 1_999
    assert print_["sip_timestamp"].microsecond == 1


def test_without_a_vendor_sequence_the_ordinal_follows_time_and_then_the_file(parsed):
    found = parsed(row(price="3", ns=NOON_NS + 500), row(price="1"), row(price="2"), row(price="4", ns=NOON_NS + 1000))
    assert found.trades["price"].to_list() == [1.0, 2.0, 3.0, 4.0]
    assert found.trades["sequence"].to_list() == [0, 1, 2, 0]
    assert found.trades["sequence_source"].unique().to_list() == ["ordinal"]


def test_equal_rows_without_a_sequence_are_two_prints(parsed):
    found = parsed(row(), row())
    assert (found.counts.kept, found.counts.quarantined) == (2, 0)


def test_the_same_file_gives_the_same_keys_wherever_its_contracts_stand(parsed):
    lines = [row(ns=NOON_NS + n * 400, price=f"{n + 1}") for n in range(6)]
    others = [row(WEEKLY, ns=NOON_NS + n * 400) for n in range(6)]
    first = parsed(*lines, *others).trades
    mixed = [one for pair in zip(others, lines, strict=True) for one in pair]
    assert parsed(*mixed).trades.equals(first)


def with_sequence(sequence: object, **values: object) -> str:
    return f"{row(**values)},{sequence}"  # type: ignore[arg-type]


def test_a_vendor_sequence_is_the_key_and_a_repeated_print_is_refused(parsed):
    header = HEADER + ",sequence_number"
    lines = [with_sequence(9), with_sequence(7), with_sequence(9), with_sequence(8, price="2"), with_sequence(8)]
    found = parsed(*lines, header=header)
    assert found.trades["sequence"].to_list() == [7, 9]
    assert found.trades["sequence_source"].unique().to_list() == ["vendor"]
    assert found.quarantine.select("line_number", "reason").rows() == [
        (4, "duplicate_identical"), (5, "duplicate_conflicting"), (6, "duplicate_conflicting"),
    ]  # fmt: skip


def test_a_vendor_sequence_with_holes_is_not_used(parsed):
    found = parsed(with_sequence(9), with_sequence(""), header=HEADER + ",sequence_number")
    assert found.trades["sequence"].to_list() == [0, 1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(ticker=""), "no_ticker"),
        (row(ticker="SPY"), "bad_ticker"),
        (row(ticker="O:SPY240621X00530000"), "bad_ticker"),
        (row(price=""), "unreadable_value"),
        (row(price="one"), "unreadable_value"),
        (row(size="many"), "unreadable_value"),
        (row(ns=NOON_NS // 1000), "timestamp_unit"),
        (row(ns=NOON_NS - 86_400 * 10**9), "other_date"),
        (row(price="inf"), "price_not_finite"),
        (row(price="NaN"), "price_not_finite"),
        (row(price="0"), "price_not_positive"),
        (row(price="-1.1"), "price_not_positive"),
        (row(size="0"), "bad_size"),
        (row(size="1.5"), "bad_size"),
        (row(size="-3"), "bad_size"),
        (row(conditions="ISO"), "bad_conditions"),
        (row(conditions='"209;219"'), "bad_conditions"),
        (row() + ",extra", "wrong_field_count"),
        ("O:SPY240621C00530000,209", "wrong_field_count"),
        (",,,,,,", "no_ticker"),
    ],
)
def test_what_cannot_be_a_print_is_refused_with_its_line_and_reason(parsed, line, reason):
    found = parsed(row(), line, row(ns=NOON_NS + 10**9))
    assert found.trades.height == 2
    refused = found.quarantine.row(0, named=True)
    assert (refused["line_number"], refused["reason"], refused["raw"]) == (3, reason, line)
    assert refused["detail"].startswith(ROW_REASONS[reason])
    assert found.counts.by_reason == {reason: 1}


def test_a_print_without_conditions_is_kept(parsed):
    assert parsed(row(conditions="")).trades["condition_ids"].to_list() == [[]]


def test_an_adjusted_root_and_a_correction_are_kept(parsed):
    adjusted = f"O:AAPL7140719C00070710,209,1,302,1.1,{NOON_NS},3"
    found = parsed(adjusted)
    assert found.trades["is_corrected"].to_list() == [True]


def test_only_the_wanted_roots_are_kept_and_unreadable_tickers_still_refused(parsed):
    found = parsed(row(), row(WEEKLY), row(ticker="?"), roots=["SPXW"])
    assert found.trades["contract_ticker"].to_list() == [WEEKLY]
    assert (found.counts.filtered_out, found.counts.quarantined) == (1, 1)


@pytest.mark.parametrize(
    ("lines", "header", "key", "reason"),
    [
        ([row()], "ticker,price,size", KEY, "missing_columns"),
        ([], HEADER, KEY, "no_rows"),
        ([row()], HEADER, KEY.replace("06-03", "06-02"), "not_a_session"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_in_one_sentence(parsed, lines, header, key, reason):
    found = parsed(*lines, header=header, key=key)
    assert found.trades.is_empty()
    assert found.quarantine["reason"].to_list() == [reason]
    assert found.refusal.endswith(".")


def test_a_damaged_file_is_refused_and_not_half_read(raw_file):
    whole = raw_file(KEY, "\n".join([HEADER, *[row(ns=NOON_NS + n) for n in range(5000)]]) + "\n")
    half = raw_file(KEY, whole.path.read_bytes()[:-200])
    found = parse_option_trades(half, TRADES)
    assert found.quarantine["reason"].to_list() == ["damaged_file"]
    assert found.trades.is_empty()


def test_many_rows_with_one_fault_are_counted_and_not_all_listed(parsed):
    found = parsed(*[row(size="0")] * (LISTED_PER_REASON + 5), row())
    assert found.counts.by_reason == {"bad_size": LISTED_PER_REASON + 5}
    assert found.quarantine.height == LISTED_PER_REASON + 1
    assert found.quarantine.filter(pl.col("reason") == "not_listed")["detail"].item().startswith("5 more rows")


def test_every_row_is_counted_whatever_stands_in_the_file(parsed):
    generator = random.Random(5)
    pool = [row(), row(price="x"), row(size="0"), row(WEEKLY), "", ",", '"', row(ticker='O:SPY"'), row() + ",1"]
    for _ in range(30):
        lines = generator.choices(pool, k=12)
        found = parsed(*lines, row(), roots=["SPY"])
        assert found.counts.read == 1 + sum(bool(line) for line in lines)


def test_another_data_set_is_an_error(raw_file):
    with pytest.raises(DataError, match="option trades"):
        parse_option_trades(raw_file(KEY, HEADER), DATASETS["us_options_opra/quotes_v1"])
