"""Chain snapshots of the vendor's REST side as rows: real recorded chains over HTTP, and every way one can be odd."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from massive import RESTClient

from strategy_pipeline.errors import CalendarError
from strategy_pipeline.ingestion.chain_snapshots import (
    CHAIN_COLUMNS,
    REASONS,
    ParsedChain,
    open_interest_of,
    parse_chain,
)
from strategy_pipeline.ingestion.vendor_api import Pages, VendorApi
from strategy_pipeline.lake.tables import OPEN_INTEREST, OPTION_CONTRACTS, QUARANTINE
from strategy_pipeline_tests.ingestion.rest_peer import KEY, RestPeer, serving

CHRISTMAS_EVE_CLOSE = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
AT = datetime(2024, 3, 5, 15, 0, tzinfo=UTC)
FETCHED_AT = datetime(2024, 3, 5, 15, 0, 4, tzinfo=UTC)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def entry(ticker: str = "O:XYZ240315C00050000", **changes: Any) -> dict[str, Any]:
    """A full entry as the vendor documents it; `changes` replace whole blocks, None takes one out."""
    whole = {
        "details": {
            "ticker": ticker,
            "contract_type": "call",
            "exercise_style": "american",
            "expiration_date": "2024-03-15",
            "shares_per_contract": 100,
            "strike_price": 50,
        },
        "day": {"close": 1.22, "volume": 37.0, "last_updated": ns(datetime(2024, 3, 5, 5, 0, tzinfo=UTC))},
        "last_quote": {"bid": 1.2, "ask": 1.3, "last_updated": ns(AT) - 1_500_000_000},
        "last_trade": {"price": 1.25, "sip_timestamp": ns(AT) - 60_000_000_000, "size": 2},
        "open_interest": 412,
        "implied_volatility": 0.31,
        "greeks": {"delta": 0.52, "gamma": 0.08},
        "underlying_asset": {"ticker": "XYZ", "price": 50.1, "last_updated": ns(AT)},
    }
    return {name: block for name, block in (whole | changes).items() if block is not None}


def details(**changes: Any) -> dict[str, Any]:
    return {**entry()["details"], **changes}


def parse(*pages: list[Any], symbol: str = "XYZ", reference: pl.DataFrame | None = None) -> ParsedChain:
    answer = Pages(
        f"/v3/snapshot/options/{symbol}",
        tuple((f"request-{number}", page) for number, page in enumerate(pages, start=1)),
        FETCHED_AT,
    )
    parsed = parse_chain(answer, symbol, AT, reference)
    # Whatever came in: every entry is accounted for, and no value is one that a table may not hold.
    assert parsed.read == sum(map(len, pages)) == parsed.chain.height + parsed.quarantine.height
    assert parsed.quarantine.height == sum(parsed.by_reason.values())
    assert parsed.chain.schema == CHAIN_COLUMNS
    QUARANTINE.schema.validate(parsed.quarantine)
    numbers = parsed.chain.select(pl.col(pl.Float64).is_nan().any())
    assert not any(numbers.row(0))
    return parsed


def only(parsed: ParsedChain) -> dict[str, Any]:
    assert parsed.by_reason == {}
    return parsed.chain.row(0, named=True)


class TestRealChains:
    @pytest.fixture
    def fetch(self, shared_data: Path) -> Callable[[str, str, date], Pages]:
        """A chain asked for under the vendor's name from the recording of a session."""

        def asked(ticker: str, day: date) -> Pages:
            with serving(RestPeer(shared_data / "rest" / "v3", day)) as peer:
                return VendorApi(RESTClient(KEY, base=peer.url)).chain_snapshot(ticker)

        return asked

    def test_the_google_chain_of_christmas_eve_is_the_reference_chain(
        self, fetch: Callable[..., Pages], shared_data: Path
    ) -> None:
        parsed = parse_chain(fetch("GOOG", date(2015, 12, 24)), "GOOG", CHRISTMAS_EVE_CLOSE)
        # README of the data and the summary beside the reference chain.
        assert (parsed.read, parsed.chain.height, parsed.by_reason) == (2_192, 2_192, {})
        chain = parsed.chain
        assert chain["underlying_price"].unique().to_list() == [748.4]
        assert chain.filter((pl.col("bid") > 0) & (pl.col("ask") > 0)).height == 1_592
        assert chain["vendor_iv"].count() == 1_407
        reference = pl.read_csv(shared_data / "reference" / "chain_GOOG_2015-12-24_1300ET.csv").sort("ticker")
        # The recorded pages state an open interest of 0 where the reference has none.
        reference = reference.with_columns(pl.col("open_interest").fill_null(0))
        for ours, theirs in {
            "contract_ticker": "ticker",
            "strike": "strike_price",
            "option_type": "contract_type",
            "bid": "bid",
            "ask": "ask",
            "open_interest": "open_interest",
        }.items():
            assert chain[ours].cast(reference.schema[theirs]).to_list() == reference[theirs].to_list(), ours
        # A contract that expires at this very moment is still in the chain.
        assert chain.filter(pl.col("expires_at") == CHRISTMAS_EVE_CLOSE)["expiration"].unique().to_list() == [
            date(2015, 12, 24)
        ]
        assert chain["oi_session"].unique().to_list() == [date(2015, 12, 23)]

    def test_contracts_that_slip_from_page_to_page_over_http_count_once(self, shared_data: Path) -> None:
        last: list[Any] = []

        def repeat_the_last_of_the_page_before(page: dict[str, Any]) -> None:
            page["results"] = [*last, *page["results"]]
            last[:] = page["results"][-3:]

        with serving(RestPeer(shared_data / "rest" / "v3", date(2015, 12, 24))) as peer:
            peer.edit = repeat_the_last_of_the_page_before
            answer = VendorApi(RESTClient(KEY, base=peer.url)).chain_snapshot("GOOG")
        parsed = parse_chain(answer, "GOOG", CHRISTMAS_EVE_CLOSE)
        # Three of each of the eight pages before the last.
        assert (parsed.chain.height, parsed.by_reason) == (2_192, {"duplicate_identical": 24})

    def test_an_index_has_a_value_where_a_share_has_a_price(self, fetch: Callable[..., Pages]) -> None:
        at = datetime(2021, 1, 4, 21, 0, tzinfo=UTC)
        chain = parse_chain(fetch("I:SPX", date(2021, 1, 4)), "SPX", at).chain
        assert chain["underlying_price"].to_list() == [3_700.65] * 6
        assert chain["settlement"].unique().to_list() == ["am"]
        # Third Friday of January 2021, 09:30 New York.
        assert chain["expires_at"].unique().to_list() == [datetime(2021, 1, 15, 14, 30, tzinfo=UTC)]
        assert chain["exercise_style"].unique().to_list() == ["european"]

    def test_weekly_index_options_belong_to_the_index(self, fetch: Callable[..., Pages]) -> None:
        chain = parse_chain(fetch("SPXW", date(2023, 6, 23)), "SPX", datetime(2023, 6, 23, 20, 0, tzinfo=UTC)).chain
        assert (chain.height, chain["root"].unique().to_list()) == (12, ["SPXW"])
        assert chain["symbol"].unique().to_list() == ["SPX"]
        assert chain["settlement"].unique().to_list() == ["pm"]

    def test_an_index_without_a_value_has_no_underlying_price(self, fetch: Callable[..., Pages]) -> None:
        chain = parse_chain(fetch("I:SPX", date(2015, 12, 22)), "SPX", datetime(2015, 12, 22, 21, 0, tzinfo=UTC)).chain
        assert (chain.height, chain["underlying_price"].null_count()) == (233, 233)
        assert chain["quality_flags"].to_list() == [["no_underlying_price"]] * 233
        assert chain.select("bid", "ask", "quote_at", "quote_age_s").null_count().row(0) == (233,) * 4
        # Days without volume carry a close from quotes, which is no print.
        assert chain.filter(pl.col("volume") == 0)["last"].count() == 0

    def test_greeks_that_are_empty_and_volatilities_that_are_not_there_stay_null(
        self, fetch: Callable[..., Pages]
    ) -> None:
        chain = parse_chain(fetch("SPY", date(2023, 12, 28)), "SPY", datetime(2023, 12, 28, 21, 0, tzinfo=UTC)).chain
        assert (chain.height, chain["vendor_iv"].null_count(), chain["vendor_delta"].null_count()) == (22, 11, 11)


