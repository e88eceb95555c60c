"""Options in the graph: real files to chains and gamma, what is built again, and what is known of open interest."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.options import store_live_snapshot
from strategy_pipeline.defs.launch import materialize
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.errors import ContractError, MissingDataError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    QUARANTINE,
    RATE_CURVE,
)
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Watchlist, load_settings

HALF_DAY = date(2015, 12, 24)
KEY = HALF_DAY.isoformat()
JANUARY = "GOOG160115"
CLOSE = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
BARS = ["stock_minute_file", "index_minute_file", "corporate_actions", "historical_bars"]
FILES = ["option_minute_file", "option_quote_file"]
REFERENCE = ["rate_curve", "open_interest", "option_contracts"]
OPTIONS = [*FILES, *REFERENCE, "historical_greeks", "gamma_exposure_snapshots"]


class Place:
    """A copy of the files of one session that a test may change, and a lake to build them into."""

    def __init__(self, home: Path, files: Path, symbols: tuple[str, ...]) -> None:
        self.settings = load_settings({"STRATEGY_HOME": str(home), "FLAT_FILES_URL": str(files)})
        watchlist = Watchlist(tuple(instrument(symbol) for symbol in symbols))
        self.files, self.lake = files, Lake(self.settings.lake_location)
        resources = {**default_resources(lambda: self.settings), "watchlist": watchlist}
        self.definitions = build_defs(**resources)

    def run(self, instance, job, assets, day=HALF_DAY, **config):
        keys = (day.isoformat(), day.isoformat())
        return materialize(self.definitions, instance, job, assets=assets, keys=keys, config=config, trigger="test")

    def build(self, instance, day=HALF_DAY):
        self.run(instance, "backfill_bars", BARS, day)
        return self.run(instance, "backfill_options", OPTIONS, day)

    def greeks(self, day=HALF_DAY) -> pl.DataFrame:
        return self.lake.read_sessions(HISTORICAL_GREEKS, [day])


def copied(shared_data: Path, folder: Path, day: date, only: str = "") -> Path:
    """The files about a session, in a folder of the test; of options only the lines with a text, when given."""
    path = f"{day:%Y/%m}/{day}.csv.gz"
    names = [
        "extra/primary_credit_rate.csv", "extra/corporate_actions/splits.csv", "extra/corporate_actions/dividends.csv",
        f"extra/option_open_interest/{path}",
        *(f"{name}/{path}" for name in (
            "us_stocks_sip/minute_aggs_v1", "us_indices/minute_aggs_v1", "us_options_opra/minute_aggs_v1",
            "us_options_opra/quotes_v1",
        )),
    ]  # fmt: skip
    for name in names:
        if (shared_data / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(shared_data / name, folder / name)
            if only and "option" in name:
                rewritten(folder / name, lambda lines: [lines[0], *(line for line in lines[1:] if only in line)])
    return folder


def rewritten(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Other lines in a compressed file, published at the same moment."""
    published = path.stat()
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join(change(lines)).encode(), mtime=0))
    os.utime(path, ns=(published.st_atime_ns, published.st_mtime_ns))


@pytest.fixture(scope="module")
def instance():
    with dg.instance_for_test() as one:
        yield one


@pytest.fixture(scope="module")
def goog(shared_data, tmp_path_factory, instance):
    """GOOG on the half day before Christmas 2015, built through the graph, and the run that did it."""
    home = tmp_path_factory.mktemp("goog")
    place = Place(home, copied(shared_data, home / "vendor-files", HALF_DAY), ("GOOG",))
    return place, place.build(instance)


def said_of(instance, asset: str) -> dict:
    return instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization.metadata


def test_the_files_of_a_session_become_chains_on_its_grid(goog, instance):
    place, run = goog
    rows = place.greeks()
    # A half day has 14 instants; 2,192 contracts are quoted in the course of it (data README).
    assert rows["snapshot_at"].n_unique() == 14
    assert rows.filter(pl.col("snapshot_at") == CLOSE).height == 2192
    assert rows["source"].cast(pl.String).unique().to_list() == ["flat_file"]
    assert rows["iv_rank_pct"].null_count() == rows.height
    said = said_of(instance, "historical_greeks")
    assert (said["contracts"].value, said["snapshots"].value, said["symbols"].value) == (2192, 14, "GOOG")
    assert sum(said["statuses"].value.values()) == rows.height
    verdicts = {(one.asset_key.to_user_string(), one.check_name): one for one in run.get_asset_check_evaluations()}
    assert all(one.passed for one in verdicts.values())
    assert ("historical_greeks", "put_call_parity") in verdicts
    assert said["smile of GOOG"].value.startswith("![")
    pictures = said_of(instance, "gamma_exposure_snapshots")
    assert {name for name in pictures if name.startswith("gamma")} == {
        "gamma by strike of GOOG",
        "gamma along the price of GOOG",
    }


