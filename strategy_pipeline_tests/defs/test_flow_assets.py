"""The option tape in the graph: files to classified prints and totals, what is built again, and what a check says."""

import gzip
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.errors import DagsterAssetCheckFailedError
from polars.testing import assert_frame_equal

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.flow import store_streamed_flow
from strategy_pipeline.defs.flow_checks import unreconciled
from strategy_pipeline.defs.launch import materialize, open_instance
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.vendor_api import Pages
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_DAILY,
    OPTIONS_FLOW_HISTORY,
    QUARANTINE,
    TRADE_CONDITIONS,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Watchlist, load_settings
from strategy_pipeline.synthetic.files import SyntheticMarket
from strategy_pipeline_tests.analytics.gamma_chains import chain, priced
from strategy_pipeline_tests.analytics.tapes import AUTO, CALL, DAY, ISO, MS, PUT, REFERENCE, a_day_of_flow

TRADE_HEADER = "ticker,conditions,correction,exchange,price,sip_timestamp,size"
QUOTE_HEADER = "ticker,sip_timestamp,bid_price,ask_price"
SESSIONS = [calendar.session_offset(DAY, -back) for back in range(6, -1, -1)]
REFERENCE_KEY = "reference/option_trade_conditions.csv"
TAPE = ["option_trade_file", "option_quote_file", "open_interest", "option_contracts"]
FLOW = [*TAPE, "trade_conditions", "options_flow_history", "options_flow_daily"]

# Quoted 1.00-1.10 all day. Premium of the seven prints that become rows: 13 200 + 13 200 + 110 (the sweep), 550 000
# (the block), 1 050 (a package), 525 (cancelled), 100 (sold at the bid) = 578 185 $.
MINUTE = 60_000
PRINTS = [
    (CALL, 0, 1.10, 120, 300, ISO),
    (CALL, 40, 1.10, 120, 301, ISO),
    (CALL, 90, 1.10, 1, 302, ISO),
    (CALL, 1 * MINUTE, 1.10, 5_000, 300, AUTO),
    (CALL, 2 * MINUTE, 1.05, 10, 300, 232),
    (CALL, 3 * MINUTE, 1.05, 5, 300, 201),
    (CALL, 4 * MINUTE, 1.00, 1, 300, AUTO),
]
PREMIUM_USD = 578_185.0
# A price of zero, another underlying, and an adjusted contract whose deliverable nobody states.
LEFT_OUT = [
    (CALL, 5 * MINUTE, 0.0, 1, 300, AUTO),
    ("O:QQQ240621C00450000", 5 * MINUTE, 1.0, 1, 300, AUTO),
    ("O:SPY1240621C00530000", 5 * MINUTE, 1.0, 1, 300, AUTO),
]


class Place:
    """Files of option tapes in a folder of the test, and a lake to build them into."""

    def __init__(self, home: Path, files: Path | None = None, symbol: str = "SPY", **overrides) -> None:
        self.files = files or home / "files"
        self.settings = load_settings({"STRATEGY_HOME": str(home), "FLAT_FILES_URL": str(self.files)})
        self.lake = Lake(self.settings.lake_location)
        watchlist = Watchlist((instrument(symbol),))
        resources = {**default_resources(lambda: self.settings), "watchlist": watchlist, **overrides}
        self.definitions = build_defs(**resources)
        if files is None:
            self.put(REFERENCE_KEY, REFERENCE.write_csv().encode())

    def put(self, key: str, content: bytes) -> None:
        path = self.files / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # Published at one moment, so that the same content is the same file.
        os.utime(path, (1_717_500_000, 1_717_500_000))

    def tape(self, day: date, rows: list[tuple], *, quoted: bool = True) -> None:
        """The trades and quotes of a session; moments are ms after 12:00 New York."""
        noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=calendar.NEW_YORK).timestamp()) * 1_000 * MS
        lines = [f"{one[0]},{one[5]},0,{one[4]},{one[2]},{noon + one[1] * MS},{one[3]}" for one in rows]
        name = f"{day:%Y/%m}/{day}.csv.gz"
        self.put(f"us_options_opra/trades_v1/{name}", _zipped(TRADE_HEADER, lines))
        if quoted:
            moments = sorted({one[1] - 1 for one in rows})
            quotes = [f"{CALL},{noon + at * MS},1.00,1.10" for at in moments]
            self.put(f"us_options_opra/quotes_v1/{name}", _zipped(QUOTE_HEADER, quotes))

    def run(self, instance, assets, first=DAY, last=DAY):
        keys = (first.isoformat(), last.isoformat())
        return materialize(self.definitions, instance, "backfill_options", assets=assets, keys=keys, trigger="test")

    def flow(self, day=DAY) -> pl.DataFrame:
        return self.lake.read_sessions(OPTIONS_FLOW_HISTORY, [day]).sort("sip_timestamp_ns")