class TestEntries:
    def test_a_full_entry_becomes_a_full_row(self) -> None:
        row = only(parse([entry()]))
        assert row == {
            "contract_ticker": "O:XYZ240315C00050000",
            "snapshot_at": AT,
            "symbol": "XYZ",
            "root": "XYZ",
            "session": date(2024, 3, 5),
            "expiration": date(2024, 3, 15),
            # 16:00 New York, in daylight-saving time by then.
            "expires_at": datetime(2024, 3, 15, 20, 0, tzinfo=UTC),
            "strike": 50.0,
            "option_type": "call",
            "exercise_style": "american",
            "settlement": "pm",
            "multiplier": 100.0,
            "underlying_price": 50.1,
            "underlying_at": AT,
            "bid": 1.2,
            "ask": 1.3,
            "quote_at": datetime(2024, 3, 5, 14, 59, 58, 500_000, tzinfo=UTC),
            "quote_age_s": 1.5,
            "last": 1.25,
            "last_at": datetime(2024, 3, 5, 14, 59, tzinfo=UTC),
            "last_age_s": 60.0,
            "volume": 37,
            "open_interest": 412,
            "oi_session": date(2024, 3, 4),
            "vendor_iv": 0.31,
            "vendor_delta": 0.52,
            "quality_flags": [],
            "available_at": FETCHED_AT,
            "ingested_at": FETCHED_AT,
        }

    @pytest.mark.parametrize("empty", [None, {}])
    @pytest.mark.parametrize(
        ("block", "columns"),
        [
            ("day", ["volume"]),
            ("last_quote", ["bid", "ask", "quote_at", "quote_age_s"]),
            ("last_trade", ["last_at", "last_age_s"]),
            ("greeks", ["vendor_delta"]),
            ("underlying_asset", ["underlying_price", "underlying_at"]),
        ],
    )
    def test_a_missing_or_empty_block_is_null_and_never_zero(
        self, block: str, columns: list[str], empty: dict[str, Any] | None
    ) -> None:
        row = only(parse([entry(**{block: empty})]))
        assert {name for name, value in row.items() if value is None} == set(columns)

    @pytest.mark.parametrize(
        ("field", "column"), [("open_interest", "open_interest"), ("implied_volatility", "vendor_iv")]
    )
    def test_a_missing_number_is_null(self, field: str, column: str) -> None:
        assert only(parse([entry(**{field: None})]))[column] is None

    def test_without_any_print_or_day_there_is_no_last(self) -> None:
        assert only(parse([entry(last_trade=None, day=None)]))["last"] is None

    def test_the_close_of_a_day_that_traded_is_the_last_without_a_time(self) -> None:
        row = only(parse([entry(last_trade=None)]))
        assert (row["last"], row["last_at"], row["last_age_s"]) == (1.22, None, None)

    def test_prints_and_volume_of_another_session_are_not_todays(self) -> None:
        yesterday = ns(datetime(2024, 3, 4, 20, 0, tzinfo=UTC))
        old = entry(
            last_trade={"price": 1.1, "sip_timestamp": yesterday},
            day={"close": 1.1, "volume": 900, "last_updated": ns(datetime(2024, 3, 4, 5, 0, tzinfo=UTC))},
        )
        row = only(parse([old]))
        assert (row["last"], row["volume"], row["quality_flags"]) == (None, None, ["day_of_other_session"])

    def test_a_quote_from_while_the_pages_came_has_age_zero_and_keeps_its_time(self) -> None:
        row = only(parse([entry(last_quote={"bid": 1.0, "ask": 1.1, "last_updated": ns(FETCHED_AT)})]))
        assert (row["quote_age_s"], row["quote_at"]) == (0.0, FETCHED_AT)

    @pytest.mark.parametrize(
        ("quote", "sides"),
        [
            ({"bid": 0, "ask": 0.05}, (0.0, 0.05)),
            ({"bid": 1.2, "ask": 1.0}, (1.2, 1.0)),
            ({"ask": 0.05}, (None, 0.05)),
            ({"bid": 1.2, "ask": None}, (1.2, None)),
        ],
    )
    def test_zero_crossed_and_one_sided_quotes_come_through_as_they_are(
        self, quote: dict[str, Any], sides: tuple[float | None, float | None]
    ) -> None:
        row = only(parse([entry(last_quote={**quote, "last_updated": ns(AT)})]))
        assert (row["bid"], row["ask"]) == sides

    @pytest.mark.parametrize(
        ("changes", "column", "flag"),
        [
            ({"last_quote": {"bid": "1.2", "ask": 1.3}}, "bid", "unreadable_bid"),
            ({"last_quote": {"bid": 1.2, "ask": -1.3}}, "ask", "unreadable_ask"),
            ({"last_quote": {"bid": True, "ask": 1.3}}, "bid", "unreadable_bid"),
            ({"last_quote": {"bid": 1.2, "ask": float("inf")}}, "ask", "unreadable_ask"),
            ({"last_quote": [1.2, 1.3]}, "bid", "unreadable_last_quote"),
            (
                {"last_quote": {"bid": 1.2, "ask": 1.3, "last_updated": 1_709_650_800}},
                "quote_at",
                "unreadable_last_updated",
            ),
            ({"open_interest": -5}, "open_interest", "unreadable_open_interest"),
            ({"open_interest": 10**400}, "open_interest", "unreadable_open_interest"),
            ({"day": {"volume": 1e300}}, "volume", "unreadable_volume"),
            ({"underlying_asset": {"ticker": "XYZ", "price": 0}}, "underlying_price", "no_underlying_price"),
            ({"underlying_asset": {"ticker": "XYZ", "price": -1}}, "underlying_price", "no_underlying_price"),
            ({"implied_volatility": 0}, "vendor_iv", "vendor_iv_out_of_range"),
            ({"implied_volatility": 1e-7}, "vendor_iv", "vendor_iv_out_of_range"),
            ({"greeks": {"delta": 3.0}}, "vendor_delta", "vendor_delta_out_of_range"),
        ],
    )
    def test_a_value_that_cannot_be_is_null_and_leaves_a_flag(
        self, changes: dict[str, Any], column: str, flag: str
    ) -> None:
        row = only(parse([entry(**changes)]))
        assert row[column] is None
        assert flag in row["quality_flags"]

    def test_a_style_that_is_not_stated_is_that_of_the_root(self) -> None:
        row = only(parse([entry(details=details(exercise_style=None))]))
        assert (row["exercise_style"], row["quality_flags"]) == ("american", ["style_from_root"])

    def test_a_deliverable_of_another_size_is_kept_with_its_own_multiplier(self) -> None:
        row = only(parse([entry(details=details(shares_per_contract=10))]))
        assert (row["multiplier"], row["quality_flags"]) == (10.0, ["multiplier_not_standard"])

    def test_a_contract_is_alive_until_it_settles_and_not_only_until_its_day_begins(self) -> None:
        today = "O:XYZ240305C00050000"
        assert only(parse([entry(today, details=details(ticker=today, expiration_date="2024-03-05"))]))[
            "expiration"
        ] == (date(2024, 3, 5))


