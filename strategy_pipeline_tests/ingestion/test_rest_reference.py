"""Reference data over REST as rows: contracts as of a session, splits and dividends, condition codes."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from massive import RESTClient

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion.chain_snapshots import parse_chain
from strategy_pipeline.ingestion.corporate_actions import parse_action_records
from strategy_pipeline.ingestion.rest_reference import (
    REASONS,
    ParsedContracts,
    par_yields,
    parse_contracts,
    trade_conditions,
)
from strategy_pipeline.ingestion.vendor_api import Pages, VendorApi
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, OPTION_CONTRACTS, QUARANTINE, RATE_CURVE
from strategy_pipeline_tests.ingestion.rest_peer import KEY, RestPeer, serving

DAY = date(2024, 3, 5)
FETCHED_AT = datetime(2024, 3, 5, 13, 0, tzinfo=UTC)


def answer(*entries: Any, path: str = "/v3/reference") -> Pages:
    return Pages(path, (("request-1", list(entries)),), FETCHED_AT)


def contract(**changes: Any) -> dict[str, Any]:
    whole = {
        "ticker": "O:XYZ240315C00050000",
        "underlying_ticker": "XYZ",
        "contract_type": "call",
        "exercise_style": "american",
        "expiration_date": "2024-03-15",
        "shares_per_contract": 100,
        "strike_price": 50,
        "cfi": "OCASPS",
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


class TestContracts:
    def parse(self, *entries: Any) -> ParsedContracts:
        parsed = parse_contracts(answer(*entries), "XYZ", DAY)
        OPTION_CONTRACTS.schema.validate(parsed.contracts)
        QUARANTINE.schema.validate(parsed.quarantine)
        assert parsed.read == len(entries) == parsed.contracts.height + sum(parsed.by_reason.values())
        return parsed

    def test_the_contracts_on_google_as_of_christmas_eve_are_those_of_its_chain(self, shared_data: Path) -> None:
        day, close = date(2015, 12, 24), datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
        with serving(RestPeer(shared_data / "rest" / "v3", day)) as peer:
            api = VendorApi(RESTClient(KEY, base=peer.url))
            listed, chain = api.option_contracts("GOOG", day), api.chain_snapshot("GOOG")
        parsed = parse_contracts(listed, "GOOG", day)
        OPTION_CONTRACTS.schema.validate(parsed.contracts)
        # The recorded reference holds 2,016 contracts: those of the chain that do not expire on the day itself.
        assert (parsed.contracts.height, parsed.by_reason) == (2_016, {})
        terms = ["contract_ticker", "expires_at", "strike", "option_type", "exercise_style", "settlement", "multiplier"]
        rows = parse_chain(chain, "GOOG", close).chain
        alive = rows.filter(rows["expiration"] > day)
        assert parsed.contracts.select(terms).equals(alive.select(terms))

    def test_an_index_contract_keeps_its_settlement_and_style(self, shared_data: Path) -> None:
        day = date(2015, 12, 22)
        with serving(RestPeer(shared_data / "rest" / "v3", day)) as peer:
            listed = VendorApi(RESTClient(KEY, base=peer.url)).option_contracts("I:SPX", day)
        contracts = parse_contracts(listed, "SPX", day).contracts
        assert contracts.height == 233
        assert contracts.select("symbol", "exercise_style", "settlement").unique().rows() == [("SPX", "european", "am")]

    def test_a_listing_is_known_in_the_morning_of_its_session(self) -> None:
        row = self.parse(contract()).contracts.row(0, named=True)
        assert row["available_at"] == datetime(2024, 3, 5, 11, 30, tzinfo=UTC)
        assert (row["source"], row["quality"], row["quality_flags"]) == ("rest", "final", [])

    def test_an_adjusted_contract_of_shares_has_the_deliverable_that_is_stated(self) -> None:
        row = self.parse(contract(ticker="O:XYZ1240315C00050000", shares_per_contract=150)).contracts.row(0, named=True)
        assert (row["multiplier"], row["root"], row["symbol"]) == (150.0, "XYZ1", "XYZ")
        assert row["quality_flags"] == ["adjusted_deliverable", "multiplier_not_standard"]

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (7, "not_a_record"),
            (contract(ticker=None), "no_ticker"),
            (contract(ticker="O:XYZ240315Q00050000"), "malformed_ticker"),
            (contract(underlying_ticker="ABC"), "other_underlying"),
            (contract(strike_price=51), "terms_disagree"),
            (contract(exercise_style="bermudan"), "unsupported_style"),
            (contract(exercise_style=None), "no_style"),
            (contract(ticker="O:XYZ240301C00050000", expiration_date="2024-03-01"), "expired_contract"),
            (contract(shares_per_contract=None), "no_multiplier"),
            (
                contract(additional_underlyings=[{"underlying": "ABC", "amount": 44, "type": "equity"}]),
                "mixed_deliverable",
            ),
        ],
    )
    def test_what_cannot_be_a_contract_is_quarantined(self, bad: Any, reason: str) -> None:
        good = contract(ticker="O:XYZ240315P00050000", contract_type="put")
        parsed = self.parse(good, bad)
        assert (parsed.contracts.height, parsed.by_reason) == (1, {reason: 1})
        row = parsed.quarantine.row(0, named=True)
        assert (row["line_number"], json.loads(row["raw"])) == (2, bad)
        assert row["detail"].lower() == f"{REASONS[reason]}.".lower()

    def test_a_contract_on_two_pages_counts_once_and_two_versions_not_at_all(self) -> None:
        put = contract(ticker="O:XYZ240315P00050000", contract_type="put")
        parsed = self.parse(contract(), contract(), put, {**put, "shares_per_contract": 10})
        assert parsed.contracts["contract_ticker"].to_list() == ["O:XYZ240315C00050000"]
        assert parsed.by_reason == {"duplicate_conflicting": 2, "duplicate_identical": 1}


class TestActions:
    def test_a_split_of_seven_for_one_has_ratio_seven_from_its_execution_date(self) -> None:
        # AAPL split 7:1 with effect from 2014-06-09.
        record = {"id": "a", "ticker": "AAPL", "execution_date": "2014-06-09", "split_from": 1, "split_to": 7}
        parsed = parse_action_records(answer(record), "split")
        CORPORATE_ACTIONS.schema.validate(parsed.actions)
        row = parsed.actions.row(0, named=True)
        assert (row["symbol"], row["split_ratio"], row["source"]) == ("AAPL", 7.0, "rest")
        assert row["available_at"] == datetime(2014, 6, 9, 4, 0, tzinfo=UTC)

    def test_a_dividend_is_known_from_the_day_after_its_declaration(self) -> None:
        record = {
            "ticker": "AAPL",
            "ex_dividend_date": "2014-05-08",
            "declaration_date": "2014-04-23",
            "cash_amount": 3.29,
            "currency": "USD",
        }
        row = parse_action_records(answer(record), "dividend").actions.row(0, named=True)
        assert (row["cash_amount"], row["ex_date"]) == (3.29, date(2014, 5, 8))
        assert row["available_at"] == datetime(2014, 4, 24, 4, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ("junk", "not_a_record"),
            ({}, "no_ticker"),
            ({"ticker": "AAPL", "cash_amount": 1}, "unreadable_value"),
            ({"ticker": "AAPL", "ex_dividend_date": "2014-05-08", "cash_amount": None}, "unreadable_value"),
            ({"ticker": "AAPL", "ex_dividend_date": "2014-05-08", "cash_amount": -1}, "bad_amount"),
            (
                {"ticker": "AAPL", "ex_dividend_date": "2014-05-08", "cash_amount": 1, "currency": "CAD"},
                "other_currency",
            ),
        ],
    )
    def test_a_record_that_cannot_be_used_is_quarantined(self, record: Any, reason: str) -> None:
        parsed = parse_action_records(answer(record), "dividend")
        QUARANTINE.schema.validate(parsed.quarantine)
        assert parsed.quarantine["reason"].to_list() == [reason]
        assert (parsed.rows_read, parsed.rows_quarantined) == (1, 1)

    def test_a_split_on_two_pages_counts_once(self) -> None:
        record = {"ticker": "AAPL", "execution_date": "2014-06-09", "split_from": 1, "split_to": 7}
        parsed = parse_action_records(answer(record, record, {**record, "ticker": "IBM"}), "split", ["AAPL"])
        assert (parsed.actions.height, parsed.rows_quarantined, parsed.rows_filtered_out) == (1, 1, 1)


class TestConditions:
    def test_codes_come_by_id_and_once(self) -> None:
        late = {"id": 204, "name": "Late", "type": "late", "abbreviation": "LATE"}
        cancelled = {"id": 201, "name": "Canceled", "type": "cancel", "legacy": True}
        assert trade_conditions(answer(late, cancelled, late)).rows() == [
            (201, "Canceled", "cancel", None, True),
            (204, "Late", "late", "LATE", False),
        ]

    @pytest.mark.parametrize("bad", ["junk", {"name": "Late"}, {"id": 204}, {"id": "204", "name": "Late"}])
    def test_a_list_with_an_entry_that_is_none_is_not_used(self, bad: Any) -> None:
        with pytest.raises(DataError, match="Entry 1 of /v3/reference is no condition"):
            trade_conditions(answer(bad))


class TestYields:
    def test_a_par_yield_is_continuous_and_known_the_day_after(self) -> None:
        records = [{"date": "2024-03-08", "yield_1_month": 5.53, "yield_10_year": 4.09}]
        rows, refused = par_yields(Pages("/fed/v1/treasury-yields", (("r", records),), FETCHED_AT))
        RATE_CURVE.schema.validate(rows)
        # The clocks went forward on 2024-03-10; 2 ln(1 + 0.0553/2) = 0.054549, 2 ln(1 + 0.0409/2) = 0.040487.
        assert refused == 0
        assert rows.select("available_at", "tenor_years", pl.col("rate").round(6)).rows() == [
            (datetime(2024, 3, 9, 5, tzinfo=UTC), 1 / 12, 0.054549),
            (datetime(2024, 3, 9, 5, tzinfo=UTC), 10.0, 0.040487),
        ]

    @pytest.mark.parametrize(
        "bad", [7, {}, {"date": "soon", "yield_1_year": 5.0}, {"date": "2024-03-07", "yield_1_year": "five"}]
    )
    def test_a_record_that_is_none_is_counted_and_the_others_count(self, bad: Any) -> None:
        good = {"date": "2024-03-08", "yield_1_year": 4.94, "yield_2_year": None}
        rows, refused = par_yields(Pages("/fed/v1/treasury-yields", (("r", [bad, good]),), FETCHED_AT))
        assert (rows["tenor_years"].to_list(), refused) == ([1.0], 1)
