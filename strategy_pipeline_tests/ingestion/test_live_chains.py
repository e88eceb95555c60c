"""One look at several chains over HTTP: whole answers, what is fetched beside them, and failures that stay apart."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from massive import RESTClient

from strategy_pipeline.ingestion.live_chains import LATEST_STAMP, Request, SymbolChain, fetch_chains, with_live_rows
from strategy_pipeline.ingestion.vendor_api import RetryPolicy, VendorApi
from strategy_pipeline.lake.tables import OPEN_INTEREST, OPTION_CONTRACTS
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline_tests.ingestion.chain_pages import CLOSE, XYZ, entry, page, stamp
from strategy_pipeline_tests.ingestion.rest_peer import KEY, Fault, RestPeer, serving

DAY = date(2015, 12, 24)
FETCHED_AT = datetime(2015, 12, 24, 18, 0, 5, tzinfo=UTC)
CHAIN, CONTRACTS = "/v3/snapshot/options/GOOG", "/v3/reference/options/contracts"


@pytest.fixture
def peer(shared_data: Path):
    with serving(RestPeer(shared_data / "rest" / "v3", DAY)) as found:
        yield found


@pytest.fixture
def look(peer: RestPeer) -> Callable[..., dict[str, SymbolChain]]:
    def at(*symbols: str, snapshot_at: datetime = CLOSE, **asked: Any) -> dict[str, SymbolChain]:
        api = VendorApi(
            RESTClient(KEY, base=peer.url), retry=RetryPolicy(2, 0.001), now=lambda: FETCHED_AT, fraction=lambda: 0.0
        )
        request = Request(snapshot_at, **({"contracts": OPTION_CONTRACTS.empty()} | asked))
        return {one.symbol: one for one in fetch_chains(api, [instrument(symbol) for symbol in symbols], request)}

    return at


def test_a_symbol_whose_pages_fail_half_way_leaves_nothing_and_the_others_come(look, peer):
    peer.answers[XYZ] = [page(entry("O:XYZ160115C00050000")), {"status": "OK"}]
    found = look("XYZ", "GOOG")
    assert list(found) == ["XYZ", "GOOG"]
    assert found["XYZ"].chain is None
    assert "Page 2 of /v3/snapshot/options/XYZ" in found["XYZ"].failure
    assert found["XYZ"].quarantine.is_empty()
    # README of the data: 2,192 contracts of GOOG on 2015-12-24.
    assert found["GOOG"].chain.height == 2_192
    assert found["GOOG"].failure is None
    assert found["GOOG"].notes == ()


def test_the_list_of_contracts_is_fetched_once_a_session(look, peer):
    first = look("GOOG")["GOOG"]
    # The recorded list lacks the 176 contracts that expire on the day itself.
    assert first.contracts.height == 2_192 - 176
    assert {one.query["as_of"] for one in peer.requests if "as_of" in one.query} == {"2015-12-24"}
    peer.requests.clear()
    second = look("GOOG", contracts=first.contracts)["GOOG"]
    assert {one.path for one in peer.requests} == {CHAIN}
    assert second.contracts.is_empty()
    assert second.chain.equals(first.chain)


def test_terms_that_follow_from_tickers_in_files_are_no_list(look, peer):
    derived = look("GOOG")["GOOG"].contracts.with_columns(source=pl.lit("flat_file", dtype=pl.Enum(["flat_file"])))
    peer.requests.clear()
    look("GOOG", contracts=derived)
    assert CONTRACTS in {one.path for one in peer.requests}


def test_without_a_list_of_contracts_adjusted_ones_are_left_out_and_a_note_says_why(look, peer):
    plain, adjusted = "O:XYZ160115C00050000", "O:XYZ7160115C00050000"
    peer.answers[XYZ] = [page(entry(plain), entry(adjusted))]
    found = look("XYZ")["XYZ"]
    assert found.chain["contract_ticker"].to_list() == [plain]
    assert found.parsed.by_reason == {"unknown_deliverable": 1}
    assert len(found.notes) == 1
    assert found.notes[0].startswith("No list of the contracts on XYZ, so adjusted ones are left out: There is no")


def test_minutes_of_the_underlying_are_asked_for_when_a_print_stands_alone(look, peer):
    printed = {"price": 1.25, "sip_timestamp": stamp(CLOSE) - 60 * 10**9}
    peer.answers[XYZ] = [page(entry("O:XYZ160115C00050000", last_quote=None, last_trade=printed))]
    path = "/v2/aggs/ticker/XYZ/range/1/minute/2015-12-24/2015-12-24"
    bar = {"t": (stamp(CLOSE) - 120 * 10**9) // 10**6, "o": 50, "h": 50, "l": 50, "c": 50, "v": 100}
    peer.answers[path] = [{**page(bar), "ticker": "XYZ", "adjusted": False}]
    found = look("XYZ")["XYZ"]
    assert found.bars.select("symbol", "close").rows() == [("XYZ", 50.0)]
    del peer.answers[path]
    without = look("XYZ")["XYZ"]
    assert without.chain.height == 1
    assert without.notes[-1].startswith("No minutes of XYZ, so its 1 contracts with a print and no quote have no")


def test_a_quoted_chain_asks_for_no_minutes(look, peer):
    look("GOOG")
    assert not [one for one in peer.requests if one.path.startswith("/v2/aggs")]


@pytest.mark.parametrize(("late", "is_refused"), [(-1, False), (0, True)])
def test_a_picture_of_another_moment_is_refused(look, peer, late, is_refused):
    newest = stamp(CLOSE + LATEST_STAMP) + late * 10**9
    quote = {"bid": 1.2, "ask": 1.3, "last_updated": newest}
    peer.answers[XYZ] = [page(entry("O:XYZ160115C00050000", last_quote=quote))]
    found = look("XYZ")["XYZ"]
    assert (found.chain is None) is is_refused
    if is_refused:
        assert found.failure.startswith(
            "The vendor's chain of XYZ is of 2015-12-24 13:20, not of 2015-12-24 13:00 New York: leave --as-of out"
        )


def test_recorded_pages_were_known_when_they_were_recorded_and_must_say_when(look, peer):
    row = look("GOOG", replayed=True)["GOOG"].chain.row(0, named=True)
    assert row["available_at"] == datetime(2015, 12, 24, 18, 0, 2, tzinfo=UTC)
    assert row["ingested_at"] == FETCHED_AT
    live = look("GOOG")["GOOG"].chain.row(0, named=True)
    assert live["available_at"] == FETCHED_AT
    peer.answers[XYZ] = [
        page(entry("O:XYZ160115C00050000", last_quote={"bid": 1.0, "ask": 1.1}, underlying_asset={"ticker": "XYZ"}))
    ]
    assert "Nothing in the vendor's chain of XYZ says that it is of" in look("XYZ", replayed=True)["XYZ"].failure
    assert look("XYZ")["XYZ"].failure is None


def test_an_empty_chain_is_a_failure_of_its_symbol(look, peer):
    peer.answers[XYZ] = [page()]
    assert look("XYZ")["XYZ"].failure.startswith("The vendor lists no options on XYZ")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_asked_once_and_not_named(look, peer, status):
    peer.faults = {1: Fault(status=status)}
    failure = look("GOOG")["GOOG"].failure
    assert len(peer.requests) == 1
    assert str(status) in failure
    assert KEY not in failure


def interest(*rows: tuple[str, int, str]) -> pl.DataFrame:
    known = datetime(2015, 12, 24, 11, 30, tzinfo=UTC)
    return pl.DataFrame(
        [
            (DAY, ticker, "XYZ", n, date(2015, 12, 23), source, "final", [], known, known, 0, "t")
            for ticker, n, source in rows
        ],
        schema=OPEN_INTEREST.polars_schema,
        orient="row",
    )


@pytest.mark.parametrize(("files_win", "of_both"), [(True, 1), (False, 2)])
def test_live_rows_join_those_of_files(files_win, of_both):
    held = interest(("O:A", 1, "flat_file"), ("O:B", 3, "rest"), ("O:C", 5, "rest"))
    live = interest(("O:A", 2, "rest"), ("O:B", 4, "rest"), ("O:D", 6, "rest"))
    whole = with_live_rows(held, live, files_win=files_win).sort("contract_ticker")
    counts = {"O:A": of_both, "O:B": 4, "O:C": 5, "O:D": 6}
    assert dict(whole.select("contract_ticker", "open_interest").iter_rows()) == counts
