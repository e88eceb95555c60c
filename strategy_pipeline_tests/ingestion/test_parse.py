"""Each bad input of the vendor's aggregate files: what is kept, what is refused, why, and that every row is counted."""

import gzip
import random
from collections.abc import Callable
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion import parse
from strategy_pipeline.ingestion.layout import DATASETS, Dataset
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.parse import ParsedFile, parse_aggregates, watched_symbols
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import HISTORICAL_BARS, QUARANTINE
from strategy_pipeline.market.symbols import instrument

MINUTES = DATASETS["us_stocks_sip/minute_aggs_v1"]
HOURS = DATASETS["us_stocks_sip/hour_aggs_v1"]
DAYS = DATASETS["us_stocks_sip/day_aggs_v1"]
INDEX_MINUTES = DATASETS["us_indices/minute_aggs_v1"]
INDEX_DAYS = DATASETS["us_indices/day_aggs_v1"]
OPTION_MINUTES = DATASETS["us_options_opra/minute_aggs_v1"]
FRIDAY = "us_stocks_sip/minute_aggs_v1/2013/10/2013-10-04.csv.gz"
HEADER = "ticker,volume,open,close,high,low,window_start,transactions\n"
# 2013-10-04 09:30 New York is 13:30 UTC: 1380893400 s (date -u -d '2013-10-04 13:30' +%s)
OPEN_NS = 1_380_893_400_000_000_000
MINUTE_NS = 60_000_000_000

WriteRaw = Callable[..., RawFile]


def row(
    ticker: str = "SPY",
    minute: int = 0,
    *,
    volume: object = 100,
    o: object = 10,
    c: object = 10.5,
    h: object = 11,
    low: object = 9,
    at: object = None,
    trades: object = 5,
) -> str:
    start = OPEN_NS + minute * MINUTE_NS if at is None else at
    return f"{ticker},{volume},{o},{c},{h},{low},{start},{trades}\n"


def check(parsed: ParsedFile) -> ParsedFile:
    """What holds for every result whatsoever."""
    counts = parsed.counts
    assert counts.read == counts.kept + counts.quarantined + counts.filtered_out
    assert counts.kept == parsed.bars.height
    assert sum(counts.by_reason.values()) == counts.quarantined
    conform(HISTORICAL_BARS, parsed.bars)
    conform(QUARANTINE, parsed.quarantine)
    assert set(parsed.quarantine["reason"]) <= parse.FILE_REASONS.keys() | parse.ROW_REASONS.keys()
    return parsed


@pytest.fixture
def parsed(raw_file: WriteRaw) -> Callable[..., ParsedFile]:
    def run(
        content: str | bytes, symbols: list[str] | None = None, dataset: Dataset = MINUTES, key: str = FRIDAY
    ) -> ParsedFile:
        return check(parse_aggregates(raw_file(key, content), dataset, symbols))

    return run


Parse = Callable[..., ParsedFile]


def reasons(result: ParsedFile) -> list[tuple[int, str]]:
    return list(result.quarantine.select("line_number", "reason").iter_rows())


def test_a_row_becomes_a_bar_known_two_seconds_after_its_end(parsed: Parse) -> None:
    [bar] = parsed(HEADER + row("SPY", 1)).bars.to_dicts()
    assert bar == {
        "symbol": "SPY",
        "timeframe": "1m",
        "bar_start": datetime(2013, 10, 4, 13, 31, tzinfo=UTC),
        "bar_end": datetime(2013, 10, 4, 13, 32, tzinfo=UTC),
        "session": date(2013, 10, 4),
        "segment": "rth",
        "open": 10.0,
        "high": 11.0,
        "low": 9.0,
        "close": 10.5,
        "volume": 100.0,
        "vwap": None,
        "trades": 5,
        "coverage_pct": None,
        "source": "flat_file",
        "quality": "final",
        "quality_flags": [],
        "available_at": datetime(2013, 10, 4, 13, 32, 2, tzinfo=UTC),
        "ingested_at": datetime(2013, 10, 5, 15, 0, tzinfo=UTC),
        "revision": 0,
        "definition_version": "bars-1/session",
    }