def _zipped(header: str, lines: list[str]) -> bytes:
    return gzip.compress("\n".join([header, *lines, ""]).encode(), mtime=0)


def said_of(instance, asset: str) -> dict:
    return instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization.metadata


def failed(result) -> dict[str, str]:
    return {one.check_name: str(one.description) for one in result.get_asset_check_evaluations() if not one.passed}


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with open_instance(load_settings({"STRATEGY_HOME": str(tmp_path_factory.mktemp("instance"))})) as one:
        yield one


@pytest.fixture(scope="module")
def week(tmp_path_factory, instance):
    """Seven sessions of the same tape, built through the graph in one run."""
    place = Place(tmp_path_factory.mktemp("week"))
    for day in SESSIONS:
        place.tape(day, [*PRINTS, *LEFT_OUT])
    return place, place.run(instance, FLOW, SESSIONS[0], DAY)


def test_a_tape_becomes_classified_prints_and_every_line_of_its_file_is_accounted_for(week, instance):
    place, run = week
    assert failed(run) == {}
    rows = place.flow()
    assert rows["trade_type"].cast(pl.String).to_list() == ["SWEEP"] * 3 + ["BLOCK", "MULTI_LEG", "REGULAR", "REGULAR"]
    assert rows["premium_usd"].sum() == pytest.approx(PREMIUM_USD)
    assert rows["exclusion_class"].cast(pl.String).to_list()[4:] == ["multi_leg", "cancel", "none"]
    assert rows["aggressor_sign"].to_list() == [1.0, 1.0, 1.0, 1.0, None, None, -1.0]
    said = said_of(instance, "options_flow_history")
    assert said["counts"].value == {
        "read": 10, "quarantined": 1, "of_other_symbols": 1, "of_refused_contracts": 1, "repeated": 0,
    }  # fmt: skip
    assert said["classes"].value["SWEEP"] == {"prints": 3, "premium_usd": pytest.approx(26_510.0)}
    assert sum(one["premium_usd"] for one in said["classes"].value.values()) == pytest.approx(PREMIUM_USD)
    assert said["timeline"].value.startswith("![")
    refused = place.lake.read_sessions(QUARANTINE, [DAY]).sort("reason")
    assert refused["reason"].to_list() == ["price_not_positive", "unknown_contract"]
    assert "1 prints of O:SPY1240621C00530000" in refused["detail"][1]


def test_the_version_of_the_reference_stands_with_each_row_and_leads_to_its_words(week):
    place, _ = week
    reference = place.lake.read(TRADE_CONDITIONS, [{}])
    assert place.flow()["conditions_version"].unique().to_list() == reference["version"].unique().to_list()
    meanings = dict(reference.select("condition_id", "meanings").iter_rows())
    assert (meanings[201], meanings[209], meanings[228]) == (["cancel"], [], ["auction", "sweep"])


def test_percentiles_stand_on_the_sessions_before_and_never_on_the_session_itself(week):
    place, _ = week
    # Five sessions make a history; the prints of six, one of each size 1, 1, 10, 120, 120, 5 000 (the cancelled one is
    # void): of 36 prints 34 are smaller than 5 000 or equal to it by half, 100 (30 + 3)/36.
    assert place.flow(SESSIONS[4])["size_percentile_pct"].null_count() == 7
    sixth = place.flow(SESSIONS[6]).filter(pl.col("size") == 5_000)["size_percentile_pct"].item()
    assert sixth == pytest.approx(100.0 * 33 / 36)


def test_daily_totals_are_those_of_the_prints(week):
    place, _ = week
    totals = place.lake.read_sessions(OPTIONS_FLOW_DAILY, [DAY])
    assert totals["premium_usd"].sum() == pytest.approx(PREMIUM_USD)
    row = totals.filter(pl.col("trade_type").cast(pl.String) == "SWEEP").row(0, named=True)
    assert (row["symbol"], row["prints"], row["contracts"], row["bullish_premium_usd"]) == ("SPY", 3, 241, 26_510.0)
    # Known with the last print of the session: 12:04 New York is 16:04 UTC.
    assert row["available_at"] == datetime(2024, 6, 3, 16, 4, tzinfo=UTC)
    assert row["net_delta_usd"] is None