def test_dealer_gamma_at_the_close_is_that_of_the_reference(goog, instance):
    place, _ = goog
    rows = place.lake.read_sessions(GAMMA_EXPOSURE_SNAPSHOTS, [HALF_DAY])
    close = rows.filter((pl.col("snapshot_at") == CLOSE) & (pl.col("sign_convention").cast(pl.String) == "A"))
    row = close.row(0, named=True)
    # QuantLib on the same quotes: +48.37 M$ per 1 %, calls +186.35, puts -137.97.
    assert row["gex_usd_per_1pct"] == pytest.approx(48.37e6, rel=0.005)
    assert row["call_gex_usd_per_1pct"] == pytest.approx(186.35e6, rel=0.005)
    assert row["put_gex_usd_per_1pct"] == pytest.approx(-137.97e6, rel=0.005)
    assert said_of(instance, "gamma_exposure_snapshots")["closing_net_usd_per_1pct"].value["GOOG"] == pytest.approx(
        row["gex_usd_per_1pct"]
    )
    assert rows.height == 2 * 14


def test_reference_tables_hold_the_terms_the_mornings_numbers_and_the_rates(goog):
    lake = goog[0].lake
    interest = lake.read_sessions(OPEN_INTEREST, [HALF_DAY])
    assert (interest.height, interest["oi_session"].unique().to_list()) == (2058, [date(2015, 12, 23)])
    assert lake.read_sessions(OPTION_CONTRACTS, [HALF_DAY]).height == 2192
    # 38 changes of the rate from 2003 to July 2023; 1.00 % from 2015-12-17.
    rates = lake.read(RATE_CURVE, [{}])
    known = rates.filter(pl.col("available_at") <= CLOSE).sort("available_at")
    assert known["rate"].to_list()[-1] == pytest.approx(0.00999986302, abs=1e-10)


def test_nothing_is_built_again_when_nothing_changed_and_a_new_symbol_joins_the_old(goog, instance):
    place, _ = goog
    path = Path(place.lake.info(HISTORICAL_GREEKS, {"session": KEY}).location)
    before = (path.stat().st_mtime_ns, path.read_bytes())
    place.run(instance, "backfill_options", OPTIONS)
    assert path.stat().st_mtime_ns == before[0]
    # A symbol without options in the files: the rows stay what they were, byte by byte in every column.
    rows = place.greeks()
    place.run(instance, "backfill_options", OPTIONS, historical_greeks={"symbols": ["XYZ"]})
    assert place.greeks().equals(rows)
    assert place.lake.metadata(HISTORICAL_GREEKS, {"session": KEY})["symbols"] == "GOOG,XYZ"


def test_closing_open_interest_of_the_day_is_never_read_during_it(shared_data, tmp_path, instance):
    # The number that clearing publishes for this very day arrives in the next morning's file, dated that morning.
    files = copied(shared_data, tmp_path / "files", HALF_DAY, JANUARY)
    evening = int(datetime(2015, 12, 24, 23, 0, tzinfo=UTC).timestamp()) * 10**9
    rewritten(
        files / f"extra/option_open_interest/2015/12/{HALF_DAY}.csv.gz",
        lambda lines: [lines[0], *(",".join([*line.split(",")[:3], f"{evening}"]) for line in lines[1:])],
    )
    place = Place(tmp_path / "home", files, ("GOOG",))
    place.build(instance)
    stored = place.lake.read_sessions(OPEN_INTEREST, [HALF_DAY])
    assert stored.height > 100
    assert place.greeks()["open_interest"].null_count() == place.greeks().height
    gamma = place.lake.read_sessions(GAMMA_EXPOSURE_SNAPSHOTS, [HALF_DAY])
    assert gamma["status"].cast(pl.String).unique().to_list() == ["missing_input"]
    with pytest.raises(ContractError, match="describes_an_earlier_session"):
        place.lake.write(OPEN_INTEREST, {"session": HALF_DAY}, stored.with_columns(oi_session=pl.lit(HALF_DAY)))