def test_segments_follow_the_session_also_on_a_half_day(parsed: Parse) -> None:
    # Minutes from 09:30: 04:00 is -330, 16:00 is 390, 19:59 is 629.
    full = parsed(HEADER + "".join(row("SPY", minute) for minute in (-330, -1, 0, 389, 390, 629)))
    assert full.bars["segment"].to_list() == ["pre", "pre", "rth", "rth", "post", "post"]
    # 2015-12-24 09:30 New York is 14:30 UTC: 1450967400 s; the close is 13:00, 210 minutes later.
    half = "".join(row("SPY", at=(1_450_967_400 + 60 * minute) * 10**9) for minute in (-1, 0, 209, 210))
    key = "us_stocks_sip/minute_aggs_v1/2015/12/2015-12-24.csv.gz"
    assert parsed(HEADER + half, key=key).bars["segment"].to_list() == ["pre", "rth", "rth", "post"]


@pytest.mark.parametrize("ticker", ["NA", "NAN", "TRUE", "NULL", "INF", "A", "BRK.B", "BACpA", "E1"])
def test_tickers_that_look_like_values_stay_tickers(parsed: Parse, ticker: str) -> None:
    result = parsed(HEADER + row(ticker))
    assert result.bars["symbol"].to_list() == [ticker]
    assert result.quarantine.is_empty()
    # The same when another row forces the file to be read line by line.
    slow = parsed(HEADER + row(ticker) + row("ZZZZ", volume="many"))
    assert slow.bars["symbol"].to_list() == [ticker]


def test_the_watchlist_is_filtered_on_the_way_and_the_rest_is_counted(parsed: Parse) -> None:
    result = parsed(HEADER + row("AAPL") + row("IBM") + row("IBM", 1) + row("SPY"), ["SPY", "IBM", "XYZ"])
    assert result.bars["symbol"].to_list() == ["IBM", "IBM", "SPY"]
    assert (result.counts.read, result.counts.kept, result.counts.filtered_out) == (4, 3, 1)
    assert result.symbols_not_found == ("XYZ",)
    assert result.refusal is None


def test_bad_rows_of_other_tickers_are_none_of_our_business(parsed: Parse) -> None:
    result = parsed(HEADER + row("AAPL", o="?") + row("BAC", low=-1) + row("SPY"), ["SPY"])
    assert (result.counts.kept, result.counts.quarantined, result.counts.filtered_out) == (1, 0, 2)


def test_columns_are_found_by_name_in_any_order_among_others(parsed: Parse) -> None:
    text = f"low,exchange,window_start,ticker,close,transactions,open,high,volume\n9,Q,{OPEN_NS},SPY,10.5,5,10,11,100\n"
    assert parsed(text).bars.equals(parsed(HEADER + row("SPY")).bars)


def test_a_missing_column_refuses_the_file_in_one_sentence(parsed: Parse) -> None:
    result = parsed("ticker,volume,open,close,high,window_start\nSPY,1,1,1,1,1\n")
    assert result.refusal == (
        f"{FRIDAY} has the columns ticker, volume, open, close, high, window_start: low must be there once each."
    )
    assert reasons(result) == [(0, "missing_columns")]
    assert reasons(parsed("ticker,ticker,volume,open,close,high,low,window_start\n")) == [(0, "missing_columns")]


def test_the_number_of_trades_may_be_empty_or_absent(parsed: Parse) -> None:
    assert parsed(HEADER + row(trades="")).bars["trades"].to_list() == [None]
    absent = f"ticker,volume,open,close,high,low,window_start\nSPY,100,10,10.5,11,9,{OPEN_NS}\n"
    assert parsed(absent).bars["trades"].to_list() == [None]