def test_running_twice_gives_the_same_bytes(week, instance):
    place, _ = week

    def digests():
        tables = (OPTIONS_FLOW_HISTORY, OPTIONS_FLOW_DAILY)
        return [place.lake.info(table, {"session": day}).sha256 for table in tables for day in SESSIONS]

    before = digests()
    place.run(instance, FLOW, SESSIONS[0], DAY)
    assert digests() == before


def test_two_halves_give_the_bytes_of_the_whole(week, instance, tmp_path):
    whole, _ = week
    other = Place(tmp_path, whole.files)
    other.run(instance, FLOW, SESSIONS[0], SESSIONS[3])
    other.run(instance, FLOW, SESSIONS[4], DAY)
    digests = [
        [place.lake.info(OPTIONS_FLOW_HISTORY, {"session": day}).sha256 for day in SESSIONS] for place in (whole, other)
    ]
    assert digests[0] == digests[1]


def test_a_revised_tape_is_classified_again_with_the_twenty_sessions_after_it_and_no_others(instance, tmp_path):
    place = Place(tmp_path)
    days = [calendar.session_offset(DAY, -back) for back in range(22, -1, -1)]
    for day in days:
        place.tape(day, PRINTS[3:])
    place.run(instance, FLOW, days[0], DAY)
    before = {day: place.lake.info(OPTIONS_FLOW_HISTORY, {"session": day}).sha256 for day in days}
    place.tape(days[1], PRINTS)
    os.utime(
        place.files / f"us_options_opra/trades_v1/{days[1]:%Y/%m}/{days[1]}.csv.gz", (1_717_600_000, 1_717_600_000)
    )
    place.run(instance, FLOW, days[0], DAY)
    changed = [day for day in days if place.lake.info(OPTIONS_FLOW_HISTORY, {"session": day}).sha256 != before[day]]
    assert changed == days[1:22]


def test_daily_totals_outlive_the_prints_they_were_made_from(week, instance, tmp_path):
    place = Place(tmp_path, week[0].files)
    place.run(instance, FLOW)
    totals = place.lake.read_sessions(OPTIONS_FLOW_DAILY, [DAY])
    (tmp_path / "lake" / "options_flow_history" / f"session={DAY}" / "part-0.parquet").unlink()
    assert failed(place.run(instance, ["options_flow_daily"])) == {}
    assert_frame_equal(place.lake.read_sessions(OPTIONS_FLOW_DAILY, [DAY]), totals)


def test_the_synthetic_tape_is_classified_as_it_was_planned(instance, tmp_path):
    market = SyntheticMarket(7, 4, 10, history=0, option_sessions=3)
    settings = load_settings({"STRATEGY_HOME": str(tmp_path)})
    market.write(settings.vendor_folder)
    place = Place(tmp_path, settings.vendor_folder, "SPX")
    days = market.plan.options.sessions
    # Terms come from the tickers on the tape, and no chain is valued: the classes need neither.
    assert failed(place.run(instance, ["option_trade_file", "option_quote_file", *FLOW[4:]], days[0], days[-1])) == {}
    for day in days:
        planned, rows = market.plan.options.tape("SPX", day), place.flow(day)
        kinds = rows["trade_type"].cast(pl.String)
        exclusions = rows["exclusion_class"].cast(pl.String)
        found = {
            "prints": rows.height,
            "sweeps": rows.filter(pl.col("is_sweep"))["cluster_id"].n_unique(),
            "blocks": int((kinds == "BLOCK").sum()),
            "crosses": int((kinds == "CROSS").sum()),
            "multi_legs": int((kinds == "MULTI_LEG").sum()) - planned.floor,
            "auctions": int((kinds == "AUCTION").sum()),
            "late": int((exclusions == "late").sum()),
            "cancelled": int((exclusions == "cancel").sum()),
        }
        assert found == {name: getattr(planned, name) for name in found}, day
    assert sum(market.plan.options.tape("SPX", day).sweeps for day in days) > 3


def test_a_condition_nobody_knows_fails_its_check_and_the_prints_stay(instance, tmp_path):
    place = Place(tmp_path)
    place.tape(DAY, [*PRINTS, (CALL, 5 * MINUTE, 1.10, 1, 300, 999)])
    result = place.run(instance, FLOW)
    assert result.success
    assert failed(result) == {"conditions_are_known": "conditions that the reference does not know: 999 (1 times)"}
    assert place.flow().row(-1, named=True)["quality"] == "suspect"