def live(rows: pl.DataFrame, **changes) -> pl.DataFrame:
    """Rows of one chain as if the vendor's live side had shown them."""
    columns = {"source": pl.lit("rest"), **{name: pl.lit(value) for name, value in changes.items()}}
    return rows.with_columns(**columns).cast(HISTORICAL_GREEKS.polars_schema)


def test_live_snapshots_stay_beside_each_other_until_files_speak_of_their_chain(goog, tmp_path, instance, shared_data):
    of_files = goog[0].greeks()
    first, second = sorted(of_files["snapshot_at"].unique())[:2]
    of_files = of_files.filter(pl.col("contract_ticker").str.contains(JANUARY, literal=True))
    place = Place(tmp_path / "home", copied(shared_data, tmp_path / "files", HALF_DAY, JANUARY), ("GOOG",))
    for moment in (first, second):
        store_live_snapshot(place.lake, live(of_files.filter(pl.col("snapshot_at") == moment)))
    other = live(of_files.filter(pl.col("snapshot_at") == first), symbol="XYZ").with_columns(
        pl.col("contract_ticker").str.replace("GOOG", "XYZ", literal=True)
    )
    store_live_snapshot(place.lake, other)
    assert place.greeks()["source"].cast(pl.String).unique().to_list() == ["rest"]
    assert place.greeks().height == of_files.filter(pl.col("snapshot_at") <= second).height + other.height
    # Without files the run shows what is there and builds nothing.
    place.run(instance, "backfill_options", ["historical_greeks"])
    assert said_of(instance, "historical_greeks")["symbols"].value == "GOOG,XYZ"
    place.build(instance)
    rows = place.greeks()
    # Vector arithmetic may differ in the last digit with the number of rows.
    assert_frame_equal(rows.filter(pl.col("symbol") == "GOOG"), of_files, rel_tol=1e-9)
    assert rows.filter(pl.col("symbol") == "XYZ").equals(other)
    # A live chain that comes late does not replace one from files.
    store_live_snapshot(place.lake, live(of_files.filter(pl.col("snapshot_at") == second), bid=1.0, mid=None))
    assert place.greeks().equals(rows)


def test_a_refused_row_of_an_option_file_stands_beside_those_of_bars(shared_data, tmp_path, instance):
    files = copied(shared_data, tmp_path / "files", HALF_DAY, JANUARY)
    for name, ticker in (
        ("us_options_opra/minute_aggs_v1", "O:GOOG160115C00700000"),
        ("us_stocks_sip/minute_aggs_v1", "GOOG"),
    ):
        bad = f"{ticker},1,x,1,1,1,1451000000000000000,1"
        rewritten(files / name / f"2015/12/{HALF_DAY}.csv.gz", lambda lines, bad=bad: [*lines, bad])
    place = Place(tmp_path / "home", files, ("GOOG",))
    place.build(instance)
    place.run(instance, "backfill_bars", BARS)
    refused = place.lake.read_sessions(QUARANTINE, [HALF_DAY])
    assert sorted(refused["dataset"].to_list()) == ["us_options_opra/minute_aggs_v1", "us_stocks_sip/minute_aggs_v1"]


def test_without_options_the_run_says_what_to_do(tmp_path, instance):
    place = Place(tmp_path / "home", tmp_path, ("GOOG",))
    with pytest.raises(MissingDataError, match="materialise the option files and option_contracts"):
        place.run(instance, "backfill_options", ["historical_greeks"])


def test_the_weekly_options_of_an_index_are_priced_on_the_index(shared_data, tmp_path, instance):
    day = date(2021, 1, 4)
    place = Place(tmp_path / "home", copied(shared_data, tmp_path / "files", day), ("SPX",))
    place.build(instance, day)
    rows = place.greeks(day)
    assert rows["symbol"].unique().to_list() == ["SPX"]
    assert rows["contract_ticker"].str.slice(2, 4).unique().sort().to_list()[-1] == "SPXW"
    solved = rows.filter(pl.col("iv_status").cast(pl.String) == "ok")
    assert solved["exercise_model"].cast(pl.String).unique().to_list() == ["european"]
    # The index traded between 3,662 and 3,769 on that day.
    assert solved["underlying_price"].min() > 3_660
    assert solved["underlying_price"].max() < 3_770
    assert json.loads(place.lake.metadata(HISTORICAL_GREEKS, {"session": day.isoformat()})["statuses"])["ok"] > 0


def test_a_chain_knows_nothing_of_the_minutes_after_it(goog):
    rows = goog[0].greeks()
    assert (rows["available_at"] - rows["snapshot_at"]).unique().to_list() == [timedelta(seconds=2)]