WHOLE = gzip.compress((HEADER + "".join(row("SPY", minute) for minute in range(390))).encode(), mtime=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WHOLE[: len(WHOLE) // 2], "is truncated"),
        (WHOLE[:-4], "is truncated"),
        (WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "is damaged"),
        (HEADER.encode() + row().encode(), "is not a gzip file"),
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(b"\n"), "is empty"),
    ],
    ids=["half", "no trailer", "wrong checksum", "plain text", "no bytes", "nothing inside", "one line end inside"],
)
def test_a_damaged_file_is_refused_whole(parsed: Parse, content: bytes, says: str) -> None:
    result = parsed(content)
    assert says in str(result.refusal)
    assert str(result.refusal).endswith(".")
    assert reasons(result) == [(0, "damaged_file")]
    assert result.bars.is_empty()


@pytest.mark.parametrize("content", [HEADER, HEADER.rstrip("\n")])
def test_a_header_without_rows_is_said_to_be_one(parsed: Parse, content: str) -> None:
    result = parsed(content)
    assert "has a header and no rows" in str(result.refusal)
    assert reasons(result) == [(0, "no_rows")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("", 1), "no_ticker"),
        (row(minute=1, o="NaN"), "price_not_finite"),
        (row(minute=1, h="inf"), "price_not_finite"),
        (row(minute=1, low=-1), "price_not_positive"),
        (row(minute=1, low=0), "price_not_positive"),
        (row(minute=1, h=8, low=9, o=8.5, c=8.5), "prices_not_ordered"),
        (row(minute=1, o=12), "prices_not_ordered"),
        (row(minute=1, c=8), "prices_not_ordered"),
        (row(minute=1, o=""), "unreadable_value"),
        (row(minute=1, o="ten"), "unreadable_value"),
        (row(minute=1, volume=""), "unreadable_value"),
        (row(minute=1, volume=-5), "bad_volume"),
        (row(minute=1, volume="NaN"), "bad_volume"),
        (row(minute=1, volume="inf"), "bad_volume"),
        (row(minute=1, trades=-1), "bad_transactions"),
        (row(minute=1, trades="2.5"), "unreadable_value"),
        (row(at=OPEN_NS // 10**9), "timestamp_unit"),
        (row(at=OPEN_NS // 10**6), "timestamp_unit"),
        (row(at=OPEN_NS // 10**3), "timestamp_unit"),
        (row(at="2013-10-04T13:31:00Z"), "unreadable_value"),
        (row(at="1.3808934e18"), "unreadable_value"),
        (row(at=OPEN_NS + 24 * 60 * MINUTE_NS), "other_date"),
        (row(minute=-331), "outside_hours"),
        (row(minute=630), "outside_hours"),
        (row(at=OPEN_NS + 30_000_000_000), "off_grid"),
        (row(minute=1).replace(",9,", ",9,9,"), "wrong_field_count"),
        ("SPY,100,10\n", "unreadable_value"),
        ("complete nonsense\n", "unreadable_value"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_line_and_text_and_the_others_stay(
    parsed: Parse, bad: str, reason: str
) -> None:
    result = parsed(HEADER + row("SPY") + bad + row("SPY", 2))
    assert result.counts.kept == 2
    [refused] = result.quarantine.to_dicts()
    # A line with too few fields shows as missing values where the typed reader takes it, else as what it is.
    accepted = {reason, "wrong_field_count"} if reason == "unreadable_value" else {reason}
    assert refused["reason"] in accepted
    assert refused["line_number"] == 3
    assert refused["raw"] == bad.rstrip("\n")
    assert refused["detail"].endswith(".")
    assert (refused["dataset"], refused["source_key"], refused["source_etag"]) == (MINUTES.name, FRIDAY, "etag-1")
    assert refused["session"] == date(2013, 10, 4)


@pytest.mark.parametrize(("divisor", "unit"), [(10**9, "seconds"), (10**6, "milliseconds"), (10**3, "microseconds")])
def test_a_file_in_another_unit_of_time_is_refused_with_the_unit(parsed: Parse, divisor: int, unit: str) -> None:
    rows = "".join(row("SPY", at=(OPEN_NS + minute * MINUTE_NS) // divisor) for minute in range(3))
    result = parsed(HEADER + rows)
    assert unit in str(result.refusal)
    assert result.counts.by_reason == {"timestamp_unit": 3}


def test_fractional_volumes_are_kept_as_they_are(parsed: Parse) -> None:
    assert parsed(HEADER + row(volume="100.25")).bars["volume"].to_list() == [100.25]


def test_a_file_named_for_a_holiday_is_refused_and_its_rows_counted(parsed: Parse) -> None:
    # 2013-12-25 10:00 New York is 15:00 UTC: 1387983600 s
    text = HEADER + row("SPY", at=1_387_983_600 * 10**9) + row("SPY", at=1_387_983_660 * 10**9)
    result = parsed(text, key="us_stocks_sip/minute_aggs_v1/2013/12/2013-12-25.csv.gz")
    assert "2013-12-25 is an exchange holiday" in str(result.refusal)
    assert result.counts.by_reason == {"not_a_session": 2}
    assert set(result.quarantine["session"]) == {date(2013, 12, 25)}


def test_identical_rows_count_once_and_the_first_stays(parsed: Parse) -> None:
    result = parsed(HEADER + row("SPY") + row("SPY") + row("SPY", 1))
    assert result.counts.kept == 2
    assert reasons(result) == [(3, "duplicate_identical")]


def test_of_rows_that_contradict_each_other_none_stays(parsed: Parse) -> None:
    result = parsed(HEADER + row("SPY") + row("SPY", c=10.75) + row("SPY", 1))
    assert result.bars["bar_start"].to_list() == [datetime(2013, 10, 4, 13, 31, tzinfo=UTC)]
    assert reasons(result) == [(2, "duplicate_conflicting"), (3, "duplicate_conflicting")]


def test_duplicates_are_found_across_an_unreadable_row(parsed: Parse) -> None:
    result = parsed(HEADER + row("SPY") + row("", 0) + row("SPY"))
    assert reasons(result) == [(3, "no_ticker"), (4, "duplicate_identical")]


def test_rows_in_any_order_come_out_sorted(parsed: Parse) -> None:
    result = parsed(HEADER + row("SPY", 1) + row("IBM", 5) + row("SPY", 0) + row("IBM", 2))
    assert result.bars.select("symbol", "bar_start").equals(
        result.bars.select("symbol", "bar_start").sort("symbol", "bar_start")
    )
    assert result.counts.kept == 4


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_empty_lines_are_no_rows(parsed: Parse, line_end: str) -> None:
    text = (HEADER + row("SPY") + "\n" + row("SPY", 1) + "\n\n").replace("\n", line_end)
    result = parsed(text)
    assert (result.counts.read, result.counts.kept) == (2, 2)


def test_bytes_that_are_no_text_are_one_bad_row(parsed: Parse) -> None:
    text = (HEADER + row("SPY") + row("S\x00Y", 1)).encode() + b"\xff\xfe,1,2\n" + row("SPY", 2).encode()
    result = parsed(gzip.compress(text))
    assert result.counts.read == 4
    assert {line for line, _ in reasons(result)} == {4}


def test_a_quoted_line_break_does_not_shift_the_line_numbers(parsed: Parse) -> None:
    text = HEADER + f'"SP\nY",100,10,10.5,11,9,{OPEN_NS},5\n' + row("SPY", 1) + row("SPY", 2, low=-1)
    result = parsed(text)
    assert result.bars["symbol"].to_list() == ["SPY"]
    assert (5, "price_not_positive") in reasons(result)


def test_a_thousand_rows_of_a_reason_are_listed_and_all_are_counted(
    parsed: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "LISTED_PER_REASON", 3)
    result = parsed(HEADER + "".join(row("SPY", minute, low=-1) for minute in range(10)))
    assert result.counts.by_reason == {"price_not_positive": 10}
    listed = result.quarantine.filter(pl.col("line_number") > 0)
    assert listed["line_number"].to_list() == [2, 3, 4]
    [more] = result.quarantine.filter(pl.col("line_number") == 0)["detail"].to_list()
    assert more.startswith("7 more rows")


def test_indices_have_no_volume_and_lose_their_prefix(parsed: Parse) -> None:
    key = "us_indices/minute_aggs_v1/2013/10/2013-10-04.csv.gz"
    text = f"ticker,open,close,high,low,window_start\nI:NDX,1,1,1,1,{OPEN_NS}\nI:SPX,1,1,1,1,{OPEN_NS}\n"
    result = parsed(text, ["SPX"], INDEX_MINUTES, key)
    [bar] = result.bars.select("symbol", "volume", "vwap", "trades").to_dicts()
    assert bar == {"symbol": "SPX", "volume": None, "vwap": None, "trades": None}
    assert result.counts.filtered_out == 1


def test_an_index_and_a_stock_of_one_name_are_told_apart() -> None:
    watched = [instrument("COMP", "INDEX"), instrument("SPX"), instrument("SPY"), instrument("AAPL")]
    assert watched_symbols(MINUTES, watched) == ["AAPL", "SPY"]
    assert watched_symbols(INDEX_MINUTES, watched) == ["COMP", "SPX"]


# Midnight of 2013-10-04: New York 04:00 UTC = 1380859200 s, Chicago 05:00 UTC = 1380862800 s
NEW_YORK_MIDNIGHT, CHICAGO_MIDNIGHT = 1_380_859_200 * 10**9, 1_380_862_800 * 10**9


def test_a_day_bar_runs_from_open_to_close_of_the_session_its_stamp_names(parsed: Parse) -> None:
    key = "us_stocks_sip/day_aggs_v1/2013/10/2013-10-04.csv.gz"
    text = HEADER + row("IBM", at=CHICAGO_MIDNIGHT) + row("SPY", at=NEW_YORK_MIDNIGHT)
    result = parsed(text, None, DAYS, key)
    [bar] = result.bars.select("symbol", "bar_start", "bar_end", "segment", "available_at").to_dicts()
    assert bar == {
        "symbol": "SPY",
        "bar_start": datetime(2013, 10, 4, 13, 30, tzinfo=UTC),
        "bar_end": datetime(2013, 10, 4, 20, 0, tzinfo=UTC),
        "segment": "rth",
        "available_at": datetime(2013, 10, 4, 20, 0, 2, tzinfo=UTC),
    }
    assert reasons(result) == [(2, "off_grid")]


def test_an_index_day_is_stamped_in_chicago_and_the_vix_is_known_a_quarter_of_an_hour_later(parsed: Parse) -> None:
    key = "us_indices/day_aggs_v1/2013/10/2013-10-04.csv.gz"
    text = "ticker,open,close,high,low,window_start\n" + "".join(
        f"I:{name},17,17,17,17,{CHICAGO_MIDNIGHT}\n" for name in ("SPX", "VIX")
    )
    bars = parsed(text, None, INDEX_DAYS, key).bars
    assert bars["bar_end"].unique().to_list() == [datetime(2013, 10, 4, 20, 0, tzinfo=UTC)]
    # quant_methods.md section 1: live bar end + 2 s; closing VIX 16:15 New York
    assert bars["available_at"].to_list() == [
        datetime(2013, 10, 4, 20, 0, 2, tzinfo=UTC),
        datetime(2013, 10, 4, 20, 15, tzinfo=UTC),
    ]


def test_hours_are_clipped_to_the_session_and_what_lies_outside_is_told_apart(parsed: Parse) -> None:
    key = "us_stocks_sip/hour_aggs_v1/2015/2015-12.csv.gz"
    # 2015-12-24 (half day): 09:00, 10:00, 12:00, 13:00 New York = 14, 15, 17, 18 UTC; 00:00 New York; the 25th 10:00
    stamps = [1_450_965_600, 1_450_969_200, 1_450_976_400, 1_450_980_000, 1_450_933_200, 1_451_055_600]
    result = parsed(HEADER + "".join(row("SPY", at=stamp * 10**9) for stamp in stamps), ["SPY"], HOURS, key)
    assert result.bars.select("bar_start", "bar_end", "segment").rows() == [
        (datetime(2015, 12, 24, 14, 30, tzinfo=UTC), datetime(2015, 12, 24, 15, 0, tzinfo=UTC), "rth"),
        (datetime(2015, 12, 24, 15, 0, tzinfo=UTC), datetime(2015, 12, 24, 16, 0, tzinfo=UTC), "rth"),
        (datetime(2015, 12, 24, 17, 0, tzinfo=UTC), datetime(2015, 12, 24, 18, 0, tzinfo=UTC), "rth"),
        (datetime(2015, 12, 24, 18, 0, tzinfo=UTC), datetime(2015, 12, 24, 19, 0, tzinfo=UTC), "post"),
    ]
    assert result.bars["definition_version"].unique().to_list() == ["bars-1/clock_hour"]
    assert reasons(result) == [(6, "outside_hours"), (7, "not_a_session")]
    assert result.quarantine["session"].to_list() == [date(2015, 12, 24), date(2015, 12, 25)]


def test_options_are_filtered_by_their_root_read_from_the_right(parsed: Parse) -> None:
    key = "us_options_opra/minute_aggs_v1/2013/10/2013-10-04.csv.gz"
    tickers = ["O:AAPL131018C00500000", "O:AAPL7131018C00500000", "O:SPXW131018P01650000", "O:SPX131019P01650000"]
    result = parsed(HEADER + "".join(row(ticker) for ticker in tickers), ["AAPL", "SPX"], OPTION_MINUTES, key)
    assert sorted(result.bars["symbol"]) == ["O:AAPL131018C00500000", "O:SPX131019P01650000"]
    assert result.counts.filtered_out == 2


def test_a_tick_file_is_not_taken_for_bars(raw_file: WriteRaw) -> None:
    raw = raw_file("us_stocks_sip/trades_v1/2013/10/2013-10-07.csv.gz", HEADER)
    with pytest.raises(DataError, match="not an aggregate file"):
        parse_aggregates(raw, DATASETS["us_stocks_sip/trades_v1"])


FIELDS = st.sampled_from(
    ["10", "10.5", "9", "11", "-1", "0", "", "NaN", "inf", "x", "1e1", " 10 ", str(OPEN_NS), str(OPEN_NS // 1_000)]
)
GOOD = st.builds(
    row,
    st.sampled_from(["SPY", "IBM", "NA", "ZZZ"]),
    st.integers(-400, 700),
    volume=st.sampled_from([0, 1, 100.5]),
)
BAD = st.one_of(
    st.lists(FIELDS, min_size=1, max_size=9).map(lambda fields: ",".join(fields) + "\n"),
    st.builds(row, st.sampled_from(["SPY", "", "NAN"]), st.integers(-5, 5), o=FIELDS, low=FIELDS, volume=FIELDS),
    st.just("\n"),
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.one_of(GOOD, BAD), max_size=30), symbols=st.sampled_from([None, ["SPY"], ["NA", "IBM"]]))
def test_whatever_a_file_holds_every_row_is_kept_refused_or_filtered_and_bars_are_sorted(
    raw_file: WriteRaw, lines: list[str], symbols: list[str] | None
) -> None:
    result = check(parse_aggregates(raw_file(FRIDAY, HEADER + "".join(lines)), MINUTES, symbols))
    held = [line for line in lines if line.strip()]
    if held:
        assert result.counts.read == len(held)
    key = result.bars.select("symbol", "bar_start")
    assert key.equals(key.sort("symbol", "bar_start"))
    assert not key.is_duplicated().any()
    assert set(result.bars["symbol"]) <= (set(symbols) if symbols else {"SPY", "IBM", "NA", "ZZZ", "NAN"})
    texts = {number: line.rstrip("\n") for number, line in enumerate(lines, start=2)}
    for refused in result.quarantine.filter(pl.col("line_number") > 0).iter_rows(named=True):
        assert refused["raw"] == texts[refused["line_number"]]


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(GOOD, min_size=1, max_size=25, unique=True), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_bar(raw_file: WriteRaw, lines: list[str], order: random.Random) -> None:
    shuffled = list(lines)
    order.shuffle(shuffled)
    first = parse_aggregates(raw_file(FRIDAY, HEADER + "".join(lines)), MINUTES)
    second = parse_aggregates(raw_file(FRIDAY, HEADER + "".join(shuffled)), MINUTES)
    assert first.bars.equals(second.bars)
    assert first.counts == second.counts
