"""Runs over a small market: what they leave, that a second one leaves the same, that a killed one can be repeated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.defs.launch import open_instance, written
from strategy_pipeline.errors import DataError, MissingDataError
from strategy_pipeline.lake.tables import FEATURES, HISTORICAL_BARS
from strategy_pipeline.settings import Watchlist
from strategy_pipeline.synthetic.files import SyntheticMarket
from strategy_pipeline_tests.defs.small_market import FILES, UPSTREAM, bytes_below, small_market

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A market that was materialised once, the run's result and its instance."""
    market = small_market(tmp_path_factory.mktemp("home"))
    with open_instance(market.settings) as instance:
        yield market, market.run(instance, UPSTREAM), instance


def materializations(instance, asset):
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1_000).records
    return {one.asset_materialization.partition: one.asset_materialization for one in records}


def test_every_session_is_materialised_with_its_numbers(finished):
    market, _, instance = finished
    found = materializations(instance, "historical_bars")
    assert sorted(found) == [day.isoformat() for day in market.sessions]
    for key, event in found.items():
        metadata = event.metadata
        assert metadata["symbols"].value == 6, key
        assert metadata["dagster/row_count"].value > 1_000, key
        assert 90.0 < metadata["coverage_pct"].value <= 100.0, key
        assert metadata["quarantined"].value >= 0, key
        assert 0.0 <= metadata["null_pct"].value <= 100.0, key
        assert len(metadata["sha256"].value) == 64, key
        assert {source["key"].split("/")[0] for source in metadata["sources"].value} == {"us_stocks_sip", "us_indices"}
        assert all(source["etag"] and len(source["sha256"]) == 64 for source in metadata["sources"].value)
        assert metadata["code_version"].value == "historical-bars-1", key


def test_the_data_version_of_a_partition_is_the_checksum_of_its_file(finished):
    market, _, instance = finished
    key = market.sessions[0].isoformat()
    event = materializations(instance, "historical_bars")[key]
    stored = market.lake.info(HISTORICAL_BARS, {"session": key})
    assert event.tags["dagster/data_version"] == stored.sha256 == event.metadata["sha256"].value
    assert event.tags["dagster/code_version"] == "historical-bars-1"


def test_the_bars_file_itself_names_its_sources(finished):
    market, _, _ = finished
    said = market.lake.metadata(HISTORICAL_BARS, {"session": market.sessions[0]})
    assert '"etag"' in said["sources"]
    assert said["symbols"].split(",") == sorted(market.market.plan.instruments[at].symbol for at in range(6))


def test_the_last_partition_carries_the_pictures(finished):
    market, _, instance = finished
    last = market.sessions[-1].isoformat()
    for asset, name in (("historical_bars", "coverage"), ("features", "nulls")):
        assert "data:image/svg+xml;base64," in materializations(instance, asset)[last].metadata[name].value


def test_features_exist_in_the_three_default_timeframes(finished):
    market, _, _ = finished
    assert {key["timeframe"] for key in market.lake.keys(FEATURES)} == {"5m", "15m", "1h"}


def test_every_check_passes_on_a_sound_market(finished):
    _, result, _ = finished
    evaluations = result.get_asset_check_evaluations()
    assert {one.check_name for one in evaluations} >= {"contract_holds", "no_duplicate_keys", "ohlc_ordered"}
    assert [one.check_name for one in evaluations if not one.passed] == []


def test_materialising_twice_gives_identical_bytes(finished):
    market, _, instance = finished
    before = bytes_below(market.home / "lake")
    market.run(instance, UPSTREAM)
    assert bytes_below(market.home / "lake") == before


def test_only_features_in_reach_of_a_revised_file_are_computed_again(tmp_path):
    market = small_market(tmp_path)

    def written_at() -> dict[str, int]:
        folder = tmp_path / "lake" / "features" / "timeframe=15m"
        return {path.parent.name.split("=")[1]: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}

    with open_instance(market.settings) as instance:
        market.run(instance, UPSTREAM)
        before = written_at()
        market.run(instance, UPSTREAM)
        assert written_at() == before
        market.market.publish_revision(market.settings.vendor_folder)
        market.run(instance, UPSTREAM)
        after = written_at()
    revised = market.market.plan.revised.session.isoformat()
    assert {day for day in after if after[day] != before[day]} == {day for day in after if day >= revised}


def test_two_halves_give_the_bytes_of_the_whole(finished, tmp_path):
    market, _, _ = finished
    other = small_market(tmp_path)
    middle = len(other.sessions) // 2
    first, last = other.keys
    with open_instance(other.settings) as instance:
        other.run(instance, UPSTREAM, keys=(first, other.sessions[middle].isoformat()))
        other.run(instance, UPSTREAM, keys=(other.sessions[middle + 1].isoformat(), last))
    assert bytes_below(tmp_path / "lake") == bytes_below(market.home / "lake")


