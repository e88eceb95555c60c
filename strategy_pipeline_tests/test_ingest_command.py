"""`ingest` against recorded pages over HTTP: what it stores, what it says, and how it takes a vendor that errs."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl
import pytest
from massive import RESTClient

from strategy_pipeline.commands.ingest import JOB, Wanted, run
from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline.defs.progress import NoProgress
from strategy_pipeline.errors import PipelineError, SettingsError, SourceError
from strategy_pipeline.ingestion.vendor_api import RetryPolicy, VendorApi
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    CORPORATE_ACTIONS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    QUARANTINE,
    RATE_CURVE,
)
from strategy_pipeline.settings import load_settings
from strategy_pipeline_tests.defs.small_market import StandingClock
from strategy_pipeline_tests.ingestion.chain_pages import CLOSE, XYZ, entry, page, stamp
from strategy_pipeline_tests.ingestion.rest_peer import KEY, Fault, RestPeer, serving

REPOSITORY = Path(__file__).resolve().parents[1]
DAY, EVE = date(2015, 12, 24), date(2015, 12, 23)
NOW = CLOSE + timedelta(seconds=5)
QUARTER = timedelta(minutes=15)
CALL, PUT = "O:XYZ160115C00050000", "O:XYZ160115P00050000"


class World:
    """A machine with a key, a rate of 1 %, no dividends and no files, and the vendor it asks."""

    def __init__(self, home: Path, lake: Path, peer: RestPeer) -> None:
        self.peer = peer
        self.variables = {
            "STRATEGY_HOME": str(home),
            "LAKE_URL": str(lake),
            "MASSIVE_API_KEY": KEY,
            "MASSIVE_BASE_URL": peer.url,
        }
        known, kind = datetime(2015, 12, 17, 5, 0, tzinfo=UTC), RATE_CURVE.polars_schema
        rate = pl.DataFrame([(known, 1 / 365, 0.01, "flat_file", known, "test")], schema=kind, orient="row")
        self.lake.write(RATE_CURVE, {}, rate)
        self.lake.write(CORPORATE_ACTIONS, {}, CORPORATE_ACTIONS.empty())

    @property
    def settings(self):
        return load_settings(self.variables)

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_location)

    def ingest(self, *symbols: str, now: datetime = NOW, as_of: datetime | None = None, **options: Any) -> list[str]:
        """The lines of one look (or of a session's with once=False)."""
        api = VendorApi(
            RESTClient(KEY, base=self.peer.url, read_timeout=0.5), retry=RetryPolicy(2, 0.001), now=lambda: now
        )
        options = {"once": True, "clock": StandingClock(now), "vendor_api": api, **options}
        return list(run(self.settings, NoProgress(), Wanted(symbols, as_of), **options))

    def greeks(self) -> pl.DataFrame:
        return self.lake.read_sessions(HISTORICAL_GREEKS, [DAY])

    def gamma(self, convention: str = "A") -> pl.DataFrame:
        of_convention = pl.col("sign_convention").cast(pl.String) == convention
        return self.lake.read_sessions(GAMMA_EXPOSURE_SNAPSHOTS, [DAY]).filter(of_convention)

    def by_ticker(self) -> dict[str, dict[str, Any]]:
        return {row["contract_ticker"]: row for row in self.greeks().iter_rows(named=True)}


@pytest.fixture
def peer(shared_data: Path):
    with serving(RestPeer(shared_data / "rest" / "v3", DAY)) as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Dagster instance for all tests: making one takes longer than any of them."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def world(home: Path, tmp_path: Path, peer: RestPeer) -> World:
    return World(home, tmp_path / "lake", peer)


def test_the_google_chain_of_christmas_eve_becomes_a_snapshot_with_the_gamma_of_the_reference(world):
    lines = world.ingest("GOOG")
    rows = world.greeks()
    assert (rows.height, rows["snapshot_at"].unique().to_list()) == (2_192, [CLOSE])
    assert (rows["source"].unique().to_list(), rows["oi_session"].drop_nulls().unique().to_list()) == (["rest"], [EVE])
    assert rows["available_at"].unique().to_list() == [NOW]
    [gamma] = world.gamma().iter_rows(named=True)
    # QuantLib on the same quotes: +48.37 M$ per 1 %, calls +186.35, puts -137.97.
    assert gamma["gex_usd_per_1pct"] == pytest.approx(48.37e6, rel=0.005)
    assert gamma["call_gex_usd_per_1pct"] == pytest.approx(186.35e6, rel=0.005)
    assert gamma["put_gex_usd_per_1pct"] == pytest.approx(-137.97e6, rel=0.005)
    assert lines[0] == f"2015-12-24 13:00 New York: 2,192 contracts of GOOG are in {world.settings.lake_location}."
    assert lines[1].startswith("GOOG: dealer gamma +48.")
    assert world.lake.read_sessions(OPEN_INTEREST, [DAY]).height == rows["open_interest"].drop_nulls().len()
    assert world.lake.read_sessions(OPTION_CONTRACTS, [DAY]).height == 2_016


def test_a_real_process_stands_at_the_moment_it_is_told(shared_data, peer, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASSIVE_")}
    environment |= {
        "STRATEGY_HOME": str(tmp_path / "home"), "FLAT_FILES_URL": str(shared_data), "PYTHONPATH": str(REPOSITORY),
        "MASSIVE_API_KEY": KEY, "MASSIVE_BASE_URL": peer.url,
    }  # fmt: skip
    words = ["ingest", "--once", "--symbols", "GOOG", "--as-of", "2015-12-24T18:00:05Z"]
    process = subprocess.run(
        [sys.executable, "-m", "strategy_pipeline.cli", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "GOOG: dealer gamma +48." in process.stdout
    assert KEY not in process.stdout
    lake = Lake(tmp_path / "home" / "lake")
    rows = lake.read_sessions(GAMMA_EXPOSURE_SNAPSHOTS, [DAY])
    headline = rows.filter(pl.col("sign_convention").cast(pl.String) == "A")
    assert headline["gex_usd_per_1pct"].to_list() == pytest.approx([48.37e6], rel=0.005)
    # A recording was known when it was recorded; when it was stored is another matter.
    assert headline["available_at"].to_list() == [CLOSE + timedelta(seconds=2)]
    assert headline["ingested_at"][0].year > 2024


def test_earlier_snapshots_stay_and_the_same_instant_is_replaced(world, peer):
    peer.answers[XYZ] = [page(entry(CALL, CLOSE - QUARTER), entry(PUT, CLOSE - QUARTER))]
    world.ingest("XYZ", now=NOW - QUARTER)
    peer.answers[XYZ] = [page(entry(CALL), entry(PUT, open_interest=11))]
    world.ingest("XYZ")
    peer.answers[XYZ] = [page(entry(CALL))]
    world.ingest("XYZ")
    found = world.greeks().select("snapshot_at", "contract_ticker").rows()
    assert found == [(CLOSE - QUARTER, CALL), (CLOSE - QUARTER, PUT), (CLOSE, CALL)]
    assert world.gamma()["snapshot_at"].to_list() == [CLOSE - QUARTER, CLOSE]


def test_the_run_and_the_partitions_it_wrote_are_on_the_instance(world, peer):
    peer.answers[XYZ] = [page(entry(CALL), entry(PUT))]
    world.ingest("XYZ")
    with open_instance(world.settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("chain_snapshot"))
        assert event.asset_materialization.metadata["contracts"].value == {"XYZ": 2}
        for table in ("historical_greeks", "gamma_exposure_snapshots", "open_interest"):
            assert instance.get_materialized_partitions(dg.AssetKey(table)) == {"2015-12-24"}


def test_a_symbol_whose_pages_fail_half_way_leaves_no_rows_and_is_named(world, peer):
    peer.answers[XYZ] = [page(entry(CALL)), {"status": "OK", "request_id": "r"}]
    lines = world.ingest("XYZ", "GOOG")
    assert world.greeks()["symbol"].unique().to_list() == ["GOOG"]
    assert lines[-1].startswith("Left out: Page 2 of /v3/snapshot/options/XYZ at ")
    with open_instance(world.settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("chain_snapshot"))
        assert list(event.asset_materialization.metadata["failures"].value) == ["XYZ"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(status=500), "keeps failing (500) for /v3/snapshot/options/GOOG, 2 times in a row"),
        (Fault(status=403), "may not read /v3/snapshot/options/GOOG"),
        (Fault(silent=True), "did not answer in time for /v3/snapshot/options/GOOG"),
        (Fault(cut_at=1_000), "2 times in a row"),
        (Fault(status=429, headers=(("Retry-After", "999"),)), "asks to wait 999 s"),
    ],
    ids=["server error", "refused", "silent", "cut short", "long rate limit"],
)
def test_without_any_whole_chain_the_work_has_failed_and_nothing_is_stored(world, peer, fault, said):
    # The fifth page of nine, and its repetition.
    peer.faults = {5: fault, 6: fault}
    with pytest.raises(SourceError) as failed:
        world.ingest("GOOG")
    assert said in str(failed.value)
    assert KEY not in str(failed.value)
    assert world.lake.sessions(HISTORICAL_GREEKS) == world.lake.sessions(GAMMA_EXPOSURE_SNAPSHOTS) == []


def test_a_page_that_comes_at_the_second_try_is_no_failure(world, peer):
    peer.faults = {3: Fault(status=429, headers=(("Retry-After", "0"),)), 6: Fault(truncate_at=500)}
    world.ingest("GOOG")
    assert world.greeks().height == 2_192


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_tried_once(world, peer, status):
    peer.faults = {1: Fault(status=status)}
    with pytest.raises(SourceError, match=str(status)):
        world.ingest("GOOG")
    assert len(peer.requests) == 1


AGED = stamp(CLOSE - timedelta(minutes=16))


def quoted(ticker: str, at: int | None = stamp(CLOSE), **sides: float) -> dict[str, Any]:
    return entry(ticker, last_quote={**sides, **({} if at is None else {"last_updated": at})})


ODD = {
    "without greeks and volatility": (entry("O:XYZ160115C00049000"), "ok"),
    "with empty greeks": (entry("O:XYZ160115C00051000", greeks={}), "ok"),
    "without a quote": (entry("O:XYZ160115C00052000", last_quote=None), "no_good_quote"),
    "with an empty quote": (quoted("O:XYZ160115C00053000", None), "no_good_quote"),
    "with a bid of zero": (quoted("O:XYZ160115C00054000", bid=0.0, ask=1.3), "zero_bid"),
    "crossed": (quoted("O:XYZ160115C00055000", bid=1.4, ask=1.3), "crossed"),
    "with a bid alone": (quoted("O:XYZ160115C00056000", bid=1.2), "no_good_quote"),
    "with an ask alone": (quoted("O:XYZ160115C00057000", ask=1.2), "zero_bid"),
    "with an old quote": (quoted("O:XYZ160115C00058000", AGED, bid=1.2, ask=1.3), "stale"),
    "with a quote of no time": (quoted("O:XYZ160115C00059000", None, bid=1.2, ask=1.3), "stale"),
    "that settles at the snapshot": (entry("O:XYZ151224C00050000"), "expired"),
}
REFUSED = {
    "expired_contract": entry("O:XYZ151218C00050000"),
    "malformed_ticker": entry("O:XYZ16O115C00050000"),
    "unknown_deliverable": entry("O:XYZ7160115C00050000"),
    "no_ticker": entry("", details={"shares_per_contract": 100}),
    "not_a_record": 7,
    "no_multiplier": entry("O:XYZ160115C00060000", details={"ticker": "O:XYZ160115C00060000"}),
}


def test_a_chain_of_oddities_is_rows_with_a_status_and_quarantine_with_a_reason(world, peer):
    odd = [one for one, _ in ODD.values()]
    strike_of_zero = entry("O:XYZ160115C00000000")
    peer.answers[XYZ] = [page(*odd, entry(CALL)), page(entry(CALL), *REFUSED.values(), strike_of_zero)]
    lines = world.ingest("XYZ")
    assert lines[-1] == f"{len(REFUSED) + 2} entries stand in quarantine (table quarantine in the lake)."
    rows = world.by_ticker()
    assert {name: rows[one["details"]["ticker"]]["iv_status"] for name, (one, _) in ODD.items()} == {
        name: status for name, (_, status) in ODD.items()
    }
    assert len(rows) == len(ODD) + 1
    without = [row for row in rows.values() if row["iv_status"] != "ok"]
    assert {row[name] for row in without for name in ("iv", "gamma", "delta", "vega_1pct", "iv_err")} == {None}
    assert {row[name] for row in rows.values() for name in ("vendor_iv", "vendor_delta", "volume")} == {None}
    frame = world.greeks()
    assert not any(frame.select(pl.col(pl.Float64).is_nan().any()).row(0))
    refused = world.lake.read_sessions(QUARANTINE, [DAY])["reason"].to_list()
    assert sorted(refused) == sorted([*REFUSED, "malformed_ticker", "duplicate_identical"])


def test_refused_entries_are_those_of_the_newest_look_at_a_symbol(world, peer):
    peer.answers[XYZ] = [page(entry(CALL), *REFUSED.values())]
    world.ingest("XYZ")
    peer.answers[XYZ] = [page(entry(CALL), 7)]
    world.ingest("XYZ")
    assert world.lake.read_sessions(QUARANTINE, [DAY])["reason"].to_list() == ["not_a_record"]


@pytest.mark.parametrize("price", [None, 0.0, -3.0, "fifty"])
def test_without_a_price_of_the_underlying_nothing_is_valued(world, peer, price):
    underlying = {"ticker": "XYZ", "price": price, "last_updated": stamp(CLOSE)}
    peer.answers[XYZ] = [page(entry(CALL, underlying_asset=underlying), entry(PUT, underlying_asset=underlying))]
    lines = world.ingest("XYZ")
    assert {(row["iv_status"], row["underlying_price"], row["iv"]) for row in world.by_ticker().values()} == {
        ("missing_input", None, None)
    }
    [gamma] = world.gamma().iter_rows(named=True)
    assert (gamma["status"], gamma["gex_usd_per_1pct"], gamma["underlying_price"]) == ("missing_input", None, None)
    assert lines[1] == "XYZ: no dealer gamma (missing_input)."


def test_a_chain_without_any_usable_quote_has_no_gamma_and_not_a_gamma_of_zero(world, peer):
    peer.answers[XYZ] = [page(entry(CALL, last_quote=None), entry(PUT, last_quote=None))]
    world.ingest("XYZ")
    [gamma] = world.gamma().iter_rows(named=True)
    assert (gamma["status"], gamma["gex_usd_per_1pct"], gamma["oi_coverage_pct"]) == ("insufficient", None, 0.0)


def test_an_index_is_valued_on_its_value(world, peer):
    underlying = {"ticker": "I:SPX", "value": 2_000.0, "last_updated": stamp(CLOSE)}
    details = {"ticker": "O:SPXW160115C02000000", "shares_per_contract": 100, "exercise_style": "european"}
    quote = {"bid": 24.0, "ask": 25.0, "last_updated": stamp(CLOSE)}
    one = entry("", details=details, underlying_asset=underlying, last_quote=quote)
    peer.answers["/v3/snapshot/options/I:SPX"] = [page(one)]
    world.ingest("SPX")
    [row] = world.by_ticker().values()
    assert (row["symbol"], row["underlying_price"], row["iv_status"]) == ("SPX", 2_000.0, "ok")


def test_an_adjusted_contract_counts_with_what_the_list_says_it_delivers(world, peer):
    ticker = "O:XYZ7160115C00050000"
    terms = {"ticker": ticker, "underlying_ticker": "XYZ", "contract_type": "call", "exercise_style": "american",
             "expiration_date": "2016-01-15", "shares_per_contract": 10, "strike_price": 50}  # fmt: skip
    peer.answers["/v3/reference/options/contracts"] = [page(terms)]
    peer.answers[XYZ] = [page(entry(ticker), entry(CALL))]
    world.ingest("XYZ")
    assert {name: row["multiplier"] for name, row in world.by_ticker().items()} == {ticker: 10.0, CALL: 100.0}


def test_without_an_interest_rate_no_option_has_a_volatility_and_a_sentence_says_why(world, peer, capsys):
    world.lake.write(RATE_CURVE, {}, RATE_CURVE.empty())
    peer.answers[XYZ] = [page(entry(CALL), entry(PUT))]
    world.ingest("XYZ")
    assert {row["iv_status"] for row in world.by_ticker().values()} == {"missing_input"}
    assert {row["rate"] for row in world.by_ticker().values()} == {None}
    assert "No interest rate is known at 2015-12-24 18:00 UTC" in capsys.readouterr().err


def test_without_a_file_of_rates_the_treasurys_yields_come_over_rest_and_once_a_day(world, peer):
    world.lake.write(RATE_CURVE, {}, RATE_CURVE.empty())
    yields = [{"date": "2015-12-23", "yield_1_month": 0.17}, {"date": "2015-12-24", "yield_1_month": 9.0}]
    peer.answers["/fed/v1/treasury-yields"] = [page(*yields)]
    peer.answers[XYZ] = [page(entry(CALL), entry(PUT))]
    world.ingest("XYZ")
    # Those of the day itself are not known before its evening.
    assert {round(row["rate"], 6) for row in world.by_ticker().values()} == {0.001699}
    assert {row["iv_status"] for row in world.by_ticker().values()} == {"ok"}
    world.ingest("XYZ")
    assert [one.path for one in peer.requests].count("/fed/v1/treasury-yields") == 1


def test_on_a_monday_the_yields_of_the_week_before_are_asked_for_once(world, peer):
    world.lake.write(RATE_CURVE, {}, RATE_CURVE.empty())
    peer.answers["/fed/v1/treasury-yields"] = [page({"date": "2015-12-24", "yield_1_month": 0.17})]
    monday = datetime(2015, 12, 28, 18, 0, tzinfo=UTC)
    for now in (monday - QUARTER, monday):
        peer.answers[XYZ] = [page(entry(CALL, now), entry(PUT, now))]
        world.ingest("XYZ", now=now)
    assert [one.path for one in peer.requests].count("/fed/v1/treasury-yields") == 1
    world.ingest("XYZ", now=monday)
    peer.answers[XYZ] = [page(entry(CALL, monday + timedelta(days=1)))]
    world.ingest("XYZ", now=monday + timedelta(days=1))
    assert [one.path for one in peer.requests].count("/fed/v1/treasury-yields") == 2


@pytest.mark.parametrize(
    ("now", "following"),
    [
        (datetime(2015, 12, 24, 18, 15, tzinfo=UTC), "2015-12-28 09:45"),
        (datetime(2015, 12, 25, 15, 0, tzinfo=UTC), "2015-12-28 09:45"),
        (datetime(2015, 12, 24, 14, 40, tzinfo=UTC), "2015-12-24 09:45"),
    ],
    ids=["after the close", "on a holiday", "before the first instant"],
)
def test_outside_a_session_it_says_when_the_next_snapshot_is(world, peer, now, following):
    assert world.ingest("GOOG", now=now) == [
        f"There is no chain to look at now: the next snapshot is at {following} New York."
    ]
    assert peer.requests == []


def test_it_looks_at_every_instant_until_the_close(world, peer):
    clock = StandingClock(CLOSE - 2 * QUARTER + timedelta(minutes=1))
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.moment += timedelta(seconds=seconds)

    peer.answers[XYZ] = [page(entry(CALL, CLOSE - 2 * QUARTER))]
    world.ingest("XYZ", once=False, clock=clock, wait=wait)
    assert world.greeks()["snapshot_at"].to_list() == [CLOSE - 2 * QUARTER, CLOSE - QUARTER, CLOSE]
    assert waits == [14 * 60.0, 15 * 60.0]


def test_instants_that_pass_while_a_look_is_under_way_are_named_and_left_out(world, peer):
    start = CLOSE - 3 * QUARTER
    clock = StandingClock(start)

    def takes_long(_page: dict[str, Any]) -> None:
        if clock.moment == start:
            clock.moment = CLOSE

    peer.edit = takes_long
    peer.answers[XYZ] = [page(entry(CALL, start))]
    lines = world.ingest("XYZ", once=False, clock=clock)
    assert world.greeks()["snapshot_at"].to_list() == [start, CLOSE]
    said = (
        "The look took so long that there is none from 2015-12-24 12:30 New York to before 2015-12-24 13:00 New York."
    )
    assert said in lines


def test_a_failed_look_does_not_end_the_others_and_is_told_at_the_end(world, peer):
    clock = StandingClock(CLOSE - QUARTER)

    def wait(seconds: float) -> None:
        clock.moment += timedelta(seconds=seconds)

    peer.answers[XYZ] = [page(entry(CALL))]
    peer.faults = {1: Fault(status=403)}
    with pytest.raises(SourceError, match="1 of 2 snapshots failed, the last one because: The key in use may not read"):
        world.ingest("XYZ", once=False, clock=clock, wait=wait)
    assert world.greeks()["snapshot_at"].to_list() == [CLOSE]


def test_two_looks_do_not_overlap(world, peer):
    with open_instance(world.settings) as instance:
        other = dg.DagsterRun(job_name=JOB, run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED)
        instance.add_run(other)
    with pytest.raises(PipelineError, match=f"Run {other.run_id} still looks at the chains"):
        world.ingest("GOOG")
    assert peer.requests == []
    with open_instance(world.settings) as instance:
        instance.delete_run(other.run_id)
    assert world.ingest("GOOG")


def test_the_vendors_present_is_never_stored_as_the_past(world, peer):
    quote = {"bid": 1.2, "ask": 1.3, "last_updated": stamp(CLOSE + timedelta(days=4))}
    peer.answers[XYZ] = [page(entry(CALL, last_quote=quote))]
    with pytest.raises(SourceError, match="chain of XYZ is of 2015-12-28 13:00, not of 2015-12-24 13:00 New York"):
        world.ingest("XYZ", now=CLOSE + timedelta(days=4), as_of=CLOSE)
    assert world.lake.sessions(HISTORICAL_GREEKS) == []


@pytest.mark.parametrize("as_of", [CLOSE + timedelta(days=4), None], ids=["from recordings", "live"])
def test_a_picture_of_an_earlier_session_is_none_of_this_one(world, as_of):
    # Its open interest is that of another morning, which would be taken for this one's.
    later = CLOSE + timedelta(days=4)
    with pytest.raises(SourceError, match="chain of GOOG is of 2015-12-24 13:00, not of 2015-12-28 13:00 New York"):
        world.ingest("GOOG", now=later + timedelta(seconds=5), as_of=as_of)
    assert world.lake.sessions(HISTORICAL_GREEKS) == world.lake.sessions(OPEN_INTEREST) == []


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        (datetime(2015, 12, 25, 15, 0, tzinfo=UTC), "lies in no quarter hour of a session's snapshots"),
        (datetime(2015, 12, 28, 15, 0, tzinfo=UTC), "lies ahead"),
    ],
)
def test_a_moment_that_cannot_be_looked_at_is_wrong_usage(world, as_of, said):
    with pytest.raises(SettingsError, match=said):
        world.ingest("GOOG", now=datetime(2015, 12, 26, 15, 0, tzinfo=UTC), as_of=as_of)


def test_without_a_key_the_sentence_names_the_setting(world):
    del world.variables["MASSIVE_API_KEY"]
    with pytest.raises(SettingsError, match="MASSIVE_API_KEY is not set"):
        world.ingest("GOOG")


def test_the_key_is_in_no_message_and_in_nothing_that_is_kept(world, peer, home, capsys):
    peer.answers[XYZ] = [page(entry(CALL, note=KEY), {"details": {"ticker": KEY}})]
    peer.faults = {2: Fault(status=401)}
    world.ingest("XYZ")
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert KEY.encode() not in kept
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
