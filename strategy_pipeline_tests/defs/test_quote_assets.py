"""Stock quotes in the graph: a real file to spreads and feature rows, what is built again, and who is asked for one."""

import gzip
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import materialize
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.defs.signal_inputs import SignalInputs
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import FEATURES, QUARANTINE, QUOTED_SPREADS
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.scoring.rules import rules_from
from strategy_pipeline.settings import Watchlist, load_settings

DAY = date(2013, 10, 7)
OPEN = datetime(2013, 10, 7, 13, 30, tzinfo=UTC)
QUOTES = "us_stocks_sip/quotes_v1/2013/10/2013-10-07.csv.gz"
FILES = [
    QUOTES, "us_stocks_sip/minute_aggs_v1/2013/10/2013-10-07.csv.gz",
    "us_stocks_sip/minute_aggs_v1/2013/10/2013-10-08.csv.gz",
]  # fmt: skip
BARS = ["stock_minute_file", "corporate_actions", "historical_bars"]
SPREADS = ["stock_quote_file", "quoted_spreads"]


class Place:
    """A copy of the files of two sessions, the first of them quoted, and a lake to build them into."""

    def __init__(self, home: Path, shared_data: Path) -> None:
        self.files = home / "vendor-files"
        for name in FILES:
            (self.files / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(shared_data / name, self.files / name)
        settings = load_settings({"STRATEGY_HOME": str(home), "FLAT_FILES_URL": str(self.files)})
        self.lake = Lake(settings.lake_location)
        watchlist = Watchlist(tuple(instrument(symbol) for symbol in ("SPY", "IBM", "BAC")))
        self.definitions = build_defs(**{**default_resources(lambda: settings), "watchlist": watchlist})

    def run(self, instance: dg.DagsterInstance, job: str, assets: list[str], days=(DAY, DAY), **config):
        keys = (days[0].isoformat(), days[1].isoformat())
        return materialize(self.definitions, instance, job, assets=assets, keys=keys, config=config, trigger="test")

    def features(self, day: date = DAY) -> pl.DataFrame:
        return self.lake.read_sessions(FEATURES, [day], timeframe="15m").sort("symbol", "bar_end")


@pytest.fixture(scope="module")
def instance():
    with dg.instance_for_test() as one:
        yield one


@pytest.fixture(scope="module")
def place(shared_data, tmp_path_factory, instance) -> Place:
    """Bars and features of both sessions, then quotes and features again."""
    made = Place(tmp_path_factory.mktemp("quotes"), shared_data)
    both, fifteen = (DAY, DAY + timedelta(days=1)), {"timeframes": ["15m"]}
    made.run(instance, "backfill_bars", [*BARS, "features"], both, features=fifteen)
    made.unquoted = made.features()
    made.run(instance, "backfill_quotes", [*SPREADS, "features"], both, features=fifteen)
    return made


def said_of(instance, asset: str) -> dict:
    return instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization.metadata


def test_the_quotes_of_a_session_become_one_a_minute_and_a_session_without_a_file_stays_away(place, instance):
    rows = place.lake.read_sessions(QUOTED_SPREADS, [DAY])
    assert rows["symbol"].unique().sort().to_list() == ["IBM", "SPY"]
    assert rows.filter(pl.col("symbol") == "SPY").height == 390
    assert place.lake.sessions(QUOTED_SPREADS) == [DAY]
    said = said_of(instance, "quoted_spreads")
    # All rows of the file (data README) are sound in form.
    assert (said["quotes"].value, said["quarantined"].value) == (39_085, 0)
    assert instance.get_materialized_partitions(dg.AssetKey("quoted_spreads")) == {"2013-10-07"}


def test_feature_rows_show_the_spread_at_their_bars_end_where_there_are_quotes(place):
    rows = place.features()
    assert place.unquoted["spread_pct"].null_count() == place.unquoted.height
    assert rows.drop("spread_pct").equals(place.unquoted.drop("spread_pct"))
    first = rows.filter(pl.col("bar_end") == OPEN + timedelta(minutes=15))
    shown = dict(first.select("symbol", "spread_pct").iter_rows())
    # awk over the file: 167.66/167.67 and 182.48/182.55 are the last quotes before 13:45 UTC.
    assert shown["SPY"] == pytest.approx(0.0059642740, abs=1e-10)
    assert shown["IBM"] == pytest.approx(0.0383530121, abs=1e-10)
    assert shown["BAC"] is None
    assert place.features(DAY + timedelta(days=1))["spread_pct"].null_count() > 0


def test_a_spread_is_asked_of_who_is_quoted_that_day_and_of_nobody_the_day_after(place):
    inputs = SignalInputs(place.lake, rules_from(), "15m")
    known = OPEN + timedelta(minutes=15, seconds=2)
    assert inputs.profile(DAY).quoted_since == {"IBM": known, "SPY": known}
    assert inputs.profile(DAY + timedelta(days=1)).quoted_since == {}


def test_a_second_run_builds_nothing_again(place, instance):
    before = place.lake.info(QUOTED_SPREADS, {"session": DAY})
    place.run(instance, "backfill_quotes", [*SPREADS, "features"], features={"timeframes": ["15m"]})
    assert place.lake.info(QUOTED_SPREADS, {"session": DAY}) == before


def test_bad_lines_stand_in_quarantine_and_change_no_spread(shared_data, tmp_path, instance):
    place = Place(tmp_path, shared_data)
    path = place.files / QUOTES
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    at = {name: number for number, name in enumerate(lines[0].split(","))}

    def changed(**values: object) -> str:
        fields = lines[5_000].split(",")
        for name, value in values.items():
            fields[at[name]] = str(value)
        return ",".join(fields)

    spoilt = [
        changed(ticker=""), changed(sip_timestamp=1_381_152_660), changed(ask_price="nan", sequence_number=10**6),
        changed(bid_price=-1, sequence_number=10**6 + 1), lines[5_000], "a,b",
    ]  # fmt: skip
    crossed = [changed(bid_price=900, sequence_number=10**6 + 2), changed(ask_price=0, sequence_number=10**6 + 3)]
    path.write_bytes(gzip.compress("\n".join([*lines, *spoilt, *crossed]).encode(), mtime=0))
    os.utime(path, (1.5e9, 1.5e9))
    place.run(instance, "backfill_quotes", SPREADS)
    clean = Place(tmp_path / "clean", shared_data)
    clean.run(instance, "backfill_quotes", SPREADS)
    columns = ["symbol", "minute_end", "bid", "ask", "spread_pct", "quote_at"]
    found, expected = (one.lake.read_sessions(QUOTED_SPREADS, [DAY], columns=columns) for one in (place, clean))
    assert found.equals(expected)
    reasons = place.lake.read_sessions(QUARANTINE, [DAY])["reason"].sort().to_list()
    assert reasons == [
        "duplicate_identical", "no_ticker", "price_negative", "price_not_finite", "timestamp_unit", "wrong_field_count",
    ]  # fmt: skip