def test_a_session_without_a_file_is_left_out_and_the_others_are_done(tmp_path):
    market = small_market(tmp_path)
    gone = market.sessions[3]
    for path in market.settings.vendor_folder.rglob(f"{gone}.csv.gz"):
        path.unlink()
    with open_instance(market.settings) as instance:
        result = market.run(instance, [*FILES, "historical_bars"])
        keys = written(instance, result.run_id, "historical_bars")
    assert result.success
    assert gone.isoformat() not in keys
    assert len(keys) == len(market.sessions) - 1


def test_a_range_without_any_file_fails_with_one_sentence(tmp_path):
    market = small_market(tmp_path)
    with open_instance(market.settings) as instance, pytest.raises(MissingDataError, match="the flat files"):
        market.run(instance, ["historical_bars"], keys=("2020-01-02", "2020-01-10"))


def test_a_narrowed_run_materialises_what_it_was_narrowed_to(finished):
    market, _, instance = finished
    only = market.sessions[5].isoformat()
    result = market.run(instance, ["historical_bars"], config={"historical_bars": {"only": [only]}})
    assert written(instance, result.run_id, "historical_bars") == [only]


def test_symbols_asked_for_once_stay_in_a_partition(tmp_path):
    market = small_market(tmp_path)
    keys = (market.keys[0], market.keys[0])
    with open_instance(market.settings) as instance:
        market.run(instance, [*FILES, "historical_bars"], keys=keys, config={"historical_bars": {"symbols": ["XYZ"]}})
        before = market.lake.metadata(HISTORICAL_BARS, {"session": keys[0]})
        market.run(instance, ["historical_bars"], keys=keys)
    assert "XYZ" in before["symbols"].split(",")
    assert market.lake.metadata(HISTORICAL_BARS, {"session": keys[0]}) == before


def test_a_symbol_kept_for_context_has_daily_bars_and_nothing_else(tmp_path):
    *watched, kept = SyntheticMarket(7, 3, 6, history=0).watchlist()
    market = small_market(tmp_path, sessions=3, watchlist=Watchlist(tuple(watched), (kept, watched[0])))
    with open_instance(market.settings) as instance:
        market.run(instance, UPSTREAM)
    bars = market.lake.read_sessions(HISTORICAL_BARS, market.sessions)
    timeframes = {
        symbol: set(part["timeframe"].cast(pl.String))
        for (symbol,), part in bars.group_by("symbol", maintain_order=True)
    }
    assert timeframes.pop(kept.symbol) == {"1d"}
    # What is watched as well is kept whole.
    assert all(found >= {"1m", "1h", "1d"} for found in timeframes.values())
    assert len(timeframes) == len(watched)
    rows = market.lake.read(FEATURES, market.lake.keys(FEATURES), columns=["symbol"])
    assert set(rows["symbol"]) == set(timeframes)


RUN = """
import sys
from pathlib import Path
from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline_tests.defs.small_market import UPSTREAM, small_market
market = small_market(Path(sys.argv[1]))
with open_instance(market.settings) as instance:
    market.run(instance, UPSTREAM)
"""


def killed_when(home: Path, pattern: str, count: int) -> bool:
    """Starts a run in its own process and kills it with SIGKILL once `count` files match; False when it ended first."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, str(home)], cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if sum(1 for _ in home.glob(pattern)) >= count:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
    process.kill()
    process.wait()
    return False


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("raw/**/*.manifest.json", 10),
        ("lake/historical_bars/*/part-0.parquet", 1),
        ("lake/historical_bars/*/part-0.parquet", 15),
        ("lake/features/timeframe=15m/*/part-0.parquet", 7),
    ],
    ids=["while files are fetched", "after the first bars", "among the bars", "among the features"],
)
def test_a_run_killed_at_any_point_can_be_repeated_with_the_bytes_of_an_undisturbed_one(
    finished, tmp_path, pattern, count
):
    market, _, _ = finished
    assert killed_when(tmp_path, pattern, count)
    again = small_market(tmp_path)
    with open_instance(again.settings) as instance:
        assert again.run(instance, UPSTREAM).success
    assert bytes_below(tmp_path / "lake") == bytes_below(market.home / "lake")


def test_refused_files_are_named_on_the_last_bars_and_raised_when_there_are_no_others(tmp_path):
    market = small_market(tmp_path, sessions=3)
    first, last = market.keys
    for path in market.settings.vendor_folder.rglob(f"{first}.csv.gz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_instance(market.settings) as instance:
        market.run(instance, [*FILES, "historical_bars"])
        said = materializations(instance, "historical_bars")[last].metadata["refused_files"].value
        with pytest.raises(DataError, match=f"{first}.csv.gz is truncated: download it again"):
            market.run(instance, ["historical_bars"], keys=(first, first))
    assert f"{first}.csv.gz is truncated: download it again." in said