class TestRefused:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ("not an entry", "not_a_record"),
            (None, "not_a_record"),
            ({}, "no_ticker"),
            (entry(details={}), "no_ticker"),
            (entry(details=details(ticker=42)), "no_ticker"),
            (entry(details=details(ticker="O:XYZ\ud800")), "no_ticker"),
            (entry(details=details(ticker="O:XYZ240315X00050000")), "malformed_ticker"),
            (entry(details=details(ticker="O:XYZ241315C00050000")), "malformed_ticker"),
            (entry(details=details(ticker="XYZ")), "malformed_ticker"),
            (entry(details=details(ticker="O:XYZ240315C00000000", strike_price=0)), "malformed_ticker"),
            (entry(underlying_asset={"ticker": "ABC", "price": 50.0}), "other_underlying"),
            (entry(details=details(strike_price=55)), "terms_disagree"),
            (entry(details=details(expiration_date="2024-03-22")), "terms_disagree"),
            (entry(details=details(expiration_date="soon")), "terms_disagree"),
            (entry(details=details(contract_type="put")), "terms_disagree"),
            (entry(details=details(exercise_style="bermudan")), "unsupported_style"),
            (
                entry(details=details(ticker="O:XYZ240301C00050000", expiration_date="2024-03-01")),
                "expired_contract",
            ),
            (entry(details=details(shares_per_contract=None)), "no_multiplier"),
            (entry(details=details(shares_per_contract=0)), "no_multiplier"),
            (entry(details=details(shares_per_contract="100")), "no_multiplier"),
            (entry(details=details(ticker="O:XYZ1240315C00050000", shares_per_contract=150)), "unknown_deliverable"),
        ],
    )
    def test_an_entry_that_cannot_be_a_contract_is_quarantined(self, bad: Any, reason: str) -> None:
        parsed = parse([entry(), bad])
        assert parsed.by_reason == {reason: 1}
        row = parsed.quarantine.row(0, named=True)
        assert (row["reason"], row["line_number"], row["source_etag"]) == (reason, 2, "request-1")
        assert REASONS[reason] in f"{row['detail'][:1].lower()}{row['detail'][1:]}" or REASONS[reason] in row["detail"]
        assert json.loads(row["raw"]) == bad
        assert parsed.refusal is None

    def test_an_adjusted_contract_counts_with_what_the_reference_says_it_delivers(self) -> None:
        ticker = "O:XYZ1240315C00050000"
        adjusted = entry(details=details(ticker=ticker, shares_per_contract=100))
        reference = OPTION_CONTRACTS.empty().select("contract_ticker", "multiplier")
        stated = pl.DataFrame({"contract_ticker": [ticker], "multiplier": [150.0]}, schema=reference.schema)
        row = only(parse([adjusted], reference=stated))
        assert (row["multiplier"], row["symbol"]) == (150.0, "XYZ")
        assert row["quality_flags"] == ["adjusted_deliverable", "multiplier_not_standard"]
        assert parse([adjusted], reference=reference).by_reason == {"unknown_deliverable": 1}

    def test_a_chain_without_any_usable_contract_says_so(self) -> None:
        parsed = parse([entry(details={}), "junk"])
        assert parsed.refusal is not None
        assert "2 came and all were refused" in parsed.refusal

    def test_an_empty_chain_says_so(self) -> None:
        parsed = parse([])
        assert parsed.refusal == ("The vendor lists no options on XYZ: check the symbol, or take it off the watchlist.")

    def test_a_snapshot_belongs_to_a_session(self) -> None:
        with pytest.raises(CalendarError):
            parse_chain(Pages("", (), FETCHED_AT), "XYZ", datetime(2024, 3, 2, 15, 0, tzinfo=UTC))