def test_another_reference_classifies_again_and_the_old_one_is_kept(instance, tmp_path):
    place = Place(tmp_path)
    place.tape(DAY, [*PRINTS, (CALL, 5 * MINUTE, 1.10, 1, 300, 999)])
    place.run(instance, FLOW)
    before = place.flow()["conditions_version"][0]
    later = pl.concat([REFERENCE, pl.DataFrame({"id": [999], "name": ["Single Leg Auction Non ISO"]})])
    place.put(REFERENCE_KEY, later.write_csv().encode())
    os.utime(place.files / REFERENCE_KEY, (1_717_600_000, 1_717_600_000))
    assert failed(place.run(instance, FLOW)) == {}
    assert place.flow().row(-1, named=True)["trade_type"] == "AUCTION"
    versions = place.lake.read(TRADE_CONDITIONS, [{}])["version"].unique().to_list()
    assert sorted(versions) == sorted({before, place.flow()["conditions_version"][0]})
    assert len(versions) == 2


def test_without_a_reference_nothing_is_guessed_and_the_run_says_what_to_do(instance, tmp_path):
    place = Place(tmp_path)
    (place.files / REFERENCE_KEY).unlink()
    place.tape(DAY, PRINTS)
    with pytest.raises(MissingDataError, match=r"put reference/option_trade_conditions\.csv beside the vendor's files"):
        place.run(instance, FLOW)


class ConditionsOverRest:
    """The part of the vendor's REST side that is asked for the reference."""

    def conditions(self) -> Pages:
        entries = [{"id": code, "name": name, "type": "sale_condition"} for code, name in REFERENCE.iter_rows()]
        return Pages("/v3/reference/conditions", (("r-1", entries),), datetime(2024, 6, 3, tzinfo=UTC))


def test_where_no_file_has_the_reference_it_comes_over_rest_once(instance, tmp_path):
    place = Place(tmp_path, vendor_api_if_any=ConditionsOverRest())
    (place.files / REFERENCE_KEY).unlink()
    place.tape(DAY, PRINTS)
    assert failed(place.run(instance, FLOW)) == {}
    reference = place.lake.read(TRADE_CONDITIONS, [{}])
    assert reference["source"].cast(pl.String).unique().to_list() == ["rest"]
    assert place.flow()["trade_type"].cast(pl.String).to_list()[:4] == ["SWEEP"] * 3 + ["BLOCK"]
    # Asked again, the same reference stays as it was stored.
    place.run(instance, ["trade_conditions"])
    assert_frame_equal(place.lake.read(TRADE_CONDITIONS, [{}]), reference)


def test_without_quotes_every_side_is_unknown_and_the_premium_still_reconciles(instance, tmp_path):
    place = Place(tmp_path)
    place.tape(DAY, PRINTS, quoted=False)
    assert failed(place.run(instance, FLOW)) == {}
    assert place.flow()["aggressor_sign"].null_count() == 7
    assert place.flow()["sentiment"].cast(pl.String).unique().to_list() == ["UNKNOWN"]


def test_sessions_without_a_trades_file_stay_unmaterialised_and_stop_nothing(instance, tmp_path):
    place = Place(tmp_path)
    assert place.run(instance, FLOW).success
    assert place.lake.keys(OPTIONS_FLOW_HISTORY) == []


def streamed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        source=pl.lit("stream").cast(rows.schema["source"]), quality=pl.lit("provisional").cast(rows.schema["quality"])
    )


def test_streamed_prints_add_rows_once_and_give_way_to_the_file(week, instance, tmp_path):
    live = streamed(week[0].flow())
    place = Place(tmp_path)
    store_streamed_flow(place.lake, live.head(4))
    store_streamed_flow(place.lake, live.tail(5))
    assert place.flow().height == 7
    place.tape(DAY, PRINTS[:5])
    result = place.run(instance, FLOW)
    assert failed(result) == {}
    assert place.flow()["source"].cast(pl.String).to_list() == ["flat_file"] * 5
    # What is streamed again after the file adds nothing.
    store_streamed_flow(place.lake, live)
    assert place.flow().height == 5


