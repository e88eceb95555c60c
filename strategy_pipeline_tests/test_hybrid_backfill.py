"""`backfill hybrid`: real sessions of which the last is not published yet, and what becomes of it when it is."""

import csv
import gzip
import io
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from strategy_pipeline.commands.backfill import hybrid
from strategy_pipeline.defs.progress import NoProgress
from strategy_pipeline.errors import SettingsError, SourceError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS, QUARANTINE
from strategy_pipeline.settings import load_settings
from strategy_pipeline_tests.defs.small_market import StandingClock
from strategy_pipeline_tests.ingestion.rest_peer import KEY, Fault, RestPeer, serving

MINUTES = "us_stocks_sip/minute_aggs_v1/2013/10"
FRIDAY, MONDAY, TUESDAY = date(2013, 10, 4), date(2013, 10, 7), date(2013, 10, 8)
WEDNESDAY_MORNING = datetime(2013, 10, 9, 12, 0, tzinfo=UTC)


def minutes_over_rest(path: Path, ticker: str) -> list[dict[str, Any]]:
    """The rows of a real minute file as the vendor's aggregates would show them."""
    short = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    rows = csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
    return [
        {"t": int(row["window_start"]) // 1_000_000, "n": int(row["transactions"])}
        | {name: float(row[column]) for name, column in short.items()}
        for row in rows
        if row["ticker"] == ticker
    ]


class Machine:
    """A mirror that holds Friday and Monday, and a vendor that knows the minutes of IBM on Tuesday."""

    def __init__(self, root: Path, shared: Path, peer: RestPeer) -> None:
        self.shared, self.peer, self.mirror = shared, peer, root / "mirror"
        for day in (FRIDAY, MONDAY):
            self.publish(day)
        path = "/v2/aggs/ticker/IBM/range/1/{}/2013-10-08/2013-10-08"
        entries = minutes_over_rest(shared / MINUTES / f"{TUESDAY}.csv.gz", "IBM")
        answer = {"status": "OK", "ticker": "IBM", "adjusted": False}
        peer.answers[path.format("minute")] = [{**answer, "results": entries}]
        peer.answers[path.format("day")] = [{**answer, "results": []}]
        watchlist = root / "watchlist.yaml"
        watchlist.write_text("symbols: [IBM, SPY]\n")
        self.variables = {
            "STRATEGY_HOME": str(root / "home"), "FLAT_FILES_URL": str(self.mirror), "WATCHLIST": str(watchlist),
            "MASSIVE_API_KEY": KEY, "MASSIVE_BASE_URL": peer.url,
        }  # fmt: skip

    def publish(self, day: date) -> None:
        target = self.mirror / MINUTES / f"{day}.csv.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.shared / MINUTES / target.name, target)

    def run(self, *symbols: str) -> list[str]:
        settings = load_settings(self.variables)
        clock = StandingClock(WEDNESDAY_MORNING)
        return hybrid(settings, NoProgress(), symbols, FRIDAY, TUESDAY, clock=clock).splitlines()

    def bars(self, day: date) -> pl.DataFrame:
        return Lake(load_settings(self.variables).lake_location).read_sessions(HISTORICAL_BARS, [day])


@pytest.fixture
def machine(tmp_path, shared_data):
    with serving(RestPeer(tmp_path, TUESDAY)) as peer:
        yield Machine(tmp_path, shared_data, peer)


def test_what_is_not_published_comes_over_rest_until_its_file_does(machine):
    lines = machine.run("IBM")
    assert "3 sessions of 3 from 2013-10-04 to 2013-10-08 are in" in lines[-1]
    assert "1 of them with provisional bars over REST" in lines[-1]
    assert {one.path.split("/")[-1] for one in machine.peer.requests} == {"2013-10-08"}
    for day, source, quality in ((MONDAY, "flat_file", "final"), (TUESDAY, "rest", "provisional")):
        rows = machine.bars(day).filter(pl.col("symbol") == "IBM")
        assert (rows["source"].unique().to_list(), rows["quality"].unique().to_list()) == ([source], [quality])
        assert set(rows["timeframe"].cast(pl.String)) == {"1m", "5m", "15m", "1h", "4h", "1d"}
    provisional = machine.bars(TUESDAY).filter(pl.col("symbol") == "IBM")
    machine.publish(TUESDAY)
    machine.peer.requests.clear()
    assert "0 of them with provisional bars" in machine.run("IBM")[-1]
    assert machine.peer.requests == []
    final = machine.bars(TUESDAY).filter(pl.col("symbol") == "IBM")
    differs = ["source", "quality", "ingested_at"]
    assert final["source"].unique().to_list() == ["flat_file"]
    assert provisional.drop(differs).equals(final.drop(differs))


def test_a_symbol_whose_answer_does_not_come_is_named_and_the_others_come(machine):
    lines = machine.run()
    assert machine.bars(TUESDAY)["symbol"].unique().to_list() == ["IBM"]
    assert set(machine.bars(MONDAY)["symbol"]) == {"IBM", "SPY"}
    assert "3 sessions of 3" in lines[-1]


def test_the_days_of_the_regimes_symbols_come_over_rest_and_their_minutes_are_not_asked_for(machine):
    # The VIX of 2013-10-08 closed at 20.34; the start of the day is 00:00 New York, 04:00 UTC.
    day = {"t": 1_381_204_800_000, "o": 19.39, "h": 20.63, "l": 18.91, "c": 20.34}
    path = "/v2/aggs/ticker/I:VIX/range/1/{}/2013-10-04/2013-10-08"
    machine.peer.answers[path.format("day")] = [{"status": "OK", "ticker": "I:VIX", "results": [day]}]
    machine.run()
    bars = machine.bars(TUESDAY)
    vix = bars.filter(pl.col("symbol") == "VIX")
    assert vix.select(pl.col("timeframe").cast(pl.String), "close").rows() == [("1d", 20.34)]
    # Known at 16:15 New York, so the regime of the session is there before the next one opens.
    assert vix["available_at"].to_list() == [datetime(2013, 10, 8, 20, 15, tzinfo=UTC)]
    asked = {one.path.split("?")[0] for one in machine.peer.requests}
    assert path.format("day") in asked
    assert path.format("minute") not in asked
    lake = Lake(load_settings(machine.variables).lake_location)
    assert lake.metadata(HISTORICAL_BARS, {"session": TUESDAY})["symbols"] == "IBM"


def test_an_answer_of_which_no_bar_can_be_used_is_no_answer_without_bars(machine):
    [pages] = machine.peer.answers["/v2/aggs/ticker/IBM/range/1/minute/2013-10-08/2013-10-08"]
    for bar in pages["results"]:
        bar["c"] = -1.0
    with pytest.raises(SourceError, match="bars of IBM from 2013-10-08 to 2013-10-08 can be used, see the quarantine"):
        machine.run("IBM")
    lake = Lake(load_settings(machine.variables).lake_location)
    assert lake.read_sessions(QUARANTINE, [TUESDAY]).height == len(pages["results"])


def test_other_symbols_of_a_provisional_session_stay(machine):
    machine.run("IBM")
    for timespan in ("minute", "day"):
        path = f"/v2/aggs/ticker/SPY/range/1/{timespan}/2013-10-08/2013-10-08"
        entries = minutes_over_rest(machine.shared / MINUTES / f"{TUESDAY}.csv.gz", "IBM")[:30]
        found = {"status": "OK", "ticker": "SPY", "results": entries if timespan == "minute" else []}
        machine.peer.answers[path] = [found]
    machine.run("SPY")
    assert set(machine.bars(TUESDAY)["symbol"]) == {"IBM", "SPY"}


def test_without_a_key_the_sentence_names_it_and_what_is_published_is_there(machine):
    del machine.variables["MASSIVE_API_KEY"]
    with pytest.raises(SettingsError, match="1 session from 2013-10-04 to 2013-10-08 has no minute file: set MASSIVE"):
        machine.run("IBM")
    assert machine.bars(MONDAY).height > 0


def test_when_no_answer_comes_the_work_has_failed(machine):
    machine.peer.faults = {1: Fault(status=403)}
    with pytest.raises(SourceError, match="No bars of IBM: The key in use may not read /v2/aggs/ticker/IBM"):
        machine.run("IBM")
    assert len(machine.peer.requests) == 1
    assert machine.bars(TUESDAY).is_empty()


def test_a_machine_without_files_lives_on_rest_alone(machine):
    del machine.variables["FLAT_FILES_URL"]
    whole = "/v2/aggs/ticker/IBM/range/1/{}/2013-10-04/2013-10-08"
    for timespan in ("minute", "day"):
        one = f"/v2/aggs/ticker/IBM/range/1/{timespan}/2013-10-08/2013-10-08"
        machine.peer.answers[whole.format(timespan)] = machine.peer.answers[one]
    lines = machine.run("IBM")
    assert lines[0].endswith("is not there: everything comes over REST.")
    assert "1 session of 3" in lines[-1]