class TestDuplicates:
    def test_the_same_contract_on_two_pages_counts_once(self) -> None:
        parsed = parse([entry()], [entry()])
        assert (parsed.chain.height, parsed.by_reason) == (1, {"duplicate_identical": 1})
        assert parsed.quarantine["line_number"].to_list() == [2]
        assert parsed.quarantine["source_etag"].to_list() == ["request-2"]

    @pytest.mark.parametrize("newer_first", [True, False])
    def test_of_two_quotes_of_one_contract_the_newer_is_kept(self, newer_first: bool) -> None:
        older = entry()
        newer = entry(last_quote={"bid": 1.4, "ask": 1.5, "last_updated": ns(AT)})
        parsed = parse(*([[newer], [older]] if newer_first else [[older], [newer]]))
        assert parsed.chain["bid"].to_list() == [1.4]
        assert parsed.by_reason == {"duplicate_older": 1}

    def test_two_versions_of_one_moment_are_both_refused(self) -> None:
        parsed = parse([entry(), entry("O:XYZ240315C00050000", open_interest=9)])
        assert (parsed.chain.height, parsed.by_reason) == (0, {"duplicate_conflicting": 2})

    def test_an_old_version_beside_two_that_conflict_does_not_win(self) -> None:
        new = {"bid": 1.4, "ask": 1.5, "last_updated": ns(AT)}
        parsed = parse([entry(), entry(last_quote=new), entry(last_quote={**new, "bid": 1.3})])
        assert (parsed.chain.height, sum(parsed.by_reason.values())) == (0, 3)


class TestOpenInterest:
    def test_it_describes_the_session_before_and_is_known_in_the_morning(self) -> None:
        rows = open_interest_of(
            parse(
                [
                    entry(),
                    entry(
                        "O:XYZ240315C00055000",
                        open_interest=None,
                        details=details(ticker="O:XYZ240315C00055000", strike_price=55),
                    ),
                ]
            ).chain
        )
        OPEN_INTEREST.schema.validate(rows)
        assert rows.select("contract_ticker", "open_interest", "session", "oi_session", "source").rows() == [
            ("O:XYZ240315C00050000", 412, date(2024, 3, 5), date(2024, 3, 4), "rest")
        ]
        # 06:30 New York in winter.
        assert rows["available_at"].to_list() == [datetime(2024, 3, 5, 11, 30, tzinfo=UTC)]

    def test_a_chain_without_any_has_no_rows(self) -> None:
        rows = open_interest_of(parse([entry(open_interest=None)]).chain)
        assert (rows.height, rows.schema) == (0, OPEN_INTEREST.polars_schema)