def test_a_file_that_cannot_be_used_leaves_what_was_streamed(week, instance, tmp_path):
    place = Place(tmp_path)
    store_streamed_flow(place.lake, streamed(week[0].flow()))
    place.put(f"us_options_opra/trades_v1/{DAY:%Y/%m}/{DAY}.csv.gz", b"no gzip")
    assert place.run(instance, FLOW).success
    assert place.flow()["source"].cast(pl.String).unique().to_list() == ["stream"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: rows.head(6), "10 lines were read, 6 are rows and 3 are accounted for"),
        (lambda rows: rows.with_columns(premium_usd=pl.col("premium_usd") * 2), "the classes hold $1,156,370.00"),
    ],
    ids=["a print is missing", "premium was made up"],
)
def test_what_does_not_add_up_is_said(week, change, sentence):
    place, _ = week
    said = place.lake.metadata(OPTIONS_FLOW_HISTORY, {"session": DAY})
    assert unreconciled(place.flow(), said) == ""
    assert sentence in unreconciled(change(place.flow()), said)


def test_a_partition_that_lost_prints_fails_its_checks(week, instance, tmp_path):
    place = Place(tmp_path, week[0].files)
    place.run(instance, FLOW)
    said = place.lake.metadata(OPTIONS_FLOW_HISTORY, {"session": DAY})
    place.lake.write(OPTIONS_FLOW_HISTORY, {"session": DAY}, place.flow().head(6), said)
    with pytest.raises(DagsterAssetCheckFailedError, match="options_flow_history: totals_reconcile"):
        place.run(instance, ["options_flow_history"])


def gamma_of(place: Place, instance, day: date) -> dict[str, dict]:
    place.run(instance, ["gamma_exposure_snapshots"], day, day)
    rows = place.lake.read_sessions(GAMMA_EXPOSURE_SNAPSHOTS, [day])
    return {row["sign_convention"]: row for row in rows.iter_rows(named=True)}


def test_dealer_gamma_is_signed_by_the_flow_of_five_sessions_before_and_never_by_its_own(instance, tmp_path):
    place = Place(tmp_path)
    noon = datetime(2024, 6, 3, 16, 0, tzinfo=UTC)
    common = {"symbol": "SPY", "session": DAY, "snapshot_at": noon, "available_at": noon + timedelta(seconds=2),
              "expiration": date(2024, 6, 21), "dte": 18, "oi_session": SESSIONS[-2]}  # fmt: skip
    terms = [{"contract_ticker": CALL, "option_type": "call"}, {"contract_ticker": PUT, "option_type": "put"}]
    rows = [{**one, "strike": 100.0, "iv": 0.2, "open_interest": 1_000} for one in terms]
    place.lake.write(HISTORICAL_GREEKS, {"session": DAY}, priced(chain(rows, **common)))
    # Customers bought 100 calls a session to open, all of it beyond the open interest.
    for day in SESSIONS[2:-1]:
        place.lake.write(OPTIONS_FLOW_HISTORY, {"session": day}, a_day_of_flow(day, size=100))
    assert set(gamma_of(place, instance, DAY)) == {"A", "B"}
    place.lake.write(OPTIONS_FLOW_HISTORY, {"session": SESSIONS[1]}, a_day_of_flow(SESSIONS[1], size=100))
    found = gamma_of(place, instance, DAY)
    # Dealers are short 100 x (1 + 2^(-1/5) + ... + 2^(-4/5)) = 386.2 of the 1 000 calls, and nothing else.
    assert found["C"]["gex_usd_per_1pct"] == pytest.approx(-0.38627 * found["A"]["call_gex_usd_per_1pct"], rel=1e-4)
    assert found["C"]["agreement"] is False
    place.lake.write(OPTIONS_FLOW_HISTORY, {"session": DAY}, a_day_of_flow(DAY, size=5_000))
    assert gamma_of(place, instance, DAY) == found


def test_option_contracts_of_a_real_session_are_counted_minute_by_minute(shared_data, instance, tmp_path):
    place = Place(tmp_path, shared_data, "GOOG")
    half_day = date(2015, 12, 24)
    assets = ["option_minute_file", "option_contracts", "option_volume_minutes"]
    result = place.run(instance, assets, half_day, half_day)
    assert failed(result) == {}
    rows = place.lake.read_sessions(OPTION_VOLUME_MINUTES, [half_day])
    # awk over the file's rows of GOOG from 09:30 to 13:00 New York.
    assert rows["total_volume"].max() == 7_471
    assert said_of(instance, "option_volume_minutes")["minutes_without_terms"].value == 0
    assert json.loads(place.lake.metadata(OPTION_VOLUME_MINUTES, {"session": half_day})["sources"])
